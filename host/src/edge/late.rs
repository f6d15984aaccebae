//! The answer to a request of HTTP/1.1 whose head came too late: 408, where the HTTP library would close without a word.

use std::time::Duration;

use http_body_util::BodyExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::base::clock::Timestamp;
use crate::exchange::error::RequestError;
use crate::exchange::identity::RequestId;
use crate::exchange::respond;
use crate::net::stream::Stream;
use crate::telemetry::labels::Protocol;

/// A client that does not take so few bytes in this time gets none.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers and closes.
pub(super) async fn answer(mut stream: Stream, now: Timestamp) {
    let response = respond::answer(&RequestError::HeadTimeout, &RequestId::new(now), Protocol::Http, None);
    let (head, body) = response.into_parts();
    let Ok(body) = body.collect().await else { return };
    let body = body.to_bytes();
    let mut text = format!("HTTP/1.1 {}\r\nconnection: close\r\ncontent-length: {}\r\n", head.status, body.len());
    for (name, value) in &head.headers {
        text += &format!("{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    let bytes = [text.as_bytes(), b"\r\n", &body].concat();
    let writing = async {
        stream.write_all(&bytes).await?;
        stream.shutdown().await
    };
    // Whoever left already misses nothing.
    let _told = timeout(PATIENCE, writing).await;
}
