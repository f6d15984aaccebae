//! Shopify webhooks: `X-Shopify-Hmac-SHA256` is the base64 HMAC-SHA256 of the body.
//!
//! Source:
//! <https://shopify.dev/docs/apps/build/webhooks/subscribe/https#step-2-validate-the-origin-of-your-webhook-to-ensure-its-coming-from-shopify>.
//! The secret is the app's client secret, used as text.
//!
//! Event: type from `X-Shopify-Topic`, id from `X-Shopify-Event-Id`. Neither is signed, nor is any time.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Shopify's webhooks.
pub struct Shopify;

const SIGNATURE: Mac = Mac::base64("x-shopify-hmac-sha256", Hash::Sha256);

impl Verifier for Shopify {
    const ABOUT: About = About::new("shopify", "https://shopify.dev/docs/apps/build/webhooks/subscribe/https")
        .roles(&[Role::required("signing", "the app's client secret")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        let id = call.optional("x-shopify-event-id")?;
        Ok(Event::new().unsigned_id(id).kind(call.optional("x-shopify-topic")?).into())
    }
}

tollgate_sdk::verifier!(Shopify);
