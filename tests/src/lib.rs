//! What the gateway's tests are made of: a gateway in this process ([`TestGateway`]) or in one of its own
//! ([`GatewayProcess`]), products that answer by a script ([`Peer`]), senders who sign ([`signing`]), and a client that
//! shows what came back. The tests themselves are in `it/`.
//!
//! Whatever waits here waits for something to happen, and fails when it takes too long ([`soon`], [`eventually`]).

pub mod client;
pub mod elsewhere;
pub mod gateway;
pub mod peers;
pub mod plugins;
pub mod postgres;
pub mod process;
pub mod setup;
pub mod signing;
pub mod tls;
pub mod turns;
pub mod websocket;

use std::future::Future;
use std::time::Duration;

pub use client::{Answer, Connection, Wire};
pub use gateway::TestGateway;
pub use peers::{Delivery, Peer, Reply};
pub use process::GatewayProcess;
pub use setup::Setup;

/// Nothing takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at something that tells nobody when it changes.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Fails instead of hanging.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not within {} s", PATIENCE.as_secs()),
    }
}

/// Looks until there is something to see; fails when that takes too long.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    soon(what, async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await
}
