//! The workers that have been replaced, or stopped for another reason, and have not exited: who they are, and when they
//! get KILL.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::report::{Member, Post};
use crate::stop_signal::StopSignal;
use crate::sys::Pid;

/// A worker that has been started.
#[derive(Clone, Copy)]
pub(super) struct Worker {
    pub(super) pid: Pid,
    pub(crate) generation: u64,
    /// When it had started, if it had.
    pub(super) started: Option<Duration>,
}

impl Worker {
    pub(super) fn member(
        &self,
        post: Post,
        since: Option<Duration>,
        signal: Option<Vec<u8>>,
        kill: Option<Duration>,
    ) -> Member {
        Member { generation: self.generation, pid: self.pid, post, since, signal, kill }
    }
}

/// Times are those of the world's clock.
#[derive(Default)]
pub(super) struct OldWorkers(BTreeMap<Pid, OldWorker>);

struct OldWorker {
    worker: Worker,
    /// When it got its first stop signal, and which one.
    told: Option<(Duration, StopSignal)>,
    /// When it gets KILL, and in which form.
    kill: Option<(Duration, StopSignal)>,
}

impl OldWorkers {
    pub(super) fn add(&mut self, worker: Worker) {
        self.0.insert(worker.pid, OldWorker { worker, told: None, kill: None });
    }

    /// Forgets a worker that has exited. False if it was not an old worker.
    pub(crate) fn remove(&mut self, pid: Pid) -> bool {
        self.0.remove(&pid).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Worker> {
        self.0.values().map(|old| old.worker)
    }

    /// The newest that had started: those that were given up never had.
    pub(super) fn newest_started(&self) -> Option<Worker> {
        self.iter().filter(|worker| worker.started.is_some()).max_by_key(|worker| worker.generation)
    }

    /// Those that never had started.
    pub(super) fn failed(&self) -> Vec<Pid> {
        self.iter().filter(|worker| worker.started.is_none()).map(|worker| worker.pid).collect()
    }

    /// The newest of them.
    pub(super) fn newest_failed(&self) -> Option<Worker> {
        self.iter().filter(|worker| worker.started.is_none()).max_by_key(|worker| worker.generation)
    }

    /// Each with its time to KILL.
    pub(super) fn with_kill_times(&self) -> impl Iterator<Item = (Worker, Option<&(Duration, StopSignal)>)> {
        self.0.values().map(|old| (old.worker, old.kill.as_ref()))
    }

    /// In the order in which they are named and signalled: sorted as strings, `13` before `4` (LIFE-063).
    pub(super) fn pids(&self) -> Vec<Pid> {
        let mut pids: Vec<(String, Pid)> = self.0.keys().map(|pid| (pid.to_string(), *pid)).collect();
        pids.sort_unstable();
        pids.into_iter().map(|(_, pid)| pid).collect()
    }

    /// A worker gets its stop signal.
    pub(super) fn tell(&mut self, now: Duration, pid: Pid, signal: &StopSignal) {
        if let Some(worker) = self.0.get_mut(&pid) {
            worker.told.get_or_insert_with(|| (now, signal.clone()));
        }
    }

    /// Which stop signals they got, and when.
    pub(super) fn told(&self) -> impl Iterator<Item = (Pid, Duration, StopSignal)> {
        self.0.iter().filter_map(|(&pid, old)| old.told.clone().map(|(at, signal)| (pid, at, signal)))
    }

    /// For the report. `serve`: whether the one that has not been told to stop serves, as there is no current one.
    pub(super) fn members(&self, serve: bool) -> impl Iterator<Item = Member> {
        self.0.values().map(move |OldWorker { worker, told, kill }| {
            let post = match (worker.started, told) {
                (None, _) => Post::Rejected,
                (Some(_), None) if serve => Post::Current,
                (Some(_), _) => Post::Stopping,
            };
            let since = if post == Post::Current { worker.started } else { told.as_ref().map(|(at, _)| *at) };
            let signal = told.as_ref().map(|(_, signal)| signal.text().to_vec());
            worker.member(post, since, signal, kill.as_ref().map(|(at, _)| *at))
        })
    }

    /// A worker gets KILL at `time`, unless an earlier time was set.
    pub(super) fn kill_at(&mut self, time: Duration, pid: Pid, kill: StopSignal) {
        if let Some(worker) = self.0.get_mut(&pid) {
            worker.kill.get_or_insert((time, kill));
        }
    }

    /// When the next worker gets KILL.
    pub(super) fn next_kill(&self) -> Option<Duration> {
        self.0.values().filter_map(|worker| Some(worker.kill.as_ref()?.0)).min()
    }

    /// Those whose time is over. Each is named once.
    pub(super) fn take_overdue(&mut self, now: Duration) -> Vec<(Pid, StopSignal)> {
        let overdue = |(&pid, worker): (&Pid, &mut OldWorker)| {
            let (_, kill) = worker.kill.take_if(|(at, _)| *at <= now)?;
            Some((pid, kill))
        };
        self.0.iter_mut().filter_map(overdue).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids_are_sorted_as_strings() {
        let mut old = OldWorkers::default();
        for pid in [4, 13, 100] {
            old.add(Worker { pid, generation: 1, started: None });
        }
        assert_eq!(old.pids(), [100, 13, 4]);
        assert!(old.remove(13) && !old.remove(13));
    }

    #[test]
    fn the_first_stop_signal_sets_the_time() {
        let (mut old, kill) = (OldWorkers::default(), StopSignal::default().to_kill());
        old.add(Worker { pid: 4, generation: 1, started: None });
        assert_eq!(old.next_kill(), None);
        for seconds in [7, 9] {
            old.kill_at(Duration::from_secs(seconds), 4, kill.clone());
        }
        assert_eq!(old.next_kill(), Some(Duration::from_secs(7)));
        assert!(old.take_overdue(Duration::from_secs(6)).is_empty());
        assert_eq!(old.take_overdue(Duration::from_secs(7)), [(4, kill)]);
        assert!(old.take_overdue(Duration::from_secs(8)).is_empty());
    }
}
