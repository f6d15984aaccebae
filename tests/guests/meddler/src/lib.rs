//! A propagator that misbehaves in the way the request's field `x-mode` names, on the way that `x-when` names (`response`,
//! else the request). Without a mode it makes one honest edit.

use std::hint::black_box;

use tollgate_sdk::{About, Edit, Problems, Propagator, Refusal, Request, Response, Settings};

struct Meddler;

impl Propagator for Meddler {
    const ABOUT: About = About::new("meddler", "none: it exists for the gateway's tests");

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn on_request(&self, request: &Request<'_>) -> Result<Vec<Edit>, Refusal> {
        let mode = request.optional("x-mode")?.unwrap_or_default();
        match mode.as_str() {
            _ if on_response(request) => Ok(honest()),
            "refuse_200" => Err(Refusal::new(200, "fine")),
            mode => Ok(edits(mode)),
        }
    }

    fn on_response(&self, request: &Request<'_>, _: &Response<'_>) -> Vec<Edit> {
        match request.header("x-mode") {
            Some(mode) if on_response(request) => edits(&String::from_utf8_lossy(&mode)),
            _ => honest(),
        }
    }
}

fn on_response(request: &Request<'_>) -> bool {
    request.header("x-when").is_some_and(|when| when == b"response")
}

fn honest() -> Vec<Edit> {
    vec![Edit::set("x-meddled", "yes")]
}

/// `field:NAME` edits that field; the rest are what they are called.
fn edits(mode: &str) -> Vec<Edit> {
    let mut edits = honest();
    if let Some(name) = mode.strip_prefix("field:") {
        edits.push(Edit::set(name, "meddled"));
        return edits;
    }
    match mode {
        "trap" => trap(),
        "spin" => loop {
            black_box(());
        },
        "many" => edits.extend((0..1000).map(|nth| Edit::append("x-many", nth.to_string()))),
        "large" => edits.push(Edit::set("x-large", vec![b'x'; 1 << 20])),
        "smuggle" => edits.push(Edit::set("x-fine", "1\r\nhost: elsewhere")),
        _ => {}
    }
    edits
}

fn trap() -> ! {
    #[cfg(target_family = "wasm")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_family = "wasm"))]
    std::process::abort()
}

tollgate_sdk::propagator!(Meddler);

#[cfg(test)]
mod tests {
    use tollgate_sdk::testing::FakeRequest;

    use super::*;

    fn ask(mode: &str) -> Vec<Edit> {
        FakeRequest::post("/").header("x-mode", mode).on_request::<Meddler>("{}").unwrap()
    }

    #[test]
    fn it_does_what_it_is_told() {
        assert_eq!(ask("none"), honest());
        assert_eq!(ask("field:x-other")[1], Edit::set("x-other", "meddled"));
    }

    #[test]
    #[should_panic(expected = "the field host belongs to the gateway")]
    fn the_sdk_knows_what_is_not_its_to_edit() {
        ask("field:host");
    }
}
