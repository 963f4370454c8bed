//! The listeners in the state that the next program takes over: written and read.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::errno::Errno;

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::listeners::plan::for_listen;
use crate::listeners::{Listener, Listeners, SocketFile};
use crate::state::State;
use crate::sys;

/// Descriptor, name, the descriptor as `SERVER_STARTER_PORT` spells it, the service manager's name.
type SavedListener = (RawFd, Vec<u8>, Vec<u8>, Option<Vec<u8>>);

/// Path, device, inode.
type SavedFile = (Vec<u8>, u64, u64);

impl Listeners {
    pub(crate) fn save(&self, state: &mut State) {
        for Listener { name, fd_text, fd_name, fd } in &self.entries {
            state.add("listener", &(fd.as_raw_fd(), name.clone(), fd_text.clone(), fd_name.clone()));
        }
        for SocketFile { path, id } in &self.files {
            let (device, inode) = id.numbers();
            state.add("socket-file", &(path.as_os_str().as_bytes().to_vec(), device, inode));
        }
    }
}

/// The listeners in a state.
pub(crate) struct Saved {
    listeners: Vec<SavedListener>,
    files: Vec<SavedFile>,
}

impl Saved {
    pub(crate) fn read(state: &State) -> Result<Self, Error> {
        Ok(Self { listeners: state.all("listener")?, files: state.all("socket-file")? })
    }

    /// Takes the descriptors over, which the exec has left open (`open` says why). `backlog`: of the options.
    pub(crate) fn take(self, backlog: i32) -> Result<Listeners, Error> {
        // If one is missing, nothing is taken, and no socket file is removed.
        if let Some((fd, name, ..)) = self.listeners.iter().find(|(fd, ..)| !sys::is_open(*fd)) {
            let sentence = [b"the listener ", name.as_slice(), b" is not at file descriptor "].concat();
            return Err(Error::system(&[&sentence, fd.to_string().as_bytes(), b":"], Errno::EBADF));
        }
        let mut entries = Vec::new();
        for (fd, name, fd_text, fd_name) in self.listeners {
            // SAFETY: the previous program has left it open for this one, and each is taken once.
            #[expect(unsafe_code)]
            let fd = unsafe { sys::take(fd) }.map_err(|errno| Error::system(&[&name, b":"], errno))?;
            entries.push(Listener { name, fd_text, fd_name, fd });
        }
        let file = |(path, device, inode)| SocketFile {
            path: OsString::from_vec(path).into(),
            id: FileId::of_numbers(device, inode),
        };
        Ok(Listeners { entries, files: self.files.into_iter().map(file).collect(), backlog: for_listen(backlog) })
    }
}
