//! One request to one product: connection, request, response head, and what may be tried again.

use std::pin::pin;
use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri};
use tokio::time::{Instant, timeout_at};

use super::attempt::{self, Fate, earlier};
use super::body::{Outgoing, Received};
use super::breaker::Verdict;
use super::dial::Dialled;
use super::error::UpstreamError;
use super::pool::{Checkout, Endpoint, Queued, Turn, Version, Wire};
use super::replay::Again;
use super::slots::Slot;
use super::{Sending, Upstream, health};
use crate::config::plan::UpstreamScheme;
use crate::telemetry::labels::Retry;

/// Connections made for one request before it is given up.
const CONNECTS_MAX: usize = 3;
/// How often one request is sent.
const SENDS_MAX: usize = 3;

/// A connection for a request, and whether it served one before.
type Ready = (Checkout, bool);

impl Upstream {
    /// Sends `request`, whose target is in origin form, and returns the head of the response as soon as it is there.
    pub async fn send(
        &self,
        request: Request<Outgoing>,
        sending: &Sending,
    ) -> Result<Response<Received>, UpstreamError> {
        let probe = self.breaker.admit().map_err(|retry_after| UpstreamError::Paused { retry_after })?;
        self.budget.earn();
        let answered = self.attempts(request, sending).await;
        if self.breaker.judge(verdict(answered.as_ref()), probe.as_ref()) {
            let pause = self.plan.breaker.as_ref().map(|plan| plan.pause.as_secs());
            tracing::warn!(product = %self.plan.product, seconds = pause, "the breaker opened: nothing is sent for a while");
        }
        answered
    }

    async fn attempts(
        &self,
        mut request: Request<Outgoing>,
        sending: &Sending,
    ) -> Result<Response<Received>, UpstreamError> {
        let (mut fresh, mut avoid) = (false, None);
        for sent in 1.. {
            let (connection, at, reused) = self.connection(fresh, avoid, sending).await?;
            address(&mut request, &connection, sending)?;
            let spare = spare(&mut request, &connection);
            let attempted = attempt::once(connection, request, sending).await;
            // What was not sent, or sent back unseen, says nothing of how the upstream fares.
            if attempted.as_ref().map_or_else(|failed| matches!(failed.fate, Fate::Lost), |_| true) {
                self.note(at, attempted.as_ref().map_err(|failed| &failed.error));
            }
            let failed = match attempted {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            let (reason, free, again) = match failed.fate {
                // It costs the upstream nothing.
                Fate::Unsent(request) => (Retry::Stale, true, Some(*request)),
                Fate::Refused => (Retry::Refused, false, spare.and_then(Spare::request)),
                Fate::Lost if failed.error != UpstreamError::Reset => return Err(failed.error),
                // What broke a fresh connection breaks the next one to the same upstream too.
                Fate::Lost if !reused && self.endpoints.len() == 1 => return Err(failed.error),
                Fate::Lost => {
                    let reason = if reused { Retry::Stale } else { Retry::Reset };
                    (reason, false, spare.filter(|spare| is_idempotent(spare.method())).and_then(Spare::request))
                }
            };
            match again.filter(|_| sent < SENDS_MAX && (free || self.budget.spend())) {
                Some(again) => request = again,
                None => return Err(failed.error),
            }
            // Where one idle connection was stale the others may be too; who refused is left alone.
            (fresh, avoid) = (reason == Retry::Stale, (reason != Retry::Stale).then_some(at));
            self.retries.count(reason);
        }
        Err(UpstreamError::Reset)
    }

    /// Tells the upstream's standing what came of an attempt.
    fn note(&self, at: usize, attempted: Result<&Response<Received>, &UpstreamError>) {
        match verdict(attempted) {
            Verdict::Well => self.endpoints[at].standing.succeeded(),
            Verdict::Failed => health::failed(self.plan.product.as_str(), &self.endpoints[at]),
            Verdict::Neither => {}
        }
    }

    /// A connection, which of the upstreams it leads to, and whether it served a request before.
    async fn connection(
        &self,
        fresh: bool,
        mut avoid: Option<usize>,
        sending: &Sending,
    ) -> Result<(Checkout, usize, bool), UpstreamError> {
        let mut made = 0;
        loop {
            let at = self.pick_for(sending, avoid);
            let endpoint = &self.endpoints[at];
            let version = endpoint.version(sending.multiplexed, sending.upgrade);
            if (!fresh || version == Version::Multiplexed)
                && let Some(connection) = endpoint.take(version)
            {
                return Ok((connection, at, true));
            }
            let limit = earlier(sending.connect.map(|limit| Instant::now() + limit), sending.deadline);
            let mut queued = Queued::default();
            // Boxed, because it is large and rare: what a request's future holds is moved with it.
            let connecting = Box::pin(self.connect(endpoint, version, fresh, &mut queued));
            let connected = match limit {
                Some(limit) => timeout_at(limit, connecting).await.unwrap_or(Err(UpstreamError::ConnectTimeout)),
                None => connecting.await,
            };
            made += 1;
            let error = match connected {
                Ok((connection, reused)) => return Ok((connection, at, reused)),
                Err(_) if sending.deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    return Err(UpstreamError::Deadline);
                }
                // The product's sockets are counted together, so another of its upstreams has no more room.
                Err(_) if queued.is_set() => return Err(UpstreamError::Busy),
                Err(error) => error,
            };
            health::failed(self.plan.product.as_str(), endpoint);
            // The first retry is free: nothing was sent, and to know that an upstream is not there takes a try.
            if made >= CONNECTS_MAX.min(self.endpoints.len()) || (made > 1 && !self.budget.spend()) {
                return Err(error);
            }
            self.retries.count(Retry::Connect);
            avoid = Some(at);
        }
    }

    /// A new connection to `endpoint`, or one that became free while `queued` for leave to make one.
    async fn connect(
        &self,
        endpoint: &Arc<Endpoint>,
        version: Version,
        fresh: bool,
        queued: &mut Queued,
    ) -> Result<Ready, UpstreamError> {
        loop {
            // Looked at again each time: a TLS upstream tells with its first connection which version it speaks.
            if endpoint.is_plain(version) {
                let take = || if fresh { None } else { endpoint.take(version) };
                return self.connect_alone(endpoint, version, take, queued).await;
            }
            // One connection can serve all who wait for one, so only one of them makes it.
            match endpoint.turn(queued) {
                Turn::Mine(_turn) => {
                    return self.connect_alone(endpoint, version, || endpoint.take(version), queued).await;
                }
                Turn::Wait(done, theirs) => {
                    // Who waits for somebody who waits for leave waits for leave.
                    *queued = theirs;
                    done.await;
                    *queued = Queued::default();
                }
            }
            if let Some(connection) = endpoint.take(version) {
                return Ok((connection, true));
            }
        }
    }

    async fn connect_alone(
        &self,
        endpoint: &Arc<Endpoint>,
        version: Version,
        take: impl Fn() -> Option<Checkout>,
        queued: &mut Queued,
    ) -> Result<Ready, UpstreamError> {
        match self.leave(endpoint, version, take, queued).await {
            Leave::Slot(slot) => {
                let connection = match self.dial(endpoint, version, slot).await? {
                    Dialled::Plain(sender, peer, slot) => {
                        endpoint.chose_plain(version);
                        endpoint.adopt(sender, peer, slot)
                    }
                    Dialled::Shared(shared) => endpoint.share(shared).ok_or(UpstreamError::Busy)?,
                };
                Ok((connection, false))
            }
            Leave::Taken(connection) => Ok((connection, true)),
        }
    }

    /// Leave for one more connection, or one that became free in the meantime.
    async fn leave(
        &self,
        endpoint: &Arc<Endpoint>,
        version: Version,
        take: impl Fn() -> Option<Checkout>,
        queued: &mut Queued,
    ) -> Leave {
        let _waiting = self.slots.waiting();
        loop {
            let mut changed = pin!(self.slots.changes());
            changed.as_mut().enable();
            if let Some(connection) = take() {
                return Leave::Taken(connection);
            }
            if endpoint.is_plain(version) || !endpoint.is_full() {
                if let Some(slot) = self.slots.take() {
                    queued.set(false);
                    return Leave::Slot(slot);
                }
                if let Some(connection) = endpoint.borrow(version) {
                    return Leave::Taken(connection);
                }
                if self.endpoints.iter().any(|other| other.evict()) {
                    continue;
                }
            }
            queued.set(true);
            changed.await;
        }
    }
}

/// What whoever waits for a connection gets.
enum Leave {
    Slot(Slot),
    Taken(Checkout),
}

/// What a response, or none, says of the upstream.
fn verdict(answered: Result<&Response<Received>, &UpstreamError>) -> Verdict {
    match answered {
        Ok(response) => match response.status() {
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => Verdict::Failed,
            _ => Verdict::Well,
        },
        Err(error) if error.is_the_upstreams() => Verdict::Failed,
        Err(_) => Verdict::Neither,
    }
}

/// Puts target and host where the connection's version of HTTP wants them.
pub(super) fn address(
    request: &mut Request<Outgoing>,
    connection: &Checkout,
    sending: &Sending,
) -> Result<(), UpstreamError> {
    let endpoint = connection.endpoint();
    match &connection.wire {
        Wire::Plain(_) => {
            let host = sending.host.as_ref().unwrap_or(&endpoint.host);
            request.headers_mut().insert(header::HOST, HeaderValue::clone(host));
            if request.uri().authority().is_some()
                && let Some(target) = request.uri().path_and_query()
            {
                *request.uri_mut() = Uri::from(target.clone());
                if http_body::Body::size_hint(request.body()).exact().is_none() {
                    // An attempt over HTTP/2 took it away.
                    request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                }
            }
        }
        Wire::Stream(_) => {
            request.headers_mut().remove(header::HOST);
            // HTTP/2 frames every body itself.
            request.headers_mut().remove(header::TRANSFER_ENCODING);
            let mut parts = uri::Parts::default();
            parts.scheme = Some(match endpoint.url.scheme {
                UpstreamScheme::Https => uri::Scheme::HTTPS,
                UpstreamScheme::Http | UpstreamScheme::H2c => uri::Scheme::HTTP,
            });
            parts.authority = Some(match &sending.host {
                None => endpoint.authority.clone(),
                Some(host) => uri::Authority::try_from(host.as_bytes()).map_err(|_| UpstreamError::Protocol)?,
            });
            parts.path_and_query = request.uri().path_and_query().cloned();
            *request.uri_mut() = Uri::from_parts(parts).map_err(|_| UpstreamError::Protocol)?;
        }
    }
    Ok(())
}

/// The request once more, for when it has to be sent again.
struct Spare(Request<Option<Outgoing>>, Option<Again>);

impl Spare {
    fn method(&self) -> &Method {
        self.0.method()
    }

    /// `None` when too much of its body is gone.
    fn request(self) -> Option<Request<Outgoing>> {
        let Self(request, again) = self;
        let (head, body) = request.into_parts();
        let body = body.or_else(|| again?.body())?;
        Some(Request::from_parts(head, body))
    }
}

/// Over HTTP/1.1 only what may be sent twice is worth a copy (RFC 9110, section 9.2.2); over HTTP/2 an upstream can say
/// that it has not looked at a request, whatever it is.
fn spare(request: &mut Request<Outgoing>, connection: &Checkout) -> Option<Spare> {
    let (body, again) = match &connection.wire {
        Wire::Plain(_) if !is_idempotent(request.method()) => return None,
        Wire::Plain(_) => (Some(request.body().copy()?), None),
        Wire::Stream(_) => match request.body().copy() {
            Some(copy) => (Some(copy), None),
            None => (None, request.body_mut().recorded()),
        },
    };
    let mut again_request = Request::new(body);
    again_request.method_mut().clone_from(request.method());
    again_request.uri_mut().clone_from(request.uri());
    again_request.headers_mut().clone_from(request.headers());
    Some(Spare(again_request, again))
}

fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE)
}
