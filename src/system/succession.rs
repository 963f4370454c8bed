//! How this program gives way to another one in the same process, and what goes to it.

use std::os::fd::{AsRawFd, RawFd};

use crate::error::Error;
use crate::state::State;
use crate::sys;
use crate::system::System;
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

    pub(super) fn begin_rehearsal(&mut self, mut state: State) -> bool {
        let Some(successor) = &mut self.successor else { return false };
        let listeners: Vec<RawFd> = self.listeners.fds().map(|fd| fd.as_raw_fd()).collect();
        self.launch.save(&mut state);
        self.listeners.save(&mut state);
        match successor.rehearse(&state, self.launch, &listeners) {
            Ok(is_begun) => is_begun,
            Err(reason) => {
                self.refuse(&reason);
                false
            }
        }
    }

    pub(super) fn end_rehearsal(&mut self, mut state: State, is_wanted: bool) -> State {
        let Some(mut successor) = self.successor.take() else { return state };
        if is_wanted {
            let as_it_was = state.clone();
            let _blocked = sys::block_all();
            // ORDER: what came in before is part of the state, what comes now stays pending.
            self.is_requested();
            let reason = successor.execute(&mut state, self.launch, |state| self.save(state));
            self.successor = Some(successor);
            self.refuse(&reason);
            return as_it_was;
        }
        successor.give_up();
        self.successor = Some(successor);
        state
    }
}
