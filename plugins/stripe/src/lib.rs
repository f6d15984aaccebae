//! Stripe webhooks: `Stripe-Signature: t=…,v1=…`, where each `v1` is the hex HMAC-SHA256 of `t.body`.
//!
//! Source: <https://docs.stripe.com/webhooks/signature> and Stripe's own libraries. While a secret is rolled there are
//! several `v1`; other schemes (`v0` is for test mode) prove nothing. The secret is the endpoint's whole `whsec_…` text,
//! prefix included.
//!
//! Event: `/id` and `/type` of the body, both signed. Fresh by `t`, which is signed. The libraries differ on a second
//! `t` (Ruby takes the first, Node the last), so it is refused.

use tollgate_sdk::{
    About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier, encoding,
};

struct Stripe;

const SIGNATURE: &str = "stripe-signature";

impl Verifier for Stripe {
    const ABOUT: About = About::new("stripe", "https://docs.stripe.com/webhooks/signature")
        .roles(&[Role::required("signing", "the endpoint's signing secret, whsec_…, from the Stripe dashboard")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let header = call.required(SIGNATURE)?;
        let (signed_at, timestamp, digests) = parse(&header).ok_or_else(|| Refusal::malformed(SIGNATURE))?;
        let content = [Part::Text(signed_at), Part::Text("."), Part::Body];
        call.check_hmac(Key::text("signing"), Hash::Sha256, &content, &digests)?;
        Ok(Event::new().signed_id(call.json("/id")).kind(call.json("/type")).timestamp(timestamp).into())
    }
}

/// The one `t`, as text and number, and every `v1` that is a digest.
fn parse(header: &str) -> Option<(&str, u64, Vec<Vec<u8>>)> {
    let items = || header.split(',').filter_map(|item| item.split_once('='));
    let mut times = items().filter(|(name, _)| *name == "t");
    let (Some((_, signed_at)), None) = (times.next(), times.next()) else { return None };
    let digests = items().filter(|(name, _)| *name == "v1").filter_map(|(_, hex)| encoding::hex(hex, 32));
    Some((signed_at, encoding::decimal(signed_at)?, digests.collect()))
}

tollgate_sdk::verifier!(Stripe);

#[cfg(test)]
mod tests {
    #[test]
    fn vectors() {
        tollgate_sdk::testing::run_vectors::<super::Stripe>("vectors.jsonl");
    }
}
