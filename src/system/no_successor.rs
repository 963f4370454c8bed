//! Where there is no Linux, no other program goes on in the place of this one: it needs files in memory and /proc.

use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use crate::environment::Environment;
use crate::error::Error;
use crate::options::Options;
use crate::state::State;
use crate::system::signals::LaunchState;

/// There is none.
pub(crate) enum Successor {}

impl Successor {
    pub(crate) fn of(_: &Options, _: Option<&State>) -> Option<Self> {
        None
    }

    pub(crate) fn answer(&self, _: &str, _: &[u8]) {
        match *self {}
    }

    pub(super) fn rehearse(&mut self, _: &State, _: &LaunchState, _: &[RawFd]) -> Result<bool, Vec<u8>> {
        match *self {}
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match *self {}
    }

    pub(super) fn is_rehearsed(&mut self) -> bool {
        match *self {}
    }

    pub(super) fn pause(&self) -> Option<Duration> {
        match *self {}
    }

    pub(super) fn give_up(&mut self) {
        match *self {}
    }

    pub(super) fn execute(&mut self, _: &mut State, _: impl FnOnce(&mut State) -> Vec<RawFd>) -> Vec<u8> {
        match *self {}
    }
}

/// There is nothing to go on from.
pub(crate) enum HandedOver {}

impl HandedOver {
    pub(crate) fn find(_: &mut Environment) -> Result<Option<Self>, Error> {
        Ok(None)
    }

    pub(crate) fn read(&self) -> Result<State, Error> {
        match *self {}
    }

    pub(crate) fn go_back(&self, _: &Error) {
        match *self {}
    }

    pub(crate) fn close(self, _: &State) {
        match self {}
    }
}

/// There is nothing to show.
pub(crate) fn answer_rehearsal(_: RawFd, _: RawFd, _: impl FnOnce(&State) -> Result<(), Error>) -> u8 {
    1
}
