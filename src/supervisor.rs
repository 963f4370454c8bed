//! The life cycle: a straight loop in the original's order. Where it blocks is part of its behaviour: a worker's death
//! is noticed only when the loop waits, never in an interval or a delay (LIFE-058, LIFE-155).

mod life_cycle;
mod old_workers;
mod requests;
mod saved;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
mod starting;
mod waiting;

use std::time::Duration;

pub(crate) use life_cycle::LifeCycle;

use crate::environment::Environment;
use crate::error::Error;
use crate::report::Post;
use crate::stop_signal::StopSignal;
use crate::supervisor::old_workers::{OldWorkers, Worker};
use crate::supervisor::requests::Requests;
use crate::supervisor::starting::Limit;
use crate::sys::{Pid, WaitStatus};
use crate::words::SPAWNING;
use crate::world::{Awaited, Family, News, Request, Standing, World};

/// Keeps one worker running, and replaces it on request.
pub(crate) struct Supervisor<'a, W> {
    world: W,
    life_cycle: &'a LifeCycle,
    environment: Environment,
    requests: Requests,
    /// Counts the attempts to start a worker.
    generation: u64,
    current: Option<Worker>,
    /// A worker that has not started yet, and since when it exists.
    starting: Option<(Worker, Duration)>,
    old: OldWorkers,
    /// When the running restart began.
    restart_begun: Option<Duration>,
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
            starting: None,
            old: OldWorkers::default(),
            restart_begun: None,
            last_restart: Duration::ZERO,
        }
    }

    /// Runs until TERM, INT or QUIT is received and all workers have exited.
    ///
    /// # Errors
    /// If the first worker does not start (`--max-start-failures`); the processes of its attempts have exited, too.
    pub(crate) fn run(&mut self) -> Result<(), Error> {
        self.start_first_worker()?;
        self.keep_running()
    }

    /// The same, continuing from another program's state, or from this one's.
    ///
    /// # Errors
    /// If no worker serves and none can be started (`--end-without-worker`).
    pub(crate) fn keep_running(&mut self) -> Result<(), Error> {
        loop {
            self.wait();
            // ORDER: a shutdown comes first; a dead worker isn't replaced just to be stopped (`term-first`).
            if !self.is_stop_requested()
                && let Some((pid, status)) = self.world.reap(None)
            {
                self.bury(pid, status, self.replacement_limit());
            }
            if self.life_cycle.ends_without_worker && self.current.is_none() && !self.is_stop_requested() {
                self.announce(Standing::Stopping);
                return Err(self.end_without_worker());
            }
            match self.next_request() {
                Some(Request::Hup) => {
                    self.say(SPAWNING);
                    self.announce(Standing::Reloading);
                    self.restart();
                    self.announce(Standing::Ready);
                }
                Some(stop @ (Request::Term | Request::Int | Request::Quit)) => {
                    self.shut_down(stop);
                    return Ok(());
                }
                Some(Request::Alrm) | None => {
                    if self.is_auto_restart_due() {
                        self.restart();
                    }
                }
            }
        }
    }

    pub(crate) fn into_world(self) -> W {
        self.world
    }

    /// Makes another program replace this one, in the same process and so with everything that was opened and started.
    /// It gets what this one knows as a [`LifePart`](crate::world::LifePart); if it can't replace it, this one gets
    /// that back.
    fn hand_over(&mut self) {
        let life = self.world.hand_over(self.part());
        self.take_over(life);
    }

    fn read_envdir(&mut self) {
        self.environment.drop_envdir();
        if let Some(path) = self.environment.envdir() {
            let variables = self.world.read_envdir(path);
            self.environment.replace_envdir(variables);
        }
        self.environment.add_default_interval();
    }

    /// Starts a new worker, and stops the old ones when it has started.
    fn restart(&mut self) {
        let previous = self.current;
        self.restart_begun = Some(self.world.clock());
        self.retire_current();
        if !self.start_worker(self.restart_limit()) {
            return self.go_on_with(previous);
        }
        if self.old.is_empty() {
            return;
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

    /// Gives up a restart. The previous worker is the current one again; if it has died meanwhile, the loop will
    /// notice.
    fn go_on_with(&mut self, previous: Option<Worker>) {
        if self.is_stop_requested() {
            return;
        }
        self.current = previous.filter(|worker| self.old.remove(worker.pid));
        self.say("giving up the restart, the old worker keeps running");
        // The next automatic restart isn't due at once.
        self.last_restart = self.world.clock();
        self.restart_begun = None;
        self.update_status();
        self.world.tell(News::GivenUp { generation: self.generation });
    }

    /// Whether the restart continues: it does, unless there are no more attempts.
    fn replace_if_dead(&mut self) -> bool {
        if !self.is_stop_requested()
            && let Some(Worker { pid, .. }) = self.current
            && let Some((_, status)) = self.world.reap(Some(pid))
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
            self.world.tell(News::Died { worker: pid, status });
            // QUIRK: the original lists it until there is another one.
            if self.life_cycle.uses_our_own {
                self.list_workers();
            }
            self.tell_family();
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

    /// Stops all workers and waits for their end, however long that takes. Further signals are ignored (LIFE-076).
    fn shut_down(&mut self, request: Request) {
        let (name, signal) = match request {
            // QUIRK: TERM, whatever --signal-on-term says (LIFE-043).
            Request::Int => ("INT", &StopSignal::default()),
            Request::Quit => ("QUIT", &self.life_cycle.signal_on_term),
            _ => ("TERM", &self.life_cycle.signal_on_term),
        };
        self.announce(Standing::Stopping);
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
        if let Some((pid, status)) = self.world.reap(None) {
            self.say(format!("worker {pid} died, status:{status}"));
            self.old.remove(pid);
            self.update_status();
        }
    }

    fn stop_old_workers(&mut self, signal: &StopSignal) {
        for pid in self.old.pids() {
            self.stop(pid, signal);
        }
        self.tell_family();
    }

    /// Sends an old worker its stop signal. The time to KILL counts from the first one.
    fn stop(&mut self, pid: Pid, signal: &StopSignal) {
        self.world.kill(pid, signal);
        self.old.tell(self.world.clock(), pid, signal);
        if let Some(timeout) = self.life_cycle.kill_timeout {
            self.old.kill_at(self.world.clock() + timeout, pid, signal.to_kill());
        }
    }

    fn retire_current(&mut self) {
        if let Some(worker) = self.current.take() {
            self.old.add(worker);
        }
    }

    /// Whether it is time for an automatic restart, which is then announced. While old workers are left, only after
    /// twice the time (LIFE-160).
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

    fn update_status(&mut self) {
        self.list_workers();
        self.tell_family();
    }

    /// Reports the state of each worker.
    fn tell_family(&mut self) {
        if self.old.is_empty() && self.starting.is_none() {
            self.restart_begun = None;
        }
        let current = self.current.map(|worker| worker.member(Post::Current, worker.started, None, None));
        let starting = self.starting.map(|(worker, begun)| worker.member(Post::Starting, Some(begun), None, None));
        let old = self.old.members(self.current.is_none());
        let members = old.chain(current).chain(starting).collect();
        self.world.tell(News::Family(Family { attempts: self.generation, members, restart: self.restart_begun }));
    }

    /// One line for each worker, sorted as strings by generation: `10:` comes before `9:` (LIFE-052).
    fn list_workers(&mut self) {
        let workers = self.current.into_iter().chain(self.old.iter());
        let mut lines: Vec<_> = workers.map(|worker| (worker.generation.to_string(), worker.pid)).collect();
        lines.sort_unstable();
        let content: Vec<_> = lines.iter().map(|(generation, pid)| format!("{generation}:{pid}\n")).collect();
        self.world.tell(News::Workers(content.concat().as_bytes()));
    }

    fn announce(&mut self, standing: Standing) {
        self.world.tell(News::Standing(standing));
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
