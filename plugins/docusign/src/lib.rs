//! DocuSign Connect: `X-DocuSign-Signature-1`, `-2` and so on, one for each of the account's keys, are the base64
//! HMAC-SHA256 of the body.
//!
//! Source: <https://developers.docusign.com/platform/webhooks/connect/hmac/>. The secret is one of the account's
//! Connect keys, used as text.
//!
//! Event: type from `/event` of the body, signed; there is no id, so what is signed tells copies apart, which a retry by
//! DocuSign is not, since its `/retryCount` is another.
//! `/generatedDateTime` is signed, but DocuSign sends for days with the same one, so it is no freshness.

use tollgate_sdk::scheme::Digits;
use tollgate_sdk::{
    About, CANDIDATES_MAX, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier,
};

/// DocuSign Connect's messages.
pub struct DocuSign;

impl Verifier for DocuSign {
    const ABOUT: About = About::new("docusign", "https://developers.docusign.com/platform/webhooks/connect/hmac/")
        .roles(&[Role::required("signing", "a Connect HMAC key of the account")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let mut digests = Vec::new();
        for number in 1..=CANDIDATES_MAX {
            let header = ["x-docusign-signature-", &number.to_string()].concat();
            let Some(written) = call.optional(&header)? else { break };
            digests.push(Digits::Base64.read(&written, 32).ok_or_else(|| Refusal::malformed(&header))?);
        }
        call.check_hmac(Key::text("signing"), Hash::Sha256, &[Part::Body], &digests)?;
        Ok(Event::new().kind(call.json("/event")).into())
    }
}

tollgate_sdk::verifier!(DocuSign);
