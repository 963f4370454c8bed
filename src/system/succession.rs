//! How this program gives way to another one in the same process, and what goes to it.

use std::os::fd::{AsRawFd, RawFd};

use crate::error::Error;
use crate::state::State;
use crate::sys::{self, Pid};
use crate::system::System;
use crate::system::rehearsal::Stage;
use crate::system::successor::Successor;
use crate::world::World;

impl System<'_> {
    /// Lets another program go on in the place of this one, when it is asked for.
    pub(crate) fn allow(&mut self, successor: Option<Successor>) {
        self.successor = successor;
    }

    /// Goes on from the state of the program that was here before.
    pub(crate) fn restore(&mut self, state: &State) -> Result<(), Error> {
        self.inbox.restore(state)?;
        self.delivery.restore(state)?;
        self.spawner.restore(state)?;
        self.manager.restore(state)?;
        self.kin.restore(state)
    }

    /// Says to `--upgrade` that this program runs now.
    pub(crate) fn answer_upgrade(&self) {
        if let Some(successor) = &self.successor {
            successor.answer("runs", b"");
        }
    }

    /// Adds what the program that goes on needs to `state`, and gives the descriptors that go to it.
    fn save(&self, state: &mut State) -> Vec<RawFd> {
        self.inbox.save(state);
        self.delivery.save(state);
        self.spawner.save(state);
        self.launch.save(state);
        self.listeners.save(state);
        self.manager.save(state);
        self.kin.save(state);
        let kept = self.watch.save(state);
        let files = &self.files;
        state.add("log-file", &(files.log.is_some(),));
        let status = files.status.as_ref().and_then(|file| file.save("status-file", state));
        let failure = files.failure.as_ref().and_then(|failure| failure.file.save("failure-file", state));
        let pid = files.pid.as_ref().map(|file| file.save(state));
        kept.into_iter().chain(status).chain(failure).chain(pid).collect()
    }

    /// No other program goes on in the place of this one.
    fn refuse(&mut self, reason: &[u8]) {
        self.say(&[b"not upgraded: ", reason].concat());
        if let Some(successor) = &self.successor {
            successor.answer("refused", reason);
        }
    }

    /// A rehearsal, and when that has shown that the program can go on, the process.
    pub(super) fn hand_over_next(&mut self, state: State) -> State {
        let Some(mut successor) = self.successor.take() else { return state };
        let mut whole = state.clone();
        let refused = if matches!(successor.rehearsal, Stage::Passed(_)) {
            let _blocked = sys::block_all();
            // ORDER: what came in before is part of the state, what comes now stays pending.
            self.is_requested();
            Some(successor.execute(&mut whole, self.launch, |state| self.save(state)))
        } else {
            self.save(&mut whole);
            let listeners: Vec<RawFd> = self.listeners.fds().map(|fd| fd.as_raw_fd()).collect();
            let refused = successor.rehearse(&whole, self.launch, &listeners).err();
            if let Some(pid) = successor.rehearsal.process() {
                self.kin.spare(pid);
            }
            refused
        };
        self.successor = Some(successor);
        if let Some(reason) = refused {
            self.refuse(&reason);
        }
        state
    }

    /// Whether there is something for the program that is to replace this one: the process after a rehearsal, or a rehearsal
    /// when it is asked for. Another one that is asked for meanwhile waits until that is over.
    pub(super) fn has_to_hand_over(&mut self) -> bool {
        match self.successor.as_ref().map(|successor| &successor.rehearsal) {
            Some(Stage::Running(_) | Stage::Killed(_)) => false,
            Some(Stage::Passed(_)) => true,
            Some(Stage::None) | None => self.inbox.take_to_be_replaced(),
        }
    }

    /// Looks what has come of a rehearsal. Called wherever the loop waits, so that it is over in its time.
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

    /// The process of a rehearsal. It is no worker, and looked after here.
    pub(super) fn rehearsal(&self) -> Option<Pid> {
        self.successor.as_ref()?.rehearsal.process()
    }

    /// No other program replaces this one any more.
    pub(super) fn refuse_to_be_replaced(&mut self) {
        self.is_stopping = true;
        if let Some(successor) = &mut self.successor {
            successor.rehearsal.kill();
            successor.answer("refused", b"start_server is stopping");
        }
    }
}
