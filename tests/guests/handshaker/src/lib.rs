//! A verifier with handshakes as several providers have them: a challenge by GET behind a shared token (Meta), one that
//! proves the secret with an HMAC (Twitter's and Zoom's CRC), and, as an attacker would have it, an event whose body looks
//! like such a challenge. With the option `greedy` it tries what the oracle guard must not allow.

use tollgate_sdk::{
    About, Call, Event, Hash, Key, Part, Problems, Refusal, Reply, Role, Setting, Settings, Verdict, Verifier, encoding,
};

struct Handshaker {
    greedy: bool,
}

impl Verifier for Handshaker {
    const ABOUT: About = About::new("handshaker", "none: it exists for the gateway's tests")
        .roles(&[Role::required("signing", "signs bodies"), Role::required("verify", "comes with a GET")])
        .settings(&[Setting::boolean("greedy", "ask for what is not allowed")])
        .methods(&["GET"])
        .handshake();

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        Ok(Self { greedy: settings.boolean("greedy").unwrap_or_default() })
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        if call.method() == "GET" {
            return challenged(call, &call.query().unwrap_or_default());
        }
        if self.greedy {
            // Signing a body for whoever sends it would let them forge it.
            let sum = call.hmac(Key::text("signing"), Hash::Sha256, &[Part::Body])?;
            return Ok(Reply::text(hex(&sum)).into());
        }
        let signature = call.required("x-signature")?;
        let digest = encoding::hex(&signature, 32).ok_or_else(|| Refusal::malformed("x-signature"))?;
        call.check_hmac(Key::text("signing"), Hash::Sha256, &[Part::Body], &[digest])?;
        Ok(Event::new().order_key(call.json("/account")).into())
    }
}

fn challenged(call: &Call<'_>, query: &str) -> Result<Verdict, Refusal> {
    let parameter = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    };
    if let Some(token) = parameter("crc_token") {
        let sum = call.hmac(Key::text("signing"), Hash::Sha256, &[Part::Text(&token)])?;
        return Ok(Reply::json(format!("{{\"response_token\":\"sha256={}\"}}", hex(&sum))).into());
    }
    let token = parameter("hub.verify_token").ok_or_else(|| Refusal::missing("hub.verify_token"))?;
    call.check_token(Key::text("verify"), token.as_bytes())?;
    let challenge = parameter("hub.challenge").ok_or_else(|| Refusal::missing("hub.challenge"))?;
    Ok(Reply::text(challenge).into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

tollgate_sdk::verifier!(Handshaker);
