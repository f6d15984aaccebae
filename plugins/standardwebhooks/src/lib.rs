//! Standard Webhooks, symmetric: `webhook-signature` is a list, separated by single spaces, of `v1,` and the base64
//! HMAC-SHA256 of `id.timestamp.body`; id and timestamp are the headers `webhook-id` and `webhook-timestamp`.
//!
//! Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>. Other versions in
//! the list (`v1a` is the asymmetric one) are passed over. The secret is base64, with or without the prefix `whsec_`.
//!
//! Event: `webhook-id`, signed, the same on every retry; type from `/type` of the body. Fresh by the timestamp, which is
//! signed. An id with a `.` is refused, as the specification advises: it would let the border between id, timestamp and
//! body be moved without breaking the signature.

use tollgate_sdk::{
    About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier, encoding,
};

struct StandardWebhooks;

const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

impl Verifier for StandardWebhooks {
    const ABOUT: About = About::new(
        "standardwebhooks",
        "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
    )
    .roles(&[Role::required("signing", "the endpoint's secret, whsec_… or its base64 alone")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let id = call.required(ID)?;
        if id.is_empty() || id.contains('.') {
            return Err(Refusal::malformed(ID));
        }
        let signed_at = call.required(TIMESTAMP)?;
        let timestamp = encoding::decimal(&signed_at).ok_or_else(|| Refusal::malformed(TIMESTAMP))?;
        let signatures = call.required(SIGNATURE)?;
        let digests = signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1,"));
        let digests: Vec<_> = digests.filter_map(encoding::base64).filter(|digest| digest.len() == 32).collect();

        let content = [Part::Text(&id), Part::Text("."), Part::Text(&signed_at), Part::Text("."), Part::Body];
        call.check_hmac(Key::base64("signing").strip("whsec_"), Hash::Sha256, &content, &digests)?;
        Ok(Event::new().signed_id(id).kind(call.json("/type")).timestamp(timestamp).into())
    }
}

tollgate_sdk::verifier!(StandardWebhooks);

#[cfg(test)]
mod tests {
    #[test]
    fn vectors() {
        tollgate_sdk::testing::run_vectors::<super::StandardWebhooks>("vectors.jsonl");
    }
}
