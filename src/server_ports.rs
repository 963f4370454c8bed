//! The worker's side: from `SERVER_STARTER_PORT` to sockets. It depends only on the standard library, and on no other
//! file of this crate: without features it is the whole crate. So it has its own small check of what a socket is.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

/// A listener that the superdaemon has handed over.
#[derive(Debug)]
#[non_exhaustive]
pub struct ServerPort {
    /// Its key in `SERVER_STARTER_PORT`: what was given to `--port` (`8080`, `127.0.0.1:8080`, `[::1]:8080`) or
    /// `--path`.
    pub name: OsString,
    /// The open socket. It is in blocking mode, and shared with the superdaemon and the other workers: its settings
    /// apply to all of them.
    pub socket: ServerSocket,
}

/// A socket, by the type that the kernel reports.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerSocket {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpListener),
    /// UDP over IPv4 or IPv6.
    Udp(UdpSocket),
    /// A unix stream socket.
    Unix(UnixListener),
}

/// Why there are no sockets. `Debug` prints the same text as `Display`, as a `main` that returns it shows the former.
#[non_exhaustive]
pub enum ServerPortsError {
    /// `SERVER_STARTER_PORT` is not set: the program was not started by a superdaemon. (One without listeners sets it
    /// to the empty text, which is not an error.)
    NotSet,
    /// An entry is not of the form `NAME=FD`.
    Malformed(OsString),
    /// The entry with this name has the descriptor of an earlier entry, and a descriptor can have only one owner.
    NamedTwice(OsString),
    /// The descriptor of the entry with this name is not an open socket of a known type.
    NotASocket(OsString, io::Error),
    /// The sockets were taken by an earlier call.
    AlreadyTaken,
}

impl fmt::Display for ServerPortsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSet => write!(f, "not started by start_server (SERVER_STARTER_PORT is not set)"),
            Self::Malformed(entry) => {
                write!(f, "SERVER_STARTER_PORT has an entry that is not NAME=FD: {}", entry.display())
            }
            Self::NamedTwice(name) => write!(f, "the listener {} has the descriptor of another one", name.display()),
            Self::NotASocket(name, error) => write!(f, "the listener {} can't be used: {error}", name.display()),
            Self::AlreadyTaken => write!(f, "the listeners have been taken already"),
        }
    }
}

impl fmt::Debug for ServerPortsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ServerPortsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotASocket(_, error) => Some(error),
            _ => None,
        }
    }
}

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The listeners of this worker, in the order of the superdaemon's options: all `--port`, then all `--path`. An option
/// given twice appears twice. Empty if the superdaemon has no listeners.
///
/// The caller owns the sockets, so this works only once in a process. The descriptors are not changed: programs
/// executed later inherit them.
///
/// # Errors
/// See [`ServerPortsError`]. After an error nothing has been taken.
///
/// ```no_run
/// use server_starter::{ServerSocket, server_ports};
///
/// for port in server_ports()? {
///     match port.socket {
///         ServerSocket::Tcp(listener) => println!("{} is {}", port.name.display(), listener.local_addr()?),
///         other => println!("{} is {other:?}", port.name.display()),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A program that also runs without a superdaemon recognises that by [`ServerPortsError::NotSet`]:
///
/// ```
/// use server_starter::{ServerPortsError, server_ports};
///
/// match server_ports() {
///     Err(ServerPortsError::NotSet) => println!("not under start_server: binding a port of my own"),
///     Err(error) => panic!("{error}"),
///     Ok(ports) => println!("{} listeners", ports.len()),
/// }
/// ```
pub fn server_ports() -> Result<Vec<ServerPort>, ServerPortsError> {
    let variable = env::var_os("SERVER_STARTER_PORT").ok_or(ServerPortsError::NotSet)?;
    let entries = parse(&variable)?;
    let mut kinds = Vec::with_capacity(entries.len());
    for (name, fd) in &entries {
        kinds.push(Kind::of(*fd).map_err(|error| ServerPortsError::NotASocket(name.clone(), error))?);
    }
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(ServerPortsError::AlreadyTaken);
    }
    Ok(entries.into_iter().zip(kinds).map(|((name, fd), kind)| ServerPort { name, socket: kind.socket(fd) }).collect())
}

/// The entries, each split at its last `=`, since a path may contain one.
fn parse(variable: &OsStr) -> Result<Vec<(OsString, RawFd)>, ServerPortsError> {
    let entries = variable.as_bytes().split(|&byte| byte == b';').filter(|entry| !entry.is_empty());
    let parse = |entry: &[u8]| {
        let equals = entry.iter().rposition(|&byte| byte == b'=')?;
        let fd: u16 = str::from_utf8(&entry[equals + 1..]).ok()?.parse().ok()?;
        Some((OsStr::from_bytes(&entry[..equals]).to_owned(), RawFd::from(fd)))
    };
    let mut parsed: Vec<(OsString, RawFd)> = Vec::new();
    for entry in entries {
        let (name, fd) = parse(entry).ok_or_else(|| ServerPortsError::Malformed(OsStr::from_bytes(entry).into()))?;
        if parsed.iter().any(|&(_, other)| other == fd) {
            return Err(ServerPortsError::NamedTwice(name));
        }
        parsed.push((name, fd));
    }
    Ok(parsed)
}

/// The type of a socket.
#[derive(Clone, Copy)]
enum Kind {
    Tcp,
    Udp,
    Unix,
}

impl Kind {
    /// Asks the kernel about a duplicate, since the number may not be open at all.
    fn of(fd: RawFd) -> io::Result<Self> {
        #[expect(unsafe_code)]
        // SAFETY: the number is not negative, and is only duplicated, which fails if it is not open.
        let duplicate = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
        let unix = UnixListener::from(duplicate);
        if unix.local_addr().is_ok() {
            return Ok(Self::Unix);
        }
        let tcp = TcpStream::from(OwnedFd::from(unix));
        tcp.local_addr()?;
        // Only TCP sockets have TCP_NODELAY.
        Ok(if tcp.nodelay().is_ok() { Self::Tcp } else { Self::Udp })
    }

    fn socket(self, fd: RawFd) -> ServerSocket {
        #[expect(unsafe_code)]
        // SAFETY: the superdaemon opened the descriptor for this program to own. It is taken only once, as there is one
        // call that takes (`TAKEN`), and no number is there twice (`parse`).
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        match self {
            Self::Tcp => ServerSocket::Tcp(fd.into()),
            Self::Udp => ServerSocket::Udp(fd.into()),
            Self::Unix => ServerSocket::Unix(fd.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn entries(variable: &str) -> Vec<(String, RawFd)> {
        let entries = parse(OsStr::new(variable)).unwrap();
        entries.into_iter().map(|(name, fd)| (name.into_string().unwrap(), fd)).collect()
    }

    #[test]
    fn entries_keep_their_order_and_their_duplicates() {
        let expected = [("80", 3), ("[::1]:80", 5), ("80", 4), ("a=b.sock", 6)].map(|(name, fd)| (name.to_owned(), fd));
        assert_eq!(entries("80=3;[::1]:80=5;80=4;a=b.sock=6"), expected);
        assert_eq!(entries("80=007"), [("80".to_owned(), 7)]);
        assert_eq!(entries(""), []);
    }

    #[test]
    fn what_is_no_entry() {
        for variable in ["80", "80=", "80=x", "80=-1", "80=3;81"] {
            assert!(matches!(parse(OsStr::new(variable)), Err(ServerPortsError::Malformed(_))), "{variable:?}");
        }
    }

    #[test]
    fn a_descriptor_has_one_owner() {
        let error = parse(OsStr::new("80=9;81=10;82=09")).unwrap_err();
        assert_eq!(error.to_string(), "the listener 82 has the descriptor of another one");
    }

    #[test]
    fn the_kernel_tells_the_type() {
        let dir = tempfile::tempdir().unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let unix = UnixListener::bind(dir.path().join("socket")).unwrap();
        let file = std::fs::File::open(dir.path()).unwrap();
        assert!(matches!(Kind::of(tcp.as_raw_fd()), Ok(Kind::Tcp)));
        assert!(matches!(Kind::of(udp.as_raw_fd()), Ok(Kind::Udp)));
        assert!(matches!(Kind::of(unix.as_raw_fd()), Ok(Kind::Unix)));
        assert!(Kind::of(file.as_raw_fd()).is_err());
        assert!(Kind::of(65535).is_err());
    }

    #[test]
    fn whatever_the_text_is() {
        crate::random_texts::each_damaged(&[b"80=3", b"127.0.0.1:80=4;[::1]:80=5;/run/a=b.sock=6"], |text| {
            if let Ok(entries) = parse(OsStr::from_bytes(text)) {
                assert!(entries.iter().all(|&(_, fd)| fd >= 0), "{entries:?}");
            }
        });
    }
}
