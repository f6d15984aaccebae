//! Cloudinary notifications: `X-Cld-Signature` is the hex SHA-1 (SHA-256 for accounts that chose it) of body,
//! `X-Cld-Timestamp` and secret.
//!
//! Source: <https://cloudinary.com/documentation/notifications#verifying_notification_signatures> and Cloudinary's own
//! libraries. The secret is the API secret, used as text.
//!
//! Event: type from `/notification_type` of the body, signed; there is no id. Fresh by the timestamp, which is signed;
//! the libraries allow two hours, a route's `tolerance` says otherwise.

use tollgate_sdk::scheme::SignedAt;
use tollgate_sdk::{
    About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Setting, Settings, Verdict, Verifier, encoding,
};

/// Cloudinary's notifications.
pub struct Cloudinary {
    hash: Hash,
}

const SIGNATURE: &str = "x-cld-signature";

impl Verifier for Cloudinary {
    const ABOUT: About = About::new(
        "cloudinary",
        "https://cloudinary.com/documentation/notifications#verifying_notification_signatures",
    )
    .roles(&[Role::required("signing", "the API secret")])
    .settings(&[Setting::text("hash", "`sha1` (default) or `sha256`, as the account signs")]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        match settings.text("hash").unwrap_or("sha1") {
            "sha1" => Ok(Self { hash: Hash::Sha1 }),
            "sha256" => Ok(Self { hash: Hash::Sha256 }),
            _ => Err(Problems::of("hash", "expected `sha1` or `sha256`")),
        }
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let digest = encoding::hex(&call.required(SIGNATURE)?, self.hash.size());
        let digest = digest.ok_or_else(|| Refusal::malformed(SIGNATURE))?;
        let signed_at = SignedAt::seconds(call, "x-cld-timestamp")?;
        let content = [Part::Body, Part::Text(&signed_at.text), Part::Secret(Key::text("signing"))];
        call.check_digest(self.hash, &content, &[digest])?;
        Ok(Event::new().kind(call.json("/notification_type")).timestamp(signed_at.seconds).into())
    }
}

tollgate_sdk::verifier!(Cloudinary);
