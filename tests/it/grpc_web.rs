//! gRPC-Web: what a browser sends and gets, over HTTP/1.1, with a service of gRPC behind it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use prost::Message as _;
use tollgate_tests::{Answer, Setup, TestGateway, Wire, soon};

use crate::grpc::breaks_off;
use crate::grpc::service::{Note, Seen, serve};

const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text+proto";
const ORIGIN: &str = "https://app.test";

async fn gateway(more: &str) -> (TestGateway, Seen) {
    let seen = Seen::default();
    let address = serve(&seen, None).await;
    let toml = format!(
        "[product.notes]\nupstreams = [\"http://{address}\"]\n\
         [route.notes]\npath = \"/test.Notes/{{*rest}}\"\nproduct = \"notes\"\n\
         cors = {{ origins = [\"{ORIGIN}\"], expose = [\"x-text\"] }}\n{more}\n"
    );
    (TestGateway::start(Setup::new(&toml)).await, seen)
}

fn message(note: &Note) -> Vec<u8> {
    let payload = note.encode_to_vec();
    [&[0][..], &u32::try_from(payload.len()).unwrap().to_be_bytes(), &payload].concat()
}

async fn ask(gateway: &TestGateway, path: &str, media: &str, body: impl Into<Bytes>) -> Answer {
    let fields = [("content-type", media), ("accept", media), ("x-grpc-web", "1"), ("origin", ORIGIN), ("x-text", "a")];
    let fields: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    gateway.request(Method::POST, path, &fields, body.into()).await
}

/// The frames of a body: its messages, and the lines of its trailers.
fn frames(mut body: &[u8]) -> (Vec<Note>, Vec<String>) {
    let (mut notes, mut trailers) = (Vec::new(), Vec::new());
    while !body.is_empty() {
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        let (flag, payload) = (body[0], &body[5..5 + length]);
        body = &body[5 + length..];
        match flag {
            0 => notes.push(Note::decode(payload).unwrap()),
            0x80 => {
                trailers = String::from_utf8(payload.to_vec()).unwrap().lines().map(str::to_owned).collect();
                assert!(body.is_empty(), "trailers are the last frame");
            }
            other => panic!("a frame with flag {other}"),
        }
    }
    (notes, trailers)
}

/// Base64 whose parts may be padded, as the official client reads it: four characters at a time.
fn from_text(text: &[u8]) -> Vec<u8> {
    assert_eq!(text.len() % 4, 0, "whole groups");
    text.chunks(4).flat_map(|group| STANDARD.decode(group).unwrap()).collect()
}

#[tokio::test]
async fn a_call_is_translated_both_ways() {
    let (gateway, seen) = gateway("").await;
    let asked = message(&Note::new("hi", 1));
    let answer = ask(&gateway, "/test.Notes/Echo", BINARY, asked.clone()).await;
    assert_eq!((answer.status.as_u16(), answer.field("content-type")), (200, "application/grpc-web"));
    assert_eq!(answer.field("x-text"), "a");
    let (notes, trailers) = frames(&answer.body);
    assert_eq!((notes, trailers), (vec![Note::new("hi", 2)], vec!["grpc-status:0".to_owned()]));
    assert_eq!(seen.metadata().get("te").unwrap(), "trailers");
    assert!(seen.metadata().get("accept").is_none());

    let answer = ask(&gateway, "/test.Notes/Echo", TEXT, STANDARD.encode(&asked)).await;
    assert_eq!((answer.status.as_u16(), answer.field("content-type")), (200, "application/grpc-web-text"));
    let (notes, trailers) = frames(&from_text(&answer.body));
    assert_eq!((notes, trailers), (vec![Note::new("hi", 2)], vec!["grpc-status:0".to_owned()]));

    let labels = ["protocol=\"grpc_web\"", "product=\"notes\"", "outcome=\"success\""];
    gateway.counts("gateway_protocol_requests_total", &labels, 2.0).await;
}

#[tokio::test]
async fn a_page_may_read_how_its_call_ended() {
    let (gateway, _) = gateway("").await;
    for media in [BINARY, TEXT] {
        let body = message(&Note::default());
        let body = if media == TEXT { STANDARD.encode(body).into_bytes() } else { body };
        let answer = ask(&gateway, "/test.Notes/Fail", media, body).await;
        assert_eq!((answer.status.as_u16(), answer.field("grpc-status")), (200, "5"), "{answer:?}");
        assert!(answer.field("content-type").starts_with("application/grpc-web"));
        assert!(answer.body.is_empty());
        assert_eq!(answer.field("access-control-allow-origin"), ORIGIN);
        let exposed: Vec<_> = answer.headers.get_all("access-control-expose-headers").iter().collect();
        assert_eq!(exposed, ["x-text", "grpc-status", "grpc-message", "grpc-status-details-bin"]);
    }
    let preflight = [
        ("origin", ORIGIN),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,x-grpc-web,x-user-agent"),
    ];
    let preflight = preflight.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let allowed = gateway.request(Method::OPTIONS, "/test.Notes/Echo", &preflight, Bytes::new()).await;
    assert_eq!(allowed.status, 204);
    assert_eq!(allowed.field("access-control-allow-origin"), ORIGIN);
    assert_eq!(allowed.field("access-control-allow-headers"), "content-type,x-grpc-web,x-user-agent");
    gateway
        .counts("gateway_protocol_requests_total", &["protocol=\"grpc_web\"", "outcome=\"client_error\""], 2.0)
        .await;
}

#[tokio::test]
async fn trailers_after_messages_are_a_frame() {
    let (gateway, _) = gateway("").await;
    let answer = ask(&gateway, "/test.Notes/Count", BINARY, message(&Note::new("lose", 3))).await;
    let (notes, trailers) = frames(&answer.body);
    assert_eq!(notes.len(), 3);
    for line in ["grpc-status:15", "grpc-message:lost%20the%20rest", "x-lost:7"] {
        assert!(trailers.iter().any(|trailer| trailer == line), "{line} in {trailers:?}");
    }
    gateway
        .counts("gateway_protocol_requests_total", &["protocol=\"grpc_web\"", "outcome=\"upstream_error\""], 1.0)
        .await;
}

#[tokio::test]
async fn the_gateways_errors_are_told_in_the_words_of_grpc() {
    let (gateway, _) = gateway("[route.notes.limits]\nmax_body = \"1KiB\"").await;
    for (path, body, code) in [
        ("/other.Service/Method", message(&Note::default()), "12"),
        ("/test.Notes/Echo", message(&Note::new(vec![b'x'; 2000], 0)), "8"),
    ] {
        let answer = ask(&gateway, path, BINARY, body).await;
        assert_eq!((answer.status.as_u16(), answer.field("grpc-status")), (200, code), "{answer:?}");
        assert_eq!(answer.field("content-type"), BINARY);
    }
    let answer = ask(&gateway, "/test.Notes/Echo", TEXT, "this is not base64!!").await;
    assert_ne!(answer.field("grpc-status"), "0");
}

/// One chunk of a response's body; empty at its end.
async fn chunk(wire: &mut Wire, read: &mut Vec<u8>) -> Vec<u8> {
    loop {
        if let Some(at) = read.windows(2).position(|two| two == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&read[..at]).unwrap(), 16).unwrap();
            if read.len() >= at + 2 + size + 2 {
                let chunk = read[at + 2..at + 2 + size].to_vec();
                read.drain(..at + 2 + size + 2);
                return chunk;
            }
        }
        read.extend(soon("a chunk", wire.some()).await);
    }
}

#[tokio::test]
async fn messages_pass_one_by_one() {
    let (gateway, _) = gateway("").await;
    for media in [BINARY, TEXT] {
        let written = |note: &Note| {
            let bytes = message(note);
            if media == TEXT { STANDARD.encode(bytes).into_bytes() } else { bytes }
        };
        let read = |bytes: &[u8]| frames(&if media == TEXT { from_text(bytes) } else { bytes.to_vec() });
        let mut wire = gateway.wire().await;
        wire.send(format!(
            "POST /test.Notes/Chat HTTP/1.1\r\nhost: a.test\r\ncontent-type: {media}\r\ntransfer-encoding: chunked\r\n\r\n"
        ))
        .await;
        let mut rest = Vec::new();
        for number in 0..5 {
            let note = written(&Note::new(vec![b'x'; 100], number));
            // In two chunks, which is no concern of the message.
            let (first, second) = note.split_at(7);
            for part in [first, second] {
                wire.send([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat()).await;
            }
            if number == 0 {
                let head = wire.head(&mut rest).await;
                assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            }
            let (notes, _) = read(&chunk(&mut wire, &mut rest).await);
            assert_eq!(notes, [Note::new(vec![b'x'; 100], number)]);
        }
        wire.send("0\r\n\r\n").await;
        let (_, trailers) = read(&chunk(&mut wire, &mut rest).await);
        assert_eq!(trailers, ["grpc-status:0"]);
        assert_eq!(chunk(&mut wire, &mut rest).await, b"");
    }
}

#[tokio::test]
async fn what_breaks_off_is_told_between_messages_and_cut_within_one() {
    let one = message(&Note::new("a", 1));
    for (sent, told) in [(one.clone(), true), (one[..7].to_vec(), false)] {
        let (product, reset) = breaks_off(sent.clone().into()).await;
        let toml = format!(
            "[product.notes]\nupstreams = [\"http://{product}\"]\n[route.notes]\npath = \"/{{*rest}}\"\nproduct = \"notes\"\n"
        );
        let gateway = TestGateway::start(Setup::new(&toml)).await;
        let mut wire = gateway.wire().await;
        let head = format!("host: a.test\r\ncontent-type: {BINARY}\r\ncontent-length: {}", one.len());
        wire.send([format!("POST /test.Notes/Any HTTP/1.1\r\n{head}\r\n\r\n").as_bytes(), &one].concat()).await;
        let mut rest = Vec::new();
        assert!(wire.head(&mut rest).await.starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(chunk(&mut wire, &mut rest).await, sent);
        reset.notify_one();
        if told {
            assert_eq!(frames(&chunk(&mut wire, &mut rest).await).1[0], "grpc-status:14");
            assert_eq!(chunk(&mut wire, &mut rest).await, b"");
        } else {
            assert_eq!(String::from_utf8_lossy(&wire.rest().await), "");
        }
        gateway
            .counts("gateway_protocol_errors_total", &["protocol=\"grpc_web\"", "reason=\"upstream_reset\""], 1.0)
            .await;
    }
}
