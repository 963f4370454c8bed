//! `--ready`: how the superdaemon learns that a new worker has started, where that is not a matter of the interval alone.
//! Both ways need Linux; each has a file of its own.

#[cfg(target_os = "linux")]
mod accepting;
#[cfg(target_os = "linux")]
mod blocked_calls;
#[cfg(target_os = "linux")]
mod connections;
#[cfg(target_os = "linux")]
mod descendants;
#[cfg(target_os = "linux")]
mod notify;
#[cfg(target_os = "linux")]
mod permission;

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;

use crate::error::Error;
use crate::listeners::Listeners;
use crate::options::Readiness;
#[cfg(target_os = "linux")]
use crate::readiness::accepting::Accepting;
#[cfg(target_os = "linux")]
use crate::readiness::notify::NotifySockets;
use crate::sys::Pid;

/// The shortest time between two looks at a worker.
#[cfg(target_os = "linux")]
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// The longest time between two looks at a worker.
#[cfg(target_os = "linux")]
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// What tells whether a worker is ready.
pub(crate) enum Watch {
    /// Nothing: the interval decides.
    Interval,
    #[cfg(target_os = "linux")]
    Notify(NotifySockets),
    #[cfg(target_os = "linux")]
    Accepting(Accepting),
}

#[cfg_attr(not(target_os = "linux"), allow(unused_variables, reason = "elsewhere there is the interval alone"))]
impl Watch {
    /// Makes sure that it can work before anything is started.
    #[cfg(target_os = "linux")]
    pub(crate) fn new(readiness: Readiness, listeners: &Listeners) -> Result<Self, Error> {
        match readiness {
            Readiness::Interval => Ok(Self::Interval),
            Readiness::Notify => NotifySockets::new().map(Self::Notify),
            Readiness::Accepting => Accepting::new(listeners.fds()).map(Self::Accepting),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn new(readiness: Readiness, _: &Listeners) -> Result<Self, Error> {
        match readiness {
            Readiness::Interval => Ok(Self::Interval),
            Readiness::Notify | Readiness::Accepting => Err(Error::rule(&[b"this --ready needs Linux"])),
        }
    }

    /// The value of `NOTIFY_SOCKET` for the worker that is about to be started.
    pub(crate) fn prepare(&mut self) -> Result<Option<PathBuf>, Errno> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Notify(sockets) => sockets.open().map(Some),
            _ => Ok(None),
        }
    }

    /// The worker has been started.
    pub(crate) fn begin(&mut self, worker: Pid) {
        #[cfg(target_os = "linux")]
        if let Self::Notify(sockets) = self {
            sockets.assign(worker);
        }
    }

    /// The worker has been reaped.
    pub(crate) fn end(&mut self, worker: Pid) {
        #[cfg(target_os = "linux")]
        if let Self::Notify(sockets) = self {
            sockets.close(worker);
        }
    }

    /// Whether the worker is ready.
    pub(crate) fn is_ready(&mut self, worker: Pid) -> bool {
        match self {
            Self::Interval => true,
            #[cfg(target_os = "linux")]
            Self::Notify(sockets) => sockets.is_ready(worker),
            #[cfg(target_os = "linux")]
            Self::Accepting(accepting) => accepting.is_accepting(worker),
        }
    }

    /// How long to pause before the worker is looked at again, if nothing else tells when. The longer it has taken, the longer.
    pub(crate) fn pause(&self, waited: Duration) -> Option<Duration> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Accepting(_) => Some((waited / 20).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)),
            _ => None,
        }
    }

    /// What workers write to.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Notify(sockets) => sockets.fds().collect(),
            _ => Vec::new(),
        }
    }

    /// Reads what workers have written, whether it is of interest or not: a full queue would block them.
    pub(crate) fn read(&mut self) {
        #[cfg(target_os = "linux")]
        if let Self::Notify(sockets) = self {
            sockets.read();
        }
    }
}
