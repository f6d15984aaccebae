//! Coinbase Commerce webhooks: `X-CC-Webhook-Signature` is the hex HMAC-SHA256 of the body.
//!
//! Source: <https://docs.cdp.coinbase.com/commerce/webhooks/validate-webhook-signature> and `coinbase-commerce-node`.
//! The secret is the webhook shared secret, used as text.
//!
//! Event: `/event/id` and `/event/type` of the body, both signed. No time is signed.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Coinbase Commerce's webhooks.
pub struct CoinbaseCommerce;

const SIGNATURE: Mac = Mac::hex("x-cc-webhook-signature", Hash::Sha256);

impl Verifier for CoinbaseCommerce {
    const ABOUT: About = About::new("coinbase-commerce", "https://github.com/coinbase/coinbase-commerce-node")
        .roles(&[Role::required("signing", "the webhook shared secret")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        Ok(Event::new().signed_id(call.json("/event/id")).kind(call.json("/event/type")).into())
    }
}

tollgate_sdk::verifier!(CoinbaseCommerce);
