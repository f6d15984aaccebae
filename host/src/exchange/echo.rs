//! The built-in `echo` backend: answers with what it received, for trying things out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Value, json};

use super::body::Body;
use crate::upstream::body::{BodyFault, Outgoing};
use crate::upstream::error::UpstreamError;

/// The largest body that is echoed.
const BODY_MAX: usize = 1 << 20;

/// What `request` looks like to a product, as JSON.
pub async fn answer(request: Request<Outgoing>) -> Result<Response<Body>, UpstreamError> {
    let (head, body) = request.into_parts();
    let body = collect(body).await.map_err(UpstreamError::Body)?;
    let (text, base64) = match std::str::from_utf8(&body) {
        Ok(text) => (Value::from(text), Value::Null),
        Err(_) => (Value::Null, Value::from(STANDARD.encode(&body))),
    };
    let echo = json!({
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "headers": fields(&head.headers),
        "body": text,
        "body_base64": base64,
        "body_bytes": body.len(),
    });
    let mut response = Response::new(Body::full(echo.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn collect(body: Outgoing) -> Result<Bytes, BodyFault> {
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyFault::TooLarge),
        Err(error) => Err(error.downcast::<BodyFault>().map_or(BodyFault::Cut, |fault| *fault)),
    }
}

/// Name and value, in order; bytes that are no text are replaced.
fn fields(headers: &HeaderMap) -> Value {
    headers.iter().map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo(body: Outgoing) -> Result<Value, UpstreamError> {
        let request = Request::put("/a%2Fb?c=d").header("x-a", "1").body(body).expect("a request");
        let body = answer(request).await?.into_body().collect().await.expect("whole").to_bytes();
        Ok(serde_json::from_slice(&body).expect("JSON"))
    }

    #[tokio::test]
    async fn it_answers_with_what_it_received() {
        let expected = json!({
            "method": "PUT", "path": "/a%2Fb", "query": "c=d", "headers": [["x-a", "1"]],
            "body": "hi", "body_base64": null, "body_bytes": 2,
        });
        assert_eq!(echo(Outgoing::full("hi".into())).await, Ok(expected));
    }

    #[tokio::test]
    async fn what_is_no_text_comes_back_in_base64() {
        let echoed = echo(Outgoing::full(Bytes::from_static(&[0xff, 0]))).await.expect("echoes");
        assert_eq!((&echoed["body"], &echoed["body_base64"]), (&Value::Null, &json!("/wA=")));
    }

    #[tokio::test]
    async fn it_does_not_hold_more_than_it_may() {
        let large = Outgoing::full(vec![b'a'; BODY_MAX + 1].into());
        assert_eq!(echo(large).await, Err(UpstreamError::Body(BodyFault::TooLarge)));
    }
}
