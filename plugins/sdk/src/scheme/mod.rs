//! The schemes that most providers use, with what differs between them left open. Each reads as strictly as
//! [`encoding`](crate::encoding) does: one spelling, the one the provider emits.
//!
//! [`Mac`] is an HMAC in a header, [`Stamped`] the list `t=…,v1=…`, [`StandardWebhooks`] what Svix made common, [`Jws`] a
//! signed token, [`SignedAt`] a time that is part of the content, [`PublicUrl`] and [`form`] are for schemes that sign the
//! request's URL and parameters, [`basic`] reads credentials, [`Table`] reads a body of which
//! only values are signed, [`described`] leaves everything to a
//! route's options.

mod basic;
mod content;
pub mod described;
pub mod form;
mod jws;
mod mac;
mod signed_at;
mod source;
mod stamped;
mod standard;
mod table;
mod url;

pub use basic::basic;
pub use described::Described;
pub use jws::{Jws, SignedBy};
pub use mac::{Digits, Mac};
pub use signed_at::SignedAt;
pub use source::Source;
pub use stamped::Stamped;
pub use standard::{Message, StandardWebhooks};
pub use table::Table;
pub use url::PublicUrl;
