//! The system calls that make a listener.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, setsockopt, socket, sockopt};
use nix::sys::stat::{Mode, umask};
use nix::unistd::unlink;

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::listeners::port_spec::{Host, PortSpec};
use crate::proc::unix_sockets;
use crate::stderr::say;
use crate::sys;

/// What `--backlog` means to a unix socket where it isn't positive: the default of Perl's `IO::Socket::UNIX` (S16).
const UNIX_BACKLOG: i32 = 5;

/// socket(2), `SO_REUSEADDR`, for IPv6 `IPV6_V6ONLY`, bind(2), for TCP listen(2) (S10). The options cannot fail the
/// start (S8).
pub(super) fn bind_port(port: &PortSpec, backlog: i32) -> Result<OwnedFd, Error> {
    let family = if matches!(port.host, Host::V6(_)) { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let kind = if port.is_udp { SockType::Datagram } else { SockType::Stream };
    let open = || {
        // No close-on-exec: no other program than workers is started from here on.
        let fd = socket(family, kind, SockFlag::empty(), None).map_err(cannot_create)?;
        let _ = setsockopt(&fd, sockopt::ReuseAddr, &true);
        Ok::<_, Error>(fd)
    };
    let failed = |errno| Error::system(&[b"failed to bind to ", &port.name, b":"], errno);
    let fd = match &port.host {
        Host::V6(address) => {
            let fd = open()?;
            let _ = setsockopt(&fd, sockopt::Ipv6V6Only, &true);
            let address = SockaddrIn6::from(SocketAddrV6::new(*address, port.port, 0, 0));
            bind(fd.as_raw_fd(), &address).map_err(failed)?;
            fd
        }
        host => {
            let address = match host {
                Host::Named(name) => resolve(name)?,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            let fd = open()?;
            bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(address, port.port))).map_err(failed)?;
            fd
        }
    };
    if !port.is_udp {
        sys::listen(&fd, backlog).map_err(|errno| Error::system(&[b"listen(2) failed:"], errno))?;
    }
    Ok(fd)
}

pub(super) fn resolve(name: &[u8]) -> Result<Ipv4Addr, Error> {
    // What is plainly an address needs no resolver, which would read its files first. The other forms (S7) are its own.
    if let Some(address) = str::from_utf8(name).ok().and_then(|text| text.parse().ok()) {
        return Ok(address);
    }
    sys::gethostbyname(&sys::c_string(name))
        .map_err(|errno| Error::System { sentence: [b"failed to resolve host:", name, b":"].concat(), errno })
}

/// Makes sure that no socket is there which a process listens to: it would lose all its clients (`live-socket`).
pub(super) fn check_not_live(path: &Path) -> Result<(), Error> {
    if !is_socket(path) {
        return Ok(());
    }
    if is_listed(path) {
        return Err(cannot_listen(path, Errno::EADDRINUSE));
    }
    // The process may be in another network namespace, as in another container that shares the directory. So a
    // connection tells, which is closed at once.
    for kind in [SockType::Stream, SockType::Datagram, SockType::SeqPacket] {
        match connect(path, kind) {
            // Stale, or gone meanwhile.
            Err(Errno::ECONNREFUSED | Errno::ENOENT) => return Ok(()),
            // A socket of another type.
            Err(Errno::EPROTOTYPE) => {}
            Ok(()) | Err(Errno::EAGAIN) => break,
            Err(errno) => return Err(cannot_listen(path, errno)),
        }
    }
    Err(cannot_listen(path, Errno::EADDRINUSE))
}

/// Whether the kernel lists a socket that was bound to this file and can be connected to. That disturbs nothing: there
/// are servers that don't survive a client which leaves at once. A relative name is relative to an unknown directory,
/// and tells nothing.
fn is_listed(path: &Path) -> bool {
    let (Some(id), Some(name)) = (FileId::of(path), path.file_name()) else { return false };
    unix_sockets().any(|socket| {
        // Types but 1 need not listen. An absolute name begins with its first slash.
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

/// `is_own`: whether the socket that is there is one of this start.
pub(super) fn listen_to_path(path: &Path, is_own: bool, backlog: i32) -> Result<OwnedFd, Error> {
    let name = path.as_os_str().as_bytes();
    // Only a stale socket is removed (U2, `path-not-socket`). A symbolic link to one counts: it is the link that goes.
    if is_socket(path) {
        if !is_own {
            check_not_live(path)?;
        }
        say([b"removing existing socket file:", name].concat());
        unlink(path).map_err(|errno| Error::system(&[b"failed to remove existing socket file:", name, b":"], errno))?;
    }
    let failed = |errno| cannot_listen(path, errno);
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).map_err(failed)?;
    // Everybody may connect, whatever the umask (U9).
    let saved = umask(Mode::empty());
    let bound = sys::bind_unix(&fd, name);
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
    }
}
