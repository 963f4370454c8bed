//! The life cycle: a straight loop in the original's order. Where it blocks is part of its behaviour: a worker's death is
//! noticed only when the loop waits, never in an interval or a delay (LIFE-058, LIFE-155).

mod old_workers;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;

use std::time::Duration;

use crate::environment::Environment;
use crate::error::Error;
use crate::options::{Options, Readiness};
use crate::perl;
use crate::stop_signal::StopSignal;
use crate::supervisor::old_workers::{OldWorkers, Worker};
use crate::sys::{Pid, WaitStatus};
use crate::system::Kernel;
use crate::system::service_manager::Standing;
use crate::system::signals::Received;

/// What of the options the life cycle goes by.
#[derive(Clone, Debug)]
pub(crate) struct LifeCycle {
    pub(crate) interval: Duration,
    pub(crate) signal_on_hup: StopSignal,
    pub(crate) signal_on_term: StopSignal,
    /// How long a new worker may take to become ready. None: whoever is alive after the interval has started.
    pub(crate) ready_timeout: Option<Duration>,
    /// How many starts may fail in a row before a restart is given up.
    pub(crate) most_failures: Option<u32>,
    pub(crate) kill_timeout: Option<Duration>,
}

impl LifeCycle {
    pub(crate) fn of(options: &Options) -> Self {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Self {
            interval: seconds(options.interval),
            signal_on_hup: options.signal_on_hup.clone(),
            signal_on_term: options.signal_on_term.clone(),
            ready_timeout: (options.ready != Readiness::Interval).then(|| seconds(options.ready_timeout)),
            most_failures: options.max_start_failures,
            kill_timeout: options.kill_timeout.map(seconds),
        }
    }
}

/// Keeps one worker running, and replaces it on request.
pub(crate) struct Supervisor<K> {
    kernel: K,
    life_cycle: LifeCycle,
    environment: Environment,
    /// Counts the attempts to start a worker.
    generation: u64,
    current: Option<Worker>,
    old: OldWorkers,
    /// When the current worker had started, or the last restart was given up.
    last_restart: Duration,
}

impl<K: Kernel> Supervisor<K> {
    pub(crate) fn new(kernel: K, life_cycle: LifeCycle, environment: Environment) -> Self {
        let (current, old) = (None, OldWorkers::default());
        Self { kernel, life_cycle, environment, generation: 0, current, old, last_restart: Duration::ZERO }
    }

    /// Runs until TERM or INT is received and all workers have ended.
    ///
    /// # Errors
    /// If the first worker does not start (`--max-start-failures`); those that are left of it have ended, too.
    pub(crate) fn run(&mut self) -> Result<(), Error> {
        self.start_first_worker()?;
        loop {
            self.wait();
            // ORDER: a shutdown comes first; a worker that has died isn't replaced just to be stopped (`term-first`).
            if !self.is_shutdown_requested()
                && let Some((pid, status)) = self.kernel.reap()
            {
                self.bury(pid, status, None);
            }
            self.kill_overdue();
            match self.next_request() {
                Some(Received::Hup) => {
                    self.say("received HUP, spawning a new worker");
                    self.kernel.announce(Standing::Reloading);
                    self.restart();
                    self.kernel.announce(Standing::Ready);
                }
                Some(Received::Term) => {
                    self.shut_down("TERM", &self.life_cycle.signal_on_term.clone());
                    return Ok(());
                }
                Some(Received::Int) => {
                    // QUIRK: TERM, whatever --signal-on-term says (LIFE-043).
                    self.shut_down("INT", &StopSignal::default());
                    return Ok(());
                }
                Some(Received::Alrm) | None => {
                    if self.is_auto_restart_due() {
                        self.restart();
                    }
                }
            }
        }
    }

    /// If there is none, all that was started has to end.
    fn start_first_worker(&mut self) -> Result<(), Error> {
        if self.start_worker(self.life_cycle.most_failures) {
            self.kernel.announce(Standing::Ready);
            return Ok(());
        }
        if self.is_shutdown_requested() {
            return Ok(());
        }
        // Those that were not ready have got the signal of a restart, which may mean something else than the end.
        let signal = self.life_cycle.signal_on_term.clone();
        if signal != self.life_cycle.signal_on_hup {
            for pid in self.old.pids() {
                self.stop(pid, &signal);
            }
        }
        self.wait_for_old_workers();
        Err(Error::GivenUp(b"giving up, no worker has started".into()))
    }

    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn into_kernel(self) -> K {
        self.kernel
    }

    /// Waits for something to happen, then reads the envdir.
    fn wait(&mut self) {
        // QUIRK: what the envdir added since the start is unknown while waiting, so it can't start the tick (LIFE-142).
        self.environment.drop_envdir();
        let tick = self.kernel.received().is_empty() && self.environment.is_true("ENABLE_AUTO_RESTART");
        let deadline = self.old.next_kill();
        self.kernel.wait(tick, deadline);
        if let Some(path) = self.environment.get("ENVDIR") {
            let variables = self.kernel.read_envdir(path);
            self.environment.replace_envdir(variables);
        }
        // QUIRK: so the first worker doesn't see the default (LIFE-011).
        if self.environment.is_true("ENABLE_AUTO_RESTART") && !self.environment.is_true("AUTO_RESTART_INTERVAL") {
            self.environment.set("AUTO_RESTART_INTERVAL", b"360".to_vec());
        }
    }

    /// Starts a worker, and others as long as starts fail, but no more than `most_failures`. Whether there is a current worker
    /// now; there is none if it was given up, or if a shutdown was requested between two attempts.
    fn start_worker(&mut self, most_failures: Option<u32>) -> bool {
        let mut failures = 0;
        loop {
            let begin = self.kernel.clock();
            let pause = match self.try_to_start() {
                Ok(worker) => {
                    self.accept(worker);
                    return true;
                }
                Err(pause) => pause,
            };
            failures += 1;
            if most_failures.is_some_and(|most| failures >= most) {
                return false;
            }
            self.sleep_through((begin + pause).saturating_sub(self.kernel.clock()));
            if self.is_shutdown_requested() {
                return false;
            }
        }
    }

    /// One attempt to start a worker. If it fails, the next one may begin so long after this one began.
    fn try_to_start(&mut self) -> Result<Worker, Duration> {
        let interval = self.life_cycle.interval;
        self.generation += 1;
        self.environment.set("SERVER_STARTER_GENERATION", self.generation.to_string().into());
        let pid = self.kernel.spawn(&mut self.environment).map_err(|error| {
            // The workers that there are go on (`fork-failure`).
            self.say(error.message());
            interval.max(Duration::from_secs(1))
        })?;
        let worker = Worker { pid, generation: self.generation };
        self.say(format!("starting new worker {pid}"));
        let is_in_time = if let Some(timeout) = self.life_cycle.ready_timeout {
            self.wait_until_ready(pid, timeout)
        } else {
            self.sleep_through(interval);
            true
        };
        if self.is_shutdown_requested() {
            return Ok(worker);
        }
        if let Some(status) = self.kernel.reap_worker(pid) {
            self.say(format!("new worker {pid} seems to have failed to start, exit status:{status}"));
            return Err(interval);
        }
        if is_in_time {
            return Ok(worker);
        }
        let signal = self.life_cycle.signal_on_hup.clone();
        self.say([format!("new worker {pid} is not ready in time, sending ").as_bytes(), signal.text()].concat());
        self.old.add(worker);
        self.stop(pid, &signal);
        self.update_status();
        Err(interval)
    }

    /// Waits until the new worker is ready or dead, or until a shutdown is requested. False if `timeout` is over before.
    fn wait_until_ready(&mut self, pid: Pid, timeout: Duration) -> bool {
        let end = self.kernel.clock() + timeout;
        while !self.is_shutdown_requested() {
            self.kill_overdue();
            let now = self.kernel.clock();
            let until = self.old.next_kill().map_or(end, |kill| kill.min(end));
            if self.kernel.wait_until_ready(pid, until.saturating_sub(now)) {
                return true;
            }
            if now >= end {
                return false;
            }
        }
        true
    }

    fn accept(&mut self, worker: Worker) {
        self.current = Some(worker);
        self.last_restart = self.kernel.clock();
        self.update_status();
        self.kernel.note_given_up(None);
    }

    /// Starts a new worker, and when it has started stops the old ones.
    fn restart(&mut self) {
        let previous = self.current;
        self.retire_current();
        if !self.start_worker(self.life_cycle.most_failures) {
            return self.go_on_with(previous);
        }
        let signal = self.life_cycle.signal_on_hup.clone();
        let pids = self.old.pids();
        self.say([b"new worker is now running, sending ", signal.text(), b" to old workers:", &joined(&pids)].concat());
        // The old workers may be all that is left (`alive-after-delay`).
        if self.delay_killing() && !self.replace_if_dead() {
            return self.go_on_with(previous);
        }
        self.say("killing old workers");
        for pid in self.old.pids() {
            self.stop(pid, &signal);
        }
    }

    /// Gives a restart up. The worker that was there before is the current one again; if it has died meanwhile, the loop
    /// will find out.
    fn go_on_with(&mut self, previous: Option<Worker>) {
        if self.is_shutdown_requested() {
            return;
        }
        self.current = previous.filter(|worker| self.old.remove(worker.pid));
        self.say("giving up the restart, the old worker goes on");
        // An automatic restart isn't due again at once.
        self.last_restart = self.kernel.clock();
        self.update_status();
        self.kernel.note_given_up(Some(self.generation));
    }

    /// Lets the old workers go on for the kill-old delay. False if there is none.
    fn delay_killing(&mut self) -> bool {
        let default: &[u8] = if self.environment.is_true("ENABLE_AUTO_RESTART") { b"5" } else { b"0" };
        let text = self.environment.get("KILL_OLD_DELAY").unwrap_or(default).to_vec();
        let mut left = perl::number(&text);
        if left == 0.0 {
            return false;
        }
        self.say([b"sleeping ", text.as_slice(), b" secs before killing old workers"].concat());
        while left > 0.0 && !self.is_shutdown_requested() {
            // QUIRK: each interruption is counted in whole seconds of the clock, at least one (LIFE-154).
            let begin = self.kernel.clock().as_secs();
            self.sleep(Duration::from_secs_f64(left.trunc().min(f64::from(i32::MAX))));
            #[expect(clippy::cast_precision_loss, reason = "seconds of a sleep")]
            let slept = (self.kernel.clock().as_secs() - begin) as f64;
            left -= slept.max(1.0);
        }
        true
    }

    /// Whether the restart goes on: it does, unless there are to be no more attempts.
    fn replace_if_dead(&mut self) -> bool {
        if !self.is_shutdown_requested()
            && let Some(Worker { pid, .. }) = self.current
            && let Some(status) = self.kernel.reap_worker(pid)
        {
            self.bury(pid, status, self.life_cycle.most_failures);
        }
        self.current.is_some() || self.is_shutdown_requested()
    }

    /// Reports a dead child; a current worker is replaced. Any other child counts as an old worker, even one that never
    /// was a worker (LIFE-174).
    fn bury(&mut self, pid: Pid, status: WaitStatus, most_failures: Option<u32>) {
        if self.current.is_some_and(|worker| worker.pid == pid) {
            self.current = None;
            self.say(format!("worker {pid} died unexpectedly with status:{status}, restarting"));
            self.start_worker(most_failures);
        } else {
            self.say(format!("old worker {pid} died, status:{status}"));
            self.old.remove(pid);
            self.update_status();
        }
    }

    /// Stops all workers and waits for their end, however long that takes. Further signals mean nothing (LIFE-076).
    fn shut_down(&mut self, name: &str, signal: &StopSignal) {
        self.kernel.announce(Standing::Stopping);
        self.retire_current();
        let pids = self.old.pids();
        let sending = [b", sending ", signal.text(), b" to all workers:", &joined(&pids)].concat();
        self.say([b"received ", name.as_bytes(), &sending].concat());
        for pid in pids {
            self.stop(pid, signal);
        }
        self.wait_for_old_workers();
        self.say("exiting");
    }

    fn wait_for_old_workers(&mut self) {
        while !self.old.is_empty() {
            self.kernel.received().clear();
            let deadline = self.old.next_kill();
            self.kernel.wait(false, deadline);
            if let Some((pid, status)) = self.kernel.reap() {
                self.say(format!("worker {pid} died, status:{status}"));
                self.old.remove(pid);
                self.update_status();
            }
            self.kill_overdue();
        }
    }

    /// Sends an old worker its stop signal. From the first one on, the time to KILL runs.
    fn stop(&mut self, pid: Pid, signal: &StopSignal) {
        self.kernel.kill(pid, signal);
        if let Some(timeout) = self.life_cycle.kill_timeout {
            self.old.kill_at(self.kernel.clock() + timeout, pid, signal.to_kill());
        }
    }

    /// Sends KILL to the old workers whose time is over.
    fn kill_overdue(&mut self) {
        for (pid, kill) in self.old.take_overdue(self.kernel.clock()) {
            if let Some(status) = self.kernel.reap_worker(pid) {
                self.bury(pid, status, None);
            } else {
                self.say(format!("old worker {pid} has not ended in time, sending KILL"));
                self.kernel.kill(pid, &kill);
            }
        }
    }

    fn say(&mut self, line: impl AsRef<[u8]>) {
        self.kernel.say(line.as_ref());
    }

    fn retire_current(&mut self) {
        if let Some(worker) = self.current.take() {
            self.old.add(worker);
        }
    }

    /// The whole of `time`, unless a shutdown is requested: other signals wait in the queue (`whole-interval`).
    fn sleep_through(&mut self, time: Duration) {
        let end = self.kernel.clock() + time;
        while !self.is_shutdown_requested() {
            let left = end.saturating_sub(self.kernel.clock());
            if left.is_zero() {
                return;
            }
            self.sleep(left);
        }
    }

    /// Until a signal is received. Workers whose time to KILL comes meanwhile get it.
    fn sleep(&mut self, time: Duration) {
        let end = self.kernel.clock() + time;
        while let Some(kill) = self.old.next_kill().filter(|&kill| kill < end) {
            self.kernel.sleep(kill.saturating_sub(self.kernel.clock()));
            if self.kernel.clock() < kill {
                return;
            }
            self.kill_overdue();
        }
        self.kernel.sleep(end.saturating_sub(self.kernel.clock()));
    }

    fn is_shutdown_requested(&mut self) -> bool {
        self.kernel.received().iter().copied().any(is_shutdown)
    }

    /// Takes the next HUP out of the queue, or before any HUP a TERM or an INT (`term-first`). ALRM has done its work by
    /// waking the loop.
    fn next_request(&mut self) -> Option<Received> {
        let received = self.kernel.received();
        if let Some(index) = received.iter().copied().position(is_shutdown) {
            return received.remove(index);
        }
        while let Some(signal) = received.pop_front() {
            if signal == Received::Hup {
                return Some(signal);
            }
        }
        None
    }

    /// Whether it is time for an automatic restart, which then is announced. While old workers are left, only after the
    /// double time (LIFE-160).
    fn is_auto_restart_due(&mut self) -> bool {
        if !self.environment.is_true("ENABLE_AUTO_RESTART") {
            return false;
        }
        let interval = self.environment.get("AUTO_RESTART_INTERVAL").unwrap_or_default().to_vec();
        #[expect(clippy::cast_precision_loss, reason = "seconds since the last restart")]
        let elapsed = (self.kernel.clock().as_secs() - self.last_restart.as_secs()) as f64;
        let kind: &[u8] = if elapsed >= perl::number(&interval) && self.old.is_empty() {
            b"("
        } else if elapsed >= perl::number(&interval) * 2.0 {
            b"(forced, "
        } else {
            return false;
        };
        self.say([b"autorestart triggered ", kind, b"interval=", &interval, b")"].concat());
        true
    }

    /// One line for each worker, sorted as strings by generation: `10:` comes before `9:` (LIFE-052).
    fn update_status(&mut self) {
        let workers = self.current.into_iter().chain(self.old.iter());
        let mut lines: Vec<_> = workers.map(|worker| (worker.generation.to_string(), worker.pid)).collect();
        lines.sort_unstable();
        let content: Vec<_> = lines.iter().map(|(generation, pid)| format!("{generation}:{pid}\n")).collect();
        if let Err(error) = self.kernel.write_status(content.concat().as_bytes()) {
            self.say(error.message());
        }
    }
}

fn is_shutdown(signal: Received) -> bool {
    matches!(signal, Received::Term | Received::Int)
}

fn joined(pids: &[Pid]) -> Vec<u8> {
    pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",").into_bytes()
}

#[cfg(test)]
mod tests;
