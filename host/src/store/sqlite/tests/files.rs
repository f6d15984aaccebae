//! Files, their modes, what is left of a crash, corruption, and bounds.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rusqlite::Connection;

use super::super::super::conformance::accepting::spilled;
use super::super::super::conformance::{accept, at, attempt, claim, event, ids, row};
use super::super::super::{DeliveryState, EventStore, Filter, NewEvent, Retention, Settlement, StoreError};
use super::super::{SqliteOptions, SqliteStore};
use super::{folder, open, open_with};
use crate::base::ids::EventId;
use crate::base::payload::Payload;

const LARGE: usize = 100_000;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn body_path(database: &Path, id: EventId) -> std::path::PathBuf {
    database.with_file_name("tollgate.db-bodies").join(id.to_string())
}

#[tokio::test]
async fn only_the_owner_reads_the_files() {
    let (_folder, path) = folder();
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let store = open(&path);
    let id = accept(&*store, at(0), NewEvent { body: spilled(&*store, &[1; LARGE]), ..event(at(0)) }).await;
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let file = super::super::beside(&path, suffix);
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    assert_eq!(mode(store.spill_directory()), 0o700);
    assert_eq!(mode(store.spill_directory().parent().unwrap()), 0o700);
    assert_eq!(mode(&body_path(&path, id)), 0o600);
}

#[tokio::test]
async fn a_second_opening_is_told_who_has_it_and_succeeds_once_it_is_closed() {
    let (_folder, path) = folder();
    let first = open(&path);
    let impatient = SqliteOptions { lock_wait: Duration::from_millis(50), ..SqliteOptions::default() };
    let refused = SqliteStore::open(&path, impatient).unwrap_err();
    assert_eq!(refused, StoreError::Locked(format!("pid {}", std::process::id())));
    let id = accept(&*first, at(0), event(at(0))).await;
    first.close().await.unwrap();
    assert_eq!(ids(&claim(&*open(&path), at(0), 1).await), [id]);
}

#[tokio::test]
async fn leases_of_a_process_that_is_gone_are_due_at_once() {
    let (_folder, path) = folder();
    let first = open(&path);
    let id = accept(&*first, at(0), event(at(0))).await;
    let lost = claim(&*first, at(1), 1).await.remove(0);
    drop(first);
    let second = open(&path);
    assert_eq!(second.stats().await.unwrap().states, [1, 0, 0, 0, 0, 0]);
    let lease = claim(&*second, at(1), 1).await.remove(0);
    assert_eq!(lease.event.id, id);
    let late = Settlement::Delivered(attempt(&lost, at(2), 200));
    assert!(!second.settle(at(2), &lost, late).await.unwrap());
    let delivered = Settlement::Delivered(attempt(&lease, at(2), 200));
    assert!(second.settle(at(2), &lease, delivered).await.unwrap());
}

#[tokio::test]
async fn files_without_an_event_are_removed_and_others_kept() {
    let (_folder, path) = folder();
    let store = open(&path);
    let kept = accept(&*store, at(0), NewEvent { body: spilled(&*store, &[1; LARGE]), ..event(at(0)) }).await;
    let orphan = |age: u64| {
        let path = body_path(&path, EventId::new(at(1)));
        fs::write(&path, "x").unwrap();
        let written = SystemTime::now() - Duration::from_secs(age);
        fs::File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
        path
    };
    let (old, young) = (orphan(3700), orphan(3500));
    store.sweep(at(0), &Retention::default()).await.unwrap();
    assert!(!old.exists() && young.exists());
    fs::write(store.spill_directory().join("half"), "x").unwrap();
    drop(store);
    let store = open(&path);
    assert!(!young.exists() && body_path(&path, kept).exists());
    assert_eq!(fs::read_dir(store.spill_directory()).unwrap().count(), 0);
    assert!(store.body(kept).await.unwrap().is_some());
}

#[tokio::test]
async fn the_file_of_a_duplicate_is_removed() {
    let (_folder, path) = folder();
    let store = open(&path);
    let key = super::super::super::conformance::key("a");
    let large = || NewEvent { body: spilled(&*store, &[1; LARGE]), duplicate: Some((key, at(100))), ..event(at(0)) };
    let first = accept(&*store, at(0), large()).await;
    let second = large();
    let id = second.id;
    store.accept(at(1), second).await.unwrap();
    assert!(body_path(&path, first).exists() && !body_path(&path, id).exists());
}

#[tokio::test]
async fn the_file_of_a_swept_event_is_removed() {
    let (_folder, path) = folder();
    let store = open(&path);
    let id = accept(&*store, at(0), NewEvent { body: spilled(&*store, &[7; LARGE]), ..event(at(0)) }).await;
    assert!(body_path(&path, id).exists());
    assert_eq!(store.drop_deliveries(at(1), &Filter::default(), 1).await.unwrap(), 1);
    let retention = Retention { delivered: Some(Duration::ZERO), dead: None };
    assert_eq!(store.sweep(at(2), &retention).await.unwrap().events, 1);
    assert!(!body_path(&path, id).exists());
}

#[tokio::test]
async fn a_body_that_does_not_read_back_is_a_dead_letter_and_the_rest_is_served() {
    let (_folder, path) = folder();
    let store = open(&path);
    let mut events = Vec::new();
    for second in 0..6 {
        let body = match second {
            2 | 4 => spilled(&*store, &[second as u8; LARGE]),
            _ => Payload::Memory(vec![second as u8; 100].into()),
        };
        events.push(accept(&*store, at(second), NewEvent { body, ..event(at(second)) }).await);
    }
    // A flipped bit in a row, one in a file, a file that is gone, a head that is cut short.
    let raw = Connection::open(&path).unwrap();
    raw.execute("UPDATE event SET body = zeroblob(100) WHERE key = 2", []).unwrap();
    raw.execute("UPDATE event SET head = substr(head, 1, 10) WHERE key = 4", []).unwrap();
    let mut bytes = fs::read(body_path(&path, events[2])).unwrap();
    bytes[LARGE / 2] ^= 1;
    fs::write(body_path(&path, events[2]), bytes).unwrap();
    fs::remove_file(body_path(&path, events[4])).unwrap();

    assert_eq!(ids(&claim(&*store, at(9), 10).await), [events[0], events[5]]);
    for (id, why) in [(events[1], "checksum"), (events[2], "checksum"), (events[4], "its file is gone")] {
        let dead = row(&*store, id).await;
        assert_eq!(dead.state, DeliveryState::Dead);
        assert!(dead.reason.as_deref().is_some_and(|reason| reason.contains(why)), "{:?}", dead.reason);
        assert!(matches!(store.body(id).await, Err(StoreError::Corrupt(_))));
    }
    assert_eq!(store.stats().await.unwrap().states, [0, 2, 0, 4, 0, 0]);
    assert!(claim(&*store, at(9), 10).await.is_empty());
}

#[tokio::test]
async fn a_full_store_refuses_events_settles_on_and_takes_them_again_after_a_sweep() {
    let (_folder, path) = folder();
    let store = open_with(&path, SqliteOptions { max_bytes: Some(1 << 20), ..SqliteOptions::default() });
    let big = |second| NewEvent { body: Payload::Memory(vec![7; 20_000].into()), ..event(at(second)) };
    let key = super::super::super::conformance::key("a");
    let first = NewEvent { duplicate: Some((key, at(1000))), ..big(0) };
    let id = accept(&*store, at(0), first.clone()).await;
    let mut accepted = 1;
    let refused = loop {
        match store.accept(at(0), big(0)).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 100, "never full");
    };
    assert_eq!(refused, StoreError::Full);
    assert!(accepted > 20, "{accepted}");
    // A body file counts as well, and none is left behind.
    let large = NewEvent { body: spilled(&*store, &[1; LARGE]), ..event(at(0)) };
    let large_id = large.id;
    assert_eq!(store.accept(at(0), large).await, Err(StoreError::Full));
    assert!(!body_path(&path, large_id).exists());
    // A sender that repeats itself is told so, not turned away.
    let again = NewEvent { id: EventId::new(at(1)), ..first };
    assert_eq!(store.accept(at(1), again).await, Ok(super::super::super::Accepted::Duplicate(id)));
    for lease in claim(&*store, at(1), 100).await {
        let delivered = Settlement::Delivered(attempt(&lease, at(1), 200));
        assert!(store.settle(at(1), &lease, delivered).await.unwrap());
    }
    let keep_nothing = Retention { delivered: Some(Duration::ZERO), dead: None };
    assert_eq!(store.sweep(at(2), &keep_nothing).await.unwrap().events, accepted);
    accept(&*store, at(3), big(3)).await;
}

#[tokio::test]
async fn a_disk_without_its_reserve_refuses_events() {
    let (_folder, path) = folder();
    let store = open_with(&path, SqliteOptions { reserve_bytes: u64::MAX, ..SqliteOptions::default() });
    assert_eq!(store.accept(at(0), event(at(0))).await, Err(StoreError::Full));
    assert_eq!(store.stats().await.unwrap().states, [0; 6]);
}

#[tokio::test]
async fn a_disk_that_fills_fails_events_and_still_settles() {
    let (_folder, path) = folder();
    let store = open(&path);
    for _ in 0..10 {
        accept(&*store, at(0), event(at(0))).await;
    }
    let leases = claim(&*store, at(0), 10).await;
    // SQLite itself says that the disk is full from here on.
    let pages = |ledger: &mut super::super::ledger::Ledger<'_>| {
        let count: i64 = ledger.connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        ledger.connection.pragma_update_and_check(None, "max_page_count", count + 2, |row| row.get::<_, i64>(0))
    };
    store.writer.ask(0, pages).await.unwrap();
    let big = || NewEvent { body: Payload::Memory(vec![7; 60_000].into()), ..event(at(1)) };
    let accepting = futures_util::future::join_all((0..5).map(|_| store.accept(at(1), big())));
    let settling = leases.iter().map(|lease| {
        let delivered = Settlement::Delivered(attempt(lease, at(1), 200));
        store.settle(at(1), lease, delivered)
    });
    let (accepted, settled) = futures_util::future::join(accepting, futures_util::future::join_all(settling)).await;
    assert_eq!(accepted, vec![Err(StoreError::Full); 5]);
    assert_eq!(settled, vec![Ok(true); 10]);
    assert_eq!(store.stats().await.unwrap().states, [0, 0, 10, 0, 0, 0]);
    let unbounded = |ledger: &mut super::super::ledger::Ledger<'_>| {
        ledger.connection.pragma_update_and_check(None, "max_page_count", 1_000_000, |row| row.get::<_, i64>(0))
    };
    store.writer.ask(0, unbounded).await.unwrap();
    accept(&*store, at(2), big()).await;
}

#[tokio::test]
async fn a_failing_job_does_not_fail_its_neighbours() {
    let (_folder, path) = folder();
    let store = open(&path);
    let insert = |delivery: i64| {
        store.writer.ask(0, move |ledger| {
            ledger.moves[3] += 1;
            ledger.connection.execute("INSERT INTO attempt VALUES (?1, 1, 0, 0, NULL, NULL, x'')", [delivery])
        })
    };
    // The third breaks the primary key after its first change was counted.
    let asked = [insert(1), insert(2), insert(1), insert(3)];
    let outcomes = futures_util::future::join_all(asked).await;
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true]);
    assert_eq!(store.stats().await.unwrap().states[3], 3);
}

#[tokio::test]
async fn a_queue_that_is_full_refuses_events_and_nothing_is_lost() {
    let (_folder, path) = folder();
    let store = open(&path);
    let (enter, entered) = std::sync::mpsc::channel();
    let (leave, left) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new((enter, left));
    let held = store.writer.ask(0, move |_ledger| {
        let gate = gate.lock().unwrap();
        gate.0.send(()).unwrap();
        let _opened = gate.1.recv();
        Ok(())
    });
    entered.recv().unwrap();
    let mut accepting = Vec::new();
    let mut busy = 0;
    for _ in 0..5000 {
        let mut accept = store.accept(at(0), event(at(0)));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match accept.as_mut().poll(&mut context) {
            std::task::Poll::Pending => accepting.push(accept),
            std::task::Poll::Ready(refused) => {
                assert_eq!(refused, Err(StoreError::Busy));
                busy += 1;
            }
        }
    }
    assert_eq!((accepting.len(), busy), (4096, 904));
    // What is no event still finds a place.
    let mut claiming = Box::pin(claim(&*store, at(0), 1000));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(claiming.as_mut().poll(&mut context).is_pending());
    leave.send(()).unwrap();
    held.await.unwrap();
    let accepted = futures_util::future::join_all(accepting).await;
    assert!(accepted.iter().all(Result::is_ok));
    assert_eq!(claiming.await.len(), 1000);
    assert_eq!(store.stats().await.unwrap().states, [3096, 1000, 0, 0, 0, 0]);
}

#[tokio::test]
async fn commits_are_observed_with_their_size() {
    let (_folder, path) = folder();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let observe = {
        let seen = seen.clone();
        move |took, jobs| seen.lock().unwrap().push((took, jobs))
    };
    let store = open_with(&path, SqliteOptions { observe: Some(Arc::new(observe)), ..SqliteOptions::default() });
    futures_util::future::try_join_all((0..500).map(|_| store.accept(at(0), event(at(0))))).await.unwrap();
    store.close().await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.iter().map(|(_, jobs)| jobs).sum::<usize>(), 500);
    assert!(seen.iter().all(|(took, jobs)| *took > Duration::ZERO && *jobs <= 256), "{seen:?}");
    assert!(seen.len() < 50, "{} commits", seen.len());
}

#[tokio::test]
async fn calls_may_come_from_one_runtime_after_another() {
    let (_folder, path) = folder();
    let store = open(&path);
    let elsewhere = {
        let store = store.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let large = NewEvent { body: spilled(&*store, &[1; LARGE]), ..event(at(0)) };
            runtime.block_on(accept(&*store, at(0), large))
        }
    };
    let id = std::thread::spawn(elsewhere).join().unwrap();
    assert_eq!(store.list(&Filter::default(), None, 1).await.unwrap().rows[0].event, id);
}
