//! What the supervisor knows, to and from the state that another program goes on with.

use std::time::Duration;

use crate::error::Error;
use crate::state::State;
use crate::stop_signal::StopSignal;
use crate::supervisor::Supervisor;
use crate::supervisor::old_workers::{OldWorkers, Worker};
use crate::supervisor::requests::Requests;
use crate::sys::Pid;
use crate::world::{Request, World};

/// Pid, generation, when it had started.
type SavedWorker = (Pid, u64, Option<Duration>);

/// The same, with the time of its KILL.
type SavedOldWorker = (Pid, u64, Option<Duration>, Option<Duration>, Option<StopSignal>);

impl<W: World> Supervisor<'_, W> {
    /// All that can't be read off the options.
    pub(super) fn save(&self) -> State {
        let mut state = State::default();
        state.add("generation", &(self.generation,));
        state.add("last-restart", &(self.last_restart,));
        if let Some(worker) = self.current {
            state.add("current", &(worker.pid, worker.generation, worker.started));
        }
        for (worker, kill) in self.old.saved() {
            let (time, signal) = kill.cloned().unzip();
            state.add("old", &(worker.pid, worker.generation, worker.started, time, signal));
        }
        self.requests.iter().for_each(|request| request.save(&mut state));
        self.environment.save(&mut state);
        state
    }

    /// Takes over what is in `state`.
    ///
    /// # Errors
    /// If it can't be read. Nothing has changed then.
    pub(crate) fn restore(&mut self, state: &State) -> Result<(), Error> {
        let saved = Saved::read(state)?;
        self.environment.restore(state)?;
        // With all fields, so that none that comes later is forgotten.
        let Self { world: _, life_cycle: _, environment: _, requests, generation, current, old, last_restart } = self;
        (*requests, *generation, *current) = (saved.requests, saved.generation, saved.current);
        (*old, *last_restart) = (saved.old, saved.last_restart);
        Ok(())
    }
}

/// What the supervisor finds in a state.
pub(crate) struct Saved {
    generation: u64,
    last_restart: Duration,
    current: Option<Worker>,
    old: OldWorkers,
    requests: Requests,
}

impl Saved {
    pub(crate) fn read(state: &State) -> Result<Self, Error> {
        // Of the environment.
        state.all::<(Vec<u8>, Vec<u8>)>("variable")?;
        let (generation,) = state.require("generation")?;
        let (last_restart,) = state.require("last-restart")?;
        let current: Option<SavedWorker> = state.get("current")?;
        let mut old = OldWorkers::default();
        for (pid, generation, started, time, signal) in state.all::<SavedOldWorker>("old")? {
            old.add(Worker { pid, generation, started });
            if let (Some(time), Some(signal)) = (time, signal) {
                old.kill_at(time, pid, signal);
            }
        }
        let names: Vec<(Vec<u8>,)> = state.all("request")?;
        let mut requests = Requests::default();
        requests.add(names.iter().filter_map(|(name,)| Request::of_name(name)).collect());
        let current = current.map(|(pid, generation, started)| Worker { pid, generation, started });
        Ok(Self { generation, last_restart, current, old, requests })
    }
}
