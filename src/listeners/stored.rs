//! Listeners that the service manager keeps for the next superdaemon (`FDSTORE=1` of `sd_notify(3)`): with
//! `--sd-notify` and `--from-systemd`, no connection is refused while a killed superdaemon is started again.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::listeners::address::Address;
use crate::listeners::bind::{cannot_create, is_socket};
use crate::listeners::export::to_fd_name;
use crate::listeners::inherited::InheritedListener;
use crate::listeners::socket_file::is_bound_to;
use crate::listeners::{Listener, Listeners};
use crate::sys::{self, CloseOnExec};

/// The prefix of our listeners' names at the manager.
const PREFIX: &[u8] = b"start_server-";

/// They are moved to this number or above, out of the way of listeners, which get the lowest numbers.
const OUT_OF_THE_WAY: i32 = 100;

/// Listeners that an earlier superdaemon has left with the manager, and that no option has taken yet: the name there,
/// the address, the socket.
#[derive(Default)]
pub(crate) struct Stored(Vec<(Vec<u8>, Address, OwnedFd)>);

impl Stored {
    /// Separates them from the other listeners that the manager has passed.
    pub(crate) fn take_from(passed: Vec<InheritedListener>) -> Result<(Self, Vec<InheritedListener>), Error> {
        let (ours, theirs): (Vec<_>, _) = passed
            .into_iter()
            .partition(|listener| listener.fd_name.as_ref().is_some_and(|name| name.starts_with(PREFIX)));
        let mut stored = Vec::new();
        for listener in ours {
            let fd = sys::move_above(listener.fd, OUT_OF_THE_WAY, CloseOnExec::Yes).map_err(cannot_create)?;
            if let Some(address) = Address::of_opened(&fd) {
                stored.push((listener.fd_name.unwrap_or_default(), address, fd));
            }
        }
        Ok((Self(stored), theirs))
    }

    /// Moves them away from numbers at which a listener `is_wanted`.
    pub(super) fn keep_clear(&mut self, is_wanted: impl Fn(RawFd) -> bool) -> Result<(), Error> {
        for (name, address, mut fd) in std::mem::take(&mut self.0) {
            while is_wanted(fd.as_raw_fd()) {
                let above = fd.as_raw_fd() + 1;
                fd = sys::move_above(fd, above, CloseOnExec::Yes).map_err(cannot_create)?;
            }
            self.0.push((name, address, fd));
        }
        Ok(())
    }

    /// The one that a `--path` requests, if the file there is still its own: through another file, no client could
    /// connect.
    pub(super) fn take_path(&mut self, path: &Path) -> Result<Option<OwnedFd>, Error> {
        if self.0.is_empty() || !is_socket(path) {
            return Ok(None);
        }
        let wanted = Address::of_path(path);
        let Some((_, _, fd)) = self.0.iter().find(|(_, address, _)| wanted.asks_for(address)) else { return Ok(None) };
        if FileId::of(path).is_some_and(|file| is_bound_to(fd, file)) { self.take(&wanted) } else { Ok(None) }
    }

    /// The one that an option requests, at the lowest free number, as if it had just been opened.
    pub(super) fn take(&mut self, wanted: &Address) -> Result<Option<OwnedFd>, Error> {
        let Some(index) = self.0.iter().position(|(_, address, _)| wanted.asks_for(address)) else { return Ok(None) };
        let (_, _, fd) = self.0.remove(index);
        sys::move_above(fd, 3, CloseOnExec::No).map(Some).map_err(cannot_create)
    }

    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|(_, _, fd)| fd.as_fd())
    }

    /// The names at the manager of those that no option has taken.
    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|(name, ..)| name.as_slice())
    }
}

impl Listeners {
    /// What the manager is to keep: the listeners that were opened here, each with its name there.
    pub(crate) fn to_store(&self) -> impl Iterator<Item = (Vec<u8>, BorrowedFd<'_>)> {
        let own = self.entries.iter().filter(|listener| listener.fd_name.is_none());
        own.map(|listener| {
            let address = Address::of(&listener.fd).ok().flatten();
            (listener.name_at_manager(address.as_ref()), listener.fd.as_fd())
        })
    }

    /// The names at the manager of those that have a socket file of ours.
    pub(crate) fn names_of_stored_files(&self) -> Vec<Vec<u8>> {
        let files: Vec<_> = self.files.iter().map(|file| file.path.as_os_str().as_bytes()).collect();
        let own = self.entries.iter().filter(|listener| files.contains(&listener.name.as_slice()));
        own.map(|listener| listener.name_at_manager(None)).collect()
    }
}

impl Listener {
    /// The same for one that has been bound anew (`path-gone`).
    pub(crate) fn to_store_again(&self) -> (Vec<u8>, BorrowedFd<'_>) {
        (self.name_at_manager(None), self.fd.as_fd())
    }

    fn name_at_manager(&self, address: Option<&Address>) -> Vec<u8> {
        let kind = address.map_or(b"".as_slice(), Address::prefix);
        to_fd_name(&[PREFIX, kind, &self.name].concat())
    }
}
