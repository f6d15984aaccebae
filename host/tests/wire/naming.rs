//! Who asks, for what, in which trace: what a trusted peer says is believed, what a stranger says is not.

use crate::support::{TestGateway, Upstream, plan, with_upstream};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The fields an upstream gets for these.
async fn told(trusted: bool, fields: &str) -> Vec<(String, String)> {
    let mut upstream = Upstream::start().await;
    let mut plan = with_upstream(plan(), &[upstream.address]);
    if trusted {
        plan.trusted = vec!["127.0.0.0/8".parse().expect("a range"), "10.0.0.0/8".parse().expect("a range")];
    }
    let gateway = TestGateway::start(&plan);
    let mut client = gateway.connect().await;
    client.send(format!("GET / HTTP/1.1\r\nhost: api.test\r\n{fields}\r\n")).await;
    let mut inbound = upstream.connection().await;
    let (head, _) = inbound.request().await;
    inbound.ok("").await;
    let (answer, _) = client.response().await;
    let fields: Vec<_> = head.lines().filter_map(|line| line.split_once(": ")).collect();
    let id = fields.iter().find(|(name, _)| *name == "x-request-id").expect("an id").1;
    assert!(answer.contains(&format!("x-request-id: {id}\r\n")), "{answer}");
    fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn all(told: &[(String, String)], name: &str) -> Vec<String> {
    told.iter().filter(|(named, _)| named == name).map(|(_, value)| value.clone()).collect()
}

#[tokio::test]
async fn a_stranger_names_nothing() {
    let told = told(
        false,
        &format!(
            "x-request-id: mine\r\ntraceparent: {PARENT}\r\ntracestate: a=1\r\nx-forwarded-for: 10.0.0.1\r\n\
             X-Forwarded-For: 10.0.0.2\r\nx-forwarded-proto: https\r\nx-forwarded-host: evil\r\nx-forwarded-port: 1\r\n\
             x-forwarded-client-cert: x\r\nforwarded: for=10.0.0.1;host=evil\r\ntollgate-id: evt_1\r\ntollgate-attempt: 1\r\n"
        ),
    )
    .await;
    assert_eq!(all(&told, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(all(&told, "x-forwarded-proto"), ["http"]);
    assert_eq!(all(&told, "x-forwarded-host"), ["api.test"]);
    for name in
        ["x-forwarded-port", "x-forwarded-client-cert", "forwarded", "tracestate", "tollgate-id", "tollgate-attempt"]
    {
        assert_eq!(all(&told, name), [""; 0], "{name}");
    }
    assert_ne!(all(&told, "x-request-id"), ["mine"]);
    let [parent] = all(&told, "traceparent").try_into().expect("one trace");
    assert!(!parent.contains(TRACE) && parent.len() == PARENT.len() && parent.ends_with("-00"), "{parent}");
}

#[tokio::test]
async fn a_trusted_peer_is_believed_and_added_to() {
    let told = told(
        true,
        &format!(
            "x-request-id: mine\r\ntraceparent: {PARENT}\r\ntracestate: a=1\r\ntracestate: b=2\r\nx-forwarded-for: 203.0.113.9\r\n\
             x-forwarded-for: 10.0.0.2\r\nx-forwarded-proto: https\r\nx-forwarded-host: shop.test\r\nx-forwarded-port: 443\r\n\
             forwarded: for=203.0.113.9;proto=https\r\n"
        ),
    )
    .await;
    assert_eq!(all(&told, "x-forwarded-for"), ["203.0.113.9, 10.0.0.2, 127.0.0.1"]);
    assert_eq!(all(&told, "x-forwarded-proto"), ["https"]);
    assert_eq!(all(&told, "x-forwarded-host"), ["shop.test"]);
    assert_eq!(all(&told, "x-forwarded-port"), ["443"]);
    assert_eq!(all(&told, "forwarded"), ["for=203.0.113.9;proto=https", "for=127.0.0.1;host=\"api.test\";proto=http"]);
    assert_eq!(all(&told, "x-request-id"), ["mine"]);
    assert_eq!(all(&told, "tracestate"), ["a=1", "b=2"]);
    let [parent] = all(&told, "traceparent").try_into().expect("one trace");
    assert!(parent.starts_with(&format!("00-{TRACE}-")) && parent.ends_with("-01") && parent != PARENT, "{parent}");
}

#[tokio::test]
async fn what_is_malformed_is_made_anew() {
    for bad in [
        &PARENT[..54],
        &PARENT.to_uppercase(),
        &PARENT.replacen("00-", "ff-", 1),
        &format!("{PARENT}-x"),
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        &format!("{PARENT}\r\ntraceparent: {PARENT}"),
        "",
    ] {
        let told = told(true, &format!("traceparent: {bad}\r\ntracestate: a=1\r\nx-request-id: a b\r\n")).await;
        let [parent] = all(&told, "traceparent").try_into().expect("one trace");
        assert!(!parent.contains(TRACE) && parent.len() == PARENT.len(), "{bad}: {parent}");
        assert_eq!(all(&told, "tracestate"), [""; 0], "it belongs to a trace that is not there: {bad}");
        assert_ne!(all(&told, "x-request-id"), ["a b"]);
    }
}

#[tokio::test]
async fn a_later_version_of_a_trace_is_read_as_ours() {
    let later = format!("cc-{TRACE}-00f067aa0ba902b7-01-more");
    let told = told(true, &format!("traceparent: {later}\r\n")).await;
    let [parent] = all(&told, "traceparent").try_into().expect("one trace");
    assert!(parent.starts_with(&format!("00-{TRACE}-")) && parent.len() == PARENT.len(), "{parent}");
}
