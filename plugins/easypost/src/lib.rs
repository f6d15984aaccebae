//! EasyPost webhooks: `X-Hmac-Signature` is `hmac-sha256-hex=` and the hex HMAC-SHA256 of the body.
//!
//! Source: <https://docs.easypost.com/guides/webhooks-guide> and EasyPost's own libraries, which bring the secret to
//! Unicode's form NFKD first: nothing changes for one of ASCII, another is configured in that form.
//!
//! Event: `/id` and `/description` of the body, both signed. No time is signed.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// EasyPost's webhooks.
pub struct EasyPost;

const SIGNATURE: Mac = Mac::hex("x-hmac-signature", Hash::Sha256).prefix("hmac-sha256-hex=");

impl Verifier for EasyPost {
    const ABOUT: About = About::new("easypost", "https://docs.easypost.com/guides/webhooks-guide")
        .roles(&[Role::required("signing", "the webhook's secret")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        Ok(Event::new().signed_id(call.json("/id")).kind(call.json("/description")).into())
    }
}

tollgate_sdk::verifier!(EasyPost);
