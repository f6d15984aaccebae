//! Recorded requests with the answer they must get, one JSON object a line: the same file that `tollgate plugin test`
//! reads, and that the gateway runs before it swaps a plugin in.

use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{FakeRequest, FakeResponse};
use crate::{About, Edit, Event, Identity, Propagator, Protocol, Refusal, Router, Settings, Verdict, Verifier};

#[derive(Deserialize)]
struct Vector {
    id: String,
    #[serde(default)]
    secrets: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    options: serde_json::Map<String, serde_json::Value>,
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body_base64: String,
    #[serde(default)]
    now: u64,
    #[serde(default = "five_minutes")]
    tolerance: Option<u64>,
    expect: String,
    #[serde(default)]
    why: String,
    /// What an accepted request must be found to be.
    event: Option<Found>,
    /// The body of the answer to a handshake.
    reply: Option<String>,
    protocol: Option<String>,
    /// Of a propagator: it is asked about this response to the request.
    response: Option<Answered>,
    /// Of a propagator: the edits it must make.
    edits: Option<Vec<Expected>>,
    /// Of a router.
    #[serde(default)]
    candidates: Vec<String>,
    /// Of a router: what it must choose.
    choice: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Answered {
    status: u16,
    #[serde(default)]
    headers: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Set(String, String),
    Append(String, String),
    Remove(String),
}

impl Expected {
    fn is(&self, edit: &Edit) -> bool {
        match (self, edit) {
            (Self::Set(name, value), Edit::Set(set, to)) | (Self::Append(name, value), Edit::Append(set, to)) => {
                name == set && value.as_bytes() == to
            }
            (Self::Remove(name), Edit::Remove(removed)) => name == removed,
            _ => false,
        }
    }
}

#[derive(Deserialize)]
struct Found {
    id: Option<String>,
    #[serde(default)]
    signed: bool,
    #[serde(rename = "type")]
    kind: Option<String>,
    timestamp: Option<u64>,
}

impl Found {
    fn differs(&self, event: &Event) -> Option<String> {
        let identity = match (self.id.clone(), self.signed) {
            (None, _) => None,
            (Some(id), true) => Some(Identity::Signed(id)),
            (Some(id), false) => Some(Identity::Unsigned(id)),
        };
        let same = (&identity, &self.kind, self.timestamp) == (&event.identity, &event.kind, event.timestamp);
        (!same).then(|| format!("another event: {event:?}"))
    }
}

fn five_minutes() -> Option<u64> {
    Some(300)
}

/// Runs every line of a vectors file (a path from the plugin's own folder) against `V`.
///
/// # Panics
/// With every line that did not get the answer it expects, and where the file is unreadable or empty.
pub fn run_vectors<V: Verifier>(path: &str) {
    run(path, &V::ABOUT, Protocol::Webhook, |vector, request, options| match request.verify::<V>(options) {
        Err(refusal) => rejected(refusal),
        Ok(Verdict::Respond(reply)) => match &vector.reply {
            Some(expected) if expected.as_bytes() != reply.body => {
                format!("another reply: {:?}", String::from_utf8_lossy(&reply.body))
            }
            _ => "respond".into(),
        },
        Ok(Verdict::Accept(event)) => match (event.timestamp, vector.tolerance) {
            (Some(signed), Some(tolerance)) if vector.now.abs_diff(signed) > tolerance => {
                format!("reject: stale by {} s", vector.now.abs_diff(signed))
            }
            _ => vector.event.as_ref().and_then(|found| found.differs(&event)).unwrap_or_else(|| "accept".into()),
        },
    });
}

/// As [`run_vectors`], of a propagator: `edits`, where a vector has them, must be made and no others.
///
/// # Panics
/// As [`run_vectors`].
pub fn run_propagator_vectors<P: Propagator>(path: &str) {
    run(path, &P::ABOUT, Protocol::Http, |vector, request, options| {
        let edits = match &vector.response {
            None => request.on_request::<P>(options),
            Some(answered) => {
                let mut response = FakeResponse::new(answered.status);
                for (name, value) in &answered.headers {
                    response = response.header(name, value.as_str());
                }
                Ok(request.on_response::<P>(&response, options))
            }
        };
        match (edits, &vector.edits) {
            (Err(refusal), _) => rejected(refusal),
            (Ok(edits), Some(expected))
                if edits.len() != expected.len() || !expected.iter().zip(&edits).all(|(one, edit)| one.is(edit)) =>
            {
                format!("other edits: {edits:?}")
            }
            (Ok(_), _) => "accept".into(),
        }
    });
}

/// As [`run_vectors`], of a router: `choice`, where a vector has it, must be what it chooses among `candidates`.
///
/// # Panics
/// As [`run_vectors`].
pub fn run_router_vectors<R: Router>(path: &str) {
    run(path, &R::ABOUT, Protocol::Http, |vector, request, options| {
        let candidates: Vec<&str> = vector.candidates.iter().map(String::as_str).collect();
        match (request.choose::<R>(&candidates, options), &vector.choice) {
            (Err(refusal), _) => rejected(refusal),
            (Ok(chosen), Some(choice)) if chosen != *choice => format!("another choice: {chosen:?}"),
            (Ok(_), _) => "accept".into(),
        }
    });
}

fn rejected(refusal: Refusal) -> String {
    format!("reject: {} {}", refusal.code, refusal.detail.unwrap_or_default())
}

/// `ask` says `accept`, `respond`, `reject: why` or something else that went wrong. A vector that names no protocol is of
/// `protocol`.
fn run(path: &str, about: &About, protocol: Protocol, ask: impl Fn(&Vector, &FakeRequest, &str) -> String) {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut failures = Vec::new();
    let mut passed = 0;
    for (nth, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let vector: Vector = serde_json::from_str(line).unwrap_or_else(|error| panic!("{path}:{}: {error}", nth + 1));
        let got = outcome(&vector, about, protocol, &ask);
        if got.split(':').next() == Some(vector.expect.as_str()) {
            passed += 1;
        } else {
            failures.push(format!("{}: expected {}, got {got} ({})", vector.id, vector.expect, vector.why));
        }
    }
    assert!(failures.is_empty(), "{passed} passed, {} failed\n{}", failures.len(), failures.join("\n"));
    assert!(passed > 0, "{path} holds no vectors");
}

fn outcome(
    vector: &Vector,
    about: &About,
    protocol: Protocol,
    ask: impl Fn(&Vector, &FakeRequest, &str) -> String,
) -> String {
    let request = match request(vector, protocol) {
        Ok(request) => request,
        Err(why) => return format!("fault: {why}"),
    };
    let options = serde_json::Value::Object(vector.options.clone()).to_string();
    if let Err(problems) = Settings::check(about, &options) {
        return format!("fault: {problems:?}");
    }
    catch_unwind(AssertUnwindSafe(|| ask(vector, &request, &options))).unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        format!("fault: {}", why.unwrap_or("panic"))
    })
}

fn request(vector: &Vector, protocol: Protocol) -> Result<FakeRequest, String> {
    let body = STANDARD.decode(&vector.body_base64).map_err(|error| format!("body_base64: {error}"))?;
    let protocol = match vector.protocol.as_deref() {
        None => protocol,
        Some("webhook") => Protocol::Webhook,
        Some("http") => Protocol::Http,
        Some("grpc") => Protocol::Grpc,
        Some("grpc_web") => Protocol::GrpcWeb,
        Some("websocket") => Protocol::WebSocket,
        Some(other) => return Err(format!("protocol: {other:?} is none")),
    };
    let mut request =
        FakeRequest::post(&vector.url).method(&vector.method).protocol(protocol).body(body).at(vector.now);
    for (name, value) in &vector.headers {
        request = request.header(name, value.as_str());
    }
    for (role, values) in &vector.secrets {
        let values = values.as_array().ok_or("secrets: expected a list of values for each role")?;
        for value in values {
            request = request.secret(role, value.as_str().ok_or("secrets: expected strings")?);
        }
    }
    Ok(request)
}
