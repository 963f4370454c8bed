//! What a superdaemon publishes about itself: a file in memory that it rewrites at each change, and that a reader of
//! the same user, or root, finds by its name among the superdaemon's descriptors. It costs one descriptor, and one
//! write(2) per change. Everything works without it; a reader then sees only what is visible from outside.
//!
//! A reader doesn't trust the writer: it limits the length, and makes control characters visible.

mod memory;
mod text;

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

pub(crate) use memory::Board;

use crate::proc::{Pid, Process};

/// What a superdaemon knows. Times are those of the monotonic clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// The program's.
    pub(crate) version: Vec<u8>,
    /// The path by which it was executed.
    pub(crate) program: Option<Vec<u8>>,
    /// Whether there is an option that the original doesn't have.
    pub(crate) uses_our_own: bool,
    /// How many attempts to start a worker there have been: the generation of the newest.
    pub(crate) attempts: u64,
    pub(crate) workers: Vec<Member>,
    /// Descriptors and names.
    pub(crate) listeners: Vec<(RawFd, Vec<u8>)>,
    /// How many starts have failed since the last success.
    pub(crate) failures: u32,
    /// The last of them, oldest first.
    pub(crate) last_failures: Vec<FailedStart>,
    /// Lines about the last one.
    pub(crate) detail: Vec<u8>,
    /// When the running restart began.
    pub(crate) restart: Option<Duration>,
    /// The last restart that was given up: the generation of its last attempt, and when.
    pub(crate) given_up: Option<(u64, Duration)>,
    /// All workers are being stopped, and then it exits.
    pub(crate) is_stopping: bool,
}

/// A start that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailedStart {
    pub(crate) generation: u64,
    pub(crate) at: Duration,
    /// In one line.
    pub(crate) reason: Vec<u8>,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) generation: u64,
    pub(crate) pid: Pid,
    pub(crate) post: Post,
    /// Since when.
    pub(crate) since: Option<Duration>,
    /// The stop signal that it has got, in the words of the option.
    pub(crate) signal: Option<Vec<u8>>,
    /// When it gets KILL.
    pub(crate) kill: Option<Duration>,
}

/// The state of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Post {
    /// It has not started yet.
    Starting,
    /// It serves.
    Current,
    /// It has been replaced, or is stopped with all others.
    Stopping,
    /// Its start has failed, and it has not exited.
    Rejected,
}

impl Report {
    /// What the superdaemon publishes; None if it publishes nothing, like the original.
    ///
    /// # Errors
    /// If its descriptors may not be seen, or if its report can't be read.
    pub(crate) fn of(superdaemon: Pid) -> io::Result<Option<Self>> {
        for descriptor in Process::Pid(superdaemon).descriptors()? {
            if let Some(text) = memory::read(descriptor)? {
                let report = Self::parse(&text);
                return report.map(Some).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData));
            }
        }
        Ok(None)
    }

    /// The worker that serves.
    pub(crate) fn current(&self) -> Option<&Member> {
        self.workers.iter().rfind(|worker| worker.post == Post::Current)
    }
}
