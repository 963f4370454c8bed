//! Listeners that no worker serves although clients wait there. From inside, a server that takes only one of several
//! listeners looks as healthy as ever, and its other clients wait until they give up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libc::ino_t;

use crate::listeners::Listeners;
use crate::options::{Options, Readiness};
use crate::readiness::Watch;
use crate::sys::Pid;

/// How long connections have to wait. A look at queues costs one poll(2); workers are examined only if necessary.
const INTERVAL: Duration = Duration::from_secs(10);

/// Looks repeatedly, while nothing else happens.
pub(super) struct Neglect<'a> {
    listeners: &'a Listeners,
    next: Instant,
    /// The listeners at which somebody waited at the last look, and whether that has been reported.
    waiting: BTreeMap<ino_t, bool>,
}

impl<'a> Neglect<'a> {
    /// None if workers can't be examined.
    pub(super) fn of(options: &Options, listeners: &'a Listeners) -> Option<Self> {
        let looks = options.ready == Readiness::Accepting;
        looks.then(|| Self { listeners, next: Instant::now() + INTERVAL, waiting: BTreeMap::new() })
    }

    /// Lines to print, and how long to wait before the next look.
    pub(super) fn look(&mut self, watch: &dyn Watch, workers: impl FnOnce() -> Vec<Pid>) -> (Vec<Vec<u8>>, Duration) {
        let left = self.next.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return (Vec::new(), left);
        }
        self.next = Instant::now() + INTERVAL;
        let waiting = self.listeners.waited_at();
        let again: Vec<ino_t> = waiting.keys().copied().filter(|inode| self.waiting.contains_key(inode)).collect();
        let unserved = if again.is_empty() { again } else { watch.unserved(&workers(), &again) };
        let mut lines = Vec::new();
        let mut next = BTreeMap::new();
        for (inode, name) in waiting {
            let is_told = unserved.contains(&inode);
            if is_told && self.waiting.get(&inode) == Some(&false) {
                lines.push(
                    [b"connections wait at ", name, b" for more than 10 seconds, and no worker accepts them"].concat(),
                );
            }
            next.insert(inode, is_told);
        }
        self.waiting = next;
        (lines, INTERVAL)
    }
}
