//! The listeners: bound once, handed to every worker, never changed after that. The removal of our socket files.

mod address;
#[cfg(feature = "cli")]
#[allow(dead_code, reason = "for --take-over alone, which not every system has")]
pub(crate) mod adopted;
mod bind;
mod handover;
pub(crate) mod inherited;
mod plan;
mod port_spec;
mod revival;
mod saved;
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

pub(crate) use plan::ListenPlan;
pub use port_spec::{Host, PortSpec, TargetFd};
pub(crate) use revival::Shut;
pub(crate) use saved::Saved;
pub(crate) use stored::Stored;

/// The descriptor that the script of the original takes: the lowest that is free at launch. It is kept free of
/// listeners, so that they get the numbers which they get there, and configurations name (S11).
#[derive(Default)]
pub(crate) struct Place(Option<OwnedFd>);

impl Place {
    /// Opens what stands for the script, and the standard descriptors. If one of those is closed, the script is there.
    /// Where listeners begin at 3, as systemd has it, there is no such place.
    pub(crate) fn of_script(options: &Options) -> Self {
        let begin_at_3 = options.listen_fds || options.from_systemd;
        if sys::open_standard_descriptors() > 0 || begin_at_3 {
            return Self(None);
        }
        Self(File::open("/dev/null").ok().map(Into::into))
    }

    /// Leaves the place if it is `number`.
    fn leave(&mut self, number: RawFd) {
        self.0.take_if(|fd| fd.as_raw_fd() == number);
    }
}

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
    /// For listen(2).
    backlog: i32,
}

impl Listeners {
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.entries.iter().map(|entry| entry.fd.as_fd())
    }

    /// The names of all, for people.
    pub(crate) fn names(&self) -> Vec<u8> {
        self.entries.iter().map(|entry| entry.name.as_slice()).collect::<Vec<_>>().join(b", ".as_slice())
    }

    /// Whether a listener sits on standard input.
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
