//! Running a plugin natively, without a gateway: requests made by hand or recorded as vectors, real cryptography, and
//! the gateway's own rules (freshness, what may be called `signed`, how much cryptography a call may use).

#[cfg(feature = "asymmetric")]
mod asymmetric;
mod crypto;
pub(crate) mod host;
mod vectors;

use std::cell::{Cell, RefCell};

pub use vectors::{run_propagator_vectors, run_router_vectors, run_vectors};

use crate::{
    Call, Edit, Level, Problems, Propagator, Protocol, Refusal, Request, Response, Router, Settings, Verifier,
    is_editable,
};

/// A request for tests. Public fields, filled in by the builder methods or by hand.
#[derive(Debug, Clone)]
pub struct FakeRequest {
    /// `POST` unless said otherwise.
    pub method: String,
    /// `https` unless said otherwise.
    pub scheme: String,
    /// Host and port.
    pub authority: String,
    /// Path and query as received. The fake does not normalise paths.
    pub target: String,
    /// In order, names in any case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// A role and its live values, newest first.
    pub secrets: Vec<(String, Vec<String>)>,
    /// What [`Request::now`] says.
    pub now: u64,
    /// The kind of exchange: a webhook unless said otherwise.
    pub protocol: Protocol,
    /// For propagators and routers behind a verifier.
    pub event_type: Option<String>,
    handshake: bool,
    /// Whether a `check_…` succeeded, and whether `hmac` was used.
    proven: Cell<bool>,
    produced: Cell<bool>,
    log: RefCell<Vec<(Level, String)>>,
}

impl FakeRequest {
    /// A webhook: POST to a URL or a path.
    pub fn post(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
        let path = rest.find('/').unwrap_or(rest.len());
        let (authority, target) = rest.split_at(path);
        Self {
            method: "POST".into(),
            scheme: scheme.into(),
            authority: if authority.is_empty() { "hooks.example.test".into() } else { authority.into() },
            target: if target.is_empty() { "/".into() } else { target.into() },
            headers: Vec::new(),
            body: Vec::new(),
            secrets: Vec::new(),
            now: 0,
            protocol: Protocol::Webhook,
            event_type: None,
            handshake: false,
            proven: Cell::new(false),
            produced: Cell::new(false),
            log: RefCell::default(),
        }
    }

    /// With another protocol.
    pub fn protocol(self, protocol: Protocol) -> Self {
        Self { protocol, ..self }
    }

    /// With another method.
    pub fn method(self, method: &str) -> Self {
        Self { method: method.into(), ..self }
    }

    /// With one header more.
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With this body.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// With one live value more for a role, older than those before.
    pub fn secret(mut self, role: &str, value: &str) -> Self {
        match self.secrets.iter_mut().find(|(known, _)| known == role) {
            Some((_, values)) => values.push(value.into()),
            None => self.secrets.push((role.into(), vec![value.into()])),
        }
        self
    }

    /// At this time, in Unix seconds.
    pub fn at(self, now: u64) -> Self {
        Self { now, ..self }
    }

    /// What the plugin logged.
    pub fn logged(&self) -> Vec<(Level, String)> {
        self.log.borrow().clone()
    }

    /// Asks a verifier configured with `options` (JSON).
    ///
    /// # Panics
    /// Where a gateway would find the plugin at fault, and where the options are refused.
    pub fn verify<V: Verifier>(&self, options: &str) -> Result<crate::Verdict, crate::Refusal> {
        let plugin = configured(Settings::check(&V::ABOUT, options).and_then(|settings| V::configure(&settings)));
        let asked = Self { handshake: V::ABOUT.handshake, ..self.clone() };
        let verdict = plugin.verify(&Call(asked.request()));
        asked.audit(&verdict);
        verdict
    }

    /// Asks a propagator configured with `options` (JSON) for its edits of this request.
    ///
    /// # Panics
    /// As [`verify`](Self::verify).
    pub fn on_request<P: Propagator>(&self, options: &str) -> Result<Vec<Edit>, Refusal> {
        let plugin = configured(Settings::check(&P::ABOUT, options).and_then(|settings| P::configure(&settings)));
        let edits = plugin.on_request(&self.request());
        match &edits {
            Ok(edits) => checked(edits),
            Err(refusal) => proper(refusal),
        }
        edits
    }

    /// Asks a propagator configured with `options` (JSON) for its edits of a response to this request.
    ///
    /// # Panics
    /// As [`verify`](Self::verify).
    pub fn on_response<P: Propagator>(&self, response: &FakeResponse, options: &str) -> Vec<Edit> {
        let plugin = configured(Settings::check(&P::ABOUT, options).and_then(|settings| P::configure(&settings)));
        let edits = plugin.on_response(&self.request(), &Response { host: host::ResponseHandle(response) });
        checked(&edits);
        edits
    }

    /// Asks a router configured with `options` (JSON).
    ///
    /// # Panics
    /// As [`verify`](Self::verify).
    pub fn choose<R: Router>(&self, candidates: &[&str], options: &str) -> Result<Vec<String>, Refusal> {
        let plugin = configured(Settings::check(&R::ABOUT, options).and_then(|settings| R::configure(&settings)));
        let candidates: Vec<String> = candidates.iter().map(|name| (*name).to_owned()).collect();
        let chosen = plugin.choose(&self.request(), &candidates);
        match &chosen {
            Ok(chosen) => {
                let known = chosen.iter().all(|name| candidates.contains(name));
                assert!(known, "{chosen:?} are not all among the candidates");
                let many = self.protocol == Protocol::Webhook;
                assert!(many || chosen.len() <= 1, "only a webhook goes to more than one product, not {chosen:?}");
            }
            Err(refusal) => proper(refusal),
        }
        chosen
    }

    fn request(&self) -> Request<'_> {
        Request { host: host::Handle(self) }
    }

    /// What the gateway would not believe.
    fn audit(&self, verdict: &Result<crate::Verdict, crate::Refusal>) {
        use crate::{Identity, Verdict};
        match verdict {
            Ok(Verdict::Accept(event)) => {
                assert!(!self.produced.get(), "a call that used `hmac` may only respond");
                let signed = matches!(event.identity, Some(Identity::Signed(_))) || event.timestamp.is_some();
                assert!(self.proven.get() || !signed, "something is said to be signed, but no check succeeded");
                let status = event.acknowledge.as_ref().map_or(202, |reply| reply.status);
                assert!((200..300).contains(&status), "an acknowledgement must be 2xx, not {status}");
                event.acknowledge.iter().for_each(bounded);
            }
            Ok(Verdict::Respond(reply)) => {
                let status = reply.status;
                assert!(matches!(status, 200..=299 | 400..=499), "a reply must be 2xx or 4xx, not {status}");
                bounded(reply);
            }
            Err(refusal) => proper(refusal),
        }
    }
}

fn proper(refusal: &Refusal) {
    let (status, code) = (refusal.status, refusal.code);
    assert!((400..500).contains(&status), "a refusal must be 4xx, not {status}");
    let word = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    assert!(!code.is_empty() && code.bytes().all(word), "a code is a word of a-z, 0-9 and _, not {code:?}");
}

fn checked(edits: &[Edit]) {
    assert!(edits.len() <= 64, "a call makes at most 64 edits, not {}", edits.len());
    for edit in edits {
        let (Edit::Set(name, _) | Edit::Append(name, _) | Edit::Remove(name)) = edit;
        assert!(is_editable(&name.to_ascii_lowercase()), "the field {name} belongs to the gateway");
    }
}

fn bounded(reply: &crate::Reply) {
    assert!(reply.body.len() <= 64 * 1024 && reply.headers.len() <= 16, "a reply has at most 64 KiB and 16 headers");
}

fn configured<T>(made: Result<T, Problems>) -> T {
    made.unwrap_or_else(|Problems(problems)| panic!("the options are refused: {problems:?}"))
}

/// A response for tests of propagators.
#[derive(Debug, Clone)]
pub struct FakeResponse {
    /// The HTTP status.
    pub status: u16,
    /// In order, names in any case.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl FakeResponse {
    /// A response without headers.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new() }
    }

    /// With one header more.
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{About, Event, Hash, Key, Part, Reply, Role, Verdict};

    /// Does what the body says.
    struct Actor;

    impl Verifier for Actor {
        const ABOUT: About = About::new("actor", "none").roles(&[Role::required("signing", "any")]).handshake();

        fn configure(_: &Settings) -> Result<Self, Problems> {
            Ok(Self)
        }

        fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
            let key = Key::text("signing");
            match String::from_utf8(call.read_body(0, 100)).unwrap().as_str() {
                "lie" => Ok(Event::new().signed_id("made-up".to_owned()).into()),
                "token" => {
                    call.check_token(key, &call.header("x-token").unwrap_or_default())?;
                    Ok(Event::new().signed_id(call.header("x-token").map(|_| "id".to_owned())).into())
                }
                "challenge" => {
                    let proof = call.hmac(key, Hash::Sha256, &[Part::Text("abc")])?;
                    Ok(Reply::new(200).body(proof).into())
                }
                "oracle" => {
                    call.hmac(key, Hash::Sha256, &[Part::Text("{\"an\":\"event\"}")])?;
                    Ok(Event::new().into())
                }
                "shout" => Err(Refusal::new(401, "NO")),
                "elsewhere" => {
                    call.check_hmac(Key::text("other"), Hash::Sha256, &[Part::Text("{}")], &[vec![0; 32]])?;
                    Ok(Event::new().into())
                }
                _ => Err(Refusal::mismatch()),
            }
        }
    }

    fn ask(body: &str, token: &str) -> Result<Verdict, Refusal> {
        FakeRequest::post("/")
            .secret("signing", "new")
            .secret("signing", "old")
            .header("X-Token", token)
            .body(body)
            .verify::<Actor>("{}")
    }

    #[test]
    fn a_token_matches_any_live_value_and_nothing_else() {
        assert!(ask("token", "new").is_ok() && ask("token", "old").is_ok());
        assert_eq!(ask("token", "ne").unwrap_err(), Refusal::mismatch());
    }

    #[test]
    #[should_panic(expected = "something is said to be signed")]
    fn a_lie_is_a_fault() {
        let _ = ask("lie", "");
    }

    #[test]
    #[should_panic(expected = "a code is a word")]
    fn a_code_that_is_no_word_is_a_fault() {
        let _ = ask("shout", "");
    }

    #[test]
    #[should_panic(expected = "no secret for role `other`")]
    fn a_role_without_a_secret_is_a_fault() {
        let _ = ask("elsewhere", "");
    }

    #[test]
    fn only_plain_challenges_are_signed() {
        assert!(matches!(ask("challenge", ""), Ok(Verdict::Respond(reply)) if reply.body.len() == 32));
        assert_eq!(ask("oracle", "").unwrap_err().code, "malformed");
    }

    #[test]
    #[should_panic(expected = "0 passed, 1 failed\nlie: expected accept, got fault: something is said to be signed")]
    fn a_vector_that_gets_another_answer_is_named() {
        let file = std::env::temp_dir().join(format!("tollgate-sdk-vectors-{}", std::process::id()));
        let vector = r#"{"id":"lie","secrets":{"signing":["x"]},"method":"POST","url":"https://a/b","headers":[],"body_base64":"bGll","now":0,"expect":"accept"}"#;
        std::fs::write(&file, vector).unwrap();
        run_vectors::<Actor>(file.to_str().unwrap());
    }

    /// RFC 8032, section 7.1, test 2.
    #[cfg(feature = "asymmetric")]
    #[test]
    fn ed25519_knows_the_answer_of_its_rfc() {
        use crate::{Algorithm, encoding};

        struct Signed;
        impl Verifier for Signed {
            const ABOUT: About = About::new("signed", "none");
            fn configure(_: &Settings) -> Result<Self, Problems> {
                Ok(Self)
            }
            fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
                let signature = encoding::hex(&call.required("x-signature")?, 64).unwrap();
                call.check_signature(Key::hex("public_key"), Algorithm::Ed25519, &[Part::Body], &signature)?;
                Ok(Event::new().into())
            }
        }
        let signature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
            085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        let mut request = FakeRequest::post("/")
            .secret("public_key", "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
            .header("x-signature", signature)
            .body([0x72]);
        assert_eq!(request.verify::<Signed>("{}"), Ok(Event::new().into()));
        request.body = vec![0x73];
        assert_eq!(request.verify::<Signed>("{}"), Err(Refusal::mismatch()));
    }
}
