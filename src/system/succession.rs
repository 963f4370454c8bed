//! How this program is replaced by another one in the same process.

use crate::sys;
use crate::system::successor::Successor;
use crate::system::{State, System};
use crate::world::LifePart;

impl System<'_> {
    /// Lets another program replace this one, when it is asked for.
    pub(crate) fn allow(&mut self, successor: Option<Successor>) {
        self.successor = successor;
    }

    /// Continues from the state of the program before this one.
    pub(crate) fn take_over(&mut self, state: &State) {
        self.inbox.take_over(&state.inbox);
        self.delivery.take_over(state.unsent.clone());
        self.spawner.take_over(&state.listeners);
        self.manager.take_over(state.manager.clone());
        self.kin.take_over(state.kin.clone());
    }

    /// Says to `--upgrade` what came of it. The reason of a refusal has been said by the program that could not go on.
    pub(crate) fn answer_upgrade(&self, refusal: Option<&[u8]>) {
        let Some(successor) = &self.successor else { return };
        match refusal {
            Some(reason) => successor.answer("refused", reason),
            None => successor.answer("runs", b""),
        }
    }

    /// All that this program knows. None if it can't be replaced.
    fn state(&self, life: LifePart) -> Option<State> {
        let mut life = life;
        life.requests.extend(self.inbox.requests());
        Some(State {
            life,
            launch: self.launch.part(),
            inbox: self.inbox.part(),
            listeners: self.spawner.part(),
            files: self.files.part(),
            watch: self.watch.part(),
            kin: self.kin.part(),
            unsent: self.delivery.part(),
            manager: self.manager.part(),
            program: self.successor.as_ref()?.part(),
        })
    }

    /// No other program replaces this one.
    fn refuse(&self, reason: &[u8]) {
        crate::stderr::say([b"not upgraded: ", reason].concat());
        if let Some(successor) = &self.successor {
            successor.answer("refused", reason);
        }
    }

    pub(super) fn begin_rehearsal(&mut self, life: LifePart) -> bool {
        let Some(state) = self.state(life) else { return false };
        let Some(successor) = &mut self.successor else { return false };
        match successor.rehearse(&state, self.launch) {
            Ok(is_begun) => is_begun,
            Err(reason) => {
                self.refuse(&reason);
                false
            }
        }
    }

    pub(super) fn end_rehearsal(&mut self, life: LifePart, is_wanted: bool) -> LifePart {
        if !is_wanted {
            self.successor.iter_mut().for_each(Successor::give_up);
            return life;
        }
        let _blocked = sys::block_all();
        // ORDER: what came in before is part of the state, what comes now stays pending.
        self.is_requested();
        if let Some(state) = self.state(life.clone())
            && let Some(successor) = &mut self.successor
        {
            let reason = successor.execute(&state, self.launch);
            self.refuse(&reason);
        }
        life
    }
}
