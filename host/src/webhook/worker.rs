//! Delivering: leases what is due, attempts it, writes down what came of it.
//!
//! One task owns the counts of attempts under way, so nothing is shared but the store. It wakes when the store says
//! something became due, when an attempt ends, when the next delivery falls due, and when the configuration changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::deliver::{self, Paused, Reached, Terms};
use super::pace::Pace;
use super::retry::{self, Next};
use crate::base::clock::{Clock, Timestamp};
use crate::base::drain::Drain;
use crate::base::names::ProductName;
use crate::gateway::product::{Backend, Product};
use crate::gateway::{Current, Gateway, Target};
use crate::store::{Attempt, EventStore, Lease, Settlement, StoreError};
use crate::telemetry::labels::DeliveryOutcome;
use crate::telemetry::registry::Metrics;
use crate::upstream::Room;

/// A lease outlives its attempt's timeout by this, for the answer to be written down.
const LEASE_MARGIN: Duration = Duration::from_secs(30);
/// Between two tries to write down what came of an attempt.
const SETTLE_AGAIN: Duration = Duration::from_millis(500);
/// After the store failed to answer.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// The most that is claimed at once.
const CLAIM_MAX: u32 = 256;

/// What delivering needs.
#[derive(Debug)]
pub struct Worker {
    /// Where routes and products are.
    pub current: Arc<Current>,
    /// Where the deliveries are.
    pub store: Arc<dyn EventStore>,
    /// The time of day.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Woken when the configuration changed.
    pub reloaded: Arc<Notify>,
}

impl Worker {
    /// Delivers until `drain` starts, then lets the attempts under way come to their end.
    pub async fn run(self: Arc<Self>, drain: Drain) {
        let mut running = Running::default();
        while !drain.started() {
            let gateway = self.current.load();
            running.keep_pace(&gateway);
            // Before the look, so that a breaker that closes during it is not missed.
            let paused = paused_until(&gateway).into_iter().chain(running.paced_until()).min();
            let found = self.claim(&gateway, &running).await;
            let idle = match found {
                Ok(leases) if leases.is_empty() => self.next_due(&gateway, &running).await,
                Ok(leases) => {
                    for lease in leases {
                        running.start(lease.product.clone(), self.clone().attempt(gateway.clone(), lease));
                    }
                    continue;
                }
                Err(error) => {
                    tracing::error!(%error, "deliveries wait for the store");
                    Idle::Pause
                }
            };
            drop(gateway);
            tokio::select! {
                () = drain.wait() => {}
                () = running.ended(), if !running.tasks.is_empty() => {}
                // A store that failed is left alone for the pause, whoever rings.
                () = self.store.changed(), if !matches!(idle, Idle::Pause) => {}
                () = self.reloaded.notified() => {}
                () = self.wait(idle) => {}
                () = until(paused) => {}
            }
        }
        while !running.tasks.is_empty() {
            running.ended().await;
        }
    }

    async fn claim(&self, gateway: &Gateway, running: &Running) -> Result<Vec<Lease>, StoreError> {
        let room = running.room(gateway);
        if room.is_empty() {
            return Ok(Vec::new());
        }
        self.store.claim(self.clock.now(), &room, longest_attempt(gateway) + LEASE_MARGIN).await
    }

    /// When to look again, for the products that have room: the others are looked at when an attempt ends.
    async fn next_due(&self, gateway: &Gateway, running: &Running) -> Idle {
        let products: Vec<ProductName> = running.room(gateway).into_iter().map(|(product, _)| product).collect();
        match self.store.next_due(&products).await {
            Ok(Some(at)) => Idle::Until(at),
            Ok(None) => Idle::Quiet,
            Err(error) => {
                tracing::error!(%error, "deliveries wait for the store");
                Idle::Pause
            }
        }
    }

    async fn wait(&self, idle: Idle) {
        match idle {
            Idle::Quiet => std::future::pending().await,
            Idle::Pause => tokio::time::sleep(STORE_PAUSE).await,
            Idle::Until(at) => self.clock.wait_until(at).await,
        }
    }

    async fn attempt(self: Arc<Self>, gateway: Arc<Gateway>, lease: Lease) -> ProductName {
        let product = lease.product.clone();
        let route = gateway.routes.get(&lease.event.route).map(|entry| &entry.target);
        let intake = route.and_then(|route| match &route.target {
            Target::Webhook(intake) => Some((intake, route)),
            Target::Proxy(_) => None,
        });
        let (Some((intake, route)), Some(served)) = (intake, gateway.products.get(&product)) else {
            let reason = format!("the configuration has no webhook route {} for {product}", lease.event.route);
            tracing::warn!(event = %lease.event.id, %product, "parked: {reason}");
            self.settle(lease, Settlement::Park { reason }).await;
            return product;
        };
        let (began, at) = (Instant::now(), self.clock.now());
        let policy = &intake.plan.retry;
        let terms = Terms {
            path: intake.plan.deliver_path.as_deref(),
            rewrite: route.policy.rewrite.as_ref(),
            connect: route.timeouts.connect,
            timeout: policy.timeout,
        };
        let reached = match deliver::attempt(&lease, served, &terms, &self.clock).await {
            Ok(reached) => reached,
            // It opened after the claim; no attempt is counted, and claims wait for it from now on.
            Err(Paused { .. }) => {
                self.settle(lease, Settlement::Release { at: self.clock.now() }).await;
                return product;
            }
        };
        let took = began.elapsed();
        self.metrics.webhook_delivery.with_label_values(&[product.as_str()]).observe(took.as_secs_f64());
        let next = retry::decide(self.clock.now(), lease.scheduled_attempt, reached.attempted, policy, fastrand::f64());
        self.conclude(lease, reached, next, at, took).await;
        product
    }

    async fn conclude(&self, lease: Lease, reached: Reached, next: Next, at: Timestamp, took: Duration) {
        let Reached { status, error, answer, .. } = reached;
        let attempt = Attempt { number: lease.attempt, at, took, status, error, answer };
        let (event, product, route) = (lease.event.id, lease.product.clone(), lease.event.route.clone());
        let (number, millis) = (attempt.number, took.as_millis());
        let error = attempt.error.clone().unwrap_or_default();
        let outcome = match next {
            Next::Delivered => {
                tracing::info!(%event, %route, %product, attempt = number, status, ms = millis, "delivered");
                DeliveryOutcome::Delivered
            }
            Next::Retry(at) => {
                tracing::warn!(%event, %route, %product, attempt = number, status, ms = millis, next = %at, "not delivered: {error}");
                DeliveryOutcome::Retry
            }
            Next::Dead(why) => {
                tracing::error!(%event, %route, %product, attempt = number, status, ms = millis, "dead: {}: {error}", why.as_str());
                DeliveryOutcome::Dead
            }
        };
        let settlement = match next {
            Next::Delivered => Settlement::Delivered(attempt),
            Next::Retry(at) => Settlement::Retry { attempt, at },
            Next::Dead(why) => Settlement::Dead { attempt, reason: format!("{}: {error}", why.as_str()) },
        };
        let outcome = if self.settle(lease, settlement).await { outcome } else { DeliveryOutcome::Lost };
        self.metrics.webhook_deliveries.with_label_values(&[product.as_str(), outcome.as_str()]).inc();
    }

    /// Writes it down, trying again while the lease holds; `false` when the lease was lost.
    async fn settle(&self, lease: Lease, settlement: Settlement) -> bool {
        loop {
            match self.store.settle(self.clock.now(), &lease, settlement.clone()).await {
                Ok(settled) => return settled,
                Err(error) if self.clock.now() < lease.until => {
                    tracing::error!(event = %lease.event.id, %error, "what came of an attempt is not written down yet");
                    tokio::time::sleep(SETTLE_AGAIN).await;
                }
                Err(error) => {
                    tracing::error!(event = %lease.event.id, %error, "what came of an attempt is lost; it is tried again");
                    return false;
                }
            }
        }
    }
}

/// Why there is nothing to do, and until when.
#[derive(Clone, Copy, Debug)]
enum Idle {
    Quiet,
    Pause,
    Until(Timestamp),
}

/// What the product's breaker lets through.
fn breaker(product: &Product) -> Room {
    match &product.backend {
        Backend::Upstream(upstream) => upstream.room(),
        Backend::Echo => Room::All,
    }
}

/// When the first of the products that are left alone may be tried again.
fn paused_until(gateway: &Gateway) -> Option<Instant> {
    let paused = gateway.products.values().filter_map(|product| match breaker(product) {
        Room::None(until) => Some(until),
        Room::All | Room::One => None,
    });
    paused.min()
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn longest_attempt(gateway: &Gateway) -> Duration {
    let timeouts = gateway.routes.iter().filter_map(|entry| match &entry.target.target {
        Target::Webhook(intake) => Some(intake.plan.retry.timeout),
        Target::Proxy(_) => None,
    });
    timeouts.max().unwrap_or_default()
}

/// The attempts under way.
#[derive(Debug, Default)]
struct Running {
    tasks: JoinSet<ProductName>,
    products: BTreeMap<ProductName, u32>,
    /// Of the products that have a rate.
    paces: BTreeMap<ProductName, Pace>,
    by_task: BTreeMap<tokio::task::Id, ProductName>,
}

impl Running {
    fn start(&mut self, product: ProductName, attempt: impl Future<Output = ProductName> + Send + 'static) {
        *self.products.entry(product.clone()).or_default() += 1;
        if let Some(pace) = self.paces.get_mut(&product) {
            pace.spend(Instant::now());
        }
        let task = self.tasks.spawn(attempt);
        self.by_task.insert(task.id(), product);
    }

    /// Takes the rates that hold now, and keeps what is left of them.
    fn keep_pace(&mut self, gateway: &Gateway) {
        let now = Instant::now();
        let paced = gateway.products.values().filter_map(|product| {
            let rate = product.delivery.rate?;
            let pace = self.paces.get(&product.name).map_or_else(|| Pace::new(rate, now), |pace| pace.at_rate(rate));
            Some((product.name.clone(), pace))
        });
        self.paces = paced.collect();
    }

    /// When the first of the products that had their share may have more.
    fn paced_until(&self) -> Option<Instant> {
        let now = Instant::now();
        self.paces.values().filter_map(|pace| pace.next(now)).min()
    }

    /// How many more attempts each product may have.
    fn room(&self, gateway: &Gateway) -> Vec<(ProductName, u32)> {
        let now = Instant::now();
        let left = |product: &Product| {
            let most = match breaker(product) {
                Room::All => product.delivery.concurrency,
                Room::One => 1,
                Room::None(_) => 0,
            };
            let paced = self.paces.get(&product.name).map_or(CLAIM_MAX, |pace| pace.room(now).min(CLAIM_MAX));
            most.saturating_sub(self.products.get(&product.name).copied().unwrap_or(0)).min(paced)
        };
        let room = gateway.products.values().map(|product| (product.name.clone(), left(product)));
        room.filter(|(_, left)| *left > 0).collect()
    }

    /// Returns when an attempt ended, one way or the other.
    async fn ended(&mut self) {
        let Some(ended) = self.tasks.join_next_with_id().await else { return };
        let id = match ended {
            Ok((id, _)) => id,
            Err(error) => {
                tracing::error!(%error, "an attempt to deliver failed; its lease runs out and it is tried again");
                error.id()
            }
        };
        if let Some(product) = self.by_task.remove(&id)
            && let Some(count) = self.products.get_mut(&product)
        {
            *count -= 1;
        }
    }
}
