//! Children that got KILL and that nobody waits for: one that sleeps in the kernel, for example at a dead file system,
//! may take any time to die. They are not workers, and are reaped when they have died.

use crate::sys::{self, Pid};

#[derive(Default)]
pub(super) struct Abandoned(Vec<Pid>);

impl Abandoned {
    pub(super) fn add(&mut self, pid: Pid) {
        self.0.push(pid);
    }

    pub(super) fn contains(&self, pid: Pid) -> bool {
        self.0.contains(&pid)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reaps the dead ones, and passes them to `forget`.
    pub(super) fn bury(&mut self, mut forget: impl FnMut(Pid)) {
        self.0.retain(|&pid| {
            let is_reaped = matches!(sys::reap(pid), Ok(Some(_)));
            if is_reaped {
                forget(pid);
            }
            !is_reaped
        });
    }
}
