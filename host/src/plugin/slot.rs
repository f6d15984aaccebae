//! A plugin's name and what is live under it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwapOption;

use super::call::Binding;
use super::component::Plugin;
use super::parking::Parking;
use super::recent::Recent;
use crate::base::digest::Digest;
use crate::base::names::PluginName;

/// A plugin's name and what is live under it. It lasts as long as anybody wants it, whatever file comes and goes.
#[derive(Debug)]
pub(super) struct Slot {
    name: PluginName,
    live: ArcSwapOption<Plugin>,
    pub(super) parking: Parking,
    state: Mutex<State>,
    users: Mutex<Vec<Weak<Binding>>>,
    /// By the route and place of a use; it outlasts reloads, which make the uses anew.
    recent: Mutex<BTreeMap<String, Arc<Recent>>>,
}

/// What changes with files.
#[derive(Debug, Default)]
pub(super) struct State {
    /// What served before what is live.
    pub(super) previous: Option<Arc<Plugin>>,
    /// Why the newest file is not live, when it is not.
    pub(super) refused: Option<Refused>,
    /// An operator went back from this one: it does not go live by itself.
    pub(super) rolled_back: Option<Digest>,
}

/// Why a file is not live.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Of the file, where it could be read.
    pub digest: Option<Digest>,
    /// For people.
    pub why: String,
    /// Whether an operator may have it live nevertheless.
    pub may_be_forced: bool,
}

impl Slot {
    pub(super) fn new(name: PluginName) -> Self {
        Self {
            name,
            live: ArcSwapOption::empty(),
            parking: Parking::default(),
            state: Mutex::default(),
            users: Mutex::default(),
            recent: Mutex::default(),
        }
    }

    /// One that nobody else knows, with `plugin` live.
    pub(super) fn trial(name: PluginName, plugin: Arc<Plugin>) -> Arc<Self> {
        let slot = Self::new(name);
        slot.live.store(Some(plugin));
        Arc::new(slot)
    }

    pub(super) fn name(&self) -> &PluginName {
        &self.name
    }

    pub(super) fn live(&self) -> Option<Arc<Plugin>> {
        self.live.load_full()
    }

    /// Serves `plugin` from now on; gives back what served before. What spoke against that does not speak against this.
    pub(super) fn serve(&self, plugin: Option<Arc<Plugin>>) -> Option<Arc<Plugin>> {
        let before = self.live.swap(plugin);
        self.parking.succeeded();
        before
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn why_missing(&self) -> String {
        match &self.state().refused {
            Some(refused) => refused.why.clone(),
            None => format!("there is no file {}.wasm in the plugins directory", self.name),
        }
    }

    pub(super) fn add_user(&self, user: &Arc<Binding>) {
        let mut users = lock(&self.users);
        users.retain(|user| user.strong_count() > 0);
        users.push(Arc::downgrade(user));
    }

    pub(super) fn users(&self) -> Vec<Arc<Binding>> {
        lock(&self.users).iter().filter_map(Weak::upgrade).collect()
    }

    /// The last `max` questions of one use, which an earlier generation may have begun to keep.
    pub(super) fn recent(&self, place: &str, max: usize) -> Option<Arc<Recent>> {
        let mut recent = lock(&self.recent);
        if max == 0 {
            recent.remove(place);
            return None;
        }
        let kept = recent.entry(place.to_owned()).or_insert_with(|| Arc::new(Recent::new(max)));
        if kept.max() != max {
            *kept = Arc::new(Recent::new(max));
        }
        Some(kept.clone())
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
