//! How a worker is started: attempts, what makes one fail, and after how many the start is given up.

use std::time::Duration;

use crate::error::Error;
use crate::supervisor::old_workers::Worker;
use crate::supervisor::{Supervisor, joined};
use crate::sys::Pid;
use crate::words::{NEW_WORKER, STARTING};
use crate::world::{Awaited, Candidate, Failure, News, Standing, Woken, World};

/// How long to pause after the first worker that was not ready or not approved; it doubles after each further one.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// No pause is longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// After how many failed starts to give up.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    most_failures: Option<u32>,
    /// Whether there is an old worker to keep if a new one isn't approved.
    ends_unapproved: bool,
}

impl Limit {
    /// For a worker that is needed.
    pub(super) const NONE: Self = Self { most_failures: None, ends_unapproved: false };

    fn is_reached(self, failures: u32, failure: &Failure) -> bool {
        let is_unapproved = matches!(failure, Failure::NotApproved(_));
        self.most_failures.map_or(self.ends_unapproved && is_unapproved, |most| failures >= most)
    }
}

impl<W: World> Supervisor<'_, W> {
    /// If there is none, everything that was started has to exit.
    pub(super) fn start_first_worker(&mut self) -> Result<(), Error> {
        if self.start_worker(Limit { most_failures: self.life_cycle.most_failures, ..Limit::NONE }) {
            self.announce(Standing::Ready);
            return Ok(());
        }
        if self.is_stop_requested() {
            return Ok(());
        }
        Err(self.end_without_worker())
    }

    /// The end, as no worker serves and no more are tried. It comes when everything that was started has exited.
    pub(super) fn end_without_worker(&mut self) -> Error {
        // Workers that were not ready got the signal of a restart, which may not mean a shutdown to them.
        if self.life_cycle.signal_on_term != self.life_cycle.signal_on_hup {
            self.stop_old_workers(&self.life_cycle.signal_on_term);
        }
        if !self.old.is_empty() {
            self.say(
                [b"no worker has started, waiting until these have exited:".as_slice(), &joined(&self.old.pids())]
                    .concat(),
            );
        }
        while !self.old.is_empty() {
            match self.next_request() {
                Some(stop) if stop.is_stop() => self.shut_down(stop),
                _ => self.bury_next_old_worker(),
            }
        }
        Error::GivenUp(b"giving up, no worker has started".into())
    }

    /// Starts a worker, and further ones while starts fail, up to the `limit`. Whether there is a current worker now;
    /// there is none after giving up, or if a shutdown was requested before one was known to have started.
    pub(super) fn start_worker(&mut self, limit: Limit) -> bool {
        let mut failures = 0;
        let mut pause = SHORTEST_PAUSE;
        // Failed attempts since a HUP began to wait, while no worker serves.
        let mut failures_since_hup = None;
        loop {
            self.bury_failed_starts();
            if limit.most_failures.is_none() && self.requests().has_hup() {
                failures_since_hup.get_or_insert(0);
            }
            let begin = self.world.clock();
            let failure = match self.try_to_start(limit) {
                Ok(Some(worker)) => {
                    self.accept(worker);
                    return true;
                }
                Ok(None) => return false,
                Err(failure) => failure,
            };
            failures += 1;
            if limit.is_reached(failures, &failure) {
                return false;
            }
            if let Some(count) = &mut failures_since_hup {
                *count += 1;
                if self.life_cycle.most_failures.is_some_and(|most| *count >= most) {
                    failures_since_hup = None;
                    self.give_up_hups();
                }
            }
            let next = begin + self.interval_after(&failure);
            if matches!(failure, Failure::NotReady | Failure::NotApproved(_)) {
                self.pause_until(next.max(self.world.clock() + pause));
                pause = (pause * 2).min(LONGEST_PAUSE);
                if self.requests().take_hups() {
                    (failures, pause) = (0, SHORTEST_PAUSE);
                    failures_since_hup = limit.most_failures.is_none().then_some(0);
                }
            } else {
                self.sleep_until(next);
            }
            if self.is_stop_requested() {
                return false;
            }
            // The cause may have been corrected (`envdir-retry`).
            self.read_envdir();
        }
    }

    /// Answers waiting HUPs: no worker serves, and the next attempts are the same as without a HUP.
    fn give_up_hups(&mut self) {
        self.requests().take_hups();
        self.say("giving up the restart, no worker serves");
        self.world.tell(News::GivenUp { generation: self.generation });
    }

    /// How long after the beginning of this attempt the next one may begin.
    fn interval_after(&self, failure: &Failure) -> Duration {
        let interval = self.life_cycle.interval;
        match failure {
            Failure::NoProcess => interval.max(Duration::from_secs(1)),
            _ => interval,
        }
    }

    /// Pauses after a failed start, until `end` or a HUP, which hints that the next one may succeed. That one answers
    /// it.
    fn pause_until(&mut self, end: Duration) {
        // The rejected worker usually dies meanwhile.
        let mut awaited = self.old.newest_failed().map_or(Awaited::Request, |worker| Awaited::End(worker.pid));
        while !self.is_stop_requested() && !self.requests().has_hup() {
            match self.wait_for(awaited, Some(end)) {
                Woken::OutOfTime => return,
                Woken::Happened => {
                    self.bury_failed_starts();
                    awaited = Awaited::Request;
                }
                Woken::Requested | Woken::HandOver => {}
            }
        }
    }

    /// Buries dead workers that were given up. Other deaths are noticed only when the loop waits.
    fn bury_failed_starts(&mut self) {
        for pid in self.old.failed() {
            if let Some((_, status)) = self.world.reap(Some(pid)) {
                self.bury(pid, status, Limit::NONE);
            }
        }
    }

    /// One attempt to start a worker. A failure has been reported. None if a shutdown came before it was ready and
    /// approved: then it is an old worker.
    fn try_to_start(&mut self, limit: Limit) -> Result<Option<Worker>, Failure> {
        self.generation += 1;
        self.environment.set_generation(self.generation);
        let pid = self.world.spawn(&self.environment).map_err(|error| {
            // Running workers are not affected (`fork-failure`).
            self.say(error.message());
            let failure = Failure::NoProcess;
            self.world.tell(News::Failed { worker: (self.generation, 0), failure: &failure });
            self.tell_family();
            failure
        })?;
        let worker = Worker { pid, generation: self.generation, started: None };
        self.say(format!("{STARTING}{pid}"));
        self.starting = Some((worker, self.world.clock()));
        self.tell_family();
        let result = self.prove(worker, limit);
        self.starting = None;
        result
    }

    /// Waits until a new worker has started.
    fn prove(&mut self, worker: Worker, limit: Limit) -> Result<Option<Worker>, Failure> {
        let is_in_time = self.give_time_to_start(worker.pid);
        if !self.is_stop_requested() {
            self.check_alive(worker)?;
            if !is_in_time {
                return Err(self.give_up_on(worker, Failure::NotReady));
            }
            self.seek_approval(worker, limit)?;
        }
        if self.life_cycle.demands_proof() && self.is_stop_requested() {
            self.starting = None;
            self.old.add(worker);
            self.update_status();
            return Ok(None);
        }
        Ok(Some(worker))
    }

    fn check_alive(&mut self, worker: Worker) -> Result<(), Failure> {
        match self.world.reap(Some(worker.pid)) {
            None => Ok(()),
            Some((_, status)) => {
                let failure = Failure::Ended(status);
                self.say(format!("{NEW_WORKER}{}{failure}", worker.pid));
                self.world.tell(News::Failed { worker: (worker.generation, worker.pid), failure: &failure });
                self.starting = None;
                self.tell_family();
                Err(failure)
            }
        }
    }

    /// Asks the command of `--approve`, if there is one, about a worker that has started. A shutdown doesn't wait for
    /// it. A worker that is not approved still stays if the worker that would be kept instead is dead.
    fn seek_approval(&mut self, worker: Worker, limit: Limit) -> Result<(), Failure> {
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
        let Err(reason) = verdict else { return Ok(()) };
        let failure = Failure::NotApproved(reason);
        if limit.ends_unapproved
            && let Some(old) = old
            && let Some((_, status)) = self.world.reap(Some(old.1))
        {
            self.say(format!("{NEW_WORKER}{}{failure}, but keeps running, because the old worker is dead", worker.pid));
            self.say(format!("old worker {} died, status:{status}", old.1));
            // The status file shows that together with the new worker.
            self.old.remove(old.1);
            return Ok(());
        }
        Err(self.give_up_on(worker, failure))
    }

    /// The interval, or with `--ready` until the worker is ready or dead. False if that takes too long.
    fn give_time_to_start(&mut self, pid: Pid) -> bool {
        let begin = self.world.clock();
        if let Some(timeout) = self.life_cycle.ready_timeout {
            self.wait_until_ready(pid, begin + timeout)
        } else {
            self.sleep_until(begin + self.life_cycle.interval);
            true
        }
    }

    /// Stops a new worker that doesn't take over.
    fn give_up_on(&mut self, worker: Worker, failure: Failure) -> Failure {
        let signal = &self.life_cycle.signal_on_hup;
        self.say([format!("{NEW_WORKER}{}{failure}, sending ", worker.pid).as_bytes(), signal.text()].concat());
        self.world.tell(News::Failed { worker: (worker.generation, worker.pid), failure: &failure });
        self.starting = None;
        self.old.add(worker);
        self.stop(worker.pid, signal);
        self.update_status();
        failure
    }

    pub(super) fn accept(&mut self, worker: Worker) {
        self.last_restart = self.world.clock();
        self.current = Some(Worker { started: Some(self.last_restart), ..worker });
        self.list_workers();
        self.world.tell(News::Started);
        self.tell_family();
    }

    /// For one that replaces a dead worker.
    pub(super) fn replacement_limit(&self) -> Limit {
        let most_failures = self.life_cycle.most_failures.filter(|_| self.life_cycle.ends_without_worker);
        Limit { most_failures, ..Limit::NONE }
    }

    pub(super) fn restart_limit(&self) -> Limit {
        Limit { most_failures: self.life_cycle.most_failures, ends_unapproved: true }
    }

    /// A worker that dies right after it is ready must not be restarted as fast as possible.
    pub(super) fn pace_restart(&mut self, worker: Worker) {
        if self.life_cycle.ready_timeout.is_some()
            && let Some(started) = worker.started
        {
            self.sleep_until(started + self.life_cycle.interval);
        }
    }
}
