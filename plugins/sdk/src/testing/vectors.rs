//! Recorded requests with the answer they must get, one JSON object a line: the same file that `tollgate plugin test`
//! reads, and that the gateway runs before it swaps a plugin in.

use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::FakeRequest;
use crate::{Event, Identity, Settings, Verdict, Verifier};

#[derive(Deserialize)]
struct Vector {
    id: String,
    #[serde(default)]
    secrets: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    options: serde_json::Map<String, serde_json::Value>,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body_base64: String,
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
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut failures = Vec::new();
    let mut passed = 0;
    for (nth, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let vector: Vector = serde_json::from_str(line).unwrap_or_else(|error| panic!("{path}:{}: {error}", nth + 1));
        let got = outcome::<V>(&vector);
        if got.split(':').next() == Some(vector.expect.as_str()) {
            passed += 1;
        } else {
            failures.push(format!("{}: expected {}, got {got} ({})", vector.id, vector.expect, vector.why));
        }
    }
    assert!(failures.is_empty(), "{passed} passed, {} failed\n{}", failures.len(), failures.join("\n"));
    assert!(passed > 0, "{path} holds no vectors");
}

/// `accept`, `respond`, `reject: why` or `fault: why`.
fn outcome<V: Verifier>(vector: &Vector) -> String {
    let request = match request(vector) {
        Ok(request) => request,
        Err(why) => return format!("fault: {why}"),
    };
    let options = serde_json::Value::Object(vector.options.clone()).to_string();
    if let Err(problems) = Settings::check(&V::ABOUT, &options) {
        return format!("fault: {problems:?}");
    }
    let verdict = catch_unwind(AssertUnwindSafe(|| request.verify::<V>(&options)));
    match verdict {
        Err(panic) => {
            let why = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            format!("fault: {}", why.unwrap_or("panic"))
        }
        Ok(Err(refusal)) => format!("reject: {} {}", refusal.code, refusal.detail.unwrap_or_default()),
        Ok(Ok(Verdict::Respond(reply))) => match &vector.reply {
            Some(expected) if expected.as_bytes() != reply.body => {
                format!("another reply: {:?}", String::from_utf8_lossy(&reply.body))
            }
            _ => "respond".into(),
        },
        Ok(Ok(Verdict::Accept(event))) => match (event.timestamp, vector.tolerance) {
            (Some(signed), Some(tolerance)) if vector.now.abs_diff(signed) > tolerance => {
                format!("reject: stale by {} s", vector.now.abs_diff(signed))
            }
            _ => vector.event.as_ref().and_then(|found| found.differs(&event)).unwrap_or_else(|| "accept".into()),
        },
    }
}

fn request(vector: &Vector) -> Result<FakeRequest, String> {
    let body = STANDARD.decode(&vector.body_base64).map_err(|error| format!("body_base64: {error}"))?;
    let mut request = FakeRequest::post(&vector.url).method(&vector.method).body(body).at(vector.now);
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
