//! HubSpot webhooks, in the version of the signature that the option names. `v3`: `X-HubSpot-Signature-v3` is the
//! base64 HMAC-SHA256 of method, URL, body and `X-HubSpot-Request-Timestamp`. `v2`: `X-HubSpot-Signature` is the hex
//! SHA-256 of secret, method, URL and body. `v1`: the same of secret and body.
//!
//! Source: <https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests> and
//! `hubspot-api-nodejs`. The secret is the app's client secret. The page wants some escapes of the URL decoded, the
//! library signs it as it is; either is accepted.
//!
//! Event: a body is a batch of events, so it has neither id nor type. With `v3` fresh by the timestamp (milliseconds),
//! which is signed; the older ones sign no time.

use tollgate_sdk::scheme::{Mac, PublicUrl, SignedAt};
use tollgate_sdk::{
    About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Setting, Settings, Verdict, Verifier, encoding,
};

/// HubSpot's webhooks.
pub struct HubSpot {
    version: u8,
    url: PublicUrl,
}

const SECRET: Key<'_> = Key::text("signing");
const SIGNATURE: &str = "x-hubspot-signature";
const THIRD: Mac = Mac::base64("x-hubspot-signature-v3", Hash::Sha256);
/// What the page says is decoded before signing.
const DECODED: [(&str, &str); 12] = [
    ("%3A", ":"),
    ("%2F", "/"),
    ("%3F", "?"),
    ("%40", "@"),
    ("%21", "!"),
    ("%24", "$"),
    ("%27", "'"),
    ("%28", "("),
    ("%29", ")"),
    ("%2A", "*"),
    ("%2C", ","),
    ("%3B", ";"),
];

impl Verifier for HubSpot {
    const ABOUT: About = About::new(
        "hubspot",
        "https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests",
    )
    .roles(&[Role::required("signing", "the app's client secret")])
    .settings(&[PublicUrl::SETTING, Setting::text("version", "of the signature: `v1`, `v2` or `v3` (default)")])
    .methods(&["GET", "PUT", "PATCH", "DELETE"]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        let version = match settings.text("version").unwrap_or("v3") {
            "v1" => 1,
            "v2" => 2,
            "v3" => 3,
            _ => return Err(Problems::of("version", "expected `v1`, `v2` or `v3`")),
        };
        Ok(Self { version, url: PublicUrl::of(settings)? })
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        match self.version {
            1 => self.hashed(call, &[Part::Secret(SECRET), Part::Body]),
            2 => {
                let (method, url) = (call.method(), self.url.whole(call));
                self.hashed(call, &[Part::Secret(SECRET), Part::Text(&method), Part::Text(&url), Part::Body])
            }
            _ => self.third(call),
        }
    }
}

impl HubSpot {
    fn hashed(&self, call: &Call<'_>, content: &[Part<'_>]) -> Result<Verdict, Refusal> {
        let digest = encoding::hex(&call.required(SIGNATURE)?, 32).ok_or_else(|| Refusal::malformed(SIGNATURE))?;
        call.check_digest(Hash::Sha256, content, &[digest])?;
        Ok(Event::new().into())
    }

    fn third(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let signed_at = SignedAt::millis(call, "x-hubspot-request-timestamp")?;
        let (method, url) = (call.method(), self.url.whole(call));
        let check = |url: &str| {
            let content = [Part::Text(&method), Part::Text(url), Part::Body, Part::Text(&signed_at.text)];
            THIRD.check(call, SECRET, &content)
        };
        let decoded = DECODED.iter().fold(url.clone(), |url, (escape, plain)| url.replace(escape, plain));
        check(&url).or_else(|refusal| if decoded == url { Err(refusal) } else { check(&decoded) })?;
        Ok(Event::new().timestamp(signed_at.seconds).into())
    }
}

tollgate_sdk::verifier!(HubSpot);
