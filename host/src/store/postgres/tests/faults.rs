//! A database that goes away, connections that break, a pool that is full.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::super::conformance::{accept, all, at, claim, event, ids, key, product};
use super::super::super::{Accepted, EventStore, Filter, NewEvent, StoreError};
use super::super::pool::Use;
use super::server::Server;
use super::{open, plan};
use crate::config::plan::{Postgres, PostgresHost};

/// Looks until there is something to see.
async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looking).await.unwrap_or_else(|_| panic!("{what}: never"))
}

#[tokio::test]
async fn a_database_that_restarts_is_found_again_and_nothing_is_lost() {
    let Some(server) = Server::start(&[]) else { return };
    let store = open(plan(&server)).await;
    let before = accept(&*store, at(0), event(at(0))).await;
    server.stop();
    let started = std::time::Instant::now();
    let away = store.accept(at(1), event(at(1))).await;
    assert!(matches!(away, Err(StoreError::Failed(_))), "{away:?}");
    assert!(store.claim(at(1), &[(product("billing"), 1)], Duration::from_secs(1)).await.is_err());
    assert!(started.elapsed() < Duration::from_secs(5), "whoever asks is told at once: {:?}", started.elapsed());
    server.start_again();
    let after = eventually("an event is taken in again", async || {
        let given = event(at(2));
        store.accept(at(2), given.clone()).await.ok().map(|_| given.id)
    })
    .await;
    assert_eq!(ids(&claim(&*store, at(3), 10).await), [before, after]);
}

#[tokio::test]
async fn connections_that_are_cut_cost_no_event() {
    let Some(server) = Server::shared() else { return };
    let plan = plan(server);
    let store = open(plan.clone()).await;
    let over = Arc::new(AtomicBool::new(false));
    let producers: Vec<_> = (0..8)
        .map(|_| {
            let (store, over) = (store.clone(), over.clone());
            tokio::spawn(async move {
                let (mut answered, mut refused) = (Vec::new(), 0);
                while !over.load(Ordering::Relaxed) {
                    match store.accept(at(0), event(at(0))).await {
                        Ok(Accepted::New(id)) => answered.push(id),
                        Ok(Accepted::Duplicate(id)) => panic!("{id} has no key"),
                        Err(_) => refused += 1,
                    }
                }
                (answered, refused)
            })
        })
        .collect();
    for _ in 0..25 {
        let (database, plan) = (Server::shared().expect("it was there"), plan.clone());
        let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'tollgate'";
        tokio::task::spawn_blocking(move || database.sql(&plan.database, cut)).await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    let mut answered = HashSet::new();
    for producer in producers {
        let (ids, _refused) = producer.await.unwrap();
        for id in ids {
            assert!(answered.insert(id), "{id} was answered twice");
        }
    }
    assert!(answered.len() > 100, "only {} were answered", answered.len());
    // One that was refused may be there as well: nobody knew how its commit ended.
    eventually("a list", async || store.list(&Filter::default(), None, 1).await.ok()).await;
    let kept: Vec<_> = all(&*store, &Filter::default(), 500).await.iter().map(|row| row.event).collect();
    assert_eq!(kept.iter().collect::<HashSet<_>>().len(), kept.len(), "one delivery each");
    let kept: HashSet<_> = kept.into_iter().collect();
    assert!(answered.is_subset(&kept), "{} are lost", answered.difference(&kept).count());
    assert_eq!(store.stats().await.unwrap().states[0], kept.len() as u64);
}

/// Between the store and the server; cuts connections when it is told to.
struct Proxy {
    address: SocketAddr,
    /// The next answer of the server is swallowed, and its connection cut.
    swallows: Arc<AtomicBool>,
}

impl Proxy {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let swallows = Arc::new(AtomicBool::new(false));
        let armed = swallows.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(between(client, server, armed.clone()));
            }
        });
        Self { address, swallows }
    }
}

async fn between(client: TcpStream, server: TcpStream, swallows: Arc<AtomicBool>) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let up = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(drop) };
    let down = async {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let count = from_server.read(&mut buffer).await?;
            // The server has done it, and nobody hears of that.
            if count == 0 || swallows.swap(false, Ordering::SeqCst) {
                return Ok(());
            }
            to_client.write_all(&buffer[..count]).await?;
        }
    };
    let _either: std::io::Result<()> = tokio::select! { ended = up => ended, ended = down => ended };
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_again() {
    let Some(server) = Server::shared() else { return };
    let proxy = Proxy::to(server.port()).await;
    let hosts = vec![PostgresHost::Tcp("127.0.0.1".into(), proxy.address.port())];
    let store = open(Postgres { hosts, connections: 3, ..plan(server) }).await;
    let mut accepted = Vec::new();
    for n in 0..10 {
        let with_key = NewEvent { duplicate: Some((key(&format!("k{n}")), at(1000))), ..event(at(n)) };
        let given = if n % 2 == 0 { with_key } else { event(at(n)) };
        // Only what belongs to the next event may be swallowed, so others are let through first.
        accept(&*store, at(0), event(at(0))).await;
        proxy.swallows.store(true, Ordering::SeqCst);
        assert_eq!(store.accept(at(n), given.clone()).await, Ok(Accepted::New(given.id)), "the {n}th");
        accepted.push(given.id);
    }
    let kept = all(&*store, &Filter::default(), 500).await;
    assert_eq!(kept.len(), 20);
    for id in accepted {
        assert_eq!(kept.iter().filter(|row| row.event == id).count(), 1);
    }
}

#[tokio::test]
async fn a_full_pool_is_an_answer_and_no_end() {
    let Some(server) = Server::shared() else { return };
    let store = open(Postgres { connections: 3, ..plan(server) }).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(store.inner.pool.take(Use::Work).await.unwrap());
    }
    assert_eq!(store.accept(at(0), event(at(0))).await, Err(StoreError::Busy));
    for held in held {
        store.inner.pool.give(held, Ok(())).unwrap();
    }
    accept(&*store, at(0), event(at(0))).await;
}

#[tokio::test]
async fn searches_leave_connections_to_work() {
    let Some(server) = Server::shared() else { return };
    let store = open(Postgres { connections: 3, ..plan(server) }).await;
    let searching = store.inner.pool.take(Use::Search).await.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(50), store.inner.pool.take(Use::Search)).await.is_err(),
        "one search has all that searches may have"
    );
    accept(&*store, at(0), event(at(0))).await;
    store.inner.pool.give(searching, Ok(())).unwrap();
    assert_eq!(all(&*store, &Filter::default(), 5).await.len(), 1);
}

#[tokio::test]
async fn a_corrupt_row_is_a_dead_letter_and_the_rest_is_served() {
    let Some(server) = Server::shared() else { return };
    let plan = plan(server);
    let store = open(plan.clone()).await;
    let mut events = Vec::new();
    for second in 0..5 {
        events.push(accept(&*store, at(second), event(at(second))).await);
    }
    server.sql(
        &plan.database,
        "UPDATE tollgate_event SET body = '{x' WHERE received = (SELECT min(received) + 1000 FROM tollgate_event);
         UPDATE tollgate_event SET head = substr(head, 1, 10)
            WHERE received = (SELECT min(received) + 3000 FROM tollgate_event)",
    );
    assert_eq!(ids(&claim(&*store, at(9), 10).await), [events[0], events[2], events[4]]);
    assert_eq!(store.stats().await.unwrap().states, [0, 3, 0, 2, 0, 0]);
    assert!(matches!(store.body(events[1]).await, Err(StoreError::Corrupt(_))));
    assert!(claim(&*store, at(9), 10).await.is_empty());
}
