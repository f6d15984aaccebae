//! The crypto interface over published vectors, its budget and the oracle guard.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use wasmtime::component::Resource;

use super::super::bindings::crypto::KeyForm;
use super::super::request::{Protocol, RequestView};
use super::super::state::Call;
use super::*;
use crate::base::secret::{Secret, SecretText, SecretValue};

fn state(secrets: &[(&str, &[&str])], body: &[u8], handshake: bool) -> State {
    let roles: Roles = secrets
        .iter()
        .map(|(role, values)| {
            let value = |text: &&str| SecretValue {
                text: SecretText::new(text.as_bytes().to_vec()).expect("not empty"),
                until: None,
            };
            let secret = Secret { name: (*role).into(), values: values.iter().map(value).collect() };
            ((*role).to_owned(), secret)
        })
        .collect();
    let request = RequestView {
        id: String::new(),
        route: String::new(),
        product: String::new(),
        protocol: Protocol::Webhook,
        method: "POST".into(),
        scheme: "https".into(),
        authority: "example.test".into(),
        path: "/".into(),
        target: "/".into(),
        headers: HeaderMap::new(),
        client: String::new(),
        event_type: None,
    };
    let now = Timestamp::from_seconds(1_000);
    let mut state = State::new(1 << 20);
    state.begin(Some(Call {
        request: Arc::new(request),
        body: Payload::Memory(body.to_vec().into()),
        now,
        crypto: Crypto::new(Arc::new(roles), now, handshake, body.len() as u64),
    }));
    state
}

fn key(form: KeyForm) -> Key {
    Key { role: "signing".into(), form, strip: None }
}

fn body() -> Part {
    Part::Body(Resource::new_borrow(1))
}

fn evidence(state: &State) -> Evidence {
    *state.call.as_ref().expect("a call").crypto.evidence()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

#[test]
fn hmac_sha256_matches_rfc_4231_case_2() {
    let mut state = state(&[("signing", &["Jefe"])], b"what do ya want for nothing?", false);
    let right = unhex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    let matched = state.hmac_matches(key(KeyForm::Text), Hash::Sha256, vec![body()], vec![vec![0; 32], right]);
    assert!(matches!(matched, Ok(Ok(true))));
    assert!(evidence(&state).proved.is_some());
    assert_eq!(state.call.as_mut().expect("a call").crypto.take_used(), [("signing".into(), 0)]);
}

#[test]
fn a_short_candidate_does_not_match() {
    let mut state = state(&[("signing", &["Jefe"])], b"what do ya want for nothing?", false);
    for candidate in [unhex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec38"), Vec::new()] {
        let matched = state.hmac_matches(key(KeyForm::Text), Hash::Sha256, vec![body()], vec![candidate]);
        assert!(matches!(matched, Ok(Ok(false))));
    }
    assert_eq!(evidence(&state).proved, None);
}

#[test]
fn the_older_of_two_secrets_matches_and_says_so() {
    let mut state = state(&[("signing", &["new", "Jefe"])], b"what do ya want for nothing?", false);
    let right = unhex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    let matched = state.hmac_matches(key(KeyForm::Text), Hash::Sha256, vec![body()], vec![right]);
    assert!(matches!(matched, Ok(Ok(true))));
    assert_eq!(state.call.as_mut().expect("a call").crypto.take_used(), [("signing".into(), 1)]);
}

#[test]
fn ed25519_verifies_rfc_8032_test_2() {
    let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    let signature = unhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    );
    let mut state = state(&[("signing", &[public])], &[0x72], false);
    let mut verify =
        |signature: Vec<u8>| state.signature_matches(key(KeyForm::Hex), Algorithm::Ed25519, vec![body()], signature);
    assert!(matches!(verify(signature.clone()), Ok(Ok(true))));
    let mut forged = signature;
    forged[0] ^= 1;
    assert!(matches!(verify(forged), Ok(Ok(false))));
}

#[test]
fn keys_that_do_not_decode_are_bad_and_say_nothing_of_themselves() {
    for (form, text) in
        [(KeyForm::Hex, "xyz"), (KeyForm::Hex, "abc"), (KeyForm::Base64, "not base64!"), (KeyForm::Base64, "YQ")]
    {
        let mut state = state(&[("signing", &[text])], b"", false);
        let answer = state.hmac_matches(key(form), Hash::Sha256, vec![body()], vec![]);
        let Ok(Err(CryptoError::BadKey(message))) = answer else { panic!("a bad key, not {answer:?}") };
        assert!(!message.contains(text), "{message}");
    }
}

#[test]
fn an_unknown_role_is_said() {
    let mut state = state(&[], b"", false);
    let answer = state.token_matches(key(KeyForm::Text), b"x".to_vec());
    assert!(matches!(answer, Ok(Err(CryptoError::UnknownRole(role))) if role == "signing"));
}

#[test]
fn a_token_is_no_proof_of_content() {
    let mut state = state(&[("signing", &["token"])], b"", false);
    assert!(matches!(state.token_matches(key(KeyForm::Text), b"token".to_vec()), Ok(Ok(true))));
    assert!(matches!(state.token_matches(key(KeyForm::Text), b"toke".to_vec()), Ok(Ok(false))));
    assert_eq!(evidence(&state).proved, None);
}

#[test]
fn a_checksum_is_no_proof_and_a_keyed_digest_is() {
    let mut state = state(&[("signing", &["s"])], b"abc", false);
    let plain = unhex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert!(matches!(state.digest_matches(Hash::Sha256, vec![body()], vec![plain]), Ok(Ok(true))));
    assert_eq!(evidence(&state).proved, None);
    let keyed = Digest::of(b"abcs").0.to_vec();
    let parts = vec![body(), Part::Secret(key(KeyForm::Text))];
    assert!(matches!(state.digest_matches(Hash::Sha256, parts, vec![keyed]), Ok(Ok(true))));
    assert!(evidence(&state).proved.is_some());
}

#[test]
fn a_digest_over_a_secret_is_never_handed_out() {
    let mut state = state(&[("signing", &["s"])], b"", true);
    let answer = state.digest(Hash::Sha256, vec![Part::Secret(key(KeyForm::Text))]);
    assert!(matches!(answer, Ok(Err(CryptoError::Unsupported(_)))));
}

#[test]
fn an_hmac_is_handed_out_once_to_a_declared_handshake_over_a_challenge() {
    let ask =
        |state: &mut State, text: &str| state.hmac(key(KeyForm::Text), Hash::Sha256, vec![Part::Text(text.into())]);
    let mut undeclared = state(&[("signing", &["s"])], b"", false);
    assert!(matches!(ask(&mut undeclared, "challenge"), Ok(Err(CryptoError::Refused))));
    let mut declared = state(&[("signing", &["s"])], b"", true);
    for forgery in ["v0:123:body", "{\"id\":1}", &"a".repeat(257)] {
        assert!(matches!(ask(&mut declared, forgery), Ok(Err(CryptoError::Refused))), "{forgery}");
    }
    assert!(matches!(ask(&mut declared, "challenge"), Ok(Ok(_))));
    assert!(evidence(&declared).oracle_used);
    assert!(matches!(ask(&mut declared, "challenge"), Ok(Err(CryptoError::Refused))));
}

#[test]
fn a_handshake_plugin_learns_nothing_of_content_that_looks_like_a_challenge() {
    let mut state = state(&[("signing", &["s"])], b"challenge", true);
    let answer = state.hmac_matches(key(KeyForm::Text), Hash::Sha256, vec![body()], vec![]);
    assert!(matches!(answer, Ok(Err(CryptoError::Refused))));
}

#[test]
fn the_budget_of_a_call_is_bounded() {
    let big = vec![0; 1 << 20];
    let mut state = state(&[("signing", &["s"])], &big, false);
    let mut answers = (0..20)
        .map(|_| state.hmac_matches(key(KeyForm::Text), Hash::Sha256, vec![body()], vec![]).expect("no trap").is_ok());
    assert_eq!(answers.by_ref().take_while(|ok| *ok).count(), 5, "4 × body + 1 MiB");
    drop(answers);
    assert!(matches!(state.fault, Some(PluginFault::Budget(_))));
    let mut many = self::state(&[("signing", &["s"])], b"", false);
    let candidates = vec![Vec::new(); CANDIDATES_MAX + 1];
    let answer = many.hmac_matches(key(KeyForm::Text), Hash::Sha256, vec![], candidates);
    assert!(matches!(answer, Ok(Err(CryptoError::OverBudget))));
}

#[test]
fn digests_are_written_as_providers_write_them() {
    assert_eq!(encode(&[0xab, 0x01], Encoding::Hex), b"ab01");
    assert_eq!(encode(&[0xfb, 0xff], Encoding::Base64), b"+/8=");
    assert_eq!(encode(&[0xfb, 0xff], Encoding::Base64url), b"-_8");
    assert_eq!(encode(&4_294_967_295u32.to_be_bytes(), Encoding::Decimal), b"4294967295");
    assert_eq!(encode(&[0, 0, 0, 0], Encoding::Decimal), b"0");
}

#[test]
fn a_pem_certificate_gives_its_public_key() {
    // A self-signed P-256 certificate made for this test; its key signs nothing else.
    let certificate = include_str!("certificate.pem");
    let public = include_str!("public.pem");
    let of = |text: &str| {
        let text = SecretText::new(text.as_bytes().to_vec()).expect("not empty");
        match keys::public(&key(KeyForm::Pem), &text) {
            Ok(keys::Public::Spki(spki)) => spki,
            other => panic!("a key, not {other:?}"),
        }
    };
    assert_eq!(of(certificate), of(public));
}

/// The curve's is of RFC 7515, appendix A.3; the other was signed with Python's `cryptography`.
#[test]
fn json_web_keys_verify_tokens() {
    let payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let curve = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    let modulus = "xysu6cX2rpGOwOo00P6Dy1SMzsJYoH3pOf46DZVXsBHuJFctpCMj4SrTAo8VXMwPjvUv8zvqJKA5YfcqVdTorH3gAV\
         _uGcn_Fu2fjO5PJRf5Mxza6OByWtP2tPSSB9YgeS3WtIWb-QiMpRD4mfW18LokEhkz3k894ruC4sB8lSF58pzoSBSk\
         _vwS1X6t82XoEKQiVjckkd7p3em0Umez2zvi4ljGp_wF36yJxVxOGNrRSeKxxuXRnlH13J3SBCthz-n6y1Wl2UKcPX\
         X0_AKDqPYD_GpFNJY77wdmO2vE-E8XU7X3B7w2D3zeErXt4cdwF1J1NQXbCJ_7UPY19NnVMw";
    let rsa = format!(r#"{{"kty":"RSA","n":"{modulus}","e":"AQAB"}}"#);
    let rsa_signature = "dV8C31SBGcgDX_3udaB1CEJjWu2wVqdGq0Wexp0aBvn3og0h-FlfEIczKyENkHmRhPBuVLKwmsD21b6a8UmOQ3FlO5\
         5OqeFAuioxScYWLGpQdycJ3MXKNiKalWpt941rbmGe9DgijCTL2uckkm_4kstNpT3x2yc1guFuD9_ufNH-rPMv0tPA\
         KkVAEU621XGTZLuPx7jaHOJgbj4rmi7Pyd8lPcKTHsC8mlWezoJ4MCygu_ylNIuw25NJlI_6PAmgPZz4bqRzIHbe0F\
         KFKlOK4hbQYTsM4kWqi6rzY_op9hHiZN1qsBCKUEIdLK6R_tmAlmqJAkPv6b5wNj3djOdILA";
    let curve_signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let examples = [
        (Algorithm::EcdsaP256Sha256Fixed, curve, "eyJhbGciOiJFUzI1NiJ9", curve_signature),
        (Algorithm::RsaPkcs1Sha256, rsa.as_str(), "eyJhbGciOiJSUzI1NiJ9", rsa_signature),
    ];
    for (algorithm, jwk, header, signature) in examples {
        let mut state = state(&[("signing", &[jwk])], b"", false);
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        let mut verify = |content: String| {
            state.signature_matches(key(KeyForm::Jwk), algorithm, vec![Part::Text(content)], signature.clone())
        };
        assert!(matches!(verify(format!("{header}.{payload}")), Ok(Ok(true))), "{algorithm:?}");
        assert!(matches!(verify(format!("{header}.{payload}A")), Ok(Ok(false))), "{algorithm:?}");
    }
}

#[test]
fn a_json_web_key_that_is_none_or_does_not_fit_is_bad() {
    let wrong = [
        "{}",
        "no json",
        r#"{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}"#,
        r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#,
        r#"{"kty":"RSA","n":"","e":"AQAB"}"#,
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#,
        r#"{"kty":"oct","k":"c2VjcmV0"}"#,
    ];
    for jwk in wrong {
        let mut state = state(&[("signing", &[jwk])], b"", false);
        let algorithm = if jwk.contains("RSA") { Algorithm::RsaPkcs1Sha256 } else { Algorithm::EcdsaP256Sha256Fixed };
        let answer = state.signature_matches(key(KeyForm::Jwk), algorithm, vec![body()], vec![0; 64]);
        assert!(matches!(answer, Ok(Err(CryptoError::BadKey(_)))), "{jwk}: {answer:?}");
    }
}
