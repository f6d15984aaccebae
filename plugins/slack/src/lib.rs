//! Slack's Events API, slash commands and interactions: `X-Slack-Signature` is `v0=` and the hex HMAC-SHA256 of
//! `v0:timestamp:body`, the timestamp from `X-Slack-Request-Timestamp`.
//!
//! Source: <https://docs.slack.dev/authentication/verifying-requests-from-slack>. The secret is the app's signing secret,
//! used as text (it looks like hex, but is not decoded).
//!
//! Event: `/event_id` of the body, signed; commands and interactions are forms and have none. Type from `/event/type`,
//! else `/type`. Fresh by the timestamp, which is signed. `url_verification`, sent when a URL is entered, is signed like
//! everything else and answered with its challenge.

use tollgate_sdk::scheme::{Mac, SignedAt};
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Reply, Role, Settings, Verdict, Verifier};

/// Slack's events, commands and interactions.
pub struct Slack;

const SIGNATURE: Mac = Mac::hex("x-slack-signature", Hash::Sha256).prefix("v0=");

impl Verifier for Slack {
    const ABOUT: About = About::new("slack", "https://docs.slack.dev/authentication/verifying-requests-from-slack")
        .roles(&[Role::required("signing", "the app's signing secret, under Basic Information")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let signed_at = SignedAt::seconds(call, "x-slack-request-timestamp")?;
        let content = [Part::Text("v0:"), Part::Text(&signed_at.text), Part::Text(":"), Part::Body];
        SIGNATURE.check(call, Key::text("signing"), &content)?;

        let kind = call.json("/type");
        if kind.as_deref() == Some("url_verification") {
            let challenge = call.json("/challenge").ok_or_else(|| Refusal::malformed("challenge"))?;
            return Ok(Reply::text(challenge).into());
        }
        let kind = call.json("/event/type").or(kind);
        Ok(Event::new().signed_id(call.json("/event_id")).kind(kind).timestamp(signed_at.seconds).into())
    }
}

tollgate_sdk::verifier!(Slack);
