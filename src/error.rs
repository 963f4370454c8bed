//! The one error type. A message is the original's sentence, without the ` at FILE line N.` that Perl appends
//! (`perl-tail`); the exit code follows the rule of Perl's `die` (X1).

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

use crate::sys;

/// Why the program ends unsuccessfully.
///
/// Messages may hold file names and so need not be UTF-8: [`Error::message`] gives the bytes, `Display` replaces what
/// is not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The command line could not be parsed: one line per mistake, in the order of the arguments. Exit code 1.
    Usage(Vec<u8>),
    /// Nothing could be written to standard output. Exit code 1 (P4).
    Stdout {
        /// The error of the system call.
        errno: i32,
    },
    /// A rule was broken. Exit code 255.
    Rule(Vec<u8>),
    /// A system call failed: the sentence up to the reason, and the reason. The exit code is errno.
    System {
        /// What failed, ending where the text of the reason follows.
        sentence: Vec<u8>,
        /// The error of the system call. Zero, a failure without a reason, is shown as nothing and exits with 255.
        errno: i32,
    },
    /// Something has not come to its end in time. Exit code 124, as of timeout(1).
    TimedOut {
        /// What: "restart" or "upgrade".
        what: &'static str,
        /// The limit, in seconds.
        seconds: u32,
        /// What it waits for, and why that may be, as far as it is known: nothing, or lines that each follow a newline.
        reason: Vec<u8>,
    },
    /// Too many starts have failed in a row, or an upgrade was refused. Exit code 125.
    GivenUp(Vec<u8>),
}

impl Error {
    pub(crate) fn rule(sentence: &[&[u8]]) -> Self {
        Self::Rule(sentence.concat())
    }

    pub(crate) fn system(sentence: &[&[u8]], errno: impl Into<std::io::Error>) -> Self {
        Self::System { sentence: sentence.concat(), errno: errno.into().raw_os_error().unwrap_or(0) }
    }

    /// For a reason that isn't known.
    pub(crate) fn timed_out(what: &'static str, seconds: u32) -> Self {
        Self::TimedOut { what, seconds, reason: Vec::new() }
    }

    /// A file that is there for others, too. (That of the pid file has a blank behind the colon.)
    pub(crate) fn cannot_open(path: &Path, errno: impl Into<std::io::Error>) -> Self {
        Self::system(&[b"failed to open file:", path.as_os_str().as_bytes(), b":"], errno)
    }

    /// A file of ours that stays behind.
    pub(crate) fn cannot_unlink(path: &Path, errno: impl Into<std::io::Error>) -> Self {
        Self::system(&[b"failed to unlink file:", path.as_os_str().as_bytes(), b":"], errno)
    }

    /// The line (of [`Error::Usage`]: the lines) for standard error, without the last newline.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        match self {
            Self::Usage(sentence)
            | Self::Rule(sentence)
            | Self::GivenUp(sentence)
            | Self::System { sentence, errno: 0 } => sentence.clone(),
            Self::System { sentence, errno } => with_reason(sentence, *errno),
            Self::Stdout { errno } => with_reason(b"Unable to flush stdout: ", *errno),
            Self::TimedOut { what, seconds, reason } => {
                [format!("the {what} is not over after {seconds} seconds").as_bytes(), reason].concat()
            }
        }
    }

    /// The exit code of the program: 1, errno, 255 where there is no errno, and those that are our own.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Stdout { .. } => 1,
            Self::System { errno, .. } if errno & 255 != 0 => u8::try_from(errno & 255).unwrap_or(255),
            Self::Rule(_) | Self::System { .. } => 255,
            Self::TimedOut { .. } => 124,
            Self::GivenUp(_) => 125,
        }
    }
}

fn with_reason(sentence: &[u8], errno: i32) -> Vec<u8> {
    [sentence, sys::strerror(Errno::from_raw(errno)).as_bytes()].concat()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.message()))
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_system_call_tells_its_errno_twice() {
        let error = Error::system(&[b"failed to bind to ", b"80", b":"], Errno::EADDRINUSE);
        assert_eq!(error.to_string(), "failed to bind to 80:Address already in use");
        assert_eq!(error.exit_code(), 98);
    }

    #[test]
    fn a_failure_without_errno_is_shown_as_nothing_and_exits_with_255() {
        let error = Error::System { sentence: b"failed to resolve host:x:".to_vec(), errno: 0 };
        assert_eq!(error.to_string(), "failed to resolve host:x:");
        assert_eq!(error.exit_code(), 255);
    }

    #[test]
    fn bytes_that_are_not_utf8_survive() {
        assert_eq!(Error::Usage(b"Unknown option: \xff".to_vec()).message(), b"Unknown option: \xff");
        assert_eq!(Error::Usage(Vec::new()).exit_code(), 1);
    }
}
