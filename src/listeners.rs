//! The listeners: bound once, then handed to every worker and never changed. Owns the removal of our socket files.

mod address;
#[cfg(feature = "cli")]
#[allow(dead_code, reason = "for --take-over alone, which not every system has")]
pub(crate) mod adopted;
mod bind;
mod export;
pub(crate) mod inherited;
mod open;
mod part;
mod plan;
mod port_spec;
mod revival;
mod stored;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::files::file_id::{FileId, remove_own};
use crate::listeners::inherited::InheritedListener;
use crate::options::Options;
use crate::stderr::say;
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

/// The descriptor at which Perl has the original's script open: the lowest one free at launch. No listener is put
/// there, so that listeners get the same numbers as with the original: configurations rely on them (S11).
#[derive(Default)]
pub(crate) struct Place(Option<OwnedFd>);

impl Place {
    /// Opens a stand-in for the script, and the standard descriptors that are closed. If one of those was closed, the
    /// original's script is there, and no other number is taken. Nor is one where listeners begin at 3, as systemd's
    /// do.
    pub(crate) fn of_script(options: &Options) -> Self {
        let begin_at_3 = options.listen_fds || options.from_systemd;
        if sys::open_standard_descriptors() > 0 || begin_at_3 {
            return Self(None);
        }
        Self(File::open("/dev/null").ok().map(Into::into))
    }

    /// Gives the place up if it is `number`.
    fn leave(&mut self, number: RawFd) {
        self.0.take_if(|fd| fd.as_raw_fd() == number);
    }
}

/// A listening socket, or a bound UDP socket.
struct Listener {
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

    /// Each with its name.
    pub(crate) fn with_names(&self) -> impl Iterator<Item = (BorrowedFd<'_>, &[u8])> {
        self.entries.iter().map(|entry| (entry.fd.as_fd(), entry.name.as_slice()))
    }

    /// All names, for messages.
    pub(crate) fn names(&self) -> Vec<u8> {
        self.entries.iter().map(|entry| entry.name.as_slice()).collect::<Vec<_>>().join(b", ".as_slice())
    }

    /// Whether a listener is at standard input.
    pub(crate) fn use_stdin(&self) -> bool {
        // QUIRK: the original looks at the text, so `=00` does not count (CLI-631).
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
        for file in &self.files {
            if let Err(error) = remove_own(&file.path, file.id) {
                say(error.message());
            }
        }
    }
}

/// The file of a unix socket of ours.
struct SocketFile {
    path: PathBuf,
    id: FileId,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), id: FileId::from(&fs::metadata(path)?) })
    }
}
