//! Taking answers back to where they were asked for.
//!
//! Waking a task from a foreign thread is a system call for each task, and freeing what another thread allocated is dear
//! as well. So what a commit answers goes to each runtime as one parcel: a task there, woken once, answers everyone,
//! where waking costs next to nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Handle, Id};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::super::StoreError;
use super::writer::Job;

/// Jobs that are done, each with why it is not on disk.
type Parcel = Vec<(Box<dyn Job>, Option<StoreError>)>;

/// The way back to a runtime. What waits on it was asked for there and not answered yet: as many as the writer's queue
/// and a batch hold, at most.
pub(super) type Way = UnboundedSender<Parcel>;

/// The ways back to the runtimes that asked so far and still run. Their tasks end with this.
#[derive(Debug, Default)]
pub(super) struct Couriers {
    ways: Mutex<HashMap<Id, Way>>,
}

impl Couriers {
    /// The way back to the runtime this is called in; `None` outside of one.
    pub(super) fn here(&self) -> Option<Way> {
        let runtime = Handle::try_current().ok()?;
        // Nothing panics while this is held.
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(way) = ways.get(&runtime.id()) {
            return Some(way.clone());
        }
        ways.retain(|_, way| !way.is_closed());
        let (way, mut parcels) = unbounded_channel();
        runtime.spawn(async move {
            while let Some(parcel) = parcels.recv().await {
                deliver(parcel);
            }
        });
        ways.insert(runtime.id(), way.clone());
        Some(way)
    }
}

/// Answers a batch, each job in the runtime that asked for it.
pub(super) fn answer(batch: impl Iterator<Item = (Box<dyn Job>, Option<StoreError>)>) {
    let mut parcels: Vec<(Way, Parcel)> = Vec::new();
    for (job, failure) in batch {
        let Some(way) = job.way() else {
            job.finish(failure);
            continue;
        };
        match parcels.iter_mut().find(|(other, _)| other.same_channel(way)) {
            Some((_, parcel)) => parcel.push((job, failure)),
            None => parcels.push((way.clone(), vec![(job, failure)])),
        }
    }
    for (way, parcel) in parcels {
        // That runtime ended; who asked from there may still be told.
        if let Err(unsent) = way.send(parcel) {
            deliver(unsent.0);
        }
    }
}

fn deliver(parcel: Parcel) {
    for (job, failure) in parcel {
        job.finish(failure);
    }
}
