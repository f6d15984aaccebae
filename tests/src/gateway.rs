//! A gateway in this process, its clock in the test's hand.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tollgate::app::{App, StartError, Surroundings};
use tollgate::base::clock::{Clock, Timestamp};
use tollgate::base::ids::EventId;
use tollgate::config::problem::Problems;
use tollgate::net::passed::Passed;
use tollgate::store::{Attempt, DeliveryRow, DeliveryState, EventStore, Filter};

use crate::client::{Answer, Connection, Wire};
use crate::setup::Setup;
use crate::signing::Signed;
use crate::turns::{self, Turn};
use crate::{eventually, plugins, soon};

/// When a test's clock starts: the moment most recorded requests were signed.
pub const START: Timestamp = Timestamp::from_seconds(1_790_000_000);

/// A gateway in this process.
#[derive(Debug)]
pub struct TestGateway {
    /// Its time of day: stands still until moved.
    pub clock: Clock,
    /// What it was started from.
    pub setup: Setup,
    app: App,
    address: SocketAddr,
    _turn: Turn,
}

impl TestGateway {
    /// Starts one beside those of other tests.
    pub async fn start(setup: Setup) -> Self {
        Self::start_at(setup, START).await
    }

    /// Starts one whose clock stands at `now`.
    pub async fn start_at(setup: Setup, now: Timestamp) -> Self {
        let turn = turns::shared().await;
        Self::started(setup, now, turn).await
    }

    /// Starts one while no other test runs.
    pub async fn start_alone(setup: Setup) -> Self {
        let turn = turns::alone().await;
        Self::started(setup, START, turn).await
    }

    async fn started(setup: Setup, now: Timestamp, turn: Turn) -> Self {
        let clock = Clock::manual(now);
        let app = soon("a start", start(&setup, clock.clone())).await.unwrap_or_else(|error| panic!("{error}"));
        let address = *app.addresses().get("public").expect("the listener of every test");
        Self { clock, setup, app, address, _turn: turn }
    }

    /// Stops in order and gives back what it was started from.
    pub async fn stop(self) -> Setup {
        soon("a stop", self.app.stop()).await;
        self.setup
    }

    /// Reads its configuration again, as SIGHUP asks for.
    pub async fn reload(&self) -> Result<u64, Problems> {
        soon("a reload", self.app.reload()).await
    }

    /// Writes another configuration and serves it, or says why not.
    pub async fn reload_with(&self, toml: &str) -> Result<u64, Problems> {
        self.setup.write(toml);
        self.reload().await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the listener called `name` listens now.
    pub fn listener(&self, name: &str) -> SocketAddr {
        self.find_listener(name).unwrap_or_else(|| panic!("there is no listener {name}"))
    }

    /// Where the listener called `name` listens, if there is one.
    pub fn find_listener(&self, name: &str) -> Option<SocketAddr> {
        self.app.addresses().get(name).copied()
    }

    /// The time, Unix seconds.
    pub fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    /// Its event log.
    pub fn store(&self) -> &Arc<dyn EventStore> {
        self.app.store()
    }

    /// A connection that is kept.
    pub async fn connect(&self) -> Connection {
        soon("a connection", Connection::open(self.address)).await.expect("the gateway accepts")
    }

    /// A connection seen as bytes.
    pub async fn wire(&self) -> Wire {
        Wire::open(self.address).await
    }

    /// One request on a connection of its own.
    pub async fn request(&self, method: Method, path: &str, headers: &[(String, String)], body: Bytes) -> Answer {
        let mut connection = self.connect().await;
        soon("an answer", connection.request(method, path, headers, body)).await.expect("an answer")
    }

    /// Posts a signed request on a connection of its own.
    pub async fn post(&self, path: &str, signed: &Signed) -> Answer {
        self.request(Method::POST, path, &signed.headers, signed.body.clone()).await
    }

    /// What the admin listener says.
    pub async fn ask_admin(&self, path: &str) -> Answer {
        self.admin(Method::GET, path, Bytes::new()).await
    }

    /// Changes something through the admin listener.
    pub async fn operate(&self, path: &str, body: &serde_json::Value) -> Answer {
        self.admin(Method::POST, path, body.to_string().into()).await
    }

    async fn admin(&self, method: Method, path: &str, body: Bytes) -> Answer {
        let mut connection = soon("a connection", Connection::open(self.app.admin())).await.expect("it accepts");
        let json = [("content-type".to_owned(), "application/json".to_owned())];
        soon("an answer", connection.request(method, path, &json, body)).await.expect("an answer")
    }

    /// Every delivery in the log, newest event first.
    pub async fn events(&self) -> Vec<DeliveryRow> {
        let page = self.store().list(&Filter::default(), None, 500).await.expect("the log is read");
        assert_eq!(page.next, None, "a test's log fits on one page");
        page.rows
    }

    /// The one delivery of the event called `id`.
    pub async fn event(&self, id: &str) -> DeliveryRow {
        let id = EventId::parse(id).expect("an id");
        let detail = self.store().show(id).await.expect("the log is read").expect("the event is in the log");
        let [(row, _)] = detail.deliveries.as_slice() else { panic!("expected one delivery, not {detail:?}") };
        row.clone()
    }

    /// What came of each attempt to deliver the event called `id`.
    pub async fn attempts(&self, id: &str) -> Vec<Attempt> {
        let id = EventId::parse(id).expect("an id");
        let detail = self.store().show(id).await.expect("the log is read").expect("the event is in the log");
        detail.deliveries.into_iter().flat_map(|(_, attempts)| attempts).collect()
    }

    /// Waits until the event's delivery is in `state` after so many attempts.
    pub async fn settled(&self, id: &str, state: DeliveryState, attempts: u32) -> DeliveryRow {
        let what = format!("{id} {} after {attempts} attempts", state.as_str());
        eventually(&what, || async {
            let row = self.event(id).await;
            (row.state == state && row.attempts == attempts).then_some(row)
        })
        .await
    }

    /// Makes the event due again, as an operator does.
    pub async fn replay(&self, id: &str) -> u64 {
        let filter = Filter { event: EventId::parse(id), ..Filter::default() };
        self.store().replay(self.clock.now(), &filter, 1).await.expect("a replay")
    }

    /// The sum of a metric's samples that carry all of `labels`, each written `name="value"`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = String::from_utf8(self.app.metrics().encode()).expect("metrics are text");
        let of = |line: &str| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
            let (series, value) = rest.rsplit_once(' ')?;
            labels.iter().all(|label| series.contains(label)).then(|| value.parse::<f64>().ok())?
        };
        text.lines().filter_map(of).sum()
    }

    /// Waits until a metric, which is counted just after what it counts is on disk, has come to `value`.
    pub async fn counts(&self, name: &str, labels: &[&str], value: f64) {
        let look = || async { (self.metric(name, labels) >= value).then_some(()) };
        eventually(&format!("{name}{labels:?} at {value}"), look).await;
        assert_eq!(self.metric(name, labels), value, "{name}{labels:?}");
    }

    /// How many requests of a webhook route came to `outcome`.
    pub fn outcomes(&self, route: &str, outcome: &str) -> f64 {
        let labels = [format!("route=\"{route}\""), format!("outcome=\"{outcome}\"")];
        self.metric("gateway_webhook_events_total", &[&labels[0], &labels[1]])
    }

    /// Moves the clock forward.
    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// Starts the gateway, or says why not.
pub async fn start(setup: &Setup, clock: Clock) -> Result<App, StartError> {
    let plan = tollgate::config::load(&setup.config())?;
    let environment = setup.environment.clone();
    let surroundings = Surroundings {
        clock,
        workers: NonZeroUsize::new(2).expect("not zero"),
        cache: setup.compile_cache.then(plugins::cache),
        environment: Arc::new(move |name| environment.get(name).map(OsString::from)),
        sockets: Passed::default(),
    };
    App::start(plan, surroundings).await
}
