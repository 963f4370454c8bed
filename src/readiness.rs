//! `--ready`: how the superdaemon learns that a new worker has started, where that is not a matter of the interval
//! alone.

mod accepting;
mod blocked_calls;
mod connections;
mod notify;
mod permission;

use std::os::fd::{BorrowedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;

use crate::error::Error;
use crate::listeners::Listeners;
use crate::options::Readiness;
use crate::readiness::accepting::Accepting;
use crate::readiness::notify::NotifySockets;
use crate::state::State;
use crate::sys::{OneThread, Pid};

/// What tells whether a new worker is ready.
pub(crate) trait Watch {
    /// Prepares for the worker that is about to be started. The value of its `NOTIFY_SOCKET`, if it gets one.
    fn prepare(&mut self) -> Result<Option<PathBuf>, Errno> {
        Ok(None)
    }

    /// The worker has been started.
    fn begin(&mut self, _worker: Pid) {}

    /// The worker has been reaped.
    fn end(&mut self, _worker: Pid) {}

    fn is_ready(&mut self, worker: Pid) -> bool;

    /// What a worker that isn't ready has not done so far.
    fn lack(&self) -> &'static str {
        ""
    }

    /// How long to pause before the worker is looked at again, if nothing else tells when.
    fn pause(&self, _waited: Duration) -> Option<Duration> {
        None
    }

    /// What workers write to.
    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    /// Puts into `state` what the program that goes on needs. Gives the descriptors that go to it.
    fn save(&self, _state: &mut State) -> Vec<RawFd> {
        Vec::new()
    }

    /// Reads what workers have written, whether it is of interest or not: a full queue would block them.
    fn read(&mut self) {}
}

/// The watch for `readiness`. Makes sure that it can work before anything is started. It goes on from a `state`, if there is
/// one.
pub(crate) fn watch(
    readiness: Readiness,
    listeners: &Listeners,
    one_thread: OneThread,
    state: Option<&State>,
) -> Result<Box<dyn Watch>, Error> {
    Ok(match readiness {
        Readiness::Interval => Box::new(Interval),
        Readiness::Notify => Box::new(state.map_or_else(NotifySockets::new, NotifySockets::resume)?),
        Readiness::Accepting => Box::new(Accepting::new(listeners.fds(), one_thread)?),
    })
}

/// The interval decides, not this.
struct Interval;

impl Watch for Interval {
    fn is_ready(&mut self, _worker: Pid) -> bool {
        true
    }
}
