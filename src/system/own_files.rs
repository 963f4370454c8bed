//! The files that this superdaemon keeps: those that show its state, and those that it reads repeatedly.

use std::os::fd::RawFd;
use std::path::Path;
use std::time::Duration;

use crate::environment::envdir;
use crate::error::Error;
use crate::files::failure_note::FailureFile;
use crate::files::log_file::LogFile;
use crate::files::own_file::{OwnFile, OwnFilePart};
use crate::files::pid_file::PidFile;
use crate::files::status_file::StatusFile;
use crate::options::Options;
use crate::report::Board;
use crate::succession::{Descriptors, Lines, Part};

/// What the next program has to know about the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FilesPart {
    pub(crate) status: Option<OwnFilePart>,
    pub(crate) failure: Option<OwnFilePart>,
    /// Whether the log is a file, which can be opened again.
    pub(crate) is_log_file: bool,
    /// The descriptor that holds the lock of the pid file.
    pub(crate) lock: Option<RawFd>,
}

impl Part for FilesPart {
    fn write(&self, lines: &mut Lines) {
        lines.add("log-file", &(self.is_log_file,));
        for (key, file) in [("status-file", &self.status), ("failure-file", &self.failure)] {
            if let Some(file) = file {
                file.write(key, lines);
            }
        }
        lines.add_all("pid-file", self.lock.map(|lock| (lock,)));
    }

    fn read(lines: &Lines) -> Result<Self, Error> {
        Ok(Self {
            status: OwnFilePart::read("status-file", lines)?,
            failure: OwnFilePart::read("failure-file", lines)?,
            is_log_file: lines.get("log-file")?.is_some_and(|(is_file,)| is_file),
            lock: lines.get("pid-file")?.map(|(lock,)| lock),
        })
    }

    fn descriptors(&self) -> Vec<RawFd> {
        let kept = [&self.status, &self.failure].into_iter().flatten().filter_map(|file| file.kept);
        kept.chain(self.lock).collect()
    }
}

/// The files that the superdaemon reads repeatedly, and those that show its state.
#[derive(Default)]
pub(crate) struct Files {
    pub(crate) envdir: envdir::Reader,
    pub(crate) status: Option<StatusFile>,
    pub(crate) failure: Option<FailureFile>,
    pub(crate) log: Option<LogFile>,
    /// Dropped after the other files: `--stop` waits for its lock (`lock-released-last`).
    pub(crate) pid: Option<PidFile>,
    /// Where the report goes, if it already has a descriptor. Dropped last: without it, a superdaemon that still has its
    /// lock would look like one that doesn't report, and so may serve.
    pub(crate) board: Option<Board>,
}

impl Files {
    pub(super) fn part(&self) -> FilesPart {
        FilesPart {
            status: self.status.as_ref().map(OwnFile::part),
            failure: self.failure.as_ref().map(|failure| failure.file.part()),
            is_log_file: self.log.is_some(),
            lock: self.pid.as_ref().map(PidFile::descriptor),
        }
    }

    /// Continues with them. Closes those that no option of this program names.
    pub(crate) fn take_over(options: &Options, part: FilesPart, descriptors: &mut Descriptors) -> Self {
        let FilesPart { status, failure, is_log_file, lock } = part;
        let lock = lock.map(|lock| descriptors.take_own(lock));
        let status_file = options.status_file.as_deref();
        let status = status_file.map(|path| StatusFile::take_over(path, status.unwrap_or_default(), descriptors));
        let failure =
            failure_file(options).map(|path| FailureFile::take_over(path, failure.unwrap_or_default(), descriptors));
        Self {
            envdir: envdir::Reader::default(),
            status,
            failure,
            log: options.log_file.as_deref().filter(|_| is_log_file).map(LogFile::of),
            board: None,
            pid: options.pid_file.as_deref().zip(lock).map(|(path, lock)| PidFile::take_over(path, lock)),
        }
    }

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

/// The status file beside which failed starts are noted.
pub(crate) fn failure_file(options: &Options) -> Option<&Path> {
    options.status_file.as_deref().filter(|_| options.uses_our_own())
}
