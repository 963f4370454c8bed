//! How the supervisor waits: in one place, which also sends KILL to overdue old workers.

use std::time::Duration;

use crate::environment::Setting;
use crate::supervisor::Supervisor;
use crate::supervisor::requests::Requests;
use crate::supervisor::starting::Limit;
use crate::sys::Pid;
use crate::world::{Awaited, Request, Standing, Woken, World};

impl<W: World> Supervisor<'_, W> {
    /// Waits for something to happen, then reads the envdir.
    pub(super) fn wait(&mut self) {
        // QUIRK: what the envdir has added since the start is unknown while waiting, so it can't start the tick
        // (LIFE-142).
        self.environment.drop_envdir();
        while self.requests().is_empty() {
            let tick = self.environment.is_auto_restart_enabled();
            if self.wait_for(Awaited::Anything { tick }, None) != Woken::HandOver {
                break;
            }
            self.hand_over();
        }
        self.read_envdir();
    }

    /// Keeps the old workers for the kill-old delay. False if there is none.
    pub(super) fn delay_killing(&mut self) -> bool {
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

    /// Until `end`, unless a shutdown is requested: other requests wait in the queue (`whole-interval`).
    pub(super) fn sleep_until(&mut self, end: Duration) {
        while !self.is_stop_requested() && self.wait_for(Awaited::Request, Some(end)) != Woken::OutOfTime {}
    }

    /// Until the new worker is ready or dead, or a shutdown is requested. False if `end` comes before.
    pub(super) fn wait_until_ready(&mut self, pid: Pid, end: Duration) -> bool {
        while !self.is_stop_requested() {
            match self.wait_for(Awaited::Ready(pid), Some(end)) {
                Woken::Happened => return true,
                Woken::OutOfTime => return false,
                Woken::Requested | Woken::HandOver => {}
            }
        }
        true
    }

    /// The only place that waits. Overdue old workers get KILL meanwhile.
    pub(super) fn wait_for(&mut self, awaited: Awaited, end: Option<Duration>) -> Woken {
        loop {
            // It may have been the awaited death, and the last one.
            if self.kill_overdue() && matches!(awaited, Awaited::Death | Awaited::Anything { .. }) {
                return Woken::Happened;
            }
            if end.is_some_and(|end| self.world.clock() >= end) {
                return Woken::OutOfTime;
            }
            let until = self.old.next_kill().into_iter().chain(end).chain(self.requests.end_of_delay()).min();
            match self.world.wait(awaited, until) {
                Woken::OutOfTime if self.requests.end_of_delay().is_some_and(|end| self.world.clock() >= end) => {
                    return Woken::Requested;
                }
                Woken::OutOfTime => {}
                woken => return woken,
            }
        }
    }

    /// Sends KILL to the old workers whose time is over. Whether one of them turned out to be dead.
    fn kill_overdue(&mut self) -> bool {
        let mut has_buried = false;
        for (pid, kill) in self.old.take_overdue(self.world.clock()) {
            if let Some((_, status)) = self.world.reap(Some(pid)) {
                self.bury(pid, status, Limit::NONE);
                has_buried = true;
            } else {
                self.say(format!("old worker {pid} has not ended in time, sending KILL"));
                self.world.kill(pid, &kill);
            }
        }
        has_buried
    }

    /// The requests that have arrived so far.
    pub(super) fn requests(&mut self) -> &mut Requests {
        self.requests.add(self.world.take_requests());
        if let Some(delay) = self.life_cycle.stop_delay {
            self.delay_stop(delay);
        }
        &mut self.requests
    }

    /// While a worker serves, the first request for a shutdown waits, and everything continues as before (`--stop-delay`).
    fn delay_stop(&mut self, delay: Duration) {
        let now = self.world.clock();
        if self.current.is_none() && self.old.newest_started().is_none() {
            self.requests.forgo_delay();
        } else if let Some(stop) = self.requests.delay_stop(now + delay) {
            let (name, seconds) = (stop.name(), delay.as_secs());
            self.say(format!(
                "received {name}, the workers keep serving for {seconds} seconds before they are stopped"
            ));
            self.announce(Standing::Leaving);
        }
        self.requests.end_delay(now);
    }

    pub(super) fn next_request(&mut self) -> Option<Request> {
        self.requests().next()
    }

    pub(super) fn is_stop_requested(&mut self) -> bool {
        self.requests().has_stop()
    }
}
