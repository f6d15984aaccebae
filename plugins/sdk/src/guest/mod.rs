//! The plugin's side of the component boundary, only in wasm: bindings, handles, exports, the allocator.

#[cfg(feature = "arena")]
mod arena;
mod exports;
pub(crate) mod host;
#[cfg(feature = "process")]
mod process;

pub use exports::{ExportedPropagator, ExportedRouter, ExportedVerifier};

/// Bindings for one piece of the WIT worlds. A plugin exports two pieces, `setup` and its hook, and the linker joins
/// them to one of the worlds: bindings for the three worlds as they stand would hold `setup` three times.
macro_rules! bindings {
    ($name:ident, $world:literal, { $($with:tt)* }) => {
        #[doc(hidden)]
        #[allow(unsafe_code, missing_docs, unreachable_pub, rust_2018_idioms, clippy::all, reason = "generated")]
        pub mod $name {
            wit_bindgen::generate!({
                path: "../../wit/v0.1",
                inline: $world,
                pub_export_macro: true,
                with: { $($with)* },
            });
        }
    };
}

bindings!(
    imports,
    "package tollgate:sdk;
    world imports {
        import tollgate:plugin/log@0.1.0;
        import tollgate:plugin/clock@0.1.0;
        import tollgate:plugin/crypto@0.1.0;
        // Names the types and functions that only the hooks use.
        import sdk: interface {
            use tollgate:plugin/types@0.1.0.{reply, refusal, header-edit};
            use tollgate:plugin/http@0.1.0.{request, response};
            types: func(request: borrow<request>, response: borrow<response>, reply: reply) -> result<list<header-edit>, refusal>;
        }
    }",
    {
        "tollgate:plugin/log@0.1.0": generate,
        "tollgate:plugin/clock@0.1.0": generate,
        "tollgate:plugin/crypto@0.1.0": generate,
        "tollgate:plugin/types@0.1.0": generate,
        "tollgate:plugin/http@0.1.0": generate,
    }
);
bindings!(
    setup,
    "package tollgate:sdk; world setup { export tollgate:plugin/setup@0.1.0; }",
    { "tollgate:plugin/setup@0.1.0": generate }
);
bindings!(
    verify,
    "package tollgate:sdk; world verify { export tollgate:plugin/verify@0.1.0; }",
    {
        "tollgate:plugin/verify@0.1.0": generate,
        "tollgate:plugin/types@0.1.0": crate::guest::imports::tollgate::plugin::types,
        "tollgate:plugin/http@0.1.0": crate::guest::imports::tollgate::plugin::http,
    }
);
bindings!(
    propagate,
    "package tollgate:sdk; world propagate { export tollgate:plugin/propagate@0.1.0; }",
    {
        "tollgate:plugin/propagate@0.1.0": generate,
        "tollgate:plugin/types@0.1.0": crate::guest::imports::tollgate::plugin::types,
        "tollgate:plugin/http@0.1.0": crate::guest::imports::tollgate::plugin::http,
    }
);
bindings!(
    choose,
    "package tollgate:sdk; world choose { export tollgate:plugin/choose@0.1.0; }",
    {
        "tollgate:plugin/choose@0.1.0": generate,
        "tollgate:plugin/types@0.1.0": crate::guest::imports::tollgate::plugin::types,
        "tollgate:plugin/http@0.1.0": crate::guest::imports::tollgate::plugin::http,
    }
);
