//! Vercel webhooks: `x-vercel-signature` is the hex HMAC-SHA1 of the body.
//!
//! Source: <https://vercel.com/docs/webhooks/webhooks-api#securing-webhooks>. The secret is the webhook's own, for an
//! integration its client secret; used as text.
//!
//! Event: `/id` and `/type` of the body, both signed. No time is signed that Vercel says to check.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Vercel's webhooks.
pub struct Vercel;

const SIGNATURE: Mac = Mac::hex("x-vercel-signature", Hash::Sha1);

impl Verifier for Vercel {
    const ABOUT: About = About::new("vercel", "https://vercel.com/docs/webhooks/webhooks-api")
        .roles(&[Role::required("signing", "the webhook's secret, or the integration's client secret")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        Ok(Event::new().signed_id(call.json("/id")).kind(call.json("/type")).into())
    }
}

tollgate_sdk::verifier!(Vercel);
