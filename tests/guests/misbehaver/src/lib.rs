//! A verifier that misbehaves in the way its option `mode` names. Every mode but `ok` and `reply_ok` must leave the gateway
//! as it was, and end in an answer that blames the plugin, unless the gateway can do without what it says: what is logged
//! beyond a measure is dropped, a time nobody signed is not believed.

use std::hint::black_box;

use tollgate_sdk::{
    About, Call, Encoding, Event, Hash, Key, Level, Part, Problems, Refusal, Reply, Role, Setting, Settings, Verdict,
    Verifier,
};

const MIB: usize = 1024 * 1024;

/// What to do when asked. Configuring is its own occasion: `spin_in_configure` never gets to be asked.
#[derive(Clone, Copy)]
enum Mode {
    /// Accepts; where the request has `x-token`, only if it is the secret.
    Ok,
    ReplyOk,
    /// Loops without end.
    Spin,
    /// Allocates without end.
    Hog,
    Trap,
    /// Refuses with 200.
    BadStatus,
    /// Refuses with a code that is no word.
    BadCode,
    OversizedReply,
    TooManyHeaders,
    /// Calls an id and a time signed, having checked nothing.
    LyingTimestamp,
    /// Replies with fields of the connection.
    ForbiddenHeader,
    ManyHostCalls,
    HugeLog,
    /// Asks for far more hashing than one call may use.
    CryptoBomb,
}

struct Misbehaver(Mode);

impl Verifier for Misbehaver {
    const ABOUT: About = About::new("misbehaver", "none: it exists for the gateway's tests")
        .roles(&[Role::optional("signing", "what `x-token` must be, in mode `ok`")])
        .settings(&[Setting::text("mode", "what to do wrong").required()]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        let mode = match settings.text("mode").unwrap_or_default() {
            "ok" => Mode::Ok,
            "reply_ok" => Mode::ReplyOk,
            "spin" => Mode::Spin,
            "spin_in_configure" => spin(),
            "hog" => Mode::Hog,
            "trap" => Mode::Trap,
            "bad_status" => Mode::BadStatus,
            "bad_code" => Mode::BadCode,
            "oversized_reply" => Mode::OversizedReply,
            "too_many_headers" => Mode::TooManyHeaders,
            "lying_timestamp" => Mode::LyingTimestamp,
            "forbidden_header" => Mode::ForbiddenHeader,
            "many_host_calls" => Mode::ManyHostCalls,
            "huge_log" => Mode::HugeLog,
            "crypto_bomb" => Mode::CryptoBomb,
            _ => return Err(Problems::of("mode", "expected the name of a mode")),
        };
        Ok(Self(mode))
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        match self.0 {
            Mode::Ok => {
                if let Some(token) = call.optional("x-token")? {
                    call.check_token(Key::text("signing"), token.as_bytes())?;
                }
                Ok(Event::new().into())
            }
            Mode::ReplyOk => Ok(Reply::text("ok").into()),
            Mode::Spin => spin(),
            Mode::Hog => hog(),
            Mode::Trap => trap(),
            Mode::BadStatus => Err(Refusal::new(200, "fine")),
            Mode::BadCode => Err(Refusal::new(401, "Not A Word!")),
            Mode::OversizedReply => Ok(Reply::new(200).body(vec![b'x'; MIB]).into()),
            Mode::TooManyHeaders => {
                let reply = (0..1000).fold(Reply::new(200), |reply, nth| reply.header(&format!("x-{nth}"), "x"));
                Ok(reply.into())
            }
            Mode::LyingTimestamp => Ok(Event::new().signed_id("made-up".to_owned()).timestamp(call.now()).into()),
            Mode::ForbiddenHeader => {
                Ok(Reply::text("hi").header("connection", "close").header("content-length", "4000").into())
            }
            Mode::ManyHostCalls => {
                for _ in 0..10_000 {
                    black_box(call.header("x-token"));
                }
                Ok(Event::new().into())
            }
            Mode::HugeLog => {
                let line = "all work and no play ".repeat(MIB / 16);
                for _ in 0..100 {
                    call.log(Level::Info, &line);
                }
                Ok(Event::new().into())
            }
            Mode::CryptoBomb => {
                for _ in 0..900 {
                    black_box(call.digest(Hash::Sha512, &[Part::BodyDigest(Hash::Sha512, Encoding::Raw); 32])?);
                }
                Ok(Event::new().into())
            }
        }
    }
}

fn spin() -> ! {
    loop {
        black_box(());
    }
}

fn hog() -> ! {
    let mut blocks = Vec::new();
    loop {
        blocks.push(black_box(vec![1u8; MIB]));
    }
}

fn trap() -> ! {
    #[cfg(target_family = "wasm")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_family = "wasm"))]
    std::process::abort()
}

tollgate_sdk::verifier!(Misbehaver);
