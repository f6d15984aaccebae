//! What goes on beside requests: checks of the upstreams' health, and new look-ups of their names. Each check makes a
//! connection of its own, as a request would.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Request, StatusCode, header};
use tokio::time::{Instant, MissedTickBehavior};

use super::body::Outgoing;
use super::dial::Dialled;
use super::error::UpstreamError;
use super::pool::Endpoint;
use super::slots::Slot;
use super::{Sending, Upstream, attempt, resolve, send};
use crate::config::plan::Health;

const AGENT: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"), " (health check)");

impl Upstream {
    /// Starts what goes on beside requests, once; it ends with the upstream. Must run on a runtime.
    pub fn start(self: &Arc<Self>) {
        if self.started.swap(true, Ordering::Relaxed) {
            return;
        }
        for endpoint in &self.endpoints {
            if !endpoint.names.is_fixed() {
                tokio::spawn(look_up(Arc::downgrade(endpoint), self.plan.product.to_string()));
            }
            if let Some(health) = &self.plan.health {
                tokio::spawn(check(Arc::downgrade(self), Arc::downgrade(endpoint), health.clone()));
            }
        }
    }

    /// One check; why it is not well.
    async fn is_well(&self, endpoint: &Arc<Endpoint>, health: &Health) -> Result<(), String> {
        let checking = self.check(endpoint, health);
        match tokio::time::timeout(health.timeout, checking).await {
            Ok(Ok(status)) if status.is_success() || status.is_redirection() => Ok(()),
            Ok(Ok(status)) => Err(format!("it answered {}", status.as_u16())),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} ms", health.timeout.as_millis())),
        }
    }

    async fn check(&self, endpoint: &Arc<Endpoint>, health: &Health) -> Result<StatusCode, UpstreamError> {
        // Not one of the product's sockets: where all are busy, its health is of no less interest.
        let connection = match self.dial(endpoint, endpoint.version(false, false), Slot::free()).await? {
            Dialled::Plain(sender, peer, slot) => {
                endpoint.chose_plain(endpoint.version(false, false));
                endpoint.adopt(sender, peer, slot)
            }
            Dialled::Shared(shared) => endpoint.keep_apart(&shared).ok_or(UpstreamError::Busy)?,
        };
        let request = Request::get(health.path.as_str()).header(header::USER_AGENT, AGENT);
        // Not to be used again; HTTP/2 leaves the field out.
        let request = request.header(header::CONNECTION, "close").body(Outgoing::empty());
        let mut request = request.map_err(|_| UpstreamError::Protocol)?;
        let sending = Sending::default();
        send::address(&mut request, &connection, &sending)?;
        match attempt::once(connection, request, &sending).await {
            Ok(response) => Ok(response.status()),
            Err(failed) => Err(failed.error),
        }
    }
}

async fn check(upstream: Weak<Upstream>, endpoint: Weak<Endpoint>, health: Health) {
    let mut ticks = tokio::time::interval(health.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (Some(upstream), Some(endpoint)) = (upstream.upgrade(), endpoint.upgrade()) else { return };
        let was = endpoint.standing.is_available();
        let well = upstream.is_well(&endpoint, &health).await;
        endpoint.standing.checked(well.is_ok());
        let (product, url, is) = (&upstream.plan.product, &endpoint.url, endpoint.standing.is_available());
        match well {
            Ok(()) if !was && is => tracing::info!(%product, upstream = %url, "well again"),
            Err(why) if was && !is => tracing::warn!(%product, upstream = %url, "not well: {why}"),
            Ok(()) | Err(_) => {}
        }
    }
}

async fn look_up(endpoint: Weak<Endpoint>, product: String) {
    let mut failing = false;
    loop {
        let Some(held) = endpoint.upgrade() else { return };
        let looked = held.names.look_up().await;
        match &looked {
            Ok(gone) if !gone.is_empty() => {
                tracing::info!(product, upstream = %held.url, "its name has other addresses now");
                held.forget(gone);
            }
            Err(error) if !failing => {
                tracing::warn!(product, upstream = %held.url, %error, "its name does not resolve")
            }
            Ok(_) | Err(_) => {}
        }
        failing = looked.is_err();
        drop(held);
        wait(&endpoint).await;
    }
}

/// Until the next look-up is due, or a failed connection asks for one.
async fn wait(endpoint: &Weak<Endpoint>) {
    let due = Instant::now() + resolve::EVERY;
    tokio::time::sleep(resolve::PAUSE).await;
    while Instant::now() < due {
        let Some(held) = endpoint.upgrade() else { return };
        // Not for long at once: while this waits the endpoint lives.
        if tokio::time::timeout(HOLD, held.names.doubted()).await.is_ok() {
            return;
        }
    }
}

/// How long a task that waits keeps alive what it waits for.
const HOLD: Duration = Duration::from_secs(2);
