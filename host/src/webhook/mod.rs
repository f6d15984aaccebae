//! Layer 4: webhooks. Received and verified by [`ingest`]; made durable there and delivered by [`worker`], one [`deliver`]
//! an attempt, while [`retry`] decides what comes next; or passed on at once by `forward`.

pub mod again;
mod body;
pub mod deliver;
mod forward;
pub mod ingest;
mod order;
mod pace;
mod parcel;
pub mod redact;
pub mod retry;
mod sign;
pub mod worker;
