//! What wasmtime generates from `wit/v0.1`: the imports once, shared by the three worlds.
#![allow(missing_docs, unreachable_pub)]

pub mod verifier {
    wasmtime::component::bindgen!({
        path: "../wit/v0.1",
        world: "verifier",
        with: {
            "tollgate:plugin/http.request": crate::plugin::state::RequestHandle,
            "tollgate:plugin/http.response": crate::plugin::state::ResponseHandle,
            "tollgate:plugin/http.body": crate::plugin::state::BodyHandle,
        },
        imports: { default: trappable },
    });
}

pub mod propagator {
    wasmtime::component::bindgen!({
        path: "../wit/v0.1",
        world: "propagator",
        with: {
            "tollgate:plugin/types": crate::plugin::bindings::verifier::tollgate::plugin::types,
            "tollgate:plugin/http": crate::plugin::bindings::verifier::tollgate::plugin::http,
            "tollgate:plugin/crypto": crate::plugin::bindings::verifier::tollgate::plugin::crypto,
            "tollgate:plugin/log": crate::plugin::bindings::verifier::tollgate::plugin::log,
            "tollgate:plugin/clock": crate::plugin::bindings::verifier::tollgate::plugin::clock,
        },
    });
}

pub mod router {
    wasmtime::component::bindgen!({
        path: "../wit/v0.1",
        world: "router",
        with: {
            "tollgate:plugin/types": crate::plugin::bindings::verifier::tollgate::plugin::types,
            "tollgate:plugin/http": crate::plugin::bindings::verifier::tollgate::plugin::http,
            "tollgate:plugin/crypto": crate::plugin::bindings::verifier::tollgate::plugin::crypto,
            "tollgate:plugin/log": crate::plugin::bindings::verifier::tollgate::plugin::log,
            "tollgate:plugin/clock": crate::plugin::bindings::verifier::tollgate::plugin::clock,
        },
    });
}

pub use verifier::exports::tollgate::plugin::{setup, verify};
pub use verifier::tollgate::plugin::{clock, crypto, http, log, types};
