//! Messages of Upstash QStash: `Upstash-Signature` is a JSON Web Token, signed with HS256, whose claim `body` is the
//! base64url SHA-256 of the body, whose subject is the URL and whose issuer is `Upstash`.
//!
//! Source: <https://upstash.com/docs/qstash/howto/signature> and `@upstash/qstash`. The secrets are the current and the
//! next signing key, as two live values of one secret; used as text.
//!
//! Event: the claim `jti`, signed, which tells tokens apart and is another on a retry (`Upstash-Message-Id`, which is the
//! same, is not signed); there is no type. Fresh by `iat`, which is signed, and never beyond `exp`.

use tollgate_sdk::scheme::{Digits, Jws, PublicUrl, SignedBy};
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Messages of Upstash QStash.
pub struct QStash {
    url: PublicUrl,
}

const TOKEN: &str = "upstash-signature";

impl Verifier for QStash {
    const ABOUT: About = About::new("qstash", "https://upstash.com/docs/qstash/howto/signature")
        .roles(&[Role::required("signing", "the current signing key, and the next one as another live value")])
        .settings(&[PublicUrl::SETTING])
        .methods(&["PUT", "PATCH", "DELETE"]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        Ok(Self { url: PublicUrl::of(settings)? })
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let token = Jws::read(&call.required(TOKEN)?).ok_or_else(|| Refusal::malformed(TOKEN))?;
        let claims = token.check(call, Key::text("signing"), SignedBy::HS256)?;
        if claims.text("iss") != Some("Upstash") || !claims.has("exp") {
            return Err(Refusal::malformed("iss or exp"));
        }
        if claims.text("sub") != Some(&self.url.whole(call)) {
            return Err(Refusal::malformed("sub"));
        }
        let written = claims.text("body").ok_or_else(|| Refusal::missing("body"))?;
        // The digest comes with its one sign of padding or, as the library allows, without.
        let digest = Digits::Base64Url.read(written.strip_suffix('=').unwrap_or(written), 32);
        let digest = digest.ok_or_else(|| Refusal::malformed("body"))?;
        call.check_digest(Hash::Sha256, &[Part::Body], &[digest])?;
        let issued = claims.time("iat")?.ok_or_else(|| Refusal::missing("iat"))?;
        let id = claims.text("jti").map(str::to_owned);
        Ok(Event::new().signed_id(id).timestamp(issued).into())
    }
}

tollgate_sdk::verifier!(QStash);
