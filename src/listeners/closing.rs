//! Closes listeners at the end, for workers that have not exited (`--refuse-on-stop`): clients are refused, and none is
//! left in a queue that no worker takes from. This takes two steps, because a worker whose listener is shut down before
//! it knows that it has to stop may abandon its running requests.

use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{Shutdown, shutdown};

use crate::error::Error;
use crate::listeners::Listeners;
use crate::listeners::address::Address;
use crate::listeners::socket_file::SocketFile;
use crate::stderr::say;
use crate::sys;

/// How long workers may take to empty the queues. Idle ones do it at once.
const PATIENCE: Duration = Duration::from_millis(100);

impl Listeners {
    /// The first step, before the stop signals: no more clients get into the queues, and workers empty them. A client
    /// of a unix socket is refused, as the file is gone; a TCP client tries again after a second, and is refused then.
    pub(crate) fn close_queues(&self) {
        self.files.iter().for_each(SocketFile::remove);
        for listener in &self.entries {
            if matches!(Address::of(&listener.fd), Ok(Some(Address::Tcp(_)))) {
                // Without it, clients that connect at this moment are reset.
                let _ = sys::ignore_connection_requests(&listener.fd);
            }
        }
        let end = Instant::now() + PATIENCE;
        while !self.waited_at().is_empty() && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The second step: clients are refused. Accepted connections continue.
    pub(crate) fn shut_down(&self) {
        say("refusing new connections");
        for listener in &self.entries {
            // That one for UDP isn't connected is not a failure.
            match shutdown(listener.fd.as_raw_fd(), Shutdown::Both) {
                Ok(()) | Err(Errno::ENOTCONN) => {}
                Err(errno) => say(Error::system(&[b"failed to shut down ", &listener.name, b":"], errno).message()),
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::listeners::Listener;

    #[test]
    fn who_comes_late_is_refused_and_nobody_is_reset() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let mut listeners = Listeners::default();
        listeners.entries.push(Listener::new(b"tcp", tcp.try_clone().unwrap().into()));
        let early = TcpStream::connect(address).unwrap();
        let worker = thread::spawn(move || tcp.accept().map(drop));
        listeners.close_queues();
        assert!(worker.join().unwrap().is_ok());
        let late = thread::spawn(move || TcpStream::connect(address));
        // An accepted connection is served, whether or not others are refused.
        assert_eq!(early.peer_addr().unwrap(), address);
        listeners.shut_down();
        assert_eq!(late.join().unwrap().unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    }
}
