//! Recorded requests with the verdict they must get, one JSON object a line. The same file serves `tollgate plugin test`
//! and the project's tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::call::Binding;
use super::request::{Protocol, RequestView};
use super::state::Roles;
use super::verdict::Verdict;
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
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body_base64: String,
    /// The clock, Unix seconds.
    pub now: i64,
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
    pub fn request(&self) -> Result<RequestView, String> {
        let (scheme, rest) = self.url.split_once("://").ok_or("url: expected scheme://host/path")?;
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| format!("header {name}: {error}"))?;
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|error| format!("header {name}: {error}"))?;
            headers.append(name, value);
        }
        let target = self.target();
        Ok(RequestView {
            id: self.id.clone(),
            route: "test".into(),
            product: "test".into(),
            protocol: Protocol::Webhook,
            method: self.method.clone(),
            scheme: scheme.to_owned(),
            authority: authority.to_owned(),
            path: target.split('?').next().unwrap_or_default().to_owned(),
            target: target.to_owned(),
            headers,
            client: "127.0.0.1".into(),
            event_type: None,
        })
    }

    /// Runs it through a verifier that holds its [roles](Self::roles) and options, freshness included. An error says what
    /// came of it instead.
    pub async fn check(&self, verifier: &Arc<Binding>) -> Result<(), String> {
        let now = Timestamp::from_seconds(self.now);
        let tolerance = self.tolerance.map_or(Tolerance::Off, |s| Tolerance::Default(Duration::from_secs(s)));
        let body = Payload::Memory(self.body()?.into());
        let called = verifier.verify(Arc::new(self.request()?), body, now).await;
        let came = match &called.result {
            Ok(Verdict::Accept(verified)) if verified.is_fresh(now, tolerance) => Expect::Accept,
            Ok(Verdict::Accept(_) | Verdict::Refuse(_)) => Expect::Reject,
            Ok(Verdict::Respond(_)) => Expect::Respond,
            Err(fault) => return Err(format!("expected {:?}, but {fault}", self.expect)),
        };
        if came == self.expect {
            return Ok(());
        }
        let detail = match called.result {
            Ok(Verdict::Refuse(refusal)) => {
                format!(
                    " ({}{})",
                    refusal.code,
                    refusal.detail.map_or_else(String::new, |detail| format!(": {detail}"))
                )
            }
            Ok(Verdict::Accept(_)) if came == Expect::Reject => " (stale)".to_owned(),
            _ => String::new(),
        };
        Err(format!("expected {:?}, got {came:?}{detail}", self.expect))
    }
}
