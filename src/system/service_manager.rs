//! `--sd-notify`: the superdaemon's own side of `sd_notify(3)`: what it sends to the service manager that has started
//! it, one datagram at a time.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::time::{ClockId, clock_gettime};

use crate::error::Error;
use crate::listeners::Listener;
use crate::stderr::say;
use crate::succession::{Lines, Part};
use crate::sys;
use crate::world::Standing;

/// The longest datagram that systemd reads.
const LONGEST_MESSAGE: usize = 4096;

fn assignments(standing: Standing) -> Vec<u8> {
    match standing {
        Standing::Ready => b"READY=1\n".to_vec(),
        // The manager compares the time with that of its own reload request.
        Standing::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}\n", monotonic_time().as_micros()).into(),
        Standing::Leaving | Standing::Stopping => b"STOPPING=1\n".to_vec(),
    }
}

fn monotonic_time() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

/// The socket of the service manager. The default is to have none, and to send nothing.
#[derive(Default)]
pub(crate) struct ServiceManager {
    address: Option<SocketAddr>,
    /// What the manager's full queue has not taken: the newest state, and the newest line.
    waiting: Option<(Option<Standing>, Vec<u8>)>,
    /// How many workers there are.
    workers: usize,
    /// A restart that was reported to it is not over.
    reload: Option<Reload>,
    /// The time after which a restart is reported as over, although old workers have not exited.
    patience_of_reload: Duration,
    /// Requests to keep or give up listeners that its full queue has not taken.
    untold: VecDeque<Untold>,
    /// When to stop trying: one time for all that wait together.
    end_of_patience: Option<Instant>,
    watchdog: Option<Watchdog>,
    /// Names of the unix listeners that it keeps. Their files are deleted at shutdown, and then nobody reaches them.
    forgotten_at_end: Vec<Vec<u8>>,
}

/// A restart that was reported to the manager.
enum Reload {
    Running,
    /// The new worker serves, and old ones may still answer. It is over at this time at the latest.
    Ending(Instant),
}

/// The manager kills a service that is silent for a certain time. It gets a message in half of that.
struct Watchdog {
    period: Duration,
    next: Instant,
}

/// A message about a listener, and the listener.
struct Untold {
    message: Vec<u8>,
    listener: Option<OwnedFd>,
}

/// How long the manager may take for all requests to keep and give up listeners.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long old workers may take to exit before a restart is reported as over, if nothing kills them.
const PATIENCE_OF_RELOAD: Duration = Duration::from_secs(5);

/// The time that a worker may take to die after KILL.
const TIME_TO_DIE: Duration = Duration::from_secs(1);

/// How long to wait before a full queue is tried again.
const RETRY: Duration = Duration::from_millis(100);

impl ServiceManager {
    /// From the value of `NOTIFY_SOCKET`: an absolute path, or `@NAME` for an abstract address of Linux. If it is not
    /// set or empty, there is no manager, so the command line of a unit can be run by hand.
    pub(crate) fn from_environment(value: Option<&[u8]>) -> Result<Self, Error> {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return Ok(Self::default());
        };
        let address = match value {
            [b'/', ..] => SocketAddr::from_pathname(OsStr::from_bytes(value)),
            [b'@', name @ ..] if !name.is_empty() => sys::abstract_address(name),
            _ => {
                let rule: &[u8] = b"NOTIFY_SOCKET is neither an absolute path nor an abstract address:";
                return Err(Error::rule(&[rule, value]));
            }
        };
        // The standard library's error has no errno.
        let address = address.map_err(|error| error.raw_os_error().map_or(Errno::ENAMETOOLONG, Errno::from_raw));
        address
            .map(|address| Self { address: Some(address), ..Self::default() })
            .map_err(|errno| Error::system(&[b"failed to use NOTIFY_SOCKET:", value, b":"], errno))
    }

    /// With the values of `WATCHDOG_USEC`, which is the time in microseconds, and `WATCHDOG_PID`, which is this process
    /// unless it isn't set. With any other values, the superdaemon sends nothing.
    pub(crate) fn watched(self, time: Option<&[u8]>, pid: Option<&[u8]>) -> Self {
        let number = |value: &[u8]| str::from_utf8(value).ok()?.parse::<u64>().ok();
        let is_ours = pid.is_none_or(|pid| number(pid) == Some(std::process::id().into()));
        let time = time.and_then(number).filter(|&time| time > 0 && is_ours && self.address.is_some());
        let watchdog = time.map(|time| Watchdog { period: Duration::from_micros(time) / 2, next: Instant::now() });
        Self { watchdog, ..self }
    }

    /// Old workers get KILL after `kill_timeout`.
    pub(super) fn with_patience(self, kill_timeout: Option<Duration>) -> Self {
        let patience = kill_timeout.map_or(PATIENCE_OF_RELOAD, |timeout| timeout.saturating_add(TIME_TO_DIE));
        Self { patience_of_reload: patience, ..self }
    }

    /// What it keeps under these `names` is useless when the superdaemon stops.
    pub(super) fn forgetting(self, names: Option<Vec<Vec<u8>>>) -> Self {
        Self { forgotten_at_end: names.unwrap_or_default(), ..self }
    }

    /// Sends a new state, a line about it for people (an empty one is none), or both. Never waits: what a full queue
    /// doesn't take is kept until it does, or until something newer replaces it. The end of a restart is reported when
    /// the old workers have exited: until then, they may answer.
    pub(super) fn send(&mut self, standing: Option<Standing>, status: &[u8]) {
        if matches!(standing, Some(Standing::Leaving | Standing::Stopping)) {
            self.end_reload();
        }
        let is_reloading = self.reload.is_some();
        self.reload = match standing {
            Some(Standing::Reloading) => Some(Reload::Running),
            Some(Standing::Ready) if is_reloading && self.workers > 1 => {
                let end = Instant::now().checked_add(self.patience_of_reload);
                self.reload = end.map(Reload::Ending);
                if end.is_some() {
                    return;
                }
                None
            }
            Some(_) => None,
            None => self.reload.take(),
        };
        self.send_now(standing, status);
    }

    /// These run, one `GENERATION:PID` per line.
    pub(super) fn send_workers(&mut self, workers: &[u8]) {
        self.workers = workers.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count();
        let is_over = self.workers <= 1 && self.reload.take_if(|reload| matches!(reload, Reload::Ending(_))).is_some();
        let status = [b"workers, as GENERATION:PID: ", workers.trim_ascii_end()].concat();
        self.send_now(is_over.then_some(Standing::Ready), &status);
    }

    /// Reports the end of a restart whose new worker serves, without waiting for old ones.
    pub(super) fn end_reload(&mut self) {
        if self.reload.take_if(|reload| matches!(reload, Reload::Ending(_))).is_some() {
            self.send_now(Some(Standing::Ready), b"");
        }
    }

    fn send_now(&mut self, standing: Option<Standing>, status: &[u8]) {
        if matches!(standing, Some(Standing::Leaving | Standing::Stopping)) {
            for name in std::mem::take(&mut self.forgotten_at_end) {
                self.forget(&name);
            }
        }
        if self.address.is_none() {
            return;
        }
        let (old_standing, old_status) = self.waiting.take().unwrap_or_default();
        let status = if status.is_empty() { old_status } else { status.to_vec() };
        self.waiting = Some((standing.or(old_standing), status));
        self.flush();
    }

    /// Tries again to send what waits. Any error other than a full queue means that the manager is gone.
    pub(super) fn flush(&mut self) {
        if matches!(self.reload, Some(Reload::Ending(end)) if end <= Instant::now()) {
            return self.end_reload();
        }
        if let (Some(address), Some((standing, status))) = (&self.address, &self.waiting) {
            let sent = send_to(address, &message(*standing, status));
            let is_full = sent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
            self.waiting.take_if(|_| !is_full);
        }
        self.tell_on();
        self.feed_watchdog();
    }

    fn feed_watchdog(&mut self) {
        let now = Instant::now();
        if let (Some(address), Some(watchdog)) = (&self.address, &mut self.watchdog)
            && watchdog.next <= now
        {
            let sent = send_to(address, b"WATCHDOG=1\n");
            let is_full = sent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
            watchdog.next = now + if is_full { watchdog.period.min(RETRY) } else { watchdog.period };
        }
    }

    /// Asks the manager to keep a listener (`FDSTORE=1`), which it passes to the next superdaemon of this service.
    /// Whether it does is unknown: only if the unit has a `FileDescriptorStoreMax=`.
    pub(crate) fn store(&mut self, name: &[u8], listener: BorrowedFd) {
        self.tell([b"FDSTORE=1\nFDNAME=", name, b"\n"].concat(), Some(listener));
    }

    /// Asks the manager to keep another socket of this listener, if it keeps it.
    pub(super) fn store_again(&mut self, listener: &Listener) {
        let (name, fd) = listener.to_store_again();
        if self.forgotten_at_end.contains(&name) {
            self.forget(&name);
            self.store(&name, fd);
        }
    }

    /// Asks the manager to give up what it keeps under this name.
    pub(crate) fn forget(&mut self, name: &[u8]) {
        self.tell([b"FDSTOREREMOVE=1\nFDNAME=", name, b"\n"].concat(), None);
    }

    /// Never waits: what a full queue doesn't take is sent later.
    fn tell(&mut self, message: Vec<u8>, listener: Option<BorrowedFd>) {
        let Some(address) = &self.address else { return };
        if self.untold.is_empty() {
            match send_descriptor(address, &message, listener) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return say_untold(sent),
            }
        }
        if self.untold.is_empty() {
            self.end_of_patience = Some(Instant::now() + PATIENCE);
        }
        match listener.map(|listener| listener.try_clone_to_owned()).transpose() {
            Ok(listener) => self.untold.push_back(Untold { message, listener }),
            Err(error) => say_untold(Err(error)),
        }
    }

    /// Sends waiting requests, in order, as far as the queue takes them. Those that are too late, or follow an error,
    /// are given up with one line.
    fn tell_on(&mut self) {
        let Some(address) = &self.address else { return };
        while let Some(Untold { message, listener }) = self.untold.front() {
            let sent = send_descriptor(address, message, listener.as_ref().map(AsFd::as_fd));
            match sent {
                Ok(()) => drop(self.untold.pop_front()),
                Err(error) => {
                    let is_full = error.kind() == io::ErrorKind::WouldBlock;
                    if !is_full || self.end_of_patience.is_none_or(|end| end <= Instant::now()) {
                        say_untold(Err(error));
                        self.untold.clear();
                        self.end_of_patience = None;
                    }
                    return;
                }
            }
        }
        // Later requests have a time of their own.
        self.end_of_patience = None;
    }

    /// Whether requests to keep or give up listeners are waiting.
    pub(super) fn has_more_to_tell(&self) -> bool {
        !self.untold.is_empty()
    }

    /// At the very end: waits until everything is sent or given up.
    pub(super) fn finish(&mut self) {
        self.tell_on();
        while self.has_more_to_tell() {
            thread::sleep(RETRY / 10);
            self.tell_on();
        }
    }

    /// For the next program.
    pub(super) fn part(&self) -> ManagerPart {
        ManagerPart { waiting: self.waiting.clone() }
    }

    /// Continues from it.
    pub(super) fn take_over(&mut self, part: ManagerPart) {
        self.waiting = part.waiting;
    }

    /// How long to wait before the next [`Self::flush`], if something waits, or the manager expects a message.
    pub(super) fn pause(&self) -> Option<Duration> {
        let retry = (self.waiting.is_some() || self.has_more_to_tell()).then_some(RETRY);
        let watchdog = self.watchdog.as_ref().map(|watchdog| watchdog.next.saturating_duration_since(Instant::now()));
        let reload = match self.reload {
            Some(Reload::Ending(end)) => Some(end.saturating_duration_since(Instant::now())),
            Some(Reload::Running) | None => None,
        };
        [retry, watchdog, reload].into_iter().flatten().min()
    }
}

/// What the next program has to know about the manager.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ManagerPart {
    /// What its full queue has not taken.
    waiting: Option<(Option<Standing>, Vec<u8>)>,
}

impl Part for ManagerPart {
    fn write(&self, lines: &mut Lines) {
        if let Some((standing, status)) = &self.waiting {
            let standing = standing.map(|standing| name_of(standing).to_vec());
            lines.add("manager-waits", &(standing, status.clone()));
        }
    }

    fn read(lines: &Lines) -> Result<Self, Error> {
        let waiting = lines.get::<(Option<Vec<u8>>, Vec<u8>)>("manager-waits")?;
        let waiting = waiting.map(|(name, status)| {
            let all = [Standing::Ready, Standing::Reloading, Standing::Stopping];
            (all.into_iter().find(|&standing| name.as_deref() == Some(name_of(standing))), status)
        });
        Ok(Self { waiting })
    }
}

fn name_of(standing: Standing) -> &'static [u8] {
    match standing {
        Standing::Ready => b"READY",
        Standing::Reloading => b"RELOADING",
        Standing::Leaving | Standing::Stopping => b"STOPPING",
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

/// The socket is opened for this one datagram, as a permanent one would have a number that a listener may want.
fn send_to(address: &SocketAddr, message: &[u8]) -> io::Result<usize> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message, address)
}

fn say_untold(sent: io::Result<()>) {
    if let Err(error) = sent {
        say(Error::system(&[b"the service manager can't be told what to keep:"], error).message());
    }
}

/// With a descriptor.
fn send_descriptor(address: &SocketAddr, message: &[u8], descriptor: Option<BorrowedFd>) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(address)?;
    let descriptors = descriptor.map(|descriptor| [descriptor.as_raw_fd()]);
    let rights = descriptors.as_ref().map(|descriptors| [ControlMessage::ScmRights(descriptors)]);
    let rights = rights.as_ref().map_or(&[][..], |rights| &rights[..]);
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(message)], rights, MsgFlags::empty(), None)?;
    Ok(())
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
        let (_dir, socket, mut manager) = manager();
        manager.send(Some(Standing::Ready), b"generation 1: 100");
        assert_eq!(receive(&socket), "READY=1\nSTATUS=generation 1: 100\n");
        manager.send(None, b"two\nlines");
        assert_eq!(receive(&socket), "STATUS=two lines\n");
        manager.send(Some(Standing::Stopping), b"");
        assert_eq!(receive(&socket), "STOPPING=1\n");
    }

    #[test]
    fn a_reload_tells_when_it_began() {
        let (_dir, socket, mut manager) = manager();
        let before = monotonic_time().as_micros();
        manager.send(Some(Standing::Reloading), b"x");
        let text = receive(&socket);
        let time = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().strip_suffix("\nSTATUS=x\n").unwrap();
        assert!((before..=monotonic_time().as_micros()).contains(&time.parse().unwrap()), "{text}");
    }

    #[test]
    fn a_status_is_cut_to_what_the_manager_reads() {
        let (_dir, socket, mut manager) = manager();
        manager.send(Some(Standing::Ready), &[b'x'; 2 * LONGEST_MESSAGE]);
        let text = receive(&socket);
        assert!(text.len() == LONGEST_MESSAGE && text.starts_with("READY=1\nSTATUS=xxx") && text.ends_with("x\n"));
    }

    #[test]
    fn a_manager_that_does_not_read_or_is_gone_is_no_obstacle() {
        let (_dir, socket, mut manager) = manager();
        // More than any queue takes.
        for _ in 0..2000 {
            manager.send(Some(Standing::Ready), &[b'x'; 1000]);
        }
        assert!(receive(&socket).starts_with("READY=1\n"));
        assert_eq!(manager.pause(), Some(RETRY));
        drop(socket);
        manager.send(Some(Standing::Ready), b"");
    }

    #[test]
    fn the_newest_standing_reaches_a_manager_that_reads_late() {
        let (_dir, socket, mut manager) = manager();
        while manager.pause().is_none() {
            manager.send(Some(Standing::Reloading), b"old");
        }
        manager.send(Some(Standing::Ready), b"");
        manager.send(None, b"new");
        while manager.pause().is_some() {
            receive(&socket);
            manager.flush();
        }
        socket.set_nonblocking(true).unwrap();
        let mut last = Vec::new();
        let mut buffer = [0; LONGEST_MESSAGE];
        while let Ok(length) = socket.recv(&mut buffer) {
            last = buffer[..length].to_vec();
        }
        assert_eq!(String::from_utf8(last).unwrap(), "READY=1\nSTATUS=new\n");
    }

    /// All of them together cost one time limit, and nothing waits for them.
    #[test]
    fn what_is_to_be_kept_waits_for_a_manager_that_reads_late() {
        let (_dir, socket, mut manager) = manager();
        let listener = UnixDatagram::unbound().unwrap();
        while !manager.has_more_to_tell() {
            manager.store(b"a", listener.as_fd());
        }
        let end = manager.end_of_patience;
        manager.forget(b"b");
        assert!(manager.untold.len() == 2 && manager.end_of_patience == end && manager.pause() == Some(RETRY));
        socket.set_nonblocking(true).unwrap();
        let mut last = Vec::new();
        let mut buffer = [0; LONGEST_MESSAGE];
        while manager.has_more_to_tell() {
            last.extend(socket.recv(&mut buffer));
            manager.flush();
        }
        while let Ok(length) = socket.recv(&mut buffer) {
            last.push(length);
        }
        assert_eq!(buffer[..*last.last().unwrap()], *b"FDSTOREREMOVE=1\nFDNAME=b\n");
        assert_eq!((manager.pause(), manager.end_of_patience), (None, None));
    }

    #[test]
    fn what_is_to_be_kept_is_given_up_in_the_end() {
        let (_dir, socket, mut manager) = manager();
        while !manager.has_more_to_tell() {
            manager.forget(b"a");
        }
        manager.flush();
        assert!(manager.has_more_to_tell());
        manager.end_of_patience = Some(Instant::now());
        manager.finish();
        assert!(!manager.has_more_to_tell());
        drop(socket);
    }

    #[test]
    fn a_watchdog_is_fed_in_half_its_time() {
        let (_dir, socket, manager) = manager();
        let own = std::process::id().to_string();
        let mut manager = manager.watched(Some(b"20000000"), Some(own.as_bytes()));
        assert_eq!(manager.pause(), Some(Duration::ZERO));
        manager.flush();
        assert_eq!(receive(&socket), "WATCHDOG=1\n");
        let pause = manager.pause().unwrap();
        assert!((9..=10).contains(&pause.as_secs()), "{pause:?}");
        for (time, pid) in [("", None), ("0", None), ("x", None), ("-1", None), ("1", Some("1")), ("1", Some("x"))] {
            manager = manager.watched(Some(time.as_bytes()), pid.map(str::as_bytes));
            assert_eq!(manager.pause(), None, "{time} {pid:?}");
        }
        assert!(ServiceManager::default().watched(Some(b"1000"), None).watchdog.is_none());
    }

    #[test]
    fn without_a_manager_nothing_is_sent() {
        for value in [None, Some(&b""[..])] {
            let mut manager = ServiceManager::from_environment(value).unwrap();
            assert!(manager.address.is_none());
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
        let text = if cfg!(target_env = "musl") { "Filename too long" } else { "File name too long" };
        assert_eq!(error.to_string(), format!("failed to use NOTIFY_SOCKET:{long}:{text}"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_address() {
        let name = format!("start_server-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&sys::abstract_address(name.as_bytes()).unwrap()).unwrap();
        let mut manager = ServiceManager::from_environment(Some(format!("@{name}").as_bytes())).unwrap();
        manager.send(Some(Standing::Ready), b"");
        assert_eq!(receive(&socket), "READY=1\n");
    }
}
