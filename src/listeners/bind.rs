//! Opens a listener at an address. It replaces only a stale socket file.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::{Mode, umask};
use nix::unistd::unlink;

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::listeners::address::Address;
use crate::proc::unix_sockets;
use crate::stderr::say;
use crate::sys;

/// What a `--backlog` that isn't positive means for a unix socket: the default of Perl's `IO::Socket::UNIX` (S16).
const UNIX_BACKLOG: i32 = 5;

/// socket(2), options, bind(2), for TCP listen(2) (S10). `name`: what messages call it.
pub(super) fn bind_port(name: &[u8], address: &Address, backlog: i32) -> Result<OwnedFd, Error> {
    let fd = address.socket().map_err(cannot_create)?;
    address.bind(&fd).map_err(|errno| Error::system(&[b"failed to bind to ", name, b":"], errno))?;
    if address.takes_connections() {
        sys::listen(&fd, backlog).map_err(|errno| Error::system(&[b"listen(2) failed:"], errno))?;
    }
    Ok(fd)
}

/// Makes sure that no process listens on a socket at `path`: replacing it would cut off all its clients
/// (`live-socket`).
pub(super) fn check_not_live(path: &Path) -> Result<(), Error> {
    if !is_socket(path) {
        return Ok(());
    }
    if is_listed(path) {
        return Err(cannot_listen(path, Errno::EADDRINUSE));
    }
    check_refused(path)
}

/// Makes sure that a connection to a socket, which is closed at once, is refused. Unlike the list, this also finds
/// sockets of other network namespaces, such as another container's that shares the directory.
pub(super) fn check_refused(path: &Path) -> Result<(), Error> {
    for kind in [SockType::Stream, SockType::Datagram, SockType::SeqPacket] {
        match connect(path, kind) {
            // Stale, or gone in the meantime.
            Err(Errno::ECONNREFUSED | Errno::ENOENT) => return Ok(()),
            // A socket of another type.
            Err(Errno::EPROTOTYPE) => {}
            Ok(()) | Err(Errno::EAGAIN) => break,
            Err(errno) => return Err(cannot_listen(path, errno)),
        }
    }
    Err(cannot_listen(path, Errno::EADDRINUSE))
}

/// Whether the kernel lists a socket that was bound to this file and can be connected to. Unlike a connection, this
/// disturbs nobody: some servers don't survive a client that disconnects at once. A socket that was bound by a relative
/// path is not found: the directory is not known.
fn is_listed(path: &Path) -> bool {
    let (Some(id), Some(name)) = (FileId::of(path), path.file_name()) else { return false };
    unix_sockets().any(|socket| {
        // Types other than 1 need not listen. An absolute name begins with its first slash.
        let Some(start) = socket.name.iter().position(|&byte| byte == b'/') else { return false };
        let bound_to = Path::new(OsStr::from_bytes(&socket.name[start..]));
        (socket.is_listening || socket.kind == 2)
            && bound_to.file_name() == Some(name)
            && FileId::of(bound_to) == Some(id)
    })
}

fn connect(path: &Path, kind: SockType) -> Result<(), Errno> {
    let socket = socket(AddressFamily::Unix, kind, SockFlag::empty(), None)?;
    fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    sys::connect_unix(&socket, path.as_os_str().as_bytes())
}

pub(super) fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Replaces a stale socket. `is_own`: the socket that is there was made by this start.
pub(super) fn listen_to_path(path: &Path, is_own: bool, backlog: i32) -> Result<OwnedFd, Error> {
    let name = path.as_os_str().as_bytes();
    // Only a stale socket is removed (U2, `path-not-socket`). A symbolic link to one counts as one: the link is
    // removed.
    if is_socket(path) {
        if !is_own {
            check_not_live(path)?;
        }
        say([b"removing existing socket file:", name].concat());
        unlink(path).map_err(|errno| Error::system(&[b"failed to remove existing socket file:", name, b":"], errno))?;
    }
    bind_path(path, backlog)
}

/// For a path without a file.
pub(super) fn bind_path(path: &Path, backlog: i32) -> Result<OwnedFd, Error> {
    let failed = |errno| cannot_listen(path, errno);
    let address = Address::of_path(path);
    let fd = address.socket().map_err(failed)?;
    // Everybody may connect, whatever the umask (U9).
    let saved = umask(Mode::empty());
    let bound = address.bind(&fd);
    umask(saved);
    bound.map_err(failed)?;
    if let Err(errno) = sys::listen(&fd, if backlog > 0 { backlog } else { UNIX_BACKLOG }) {
        let _ = unlink(path);
        return Err(failed(errno));
    }
    Ok(fd)
}

pub(super) fn cannot_create(errno: Errno) -> Error {
    Error::system(&[b"failed to create socket:"], errno)
}

pub(super) fn cannot_listen(path: &Path, error: impl Into<io::Error>) -> Error {
    Error::system(&[b"failed to listen to file ", path.as_os_str().as_bytes(), b":"], error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    #[test]
    fn a_socket_is_live_as_long_as_it_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a socket");
        assert_eq!(check_not_live(&path), Ok(()));
        let listener = UnixListener::bind(&path).unwrap();
        assert!(is_listed(&path));
        assert_eq!(check_not_live(&path).unwrap_err().exit_code(), 98);
        drop(listener);
        assert_eq!(check_not_live(&path), Ok(()));
        std::fs::remove_file(&path).unwrap();
        let _datagrams = UnixDatagram::bind(&path).unwrap();
        assert_eq!(check_not_live(&path).unwrap_err().exit_code(), 98);
    }

    #[test]
    fn a_connection_tells_where_the_list_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let _datagrams = UnixDatagram::bind(&path).unwrap();
        assert_eq!(connect(&path, SockType::Stream), Err(Errno::EPROTOTYPE));
        assert_eq!(connect(&path, SockType::Datagram), Ok(()));
        assert_eq!(check_refused(&path).unwrap_err().exit_code(), 98);
    }
}
