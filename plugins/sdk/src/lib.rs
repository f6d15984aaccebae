//! Write tollgate plugins in Rust.
//!
//! A plugin reads through borrowed handles and writes by returning values. Secrets and bodies stay in the gateway: a
//! plugin names the role of a secret and the parts that were signed, and the gateway computes and compares. So a
//! verifier is what is special about its provider and nothing else:
//!
//! ```
//! use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier, encoding};
//!
//! struct Acme;
//!
//! impl Verifier for Acme {
//!     const ABOUT: About = About::new("acme", "https://docs.acme.example/webhooks")
//!         .roles(&[Role::required("signing", "the endpoint's secret, from the dashboard")]);
//!
//!     fn configure(_: &Settings) -> Result<Self, Problems> {
//!         Ok(Self)
//!     }
//!
//!     fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
//!         let written = call.required("acme-signature")?;
//!         let signature = encoding::hex(&written, 32).ok_or_else(|| Refusal::malformed("acme-signature"))?;
//!         call.check_hmac(Key::text("signing"), Hash::Sha256, &[Part::Body], &[signature])?;
//!         Ok(Event::new().signed_id(call.json("/id")).kind(call.json("/type")).into())
//!     }
//! }
//!
//! tollgate_sdk::verifier!(Acme);
//! ```
//!
//! `cargo test` runs it natively against [`testing`], with real cryptography and recorded requests. `tollgate plugin
//! build` makes the component.

mod about;
mod crypto;
pub mod encoding;
mod json;
mod request;
pub mod scheme;
mod settings;
mod verdict;

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod guest;
#[cfg(target_family = "wasm")]
use guest::host;

#[cfg(not(target_family = "wasm"))]
pub mod testing;
#[cfg(not(target_family = "wasm"))]
use testing::host;

pub use about::{About, Kind, Role, Setting};
pub use crypto::{Algorithm, CryptoError, Encoding, Hash, Key, KeyForm, Part};
pub use request::{CANDIDATES_MAX, Call, Level, Protocol, Request, Response, TextError};
pub use settings::{Problem, Problems, Settings};
pub use verdict::{Edit, Event, Identity, Refusal, Reply, Verdict};

/// Says whether a webhook request is its provider's. Exported by [`verifier!`].
pub trait Verifier: Sized + 'static {
    /// What it is and needs.
    const ABOUT: About;

    /// Makes the verifier from a route's `options`, which already passed [`ABOUT`](Self::ABOUT). Runs before traffic:
    /// a problem keeps the configuration from going live. No cryptography and no clock here.
    fn configure(settings: &Settings) -> Result<Self, Problems>;

    /// Judges one request. An event or a reply may only follow a successful check.
    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal>;
}

/// Edits heads on their way to the product and back. Exported by [`propagator!`].
pub trait Propagator: Sized + 'static {
    /// What it is and needs.
    const ABOUT: About;

    /// Makes the propagator from a route's `options`, as in [`Verifier::configure`].
    fn configure(settings: &Settings) -> Result<Self, Problems>;

    /// The edits of a request's head, in order.
    fn on_request(&self, request: &Request<'_>) -> Result<Vec<Edit>, Refusal>;

    /// The edits of a response's head, in order.
    fn on_response(&self, request: &Request<'_>, response: &Response<'_>) -> Vec<Edit> {
        let _ = (request, response);
        Vec::new()
    }
}

/// Says where a request goes. Exported by [`router!`].
pub trait Router: Sized + 'static {
    /// What it is and needs.
    const ABOUT: About;

    /// Makes the router from a route's `options`, as in [`Verifier::configure`].
    fn configure(settings: &Settings) -> Result<Self, Problems>;

    /// Products among `candidates`; empty keeps the route's own. More than one only on a webhook route.
    fn choose(&self, request: &Request<'_>, candidates: &[String]) -> Result<Vec<String>, Refusal>;
}

/// Makes a [`Verifier`] the plugin's export. Does nothing where the crate is built natively, for its tests.
#[macro_export]
macro_rules! verifier {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Plugin = $crate::guest::ExportedVerifier<$plugin>;
    $crate::guest::setup::export!(Plugin with_types_in $crate::guest::setup);
    $crate::guest::verify::export!(Plugin with_types_in $crate::guest::verify);
        };
        #[cfg(not(target_family = "wasm"))]
        const _: fn(&$crate::Settings) -> ::std::result::Result<$plugin, $crate::Problems> =
            <$plugin as $crate::Verifier>::configure;
    };
}

/// Makes a [`Propagator`] the plugin's export. Does nothing where the crate is built natively, for its tests.
#[macro_export]
macro_rules! propagator {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Plugin = $crate::guest::ExportedPropagator<$plugin>;
    $crate::guest::setup::export!(Plugin with_types_in $crate::guest::setup);
    $crate::guest::propagate::export!(Plugin with_types_in $crate::guest::propagate);
        };
        #[cfg(not(target_family = "wasm"))]
        const _: fn(&$crate::Settings) -> ::std::result::Result<$plugin, $crate::Problems> =
            <$plugin as $crate::Propagator>::configure;
    };
}

/// Makes a [`Router`] the plugin's export. Does nothing where the crate is built natively, for its tests.
#[macro_export]
macro_rules! router {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Plugin = $crate::guest::ExportedRouter<$plugin>;
    $crate::guest::setup::export!(Plugin with_types_in $crate::guest::setup);
    $crate::guest::choose::export!(Plugin with_types_in $crate::guest::choose);
        };
        #[cfg(not(target_family = "wasm"))]
        const _: fn(&$crate::Settings) -> ::std::result::Result<$plugin, $crate::Problems> =
            <$plugin as $crate::Router>::configure;
    };
}

/// The examples of the author's guide compile.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/plugins.md")]
mod guide {}
