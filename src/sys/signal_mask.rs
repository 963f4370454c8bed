//! Blocks all signals for a while.

use std::mem::MaybeUninit;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

/// Blocks all signals while the result lives. Used while there are files that a signal would leave behind, but no
/// handlers; and until a fork is complete on both sides, so no handler of the superdaemon handles a signal in the
/// child, where nobody acts on it (LIFE-080).
pub(crate) fn block_all() -> Blocked {
    let mut unblocked = SigSet::empty();
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut unblocked));
    Blocked { unblocked }
}

/// Signals are blocked while this lives.
pub(crate) struct Blocked {
    unblocked: SigSet,
}

impl Blocked {
    /// Signals that the program executed before this one has blocked; `unblocked` is the mask that returns.
    pub(crate) fn inherited(unblocked: SigSet) -> Self {
        Self { unblocked }
    }

    /// The mask as it was before.
    pub(crate) fn mask(&self) -> SigSet {
        self.unblocked
    }

    /// For a child that was forked meanwhile.
    pub(crate) fn unblock(&self) {
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.unblocked), None);
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.unblock();
    }
}

/// INT, as from Ctrl-C, is held back while this lives.
pub(crate) struct Interrupts {
    unblocked: SigSet,
}

impl Interrupts {
    pub(crate) fn hold() -> Self {
        let mut unblocked = SigSet::empty();
        let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::from(Signal::SIGINT)), Some(&mut unblocked));
        Self { unblocked }
    }

    /// Whether one is held back now. nix has no sigpending(2).
    pub(crate) fn has_come(&self) -> bool {
        let mut pending = MaybeUninit::uninit();
        // SAFETY: sigpending(2) fills in the set that it is given, or fails; it is read only when it was filled in.
        let is_pending = unsafe {
            libc::sigpending(pending.as_mut_ptr()) == 0 && libc::sigismember(pending.as_ptr(), libc::SIGINT) == 1
        };
        is_pending && !self.unblocked.contains(Signal::SIGINT)
    }

    /// It now has its usual effect.
    pub(crate) fn let_through(&self) {
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.unblocked), None);
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.let_through();
    }
}
