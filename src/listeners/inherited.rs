//! `--from-systemd`: the listeners that the service manager has opened and passed on, in the form of
//! `sd_listen_fds(3)`.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::environment::Environment;
use crate::error::Error;
use crate::listeners::address::{Address, IS_NO_LISTENER};
use crate::sys;

/// The descriptor of the first one (`SD_LISTEN_FDS_START`).
pub(super) const FIRST: RawFd = 3;

/// The variables that describe them. They are meant for one process, not for its descendants.
const VARIABLES: [&str; 4] = ["LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Whether they have been taken over: then other descriptors may have their numbers.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// A listening socket, or a bound UDP socket. It is never changed, and its file is never removed.
#[derive(Debug)]
pub(crate) struct InheritedListener {
    /// The name that `--port` or `--path` would have given it.
    pub(super) name: Vec<u8>,
    /// The service manager's name for it.
    pub(super) fd_name: Option<Vec<u8>>,
    /// Closed on exec until the plan is opened: the command of a log, which is started before, is not a worker.
    pub(super) fd: OwnedFd,
}

/// Takes over the descriptors that `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES` describe, and removes these
/// variables. Works once per process. `is_needed`: getting none is an error.
///
/// # Errors
/// If nothing was passed although it `is_needed`; if the listeners were passed to another process; if one is not a
/// listener; or on a second call.
pub(crate) fn take(environment: &mut Environment, is_needed: bool) -> Result<Vec<InheritedListener>, Error> {
    let [pid, fds, names] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].map(|name| environment.get(name));
    let (Some(pid), Some(fds)) = (pid, fds) else {
        if !is_needed {
            return Ok(Vec::new());
        }
        return Err(refusal(&[b"no listeners were passed: LISTEN_PID and LISTEN_FDS are not set"]));
    };
    if parse(pid) != Some(std::process::id()) {
        return Err(refusal(&[b"the listeners were passed to another process: LISTEN_PID is ", pid]));
    }
    let listeners = match parse(fds) {
        // The variables stay in the environment of this process, so this may be the second time.
        Some(1..) if IS_TAKEN.swap(true, Ordering::Relaxed) => {
            return Err(refusal(&[b"the listeners have been taken over before"]));
        }
        Some(count @ 1..) => take_from(FIRST, count, names)?,
        _ => return Err(refusal(&[b"LISTEN_FDS is not a positive number:", fds])),
    };
    forget(environment);
    Ok(listeners)
}

/// Removes all variables by which a service manager passes listeners.
pub(crate) fn forget(environment: &mut Environment) {
    for name in VARIABLES {
        environment.remove(name);
    }
}

fn take_from(first: RawFd, count: u32, names: Option<&[u8]>) -> Result<Vec<InheritedListener>, Error> {
    let mut names = names.map(|names| names.split(|&byte| byte == b':'));
    if let Some(names) = &names
        && u32::try_from(names.clone().count()) != Ok(count)
    {
        return Err(refusal(&[b"LISTEN_FDNAMES and LISTEN_FDS don't have the same number of listeners"]));
    }
    // This ends at the first number that is not open, so no count is too large.
    (first..).zip(0..count).map(|(fd, _)| take_one(fd, names.as_mut().and_then(Iterator::next))).collect()
}

fn take_one(number: RawFd, fd_name: Option<&[u8]>) -> Result<InheritedListener, Error> {
    let text = format!("file descriptor {number}");
    let failed = |error: io::Error| Error::system(&[b"--from-systemd: ", text.as_bytes(), b":"], error);
    // SAFETY: the number was passed by the manager to this very process, before that had opened anything, and is taken
    // only once (`IS_TAKEN`), so no other value owns it.
    #[expect(unsafe_code)]
    let fd = unsafe { sys::take(number) };
    let fd = fd.map_err(|errno| failed(errno.into()))?;
    let Some(address) = Address::of_listener(&fd).map_err(failed)? else {
        return Err(refusal(&[text.as_bytes(), IS_NO_LISTENER]));
    };
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|errno| failed(errno.into()))?;
    Ok(InheritedListener { name: address.name(), fd_name: fd_name.map(Into::into), fd })
}

fn refusal(sentence: &[&[u8]]) -> Error {
    Error::rule(&[b"--from-systemd: ", &sentence.concat()])
}

fn parse(number: &[u8]) -> Option<u32> {
    str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs::File;
    use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{self, UnixDatagram, UnixListener};
    use std::sync::atomic::{AtomicI32, Ordering};

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    use crate::sys::CloseOnExec;

    use super::*;

    /// Gives descriptors consecutive numbers, as the manager does, but numbers that no other test uses. Returns the
    /// first; nothing owns them.
    pub(crate) fn hand_over(sockets: impl IntoIterator<Item = impl Into<OwnedFd>>) -> RawFd {
        static NEXT: AtomicI32 = AtomicI32::new(500);
        let first = NEXT.fetch_add(20, Ordering::Relaxed);
        for (socket, number) in sockets.into_iter().zip(first..) {
            use std::os::fd::IntoRawFd;
            let moved = sys::move_above(socket.into(), number, CloseOnExec::Yes).unwrap();
            assert_eq!(moved.into_raw_fd(), number);
        }
        first
    }

    pub(crate) fn take_from(first: RawFd, count: u32, names: Option<&[u8]>) -> Result<Vec<InheritedListener>, Error> {
        super::take_from(first, count, names)
    }

    fn take_one(socket: impl Into<OwnedFd>) -> Result<String, String> {
        let first = hand_over([socket]);
        let (socket, kind) =
            (" is neither a listening TCP or unix stream socket nor a bound UDP socket", "NOT A LISTENER");
        match take_from(first, 1, None) {
            Ok(listeners) => Ok(String::from_utf8(listeners[0].name.clone()).unwrap()),
            Err(error) => Err(error
                .to_string()
                .replace(&format!("--from-systemd: file descriptor {first}"), "FD")
                .replace(socket, kind)),
        }
    }

    #[test]
    fn names_are_those_of_port_and_path() {
        for (address, name) in [
            ("0.0.0.0:0", "PORT"),
            ("127.0.0.1:0", "127.0.0.1:PORT"),
            ("[::1]:0", "[::1]:PORT"),
            ("[::]:0", "[::]:PORT"),
            ("[::ffff:127.0.0.1]:0", "[::ffff:127.0.0.1]:PORT"),
        ] {
            let tcp = TcpListener::bind(address).unwrap();
            let expected = name.replace("PORT", &tcp.local_addr().unwrap().port().to_string());
            assert_eq!(take_one(tcp), Ok(expected));
            let udp = UdpSocket::bind(address).unwrap();
            let expected = name.replace("PORT", &udp.local_addr().unwrap().port().to_string());
            assert_eq!(take_one(udp), Ok(expected));
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a=b;c d.sock");
        assert_eq!(take_one(UnixListener::bind(&path).unwrap()), Ok(path.to_str().unwrap().to_owned()));
        assert!(path.exists());
        let longest = format!("{}/", dir.path().display());
        let longest = longest.clone() + &"x".repeat(sys::LONGEST_SOCKET_PATH - longest.len());
        let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).unwrap();
        sys::bind_unix(&socket, longest.as_bytes()).unwrap();
        sys::listen(&socket, 1).unwrap();
        assert_eq!(take_one(socket), Ok(longest));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_name() {
        use std::os::linux::net::SocketAddrExt;

        let name = format!("start_server\0{}", std::process::id());
        let socket = UnixListener::bind_addr(&net::SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        assert_eq!(take_one(socket), Ok(format!("@{}", name.replace('\0', "@"))));
    }

    #[test]
    fn what_is_no_listener_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let unbound = |kind| socket(AddressFamily::Inet, kind, SockFlag::empty(), None).unwrap();
        let not_a_listener = || Err("FDNOT A LISTENER".to_owned());
        assert_eq!(take_one(TcpStream::connect(listener.local_addr().unwrap()).unwrap()), not_a_listener());
        assert_eq!(take_one(unbound(SockType::Stream)), not_a_listener());
        assert_eq!(take_one(unbound(SockType::Datagram)), not_a_listener());
        assert_eq!(take_one(net::UnixStream::pair().unwrap().0), not_a_listener());
        assert_eq!(take_one(UnixDatagram::bind(dir.path().join("datagram")).unwrap()), not_a_listener());
        let packets = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::empty(), None).unwrap();
        sys::bind_unix(&packets, dir.path().join("packets").as_os_str().as_bytes()).unwrap();
        sys::listen(&packets, 1).unwrap();
        assert_eq!(take_one(packets), not_a_listener());
        let text = if cfg!(target_env = "musl") { "Not a socket" } else { "Socket operation on non-socket" };
        assert_eq!(take_one(File::open("/dev/null").unwrap()), Err(format!("FD:{text}")));
    }

    #[test]
    fn names_of_the_manager_come_with_the_listeners() {
        let sockets = || [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let first = hand_over(sockets());
        let listeners = take_from(first, 2, Some(b"web:")).unwrap();
        assert_eq!(listeners[0].fd_name.as_deref(), Some(&b"web"[..]));
        assert_eq!(listeners[1].fd_name.as_deref(), Some(&b""[..]));
        assert_eq!(listeners[1].fd.as_raw_fd(), first + 1);
        let first = hand_over(sockets());
        for names in ["web", "a:b:c", ""] {
            let error = take_from(first, 2, Some(names.as_bytes())).unwrap_err();
            assert_eq!(
                error.to_string(),
                "--from-systemd: LISTEN_FDNAMES and LISTEN_FDS don't have the same number of listeners",
                "{names:?}"
            );
        }
        let listeners = take_from(first, 2, None).unwrap();
        assert_eq!((listeners.len(), &listeners[0].fd_name), (2, &None));
    }

    #[test]
    fn a_descriptor_that_is_not_open() {
        let first = hand_over([TcpListener::bind("127.0.0.1:0").unwrap()]);
        let error = take_from(first, u32::MAX, None).unwrap_err();
        let text = format!("--from-systemd: file descriptor {}:Bad file descriptor", first + 1);
        assert_eq!((error.to_string(), error.exit_code()), (text, 9));
    }

    #[test]
    fn what_was_not_passed_to_this_process_is_not_touched() {
        let own = std::process::id().to_string();
        let other = nix::unistd::getppid().to_string();
        let no_number = "LISTEN_FDS is not a positive number:";
        for (pid, fds, message) in [
            (None, None, "no listeners were passed: LISTEN_PID and LISTEN_FDS are not set"),
            (None, Some("1"), "no listeners were passed: LISTEN_PID and LISTEN_FDS are not set"),
            (Some(&*own), None, "no listeners were passed: LISTEN_PID and LISTEN_FDS are not set"),
            (Some(&*other), Some("1"), &format!("the listeners were passed to another process: LISTEN_PID is {other}")),
            (Some("x"), Some("1"), "the listeners were passed to another process: LISTEN_PID is x"),
            (Some(&*own), Some("0"), &format!("{no_number}0")),
            (Some(&*own), Some("-1"), &format!("{no_number}-1")),
            (Some(&*own), Some("1x"), &format!("{no_number}1x")),
            (Some(&*own), Some("99999999999"), &format!("{no_number}99999999999")),
            (Some(&*own), Some(""), no_number),
        ] {
            let mut environment = Environment::default();
            for (name, value) in [("LISTEN_PID", pid), ("LISTEN_FDS", fds)] {
                if let Some(value) = value {
                    environment.set(name, value.into());
                }
            }
            let error = take(&mut environment, true).unwrap_err();
            assert_eq!((error.to_string(), error.exit_code()), (format!("--from-systemd: {message}"), 255));
        }
    }
}
