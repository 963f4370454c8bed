//! Listeners that a worker has shut down (`shut-listener`): shutdown(2) acts on the socket itself, which all
//! generations share.

use std::os::fd::{AsRawFd, RawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::Error;
use crate::listeners::address::Address;
use crate::listeners::{Listener, Listeners};
use crate::sys;

/// A listener that was found to be shut down.
pub(crate) struct Shut {
    pub(crate) fd: RawFd,
    pub(crate) listens_again: bool,
    /// The line that reports it.
    pub(crate) line: Vec<u8>,
}

impl Listeners {
    /// Makes listeners that were shut down listen again, if possible. Returns all that were shut down.
    pub(crate) fn revive(&self) -> Vec<Shut> {
        // No event is asked for, so poll(2) reports only sockets that are shut down or in error.
        let mut fds: Vec<_> = self.fds().map(|fd| PollFd::new(fd, PollFlags::empty())).collect();
        if fds.is_empty() || !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..)) {
            return Vec::new();
        }
        let is_shut = |fd: &PollFd| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLHUP));
        let shut = self.entries.iter().zip(&fds).filter(|(_, fd)| is_shut(fd)).map(|(listener, _)| listener);
        shut.map(|listener| self.revive_one(listener)).collect()
    }

    fn revive_one(&self, listener: &Listener) -> Shut {
        let begin = [b"a worker has shut down the listener ", listener.name.as_slice(), b", "].concat();
        let address = Address::of(&listener.fd).ok().flatten();
        let (listens_again, line) = if address.is_some_and(|address| address.can_listen_again()) {
            match sys::listen(&listener.fd, self.backlog) {
                Ok(()) => (true, [begin.as_slice(), b"which is listening again"].concat()),
                Err(errno) => (false, Error::system(&[&begin, b"and listen(2) failed:"], errno).message()),
            }
        } else {
            (false, [begin.as_slice(), b"which can't be undone: stop and start start_server"].concat())
        };
        Shut { fd: listener.fd.as_raw_fd(), listens_again, line }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixListener;

    use nix::sys::socket::{Shutdown, shutdown};

    use super::*;

    #[test]
    fn what_was_shut_down() {
        let dir = tempfile::tempdir().unwrap();
        // The shutdown would release a port that the kernel has chosen.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let tcp = TcpListener::bind(address).unwrap();
        let unix = UnixListener::bind(dir.path().join("socket")).unwrap();
        let entries = [("tcp", OwnedFd::from(tcp)), ("unix", unix.into())];
        let entries = entries.map(|(name, fd)| Listener::new(name.as_bytes(), fd)).into();
        let mut listeners = Listeners::default();
        (listeners.entries, listeners.backlog) = (entries, 5);
        assert!(listeners.revive().is_empty() && Listeners::default().revive().is_empty());
        for fd in listeners.fds() {
            shutdown(fd.as_raw_fd(), Shutdown::Both).unwrap();
        }
        assert!(TcpStream::connect(address).is_err());
        let lines = listeners.revive().into_iter().map(|shut| String::from_utf8(shut.line).unwrap());
        assert_eq!(
            lines.collect::<Vec<_>>(),
            [
                "a worker has shut down the listener tcp, which is listening again",
                "a worker has shut down the listener unix, which can't be undone: stop and start start_server",
            ]
        );
        assert!(TcpStream::connect(address).is_ok());
        #[cfg(target_os = "linux")]
        {
            let socket = nix::sys::stat::fstat(&listeners.entries[0].fd).unwrap().st_ino;
            assert_eq!(crate::proc::sock_diag::queues()[&socket].limit, Some(5));
        }
    }
}
