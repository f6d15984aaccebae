//! Secret text: shown nowhere, wiped when dropped, compared in constant time.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::clock::Timestamp;

/// The text of one secret value. Never empty.
#[derive(Clone)]
pub struct SecretText(Arc<Zeroizing<Vec<u8>>>);

impl SecretText {
    /// The secret, with one trailing newline dropped; `None` when nothing is left.
    pub fn new(mut bytes: Vec<u8>) -> Option<Self> {
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        (!bytes.is_empty()).then(|| Self(Arc::new(Zeroizing::new(bytes))))
    }

    /// The secret's bytes, for key derivation only.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// As a key of Standard Webhooks: base64 of 24 to 64 bytes, behind `whsec_` or not.
    /// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
    pub fn signing_key(&self) -> Option<Zeroizing<Vec<u8>>> {
        let text = self.0.strip_prefix(b"whsec_").unwrap_or(&self.0);
        let key = Zeroizing::new(STANDARD.decode(text).ok()?);
        (24..=64).contains(&key.len()).then_some(key)
    }

    /// Whether `other` is the same text; takes the same time wherever they differ.
    pub fn matches(&self, other: &[u8]) -> bool {
        self.0.ct_eq(other).into()
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// One live value of a secret and when it stops being one.
#[derive(Clone, Debug)]
pub struct SecretValue {
    /// The text.
    pub text: SecretText,
    /// Not used from this time on.
    pub until: Option<Timestamp>,
}

/// A secret with its values, newest first.
#[derive(Clone, Debug)]
pub struct Secret {
    /// The `[secret.NAME]` it came from, for metrics and messages.
    pub name: Arc<str>,
    /// Values, newest first; at least one.
    pub values: Arc<[SecretValue]>,
}

impl Secret {
    /// The values in force at `now` with their slots (0 is the newest).
    pub fn live(&self, now: Timestamp) -> impl Iterator<Item = (usize, &SecretText)> {
        let in_force = move |value: &SecretValue| value.until.is_none_or(|until| now < until);
        self.values
            .iter()
            .enumerate()
            .filter(move |(_, value)| in_force(value))
            .map(|(slot, value)| (slot, &value.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trailing_newline_is_dropped_and_nothing_else() {
        let text = |bytes: &[u8]| SecretText::new(bytes.to_vec()).map(|s| s.expose().to_vec());
        assert_eq!(text(b"a\n").as_deref(), Some(&b"a"[..]));
        assert_eq!(text(b"a\r\n").as_deref(), Some(&b"a"[..]));
        assert_eq!(text(b" a \n\n").as_deref(), Some(&b" a \n"[..]));
        assert_eq!(text(b"\n"), None);
        assert_eq!(text(b""), None);
    }

    #[test]
    fn a_signing_key_is_base64_of_24_to_64_bytes() {
        let key = |text: &str| SecretText::new(text.into()).and_then(|text| text.signing_key()).map(|key| key.len());
        let of = |length: usize| STANDARD.encode(vec![7; length]);
        assert_eq!(key(&format!("whsec_{}", of(24))), Some(24));
        assert_eq!(key(&of(64)), Some(64));
        for bad in ["a passphrase".to_owned(), of(23), of(65), format!("whsk_{}", of(32)), "whsec_".into()] {
            assert_eq!(key(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_value_past_its_end_is_not_live() {
        let value = |until| SecretValue { text: SecretText::new(b"x".to_vec()).expect("not empty"), until };
        let secret =
            Secret { name: "s".into(), values: [value(None), value(Some(Timestamp::from_seconds(10)))].into() };
        assert_eq!(secret.live(Timestamp::from_seconds(9)).count(), 2);
        assert_eq!(secret.live(Timestamp::from_seconds(10)).count(), 1);
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", SecretText::new(b"hunter2".to_vec())), "Some([secret])");
    }
}
