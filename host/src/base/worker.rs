//! Which worker thread this is. Workers share nothing on the way of a request: what they keep (connections to upstreams
//! above all) is kept once per worker and found by this index.

use std::cell::Cell;

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(0) };
}

/// The index of this thread: 1 and up on worker threads, 0 on every other.
pub fn index() -> usize {
    INDEX.with(Cell::get)
}

/// Says which worker this thread is; called once, by the thread that becomes one.
pub fn become_worker(index: usize) {
    INDEX.with(|cell| cell.set(index));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_no_worker_until_it_says_so() {
        assert_eq!(index(), 0);
        let worker = std::thread::spawn(|| {
            become_worker(3);
            index()
        });
        assert_eq!(worker.join().expect("ends"), 3);
        assert_eq!(index(), 0);
    }
}
