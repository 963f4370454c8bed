//! What happens to the listeners when workers are told to stop. A worker that removes its socket file, as some do, must
//! not take it away from the others (`path-gone`); and when all workers stop, no client has to wait for an answer that
//! doesn't come (`--refuse-on-stop`).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::listeners::Listeners;
use crate::options::Options;
use crate::sys::Pid;

/// The first check after a stop signal whether a file is gone, and the longest time between checks.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Checks become rarer: each pause is this fraction of the time since the signal. Servers remove files when they get
/// the signal, or when they exit, which is noticed anyway.
const PART: u32 = 20;

/// How long after the stop signals the listeners refuse connections (`--refuse-on-stop`): by then workers know that
/// they have to stop, and don't take it for a failure of their listeners.
const REFUSAL: Duration = Duration::from_millis(50);

/// The workers that are about to exit while others serve.
pub(super) struct Departures<'a> {
    listeners: &'a Listeners,
    leaving: BTreeSet<Pid>,
    /// When the last of them was told to stop.
    since: Instant,
    /// All workers are to stop.
    is_end: bool,
    /// Whether connections are then refused, and when.
    refuses: bool,
    refused_at: Option<Instant>,
}

impl<'a> Departures<'a> {
    pub(super) fn of(options: &Options, listeners: &'a Listeners) -> Self {
        let (leaving, refuses) = (BTreeSet::new(), options.refuse_on_stop);
        Self { listeners, leaving, since: Instant::now(), is_end: false, refuses, refused_at: None }
    }

    /// It is about to be told to stop.
    pub(super) fn begin(&mut self, worker: Pid) {
        if self.is_end {
            if std::mem::take(&mut self.refuses) {
                self.refused_at = Some(Instant::now() + REFUSAL);
            }
            return;
        }
        if !self.listeners.have_files() {
            return;
        }
        self.listeners.keep_files();
        self.leaving.insert(worker);
        self.since = Instant::now();
    }

    /// Workers that the previous program has told to stop.
    pub(super) fn take_over(&mut self, workers: impl Iterator<Item = Pid>) {
        workers.for_each(|worker| self.begin(worker));
    }

    /// It has exited.
    pub(super) fn end(&mut self, worker: Pid) {
        if self.is_end || !self.listeners.have_files() {
            return;
        }
        self.listeners.put_files_back();
        if self.leaving.remove(&worker) && self.leaving.is_empty() {
            self.listeners.release_files();
        }
        self.listeners.tell_lost_files();
    }

    /// The others stop, too.
    pub(super) fn end_all(&mut self) {
        if self.refuses {
            self.listeners.close_queues();
        }
        self.is_end = true;
        self.leaving.clear();
        self.listeners.release_files();
    }

    /// How long to wait before the next [`Self::retry`].
    pub(super) fn pause(&self) -> Option<Duration> {
        let look =
            (!self.leaving.is_empty()).then(|| (self.since.elapsed() / PART).clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
        let refusal = self.refused_at.map(|at| at.saturating_duration_since(Instant::now()));
        look.into_iter().chain(refusal).min()
    }

    pub(super) fn retry(&mut self) {
        if !self.leaving.is_empty() {
            self.listeners.put_files_back();
        }
        if self.refused_at.take_if(|at| *at <= Instant::now()).is_some() {
            self.listeners.shut_down();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::listeners::{ListenPlan, Place, Stored};

    use super::*;

    /// Until the last of them has exited, one may remove the file.
    #[test]
    fn the_last_to_leave_is_watched_too() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("socket")];
        let options = Options::new(vec!["program".into()]);
        let mut listeners = Listeners::default();
        let plan = ListenPlan::new(&[], &paths, 0, &listeners).unwrap();
        let places = plan.listen_to_ports(&mut listeners, &mut Place::default(), &mut Stored::default()).unwrap();
        plan.listen_to_paths(&mut listeners, places, &mut Stored::default()).unwrap();
        let mut departures = Departures::of(&options, &listeners);
        departures.begin(1);
        departures.begin(2);
        departures.end(1);
        fs::remove_file(&paths[0]).unwrap();
        departures.retry();
        assert!(paths[0].exists());
        departures.end(2);
        assert_eq!((departures.pause(), fs::read_dir(dir.path()).unwrap().count()), (None, 1));
    }
}
