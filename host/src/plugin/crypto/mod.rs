//! Native cryptography for guests, over bodies and secrets that stay in the host. Guests name a role and the parts that
//! were signed; comparison takes constant time; nothing a guest can read depends on a key, save the HMAC of a declared
//! handshake, which the oracle guard fences.

mod asymmetric;
mod hash;
mod keys;

use std::borrow::Cow;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;

use self::hash::Sum;
use super::bindings::crypto::{Algorithm, CryptoError, Encoding, Hash, Host, Key, Part};
use super::fault::PluginFault;
use super::state::{Roles, State};
use super::verdict::Evidence;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::payload::Payload;

/// Parts of one signed content.
const PARTS_MAX: usize = 32;
/// Candidates of one comparison.
const CANDIDATES_MAX: usize = 16;
/// The longest content an HMAC is handed out for, and a handshake plugin's `…-matches` refuses.
const ORACLE_TEXT_MAX: usize = 256;

/// A secret that matched: its name and slot.
pub type Used = (Arc<str>, usize);

/// The cryptographic side of one call: its secrets, its budget, and what it saw match.
#[derive(Debug)]
pub(crate) struct Crypto {
    roles: Arc<Roles>,
    now: Timestamp,
    handshake: bool,
    bytes_left: u64,
    evidence: Evidence,
    used: Vec<Used>,
}

impl Crypto {
    /// For a call at `now` over a body of `body` bytes; `handshake` is whether the plugin declared one.
    pub(crate) fn new(roles: Arc<Roles>, now: Timestamp, handshake: bool, body: u64) -> Self {
        let live: usize = roles.values().map(|secret| secret.live(now).count()).sum();
        let bytes_left = body.saturating_mul(4).saturating_mul(live.max(1) as u64).saturating_add(1 << 20);
        Self { roles, now, handshake, bytes_left, evidence: Evidence::default(), used: Vec::new() }
    }

    pub(crate) fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The secrets that matched: name and slot (0 is the newest).
    pub(crate) fn take_used(&mut self) -> Vec<Used> {
        std::mem::take(&mut self.used)
    }

    /// Takes `bytes` off the budget; `false` when it is used up.
    pub(crate) fn spend(&mut self, bytes: u64) -> bool {
        let enough = self.bytes_left >= bytes;
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        enough
    }

    /// Whether a live secret of eight bytes or more stands in `text`.
    pub(crate) fn reveals(&self, text: &[u8]) -> bool {
        let live = self.roles.values().flat_map(|secret| secret.live(self.now));
        live.map(|(_, text)| text.expose())
            .any(|secret| secret.len() >= 8 && text.windows(secret.len()).any(|window| window == secret))
    }

    fn saw(&mut self, what: &str, value: &[u8]) {
        if let (None, Ok(whole)) = (self.evidence.proved, value.try_into()) {
            // Nearly always one match, and its value is a digest already.
            self.evidence.proved = Some(Digest(whole));
            return;
        }
        let mut seen = Vec::with_capacity(64 + what.len() + value.len());
        seen.extend_from_slice(&self.evidence.proved.unwrap_or(Digest([0; 32])).0);
        seen.extend_from_slice(what.as_bytes());
        seen.extend_from_slice(value);
        self.evidence.proved = Some(Digest::of(&seen));
    }

    fn note_use(&mut self, secret: &Arc<str>, slot: usize) {
        if self.used.len() < CANDIDATES_MAX {
            self.used.push((secret.clone(), slot));
        }
    }

    /// What a short text in the alphabet of challenges looks like; only such may be asked an HMAC for, and a plugin that
    /// may ask is not shown whether such a text matches: else an answered handshake would sign a forgery.
    fn is_challenge(content: &Content<'_>) -> bool {
        let mut length = 0;
        let plain = content.pieces.iter().all(|piece| match piece {
            Piece::Bytes(bytes) => {
                length += bytes.len();
                bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._~+/=-".contains(b))
            }
            Piece::Body(Payload::Memory(bytes)) => {
                length += bytes.len();
                bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._~+/=-".contains(b))
            }
            Piece::Body(Payload::File(_)) | Piece::Secret(_) => false,
        });
        plain && length <= ORACLE_TEXT_MAX
    }
}

/// Signed content: its pieces in order.
struct Content<'a> {
    pieces: Vec<Piece<'a>>,
}

enum Piece<'a> {
    Bytes(Cow<'a, [u8]>),
    Body(&'a Payload),
    Secret(&'a Key),
}

impl Content<'_> {
    fn length(&self) -> u64 {
        let length = |piece: &Piece<'_>| match piece {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Body(body) => body.length(),
            Piece::Secret(_) => 0,
        };
        self.pieces.iter().map(length).sum()
    }

    fn has_secret(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Secret(_)))
    }

    /// Feeds everything to `each`, with `secret` in the place of secrets.
    fn feed(&self, secret: &[u8], each: &mut dyn FnMut(&[u8])) -> std::io::Result<()> {
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) => each(bytes),
                Piece::Body(body) => body.for_each(&mut *each)?,
                Piece::Secret(_) => each(secret),
            }
        }
        Ok(())
    }
}

type Answer<T> = wasmtime::Result<Result<T, CryptoError>>;

/// `Err` of the outer kind traps; of the inner kind the guest is told.
macro_rules! given {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return Ok(Err(error)),
        }
    };
}

impl State {
    fn over_budget<T>(&mut self, what: &'static str) -> Answer<T> {
        self.fault = Some(PluginFault::Budget(what));
        Ok(Err(CryptoError::OverBudget))
    }
}

/// Resolves the parts of signed content, counting what their digests cost. The outer error is an I/O failure.
fn resolve<'a>(
    parts: &'a [Part],
    body: &'a Payload,
    spend: &mut dyn FnMut(u64) -> bool,
) -> wasmtime::Result<Option<Content<'a>>> {
    let mut pieces = Vec::with_capacity(parts.len());
    for part in parts {
        pieces.push(match part {
            Part::Text(text) => Piece::Bytes(text.as_bytes().into()),
            Part::Bytes(bytes) => Piece::Bytes(bytes.into()),
            Part::Body(_) => Piece::Body(body),
            Part::BodyDigest((_, hash, encoding)) => {
                if !spend(body.length()) {
                    return Ok(None);
                }
                let mut sum = Sum::new(*hash);
                body.for_each(|piece| sum.update(piece))?;
                Piece::Bytes(encode(&sum.finish(), *encoding).into())
            }
            Part::Secret(key) => Piece::Secret(key),
        });
    }
    Ok(Some(Content { pieces }))
}

/// Digest bytes as a provider writes them. `decimal` is the digest as one big-endian number (used for CRC-32).
fn encode(digest: &[u8], encoding: Encoding) -> Vec<u8> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    match encoding {
        Encoding::Raw => digest.to_vec(),
        Encoding::Hex => digest.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect(),
        Encoding::Base64 => STANDARD.encode(digest).into_bytes(),
        Encoding::Base64url => URL_SAFE_NO_PAD.encode(digest).into_bytes(),
        Encoding::Decimal => decimal(digest),
    }
}

fn decimal(bytes: &[u8]) -> Vec<u8> {
    let mut digits = vec![0u8];
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            let value = u32::from(*digit) * 256 + carry;
            *digit = (value % 10) as u8;
            carry = value / 10;
        }
        while carry > 0 {
            digits.push((carry % 10) as u8);
            carry /= 10;
        }
    }
    digits.iter().rev().map(|digit| b'0' + digit).collect()
}

impl Host for State {
    fn hmac_matches(&mut self, key: Key, hash: Hash, content: Vec<Part>, candidates: Vec<Vec<u8>>) -> Answer<bool> {
        let call = self.call()?;
        if content.len() > PARTS_MAX || candidates.len() > CANDIDATES_MAX {
            return self.over_budget("parts or candidates");
        }
        let super::state::Call { body, crypto, .. } = call;
        let Some(content) = resolve(&content, body, &mut |bytes| crypto.spend(bytes))? else {
            return self.over_budget("bytes hashed");
        };
        if content.has_secret() || !hash::has_hmac(hash) {
            return Ok(Err(CryptoError::Unsupported("hmac over a secret, or of a checksum".into())));
        }
        if crypto.handshake && Crypto::is_challenge(&content) {
            return Ok(Err(CryptoError::Refused));
        }
        let secret = given!(keys::role(&crypto.roles, &key).cloned());
        let mut found = None;
        for (slot, text) in secret.live(crypto.now) {
            if !crypto.spend(content.length()) {
                return self.over_budget("bytes hashed");
            }
            let key = given!(keys::derive(&key, text));
            let sum = hash::hmac(hash, &key, &mut |each| content.feed(&[], each))?;
            // Every candidate is looked at, whichever matches.
            let any = candidates.iter().fold(subtle::Choice::from(0), |any, candidate| any | sum.ct_eq(candidate));
            if bool::from(any) && found.is_none() {
                found = Some((slot, sum));
                break;
            }
        }
        if let Some((slot, sum)) = &found {
            // The MAC the host computed stands for the content: one key, one content, one MAC.
            crypto.saw("hmac", sum);
            crypto.note_use(&secret.name, *slot);
        }
        Ok(Ok(found.is_some()))
    }

    fn signature_matches(
        &mut self,
        key: Key,
        algorithm: Algorithm,
        content: Vec<Part>,
        signature: Vec<u8>,
    ) -> Answer<bool> {
        let call = self.call()?;
        if content.len() > PARTS_MAX {
            return self.over_budget("parts");
        }
        let super::state::Call { body, crypto, .. } = call;
        let Some(content) = resolve(&content, body, &mut |bytes| crypto.spend(bytes))? else {
            return self.over_budget("bytes hashed");
        };
        if content.has_secret() {
            return Ok(Err(CryptoError::Unsupported("a signature over a secret".into())));
        }
        let secret = given!(keys::role(&crypto.roles, &key).cloned());
        let live: Vec<_> = secret.live(crypto.now).collect();
        let publics: Vec<_> = given!(live.iter().map(|(_, text)| keys::public(&key, text)).collect());
        // Once for the signature whatever the number of keys, and once to tell this content from others.
        if !crypto.spend(content.length().saturating_mul(2)) {
            return self.over_budget("bytes hashed");
        }
        let message = asymmetric::Message::of(algorithm, &mut |each| content.feed(&[], each))?;
        for ((slot, _), public) in live.iter().zip(&publics) {
            if given!(asymmetric::verify(algorithm, public, &message, &signature)) {
                let mut sum = Sum::new(Hash::Sha256);
                content.feed(&[], &mut |piece| sum.update(piece))?;
                crypto.saw("signature", &sum.finish());
                crypto.note_use(&secret.name, *slot);
                return Ok(Ok(true));
            }
        }
        Ok(Ok(false))
    }

    fn digest_matches(&mut self, hash: Hash, content: Vec<Part>, candidates: Vec<Vec<u8>>) -> Answer<bool> {
        let call = self.call()?;
        if content.len() > PARTS_MAX || candidates.len() > CANDIDATES_MAX {
            return self.over_budget("parts or candidates");
        }
        let super::state::Call { body, crypto, .. } = call;
        let Some(content) = resolve(&content, body, &mut |bytes| crypto.spend(bytes))? else {
            return self.over_budget("bytes hashed");
        };
        if crypto.handshake && Crypto::is_challenge(&content) {
            return Ok(Err(CryptoError::Refused));
        }
        let keyed = content.pieces.iter().find_map(|piece| match piece {
            Piece::Secret(key) => Some((*key).clone()),
            _ => None,
        });
        if content.pieces.iter().filter(|piece| matches!(piece, Piece::Secret(_))).count() > 1 {
            return Ok(Err(CryptoError::Unsupported("more than one secret in a digest".into())));
        }
        let secrets: Vec<(Option<Used>, zeroize::Zeroizing<Vec<u8>>)> = match &keyed {
            None => vec![(None, zeroize::Zeroizing::new(Vec::new()))],
            Some(key) => {
                let secret = given!(keys::role(&crypto.roles, key));
                let derived = |(slot, text)| Ok((Some((secret.name.clone(), slot)), keys::derive(key, text)?));
                given!(secret.live(crypto.now).map(derived).collect())
            }
        };
        for (used, secret) in &secrets {
            if !crypto.spend(content.length()) {
                return self.over_budget("bytes hashed");
            }
            let mut sum = Sum::new(hash);
            content.feed(secret, &mut |piece| sum.update(piece))?;
            let sum = sum.finish();
            let any = candidates.iter().fold(subtle::Choice::from(0), |any, candidate| any | sum.ct_eq(candidate));
            if bool::from(any) {
                // A plain checksum proves nothing by itself; one with a secret in it does.
                if let Some((name, slot)) = used {
                    crypto.saw("digest", &sum);
                    crypto.note_use(name, *slot);
                } else if crypto.evidence.proved.is_some() {
                    crypto.saw("checksum", &sum);
                }
                return Ok(Ok(true));
            }
        }
        Ok(Ok(false))
    }

    fn token_matches(&mut self, key: Key, candidate: Vec<u8>) -> Answer<bool> {
        let crypto = &mut self.call()?.crypto;
        let secret = given!(keys::role(&crypto.roles, &key).cloned());
        let mut found = None;
        for (slot, text) in secret.live(crypto.now) {
            let token = given!(keys::derive(&key, text));
            if bool::from(token.ct_eq(&candidate)) && found.is_none() {
                found = Some(slot);
            }
        }
        if let Some(slot) = found {
            crypto.note_use(&secret.name, slot);
        }
        Ok(Ok(found.is_some()))
    }

    fn digest(&mut self, hash: Hash, content: Vec<Part>) -> Answer<Vec<u8>> {
        let call = self.call()?;
        if content.len() > PARTS_MAX {
            return self.over_budget("parts");
        }
        let super::state::Call { body, crypto, .. } = call;
        let Some(content) = resolve(&content, body, &mut |bytes| crypto.spend(bytes))? else {
            return self.over_budget("bytes hashed");
        };
        if content.has_secret() {
            return Ok(Err(CryptoError::Unsupported("a digest over a secret is never handed out".into())));
        }
        if !crypto.spend(content.length()) {
            return self.over_budget("bytes hashed");
        }
        let mut sum = Sum::new(hash);
        content.feed(&[], &mut |piece| sum.update(piece))?;
        Ok(Ok(sum.finish()))
    }

    fn hmac(&mut self, key: Key, hash: Hash, content: Vec<Part>) -> Answer<Vec<u8>> {
        let call = self.call()?;
        if content.len() > PARTS_MAX {
            return self.over_budget("parts");
        }
        let super::state::Call { body, crypto, .. } = call;
        let Some(content) = resolve(&content, body, &mut |bytes| crypto.spend(bytes))? else {
            return self.over_budget("bytes hashed");
        };
        let allowed = crypto.handshake && !crypto.evidence.oracle_used && Crypto::is_challenge(&content);
        if !allowed || !hash::has_hmac(hash) {
            return Ok(Err(CryptoError::Refused));
        }
        let secret = given!(keys::role(&crypto.roles, &key).cloned());
        let Some((_, newest)) = secret.live(crypto.now).next() else {
            return Ok(Err(CryptoError::UnknownRole(key.role)));
        };
        let key = given!(keys::derive(&key, newest));
        crypto.evidence.oracle_used = true;
        Ok(Ok(hash::hmac(hash, &key, &mut |each| content.feed(&[], each))?))
    }
}

#[cfg(test)]
mod tests;
