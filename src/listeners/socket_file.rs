//! The files of our unix sockets, through which clients connect, and what to do when one disappears (`path-gone`). A
//! socket can't get a new file, so the next worker gets a new socket; but a file with a second link can be put back.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libc::ino_t;
use nix::sys::stat::fstat;

use crate::error::Error;
use crate::files::file_id::{FileId, remove_own};
use crate::listeners::bind::{bind_path, check_refused, is_socket};
use crate::listeners::{Listener, Listeners};
use crate::proc::sock_diag::bound_files;
use crate::stderr::say;
use crate::sys;

/// The file of a unix socket of ours.
pub(super) struct SocketFile {
    pub(super) path: PathBuf,
    id: Cell<FileId>,
    /// Whether it has a second link beside it.
    is_kept: Cell<bool>,
    /// The lines about its loss, until it is back.
    said: RefCell<BTreeSet<Vec<u8>>>,
}

/// What a path leads to.
enum There {
    Own,
    Nothing,
    Other,
    /// It can't be seen, but clients may see it.
    Unknown,
}

impl SocketFile {
    pub(super) fn new(path: PathBuf, id: FileId) -> Self {
        Self { path, id: Cell::new(id), is_kept: Cell::new(false), said: RefCell::default() }
    }

    /// The one at `path`, which has just been made.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::new(path.to_owned(), FileId::from(&fs::metadata(path)?)))
    }

    pub(super) fn id(&self) -> FileId {
        self.id.get()
    }

    /// At the end.
    pub(super) fn remove(&self) {
        self.drop_link();
        if let Err(error) = remove_own(&self.path, self.id()) {
            say(error.message());
        }
    }

    fn look(&self) -> There {
        match fs::metadata(&self.path) {
            Ok(there) if FileId::from(&there) == self.id() => There::Own,
            Ok(_) => There::Other,
            Err(error) if error.kind() == io::ErrorKind::NotFound => There::Nothing,
            Err(_) => There::Unknown,
        }
    }

    /// The path of the second link, hidden beside the first.
    fn link(&self) -> Option<PathBuf> {
        let mut name = OsString::from(".");
        name.push(self.path.file_name()?);
        name.push(format!(".{}", std::process::id()));
        Some(self.path.with_file_name(name))
    }

    /// Makes a second link, if possible.
    fn make_link(&self) {
        let Some(link) = self.link().filter(|_| !self.is_kept.get() && matches!(self.look(), There::Own)) else {
            return;
        };
        // An existing one is ours, from before an upgrade, or a killed process's.
        if FileId::of(&link).is_some_and(|id| id != self.id()) && is_socket(&link) && check_refused(&link).is_ok() {
            let _ = fs::remove_file(&link);
        }
        let is_made = fs::hard_link(&self.path, &link).is_ok();
        self.is_kept.set(is_made || FileId::of(&link) == Some(self.id()));
    }

    /// If it can't be removed now, shutdown may remove it.
    fn drop_link(&self) {
        let Some(link) = self.link().filter(|_| self.is_kept.get()) else { return };
        match remove_own(&link, self.id()) {
            Ok(()) => self.is_kept.set(false),
            Err(error) => say(error.message()),
        }
    }

    /// Puts the lost file back, if possible. Whether it is back.
    fn put_back(&self) -> bool {
        let is_back = self.is_kept.get()
            && self.link().is_some_and(|link| fs::hard_link(link, &self.path).is_ok())
            && matches!(self.look(), There::Own);
        if is_back {
            say([b"a worker has removed the socket file ", self.name(), b", it has been put back"].concat());
        }
        is_back
    }

    fn name(&self) -> &[u8] {
        self.path.as_os_str().as_bytes()
    }

    fn say(&self, end: &[u8]) {
        let line = [b"the socket file ", self.name(), end].concat();
        if self.said.borrow_mut().insert(line.clone()) {
            say(line);
        }
    }

    /// Another socket for a path that leads to nothing, or to something unused.
    fn bind(&self, backlog: i32) -> Result<OwnedFd, Error> {
        if is_socket(&self.path) {
            check_refused(&self.path)?;
            fs::remove_file(&self.path).map_err(|error| Error::cannot_unlink(&self.path, error))?;
        }
        bind_path(&self.path, backlog)
    }

    /// Binds the path anew, and replaces the unreachable socket. Reports the result, and returns whether that
    /// succeeded.
    fn rebind(&self, place: BorrowedFd, backlog: i32) -> bool {
        let is_other = match self.look() {
            There::Own | There::Unknown => return false,
            There::Nothing if self.put_back() => return false,
            There::Nothing => false,
            There::Other => true,
        };
        let rebound = self.bind(backlog).and_then(|fd| {
            let made = Self::of(&self.path).map_err(|error| Error::cannot_open(&self.path, error))?;
            sys::put_over(place, &fd).map_err(|errno| {
                made.remove();
                Error::system(&[b"dup2(2) failed:"], errno)
            })?;
            Ok(made.id())
        });
        match rebound {
            Ok(id) => {
                self.drop_link();
                self.id.set(id);
                self.said.take();
                say([b"the socket file ", self.name(), b" is gone, the next worker gets a new one"].concat());
                true
            }
            Err(_) if is_other => {
                self.say(b" now belongs to another process; leaving it alone: no client can connect here");
                false
            }
            Err(error) => {
                self.say(&[b" is gone, and no client can connect: ", error.message().as_slice()].concat());
                false
            }
        }
    }
}

impl Listeners {
    /// Before a start: replaces each socket whose file is gone, at its descriptor, with one that clients can reach.
    /// Running workers keep theirs. Returns the new ones.
    pub(crate) fn rebind(&self) -> Vec<&Listener> {
        let with_file = self.files.iter().filter_map(|file| Some((file, self.of_file(file)?)));
        let rebound = with_file.filter(|(file, listener)| file.rebind(listener.fd.as_fd(), self.backlog));
        rebound.map(|(_, listener)| listener).collect()
    }

    /// The listener whose file it is. None if another one took over its path when both were opened.
    fn of_file(&self, file: &SocketFile) -> Option<&Listener> {
        let is_last =
            self.files.iter().rev().find(|other| other.path == file.path).is_some_and(|last| std::ptr::eq(last, file));
        self.entries.iter().rev().find(|listener| is_last && listener.name == file.name())
    }

    /// Whether there is a file that a worker could remove.
    pub(crate) fn have_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// A worker is about to exit, and may remove files.
    pub(crate) fn keep_files(&self) {
        self.files.iter().for_each(SocketFile::make_link);
    }

    /// Puts back what has been removed since [`Self::keep_files`].
    pub(crate) fn put_files_back(&self) {
        for file in &self.files {
            if file.is_kept.get() && matches!(file.look(), There::Nothing) {
                file.put_back();
            }
        }
    }

    /// The workers that were about to exit have exited.
    pub(crate) fn release_files(&self) {
        self.files.iter().for_each(SocketFile::drop_link);
    }

    /// Reports which files are gone.
    pub(crate) fn tell_lost_files(&self) {
        for file in self.files.iter().filter(|file| self.of_file(file).is_some()) {
            match file.look() {
                There::Own => drop(file.said.take()),
                There::Unknown => {}
                _ if !file.said.borrow().is_empty() => {}
                There::Nothing => file.say(b" is gone: no client can connect until another worker starts"),
                There::Other => file.say(b" now belongs to another process: no client can connect here"),
            }
        }
    }
}

/// Whether a socket was bound to this file. If the kernel doesn't report that, the answer is yes.
pub(super) fn is_bound_to(fd: impl AsFd, file: FileId) -> bool {
    bound_inode(&bound_files(), fd).is_none_or(|bound| bound == short_inode(file))
}

/// Whether another socket was bound to this file, and this one was not.
#[cfg(feature = "cli")]
#[allow(dead_code, reason = "for --take-over alone, which not every system has")]
pub(super) fn is_of_another(fd: impl AsFd, file: FileId) -> bool {
    let (files, inode) = (bound_files(), short_inode(file));
    bound_inode(&files, fd).is_some_and(|bound| bound != inode) && files.values().any(|&bound| bound == inode)
}

fn bound_inode(files: &BTreeMap<ino_t, u32>, fd: impl AsFd) -> Option<u32> {
    files.get(&fstat(fd.as_fd()).ok()?.st_ino).copied()
}

/// As much of it as the kernel reports for a socket's file.
fn short_inode(file: FileId) -> u32 {
    let (_, inode) = file.numbers();
    u32::try_from(inode & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use tempfile::TempDir;

    use super::*;

    fn listening() -> (TempDir, PathBuf, Listeners) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let mut listeners = Listeners::default();
        let fd = UnixListener::bind(&path).unwrap().into();
        listeners.entries.push(Listener::new(path.as_os_str().as_bytes(), fd));
        listeners.files.push(SocketFile::of(&path).unwrap());
        (dir, path, listeners)
    }

    #[test]
    fn a_file_that_is_gone() {
        let (_dir, path, listeners) = listening();
        let old = listeners.entries[0].fd.try_clone().unwrap();
        assert!(listeners.rebind().is_empty());
        fs::remove_file(&path).unwrap();
        assert_eq!(listeners.rebind().len(), 1);
        assert!(listeners.rebind().is_empty());
        let is_same = |fd: &OwnedFd| fstat(fd).unwrap().st_ino == fstat(&listeners.entries[0].fd).unwrap().st_ino;
        assert!(!is_same(&old) && UnixStream::connect(&path).is_ok());
        drop(listeners);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_of_another() {
        let (_dir, path, listeners) = listening();
        fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        assert!(listeners.rebind().is_empty());
        // Its process is gone.
        drop(other);
        assert_eq!(listeners.rebind().len(), 1);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "text").unwrap();
        assert!(listeners.rebind().is_empty());
        drop(listeners);
        assert_eq!(fs::read(&path).unwrap(), b"text");
    }

    #[test]
    fn what_is_removed_while_it_is_kept_is_put_back() {
        let (dir, path, listeners) = listening();
        let entries = || fs::read_dir(dir.path()).unwrap().count();
        for _ in 0..2 {
            listeners.keep_files();
            assert_eq!(entries(), 2);
            fs::remove_file(&path).unwrap();
            listeners.put_files_back();
            assert!(UnixStream::connect(&path).is_ok());
        }
        listeners.release_files();
        assert_eq!(entries(), 1);
        listeners.keep_files();
        fs::remove_file(&path).unwrap();
        drop(listeners);
        assert_eq!(entries(), 0);
    }

    #[test]
    fn a_second_link_of_a_killed_process_gives_way() {
        let (dir, path, listeners) = listening();
        let link = listeners.files[0].link().unwrap();
        drop(UnixListener::bind(&link).unwrap());
        listeners.keep_files();
        assert_eq!(FileId::of(&link), FileId::of(&path));
        listeners.release_files();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// Something that nobody listens on has taken the name: the second link leads to the old socket, and is removed.
    #[test]
    fn a_new_socket_has_no_old_link() {
        let (dir, path, listeners) = listening();
        listeners.keep_files();
        fs::remove_file(&path).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(listeners.rebind().len(), 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn each_loss_is_said_once() {
        let (_dir, path, listeners) = listening();
        let said = || listeners.files[0].said.borrow().len();
        for _ in 0..2 {
            fs::remove_file(&path).unwrap();
            listeners.tell_lost_files();
            listeners.tell_lost_files();
            assert_eq!(said(), 1);
            assert_eq!(listeners.rebind().len(), 1);
            assert_eq!(said(), 0);
        }
    }

    #[test]
    fn of_two_sockets_of_a_path_the_last_is_the_one() {
        let (_dir, path, mut listeners) = listening();
        fs::remove_file(&path).unwrap();
        let fd = UnixListener::bind(&path).unwrap().into();
        listeners.entries.push(Listener::new(path.as_os_str().as_bytes(), fd));
        listeners.files.push(SocketFile::of(&path).unwrap());
        assert!(listeners.rebind().is_empty());
        fs::remove_file(&path).unwrap();
        let rebound: Vec<_> = listeners.rebind().into_iter().map(std::ptr::from_ref).collect();
        assert_eq!(rebound, [std::ptr::from_ref(&listeners.entries[1])]);
        assert!(listeners.files.iter().all(|file| file.said.borrow().is_empty()));
    }

    #[test]
    fn what_cannot_be_seen_is_not_gone() {
        let dir = tempfile::tempdir().unwrap();
        let endless = dir.path().join("link");
        std::os::unix::fs::symlink(&endless, &endless).unwrap();
        let file = SocketFile::new(endless.join("socket"), FileId::of_numbers(1, 1));
        assert!(matches!(file.look(), There::Unknown));
    }
}
