//! Square webhooks: `x-square-hmacsha256-signature` is the base64 HMAC-SHA256 of the notification URL and the body.
//!
//! Source: <https://developer.squareup.com/docs/webhooks/step3validate> and Square's own libraries. The secret is the
//! subscription's signature key, used as text.
//!
//! Event: `/event_id` and `/type` of the body, both signed. No time is signed.

use tollgate_sdk::scheme::{Mac, PublicUrl};
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Square's webhooks.
pub struct Square {
    url: PublicUrl,
}

const SIGNATURE: Mac = Mac::base64("x-square-hmacsha256-signature", Hash::Sha256);

impl Verifier for Square {
    const ABOUT: About = About::new("square", "https://developer.squareup.com/docs/webhooks/step3validate")
        .roles(&[Role::required("signing", "the webhook subscription's signature key")])
        .settings(&[PublicUrl::SETTING]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        Ok(Self { url: PublicUrl::of(settings)? })
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Text(&self.url.whole(call)), Part::Body])?;
        Ok(Event::new().signed_id(call.json("/event_id")).kind(call.json("/type")).into())
    }
}

tollgate_sdk::verifier!(Square);
