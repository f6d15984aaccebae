//! Layer 0: the words everything else is written in. Nothing here knows of HTTP, wasm or SQL.

pub mod clock;
pub mod digest;
pub mod drain;
pub mod host;
pub mod ids;
pub mod names;
pub mod path;
pub mod payload;
pub mod pem;
pub mod secret;
pub mod sizes;
pub mod trust;
pub mod worker;
