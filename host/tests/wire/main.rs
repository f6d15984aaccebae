//! What goes over the wire, byte for byte: requests that could be read in two ways, upstreams that answer in two ways, and
//! every published way to make an HTTP/2 server work for nothing.

#[path = "../plane/support.rs"]
#[allow(unreachable_pub, dead_code)]
mod support;

mod expect;
mod floods;
mod frames;
mod multiplexed;
mod naming;
mod requests;
mod responses;

use support::{Inbound, TestGateway, Upstream, plan, with_upstream};

/// A gateway whose product `up` is an upstream in the test's hand, and nobody trusted.
async fn gateway() -> (TestGateway, Upstream) {
    let upstream = Upstream::start().await;
    (TestGateway::start(&with_upstream(plan(), &[upstream.address])), upstream)
}

/// The next request as the upstream got it: its head's lines, less those that are different every time, and its body.
async fn seen(inbound: &mut Inbound) -> (Vec<String>, String) {
    let (head, body) = inbound.request().await;
    (lines(&head), body)
}

/// A head's lines: the first, and the fields in the order of their names.
fn lines(head: &str) -> Vec<String> {
    let made = |line: &&str| {
        let made = ["x-request-id: ", "traceparent: ", "x-forwarded-", "date: "];
        !line.is_empty() && !made.iter().any(|name| line.starts_with(name))
    };
    let mut lines: Vec<_> = head.lines().filter(made).map(str::to_owned).collect();
    lines[1..].sort_unstable();
    lines
}
