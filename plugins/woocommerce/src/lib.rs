//! WooCommerce webhooks: `X-WC-Webhook-Signature` is the base64 HMAC-SHA256 of the body.
//!
//! Source: <https://developer.woocommerce.com/docs/best-practices/urls-and-routing/webhooks/> and
//! `class-wc-webhook.php`. The secret is the webhook's, used as text.
//!
//! Event: type from `X-WC-Webhook-Topic`, id from `X-WC-Webhook-Delivery-ID`. Neither is signed, nor is any time. When
//! a webhook is saved, WooCommerce sends `webhook_id=` and a number, unsigned, and waits for a 2xx: that is answered
//! and goes no further.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Reply, Role, Settings, Verdict, Verifier};

/// WooCommerce's webhooks.
pub struct WooCommerce;

const HEADER: &str = "x-wc-webhook-signature";
const SIGNATURE: Mac = Mac::base64(HEADER, Hash::Sha256);

impl Verifier for WooCommerce {
    const ABOUT: About =
        About::new("woocommerce", "https://developer.woocommerce.com/docs/best-practices/urls-and-routing/webhooks/")
            .roles(&[Role::required("signing", "the secret in the webhook's settings")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        if call.optional(HEADER)?.is_none() && is_ping(call) {
            return Ok(Reply::new(200).into());
        }
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        let id = call.optional("x-wc-webhook-delivery-id")?;
        Ok(Event::new().unsigned_id(id).kind(call.optional("x-wc-webhook-topic")?).into())
    }
}

fn is_ping(call: &Call<'_>) -> bool {
    call.body_size() < 40
        && call
            .read_body(0, 40)
            .strip_prefix(b"webhook_id=")
            .is_some_and(|id| !id.is_empty() && id.iter().all(u8::is_ascii_digit))
}

tollgate_sdk::verifier!(WooCommerce);
