//! `--sd-notify`: the superdaemon's own side of `sd_notify(3)`. What it tells the service manager that has started it,
//! one datagram at a time.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

use crate::error::Error;
use crate::world::Standing;

/// The longest datagram that systemd reads.
const LONGEST_MESSAGE: usize = 4096;

fn assignments(standing: Standing) -> Vec<u8> {
    match standing {
        Standing::Ready => b"READY=1\n".to_vec(),
        // The manager compares the time with that of its own request to reload.
        Standing::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}\n", monotonic_time().as_micros()).into(),
        Standing::Stopping => b"STOPPING=1\n".to_vec(),
    }
}

fn monotonic_time() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

/// The socket of the service manager. The default is to have none, and to send nothing.
#[derive(Default)]
pub(crate) struct ServiceManager(Option<SocketAddr>);

impl ServiceManager {
    /// From the value of `NOTIFY_SOCKET`: an absolute path, or `@NAME` for an abstract address of Linux. Not set, or
    /// empty, there is no manager, so that the command line of a unit can be run by hand.
    pub(crate) fn from_environment(value: Option<&[u8]>) -> Result<Self, Error> {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return Ok(Self(None));
        };
        let address = match value {
            [b'/', ..] => SocketAddr::from_pathname(OsStr::from_bytes(value)),
            [b'@', name @ ..] if !name.is_empty() => abstract_address(name),
            _ => {
                let rule: &[u8] = b"NOTIFY_SOCKET is neither an absolute path nor an abstract address:";
                return Err(Error::rule(&[rule, value]));
            }
        };
        // The standard library's error has no errno.
        let address = address.map_err(|error| error.raw_os_error().map_or(Errno::ENAMETOOLONG, Errno::from_raw));
        address
            .map(|address| Self(Some(address)))
            .map_err(|errno| Error::system(&[b"failed to use NOTIFY_SOCKET:", value, b":"], errno))
    }

    /// Sends a new standing, a line about it for people (an empty one is none), or both. Never waits; whether it
    /// arrives is the manager's business.
    pub(super) fn send(&self, standing: Option<Standing>, status: &[u8]) {
        if let Some(address) = &self.0 {
            let _ = send_to(address, &message(standing, status));
        }
    }
}

fn message(standing: Option<Standing>, status: &[u8]) -> Vec<u8> {
    let mut message = standing.map(assignments).unwrap_or_default();
    if !status.is_empty() {
        message.extend(b"STATUS=");
        message.extend(status.iter().map(|&byte| if byte == b'\n' { b' ' } else { byte }));
        message.truncate(LONGEST_MESSAGE - 1);
        message.push(b'\n');
    }
    message
}

/// The socket is opened for this one datagram, as one that stays would have a number that a listener may want.
fn send_to(address: &SocketAddr, message: &[u8]) -> io::Result<usize> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message, address)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    #[cfg(target_os = "android")]
    use std::os::android::net::SocketAddrExt;
    #[cfg(target_os = "linux")]
    use std::os::linux::net::SocketAddrExt;

    SocketAddr::from_abstract_name(name)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn abstract_address(_: &[u8]) -> io::Result<SocketAddr> {
    Err(Errno::EAFNOSUPPORT.into())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// The manager's side: a socket, and its `NOTIFY_SOCKET`.
    fn manager() -> (TempDir, UnixDatagram, ServiceManager) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let manager = ServiceManager::from_environment(Some(path.as_os_str().as_bytes())).unwrap();
        (dir, socket, manager)
    }

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 2 * LONGEST_MESSAGE];
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn each_call_is_one_datagram() {
        let (_dir, socket, manager) = manager();
        manager.send(Some(Standing::Ready), b"generation 1: 100");
        assert_eq!(receive(&socket), "READY=1\nSTATUS=generation 1: 100\n");
        manager.send(None, b"two\nlines");
        assert_eq!(receive(&socket), "STATUS=two lines\n");
        manager.send(Some(Standing::Stopping), b"");
        assert_eq!(receive(&socket), "STOPPING=1\n");
    }

    #[test]
    fn a_reload_tells_when_it_began() {
        let (_dir, socket, manager) = manager();
        let before = monotonic_time().as_micros();
        manager.send(Some(Standing::Reloading), b"x");
        let text = receive(&socket);
        let time = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().strip_suffix("\nSTATUS=x\n").unwrap();
        assert!((before..=monotonic_time().as_micros()).contains(&time.parse().unwrap()), "{text}");
    }

    #[test]
    fn a_status_is_cut_to_what_the_manager_reads() {
        let (_dir, socket, manager) = manager();
        manager.send(Some(Standing::Ready), &[b'x'; 2 * LONGEST_MESSAGE]);
        let text = receive(&socket);
        assert!(text.len() == LONGEST_MESSAGE && text.starts_with("READY=1\nSTATUS=xxx") && text.ends_with("x\n"));
    }

    #[test]
    fn a_manager_that_does_not_read_or_is_gone_is_no_obstacle() {
        let (_dir, socket, manager) = manager();
        // More than any queue takes.
        for _ in 0..2000 {
            manager.send(Some(Standing::Ready), &[b'x'; 1000]);
        }
        assert!(receive(&socket).starts_with("READY=1\n"));
        drop(socket);
        manager.send(Some(Standing::Ready), b"");
    }

    #[test]
    fn without_a_manager_nothing_is_sent() {
        for value in [None, Some(&b""[..])] {
            let manager = ServiceManager::from_environment(value).unwrap();
            assert!(manager.0.is_none());
            manager.send(Some(Standing::Ready), b"");
        }
    }

    #[test]
    fn what_is_no_socket_is_refused() {
        for value in ["notify", "./notify", "vsock:2:1234", "@", "unix:/run/notify"] {
            let error = ServiceManager::from_environment(Some(value.as_bytes())).map(drop).unwrap_err();
            let expected = format!("NOTIFY_SOCKET is neither an absolute path nor an abstract address:{value}");
            assert_eq!((error.to_string(), error.exit_code()), (expected, 255));
        }
        let long = format!("/{}", "x".repeat(200));
        let error = ServiceManager::from_environment(Some(long.as_bytes())).map(drop).unwrap_err();
        assert_eq!(error.to_string(), format!("failed to use NOTIFY_SOCKET:{long}:File name too long"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_address() {
        let name = format!("start_server-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&abstract_address(name.as_bytes()).unwrap()).unwrap();
        let manager = ServiceManager::from_environment(Some(format!("@{name}").as_bytes())).unwrap();
        manager.send(Some(Standing::Ready), b"");
        assert_eq!(receive(&socket), "READY=1\n");
    }
}
