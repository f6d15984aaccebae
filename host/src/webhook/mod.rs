//! Layer 4: webhooks. Received, verified and made durable by [`ingest`]; delivered by [`worker`], one [`deliver`] an
//! attempt; [`retry`] decides what comes next.

mod body;
pub mod deliver;
pub mod ingest;
pub mod redact;
pub mod retry;
pub mod worker;
