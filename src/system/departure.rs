//! What becomes of the listeners when workers are told to stop: one that removes the file of its socket, as some do by
//! themselves, must not take it away from the others (`path-gone`).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::listeners::Listeners;
use crate::sys::Pid;

/// How soon after a stop signal is looked whether a file is gone, and how late at most.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The looks become rarer: each pause is this part of the time since the signal. Servers remove files when they get the signal,
/// or when they end, which is seen anyway.
const PART: u32 = 20;

/// The workers that are about to end while others serve.
pub(super) struct Departures<'a> {
    listeners: &'a Listeners,
    leaving: BTreeSet<Pid>,
    /// When the last of them was told to.
    since: Instant,
    /// All workers are to end.
    is_end: bool,
}

impl<'a> Departures<'a> {
    pub(super) fn from(listeners: &'a Listeners) -> Self {
        Self { listeners, leaving: BTreeSet::new(), since: Instant::now(), is_end: false }
    }

    /// It is about to be told to stop.
    pub(super) fn begin(&mut self, worker: Pid) {
        if self.is_end || !self.listeners.have_files() {
            return;
        }
        self.listeners.keep_files();
        self.leaving.insert(worker);
        self.since = Instant::now();
    }

    /// Workers that were told to stop by the program before this one.
    pub(super) fn take_over(&mut self, workers: impl Iterator<Item = Pid>) {
        workers.for_each(|worker| self.begin(worker));
    }

    /// It has ended.
    pub(super) fn end(&mut self, worker: Pid) {
        if self.is_end || !self.listeners.have_files() {
            return;
        }
        self.retry();
        if self.leaving.remove(&worker) && self.leaving.is_empty() {
            self.listeners.release_files();
        }
        self.listeners.tell_lost_files();
    }

    /// The others end, too.
    pub(super) fn end_all(&mut self) {
        self.is_end = true;
        self.leaving.clear();
        self.listeners.release_files();
    }

    /// How long to wait before the next [`Self::retry`].
    pub(super) fn pause(&self) -> Option<Duration> {
        (!self.leaving.is_empty()).then(|| (self.since.elapsed() / PART).clamp(SHORTEST_PAUSE, LONGEST_PAUSE))
    }

    pub(super) fn retry(&self) {
        if !self.leaving.is_empty() {
            self.listeners.put_files_back();
        }
    }
}
