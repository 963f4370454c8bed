//! The ways that need Linux. Each has a file of its own.

use crate::error::Error;
use crate::listeners::Listeners;
use crate::options::Readiness;
use crate::readiness::{Interval, Watch, accepting, notify};
use crate::state::State;
use crate::sys::OneThread;

/// What tells of a worker of another superdaemon whether it waits on one of the listeners right now.
#[cfg(feature = "cli")]
pub(crate) fn look_for_waits(
    listeners: &Listeners,
    one_thread: OneThread,
) -> Result<impl Fn(crate::sys::Pid) -> bool, Error> {
    let accepting = accepting::Accepting::new(listeners.fds(), one_thread)?;
    Ok(move |worker| accepting.waits(worker))
}

/// The watch for `readiness`.
pub(super) fn watch(
    readiness: Readiness,
    listeners: &Listeners,
    one_thread: OneThread,
    state: Option<&State>,
) -> Result<Box<dyn Watch>, Error> {
    Ok(match readiness {
        Readiness::Interval => Box::new(Interval),
        Readiness::Notify => Box::new(state.map_or_else(notify::NotifySockets::new, notify::NotifySockets::resume)?),
        Readiness::Accepting => Box::new(accepting::Accepting::new(listeners.fds(), one_thread)?),
    })
}
