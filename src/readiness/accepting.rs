//! `--ready=accepting`: whether a worker waits for connections, as the kernel shows it.
//!
//! For a thread that sleeps in a system call, the kernel shows the call and its arguments. If they name a listener, or
//! a set that contains one, the worker is ready. A worker that is so busy that it never waits is ready when it has a
//! connection to a listener. Looking at a worker changes nothing about it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::Duration;

use libc::ino_t;
use nix::sys::stat::fstat;
use nix::time::{ClockId, clock_gettime};

use crate::error::Error;
use crate::listeners::Listeners;
use crate::proc::descendants::with_descendants;
use crate::proc::sock_diag::listening;
use crate::proc::{Descriptor, Process, Target, unix_sockets};
use crate::readiness::blocked_calls::{EpollMember, awaited};
use crate::readiness::connections::Connections;
use crate::readiness::permission::try_to_look;
use crate::readiness::{Watch, WatchPart};
use crate::stop_request;
use crate::sys::{OneThread, Pid, waits};

/// The shortest time between two looks at a worker.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// The longest time between two looks at a worker.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The CPU time that looks may take: first this much, which no common worker needs, and then a fraction of the time.
const FREE_COST: Duration = Duration::from_millis(100);

/// One part in this many. Besides, no look takes more than a quarter of the time until the next one.
const COST_DIVISOR: u32 = 13;

/// An epoll set is examined, and so is one that is its member.
const LEVELS: u8 = 2;

/// Knows the listeners.
pub(super) struct Accepting {
    /// Their inodes. Workers' descriptors may have any numbers.
    inodes: Vec<ino_t>,
    /// Their names in lines.
    names: Vec<Vec<u8>>,
    /// The workers that were ready and have not exited, the newest last.
    ready: Vec<Pid>,
    /// The listeners at which the last of them waited when the start of the newest worker began: it has to serve those, too.
    required: BTreeSet<ino_t>,
    /// Those of them at which it has been seen so far.
    seen: RefCell<BTreeSet<ino_t>>,
    connections: Connections,
    /// Sockets of the newest worker, until it is ready, that are not connections to listeners. They never become such, so they
    /// are looked up only once.
    others: RefCell<BTreeSet<ino_t>>,
    /// The CPU time of all looks at the newest worker, and of the last one.
    cost: Cost,
    /// Whether there is something more urgent than a look.
    is_interrupted: fn() -> bool,
    /// The process of [`Self::check`], if it has not exited.
    abandoned: Option<Pid>,
}

#[derive(Clone, Copy, Default)]
struct Cost {
    all: Duration,
    last: Duration,
}

impl Cost {
    /// How long to pause after the last look, if the first look was `waited` ago.
    fn pause(self, waited: Duration) -> Duration {
        let due = (self.all + self.last).saturating_sub(FREE_COST) * COST_DIVISOR;
        (self.last * 3).max(due.saturating_sub(waited))
    }
}

impl Accepting {
    /// Finds out, with a process made for that, whether this one may examine its workers, so a refusal is reported
    /// before anything is started. On return, the process is gone, or a child that got KILL.
    ///
    /// A worker that changes its user, or whose program has capabilities or can't be read, may still be inaccessible:
    /// it never seems to accept.
    pub(super) fn check(one_thread: OneThread) -> Result<Option<Pid>, Error> {
        if !waits::ARE_KNOWN {
            return Err(Error::rule(&[b"--ready=accepting needs a processor of the kind x86_64, aarch64 or riscv64"]));
        }
        try_to_look(one_thread)
    }

    /// With the process that [`Self::check`] has left.
    pub(super) fn with(self, abandoned: Option<Pid>) -> Self {
        Self { abandoned, ..self }
    }

    pub(super) fn of(listeners: impl IntoIterator<Item = impl AsFd>) -> Self {
        let listeners: Vec<_> = listeners.into_iter().collect();
        // fstat(2) of an open descriptor does not fail.
        let inodes: Vec<_> = listeners.iter().filter_map(|fd| fstat(fd).ok()).map(|stat| stat.st_ino).collect();
        let connections = Connections::to(&listeners, &inodes);
        Self {
            connections,
            inodes,
            names: Vec::new(),
            ready: Vec::new(),
            required: BTreeSet::new(),
            seen: RefCell::default(),
            others: RefCell::default(),
            cost: Cost::default(),
            is_interrupted: stop_request::is_waiting,
            abandoned: None,
        }
    }

    pub(super) fn at(listeners: &Listeners) -> Self {
        Self { names: listeners.with_names().map(|(_, name)| name.to_vec()).collect(), ..Self::of(listeners.fds()) }
    }

    /// Whether `worker` or one of its descendants waits on one of the listeners right now, or has a connection to one;
    /// or, if certain ones are required, has done so at each. This is one look, and a process may be doing something
    /// else at that moment: the caller repeats it.
    fn is_accepting(&self, worker: Pid) -> bool {
        let mut seen = self.seen.borrow_mut();
        if self.required.is_empty() {
            seen.clear();
        }
        let is_enough = |seen: &BTreeSet<ino_t>| {
            if self.required.is_empty() { !seen.is_empty() } else { self.required.is_subset(seen) }
        };
        let family = with_descendants(&[worker]);
        self.find_waits(&family, &mut seen, is_enough);
        if !is_enough(&seen) {
            self.find_accepted(&family, &mut seen, is_enough);
        }
        is_enough(&seen)
    }

    /// Which of `wanted` workers and their descendants serve right now.
    fn served_by(&self, workers: &[Pid], wanted: &[ino_t]) -> BTreeSet<ino_t> {
        let family = with_descendants(workers);
        let is_enough = |served: &BTreeSet<ino_t>| wanted.iter().all(|inode| served.contains(inode));
        let mut served = BTreeSet::new();
        self.find_waits(&family, &mut served, is_enough);
        if !is_enough(&served) {
            let all = self.unless_interrupted(family.iter()).flat_map(|&process| sockets_of(process));
            let sockets = self.unless_interrupted(all).collect();
            self.connections.find(&sockets, self.is_interrupted, &mut served, is_enough);
        }
        served
    }

    /// Adds the listeners that a family waits on right now, until that `is_enough`.
    fn find_waits(&self, family: &[Pid], found: &mut BTreeSet<ino_t>, is_enough: impl Fn(&BTreeSet<ino_t>) -> bool) {
        for &process in family {
            // Threads share their descriptors.
            let mut known = BTreeSet::new();
            for thread in self.unless_interrupted(Process::threads_of(process)) {
                for fd in self.unless_interrupted(awaited(thread).unwrap_or_default().into_iter()) {
                    if known.insert(fd) {
                        self.find_listeners(thread.descriptor(fd), LEVELS, found, &is_enough);
                    }
                    if is_enough(found) {
                        return;
                    }
                }
            }
        }
    }

    /// A look at many things ends when something more urgent happens.
    fn unless_interrupted<T>(&self, things: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        things.take_while(|_| !(self.is_interrupted)())
    }

    /// Adds the listeners to which one of the processes has a connection.
    fn find_accepted(
        &self,
        processes: &[Pid],
        found: &mut BTreeSet<ino_t>,
        is_enough: impl Fn(&BTreeSet<ino_t>) -> bool,
    ) {
        let mut others = self.others.borrow_mut();
        let all = self.unless_interrupted(processes.iter()).flat_map(|&process| sockets_of(process));
        let all = self.unless_interrupted(all);
        let mut new = BTreeSet::new();
        new.extend(all.filter(|inode| !self.inodes.contains(inode) && !others.contains(inode)));
        if new.is_empty() {
            return;
        }
        let before = found.len();
        self.connections.find(&new, self.is_interrupted, found, is_enough);
        if found.len() == before && !(self.is_interrupted)() {
            others.extend(new);
        }
    }

    /// Adds a descriptor that is a listener, and those in an epoll set. `levels`: of sets in sets.
    fn find_listeners(
        &self,
        descriptor: Descriptor,
        levels: u8,
        found: &mut BTreeSet<ino_t>,
        is_enough: &impl Fn(&BTreeSet<ino_t>) -> bool,
    ) {
        match descriptor.target() {
            Some(Target::Socket(inode)) => self.find_listener(inode, found),
            Some(Target::EpollSet) if levels > 0 => self.find_members(descriptor, levels - 1, found, is_enough),
            _ => {}
        }
    }

    fn find_listener(&self, inode: ino_t, found: &mut BTreeSet<ino_t>) {
        if self.inodes.contains(&inode) {
            found.insert(inode);
        }
    }

    fn find_members(
        &self,
        set: Descriptor,
        levels: u8,
        found: &mut BTreeSet<ino_t>,
        is_enough: &impl Fn(&BTreeSet<ino_t>) -> bool,
    ) {
        // A member has the number under which it was added, perhaps by another process; only the inode counts. Linux
        // before 4.13 doesn't show it.
        let info = set.info();
        let members = info.lines().filter_map(EpollMember::parse).filter(|member| member.is_for_input);
        for member in self.unless_interrupted(members) {
            match member.inode {
                Some(inode) if self.inodes.contains(&inode) => self.find_listener(inode, found),
                _ => self.find_listeners(set.sibling(member.fd), levels, found, is_enough),
            }
            if is_enough(found) {
                return;
            }
        }
    }

    /// The names of these listeners.
    fn names_of(&self, inodes: impl Iterator<Item = ino_t>) -> String {
        let name = |inode| {
            let index = self.inodes.iter().position(|&known| known == inode)?;
            Some(String::from_utf8_lossy(self.names.get(index)?).into_owned())
        };
        inodes.filter_map(name).collect::<Vec<_>>().join(", ")
    }
}

impl Watch for Accepting {
    fn part(&self) -> WatchPart {
        WatchPart { may_look: true, ..WatchPart::default() }
    }

    fn take_abandoned(&mut self) -> Option<Pid> {
        self.abandoned.take()
    }

    fn follow(&mut self, listeners: &Listeners) {
        let Self { inodes, connections, .. } = Self::of(listeners.fds());
        (self.inodes, self.connections) = (inodes, connections);
    }

    /// It has to serve what the worker that it may replace serves. (A connection doesn't show exactly which listener it
    /// belongs to.)
    fn begin(&mut self, _worker: Pid) {
        self.cost = Cost::default();
        self.others.take();
        self.seen.take();
        let mut required = BTreeSet::new();
        if let Some(&previous) = self.ready.last() {
            self.find_waits(&with_descendants(&[previous]), &mut required, |_| false);
        }
        self.required = required;
    }

    /// If nobody is left, a worker that serves anything is accepted.
    fn end(&mut self, worker: Pid) {
        self.ready.retain(|&ready| ready != worker);
        if self.ready.is_empty() {
            self.required.clear();
        }
    }

    fn serves(&mut self, worker: Pid) {
        self.ready.push(worker);
    }

    fn unserved(&self, workers: &[Pid], listeners: &[ino_t]) -> Vec<ino_t> {
        let served = self.served_by(workers, listeners);
        listeners.iter().copied().filter(|inode| !served.contains(inode)).collect()
    }

    fn is_ready(&mut self, worker: Pid) -> bool {
        let begin = cpu_time();
        let is_accepting = self.is_accepting(worker);
        let last = cpu_time().saturating_sub(begin);
        self.cost = Cost { all: self.cost.all + last, last };
        if is_accepting {
            self.others.take();
            self.serves(worker);
        }
        is_accepting
    }

    fn lack(&self) -> String {
        let seen = self.seen.borrow();
        let missing = self.names_of(self.required.difference(&seen).copied());
        if missing.is_empty() || seen.is_empty() {
            "has not waited for a connection at a listener".into()
        } else {
            format!("has not waited for a connection at {missing}, where the old worker does,")
        }
    }

    fn instead(&self, worker: Pid) -> Option<String> {
        let family = with_descendants(&[worker]);
        let sockets: BTreeSet<_> = family.iter().flat_map(|&process| sockets_of(process)).collect();
        let is_other = |inode: &ino_t| sockets.contains(inode) && !self.inodes.contains(inode);
        let tcp = listening().into_iter().filter(|(inode, _)| is_other(inode)).map(|(_, address)| address.to_string());
        let unix = unix_sockets().filter(|socket| socket.is_listening && is_other(&socket.inode));
        let unix = unix.map(|socket| String::from_utf8_lossy(&socket.name).into_owned());
        let all: Vec<_> = tcp.chain(unix).filter(|name| !name.is_empty()).collect();
        (!all.is_empty()).then(|| format!("it listens to {}, which it has opened itself", all.join(", ")))
    }

    /// It grows with the time so far, and with the cost of a look.
    fn pause(&self, waited: Duration) -> Option<Duration> {
        Some((waited / 20).clamp(SHORTEST_PAUSE, LONGEST_PAUSE).max(self.cost.pause(waited)))
    }
}

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

fn sockets_of(process: Pid) -> impl Iterator<Item = ino_t> {
    Process::Pid(process).descriptors().into_iter().flatten().filter_map(Descriptor::socket)
}

// Elsewhere the waits are unknown, and no worker is ever seen.
#[cfg(all(test, target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};
    use std::thread::{self, JoinHandle};
    use std::time::Instant;

    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

    use super::*;
    use crate::sys;

    /// Nothing depends on how long a wait takes, but a test that hangs has to end.
    const DEADLINE: Duration = Duration::from_secs(120);

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    fn connect(listener: &TcpListener) {
        drop(TcpStream::connect(listener.local_addr().unwrap()));
    }

    fn own_pid() -> Pid {
        Pid::try_from(std::process::id()).unwrap()
    }

    /// A Perl program that has a listener as its standard input. Dropping it kills it with everything that it has
    /// forked, and reaps it.
    struct Worker(Child);

    impl Worker {
        fn start(code: &str, stdin: impl Into<OwnedFd>, stdout: impl Into<Stdio>) -> Self {
            let mut perl = Command::new("perl");
            // If the test is killed, it exits by itself.
            perl.arg("-e")
                .arg(format!("alarm 300; {code}"))
                .stdin(Stdio::from(stdin.into()))
                .stdout(stdout)
                .process_group(0);
            Self(perl.spawn().expect("perl"))
        }

        fn pid(&self) -> Pid {
            Pid::try_from(self.0.id()).unwrap()
        }
    }

    impl Drop for Worker {
        fn drop(&mut self) {
            if let Ok(None) = self.0.try_wait() {
                let _ = sys::kill(-self.pid(), libc::SIGKILL);
                let _ = self.0.wait();
            }
        }
    }

    fn wait_until(what: &str, is_there: impl Fn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is_there() {
            assert!(Instant::now() < deadline, "deadline passed in the wait for {what}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_until_accepting(listener: &impl AsFd, worker: Pid) {
        let accepting = Accepting::of([listener]);
        wait_until("a worker that accepts", || accepting.is_accepting(worker));
    }

    #[test]
    fn looks_that_cost_much_are_rare() {
        let seconds = Duration::from_secs_f64;
        let cost = |all, last| Cost { all: seconds(all), last: seconds(last) };
        assert_eq!(cost(0.01, 0.001).pause(seconds(0.0)), seconds(0.003));
        assert_eq!(cost(0.07, 0.03).pause(seconds(0.1)), seconds(0.09));
        assert_eq!(cost(0.6, 0.1).pause(seconds(6.0)), seconds(1.8));
        assert_eq!(cost(2.0, 2.0).pause(seconds(2.0)), seconds(48.7));
    }

    #[test]
    fn what_was_seen_of_a_worker_is_forgotten() {
        let listener = listener();
        let mut accepting = Accepting::of([&listener]);
        let _other = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(!{
            let mut found = BTreeSet::new();
            accepting.find_accepted(&[own_pid()], &mut found, |found| !found.is_empty());
            !found.is_empty()
        });
        assert!(!accepting.others.borrow().is_empty());
        accepting.begin(1);
        assert!(accepting.others.borrow().is_empty());
    }

    #[test]
    fn a_look_is_interrupted() {
        let listener = listener();
        let worker = Worker::start("accept C, STDIN", listener.try_clone().unwrap(), Stdio::inherit());
        wait_until_accepting(&listener, worker.pid());
        let mut accepting = Accepting::of([&listener]);
        accepting.is_interrupted = || true;
        assert!(!accepting.is_accepting(worker.pid()));
    }

    /// A Perl program that gets a listener is seen to wait on it.
    fn sees(code: &str) {
        let listener = listener();
        let worker = Worker::start(code, listener.try_clone().unwrap(), Stdio::inherit());
        wait_until_accepting(&listener, worker.pid());
    }

    #[test]
    fn accept() {
        sees("accept C, STDIN");
    }

    #[test]
    fn select() {
        sees("vec($r, 0, 1) = 1; select $r, undef, undef, undef");
    }

    /// The set has a word and a half, of which only the last bit is set. The descriptor is a copy of the listener.
    #[test]
    fn select_on_a_high_descriptor() {
        sees("use POSIX; POSIX::dup2(0, 90); vec($r, 90, 1) = 1; select $r, undef, undef, undef");
    }

    #[test]
    fn poll() {
        sees("use IO::Poll; pipe A, B; $p = IO::Poll->new; $p->mask($_, POLLIN) for *A, *STDIN; $p->poll");
    }

    #[test]
    fn grandchild() {
        let listener = listener();
        let code = "if (!fork) { if (!fork) { accept C, STDIN; exit } wait; exit } wait";
        let mut worker = Worker::start(code, listener.try_clone().unwrap(), Stdio::inherit());
        wait_until_accepting(&listener, worker.pid());
        // The end of all three.
        connect(&listener);
        assert!(worker.0.wait().unwrap().success());
    }

    #[test]
    fn thread() {
        let listener = listener();
        let server = listener.try_clone().unwrap();
        let server = thread::spawn(move || server.accept().map(drop));
        wait_until_accepting(&listener, own_pid());
        connect(&listener);
        server.join().unwrap().unwrap();
    }

    #[test]
    fn udp() {
        for code in
            ["recv STDIN, $m, 9, 0", "sysread STDIN, $m, 9", "vec($r, 0, 1) = 1; select $r, undef, undef, undef"]
        {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let worker = Worker::start(code, socket.try_clone().unwrap(), Stdio::inherit());
            wait_until_accepting(&socket, worker.pid());
        }
    }

    /// An epoll set with one member.
    fn epoll_set(member: impl AsFd, events: EpollFlags) -> Epoll {
        let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        set.add(member, EpollEvent::new(events, 0)).unwrap();
        set
    }

    fn wait_in_epoll(set: Epoll) -> JoinHandle<()> {
        thread::spawn(move || {
            let _ = set.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE);
        })
    }

    #[test]
    fn epoll() {
        let listener = listener();
        let server = wait_in_epoll(epoll_set(&listener, EpollFlags::EPOLLIN | EpollFlags::EPOLLET));
        wait_until_accepting(&listener, own_pid());
        connect(&listener);
        server.join().unwrap();
    }

    #[test]
    fn epoll_set_in_another() {
        let listener = listener();
        let inner = epoll_set(&listener, EpollFlags::EPOLLIN);
        let server = wait_in_epoll(epoll_set(&inner.0, EpollFlags::EPOLLIN));
        wait_until_accepting(&listener, own_pid());
        connect(&listener);
        server.join().unwrap();
    }

    /// The set has been made by another process, in which the listener had another number.
    #[test]
    fn inherited_epoll_set_in_a_select() {
        let listener = listener();
        let set = epoll_set(&listener, EpollFlags::EPOLLIN);
        let code = "vec($r, 0, 1) = 1; select $r, undef, undef, undef";
        let worker = Worker::start(code, set.0, Stdio::inherit());
        wait_until_accepting(&listener, worker.pid());
    }

    #[test]
    fn member_that_is_not_for_input() {
        let (listener, other) = (listener(), listener());
        let set = epoll_set(&listener, EpollFlags::EPOLLOUT | EpollFlags::EPOLLET);
        set.add(&other, EpollEvent::new(EpollFlags::EPOLLIN, 0)).unwrap();
        let server = wait_in_epoll(set);
        wait_until_accepting(&other, own_pid());
        assert!(!Accepting::of([&listener]).is_accepting(own_pid()));
        connect(&other);
        server.join().unwrap();
    }

    /// It has both sockets, and waits first on one, then on the other.
    #[test]
    fn another_socket() {
        let (listener, other) = (listener(), listener());
        let stdout = Stdio::from(OwnedFd::from(other.try_clone().unwrap()));
        let worker = Worker::start("accept C, STDOUT; close C; accept C, STDIN", listener.try_clone().unwrap(), stdout);
        let accepting = Accepting::of([&listener]);
        let accepting_other = Accepting::of([&other]);
        let both = Accepting::of([&listener, &other]);
        let pid = worker.pid();
        wait_until("the first", || accepting_other.is_accepting(pid));
        assert!(!accepting.is_accepting(pid));
        assert!(both.is_accepting(pid));
        connect(&other);
        wait_until("the second", || accepting.is_accepting(pid));
        assert!(!accepting_other.is_accepting(pid));
        assert!(both.is_accepting(pid));
    }

    #[test]
    fn sleep() {
        let listener = listener();
        let code = "$| = 1; print qq{here\n}; sleep";
        let mut worker = Worker::start(code, listener.try_clone().unwrap(), Stdio::piped());
        let accepting = Accepting::of([&listener]);
        assert!(!accepting.is_accepting(worker.pid()));
        BufReader::new(worker.0.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let call = || Process::Pid(worker.pid()).system_call().unwrap();
        wait_until("a worker that sleeps", || call() != "running\n");
        assert!(!accepting.is_accepting(worker.pid()));
    }

    /// It never waits on the listener, but has connections: two to others of its own, then one to the listener.
    fn sees_connection(listener: impl Into<OwnedFd>, connect: impl Fn()) {
        let listener = listener.into();
        let accepting = Accepting::of([&listener]);
        let code = "use Socket; use Fcntl; fcntl STDIN, F_SETFL, O_NONBLOCK; \
                    socket S, AF_INET, SOCK_STREAM, 0; listen S, 1; \
                    socket D, AF_INET, SOCK_STREAM, 0; connect D, getsockname S; accept E, S or die $!; \
                    socket U, AF_UNIX, SOCK_STREAM, 0; bind U, pack_sockaddr_un qq{\\0worker $$}; listen U, 1; \
                    socket V, AF_UNIX, SOCK_STREAM, 0; connect V, getsockname U; accept W, U or die $!; \
                    $| = 1; print qq{here\\n}; 1 until accept C, STDIN; sleep";
        let mut worker = Worker::start(code, listener.try_clone().unwrap(), Stdio::piped());
        BufReader::new(worker.0.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        assert!(!accepting.is_accepting(worker.pid()));
        connect();
        wait_until("a worker that has accepted", || accepting.is_accepting(worker.pid()));
        assert!(accepting.is_accepting(worker.pid()), "it still has");
    }

    #[test]
    fn connection() {
        let tcp = listener();
        let address = tcp.local_addr().unwrap();
        sees_connection(tcp, || drop(TcpStream::connect(address).unwrap()));
    }

    /// If there is IPv6, a socket for both.
    #[test]
    fn connection_to_any_address() {
        let tcp = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0")).unwrap();
        let port = tcp.local_addr().unwrap().port();
        sees_connection(tcp, || drop(TcpStream::connect(("127.0.0.1", port)).unwrap()));
    }

    #[test]
    fn connection_to_a_unix_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a socket");
        sees_connection(UnixListener::bind(&path).unwrap(), || drop(UnixStream::connect(&path).unwrap()));
    }

    #[test]
    fn process_that_is_gone() {
        let listener = listener();
        let worker = Worker::start("", listener.try_clone().unwrap(), Stdio::inherit());
        let (accepting, pid) = (Accepting::of([&listener]), worker.pid());
        drop(worker);
        assert!(!accepting.is_accepting(pid));
    }
}
