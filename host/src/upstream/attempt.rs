//! One attempt: a request over one connection, until the head of its response is there or overdue.

use std::error::Error as _;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::{Instant, timeout_at};

use super::Sending;
use super::body::{Outgoing, Progress, Received, Step};
use super::error::UpstreamError;
use super::pool::{Checkout, Wire};

/// An attempt without a response.
pub(super) struct Failed {
    pub(super) error: UpstreamError,
    pub(super) fate: Fate,
}

/// What became of the request.
pub(super) enum Fate {
    /// None of it was sent.
    Unsent(Box<Request<Outgoing>>),
    /// The upstream said that it did not look at it.
    Refused,
    /// The upstream may have acted on it.
    Lost,
}

/// Sends `request` over `connection`.
pub(super) async fn once(
    mut connection: Checkout,
    request: Request<Outgoing>,
    sending: &Sending,
) -> Result<Response<Received>, Failed> {
    let progress = request.body().progress();
    let sent = match &mut connection.wire {
        Wire::Plain(plain) => {
            let sent = plain.sender.try_send_request(request);
            within(sending, progress.as_deref(), sent).await
        }
        Wire::Stream(stream) => {
            let sent = stream.sender.try_send_request(request);
            within(sending, progress.as_deref(), sent).await
        }
    };
    let lost = |error| Failed { error, fate: Fate::Lost };
    match sent {
        Ok(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => match sending.upgrade {
            true => Ok(response.map(|body| Received::switched(body, connection))),
            // Nobody asked for it.
            false => Err(lost(UpstreamError::Protocol)),
        },
        Ok(Ok(response)) => Ok(received(response, connection, progress)),
        Ok(Err(failed)) => Err(failure(failed, &connection, progress.as_deref())),
        Err(late) => {
            // Whether the upstream is slow or gone cannot be told; if it is gone, the next request must not wait for it too.
            if let (UpstreamError::ResponseTimeout, Wire::Stream(stream)) = (&late, &connection.wire) {
                stream.retire();
            }
            Err(lost(late))
        }
    }
}

fn received(response: Response<Incoming>, connection: Checkout, progress: Option<Arc<Progress>>) -> Response<Received> {
    response.map(|body| Received::new(body, connection, progress))
}

fn failure(mut failed: TrySendError<Request<Outgoing>>, connection: &Checkout, progress: Option<&Progress>) -> Failed {
    if let Some(request) = failed.take_message() {
        return Failed { error: UpstreamError::Reset, fate: Fate::Unsent(Box::new(request)) };
    }
    let error = failed.error();
    let Wire::Stream(stream) = &connection.wire else {
        return Failed { error: reason(error, progress), fate: Fate::Lost };
    };
    let Some(h2) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
        stream.retire();
        return Failed { error: reason(error, progress), fate: Fate::Lost };
    };
    if !h2.is_reset() {
        stream.retire();
    }
    // A stream that ends with the peer's GOAWAY is above the last one it looked at (RFC 9113, section 6.8).
    let refused = h2.is_remote() && (h2.is_go_away() || h2.reason() == Some(h2::Reason::REFUSED_STREAM));
    if refused {
        return Failed { error: UpstreamError::Reset, fate: Fate::Refused };
    }
    let error = match reason(error, progress) {
        UpstreamError::Reset if h2.is_library() => UpstreamError::Protocol,
        other => other,
    };
    Failed { error, fate: Fate::Lost }
}

fn reason(error: &hyper::Error, progress: Option<&Progress>) -> UpstreamError {
    match progress.map(Progress::last) {
        Some((Step::Failed(fault), _)) => UpstreamError::Body(fault),
        _ if error.is_parse() => UpstreamError::Protocol,
        _ => UpstreamError::Reset,
    }
}

pub(super) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Waits for `future`, at most until the response is overdue or the exchange's deadline passes.
async fn within<T>(
    sending: &Sending,
    progress: Option<&Progress>,
    future: impl Future<Output = T>,
) -> Result<T, UpstreamError> {
    let mut future = pin!(future);
    let started = Instant::now();
    loop {
        let now = Instant::now();
        let due = due(sending, progress, started, now);
        let Some(look) = earlier(due, sending.deadline) else { return Ok(future.await) };
        if let Ok(done) = timeout_at(look, future.as_mut()).await {
            return Ok(done);
        }
        let now = Instant::now();
        if sending.deadline.is_some_and(|deadline| deadline <= now) {
            return Err(UpstreamError::Deadline);
        }
        if self::due(sending, progress, started, now).is_some_and(|due| due <= now) {
            return Err(UpstreamError::ResponseTimeout);
        }
    }
}

/// When the response is overdue as things stand. While the client has yet to send, the upstream owes nothing, and the
/// client's own timeout runs.
fn due(sending: &Sending, progress: Option<&Progress>, started: Instant, now: Instant) -> Option<Instant> {
    let limit = sending.response?;
    Some(match progress.map(Progress::last) {
        None => started + limit,
        Some((Step::Waiting, _)) => now + limit,
        Some((Step::Moving | Step::Done | Step::Failed(_), since)) => since + limit,
    })
}
