//! One attempt to deliver one event to one product.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::retry::{self, Attempted};
use super::{parcel, sign};
use crate::base::clock::Clock;
use crate::config::plan::{HostPolicy, Rewrite};
use crate::gateway::product::{Backend, Product};
use crate::store::{ANSWER_MAX, Head, Lease};
use crate::telemetry::trace::TraceContext;
use crate::upstream::body::Outgoing;
use crate::upstream::error::UpstreamError;
use crate::upstream::{Sending, Upstream};

/// The most of an answer that is read so that its connection can be used again.
const DRAIN_MAX: usize = 64 * 1024;

/// With `disable` a product says that it wants no more attempts.
const DELIVERY: HeaderName = HeaderName::from_static("webhook-delivery");

/// How long an answer's body may take to come.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// What came of an attempt.
#[derive(Debug)]
pub struct Reached {
    /// For the decision about what comes next.
    pub attempted: Attempted,
    /// The product's status.
    pub status: Option<u16>,
    /// Why it failed, for people.
    pub error: Option<String>,
    /// The first bytes of the answer.
    pub answer: Bytes,
}

/// How an event is delivered on its route.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// Path and query instead of the request's own.
    pub path: Option<&'a str>,
    /// What becomes of the request's own path.
    pub rewrite: Option<&'a Rewrite>,
    /// To make a connection.
    pub connect: Option<Duration>,
    /// Of the whole attempt.
    pub timeout: Duration,
}

/// The product's breaker is open: nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paused {
    /// When to come back.
    pub retry_after: Duration,
}

/// Makes the attempt that `lease` is for.
pub async fn attempt(lease: &Lease, product: &Product, terms: &Terms<'_>, clock: &Clock) -> Result<Reached, Paused> {
    let upstream = match &product.backend {
        Backend::Upstream(upstream) => upstream,
        Backend::Echo => return Ok(echo(lease)),
    };
    let mut request = match request(lease, terms) {
        Ok(request) => request,
        Err(error) => return Ok(failed(format!("the event cannot be sent as a request: {error}"))),
    };
    if let Some(secret) = &product.sign
        && let Err(error) = sign::sign(request.headers_mut(), secret, lease.event.id, clock.now(), &lease.body).await
    {
        return Ok(failed(format!("the event is not sent: {error}")));
    }
    exchange(upstream, request, product, terms, clock).await
}

async fn exchange(
    upstream: &Upstream,
    request: Request<Outgoing>,
    product: &Product,
    terms: &Terms<'_>,
    clock: &Clock,
) -> Result<Reached, Paused> {
    let Terms { connect, timeout, .. } = *terms;
    let host = match &product.host {
        // There is no client: the upstream is called by its own name.
        HostPolicy::Client | HostPolicy::Upstream => None,
        HostPolicy::Literal(host) => Some(host.clone()),
    };
    let sending = Sending { host, connect, deadline: Some(Instant::now() + timeout), ..Sending::default() };
    let response = match tokio::time::timeout(timeout, upstream.send(request, &sending)).await {
        Ok(Ok(response)) => response,
        Ok(Err(UpstreamError::Paused { retry_after })) => return Err(Paused { retry_after }),
        Ok(Err(UpstreamError::Body(_))) => return Ok(failed("the stored body could not be read".into())),
        Ok(Err(UpstreamError::Deadline)) | Err(_) => {
            upstream.was_too_slow();
            return Ok(late(timeout));
        }
        Ok(Err(error)) => return Ok(failed(error.to_string())),
    };
    let status = response.status().as_u16();
    let retry_after =
        response.headers().get(header::RETRY_AFTER).and_then(|value| retry::retry_after(clock.now(), value.as_bytes()));
    let unwanted =
        response.headers().get(DELIVERY).is_some_and(|said| said.as_bytes().eq_ignore_ascii_case(b"disable"));
    let answer = first_bytes(response.into_body()).await;
    Ok(Reached {
        attempted: Attempted::Answered { status, retry_after, unwanted },
        status: Some(status),
        error: (!(200..300).contains(&status)).then(|| format!("the product answered {status}")),
        answer,
    })
}

fn late(timeout: Duration) -> Reached {
    failed(format!("no answer within {} ms", timeout.as_millis()))
}

fn failed(error: String) -> Reached {
    Reached { attempted: Attempted::Failed, status: None, error: Some(error), answer: Bytes::new() }
}

/// The built-in product takes everything.
fn echo(lease: &Lease) -> Reached {
    let text = format!("{} {} bytes", lease.event.id, lease.body.length());
    let attempted = Attempted::Answered { status: 200, retry_after: None, unwanted: false };
    Reached { attempted, status: Some(200), error: None, answer: text.into() }
}

/// Reads the answer to its end while that is short and soon; gives back its beginning. A status that came with a broken
/// body still counts.
async fn first_bytes<B: Body<Data = Bytes> + Unpin>(mut body: B) -> Bytes {
    let (mut kept, mut read) = (BytesMut::new(), 0);
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            read += data.len();
            let room = ANSWER_MAX.saturating_sub(kept.len()).min(data.len());
            kept.extend_from_slice(&data[..room]);
            if read > DRAIN_MAX {
                break;
            }
        }
    };
    // The product has decided; a body that does not end changes nothing of that.
    let _in_time = tokio::time::timeout(ANSWER_WAIT, reading).await;
    kept.freeze()
}

fn request(lease: &Lease, terms: &Terms<'_>) -> Result<Request<Outgoing>, http::Error> {
    let event = &lease.event;
    let own = || parcel::target(&event.head.path, &event.head.target, terms.rewrite, &event.redacted);
    let target = terms.path.map_or_else(own, str::to_owned);
    let mut request = Request::builder()
        .method(Method::from_bytes(event.head.method.as_bytes())?)
        .uri(target)
        .body(Outgoing::payload(&lease.body))?;
    *request.headers_mut() = headers(lease);
    Ok(request)
}

/// The provider's fields, in order, less those that end here; then ours.
fn headers(lease: &Lease) -> HeaderMap {
    let event = &lease.event;
    let mut headers = HeaderMap::with_capacity(event.head.headers.len() + 8);
    for (name, value) in &event.head.headers {
        let ends_here = ENDS_HERE.contains(&name.as_str())
            || of_the_last_hop(&event.head, name)
            || event.redacted.iter().any(|redacted| redacted == name);
        if ends_here || parcel::is_ours(name) {
            continue;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let mut ours = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    ours("tollgate-id", event.id.to_string());
    ours("tollgate-attempt", lease.attempt.to_string());
    ours("tollgate-received", event.received.to_string());
    if lease.replay > 0 {
        ours("tollgate-replay", lease.replay.to_string());
    }
    ours("x-request-id", event.request_id.clone());
    if let Some(trace) = event.traceparent.as_deref().and_then(|field| TraceContext::parse(field.as_bytes())) {
        headers.insert("traceparent", trace.child(fastrand::u64(..)).field());
    }
    headers
}

/// Whether a Connection field names this one (RFC 9110, section 7.6.1).
fn of_the_last_hop(head: &Head, name: &str) -> bool {
    let connection = head.headers.iter().filter(|(field, _)| field == "connection");
    let mut named = connection.flat_map(|(_, value)| value.split(|byte| *byte == b','));
    named.any(|token| token.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
}

/// Fields of the provider's request that mean nothing, or too much, to the product.
const ENDS_HERE: [&str; 15] = [
    "host",
    "cookie",
    "authorization",
    "expect",
    "accept-encoding",
    "content-length",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::clock::Timestamp;
    use crate::base::ids::EventId;
    use crate::base::names::{PluginName, ProductName, RouteName};
    use crate::base::payload::Payload;
    use crate::store::Event;

    fn lease(headers: &[(&str, &str)], target: &str, redacted: &[&str]) -> Lease {
        let received = Timestamp::from_seconds(1_790_000_000);
        let event = Event {
            id: EventId::new(received),
            route: RouteName::new("r").expect("a name"),
            verifier: PluginName::new("v").expect("a name"),
            received,
            request_id: "req-1".into(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            head: Head {
                method: "POST".into(),
                scheme: "https".into(),
                authority: "hooks.example.test".into(),
                target: target.into(),
                path: target.split('?').next().expect("a path").into(),
                headers: headers.iter().map(|(n, v)| ((*n).into(), Bytes::copy_from_slice(v.as_bytes()))).collect(),
                client: "192.0.2.1".into(),
            },
            size: 2,
            identity: None,
            kind: None,
            order_key: None,
            redacted: redacted.iter().map(|name| (*name).into()).collect(),
        };
        Lease {
            event: Arc::new(event),
            body: Payload::Memory("{}".into()),
            product: ProductName::new("p").expect("a name"),
            attempt: 3,
            scheduled_attempt: 1,
            replay: 2,
            until: received,
            delivery: 1,
            token: 1,
        }
    }

    #[test]
    fn the_products_request_has_the_providers_fields_and_ours_but_nothing_of_the_last_hop() {
        let lease = lease(
            &[
                ("x-github-event", "push"),
                ("x-multi", "1"),
                ("x-multi", "2"),
                ("authorization", "Bearer x"),
                ("cookie", "a=b"),
                ("host", "hooks.example.test"),
                ("x-token", "hunter2hunter2"),
                ("tollgate-attempt", "99"),
                ("connection", "close, X-Hop"),
                ("x-hop", "1"),
            ],
            "/hooks?a=1&token=hunter2hunter2",
            &["x-token", "?token"],
        );
        let terms = Terms { path: None, rewrite: None, connect: None, timeout: Duration::from_secs(1) };
        let request = request(&lease, &terms).expect("a request");
        assert_eq!(request.uri(), "/hooks?a=1");
        let headers = request.headers();
        let all = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().expect("text")).collect::<Vec<_>>();
        assert_eq!(all("x-github-event"), ["push"]);
        assert_eq!(all("x-multi"), ["1", "2"]);
        assert_eq!(all("tollgate-attempt"), ["3"]);
        assert_eq!(all("tollgate-replay"), ["2"]);
        assert_eq!(all("tollgate-id"), [lease.event.id.to_string()]);
        assert_eq!(all("tollgate-received"), ["2026-09-21T14:13:20.000Z"]);
        assert!(all("traceparent")[0].starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
        assert!(!all("traceparent")[0].contains("b7ad6b7169203331"), "a span of its own");
        for gone in ["authorization", "cookie", "host", "x-token", "connection", "x-hop"] {
            assert!(all(gone).is_empty(), "{gone}");
        }
    }

    #[test]
    fn a_deliver_path_replaces_path_and_query() {
        let lease = lease(&[], "/hooks?a=1", &[]);
        let terms = Terms { path: Some("/events"), rewrite: None, connect: None, timeout: Duration::from_secs(1) };
        assert_eq!(request(&lease, &terms).expect("a request").uri(), "/events");
    }

    #[test]
    fn a_rewrite_changes_the_path_and_leaves_the_query() {
        let lease = lease(&[], "/hooks/a?a=1&token=x", &["?token"]);
        let rewrite = Rewrite { strip: Vec::new(), add: "/in".into() };
        let terms = Terms { path: None, rewrite: Some(&rewrite), connect: None, timeout: Duration::from_secs(1) };
        assert_eq!(request(&lease, &terms).expect("a request").uri(), "/in/hooks/a?a=1");
    }
}
