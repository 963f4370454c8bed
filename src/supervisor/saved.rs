//! What the supervisor knows, to and from its part of a state.

use crate::supervisor::Supervisor;
use crate::supervisor::old_workers::{OldWorkers, Worker};
use crate::supervisor::requests::Requests;
use crate::world::{LifePart, WorkerPart, World};

impl<W: World> Supervisor<'_, W> {
    /// Everything that the options don't say.
    pub(super) fn part(&self) -> LifePart {
        let worker = |Worker { pid, generation, started }| WorkerPart { pid, generation, started };
        LifePart {
            generation: self.generation,
            last_restart: self.last_restart,
            current: self.current.map(worker),
            old: self.old.with_kill_times().map(|(old, kill)| (worker(old), kill.cloned())).collect(),
            told: self.old.told().collect(),
            requests: self.requests.iter().collect(),
            variables: self.environment.lasting().clone(),
            is_envdir_unread: false,
        }
    }

    /// Continues with what another program knew.
    pub(crate) fn take_over(&mut self, part: LifePart) {
        let worker = |WorkerPart { pid, generation, started }| Worker { pid, generation, started };
        // With all fields, so a later one is not forgotten.
        let Self {
            world: _,
            life_cycle: _,
            environment,
            requests,
            generation,
            current,
            starting,
            old,
            restart_begun,
            last_restart,
        } = self;
        // An upgrade waits until nothing is in progress.
        (*starting, *restart_begun) = (None, None);
        environment.take_over(part.variables, part.is_envdir_unread);
        *requests = Requests::default();
        requests.add(part.requests);
        (*generation, *last_restart) = (part.generation, part.last_restart);
        *current = part.current.map(worker);
        *old = OldWorkers::default();
        for (saved, kill) in part.old {
            old.add(worker(saved));
            if let Some((time, signal)) = kill {
                old.kill_at(time, saved.pid, signal);
            }
        }
        for (pid, at, signal) in part.told {
            old.tell(at, pid, &signal);
        }
        self.tell_family();
    }
}
