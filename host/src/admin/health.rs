//! Whether the gateway wants traffic.

use std::sync::atomic::{AtomicU8, Ordering};

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// Starting, ready, draining.
#[derive(Debug, Default)]
pub struct Health(AtomicU8);

impl Health {
    /// Traffic is welcome.
    pub fn ready(&self) {
        self.0.store(READY, Ordering::Relaxed);
    }

    /// It is not any more.
    pub fn draining(&self) {
        self.0.store(DRAINING, Ordering::Relaxed);
    }

    /// Whether traffic is welcome, and the word for it.
    pub(super) fn state(&self) -> (bool, &'static str) {
        match self.0.load(Ordering::Relaxed) {
            READY => (true, "ready"),
            STARTING => (false, "starting"),
            _ => (false, "draining"),
        }
    }
}
