//! Descriptors that were handed over by number, and get owners. Nothing else turns a number into an owner.

use std::collections::BTreeSet;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use crate::error::Error;
use crate::sys::{self, CloseOnExec};

/// Numbers of open descriptors that nothing owns.
pub(crate) struct Descriptors(BTreeSet<RawFd>);

impl Descriptors {
    /// Nothing is changed, and nothing is owned: if one is missing, all of them stay as they are.
    ///
    /// # Errors
    /// If one of them is not open, or is named twice: it would get two owners.
    ///
    /// # Safety
    /// No value in this process owns one of them.
    #[expect(unsafe_code)]
    pub(crate) unsafe fn claim(numbers: &[RawFd]) -> Result<Self, Error> {
        check_unique(numbers)?;
        let mut claimed = BTreeSet::new();
        for &number in numbers {
            if !sys::is_open(number) {
                let sentence = format!("the state can't be taken over: file descriptor {number}:");
                return Err(Error::system(&[sentence.as_bytes()], Errno::EBADF));
            }
            claimed.insert(number);
        }
        Ok(Self(claimed))
    }

    /// The owner of a descriptor, which isn't closed on exec.
    ///
    /// # Panics
    /// If it was not claimed, or has been taken.
    pub(crate) fn take(&mut self, number: RawFd) -> OwnedFd {
        assert!(self.0.remove(&number), "a descriptor of the state is taken once");
        // SAFETY: it was open when it was claimed, nothing owned it then, and nothing else can take it any more.
        #[expect(unsafe_code)]
        unsafe {
            OwnedFd::from_raw_fd(number)
        }
    }

    /// The same; it is closed on exec, like everything of ours except listeners.
    pub(crate) fn take_own(&mut self, number: RawFd) -> OwnedFd {
        let _ = sys::set_close_on_exec(number, CloseOnExec::Yes);
        self.take(number)
    }

    /// Closes those that no option of this program needs.
    pub(crate) fn close_rest(&mut self) {
        while let Some(&number) = self.0.first() {
            drop(self.take(number));
        }
    }
}

/// Whether none is there twice.
pub(crate) fn check_unique(numbers: &[RawFd]) -> Result<(), Error> {
    let mut known = BTreeSet::new();
    match numbers.iter().find(|&&number| !known.insert(number)) {
        Some(number) => {
            Err(Error::Rule(format!("the state can't be read: file descriptor {number} is there twice").into()))
        }
        None => Ok(()),
    }
}
