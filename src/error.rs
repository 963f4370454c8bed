//! The one error type. A message is the original's sentence, without the ` at FILE line N.` that Perl appends
//! (`perl-tail`); the exit code follows the rule of Perl's `die` (X1).

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use crate::sys;

/// Why a request to a superdaemon has failed.
///
/// Messages may hold file names and so need not be UTF-8: [`Error::message`] gives the bytes, `Display` replaces what
/// is not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A rule was broken. Exit code 255.
    Rule(Vec<u8>),
    /// A system call failed: the sentence up to the reason, and the reason. The exit code is errno.
    System {
        /// What failed, ending where the text of the reason follows.
        sentence: Vec<u8>,
        /// The error of the system call. Zero, a failure without a reason, is shown as nothing and exits with 255.
        errno: i32,
    },
    /// Something did not finish in time. Exit code 124, like timeout(1).
    TimedOut {
        /// What: "restart" or "upgrade".
        what: &'static str,
        /// The time limit. The message has its whole seconds.
        limit: Duration,
        /// What it waits for, and why, as far as that is known: nothing, or lines that each follow a newline.
        reason: Vec<u8>,
    },
    /// A new worker serves, but old ones have not exited in time. Exit code 123.
    OldWorkersLeft {
        /// The time limit.
        limit: Duration,
        /// What it waits for, as in [`Error::TimedOut`].
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

    /// Without a known reason.
    pub(crate) fn timed_out(what: &'static str, limit: Duration) -> Self {
        Self::TimedOut { what, limit, reason: Vec::new() }
    }

    /// A file that is there for others, too. (That of the pid file has a blank after the colon.)
    pub(crate) fn cannot_open(path: &Path, errno: impl Into<std::io::Error>) -> Self {
        Self::system(&[b"failed to open file:", path.as_os_str().as_bytes(), b":"], errno)
    }

    /// A file of ours that is left behind.
    pub(crate) fn cannot_unlink(path: &Path, errno: impl Into<std::io::Error>) -> Self {
        Self::system(&[b"failed to unlink file:", path.as_os_str().as_bytes(), b":"], errno)
    }

    /// The line for standard error, without a newline at the end. (Some have more lines.)
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        match self {
            Self::Rule(sentence) | Self::GivenUp(sentence) | Self::System { sentence, errno: 0 } => sentence.clone(),
            Self::System { sentence, errno } => [sentence, sys::strerror(Errno::from_raw(*errno)).as_bytes()].concat(),
            Self::TimedOut { what, limit, reason } => {
                let seconds = limit.as_secs();
                [format!("the {what} did not finish within {seconds} seconds").as_bytes(), reason].concat()
            }
            Self::OldWorkersLeft { limit, reason } => {
                let seconds = limit.as_secs();
                let sentence =
                    format!("the new version serves, but the restart did not finish within {seconds} seconds");
                [sentence.as_bytes(), reason].concat()
            }
        }
    }

    /// The exit code of the program: errno, 255 if there is no errno, or one of our own.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::System { errno, .. } if errno & 255 != 0 => u8::try_from(errno & 255).unwrap_or(255),
            Self::Rule(_) | Self::System { .. } => 255,
            Self::OldWorkersLeft { .. } => 123,
            Self::TimedOut { .. } => 124,
            Self::GivenUp(_) => 125,
        }
    }
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
        let text = if cfg!(target_env = "musl") { "Address in use" } else { "Address already in use" };
        assert_eq!(error.to_string(), format!("failed to bind to 80:{text}"));
        assert_eq!(error.exit_code(), 98);
    }

    #[test]
    fn a_failure_without_errno_is_shown_as_nothing_and_exits_with_255() {
        let error = Error::System { sentence: b"failed to resolve host:x:".to_vec(), errno: 0 };
        assert_eq!(error.to_string(), "failed to resolve host:x:");
        assert_eq!(error.exit_code(), 255);
    }
}
