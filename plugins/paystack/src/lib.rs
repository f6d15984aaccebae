//! Paystack webhooks: `x-paystack-signature` is the hex HMAC-SHA512 of the body.
//!
//! Source: <https://paystack.com/docs/payments/webhooks/#verify-event-origin>. The secret is the account's secret key,
//! used as text.
//!
//! Event: type from `/event` of the body, signed; there is no id, and no time is signed.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Paystack's webhooks.
pub struct Paystack;

const SIGNATURE: Mac = Mac::hex("x-paystack-signature", Hash::Sha512);

impl Verifier for Paystack {
    const ABOUT: About = About::new("paystack", "https://paystack.com/docs/payments/webhooks/")
        .roles(&[Role::required("signing", "the account's secret key, sk_…")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        Ok(Event::new().kind(call.json("/event")).into())
    }
}

tollgate_sdk::verifier!(Paystack);
