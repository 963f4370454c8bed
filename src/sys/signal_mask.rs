//! All signals blocked for a while.

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

/// Blocks all signals as long as the result lives. Until a fork is over on both sides, so that none is handled by a
/// handler of the superdaemon in the child, where the pipe isn't read (LIFE-080); and as long as there are files that a
/// signal would leave behind, but no handlers.
pub(crate) fn block_all() -> Blocked {
    let mut unblocked = SigSet::empty();
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut unblocked));
    Blocked { unblocked }
}

/// Signals are blocked as long as this lives.
pub(crate) struct Blocked {
    unblocked: SigSet,
}

impl Blocked {
    /// Signals that the program executed before this one has blocked; `unblocked` is the mask that returns.
    pub(crate) fn inherited(unblocked: SigSet) -> Self {
        Self { unblocked }
    }

    /// For a process of its own, made meanwhile.
    pub(crate) fn unblock(&self) {
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.unblocked), None);
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.unblock();
    }
}
