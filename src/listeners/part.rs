//! The listeners in a state: written, read, and taken over.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::listeners::plan::for_listen;
use crate::listeners::socket_file::SocketFile;
use crate::listeners::{Listener, Listeners};
use crate::succession::{Descriptors, Lines, Part};

/// What the next program has to know about the listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListenersPart {
    pub(crate) listeners: Vec<ListenerPart>,
    pub(crate) files: Vec<SocketFilePart>,
    /// Those that stay shut, which has been reported.
    pub(crate) shut: Vec<RawFd>,
}

/// A listener. It survives the exec, as it is never closed on exec (`open` says why).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenerPart {
    pub(crate) fd: RawFd,
    pub(crate) name: Vec<u8>,
    /// The descriptor as `SERVER_STARTER_PORT` spells it.
    pub(crate) fd_text: Vec<u8>,
    /// The service manager's name for it.
    pub(crate) fd_name: Option<Vec<u8>>,
}

/// The file of a unix socket, which is removed at shutdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SocketFilePart {
    pub(crate) path: PathBuf,
    pub(crate) id: FileId,
}

impl Part for ListenersPart {
    fn write(&self, lines: &mut Lines) {
        for ListenerPart { fd, name, fd_text, fd_name } in &self.listeners {
            lines.add("listener", &(*fd, name.clone(), fd_text.clone(), fd_name.clone()));
        }
        for SocketFilePart { path, id } in &self.files {
            let (device, inode) = id.numbers();
            lines.add("socket-file", &(path.as_os_str().as_bytes().to_vec(), device, inode));
        }
        lines.add_all("shut", self.shut.iter().map(|&fd| (fd,)));
    }

    fn read(lines: &Lines) -> Result<Self, Error> {
        let listener = |(fd, name, fd_text, fd_name)| ListenerPart { fd, name, fd_text, fd_name };
        let file = |(path, device, inode)| SocketFilePart {
            path: OsString::from_vec(path).into(),
            id: FileId::of_numbers(device, inode),
        };
        Ok(Self {
            listeners: lines.all("listener")?.into_iter().map(listener).collect(),
            files: lines.all("socket-file")?.into_iter().map(file).collect(),
            shut: lines.values("shut")?,
        })
    }

    fn descriptors(&self) -> Vec<RawFd> {
        self.listeners.iter().map(|listener| listener.fd).collect()
    }
}

impl Listeners {
    /// `shut`: those that stay shut, which has been reported.
    pub(crate) fn part(&self, shut: impl IntoIterator<Item = RawFd>) -> ListenersPart {
        let listeners = self.entries.iter().map(|Listener { name, fd_text, fd_name, fd }| ListenerPart {
            fd: fd.as_raw_fd(),
            name: name.clone(),
            fd_text: fd_text.clone(),
            fd_name: fd_name.clone(),
        });
        let files = self.files.iter().map(|file| SocketFilePart { path: file.path.clone(), id: file.id() });
        ListenersPart { listeners: listeners.collect(), files: files.collect(), shut: shut.into_iter().collect() }
    }

    /// Takes over the descriptors. `backlog` is the option's.
    pub(crate) fn take_over(part: &ListenersPart, backlog: i32, descriptors: &mut Descriptors) -> Self {
        let entries = part.listeners.iter().cloned().map(|ListenerPart { fd, name, fd_text, fd_name }| Listener {
            name,
            fd_text,
            fd_name,
            fd: descriptors.take(fd),
        });
        let entries = entries.collect();
        let files = part.files.iter().cloned().map(|SocketFilePart { path, id }| SocketFile::new(path, id));
        Self { entries, files: files.collect(), backlog: for_listen(backlog) }
    }
}
