//! The promise of the whole project: what was answered is there after any kill.
//!
//! The test starts this test binary again with only the writing half, reads the ids it prints after each answer, kills
//! it at a moment it does not choose, and looks for every id.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::super::super::conformance::accepting::spilled;
use super::super::super::conformance::{at, attempt, event};
use super::super::super::{Accepted, EventStore, NewEvent, Settlement, StoreError};
use super::super::SqliteStore;
use super::{folder, open};
use crate::base::clock::Clock;
use crate::base::digest::Digest;
use crate::base::ids::EventId;
use crate::base::names::ProductName;

const ROUNDS: u64 = 24;
const WRITER: &str = "TOLLGATE_TEST_STORE_TO_WRITE";

#[test]
fn every_answered_event_is_there_after_a_kill_at_any_time() {
    let (_folder, path) = folder();
    let mut answered = Vec::new();
    for round in 0..ROUNDS {
        // From before the first answer to the midst of many; spread by the golden ratio, the same in each run.
        let answers = (round * 61) % 97;
        answered.extend(write_and_kill(&path, answers as usize, Duration::from_micros(round * 617 % 2000)));
        let store = open(&path);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(all_are_there(&store, &answered));
        runtime.block_on(store.close()).unwrap();
    }
    assert!(answered.len() > 500, "only {} answers", answered.len());
    let check: String =
        rusqlite::Connection::open(&path).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

/// Runs the writing half until it has answered `answers` times, and a little longer. Returns all it answered.
fn write_and_kill(path: &Path, answers: usize, longer: Duration) -> Vec<EventId> {
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "store::sqlite::tests::crash::the_writing_half"])
        .env(WRITER, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut answered = Vec::new();
    while answered.len() <= answers {
        let line = lines.next().expect("the writer goes on until it is killed");
        answered.extend(EventId::parse(&line));
    }
    // Not to wait for anything: the kill is to come at a moment between two answers as well.
    std::thread::sleep(longer);
    writer.kill().unwrap();
    writer.wait().unwrap();
    // A last line that the kill cut short is no answer.
    answered.extend(lines.filter_map(|line| EventId::parse(&line)));
    answered
}

async fn all_are_there(store: &SqliteStore, answered: &[EventId]) {
    for id in answered {
        assert!(store.show(*id).await.unwrap().is_some(), "{id} was answered and is gone");
        assert!(store.body(*id).await.unwrap().is_some(), "the body of {id} is gone");
    }
    let [_, leased, ..] = store.stats().await.unwrap().states;
    assert_eq!(leased, 0, "a lease outlived its process");
}

/// Not a test of its own: does nothing unless the test above asks for it.
#[test]
fn the_writing_half() {
    let Ok(path) = std::env::var(WRITER) else { return };
    let store = open(Path::new(&path));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        futures_util::future::join(
            deliver_forever(&store),
            futures_util::future::join_all((0..8).map(|n| accept_forever(&store, n))),
        )
        .await;
    });
}

async fn accept_forever(store: &SqliteStore, producer: u64) {
    for n in 0.. {
        let given = event(Clock::System.now());
        let mut given = NewEvent { duplicate: Some((Digest::of(given.id.bytes()), at(1 << 32))), ..given };
        if n % 16 == producer {
            given.body = spilled(store, &[n as u8; 70_000]);
        }
        match store.accept(Clock::System.now(), given).await {
            Ok(Accepted::New(id)) => writeln!(std::io::stdout().lock(), "{id}").expect("the parent reads"),
            other => panic!("{other:?}"),
        }
    }
}

async fn deliver_forever(store: &SqliteStore) -> StoreError {
    let room = [(ProductName::new("billing").unwrap(), 4)];
    loop {
        let now = Clock::System.now();
        let leases = match store.claim(now, &room, Duration::from_secs(60)).await {
            Ok(leases) => leases,
            Err(error) => return error,
        };
        for lease in leases {
            let delivered = Settlement::Delivered(attempt(&lease, now, 200));
            if let Err(error) = store.settle(now, &lease, delivered).await {
                return error;
            }
        }
    }
}
