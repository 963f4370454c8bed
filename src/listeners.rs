//! The listeners: bound once, handed to every worker, never changed after that. The removal of our socket files.

mod bind;
mod handover;
pub(crate) mod inherited;
mod plan;
mod port_spec;

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::unlink;

use crate::files::file_id::FileId;
use crate::listeners::inherited::InheritedListener;

pub(crate) use plan::ListenPlan;
pub use port_spec::{Host, PortSpec, TargetFd};

/// A socket that listens, or of UDP one that is bound.
struct Listener {
    name: Vec<u8>,
    /// Its descriptor as `SERVER_STARTER_PORT` has it.
    fd_text: Vec<u8>,
    /// The manager's name for it, if it was inherited.
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

/// The open listeners. Dropping them removes their socket files, unless they belong to another process by now.
#[derive(Default)]
pub(crate) struct Listeners {
    entries: Vec<Listener>,
    files: Vec<SocketFile>,
}

impl Listeners {
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.entries.iter().map(|entry| entry.fd.as_fd())
    }

    /// Whether a listener sits on standard input.
    pub(crate) fn use_stdin(&self) -> bool {
        // QUIRK: the original looks at the text, so `=00` does not count (CLI-631).
        self.entries.iter().any(|entry| entry.fd_text == b"0")
    }
}

impl From<Vec<InheritedListener>> for Listeners {
    fn from(inherited: Vec<InheritedListener>) -> Self {
        Self { entries: inherited.into_iter().map(Listener::from).collect(), files: Vec::new() }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        for file in &self.files {
            if FileId::of(&file.path).is_some_and(|id| id == file.id) {
                let _ = unlink(&file.path);
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
    fn of(path: &Path) -> Option<Self> {
        FileId::of(path).map(|id| Self { path: path.to_owned(), id })
    }
}
