//! `--ready`: how the superdaemon learns that a new worker has started, if the interval alone doesn't decide.

mod accepting;
mod blocked_calls;
mod connections;
mod notify;
mod permission;

use std::os::fd::{BorrowedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use libc::ino_t;
use nix::errno::Errno;

use crate::error::Error;
use crate::listeners::Listeners;
use crate::options::Readiness;
use crate::readiness::accepting::Accepting;
use crate::readiness::notify::{NotifyPart, NotifySockets};
use crate::succession::{Descriptors, Lines, Part};
use crate::sys::{OneThread, Pid};

/// What tells whether a new worker is ready.
pub(crate) trait Watch {
    /// Prepares for the worker that is about to be started. The value of its `NOTIFY_SOCKET`, if it gets one.
    fn prepare(&mut self) -> Result<Option<PathBuf>, Errno> {
        Ok(None)
    }

    /// A child of its own that has got KILL, and that nobody waits for.
    fn take_abandoned(&mut self) -> Option<Pid> {
        None
    }

    /// Some listeners have new sockets.
    fn follow(&mut self, _listeners: &Listeners) {}

    /// The worker has been started.
    fn begin(&mut self, _worker: Pid) {}

    /// The worker has been reaped.
    fn end(&mut self, _worker: Pid) {}

    fn is_ready(&mut self, worker: Pid) -> bool;

    /// It was ready under the previous program.
    fn serves(&mut self, _worker: Pid) {}

    /// What a worker that isn't ready has not done so far.
    fn lack(&self) -> String {
        String::new()
    }

    /// What it does instead.
    fn instead(&self, _worker: Pid) -> Option<String> {
        None
    }

    /// Which of these listeners none of `workers` and their families serves, if this is checked at all.
    fn unserved(&self, _workers: &[Pid], _listeners: &[ino_t]) -> Vec<ino_t> {
        Vec::new()
    }

    /// How long to pause before the next look at the worker, if nothing else decides.
    fn pause(&self, _waited: Duration) -> Option<Duration> {
        None
    }

    /// What workers write to.
    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    /// What the next program has to know.
    fn part(&self) -> WatchPart {
        WatchPart::default()
    }

    /// Reads what workers have written, even if nobody needs it: a full queue would block them.
    fn read(&mut self) {}
}

/// What the next program has to know to learn that workers are ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WatchPart {
    notify: Option<NotifyPart>,
    /// Whether it is known that the superdaemon may examine its workers.
    pub(crate) may_look: bool,
}

impl Part for WatchPart {
    fn write(&self, lines: &mut Lines) {
        if let Some(notify) = &self.notify {
            notify.write(lines);
        }
        if self.may_look {
            lines.add("may-look", &(true,));
        }
    }

    fn read(lines: &Lines) -> Result<Self, Error> {
        let may_look = lines.get("may-look")?.is_some_and(|(may_look,)| may_look);
        Ok(Self { notify: NotifyPart::read(lines)?, may_look })
    }

    fn descriptors(&self) -> Vec<RawFd> {
        self.notify.iter().flat_map(NotifyPart::descriptors).collect()
    }
}

/// The watch for `readiness`.
///
/// # Errors
/// If it can't work.
pub(crate) fn watch(
    readiness: Readiness,
    listeners: &Listeners,
    one_thread: OneThread,
) -> Result<Box<dyn Watch>, Error> {
    Ok(match readiness {
        Readiness::Interval => Box::new(Interval),
        Readiness::Notify => Box::new(NotifySockets::new()?),
        Readiness::Accepting => {
            let abandoned = Accepting::check(one_thread)?;
            Box::new(Accepting::at(listeners).with(abandoned))
        }
    })
}

/// A watch that can be taken over; nothing can fail any more.
pub(crate) struct PreparedWatch(Preparation);

enum Preparation {
    Interval,
    Notify(NotifyPart),
    /// From a program that had none.
    Own(NotifySockets),
    Accepting {
        abandoned: Option<Pid>,
    },
}

impl PreparedWatch {
    /// Gets what is missing.
    ///
    /// # Errors
    /// If that fails, for example because no process can be made.
    pub(crate) fn of(readiness: Readiness, part: WatchPart, one_thread: OneThread) -> Result<Self, Error> {
        Ok(Self(match (readiness, part.notify) {
            (Readiness::Interval, _) => Preparation::Interval,
            (Readiness::Notify, Some(part)) => Preparation::Notify(part),
            (Readiness::Notify, None) => Preparation::Own(NotifySockets::new()?),
            (Readiness::Accepting, _) => {
                let abandoned = if part.may_look { None } else { Accepting::check(one_thread)? };
                Preparation::Accepting { abandoned }
            }
        }))
    }

    pub(crate) fn take_over(self, listeners: &Listeners, descriptors: &mut Descriptors) -> Box<dyn Watch> {
        match self.0 {
            Preparation::Interval => Box::new(Interval),
            Preparation::Notify(part) => Box::new(NotifySockets::take_over(part, descriptors)),
            Preparation::Own(sockets) => Box::new(sockets),
            Preparation::Accepting { abandoned } => Box::new(Accepting::at(listeners).with(abandoned)),
        }
    }
}

/// The interval decides, not this.
struct Interval;

impl Watch for Interval {
    fn is_ready(&mut self, _worker: Pid) -> bool {
        true
    }
}
