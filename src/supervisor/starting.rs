//! How a worker is started: attempts, what makes one fail, and after how many no other is tried.

use std::time::Duration;

use crate::error::Error;
use crate::supervisor::old_workers::Worker;
use crate::supervisor::{Supervisor, joined};
use crate::sys::Pid;
use crate::words::{NEW_WORKER, STARTING};
use crate::world::{Awaited, Candidate, Failure, News, Standing, Woken, World};

/// After how many failed starts no other is tried.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    most_failures: Option<u32>,
    /// Whether there is an old worker to go on with, if a new one isn't approved.
    ends_unapproved: bool,
}

impl Limit {
    /// For a worker that has to be there.
    pub(super) const NONE: Self = Self { most_failures: None, ends_unapproved: false };

    fn is_reached(self, failures: u32, failure: &Failure) -> bool {
        let is_unapproved = matches!(failure, Failure::NotApproved(_));
        self.most_failures.map_or(self.ends_unapproved && is_unapproved, |most| failures >= most)
    }
}

impl<W: World> Supervisor<'_, W> {
    /// If there is none, all that was started has to end.
    pub(super) fn start_first_worker(&mut self) -> Result<(), Error> {
        if self.start_worker(Limit { most_failures: self.life_cycle.most_failures, ..Limit::NONE }) {
            self.announce(Standing::Ready);
            return Ok(());
        }
        if self.is_stop_requested() {
            return Ok(());
        }
        // Those that were not ready have got the signal of a restart, which may mean something else than the end.
        if self.life_cycle.signal_on_term != self.life_cycle.signal_on_hup {
            self.stop_old_workers(&self.life_cycle.signal_on_term);
        }
        if !self.old.is_empty() {
            self.say(
                [b"no worker has started, waiting for the end of:".as_slice(), &joined(&self.old.pids())].concat(),
            );
        }
        while !self.old.is_empty() {
            match self.next_request() {
                Some(stop) if stop.is_stop() => self.shut_down(stop),
                _ => self.bury_next_old_worker(),
            }
        }
        Err(Error::GivenUp(b"giving up, no worker has started".into()))
    }

    /// Starts a worker, and others as long as starts fail, up to the `limit`. Whether there is a current worker now; there is
    /// none if it was given up, or if a shutdown was requested between two attempts.
    pub(super) fn start_worker(&mut self, limit: Limit) -> bool {
        let mut failures = 0;
        loop {
            let begin = self.world.clock();
            let failure = match self.try_to_start() {
                Ok(worker) => {
                    self.accept(worker);
                    return true;
                }
                Err(failure) => failure,
            };
            failures += 1;
            if limit.is_reached(failures, &failure) {
                return false;
            }
            self.sleep_until(begin + self.pause_after(&failure));
            if self.is_stop_requested() {
                return false;
            }
            // What made it fail may have been put right (`envdir-retry`).
            self.read_envdir();
        }
    }

    /// How long after its begin another attempt may begin.
    fn pause_after(&self, failure: &Failure) -> Duration {
        let interval = self.life_cycle.interval;
        match failure {
            Failure::NoProcess => interval.max(Duration::from_secs(1)),
            _ => interval,
        }
    }

    /// One attempt to start a worker. A failure has been said.
    fn try_to_start(&mut self) -> Result<Worker, Failure> {
        self.generation += 1;
        self.environment.set_generation(self.generation);
        let pid = self.world.spawn(&self.environment).map_err(|error| {
            // Running workers are not affected (`fork-failure`).
            self.say(error.message());
            Failure::NoProcess
        })?;
        let worker = Worker { pid, generation: self.generation, started: None };
        self.say(format!("{STARTING}{pid}"));
        let is_in_time = self.give_time_to_start(pid);
        if !self.is_stop_requested() {
            self.check_alive(worker)?;
            if !is_in_time {
                return Err(self.give_up_on(worker, Failure::NotReady));
            }
            self.seek_approval(worker)?;
        }
        Ok(worker)
    }

    fn check_alive(&mut self, worker: Worker) -> Result<(), Failure> {
        match self.world.reap(Some(worker.pid)) {
            None => Ok(()),
            Some((_, status)) => {
                let failure = Failure::Ended(status);
                self.say(format!("{NEW_WORKER}{}{failure}", worker.pid));
                self.world.tell(News::Failed { worker: (worker.generation, worker.pid), failure: &failure });
                Err(failure)
            }
        }
    }

    /// Asks the command of `--approve`, if there is one, about a worker that has started. A shutdown doesn't wait for it.
    fn seek_approval(&mut self, worker: Worker) -> Result<(), Failure> {
        let Some(timeout) = self.life_cycle.approval_timeout else { return Ok(()) };
        let end = self.world.clock() + timeout;
        let old = self.old.newest_started().map(|old| (old.generation, old.pid));
        let approval = Awaited::Approval(Candidate { new: (worker.generation, worker.pid), old });
        while !self.is_stop_requested() && self.wait_for(approval, Some(end)) == Woken::Requested {}
        let verdict = self.world.take_verdict();
        if self.is_stop_requested() {
            return Ok(());
        }
        self.check_alive(worker)?;
        verdict.map_err(|reason| self.give_up_on(worker, Failure::NotApproved(reason)))
    }

    /// The interval, or with `--ready` until the worker is ready or dead. False if that takes longer than it may.
    fn give_time_to_start(&mut self, pid: Pid) -> bool {
        let begin = self.world.clock();
        if let Some(timeout) = self.life_cycle.ready_timeout {
            self.wait_until_ready(pid, begin + timeout)
        } else {
            self.sleep_until(begin + self.life_cycle.interval);
            true
        }
    }

    /// Stops a new worker that is not to take over.
    fn give_up_on(&mut self, worker: Worker, failure: Failure) -> Failure {
        let signal = &self.life_cycle.signal_on_hup;
        self.say([format!("{NEW_WORKER}{}{failure}, sending ", worker.pid).as_bytes(), signal.text()].concat());
        self.world.tell(News::Failed { worker: (worker.generation, worker.pid), failure: &failure });
        self.old.add(worker);
        self.stop(worker.pid, signal);
        self.update_status();
        failure
    }

    pub(super) fn accept(&mut self, worker: Worker) {
        self.last_restart = self.world.clock();
        self.current = Some(Worker { started: Some(self.last_restart), ..worker });
        self.update_status();
        self.world.tell(News::Started);
    }

    pub(super) fn restart_limit(&self) -> Limit {
        Limit { most_failures: self.life_cycle.most_failures, ends_unapproved: true }
    }

    /// Where a worker is ready by its own word, one that dies right after it must not be started as fast as that goes.
    pub(super) fn pace_restart(&mut self, worker: Worker) {
        if self.life_cycle.ready_timeout.is_some()
            && let Some(started) = worker.started
        {
            self.sleep_until(started + self.life_cycle.interval);
        }
    }
}
