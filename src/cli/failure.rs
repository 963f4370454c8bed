//! Why the program fails: an error of the library, or one of the two that only a program can have.

use crate::error::Error;

/// Why the program fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The command line could not be parsed: one line per mistake, in the order of the arguments. Exit code 1.
    Usage(Vec<u8>),
    /// Nothing could be written to standard output. Exit code 1 (P4).
    Stdout {
        /// The error of the system call.
        errno: i32,
    },
    /// The request has failed.
    Error(Error),
}

impl Failure {
    /// The line (of [`Failure::Usage`]: the lines) for standard error, without the last newline.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        match self {
            Self::Usage(lines) => lines.clone(),
            Self::Stdout { errno } => {
                Error::System { sentence: b"Unable to flush stdout: ".to_vec(), errno: *errno }.message()
            }
            Self::Error(error) => error.message(),
        }
    }

    /// The exit code of the program.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Stdout { .. } => 1,
            Self::Error(error) => error.exit_code(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_utf8_survive() {
        assert_eq!(Failure::Usage(b"Unknown option: \xff".to_vec()).message(), b"Unknown option: \xff");
        assert_eq!(Failure::Usage(Vec::new()).exit_code(), 1);
    }
}
