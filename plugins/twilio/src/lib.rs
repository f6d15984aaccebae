//! Twilio webhooks: `X-Twilio-Signature` is the base64 HMAC-SHA1 of the URL and the form's parameters, sorted by name.
//! Where the body is no form, the URL carries its SHA-256 in `bodySHA256`, and the URL alone is signed.
//!
//! Source: <https://www.twilio.com/docs/usage/webhooks/webhooks-security> and Twilio's own libraries: a parameter's values
//! count once each and in order, and the port may be written out or not. The secret is the account's auth token.
//!
//! Event: id from `I-Twilio-Idempotency-Token`, which is not signed; no type, no time.

use tollgate_sdk::scheme::{Mac, PublicUrl, form};
use tollgate_sdk::{
    About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier, encoding,
};

/// Twilio's webhooks.
pub struct Twilio {
    url: PublicUrl,
}

const SIGNATURE: Mac = Mac::base64("x-twilio-signature", Hash::Sha1);

impl Verifier for Twilio {
    const ABOUT: About = About::new("twilio", "https://www.twilio.com/docs/usage/webhooks/webhooks-security")
        .roles(&[Role::required("signing", "the account's primary auth token")])
        .settings(&[PublicUrl::SETTING])
        .methods(&["GET"]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        Ok(Self { url: PublicUrl::of(settings)? })
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let parameters = parameters(call)?;
        let url = self.url.whole(call);
        let signed =
            |url: &str| SIGNATURE.check(call, Key::text("signing"), &[Part::Text(url), Part::Text(&parameters)]);
        signed(&url).or_else(|refusal| other_port(&url).map_or(Err(refusal), |url| signed(&url)))?;
        Ok(Event::new().unsigned_id(call.optional("i-twilio-idempotency-token")?).into())
    }
}

/// What is signed after the URL. Nothing where the URL has the body's digest, which must be right.
fn parameters(call: &Call<'_>) -> Result<String, Refusal> {
    let query = call.query().unwrap_or_default();
    let query = form::read(query.as_bytes()).ok_or_else(|| Refusal::malformed("query"))?;
    if let Some(expected) = form::only(&query, "bodySHA256") {
        let digest = encoding::hex(expected, 32).ok_or_else(|| Refusal::malformed("bodySHA256"))?;
        call.check_digest(Hash::Sha256, &[Part::Body], &[digest])?;
        return Ok(String::new());
    }
    let mut pairs = form::body(call)?;
    pairs.sort_unstable();
    pairs.dedup();
    Ok(pairs.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]).collect())
}

/// The same URL with the scheme's own port, or without it. None where the port is another one.
fn other_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let own = if scheme == "https" { ":443" } else { ":80" };
    match (authority.strip_suffix(own), authority.contains(':')) {
        (Some(bare), _) => Some([scheme, "://", bare, path].concat()),
        (None, false) => Some([scheme, "://", authority, own, path].concat()),
        (None, true) => None,
    }
}

tollgate_sdk::verifier!(Twilio);
