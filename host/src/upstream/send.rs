//! One request to one product: connection, request, response head, and what may be tried again.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};

use super::body::{Outgoing, Progress, Received, Step};
use super::error::UpstreamError;
use super::pool::{Checkout, Endpoint, Slot};
use super::{Sending, Upstream, connect};

/// Connections made for one request before it is given up.
const CONNECTS_MAX: usize = 3;

/// A failed attempt, with the request where it can be sent again.
struct Failed {
    error: UpstreamError,
    request: Option<Request<Outgoing>>,
}

impl Upstream {
    /// Sends `request`, whose target is in origin form, and returns the head of the response as soon as it is there.
    pub async fn send(
        &self,
        mut request: Request<Outgoing>,
        sending: &Sending,
    ) -> Result<Response<Received>, UpstreamError> {
        let mut fresh = false;
        loop {
            let (connection, reused) = self.connection(fresh, sending).await?;
            let host = sending.host.as_ref().unwrap_or(&connection.endpoint().authority);
            request.headers_mut().insert(header::HOST, HeaderValue::clone(host));
            let spare = if reused { replayable(&request) } else { None };
            match attempt(connection, request, sending).await {
                Ok(response) => return Ok(response),
                Err(failed) => {
                    match failed.request.or(spare).filter(|_| reused && failed.error == UpstreamError::Reset) {
                        Some(again) => request = again,
                        None => return Err(failed.error),
                    }
                }
            }
            // Where one idle connection was stale the others may be too.
            fresh = true;
            self.stale_retries.inc();
        }
    }

    /// A connection, and whether it served a request before.
    async fn connection(&self, fresh: bool, sending: &Sending) -> Result<(Checkout, bool), UpstreamError> {
        let mut avoid = None;
        let mut left = CONNECTS_MAX.min(self.endpoints.len());
        loop {
            let at = self.pick(avoid);
            let endpoint = &self.endpoints[at];
            if !fresh && let Some(connection) = endpoint.take_idle() {
                return Ok((connection, true));
            }
            let limit = earlier(sending.connect.map(|limit| Instant::now() + limit), sending.deadline);
            let mut queued = false;
            let connecting = self.connect(endpoint, fresh, &mut queued);
            left -= 1;
            let connected = match limit {
                Some(limit) => timeout_at(limit, connecting).await.unwrap_or(Err(UpstreamError::ConnectTimeout)),
                None => connecting.await,
            };
            match connected {
                Ok(connection) => return Ok(connection),
                Err(_) if sending.deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    return Err(UpstreamError::Deadline);
                }
                // The product's sockets are counted together, so another of its upstreams has no more room.
                Err(_) if queued => return Err(UpstreamError::Busy),
                Err(error) if left == 0 => return Err(error),
                Err(_) => self.connect_retries.inc(),
            }
            avoid = Some(at);
        }
    }

    /// A new connection to `endpoint`, or one that became free while `queued` for leave to make one.
    async fn connect(
        &self,
        endpoint: &Arc<Endpoint>,
        fresh: bool,
        queued: &mut bool,
    ) -> Result<(Checkout, bool), UpstreamError> {
        let slot = loop {
            let mut changed = pin!(self.slots.wait());
            changed.as_mut().enable();
            if let Some(slot) = self.slots.take() {
                break slot;
            }
            if !fresh && let Some(connection) = endpoint.take_idle() {
                return Ok((connection, true));
            }
            if !self.endpoints.iter().any(|other| other.evict()) {
                *queued = true;
                changed.await;
            }
        };
        *queued = false;
        let connection = self.handshake(endpoint, slot).await?;
        Ok((connection, false))
    }

    async fn handshake(&self, endpoint: &Arc<Endpoint>, slot: Slot) -> Result<Checkout, UpstreamError> {
        let stream = connect::tcp(&endpoint.url, self.plan.rule.as_ref()).await?;
        let (sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(self.plan.buffer_bytes.max(BUFFER_MIN))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| UpstreamError::Connect)?;
        // It ends when the sender is dropped or the upstream closes; what went wrong is told to the sender.
        tokio::spawn(connection);
        Ok(endpoint.adopt(sender, slot))
    }
}

/// The least hyper takes.
const BUFFER_MIN: usize = 8192;

async fn attempt(
    mut connection: Checkout,
    request: Request<Outgoing>,
    sending: &Sending,
) -> Result<Response<Received>, Failed> {
    let progress = request.body().progress();
    let sent = connection.sender.try_send_request(request);
    let error = match within(sending, progress.as_deref(), sent).await {
        // A switch of protocols that nobody asked for.
        Ok(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => UpstreamError::Protocol,
        Ok(Ok(response)) => return Ok(received(response, connection, progress)),
        Ok(Err(mut failed)) => {
            if let Some(request) = failed.take_message() {
                return Err(Failed { error: UpstreamError::Reset, request: Some(request) });
            }
            reason(failed.error(), progress.as_deref())
        }
        Err(late) => late,
    };
    Err(Failed { error, request: None })
}

fn received(response: Response<Incoming>, connection: Checkout, progress: Option<Arc<Progress>>) -> Response<Received> {
    response.map(|body| Received::new(body, connection, progress))
}

fn reason(error: &hyper::Error, progress: Option<&Progress>) -> UpstreamError {
    match progress.map(Progress::last) {
        Some((Step::Failed(fault), _)) => UpstreamError::Body(fault),
        _ if error.is_parse() => UpstreamError::Protocol,
        _ => UpstreamError::Reset,
    }
}

/// The request once more, where sending it twice does no harm (RFC 9110, section 9.2.2).
fn replayable(request: &Request<Outgoing>) -> Option<Request<Outgoing>> {
    let idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    );
    let body = request.body().copy().filter(|_| idempotent)?;
    let mut again = Request::new(body);
    again.method_mut().clone_from(request.method());
    again.uri_mut().clone_from(request.uri());
    again.headers_mut().clone_from(request.headers());
    Some(again)
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
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
