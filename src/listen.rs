//! The listeners: bound once, handed to every worker, never changed after that. The text of `SERVER_STARTER_PORT`, and the
//! removal of our socket files.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, setsockopt, socket, sockopt};
use nix::sys::stat::{Mode, umask};
use nix::unistd::unlink;

use crate::error::Error;
use crate::file_id::FileId;
use crate::inherited_listeners::InheritedListener;
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
    /// The descriptors that ports are wanted at, and those of inherited listeners.
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
        plan.check_variable(&[])?;
        Ok(plan)
    }

    /// The plan to listen beside what was inherited.
    pub(crate) fn beside(mut self, listeners: &Listeners) -> Result<Self, Error> {
        let inherited = &listeners.entries;
        self.targets = inherited.iter().map(|listener| listener.fd.as_raw_fd()).collect();
        self.collect_targets()?;
        self.check_variable(inherited)?;
        // The file of a socket that nobody else listens to would be removed.
        for path in self.paths {
            let id = FileId::of(path);
            if id.is_some() && inherited.iter().any(|listener| listener.file() == id) {
                return Err(Error::rule(&[b"there is a listener already at ", path.as_os_str().as_bytes()]));
            }
        }
        Ok(self)
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
    fn check_variable(&self, inherited: &[Listener]) -> Result<(), Error> {
        let names = inherited.iter().map(|listener| listener.name.len());
        let names = names.chain(self.ports.iter().map(|port| port.name.len()));
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

    /// Binds all of it, up to the first error: the ports in their order, then the paths in theirs (S5). What was inherited
    /// comes first. From here on, programs that are executed get the listeners.
    pub(crate) fn listen(&self, listeners: &mut Listeners) -> Result<(), Error> {
        for inherited in &listeners.entries {
            fcntl(&inherited.fd, FcntlArg::F_SETFD(FdFlag::empty()))
                .map_err(|errno| Error::system(&[b"failed to pass on ", &inherited.name, b":"], errno))?;
        }
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
        Ok(Listener { fd_text: target.text.clone(), ..Listener::new(&port.name, fd) })
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
    fd: OwnedFd,
}

impl Listener {
    fn new(name: &[u8], fd: OwnedFd) -> Self {
        Self { name: name.to_vec(), fd_text: fd.as_raw_fd().to_string().into(), fd }
    }

    /// The file of an inherited unix socket. The manager's paths are absolute.
    fn file(&self) -> Option<FileId> {
        self.name.starts_with(b"/").then(|| FileId::of(Path::new(OsStr::from_bytes(&self.name)))).flatten()
    }
}

impl From<InheritedListener> for Listener {
    fn from(inherited: InheritedListener) -> Self {
        Self::new(&inherited.name, inherited.fd)
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use nix::fcntl::fcntl;

    use super::*;
    use crate::inherited_listeners::tests::{hand_over, take_from};

    /// A TCP and a unix listener of the manager, and the number of the first.
    fn inherited(path: &Path) -> (RawFd, Listeners) {
        let tcp = OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let first = hand_over([tcp, UnixListener::bind(path).unwrap().into()]);
        (first, take_from(first, 2, Some(b"web:app")).unwrap().into())
    }

    fn plan<'a>(ports: &[&str], paths: &'a [PathBuf]) -> ListenPlan<'a> {
        ListenPlan::new(&ports.iter().map(Into::into).collect::<Vec<_>>(), paths, 0).unwrap()
    }

    fn message<T>(result: Result<T, Error>) -> String {
        result.map(drop).unwrap_err().to_string()
    }

    #[test]
    fn inherited_listeners_come_first_and_stay_the_managers() {
        let dir = tempfile::tempdir().unwrap();
        let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
        let (first, mut listeners) = inherited(&theirs);
        let is_closed_on_exec = |listener: &Listener| {
            FdFlag::from_bits_truncate(fcntl(&listener.fd, FcntlArg::F_GETFD).unwrap()).contains(FdFlag::FD_CLOEXEC)
        };
        assert!(listeners.entries.iter().all(is_closed_on_exec));

        let paths = [ours.clone()];
        plan(&["127.0.0.1:0"], &paths).beside(&listeners).unwrap().listen(&mut listeners).unwrap();
        assert!(!listeners.entries.iter().any(is_closed_on_exec));
        let variable = String::from_utf8(listeners.variable()).unwrap();
        let entries: Vec<_> = variable.split(';').collect();
        assert_eq!(entries.len(), 4);
        assert!(entries[0].starts_with("127.0.0.1:") && entries[0].ends_with(&format!("={first}")), "{variable}");
        assert_eq!(entries[1], format!("{}={}", theirs.display(), first + 1));
        assert!(entries[2].starts_with("127.0.0.1:0=") && entries[3].starts_with(ours.to_str().unwrap()));

        assert!(ours.exists());
        drop(listeners);
        assert!(!ours.exists() && theirs.exists());
        assert!(!sys::is_open(first));
    }

    #[test]
    fn no_port_is_wanted_where_an_inherited_listener_is() {
        let dir = tempfile::tempdir().unwrap();
        let (first, listeners) = inherited(&dir.path().join("socket"));
        let second = format!("0{}", first + 1);
        let error = message(plan(&[&format!("0={second}")], &[]).beside(&listeners));
        assert_eq!(error, format!("file descriptor {second} is wanted more than once"));
        plan(&[&format!("0={}", first + 2)], &[]).beside(&listeners).unwrap();
    }

    #[test]
    fn the_socket_file_of_an_inherited_listener_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("socket"), dir.path().join("link"));
        let (_, listeners) = inherited(&path);
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let same = [link.join("socket")];
        let error = message(plan(&[], &same).beside(&listeners));
        assert_eq!(error, format!("there is a listener already at {}", same[0].display()));
        let other = [dir.path().join("other")];
        plan(&[], &other).beside(&listeners).unwrap();
    }

    #[test]
    fn inherited_listeners_count_for_the_length_of_the_variable() {
        let dir = tempfile::tempdir().unwrap();
        let (_, listeners) = inherited(&dir.path().join("socket"));
        let mut paths = vec![PathBuf::from("x".repeat(100)); 1242];
        let fits = |paths: &[PathBuf], listeners: &_| ListenPlan::new(&[], paths, 0)?.beside(listeners).map(drop);
        while fits(&paths, &Listeners::default()).is_ok() {
            paths.push("x".repeat(20).into());
        }
        paths.pop();
        let error = message(fits(&paths, &listeners));
        assert!(error.starts_with("too many listeners: SERVER_STARTER_PORT"), "{error}");
    }
}
