//! Any provider that signs with an HMAC, described by the route's options: which header, how it is written, what is
//! signed.
//!
//! `content` is text with places in braces: `{body}`, `{timestamp}`, `{id}`, `{method}`, `{url}` (as the provider calls
//! it, see `public_url`), `{target}` (path and query as received) and `{header:NAME}`. The header is one signature, or
//! a list of them (`separator`), or a list of `name=value` (`separator`, `signature_field`, `timestamp_field`). `key`
//! says how the secret becomes a key, `strip` what is taken off its front.
//!
//! Event: id and type from where the options say. An id counts as signed where it is part of the content or comes from
//! the body. Fresh by the time, which has to be part of the content.

use tollgate_sdk::scheme::{Described, described};
use tollgate_sdk::{About, Call, Hash, Key, KeyForm, Problems, Refusal, Role, Setting, Settings, Verdict, Verifier};

/// Webhooks of any provider that signs with an HMAC, described by options.
pub struct Hmac {
    described: Described,
    hash: Hash,
    form: KeyForm,
    strip: Option<String>,
}

const SETTINGS: [Setting; 17] = described::with_settings([
    Setting::text("hash", "`sha256` (default), `sha1`, `sha384` or `sha512`"),
    Setting::text("key", "how the secret becomes a key: its `text` (default), from `hex`, or from `base64`"),
    Setting::text("strip", "what is taken off the front of the secret, such as `whsec_`"),
]);

impl Verifier for Hmac {
    const ABOUT: About = About::new("hmac", "https://www.rfc-editor.org/rfc/rfc2104")
        .roles(&[Role::required("signing", "the shared secret")])
        .settings(&SETTINGS);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        let described = Described::of(settings);
        let hash = match settings.text("hash").unwrap_or("sha256") {
            "sha1" => Ok(Hash::Sha1),
            "sha256" => Ok(Hash::Sha256),
            "sha384" => Ok(Hash::Sha384),
            "sha512" => Ok(Hash::Sha512),
            _ => Err("expected `sha1`, `sha256`, `sha384` or `sha512`"),
        };
        let form = match settings.text("key").unwrap_or("text") {
            "text" => Ok(KeyForm::Text),
            "hex" => Ok(KeyForm::Hex),
            "base64" => Ok(KeyForm::Base64),
            _ => Err("expected `text`, `hex` or `base64`"),
        };
        let strip = settings.text("strip").map(str::to_owned);
        match (described, hash, form) {
            (Ok(described), Ok(hash), Ok(form)) => Ok(Self { described, hash, form, strip }),
            (described, hash, form) => {
                let mut problems = described.err().unwrap_or_default();
                hash.err().into_iter().for_each(|message| problems.add("hash", message));
                form.err().into_iter().for_each(|message| problems.add("key", message));
                Err(problems)
            }
        }
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let offered = self.described.offered(call, self.hash.size())?;
        let key = Key::new("signing", self.form);
        let key = self.strip.as_ref().map_or(key, |front| key.strip(front));
        call.check_hmac(key, self.hash, &offered.content(), &offered.signatures)?;
        Ok(self.described.event(call, offered)?.into())
    }
}

tollgate_sdk::verifier!(Hmac);
