//! Sinch's voice and verification callbacks: `Authorization: application KEY:SIGNATURE`, where the signature is the
//! base64 HMAC-SHA256 of five lines: method, base64 MD5 of the body, content type, `x-timestamp:` and its value, path.
//!
//! Source: <https://developers.sinch.com/docs/voice/api-reference/authentication/callback-signed-request>. The secret
//! is the application's, decoded from base64.
//!
//! Event: type from `/event` of the body, signed; one call has many events, so there is no id. Fresh by `x-timestamp`,
//! which is signed.

use tollgate_sdk::scheme::{Digits, PublicUrl, SignedAt};
use tollgate_sdk::{
    About, Call, Encoding, Event, Hash, Key, Part, Problems, Refusal, Role, Setting, Settings, Verdict, Verifier,
};

/// Sinch's voice and verification callbacks.
pub struct SinchVoice {
    key: String,
    url: PublicUrl,
}

impl Verifier for SinchVoice {
    const ABOUT: About = About::new(
        "sinch-voice",
        "https://developers.sinch.com/docs/voice/api-reference/authentication/callback-signed-request",
    )
    .roles(&[Role::required("signing", "the application's secret, in base64")])
    .settings(&[Setting::text("key", "the application's key").required(), PublicUrl::SETTING]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        match settings.text("key") {
            Some(key) if !key.is_empty() && !key.contains(':') => {
                Ok(Self { key: key.to_owned(), url: PublicUrl::of(settings)? })
            }
            _ => Err(Problems::of("key", "expected the application's key")),
        }
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let header = call.required("authorization")?;
        let malformed = || Refusal::malformed("authorization");
        let given = header.strip_prefix("application ").or_else(|| header.strip_prefix("Application "));
        let (key, written) = given.and_then(|given| given.split_once(':')).ok_or_else(malformed)?;
        let digest = Digits::Base64.read(written, 32).ok_or_else(malformed)?;
        if key != self.key {
            return Err(malformed());
        }
        let signed_at = SignedAt::rfc3339(call, "x-timestamp")?;
        let head = [&call.method(), "\n"].concat();
        let path = self.url.path(call);
        let tail = ["\n", &call.required("content-type")?, "\nx-timestamp:", &signed_at.text, "\n", &path].concat();
        let content = [Part::Text(&head), Part::BodyDigest(Hash::Md5, Encoding::Base64), Part::Text(&tail)];
        call.check_hmac(Key::base64("signing"), Hash::Sha256, &content, &[digest])?;
        Ok(Event::new().kind(call.json("/event")).timestamp(signed_at.seconds).into())
    }
}

tollgate_sdk::verifier!(SinchVoice);
