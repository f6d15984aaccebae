//! Recorded requests with the answer they must get, one JSON object a line. The same file serves `tollgate plugin test`,
//! the project's tests and the gate that a changed plugin passes before it goes live.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::call::Binding;
use super::component::Kind;
use super::edits::Edit;
use super::request::{Protocol, RequestView, ResponseView};
use super::state::Roles;
use super::verdict::{Refusal, Verdict};
use crate::base::clock::Timestamp;
use crate::base::payload::Payload;
use crate::base::secret::{Secret, SecretText, SecretValue};
use crate::config::plan::Tolerance;

/// One recorded request.
#[derive(Clone, Debug, Deserialize)]
pub struct Vector {
    /// Its name.
    pub id: String,
    /// Role → live values, newest first.
    #[serde(default)]
    pub secrets: BTreeMap<String, Vec<String>>,
    /// The route's options.
    #[serde(default)]
    pub options: serde_json::Map<String, serde_json::Value>,
    /// The method.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// Fields in order.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(default)]
    pub body_base64: String,
    /// The clock, Unix seconds.
    #[serde(default)]
    pub now: i64,
    /// What it speaks; a verifier is asked about a webhook unless it says otherwise, the others about plain HTTP.
    pub protocol: Option<Spoken>,
    /// Of a propagator: it is asked about this response to the request.
    pub response: Option<Answered>,
    /// Of a propagator: the edits it must make, and no others.
    pub edits: Option<Vec<ExpectedEdit>>,
    /// Of a router.
    #[serde(default)]
    pub candidates: Vec<String>,
    /// Of a router: what it must choose.
    pub choice: Option<Vec<String>>,
    /// The route's tolerance in seconds; absent is 300, `null` is off.
    #[serde(default = "tolerance")]
    pub tolerance: Option<u64>,
    /// What must come of it.
    pub expect: Expect,
    /// Whether it must hold or should.
    #[serde(default)]
    pub level: Level,
    /// For people.
    #[serde(default)]
    pub why: String,
    /// The vector whose event this repeats.
    #[serde(default)]
    pub duplicate_of: Option<String>,
}

fn tolerance() -> Option<u64> {
    Some(300)
}

/// A protocol as vectors write it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Spoken {
    Http,
    Grpc,
    GrpcWeb,
    Websocket,
    Webhook,
}

/// A response that a propagator is asked about.
#[derive(Clone, Debug, Deserialize)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// Its fields in order.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

/// An edit that a propagator must make.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpectedEdit {
    /// Replaces every value of a field.
    Set(String, String),
    /// Adds a value.
    Append(String, String),
    /// Takes every value away.
    Remove(String),
}

impl ExpectedEdit {
    fn is(&self, edit: &Edit) -> bool {
        match (self, edit) {
            (Self::Set(name, value), Edit::Set(set, to)) | (Self::Append(name, value), Edit::Append(set, to)) => {
                name == set.as_str() && value.as_bytes() == to.as_bytes()
            }
            (Self::Remove(name), Edit::Remove(removed)) => name == removed.as_str(),
            _ => false,
        }
    }
}

/// What must come of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// Accepted, and fresh.
    Accept,
    /// Refused, or stale.
    Reject,
    /// Answered by the plugin.
    Respond,
}

impl std::fmt::Display for Expect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Respond => "respond",
        })
    }
}

/// How binding a vector is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// A verifier that fails it is wrong.
    #[default]
    Must,
    /// A verifier that fails it is laxer than it could be.
    Should,
}

/// Reads vectors, one a line; blank lines are passed over. An error names the line.
pub fn read(text: &str) -> Result<Vec<Vector>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(at, line)| serde_json::from_str(line).map_err(|error| format!("line {}: {error}", at + 1))).collect()
}

impl Vector {
    /// The secrets, as a route would hold them.
    pub fn roles(&self) -> Roles {
        let value =
            |text: &String| Some(SecretValue { text: SecretText::new(text.clone().into_bytes())?, until: None });
        self.secrets
            .iter()
            .map(|(role, values)| {
                let values = values.iter().filter_map(value).collect();
                (role.clone(), Secret { name: role.as_str().into(), values })
            })
            .collect()
    }

    /// The body.
    pub fn body(&self) -> Result<Vec<u8>, String> {
        let decoded = base64::engine::general_purpose::STANDARD.decode(&self.body_base64);
        decoded.map_err(|error| format!("body_base64: {error}"))
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        rest.find('/').map_or("/", |at| &rest[at..])
    }

    /// The request as the plugin sees it.
    fn request(&self, kind: Kind) -> Result<RequestView, String> {
        let (scheme, rest) = self.url.split_once("://").ok_or("url: expected scheme://host/path")?;
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let target = self.target();
        Ok(RequestView {
            id: self.id.clone(),
            route: "test".into(),
            product: "test".into(),
            protocol: match self.protocol {
                Some(Spoken::Http) => Protocol::Http,
                Some(Spoken::Grpc) => Protocol::Grpc,
                Some(Spoken::GrpcWeb) => Protocol::GrpcWeb,
                Some(Spoken::Websocket) => Protocol::WebSocket,
                Some(Spoken::Webhook) => Protocol::Webhook,
                None if kind == Kind::Verifier => Protocol::Webhook,
                None => Protocol::Http,
            },
            method: self.method.clone(),
            scheme: scheme.to_owned(),
            authority: authority.to_owned(),
            path: target.split('?').next().unwrap_or_default().to_owned(),
            target: target.to_owned(),
            headers: map(&self.headers)?,
            client: "127.0.0.1".into(),
            event_type: None,
        })
    }

    /// Asks a plugin that holds its [roles](Self::roles) and options, freshness included. An error says what came of it
    /// instead.
    pub async fn check(&self, plugin: &Arc<Binding>) -> Result<(), String> {
        let request = Arc::new(self.request(plugin.kind())?);
        let now = Timestamp::from_seconds(self.now);
        let (came, detail) = match plugin.kind() {
            Kind::Verifier => self.verified(plugin, request, now).await?,
            Kind::Propagator => self.propagated(plugin, request, now).await?,
            Kind::Router => self.chosen(plugin, request, now).await?,
        };
        if came == self.expect { Ok(()) } else { Err(format!("expected {}, got {came}{detail}", self.expect)) }
    }

    async fn verified(&self, verifier: &Arc<Binding>, request: Arc<RequestView>, now: Timestamp) -> Came {
        let tolerance = self.tolerance.map_or(Tolerance::Off, |s| Tolerance::Default(Duration::from_secs(s)));
        let body = Payload::Memory(self.body()?.into());
        match verifier.verify(request, body, now).await.result {
            Ok(Verdict::Accept(verified)) if verified.is_fresh(now, tolerance) => Ok((Expect::Accept, String::new())),
            Ok(Verdict::Accept(_)) => Ok((Expect::Reject, " (stale)".into())),
            Ok(Verdict::Refuse(refusal)) => Ok(rejected(&refusal)),
            Ok(Verdict::Respond(_)) => Ok((Expect::Respond, String::new())),
            Err(fault) => Err(format!("expected {}, but {fault}", self.expect)),
        }
    }

    async fn propagated(&self, propagator: &Arc<Binding>, request: Arc<RequestView>, now: Timestamp) -> Came {
        let edits = match &self.response {
            None => propagator.on_request(request, now).await.result,
            Some(answered) => {
                let response = ResponseView { status: answered.status, headers: map(&answered.headers)? };
                propagator.on_response(request, Arc::new(response), now).await.result.map(Ok)
            }
        };
        let edits = match edits.map_err(|fault| format!("expected {}, but {fault}", self.expect))? {
            Ok(edits) => edits,
            Err(refusal) => return Ok(rejected(&refusal)),
        };
        let same = |expected: &[ExpectedEdit]| {
            expected.len() == edits.iter().len() && expected.iter().zip(edits.iter()).all(|(one, edit)| one.is(edit))
        };
        match &self.edits {
            Some(expected) if !same(expected) => Err(format!("it makes other edits: {edits:?}")),
            _ => Ok((Expect::Accept, String::new())),
        }
    }

    async fn chosen(&self, router: &Arc<Binding>, request: Arc<RequestView>, now: Timestamp) -> Came {
        let chosen = router.choose(request, self.candidates.as_slice().into(), now).await.result;
        match (chosen.map_err(|fault| format!("expected {}, but {fault}", self.expect))?, &self.choice) {
            (Err(refusal), _) => Ok(rejected(&refusal)),
            (Ok(chosen), Some(choice)) if chosen != *choice => Err(format!("it chooses {chosen:?}")),
            (Ok(_), _) => Ok((Expect::Accept, String::new())),
        }
    }
}

/// What came of a vector and more about it, or what went wrong.
type Came = Result<(Expect, String), String>;

fn rejected(refusal: &Refusal) -> (Expect, String) {
    let detail = refusal.detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}"));
    (Expect::Reject, format!(" ({}{detail})", refusal.code))
}

fn map(fields: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| format!("header {name}: {error}"))?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|error| format!("header {name}: {error}"))?;
        headers.append(name, value);
    }
    Ok(headers)
}
