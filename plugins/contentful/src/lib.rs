//! Contentful's signed requests: `x-contentful-signature` is the hex HMAC-SHA256 of method, path, the headers that
//! `x-contentful-signed-headers` names (`name:value`, sorted, joined by `;`) and body, each on a line of its own.
//!
//! Source: <https://www.contentful.com/developers/docs/webhooks/request-verification/> and
//! `@contentful/node-apps-toolkit`. The secret is the signing secret, 64 characters, used as text. The library and the
//! page differ on how a query is signed, so a URL with one is refused.
//!
//! Event: type from `X-Contentful-Topic`; no id. Fresh by `x-contentful-timestamp` (milliseconds), which has to be
//! among the signed headers.

use tollgate_sdk::scheme::{Mac, PublicUrl, SignedAt};
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Contentful's signed webhooks.
pub struct Contentful {
    url: PublicUrl,
}

const SIGNATURE: Mac = Mac::hex("x-contentful-signature", Hash::Sha256);
const LIST: &str = "x-contentful-signed-headers";
const TIMESTAMP: &str = "x-contentful-timestamp";
/// As many headers as may be signed.
const HEADERS_MAX: usize = 32;

impl Verifier for Contentful {
    const ABOUT: About =
        About::new("contentful", "https://www.contentful.com/developers/docs/webhooks/request-verification/")
            .roles(&[Role::required("signing", "the request signing secret")])
            .settings(&[PublicUrl::SETTING])
            .methods(&["GET", "PUT", "PATCH", "DELETE"]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        Ok(Self { url: PublicUrl::of(settings)? })
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let path = self.url.path(call);
        if call.query().is_some() {
            return Err(Refusal::malformed("a URL with a query"));
        }
        let signed_at = SignedAt::millis(call, TIMESTAMP)?;
        let listed = call.required(LIST)?;
        let mut names: Vec<&str> = listed.split(',').collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > HEADERS_MAX || ![LIST, TIMESTAMP].iter().all(|name| names.contains(name)) {
            return Err(Refusal::malformed(LIST));
        }
        let line = |name: &&str| Ok([*name, ":", &call.required(name)?].concat());
        let lines: Vec<String> = names.iter().map(line).collect::<Result<_, Refusal>>()?;
        let head = [call.method(), path, lines.join(";"), String::new()].join("\n");
        SIGNATURE.check(call, Key::text("signing"), &[Part::Text(&head), Part::Body])?;
        Ok(Event::new().kind(call.optional("x-contentful-topic")?).timestamp(signed_at.seconds).into())
    }
}

tollgate_sdk::verifier!(Contentful);
