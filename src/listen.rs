//! The listeners: bound once, handed to every worker, never changed after that. The text of `SERVER_STARTER_PORT`, and the
//! removal of our socket files.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, setsockopt, socket, sockopt};
use nix::sys::stat::{Mode, umask};
use nix::unistd::unlink;

use crate::error::Error;
use crate::file_id::FileId;
use crate::port_spec::{Host, PortSpec};
use crate::stderr::say;
use crate::sys::{self, CloseOnExec};

/// What `--backlog=0` stands for: Linux's `SOMAXCONN`, whatever the C library at hand was built with (S16).
const DEFAULT_BACKLOG: i32 = 4096;

/// What `--backlog` means to a unix socket where it isn't positive: the default of Perl's `IO::Socket::UNIX` (S16).
const UNIX_BACKLOG: i32 = 5;

/// The longest `NAME=VALUE` that Linux lets a program have, with its NUL (`MAX_ARG_STRLEN`).
const LONGEST_VARIABLE: usize = 32 * 4096;

/// What to listen to, checked as far as that goes without opening anything.
pub(crate) struct ListenPlan<'a> {
    ports: Vec<PortSpec>,
    paths: &'a [PathBuf],
    backlog: i32,
    /// The descriptors that ports are wanted at.
    targets: BTreeSet<RawFd>,
}

impl<'a> ListenPlan<'a> {
    /// Parses all ports, so that a mistake in the last one is found before the first one is bound.
    pub(crate) fn new(ports: &[OsString], paths: &'a [PathBuf], backlog: i32) -> Result<Self, Error> {
        let ports = ports.iter().map(|port| PortSpec::parse(port.as_bytes())).collect::<Result<Vec<_>, _>>()?;
        for path in paths {
            match path.as_os_str().len() {
                1..=sys::LONGEST_SOCKET_PATH => {}
                0 => return Err(cannot_listen(path, Errno::ENOENT)),
                _ => return Err(cannot_listen(path, Errno::ENAMETOOLONG)),
            }
        }
        let mut plan = Self {
            ports,
            paths,
            backlog: if backlog == 0 { DEFAULT_BACKLOG } else { backlog },
            targets: BTreeSet::new(),
        };
        plan.collect_targets()?;
        plan.check_variable()?;
        Ok(plan)
    }

    /// Each descriptor can hold one socket (`fd-clash`).
    fn collect_targets(&mut self) -> Result<(), Error> {
        for target in self.ports.iter().filter_map(|port| port.target.as_ref()) {
            if !self.targets.insert(target.number) {
                return Err(Error::rule(&[b"file descriptor ", &target.text, b" is wanted more than once"]));
            }
        }
        Ok(())
    }

    /// The variable that names the listeners must fit (`env-too-big`). Counted with the descriptors they get if none but
    /// the standard ones are open.
    fn check_variable(&self) -> Result<(), Error> {
        let names = self.ports.iter().map(|port| port.name.len());
        let names = names.chain(self.paths.iter().map(|path| path.as_os_str().len()));
        // Each with its `=` and the `;` in front of it, which the first one does not have.
        let entries: usize = names.zip(3..).map(|(name, fd): (usize, usize)| name + 2 + fd.to_string().len()).sum();
        check_length(entries.saturating_sub(1))
    }

    /// Moves `fd` to where neither the numbers that the listeners will get nor those they are wanted at reach it.
    pub(crate) fn keep_clear(&self, fd: OwnedFd) -> Result<OwnedFd, Errno> {
        let own = fd.as_raw_fd();
        let is_free = |fd: RawFd| (fd == own || !sys::is_open(fd)) && !self.targets.contains(&fd);
        let mut numbers = (3..).filter(|&fd| is_free(fd)).skip(self.ports.len() + self.paths.len());
        let clear = numbers.next().unwrap_or(own);
        if clear == own { Ok(fd) } else { sys::move_above(fd, clear, CloseOnExec::Yes) }
    }

    /// Binds all of it, up to the first error: the ports in their order, then the paths in theirs (S5).
    pub(crate) fn listen(&self, listeners: &mut Listeners) -> Result<(), Error> {
        for port in &self.ports {
            listeners.entries.push(self.listen_to_port(port)?);
        }
        for path in self.paths {
            let fd = self.open_at(|| listen_to_path(path, self.backlog), None)?;
            listeners.files.extend(SocketFile::of(path));
            listeners.entries.push(Listener::new(path.as_os_str().as_bytes(), fd));
        }
        check_length(listeners.variable().len())
    }

    fn listen_to_port(&self, port: &PortSpec) -> Result<Listener, Error> {
        let target = port.target.as_ref();
        let fd = self.open_at(|| bind_port(port, self.backlog), target.map(|target| target.number))?;
        let Some(target) = target else {
            return Ok(Listener::new(&port.name, fd));
        };
        let fd = sys::move_to(fd, target.number)
            .map_err(|errno| Error::system(&[b"dup2(2) failed(", &target.text, b"): "], errno))?;
        say([b"socket is duplicated to file descriptor ", target.text.as_slice()].concat());
        Ok(Listener { name: port.name.clone(), fd_text: target.text.clone(), _fd: fd })
    }

    /// Opens a socket; where it lands on a descriptor that another port is wanted at, it goes to the next one free.
    fn open_at(&self, open: impl FnOnce() -> Result<OwnedFd, Error>, own: Option<RawFd>) -> Result<OwnedFd, Error> {
        let mut fd = open()?;
        while self.targets.contains(&fd.as_raw_fd()) && own != Some(fd.as_raw_fd()) {
            let above = fd.as_raw_fd() + 1;
            fd = sys::move_above(fd, above, CloseOnExec::No)
                .map_err(|errno| Error::system(&[b"failed to create socket:"], errno))?;
        }
        Ok(fd)
    }
}

/// A socket that listens, or of UDP one that is bound.
struct Listener {
    name: Vec<u8>,
    /// Its descriptor as `SERVER_STARTER_PORT` has it.
    fd_text: Vec<u8>,
    /// Keeps it open.
    _fd: OwnedFd,
}

impl Listener {
    fn new(name: &[u8], fd: OwnedFd) -> Self {
        Self { name: name.to_vec(), fd_text: fd.as_raw_fd().to_string().into(), _fd: fd }
    }
}

/// The open listeners. Dropping them removes their socket files, unless they are somebody else's by now.
#[derive(Default)]
pub(crate) struct Listeners {
    entries: Vec<Listener>,
    files: Vec<SocketFile>,
}

impl Listeners {
    /// The value of `SERVER_STARTER_PORT`: `NAME=FD`, joined by `;`. Nothing in a name is escaped (U7).
    pub(crate) fn variable(&self) -> Vec<u8> {
        let entries = self.entries.iter().map(|entry| [&entry.name, b"=".as_slice(), &entry.fd_text].concat());
        entries.collect::<Vec<_>>().join(b";".as_slice())
    }

    /// Whether a listener sits on standard input.
    pub(crate) fn use_stdin(&self) -> bool {
        // QUIRK: the original looks at the text, so `=00` does not count (CLI-631).
        self.entries.iter().any(|entry| entry.fd_text == b"0")
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

/// socket(2), `SO_REUSEADDR`, for IPv6 `IPV6_V6ONLY`, bind(2), for TCP listen(2) (S10). The options cannot fail the start (S8).
fn bind_port(port: &PortSpec, backlog: i32) -> Result<OwnedFd, Error> {
    let family = if matches!(port.host, Host::V6(_)) { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let kind = if port.is_udp { SockType::Datagram } else { SockType::Stream };
    let open = || {
        // No close-on-exec: no other program than workers is started from here on.
        let fd = socket(family, kind, SockFlag::empty(), None)
            .map_err(|errno| Error::system(&[b"failed to create socket:"], errno))?;
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
                Host::Named(name) => sys::gethostbyname(&sys::c_string(name)).map_err(|errno| Error::System {
                    sentence: [b"failed to resolve host:", name.as_slice(), b":"].concat(),
                    errno,
                })?,
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

fn listen_to_path(path: &Path, backlog: i32) -> Result<OwnedFd, Error> {
    let name = path.as_os_str().as_bytes();
    // Only a socket is removed, a stale one in most cases (U2, `path-not-socket`). A symbolic link to one counts: it is the
    // link that goes.
    if fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
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

fn cannot_listen(path: &Path, errno: Errno) -> Error {
    Error::system(&[b"failed to listen to file ", path.as_os_str().as_bytes(), b":"], errno)
}

/// `length`: of the value of `SERVER_STARTER_PORT`.
fn check_length(length: usize) -> Result<(), Error> {
    if "SERVER_STARTER_PORT=".len() + length < LONGEST_VARIABLE {
        return Ok(());
    }
    Err(Error::rule(&[b"too many listeners: SERVER_STARTER_PORT would be longer than the system lets a variable be"]))
}
