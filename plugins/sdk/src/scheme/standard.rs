//! Standard Webhooks, which began as Svix: id, time and body are signed.

use super::signed_at::SignedAt;
use crate::crypto::{Hash, Key, Part};
use crate::encoding;
use crate::request::Request;
use crate::verdict::{Event, Refusal};

/// The three headers of the scheme. The signature's is a list, separated by single spaces, of `v1,` and the base64
/// HMAC-SHA256 of `id.timestamp.body`; other versions (`v1a` is asymmetric) are passed over.
///
/// An id with a `.` is refused, as the specification advises: it would let the border between id, timestamp and body be
/// moved without breaking the signature.
#[derive(Debug, Clone, Copy)]
pub struct StandardWebhooks {
    id: &'static str,
    timestamp: &'static str,
    signature: &'static str,
}

/// What was signed beside the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The same on every retry.
    pub id: String,
    /// Unix seconds.
    pub timestamp: u64,
}

impl Message {
    /// The event that was proven.
    pub fn event(self) -> Event {
        Event::new().signed_id(self.id).timestamp(self.timestamp)
    }
}

impl StandardWebhooks {
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    pub const PLAIN: Self = Self::headers("webhook-id", "webhook-timestamp", "webhook-signature");
    /// `svix-id`, `svix-timestamp`, `svix-signature`.
    pub const SVIX: Self = Self::headers("svix-id", "svix-timestamp", "svix-signature");

    /// Headers of other names.
    pub const fn headers(id: &'static str, timestamp: &'static str, signature: &'static str) -> Self {
        Self { id, timestamp, signature }
    }

    /// Whether one of the signatures is by `key`, in base64, for the most part behind `whsec_`.
    pub fn check(&self, request: &Request<'_>, key: Key<'_>) -> Result<Message, Refusal> {
        let id = request.required(self.id)?;
        if id.is_empty() || id.contains('.') {
            return Err(Refusal::malformed(self.id));
        }
        let signed_at = SignedAt::seconds(request, self.timestamp)?;
        let signatures = request.required(self.signature)?;
        let content = [Part::Text(&id), Part::Text("."), Part::Text(&signed_at.text), Part::Text("."), Part::Body];
        request.check_hmac(key, Hash::Sha256, &content, &digests(&signatures))?;
        Ok(Message { id, timestamp: signed_at.seconds })
    }
}

fn digests(signatures: &str) -> Vec<Vec<u8>> {
    let digests = signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1,"));
    digests.filter_map(encoding::base64).filter(|digest| digest.len() == Hash::Sha256.size()).collect()
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn only_whole_digests_of_version_one_count(list in "(v1,|v1a,|v2,| |[A-Za-z0-9+/]{43}=){0,12}") {
            let digests = digests(&list);
            prop_assert!(digests.len() <= list.split(' ').filter(|item| item.starts_with("v1,")).count());
            prop_assert!(digests.iter().all(|digest| digest.len() == 32));
        }
    }
}
