//! What the program `start_server` and the tests need beyond the crate's public interface. It may change without
//! notice.

use std::env;
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;

use crate::error::Error;
use crate::options::Options;
use crate::start;
use crate::succession::{REHEARSAL, VARIABLE};

#[cfg(feature = "cli")]
pub use crate::{
    cli::{Action, Failure, canonical, parse, superdaemon_options},
    control::list_updates,
    take_over::take_over,
};

#[cfg(feature = "declaration")]
pub use crate::cli::{command, generated};
pub use crate::start::start_program;

/// Returns to the program that has executed this one as its successor, because this one can't continue; for a `reason`, which is
/// said then. Comes back if there is none.
pub fn go_back(reason: &[u8]) {
    start::go_back(reason);
}

/// Whether another `start_server` has executed this one, to be replaced by it with its state.
#[must_use]
pub fn is_handed_over() -> bool {
    env::var_os(VARIABLE).is_some()
}

/// Whether the arguments ask for [`list_updates`].
#[cfg(feature = "cli")]
#[must_use]
pub fn asks_for_updates(arguments: &[OsString]) -> bool {
    matches!(arguments, [only] if only == crate::control::LIST_UPDATES)
}

/// Another `start_server` executes this one, to see whether it could be replaced by it.
#[derive(Clone, Copy, Debug)]
pub struct Rehearsal {
    /// The descriptor of the state.
    state: RawFd,
    /// The descriptor that the answer goes to.
    answer: RawFd,
}

impl Rehearsal {
    /// Looks for it in the first argument. The rest of the command line is the superdaemon's.
    ///
    /// # Errors
    /// If somebody else uses that argument.
    pub fn of(arguments: &[OsString]) -> Result<Option<Self>, Error> {
        let first = arguments.first().and_then(|first| first.as_bytes().strip_prefix(REHEARSAL.as_bytes()));
        let Some(numbers) = first else { return Ok(None) };
        let numbers = str::from_utf8(numbers).ok().and_then(|text| text.split_once(','));
        match numbers.map(|(state, answer)| (state.parse(), answer.parse())) {
            Some((Ok(state), Ok(answer))) => Ok(Some(Self { state, answer })),
            _ => Err(Error::rule(&[b"--rehearse-state is for a start_server that another one executes"])),
        }
    }

    /// Answers, by the options that the superdaemon's command line has for this program. The exit code.
    #[must_use]
    pub fn answer(self, options: Result<Box<Options>, Error>) -> u8 {
        start::rehearse(self.state, self.answer, options)
    }
}
