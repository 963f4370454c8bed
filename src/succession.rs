//! What one program hands to the next in the same process (`--upgrade`, `--take-over`): text, and open descriptors.
//! Each room has a [`Part`] of its own; together they are the [`State`](crate::system::State).

mod descriptors;
mod text;

use std::os::fd::RawFd;

pub(crate) use descriptors::{Descriptors, check_unique};
pub(crate) use text::{Field, Lines};

use crate::error::Error;

/// Tells the next program where the state is: `STATE_FD`, or `STATE_FD,WAY_BACK_FD`.
pub(crate) const VARIABLE: &str = "START_SERVER_STATE";

/// Tells the program that comes back why the next one could not continue. Beside [`VARIABLE`].
pub(crate) const REFUSAL: &str = "START_SERVER_NOT_UPGRADED";

/// The beginning of the first argument of a program that rehearses, before `STATE_FD,ANSWER_FD`. Any other program,
/// including the original, fails on this unknown option before it touches anything.
pub(crate) const REHEARSAL: &str = "--rehearse-state=";

/// What one room knows. Its keys appear only in these two functions.
pub(crate) trait Part: Sized {
    fn write(&self, lines: &mut Lines);

    /// # Errors
    /// If a line of one of its keys can't be read, or is missing.
    fn read(lines: &Lines) -> Result<Self, Error>;

    /// The descriptors that it names, each of which gets an owner in the next program.
    fn descriptors(&self) -> Vec<RawFd> {
        Vec::new()
    }
}
