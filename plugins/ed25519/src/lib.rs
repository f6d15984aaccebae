//! Any provider that signs with Ed25519, described by the route's options: which header, how it is written, what is
//! signed. The options are those of `hmac`, save `hash` and `strip`; `key` says how the public key is written.
//!
//! Event: id and type from where the options say. An id counts as signed where it is part of the content or comes from
//! the body. Fresh by the time, which has to be part of the content.

use tollgate_sdk::scheme::{Described, described};
use tollgate_sdk::{
    About, Algorithm, Call, Key, KeyForm, Problems, Refusal, Role, Setting, Settings, Verdict, Verifier,
};

/// Webhooks of any provider that signs with Ed25519, described by options.
pub struct Ed25519 {
    described: Described,
    form: KeyForm,
}

/// As many signatures as are looked at.
const SIGNATURES_MAX: usize = 4;
const SETTINGS: [Setting; 15] = described::with_settings([Setting::text(
    "key",
    "how the public key is written: `hex` (default), `base64`, `pem` or `jwk`",
)]);

impl Verifier for Ed25519 {
    const ABOUT: About = About::new("ed25519", "https://www.rfc-editor.org/rfc/rfc8032")
        .roles(&[Role::required("public_key", "the provider's public key")])
        .settings(&SETTINGS);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        let described = Described::of(settings);
        let form = match settings.text("key").unwrap_or("hex") {
            "hex" => Ok(KeyForm::Hex),
            "base64" => Ok(KeyForm::Base64),
            "pem" => Ok(KeyForm::Pem),
            "jwk" => Ok(KeyForm::Jwk),
            _ => Err("expected `hex`, `base64`, `pem` or `jwk`"),
        };
        match (described, form) {
            (Ok(described), Ok(form)) => Ok(Self { described, form }),
            (described, form) => {
                let mut problems = described.err().unwrap_or_default();
                form.err().into_iter().for_each(|message| problems.add("key", message));
                Err(problems)
            }
        }
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let offered = self.described.offered(call, 64)?;
        let key = Key::new("public_key", self.form);
        let check = |signature: &Vec<u8>| call.check_signature(key, Algorithm::Ed25519, &offered.content(), signature);
        let none = Err(Refusal::missing("signature"));
        let signatures = offered.signatures.iter().take(SIGNATURES_MAX);
        signatures.map(check).fold(none, |found, next| found.or(next))?;
        Ok(self.described.event(call, offered)?.into())
    }
}

tollgate_sdk::verifier!(Ed25519);
