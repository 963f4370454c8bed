//! How another program replaces this one in the same process.

use crate::sys::{self, Pid};
use crate::system::rehearsal::{Stage, spare_memory};
use crate::system::successor::Successor;
use crate::system::{State, System};
use crate::world::LifePart;

impl System<'_> {
    /// Allows another program to replace this one on request.
    pub(crate) fn allow(&mut self, successor: Option<Successor>) {
        self.successor = successor;
    }

    /// Continues from the state of the previous program.
    pub(crate) fn take_over(&mut self, state: &State) {
        self.inbox.take_over(&state.inbox);
        self.delivery.take_over(state.unsent.clone(), state.life.old.iter().map(|(worker, _)| worker.pid));
        self.spawner.take_over(&state.listeners);
        self.manager.take_over(state.manager.clone());
        self.kin.take_over(state.kin.clone());
        if let Some(current) = &state.life.current {
            self.watch.serves(current.pid);
        }
    }

    /// Answers `--upgrade`. The program that could not continue has already reported the reason of a refusal.
    pub(crate) fn answer_upgrade(&self, refusal: Option<&[u8]>) {
        let Some(successor) = &self.successor else { return };
        match refusal {
            Some(reason) => successor.answer("refused", reason),
            None => successor.answer("runs", b""),
        }
    }

    /// Everything that this program knows. None if it can't be replaced.
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

    /// First a rehearsal, and when that has succeeded, the process.
    pub(super) fn hand_over_next(&mut self, life: LifePart) -> LifePart {
        let has_passed = self.successor.as_ref().is_some_and(|it| matches!(it.rehearsal, Stage::Passed(_)));
        let reason = if has_passed { self.execute(&life) } else { self.rehearse(&life) };
        if let Some(reason) = reason {
            self.refuse(&reason);
        }
        life
    }

    /// Why there is none.
    fn rehearse(&mut self, life: &LifePart) -> Option<Vec<u8>> {
        let state = self.state(life.clone())?;
        let successor = self.successor.as_mut()?;
        let refused = successor.rehearse(&state, self.launch).err();
        if let Some(pid) = successor.rehearsal.process() {
            self.kin.spare(pid);
        }
        refused
    }

    /// Returns the reason if it fails.
    fn execute(&mut self, life: &LifePart) -> Option<Vec<u8>> {
        let _blocked = sys::block_all();
        // ORDER: earlier signals are part of the state; new ones stay pending.
        self.is_requested();
        self.manager.end_reload();
        let state = self.state(life.clone())?;
        Some(self.successor.as_mut()?.execute(&state, self.launch))
    }

    /// Whether there is something to hand over: the process after a rehearsal, or a requested rehearsal. A further
    /// request meanwhile waits until that is over.
    pub(super) fn has_to_hand_over(&mut self) -> bool {
        let is_due = match self.successor.as_ref().map(|successor| &successor.rehearsal) {
            Some(Stage::Running(_) | Stage::Killed(_)) => false,
            // The next program wouldn't know about it.
            _ if self.is_stopping => false,
            // Another program would take them for workers, and wouldn't know about waiting messages.
            _ if !self.abandoned.is_empty() || self.manager.has_more_to_tell() => false,
            Some(Stage::Passed(_)) => true,
            Some(Stage::None) | None => self.inbox.take_to_be_replaced(),
        };
        is_due && !self.refuse_without_memory()
    }

    /// Whether it had to refuse: before anything is put together for the next program, as that takes memory.
    fn refuse_without_memory(&mut self) -> bool {
        let Err(error) = spare_memory(0) else { return false };
        self.refuse(&error.message());
        if let Some(successor) = &mut self.successor {
            successor.rehearsal.take_passed();
        }
        true
    }

    /// Checks for the result of a rehearsal. Called wherever the loop waits, so it ends in time.
    pub(super) fn look_after_rehearsal(&mut self) {
        let Some(successor) = &mut self.successor else { return };
        if let Some(pid) = successor.rehearsal.bury() {
            self.kin.release(pid);
        }
        if let Some(reason) = successor.look() {
            self.refuse(&reason);
        }
        if self.is_stopping && self.inbox.take_to_be_replaced() {
            self.refuse_to_be_replaced();
        }
    }

    /// The process of a rehearsal. It is not a worker, and is handled here.
    pub(super) fn rehearsal(&self) -> Option<Pid> {
        self.successor.as_ref()?.rehearsal.process()
    }

    /// From now on, no other program replaces this one.
    pub(super) fn refuse_to_be_replaced(&mut self) {
        self.is_stopping = true;
        if let Some(successor) = &mut self.successor {
            successor.rehearsal.kill();
            successor.answer("refused", b"start_server is stopping");
        }
    }
}
