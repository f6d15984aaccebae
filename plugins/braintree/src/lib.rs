//! Braintree webhooks: a form in which `bt_signature` is a list of `public key|hex HMAC-SHA1` of `bt_payload`, by the
//! SHA-1 of the private key.
//!
//! Source: <https://developer.paypal.com/braintree/docs/guides/webhooks/parse> and Braintree's own libraries, which
//! take a payload with or without a line feed more. The secret is the API private key; the option `public_key` is the
//! API public key beside it.
//!
//! Event: type from `<kind>` of the payload, signed; there is no id that is the same on a retry, and Braintree retries
//! for a day with one timestamp, so it is no freshness. The GET with `bt_challenge`, sent when the URL is entered, is
//! answered with its HMAC.

use tollgate_sdk::scheme::form;
use tollgate_sdk::{
    About, Call, Event, Hash, Key, KeyForm, Part, Problems, Refusal, Reply, Role, Setting, Settings, Verdict, Verifier,
    encoding,
};

/// Braintree's webhooks.
pub struct Braintree {
    public_key: String,
}

const PRIVATE_KEY: Key<'_> = Key::new("signing", KeyForm::Sha1OfText);

impl Verifier for Braintree {
    const ABOUT: About = About::new("braintree", "https://developer.paypal.com/braintree/docs/guides/webhooks/parse")
        .roles(&[Role::required("signing", "the API private key")])
        .settings(&[Setting::text("public_key", "the API public key").required()])
        .methods(&["GET"])
        .handshake();

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        match settings.text("public_key") {
            Some(key) if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => {
                Ok(Self { public_key: key.to_owned() })
            }
            _ => Err(Problems::of("public_key", "expected the API public key: letters, digits and `_`")),
        }
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        if call.method() == "GET" {
            return self.prove(call);
        }
        let form = form::body(call)?;
        let value = |name: &str| form::only(&form, name).ok_or_else(|| Refusal::missing(name));
        let (signatures, payload) = (value("bt_signature")?, value("bt_payload")?);
        let own = |pair: &str| pair.strip_prefix(self.public_key.as_str())?.strip_prefix('|').map(str::to_owned);
        let digests = signatures.split('&').filter_map(own).filter_map(|hex| encoding::hex(&hex, 20));
        let digests: Vec<_> = digests.collect();
        let check =
            |after: &str| call.check_hmac(PRIVATE_KEY, Hash::Sha1, &[Part::Text(payload), Part::Text(after)], &digests);
        check("").or_else(|_| check("\n"))?;
        Ok(Event::new().kind(kind(payload)).into())
    }
}

impl Braintree {
    fn prove(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let query = call.query().unwrap_or_default();
        let query = form::read(query.as_bytes()).ok_or_else(|| Refusal::malformed("query"))?;
        let challenge = form::only(&query, "bt_challenge").ok_or_else(|| Refusal::missing("bt_challenge"))?;
        let plain = challenge.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !plain || !(20..=32).contains(&challenge.len()) {
            return Err(Refusal::malformed("bt_challenge"));
        }
        let proof = call.hmac(PRIVATE_KEY, Hash::Sha1, &[Part::Text(challenge)])?;
        Ok(Reply::text([&self.public_key, "|", &encoding::to_hex(&proof)].concat()).into())
    }
}

/// The kind in the payload, which is XML in base64, broken into lines.
fn kind(payload: &str) -> Option<String> {
    let xml = String::from_utf8(encoding::base64(&payload.replace('\n', ""))?).ok()?;
    let (_, rest) = xml.split_once("<kind>")?;
    rest.split_once("</kind>").map(|(kind, _)| kind.to_owned())
}

tollgate_sdk::verifier!(Braintree);
