//! The life cycle: a straight loop in the original's order. Where it blocks is part of its behaviour: a worker's death is
//! noticed only when the loop waits, never in an interval or a delay (LIFE-058, LIFE-155).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::environment::Environment;
use crate::error::Error;
use crate::kernel::Kernel;
use crate::options::Options;
use crate::perl;
use crate::signals::Received;
use crate::stop_signal::StopSignal;
use crate::sys::{Pid, WaitStatus};

/// What of the options the life cycle goes by.
#[derive(Clone, Debug)]
pub(crate) struct LifeCycle {
    pub(crate) interval: Duration,
    pub(crate) signal_on_hup: StopSignal,
    pub(crate) signal_on_term: StopSignal,
}

impl LifeCycle {
    pub(crate) fn of(options: &Options) -> Self {
        Self {
            interval: Duration::from_secs(options.interval.into()),
            signal_on_hup: options.signal_on_hup.clone(),
            signal_on_term: options.signal_on_term.clone(),
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
    current: Option<Pid>,
    /// The workers that have been replaced and have not ended, with their generations.
    old: BTreeMap<Pid, u64>,
    /// When the current worker had started: the end of its interval.
    last_restart: Duration,
}

impl<K: Kernel> Supervisor<K> {
    pub(crate) fn new(kernel: K, life_cycle: LifeCycle, environment: Environment) -> Self {
        let (current, old) = (None, BTreeMap::new());
        Self { kernel, life_cycle, environment, generation: 0, current, old, last_restart: Duration::ZERO }
    }

    /// Runs until TERM or INT is received and all workers have ended. Gives the kernel back, with what is still open.
    pub(crate) fn run(mut self) -> K {
        self.start_worker();
        loop {
            self.wait();
            // ORDER: a shutdown comes first; a worker that has died isn't replaced just to be stopped (`term-first`).
            if !self.is_shutdown_requested()
                && let Some((pid, status)) = self.kernel.reap()
            {
                self.bury(pid, status);
            }
            match self.next_request() {
                Some(Received::Hup) => {
                    self.say("received HUP, spawning a new worker");
                    self.restart();
                }
                Some(Received::Term) => {
                    self.shut_down("TERM", &self.life_cycle.signal_on_term.clone());
                    return self.kernel;
                }
                Some(Received::Int) => {
                    // QUIRK: TERM, whatever --signal-on-term says (LIFE-043).
                    self.shut_down("INT", &StopSignal::default());
                    return self.kernel;
                }
                Some(Received::Alrm) | None => {
                    if self.is_auto_restart_due() {
                        self.restart();
                    }
                }
            }
        }
    }

    /// Waits for something to happen, then reads the envdir.
    fn wait(&mut self) {
        // QUIRK: what the envdir added since the start is unknown while waiting, so it can't start the tick (LIFE-142).
        self.environment.drop_envdir();
        let tick = self.kernel.received().is_empty() && self.environment.is_true("ENABLE_AUTO_RESTART");
        self.kernel.wait(tick);
        if let Some(path) = self.environment.get("ENVDIR") {
            let variables = self.kernel.read_envdir(path);
            self.environment.replace_envdir(variables);
        }
        // QUIRK: so the first worker doesn't see the default (LIFE-011).
        if self.environment.is_true("ENABLE_AUTO_RESTART") && !self.environment.is_true("AUTO_RESTART_INTERVAL") {
            self.environment.set("AUTO_RESTART_INTERVAL", b"360".to_vec());
        }
    }

    /// Starts a worker, and others as long as they are dead when the interval ends. There is no current worker afterwards
    /// only if a shutdown was requested while fork(2) kept failing.
    fn start_worker(&mut self) {
        loop {
            self.generation += 1;
            self.environment.set("SERVER_STARTER_GENERATION", self.generation.to_string().into());
            let pid = match self.kernel.spawn(&self.environment) {
                Ok(pid) => pid,
                Err(errno) => {
                    // The workers that there are go on (`fork-failure`).
                    self.say(Error::system(&[b"fork(2) failed:"], errno).message());
                    self.sleep_through(self.life_cycle.interval.max(Duration::from_secs(1)));
                    if self.is_shutdown_requested() {
                        return;
                    }
                    continue;
                }
            };
            self.say(format!("starting new worker {pid}"));
            self.sleep_through(self.life_cycle.interval);
            let dead = if self.is_shutdown_requested() { None } else { self.kernel.reap_worker(pid) };
            let Some(status) = dead else { return self.accept(pid) };
            self.say(format!("new worker {pid} seems to have failed to start, exit status:{status}"));
        }
    }

    fn accept(&mut self, pid: Pid) {
        self.current = Some(pid);
        self.last_restart = self.kernel.clock();
        self.update_status();
    }

    /// Starts a new worker, and when it has started stops the old ones.
    fn restart(&mut self) {
        self.retire_current();
        self.start_worker();
        if self.current.is_none() {
            return;
        }
        let signal = self.life_cycle.signal_on_hup.clone();
        let pids = self.old_pids();
        self.say([b"new worker is now running, sending ", signal.text(), b" to old workers:", &joined(&pids)].concat());
        if self.delay_killing() {
            // The old workers may be all that is left (`alive-after-delay`).
            self.replace_if_dead();
        }
        self.say("killing old workers");
        for pid in self.old_pids() {
            self.kernel.kill(pid, &signal);
        }
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
            self.kernel.sleep(Duration::from_secs_f64(left.trunc().min(f64::from(i32::MAX))));
            #[expect(clippy::cast_precision_loss, reason = "seconds of a sleep")]
            let slept = (self.kernel.clock().as_secs() - begin) as f64;
            left -= slept.max(1.0);
        }
        true
    }

    fn replace_if_dead(&mut self) {
        if self.is_shutdown_requested() {
            return;
        }
        if let Some(pid) = self.current
            && let Some(status) = self.kernel.reap_worker(pid)
        {
            self.bury(pid, status);
        }
    }

    /// Reports a dead child; a current worker is replaced. Any other child counts as an old worker, even one that never
    /// was a worker (LIFE-174).
    fn bury(&mut self, pid: Pid, status: WaitStatus) {
        if self.current == Some(pid) {
            self.current = None;
            self.say(format!("worker {pid} died unexpectedly with status:{status}, restarting"));
            self.start_worker();
        } else {
            self.say(format!("old worker {pid} died, status:{status}"));
            self.old.remove(&pid);
            self.update_status();
        }
    }

    /// Stops all workers and waits for their end, however long that takes. Further signals mean nothing (LIFE-076).
    fn shut_down(&mut self, name: &str, signal: &StopSignal) {
        self.retire_current();
        let pids = self.old_pids();
        let sending = [b", sending ", signal.text(), b" to all workers:", &joined(&pids)].concat();
        self.say([b"received ", name.as_bytes(), &sending].concat());
        for pid in pids {
            self.kernel.kill(pid, signal);
        }
        while !self.old.is_empty() {
            self.kernel.received().clear();
            self.kernel.wait(false);
            if let Some((pid, status)) = self.kernel.reap() {
                self.say(format!("worker {pid} died, status:{status}"));
                self.old.remove(&pid);
                self.update_status();
            }
        }
        self.say("exiting");
    }

    fn say(&mut self, line: impl AsRef<[u8]>) {
        self.kernel.say(line.as_ref());
    }

    fn retire_current(&mut self) {
        if let Some(pid) = self.current.take() {
            self.old.insert(pid, self.generation);
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
            self.kernel.sleep(left);
        }
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
        let current = self.current.map(|pid| (self.generation, pid));
        let old = self.old.iter().map(|(&pid, &generation)| (generation, pid));
        let mut lines: Vec<_> =
            current.into_iter().chain(old).map(|(generation, pid)| (generation.to_string(), pid)).collect();
        lines.sort_unstable();
        let content: Vec<_> = lines.iter().map(|(generation, pid)| format!("{generation}:{pid}\n")).collect();
        if let Err(error) = self.kernel.write_status(content.concat().as_bytes()) {
            self.say(error.message());
        }
    }

    /// The old workers in the order in which they are named and signalled: sorted as strings, `13` before `4` (LIFE-063).
    fn old_pids(&self) -> Vec<Pid> {
        let mut pids: Vec<Pid> = self.old.keys().copied().collect();
        pids.sort_by_key(ToString::to_string);
        pids
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
