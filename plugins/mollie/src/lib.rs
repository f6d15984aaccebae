//! Mollie's next-gen webhooks: `X-Mollie-Signature` is `sha256=` and the hex HMAC-SHA256 of the body. While a secret is
//! rotated the header comes once for each.
//!
//! Source: <https://docs.mollie.com/reference/webhooks-new> and `mollie-api-php`, which takes a digest without the
//! prefix too. The secret is the webhook's signing secret, used as text. Classic webhooks are not signed and cannot be
//! verified.
//!
//! Event: `/id` and `/type` of the body, both signed. No time is signed.

use tollgate_sdk::{
    About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier, encoding,
};

/// Mollie's next-gen webhooks.
pub struct Mollie;

const SIGNATURE: &str = "x-mollie-signature";

impl Verifier for Mollie {
    const ABOUT: About = About::new("mollie", "https://docs.mollie.com/reference/webhooks-new")
        .roles(&[Role::required("signing", "the webhook's signing secret")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let digest = |value: &Vec<u8>| {
            let written = std::str::from_utf8(value).ok()?;
            encoding::hex(written.strip_prefix("sha256=").unwrap_or(written), 32)
        };
        let digests: Option<Vec<_>> = call.values(SIGNATURE).iter().map(digest).collect();
        let digests = digests.ok_or_else(|| Refusal::malformed(SIGNATURE))?;
        call.check_hmac(Key::text("signing"), Hash::Sha256, &[Part::Body], &digests)?;
        Ok(Event::new().signed_id(call.json("/id")).kind(call.json("/type")).into())
    }
}

tollgate_sdk::verifier!(Mollie);
