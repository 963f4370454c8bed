//! The life cycle: a straight loop in the original's order. Where it blocks is part of its behaviour: a worker's death
//! is noticed only when the loop waits, never in an interval or a delay (LIFE-058, LIFE-155).

mod old_workers;
mod requests;
mod saved;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;

use std::time::Duration;

pub(crate) use saved::{Saved, save_request};

use crate::environment::{Environment, Setting};
use crate::error::Error;
use crate::options::{Options, Readiness};
use crate::stop_signal::StopSignal;
use crate::supervisor::old_workers::{OldWorkers, Worker};
use crate::supervisor::requests::Requests;
use crate::sys::{Pid, WaitStatus};
use crate::world::{self, Awaited, Candidate, Request, Standing, Woken, World};

/// Seconds that a worker may take to become ready, if `--ready-timeout` says nothing else.
const READY_TIMEOUT: u32 = 60;

/// What of the options the life cycle goes by.
#[derive(Clone, Debug)]
pub(crate) struct LifeCycle {
    pub(crate) interval: Duration,
    pub(crate) signal_on_hup: StopSignal,
    pub(crate) signal_on_term: StopSignal,
    /// How long a new worker may take to become ready. None: one that is alive after the interval has started.
    pub(crate) ready_timeout: Option<Duration>,
    /// How many starts may fail in a row before a restart is given up.
    pub(crate) most_failures: Option<u32>,
    pub(crate) kill_timeout: Option<Duration>,
    /// How long the command of `--approve` may take. None: there is none.
    pub(crate) approval_timeout: Option<Duration>,
}

/// After how many failed starts no other is tried.
#[derive(Clone, Copy)]
struct Limit {
    most_failures: Option<u32>,
    /// Whether there is an old worker to go on with, if a new one isn't approved.
    ends_unapproved: bool,
}

impl Limit {
    /// For a worker that has to be there.
    const NONE: Self = Self { most_failures: None, ends_unapproved: false };

    fn is_reached(self, failures: u32, failure: Failure) -> bool {
        self.most_failures.map_or(self.ends_unapproved && failure.is_unapproved, |most| failures >= most)
    }
}

/// A start that has failed.
#[derive(Clone, Copy)]
struct Failure {
    /// How long after its begin the next one may begin.
    pause: Duration,
    is_unapproved: bool,
}

impl From<Duration> for Failure {
    fn from(pause: Duration) -> Self {
        Self { pause, is_unapproved: false }
    }
}

impl LifeCycle {
    pub(crate) fn of(options: &Options) -> Self {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Self {
            interval: seconds(options.interval),
            signal_on_hup: options.signal_on_hup.clone(),
            signal_on_term: options.signal_on_term.clone(),
            ready_timeout: (options.ready != Readiness::Interval)
                .then(|| seconds(options.ready_timeout.unwrap_or(READY_TIMEOUT))),
            most_failures: options.max_start_failures,
            kill_timeout: options.kill_timeout.map(seconds),
            approval_timeout: options
                .approve
                .is_some()
                .then(|| seconds(options.ready_timeout.unwrap_or(READY_TIMEOUT))),
        }
    }
}

/// Keeps one worker running, and replaces it on request.
pub(crate) struct Supervisor<'a, W> {
    world: W,
    life_cycle: &'a LifeCycle,
    environment: Environment,
    requests: Requests,
    /// Counts the attempts to start a worker.
    generation: u64,
    current: Option<Worker>,
    old: OldWorkers,
    /// When the current worker had started, or the last restart was given up.
    last_restart: Duration,
}

impl<'a, W: World> Supervisor<'a, W> {
    pub(crate) fn new(world: W, life_cycle: &'a LifeCycle, environment: Environment) -> Self {
        Self {
            world,
            life_cycle,
            environment,
            requests: Requests::default(),
            generation: 0,
            current: None,
            old: OldWorkers::default(),
            last_restart: Duration::ZERO,
        }
    }

    /// Runs until TERM, INT or QUIT is received and all workers have ended.
    ///
    /// # Errors
    /// If the first worker does not start (`--max-start-failures`); what is left of its attempts has ended, too.
    pub(crate) fn run(&mut self) -> Result<(), Error> {
        self.start_first_worker()?;
        self.keep_running();
        Ok(())
    }

    /// The same from where another program was, or this one is.
    pub(crate) fn keep_running(&mut self) {
        loop {
            self.wait();
            // ORDER: a shutdown comes first; a worker that has died isn't replaced just to be stopped (`term-first`).
            if !self.is_stop_requested()
                && let Some((pid, status)) = self.world.reap()
            {
                self.bury(pid, status, Limit::NONE);
            }
            match self.next_request() {
                Some(Request::Hup) => {
                    self.say("received HUP, spawning a new worker");
                    self.world.announce(Standing::Reloading);
                    self.restart();
                    self.world.announce(Standing::Ready);
                }
                Some(stop @ (Request::Term | Request::Int | Request::Quit)) => {
                    self.shut_down(stop);
                    return;
                }
                Some(Request::Alrm) | None => {
                    if self.is_auto_restart_due() {
                        self.restart();
                    }
                }
            }
        }
    }

    /// If there is none, all that was started has to end.
    fn start_first_worker(&mut self) -> Result<(), Error> {
        if self.start_worker(Limit { most_failures: self.life_cycle.most_failures, ..Limit::NONE }) {
            self.world.announce(Standing::Ready);
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

    pub(crate) fn into_world(self) -> W {
        self.world
    }

    /// Waits for something to happen, then reads the envdir.
    fn wait(&mut self) {
        // QUIRK: what the envdir added since the start is unknown while waiting, so it can't start the tick (LIFE-142).
        self.environment.drop_envdir();
        while self.requests().is_empty() {
            let tick = self.environment.is_auto_restart_enabled();
            if self.wait_for(Awaited::Anything { tick }, None) != Woken::Replaced {
                break;
            }
            self.give_way();
        }
        self.read_envdir();
    }

    /// Lets another program go on in the place of this one, when that has shown that it can. It has the same process, and
    /// so everything that was opened and started; what this one knows it gets as a [`State`].
    fn give_way(&mut self) {
        if !self.world.rehearse(self.save()) {
            return;
        }
        let mut woken = Woken::Requested;
        while woken == Woken::Requested && !self.is_stop_requested() {
            woken = self.wait_for(Awaited::Rehearsal, None);
        }
        // An old worker may have got KILL meanwhile, and be dead.
        let is_wanted = !self.is_stop_requested();
        let state = self.world.hand_over(self.save(), is_wanted);
        if let Err(error) = self.restore(&state) {
            self.say(error.message());
        }
    }

    fn read_envdir(&mut self) {
        self.environment.drop_envdir();
        if let Some(path) = self.environment.envdir() {
            let variables = self.world.read_envdir(path);
            self.environment.replace_envdir(variables);
        }
        self.environment.add_default_interval();
    }

    /// Starts a worker, and others as long as starts fail, up to the `limit`. Whether there is a current worker now; there is
    /// none if it was given up, or if a shutdown was requested between two attempts.
    fn start_worker(&mut self, limit: Limit) -> bool {
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
            if limit.is_reached(failures, failure) {
                return false;
            }
            self.sleep_until(begin + failure.pause);
            if self.is_stop_requested() {
                return false;
            }
            // What made it fail may have been put right (`envdir-retry`).
            self.read_envdir();
        }
    }

    /// One attempt to start a worker.
    fn try_to_start(&mut self) -> Result<Worker, Failure> {
        let interval = self.life_cycle.interval;
        self.generation += 1;
        self.environment.set_generation(self.generation);
        let pid = self.world.spawn(&self.environment).map_err(|error| {
            // Running workers are not affected (`fork-failure`).
            self.say(error.message());
            Failure::from(interval.max(Duration::from_secs(1)))
        })?;
        let worker = Worker { pid, generation: self.generation, started: None };
        self.say(format!("starting new worker {pid}"));
        let is_in_time = self.give_time_to_start(pid);
        if !self.is_stop_requested() {
            self.check_alive(worker)?;
            if !is_in_time {
                self.give_up_on(worker, &world::Failure::NotReady);
                return Err(interval.into());
            }
            self.seek_approval(worker)?;
        }
        Ok(worker)
    }

    fn check_alive(&mut self, worker: Worker) -> Result<(), Failure> {
        match self.world.reap_worker(worker.pid).map(world::Failure::Ended) {
            None => Ok(()),
            Some(failure) => {
                self.say(format!("new worker {}{failure}", worker.pid));
                self.world.explain((worker.generation, worker.pid), &failure);
                Err(self.life_cycle.interval.into())
            }
        }
    }

    /// Asks the command of `--approve`, if there is one, about a worker that has started. A shutdown doesn't wait for it.
    fn seek_approval(&mut self, worker: Worker) -> Result<(), Failure> {
        let Some(timeout) = self.life_cycle.approval_timeout else { return Ok(()) };
        let end = self.world.clock() + timeout;
        let old = self.old.newest_started().map(|old| (old.generation, old.pid));
        let asked = self.world.ask_approval(&self.environment, Candidate { new: (worker.generation, worker.pid), old });
        if let Err(error) = asked {
            self.say(error.message());
        } else {
            while !self.is_stop_requested()
                && self.wait_for(Awaited::Approval(worker.pid), Some(end)) == Woken::Requested
            {}
        }
        let verdict = self.world.take_approval();
        if self.is_stop_requested() {
            return Ok(());
        }
        self.check_alive(worker)?;
        verdict.map_err(|reason| {
            self.give_up_on(worker, &world::Failure::NotApproved(reason));
            Failure { pause: self.life_cycle.interval, is_unapproved: true }
        })
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
    fn give_up_on(&mut self, worker: Worker, failure: &world::Failure) {
        let signal = &self.life_cycle.signal_on_hup;
        self.say([format!("new worker {}{failure}, sending ", worker.pid).as_bytes(), signal.text()].concat());
        self.world.explain((worker.generation, worker.pid), failure);
        self.old.add(worker);
        self.stop(worker.pid, signal);
        self.update_status();
    }

    fn accept(&mut self, worker: Worker) {
        self.last_restart = self.world.clock();
        self.current = Some(Worker { started: Some(self.last_restart), ..worker });
        self.update_status();
        self.world.note_given_up(None);
    }

    /// Starts a new worker, and when it has started stops the old ones.
    fn restart(&mut self) {
        let previous = self.current;
        self.retire_current();
        if !self.start_worker(self.restart_limit()) {
            return self.go_on_with(previous);
        }
        let signal = &self.life_cycle.signal_on_hup;
        let old = joined(&self.old.pids());
        self.say([b"new worker is now running, sending ", signal.text(), b" to old workers:", &old].concat());
        // The old workers may be all that is left (`alive-after-delay`).
        if self.delay_killing() && !self.replace_if_dead() {
            return self.go_on_with(previous);
        }
        self.say("killing old workers");
        self.stop_old_workers(signal);
    }

    fn restart_limit(&self) -> Limit {
        Limit { most_failures: self.life_cycle.most_failures, ends_unapproved: true }
    }

    /// Gives a restart up. The worker that was there before is the current one again; if it has died meanwhile, the
    /// loop will find out.
    fn go_on_with(&mut self, previous: Option<Worker>) {
        if self.is_stop_requested() {
            return;
        }
        self.current = previous.filter(|worker| self.old.remove(worker.pid));
        self.say("giving up the restart, the old worker goes on");
        // An automatic restart isn't due again at once.
        self.last_restart = self.world.clock();
        self.update_status();
        self.world.note_given_up(Some(self.generation));
    }

    /// Lets the old workers go on for the kill-old delay. False if there is none.
    fn delay_killing(&mut self) -> bool {
        let Setting { text, number: mut left } = self.environment.kill_old_delay();
        if left == 0.0 {
            return false;
        }
        self.say([b"sleeping ", text.as_slice(), b" secs before killing old workers"].concat());
        while left > 0.0 && !self.is_stop_requested() {
            // QUIRK: each interruption is counted in whole seconds of the clock, at least one (LIFE-154).
            let begin = self.world.clock();
            let time = Duration::from_secs_f64(left.trunc().min(f64::from(i32::MAX)));
            self.wait_for(Awaited::Request, Some(begin + time));
            left -= self.whole_seconds_since(begin).max(1.0);
        }
        true
    }

    /// Whether the restart goes on: it does, unless there are to be no more attempts.
    fn replace_if_dead(&mut self) -> bool {
        if !self.is_stop_requested()
            && let Some(Worker { pid, .. }) = self.current
            && let Some(status) = self.world.reap_worker(pid)
        {
            self.bury(pid, status, self.restart_limit());
        }
        self.current.is_some() || self.is_stop_requested()
    }

    /// Reports a dead child; a current worker is replaced. Any other child counts as an old worker, even one that never
    /// was a worker (LIFE-174).
    fn bury(&mut self, pid: Pid, status: WaitStatus, limit: Limit) {
        if let Some(worker) = self.current.take_if(|worker| worker.pid == pid) {
            self.say(format!("worker {pid} died unexpectedly with status:{status}, restarting"));
            self.pace_restart(worker);
            if !self.is_stop_requested() {
                self.start_worker(limit);
            }
        } else {
            self.say(format!("old worker {pid} died, status:{status}"));
            self.old.remove(pid);
            self.update_status();
        }
    }

    /// Where a worker is ready by its own word, one that dies right after it must not be started as fast as that goes.
    fn pace_restart(&mut self, worker: Worker) {
        if self.life_cycle.ready_timeout.is_some()
            && let Some(started) = worker.started
        {
            self.sleep_until(started + self.life_cycle.interval);
        }
    }

    /// Stops all workers and waits for their end, however long that takes. Further signals mean nothing (LIFE-076).
    fn shut_down(&mut self, request: Request) {
        let (name, signal) = match request {
            // QUIRK: TERM, whatever --signal-on-term says (LIFE-043).
            Request::Int => ("INT", &StopSignal::default()),
            Request::Quit => ("QUIT", &self.life_cycle.signal_on_term),
            _ => ("TERM", &self.life_cycle.signal_on_term),
        };
        self.world.announce(Standing::Stopping);
        self.retire_current();
        let sending = [b", sending ", signal.text(), b" to all workers:", &joined(&self.old.pids())].concat();
        self.say([b"received ", name.as_bytes(), &sending].concat());
        self.stop_old_workers(signal);
        while !self.old.is_empty() {
            self.requests().clear();
            self.bury_next_old_worker();
        }
        self.say("exiting");
    }

    /// Waits for a death, or for a request. Any child's death is reported as a worker's.
    fn bury_next_old_worker(&mut self) {
        self.wait_for(Awaited::Death, None);
        if let Some((pid, status)) = self.world.reap() {
            self.say(format!("worker {pid} died, status:{status}"));
            self.old.remove(pid);
            self.update_status();
        }
    }

    fn stop_old_workers(&mut self, signal: &StopSignal) {
        for pid in self.old.pids() {
            self.stop(pid, signal);
        }
    }

    /// Sends an old worker its stop signal. From the first one on, the time to KILL runs.
    fn stop(&mut self, pid: Pid, signal: &StopSignal) {
        self.world.kill(pid, signal);
        if let Some(timeout) = self.life_cycle.kill_timeout {
            self.old.kill_at(self.world.clock() + timeout, pid, signal.to_kill());
        }
    }

    /// Sends KILL to the old workers whose time is over. Whether one of them turned out to be dead.
    fn kill_overdue(&mut self) -> bool {
        let mut has_buried = false;
        for (pid, kill) in self.old.take_overdue(self.world.clock()) {
            if let Some(status) = self.world.reap_worker(pid) {
                self.bury(pid, status, Limit::NONE);
                has_buried = true;
            } else {
                self.say(format!("old worker {pid} has not ended in time, sending KILL"));
                self.world.kill(pid, &kill);
            }
        }
        has_buried
    }

    fn retire_current(&mut self) {
        if let Some(worker) = self.current.take() {
            self.old.add(worker);
        }
    }

    /// Until `end`, unless a shutdown is requested: other requests wait in the queue (`whole-interval`).
    fn sleep_until(&mut self, end: Duration) {
        while !self.is_stop_requested() && self.wait_for(Awaited::Request, Some(end)) != Woken::OutOfTime {}
    }

    /// Until the new worker is ready or dead, or a shutdown is requested. False if `end` comes before.
    fn wait_until_ready(&mut self, pid: Pid, end: Duration) -> bool {
        while !self.is_stop_requested() {
            match self.wait_for(Awaited::Ready(pid), Some(end)) {
                Woken::Happened => return true,
                Woken::OutOfTime => return false,
                Woken::Requested | Woken::Replaced => {}
            }
        }
        true
    }

    /// The only place that waits. Old workers whose time to KILL comes meanwhile get it.
    fn wait_for(&mut self, awaited: Awaited, end: Option<Duration>) -> Woken {
        loop {
            // It may have been the death that is waited for, and the last one.
            if self.kill_overdue() && matches!(awaited, Awaited::Death | Awaited::Anything { .. }) {
                return Woken::Happened;
            }
            if end.is_some_and(|end| self.world.clock() >= end) {
                return Woken::OutOfTime;
            }
            let until = self.old.next_kill().into_iter().chain(end).min();
            match self.world.wait(awaited, until) {
                Woken::OutOfTime => {}
                woken => return woken,
            }
        }
    }

    /// The requests that have come in so far.
    fn requests(&mut self) -> &mut Requests {
        self.requests.add(self.world.take_requests());
        &mut self.requests
    }

    fn next_request(&mut self) -> Option<Request> {
        self.requests().next()
    }

    fn is_stop_requested(&mut self) -> bool {
        self.requests().has_stop()
    }

    /// Whether it is time for an automatic restart, which then is announced. While old workers are left, only after the
    /// double time (LIFE-160).
    fn is_auto_restart_due(&mut self) -> bool {
        if !self.environment.is_auto_restart_enabled() {
            return false;
        }
        let interval = self.environment.auto_restart_interval();
        let elapsed = self.whole_seconds_since(self.last_restart);
        let kind: &[u8] = if elapsed >= interval.number && self.old.is_empty() {
            b"("
        } else if elapsed >= interval.number * 2.0 {
            b"(forced, "
        } else {
            return false;
        };
        self.say([b"autorestart triggered ", kind, b"interval=", &interval.text, b")"].concat());
        true
    }

    /// As the original counts: the difference of two readings of a clock of seconds.
    #[expect(clippy::cast_precision_loss, reason = "seconds of a wait")]
    fn whole_seconds_since(&self, time: Duration) -> f64 {
        (self.world.clock().as_secs() - time.as_secs()) as f64
    }

    /// One line for each worker, sorted as strings by generation: `10:` comes before `9:` (LIFE-052).
    fn update_status(&mut self) {
        let workers = self.current.into_iter().chain(self.old.iter());
        let mut lines: Vec<_> = workers.map(|worker| (worker.generation.to_string(), worker.pid)).collect();
        lines.sort_unstable();
        let content: Vec<_> = lines.iter().map(|(generation, pid)| format!("{generation}:{pid}\n")).collect();
        if let Err(error) = self.world.publish(content.concat().as_bytes()) {
            self.say(error.message());
        }
    }

    fn say(&mut self, line: impl AsRef<[u8]>) {
        self.world.say(line.as_ref());
    }
}

fn joined(pids: &[Pid]) -> Vec<u8> {
    pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",").into_bytes()
}

#[cfg(test)]
mod tests;
