//! Who runs beside whom. Tests run side by side; those that measure time or memory run alone, so that what they measure is
//! the gateway and not its neighbours.

use std::sync::OnceLock;

use tokio::sync::watch;

/// How many share the floor; -1 while one has it alone.
fn floor() -> &'static watch::Sender<i64> {
    static FLOOR: OnceLock<watch::Sender<i64>> = OnceLock::new();
    FLOOR.get_or_init(|| watch::Sender::new(0))
}

/// A place on the floor, held until dropped.
#[derive(Debug)]
pub struct Turn {
    alone: bool,
}

/// Waits until nobody is alone. A test may take several.
pub async fn shared() -> Turn {
    take(|count| (*count >= 0).then(|| *count += 1)).await;
    Turn { alone: false }
}

/// Waits until nobody else is there.
pub async fn alone() -> Turn {
    take(|count| (*count == 0).then(|| *count = -1)).await;
    Turn { alone: true }
}

async fn take(mut attempt: impl FnMut(&mut i64) -> Option<()>) {
    let mut changes = floor().subscribe();
    loop {
        let mut taken = false;
        floor().send_if_modified(|count| {
            taken = attempt(count).is_some();
            taken
        });
        if taken {
            return;
        }
        changes.changed().await.expect("the floor is never taken down");
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        floor().send_modify(|count| if self.alone { *count = 0 } else { *count -= 1 });
    }
}
