//! Zendesk webhooks: `X-Zendesk-Webhook-Signature` is the base64 HMAC-SHA256 of `X-Zendesk-Webhook-Signature-Timestamp`
//! and the body.
//!
//! Source: <https://developer.zendesk.com/documentation/webhooks/verifying/>. The secret is the webhook's signing
//! secret, used as text.
//!
//! Event: `/id` and `/type` of the body, both signed, where the webhook is subscribed to events; what a trigger sends
//! has the shape its author gave it. Fresh by the timestamp, which is signed.

use tollgate_sdk::scheme::{Mac, SignedAt};
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Zendesk's webhooks.
pub struct Zendesk;

const SIGNATURE: Mac = Mac::base64("x-zendesk-webhook-signature", Hash::Sha256);

impl Verifier for Zendesk {
    const ABOUT: About = About::new("zendesk", "https://developer.zendesk.com/documentation/webhooks/verifying/")
        .roles(&[Role::required("signing", "the webhook's signing secret")])
        .methods(&["PUT", "PATCH"]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let signed_at = SignedAt::rfc3339(call, "x-zendesk-webhook-signature-timestamp")?;
        SIGNATURE.check(call, Key::text("signing"), &[Part::Text(&signed_at.text), Part::Body])?;
        let event = Event::new().signed_id(call.json("/id")).kind(call.json("/type"));
        Ok(event.timestamp(signed_at.seconds).into())
    }
}

tollgate_sdk::verifier!(Zendesk);
