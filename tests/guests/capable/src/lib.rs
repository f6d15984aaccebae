//! A verifier that accepts everything and imports `acme:net/fetch`, which no gateway has. It must be refused at load, with
//! the name of what it wants.

use tollgate_sdk::{About, Call, Event, Problems, Refusal, Settings, Verdict, Verifier};

#[cfg(target_family = "wasm")]
#[allow(unsafe_code, missing_docs, unreachable_pub, rust_2018_idioms, clippy::all, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package acme:net@1.0.0;
            interface fetch { get: func(url: string) -> list<u8>; }
            world capable { import fetch; }
        ",
    });
}

struct Capable;

impl Verifier for Capable {
    const ABOUT: About = About::new("capable", "none: it exists for the gateway's tests");

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let fetched = fetch(&call.target());
        Ok(Event::new().unsigned_id(String::from_utf8(fetched).ok()).into())
    }
}

fn fetch(url: &str) -> Vec<u8> {
    #[cfg(target_family = "wasm")]
    return bindings::acme::net::fetch::get(url);
    #[cfg(not(target_family = "wasm"))]
    url.as_bytes().to_vec()
}

tollgate_sdk::verifier!(Capable);
