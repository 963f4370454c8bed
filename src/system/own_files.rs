//! The files that this superdaemon keeps: where it tells how things stand, and what it reads again and again.

use std::time::Duration;

use crate::environment::envdir;
use crate::files::failure_note::FailureFile;
use crate::files::log_file::LogFile;
use crate::files::own_file::OwnFile;
use crate::files::pid_file::PidFile;
use crate::files::status_file::StatusFile;

/// What the superdaemon reads again and again, and where it tells how things stand.
#[derive(Default)]
pub(crate) struct Files {
    pub(crate) envdir: envdir::Reader,
    pub(crate) status: Option<StatusFile>,
    pub(crate) failure: Option<FailureFile>,
    pub(crate) log: Option<LogFile>,
    /// The last to be dropped: its lock is what `--stop` waits for (`lock-released-last`).
    pub(crate) pid: Option<PidFile>,
}

impl Files {
    /// How long to wait before the next [`Self::retry`], if something could not be written.
    pub(crate) fn pause(&self) -> Option<Duration> {
        let files = [self.status.as_ref(), self.failure.as_ref().map(|failure| &failure.file)];
        files.into_iter().flatten().filter_map(OwnFile::pause).min()
    }

    /// Tries again to write what could not be written.
    pub(crate) fn retry(&mut self) {
        self.status.iter_mut().for_each(StatusFile::retry);
        self.failure.iter_mut().for_each(|failure| failure.file.retry());
    }
}
