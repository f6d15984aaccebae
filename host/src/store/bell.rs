//! What rings when something may be due sooner than it was.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// Rings for whoever waits, and for whoever looked before the ring and waits after it.
#[derive(Debug)]
pub(super) struct Bell {
    rings: watch::Sender<u64>,
    /// What `rings` was when somebody last asked for the next due time.
    heard: AtomicU64,
}

impl Bell {
    pub(super) fn new() -> Self {
        Self { rings: watch::Sender::new(0), heard: AtomicU64::new(0) }
    }

    /// Wakes whoever waits.
    pub(super) fn ring(&self) {
        self.rings.send_modify(|rings| *rings += 1);
    }

    /// To be called before the next due time is looked up.
    pub(super) fn hear(&self) {
        self.heard.store(*self.rings.borrow(), Ordering::SeqCst);
    }

    /// Returns once it rang after the last [`hear`](Self::hear) before this call.
    pub(super) fn rang(&self) -> impl Future<Output = ()> + Send + 'static {
        let heard = self.heard.load(Ordering::SeqCst);
        let mut rings = self.rings.subscribe();
        async move {
            // An error means that the store is gone, and nothing will be due any more.
            if rings.wait_for(|rings| *rings > heard).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
