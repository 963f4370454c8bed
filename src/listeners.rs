//! The listeners: bound once, then handed to every worker and never changed. Owns the removal of our socket files.

mod address;
#[cfg(feature = "cli")]
#[allow(dead_code, reason = "for --take-over alone, which not every system has")]
pub(crate) mod adopted;
mod bind;
mod closing;
mod export;
pub(crate) mod inherited;
mod open;
mod part;
mod plan;
mod port_spec;
mod revival;
mod socket_file;
mod stored;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::ino_t;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;

use crate::files::file_id::FileId;
use crate::listeners::inherited::InheritedListener;
use crate::listeners::socket_file::SocketFile;
use crate::options::Options;
use crate::report::Board;
use crate::sys;

pub(crate) use address::Address;
pub(crate) use part::ListenersPart;
#[cfg(feature = "cli")]
pub(crate) use part::{ListenerPart, SocketFilePart};
pub(crate) use plan::ListenPlan;
#[cfg(feature = "simulation")]
pub use port_spec::{Host, PortSpec, TargetFd};
pub(crate) use revival::Shut;
pub(crate) use stored::Stored;

/// The descriptor at which Perl has the original's script open: the lowest free one at launch. No listener is put
/// there, so listeners get the same numbers as with the original, on which configurations rely (S11).
#[derive(Default)]
pub(crate) struct Place(Option<StandIn>);

/// What takes its place.
enum StandIn {
    /// A descriptor that is needed anyway.
    Board(Board),
    Null(File),
}

impl Place {
    /// Opens a stand-in for the script, and the standard descriptors that are closed. If one of those was closed, the
    /// original's script is there, and no other number is taken. Nor is one taken if listeners begin at 3, as systemd's
    /// do.
    pub(crate) fn of_script(options: &Options) -> Self {
        let begin_at_3 = options.listen_fds || options.from_systemd;
        let stand_in = || Board::new().map(StandIn::Board).or_else(|| File::open("/dev/null").ok().map(StandIn::Null));
        let stand_in = if begin_at_3 { None } else { stand_in() };
        // It has got the lowest free number, which shows whether one of the three is closed.
        let stand_in = stand_in.filter(|stand_in| stand_in.number() > 2);
        if stand_in.is_none() {
            sys::open_standard_descriptors();
        }
        Self(stand_in)
    }

    /// Frees the place if it is `number`.
    fn leave(&mut self, number: RawFd) {
        self.0.take_if(|stand_in| stand_in.number() == number);
    }

    /// The board, if there is one: it stays where it is.
    pub(crate) fn into_board(self) -> Option<Board> {
        match self.0? {
            StandIn::Board(board) => Some(board),
            StandIn::Null(_) => None,
        }
    }
}

impl StandIn {
    fn number(&self) -> RawFd {
        match self {
            Self::Board(board) => board.as_fd().as_raw_fd(),
            Self::Null(file) => file.as_raw_fd(),
        }
    }
}

/// A listening socket, or a bound UDP socket.
pub(crate) struct Listener {
    name: Vec<u8>,
    /// The descriptor as `SERVER_STARTER_PORT` spells it.
    fd_text: Vec<u8>,
    /// The service manager's name for it, if it was inherited.
    fd_name: Option<Vec<u8>>,
    fd: OwnedFd,
}

impl Listener {
    fn new(name: &[u8], fd: OwnedFd) -> Self {
        Self { name: name.to_vec(), fd_text: fd.as_raw_fd().to_string().into(), fd_name: None, fd }
    }

    /// Those for UDP don't.
    fn takes_connections(&self) -> bool {
        Address::of(&self.fd).ok().flatten().is_some_and(|address| address.takes_connections())
    }

    /// The file of an inherited unix socket. The manager's paths are absolute.
    fn file(&self) -> Option<FileId> {
        self.name.starts_with(b"/").then(|| FileId::of(Path::new(OsStr::from_bytes(&self.name)))).flatten()
    }
}

impl From<InheritedListener> for Listener {
    fn from(inherited: InheritedListener) -> Self {
        Self { fd_name: inherited.fd_name, ..Self::new(&inherited.name, inherited.fd) }
    }
}

/// The open listeners. Dropping them removes their socket files, except those that another process has replaced
/// (`own-files-only`).
#[derive(Default)]
pub(crate) struct Listeners {
    entries: Vec<Listener>,
    files: Vec<SocketFile>,
    /// The number for listen(2).
    backlog: i32,
}

impl Listeners {
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.entries.iter().map(|entry| entry.fd.as_fd())
    }

    /// The inode of each socket, with its name. fstat(2) of an open descriptor does not fail.
    pub(crate) fn inodes(&self) -> impl Iterator<Item = (ino_t, &[u8])> {
        self.with_names().filter_map(|(fd, name)| Some((fstat(fd).ok()?.st_ino, name)))
    }

    /// Descriptors and names, for the report.
    pub(crate) fn numbers_and_names(&self) -> Vec<(RawFd, Vec<u8>)> {
        self.entries.iter().map(|entry| (entry.fd.as_raw_fd(), entry.name.clone())).collect()
    }

    /// Each with its name.
    pub(crate) fn with_names(&self) -> impl Iterator<Item = (BorrowedFd<'_>, &[u8])> {
        self.entries.iter().map(|entry| (entry.fd.as_fd(), entry.name.as_slice()))
    }

    /// All names, for messages.
    pub(crate) fn names(&self) -> Vec<u8> {
        self.with_names().map(|(_, name)| name).collect::<Vec<_>>().join(b", ".as_slice())
    }

    /// The listeners at which connections wait, with their names.
    pub(crate) fn waited_at(&self) -> BTreeMap<ino_t, &[u8]> {
        let entries = self.entries.iter().filter(|entry| entry.takes_connections());
        let mut fds: Vec<_> = entries.clone().map(|entry| PollFd::new(entry.fd.as_fd(), PollFlags::POLLIN)).collect();
        let mut waited_at = BTreeMap::new();
        if matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..)) {
            let has_waiting = |fd: &PollFd| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLIN));
            let entries = entries.zip(&fds).filter(|(_, fd)| has_waiting(fd)).map(|(entry, _)| entry);
            waited_at.extend(entries.filter_map(|entry| Some((fstat(&entry.fd).ok()?.st_ino, entry.name.as_slice()))));
        }
        waited_at
    }

    /// Whether a listener is at standard input.
    pub(crate) fn use_stdin(&self) -> bool {
        // QUIRK: the original compares the text, so `=00` does not count (CLI-631).
        self.entries.iter().any(|entry| entry.fd_text == b"0")
    }
}

impl From<Vec<InheritedListener>> for Listeners {
    fn from(inherited: Vec<InheritedListener>) -> Self {
        Self { entries: inherited.into_iter().map(Listener::from).collect(), files: Vec::new(), backlog: 0 }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.files.iter().for_each(SocketFile::remove);
    }
}
