//! Answers of the gateway's own.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::body::Body;
use super::error::{Answer, RequestError};
use super::identity::{RequestId, X_REQUEST_ID};
use crate::telemetry::labels::Protocol;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The answer to `error`, in the words of `protocol`. `media` is the request's content type, which a gRPC client expects
/// to see again.
pub fn answer(error: &RequestError, id: &RequestId, protocol: Protocol, media: Option<&HeaderValue>) -> Response<Body> {
    let answer = error.answer();
    let mut response = match (protocol, media) {
        (Protocol::Grpc | Protocol::GrpcWeb, Some(media)) => trailers_only(&answer, media),
        _ => json(&answer, id),
    };
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, id.field());
    if let Some(after) = answer.retry_after {
        headers.insert(header::RETRY_AFTER, whole_seconds(after).into());
    }
    if *error == RequestError::WebsocketVersion {
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    if let RequestError::Method(methods) = error {
        allow(headers, methods);
    }
    response
}

/// Never less than one: zero would ask to come back at once.
fn whole_seconds(after: std::time::Duration) -> u64 {
    (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1)
}

fn json(answer: &Answer, id: &RequestId) -> Response<Body> {
    let body = serde_json::json!({
        "error": { "code": answer.reason.as_str(), "message": answer.message(), "request_id": id.as_str() }
    });
    let mut response = Response::new(Body::full(body.to_string()));
    *response.status_mut() = answer.http;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

fn trailers_only(answer: &Answer, media: &HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, media.clone());
    headers.insert(GRPC_STATUS, u16::from(answer.grpc as u8).into());
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(answer.message()));
    response
}

fn allow(headers: &mut HeaderMap, methods: &[http::Method]) {
    let list = methods.iter().map(http::Method::as_str).collect::<Vec<_>>().join(", ");
    if let Ok(list) = HeaderValue::try_from(list) {
        headers.insert(header::ALLOW, list);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Method;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::base::clock::Timestamp;

    fn ask(error: &RequestError, protocol: Protocol) -> Response<Body> {
        let media = HeaderValue::from_static("application/grpc+proto");
        answer(error, &RequestId::new(Timestamp::default()), protocol, Some(&media))
    }

    #[tokio::test]
    async fn an_error_is_json_with_code_message_and_request_id() {
        let response = ask(&RequestError::NoRoute, Protocol::Http);
        assert_eq!(response.status(), 404);
        let id = response.headers()[X_REQUEST_ID].to_str().expect("text").to_owned();
        let body = response.into_body().collect().await.expect("whole").to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(
            body,
            serde_json::json!({"error": {"code": "no_route", "message": "no route serves this request", "request_id": id}})
        );
    }

    #[test]
    fn a_405_says_what_is_allowed() {
        let response = ask(&RequestError::Method(vec![Method::GET, Method::HEAD]), Protocol::Http);
        assert_eq!(response.headers()[header::ALLOW], "GET, HEAD");
    }

    #[test]
    fn when_to_come_back_is_never_now() {
        for (after, said) in [(0, "1"), (1, "1"), (1500, "2"), (60_000, "60")] {
            let error = RequestError::RateLimited { retry_after: Duration::from_millis(after) };
            assert_eq!(ask(&error, Protocol::Http).headers()[header::RETRY_AFTER], said);
        }
    }

    #[test]
    fn grpc_is_told_in_its_own_words() {
        let response = ask(&RequestError::NoRoute, Protocol::Grpc);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[GRPC_STATUS], "12");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/grpc+proto");
    }
}
