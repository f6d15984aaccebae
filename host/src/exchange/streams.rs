//! Responses that are open by their nature: they end when there is nothing more to say, not after a time.

use http::header::{self, HeaderMap, HeaderValue};

use crate::telemetry::labels::Protocol;

/// Media types of events, one after another: server-sent events, parts of an incremental answer, a JSON text a line or a
/// record.
const OPEN: [&str; 8] = [
    "text/event-stream",
    "multipart/mixed",
    "multipart/x-mixed-replace",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/json-seq",
    "application/stream+json",
];

/// What an exchange turned out to speak once its response's head is there.
pub fn answered(protocol: Protocol, headers: &HeaderMap) -> Protocol {
    if protocol != Protocol::Http {
        return protocol;
    }
    let is = |wanted| is_media(headers, wanted);
    if is("text/event-stream") {
        Protocol::Sse
    } else if is("multipart/mixed") || is("application/graphql-response+json") {
        Protocol::Graphql
    } else {
        Protocol::Http
    }
}

/// Whether a response to `protocol` may go on for ever, as long as it is not silent. How long a call of gRPC takes is its
/// client's to say.
pub fn is_open(protocol: Protocol, headers: &HeaderMap) -> bool {
    !protocol.is_call() && OPEN.iter().any(|media| is_media(headers, media))
}

fn is_media(headers: &HeaderMap, wanted: &str) -> bool {
    let media = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let Some((start, rest)) = media.split_at_checked(wanted.len()) else { return false };
    start.eq_ignore_ascii_case(wanted.as_bytes()) && matches!(rest.first(), None | Some(b';' | b' ' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(media: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(media))])
    }

    #[test]
    fn a_response_says_what_it_is() {
        let spoken = |media| answered(Protocol::Http, &of(media));
        assert_eq!(spoken("text/event-stream; charset=utf-8"), Protocol::Sse);
        assert_eq!(spoken("Text/Event-Stream"), Protocol::Sse);
        assert_eq!(spoken("multipart/mixed;boundary=\"-\";deferSpec=20220824"), Protocol::Graphql);
        assert_eq!(spoken("application/graphql-response+json"), Protocol::Graphql);
        assert_eq!(spoken("text/event-streams"), Protocol::Http);
        assert_eq!(answered(Protocol::Webhook, &of("text/event-stream")), Protocol::Webhook);
        assert_eq!(answered(Protocol::Http, &HeaderMap::new()), Protocol::Http);
    }

    #[test]
    fn events_have_no_end_of_their_own() {
        assert!(is_open(Protocol::Http, &of("application/x-ndjson")));
        assert!(is_open(Protocol::Http, &of("multipart/mixed; boundary=-")));
        assert!(!is_open(Protocol::Http, &of("application/json")));
        assert!(!is_open(Protocol::Grpc, &of("text/event-stream")));
    }
}
