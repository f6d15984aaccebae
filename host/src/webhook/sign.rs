//! Signing what goes to a product, so that it can trust the gateway as it would the provider: Standard Webhooks,
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.
//!
//! Every live value of the secret signs, newest first, so that a product may change its own at any time of a rotation.

use std::fmt;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::base::clock::Timestamp;
use crate::base::ids::EventId;
use crate::base::payload::Payload;
use crate::base::secret::Secret;

const PREFIX: &str = "webhook-";
/// What the provider's own fields of the same names are called instead.
const PROVIDERS: &str = "provider-webhook-";

/// Why it cannot be signed.
#[derive(Debug)]
pub(super) enum SignError {
    /// Every value of the secret is past its end.
    NoKey,
    /// The body does not read back.
    Body(io::Error),
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str("no value of the product's `sign` secret is in force"),
            Self::Body(error) => write!(f, "its body cannot be read to sign it: {error}"),
        }
    }
}

/// Signs the event `id` with `body`, as of `now`.
pub(super) async fn sign(
    headers: &mut HeaderMap,
    secret: &Secret,
    id: EventId,
    now: Timestamp,
    body: &Payload,
) -> Result<(), SignError> {
    let keys: Vec<_> = secret.live(now).filter_map(|(_, text)| text.signing_key()).collect();
    if keys.is_empty() {
        return Err(SignError::NoKey);
    }
    let (id, time) = (id.to_string(), now.seconds().to_string());
    let start = format!("{id}.{time}.");
    let signature = match body {
        Payload::Memory(_) => signatures(&keys, &start, body),
        Payload::File(_) => {
            let body = body.clone();
            let signed = tokio::task::spawn_blocking(move || signatures(&keys, &start, &body)).await;
            signed.unwrap_or_else(|ended| Err(io::Error::other(ended)))
        }
    };
    let signature = signature.map_err(SignError::Body)?;
    rename(headers);
    for (name, value) in [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)] {
        // Ids, digits and base64 are field values.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    Ok(())
}

fn signatures(keys: &[Zeroizing<Vec<u8>>], start: &str, body: &Payload) -> io::Result<String> {
    let mut macs = Vec::with_capacity(keys.len());
    for key in keys {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(io::Error::other)?;
        mac.update(start.as_bytes());
        macs.push(mac);
    }
    body.for_each(|piece| macs.iter_mut().for_each(|mac| mac.update(piece)))?;
    let signatures = macs.into_iter().map(|mac| format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
    Ok(signatures.collect::<Vec<_>>().join(" "))
}

/// The provider's own fields go under another name: `webhook-…` is the gateway's word from here on.
fn rename(headers: &mut HeaderMap) {
    let begins = |prefix: &str| {
        let names = headers.keys().filter(|name| name.as_str().starts_with(prefix));
        names.cloned().collect::<Vec<_>>()
    };
    let (forged, theirs) = (begins(PROVIDERS), begins(PREFIX));
    for name in forged {
        headers.remove(name);
    }
    for name in theirs {
        let values: Vec<_> = headers.get_all(&name).iter().cloned().collect();
        headers.remove(&name);
        let rest = name.as_str().trim_start_matches(PREFIX);
        if let Ok(renamed) = HeaderName::try_from(format!("{PROVIDERS}{rest}")) {
            values.into_iter().for_each(|value| {
                headers.append(renamed.clone(), value);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;

    use super::*;
    use crate::base::payload::SpillFile;
    use crate::base::secret::{SecretText, SecretValue};

    const NOW: Timestamp = Timestamp::from_seconds(1_614_265_330);

    fn secret(values: &[(&str, Option<Timestamp>)]) -> Secret {
        let value = |(text, until): &(&str, Option<Timestamp>)| SecretValue {
            text: SecretText::new(text.as_bytes().to_vec()).expect("not empty"),
            until: *until,
        };
        Secret { name: "out".into(), values: values.iter().map(value).collect() }
    }

    /// The specification's own example.
    #[test]
    fn the_published_example_is_signed_as_published() {
        let key = SecretText::new(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_vec()).expect("not empty");
        let keys = [key.signing_key().expect("a key")];
        let body = Payload::Memory(r#"{"test": 2432232314}"#.into());
        let signed = signatures(&keys, "msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.", &body).expect("in memory");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[tokio::test]
    async fn every_live_value_signs_and_none_is_a_failure() {
        let (new, old) = (STANDARD.encode([1; 32]), STANDARD.encode([2; 32]));
        let both = secret(&[(&new, None), (&old, Some(NOW.after(std::time::Duration::from_secs(1))))]);
        let id = EventId::new(NOW);
        let body = Payload::Memory("{}".into());
        let mut headers = HeaderMap::new();
        sign(&mut headers, &both, id, NOW, &body).await.expect("signs");
        let text = |name: &str| headers[name].to_str().expect("text").to_owned();
        assert_eq!((text("webhook-id"), text("webhook-timestamp")), (id.to_string(), "1614265330".into()));
        assert_eq!(text("webhook-signature").split(' ').count(), 2);
        let past = secret(&[(&old, Some(NOW))]);
        assert!(matches!(sign(&mut headers, &past, id, NOW, &body).await, Err(SignError::NoKey)));
    }

    #[tokio::test]
    async fn a_body_in_a_file_is_signed_like_one_in_memory() {
        let bytes = vec![7; 300_000];
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&bytes).expect("writes");
        let (file, path) = file.keep().expect("stays");
        let spilled = Payload::File(Arc::new(SpillFile::temporary(file, path, bytes.len() as u64)));
        let (secret, id) = (secret(&[(&STANDARD.encode([1; 32]), None)]), EventId::new(NOW));
        let mut of = Vec::new();
        for body in [spilled, Payload::Memory(bytes.into())] {
            let mut headers = HeaderMap::new();
            sign(&mut headers, &secret, id, NOW, &body).await.expect("signs");
            of.push(headers["webhook-signature"].clone());
        }
        assert_eq!(of[0], of[1]);
    }

    #[test]
    fn the_providers_own_fields_get_another_name() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("webhook-id", "1"), ("webhook-id", "2"), ("provider-webhook-id", "forged"), ("x-a", "3")]
        {
            headers.append(name, HeaderValue::from_static(value));
        }
        rename(&mut headers);
        assert_eq!(headers.get_all("provider-webhook-id").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert!(!headers.contains_key("webhook-id") && headers["x-a"] == "3");
    }
}
