//! `--ready=accepting`: whether a worker waits for connections, as /proc shows it. Linux only.
//!
//! Of a thread that sleeps in a system call, the kernel tells which call that is and its arguments. If they name a listener,
//! or a set that has one in it, the worker is ready. One that has so much to do that it never waits for more is ready when
//! it has a connection to a listener. Nothing about a worker changes by being looked at.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use libc::{c_int, c_long, ino_t};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::stat::fstat;

use crate::error::Error;
use crate::readiness::connections::Connections;
use crate::readiness::descendants::{threads, with_descendants};
use crate::sys::{self, Fork, Pid};

/// No more is read of a poll or select set, or of the list of an epoll set. Ten thousand descriptors take less.
const LONGEST_SET: usize = 1 << 20;

/// An epoll set is looked into, and one that is a member of it, too.
const LEVELS: u8 = 2;

/// Knows the listeners.
pub(crate) struct Accepting {
    /// What the kernel calls their sockets. Descriptors of workers may have any numbers.
    inodes: Vec<ino_t>,
    connections: Connections,
    /// Sockets of workers that are no connections to listeners. They never become such, so they are looked up only once.
    others: RefCell<BTreeSet<ino_t>>,
}

impl Accepting {
    /// Finds out, at a process made for that, whether this one may look at its workers, so that a refusal is told before
    /// anything is started. The process is gone on return.
    ///
    /// A worker that changes its user, or whose program has capabilities or can't be read, may refuse nevertheless: it never
    /// seems to accept.
    pub(crate) fn new(listeners: impl IntoIterator<Item = impl AsFd>) -> Result<Self, Error> {
        let listeners: Vec<_> = listeners.into_iter().collect();
        let inodes = listeners.iter().map(|listener| fstat(listener).map(|stat| stat.st_ino));
        let inodes: Vec<_> =
            inodes.collect::<Result<_, _>>().map_err(|errno| Error::system(&[b"fstat failed:"], errno))?;
        try_to_look()?;
        Ok(Self { connections: Connections::to(&listeners, &inodes), inodes, others: RefCell::default() })
    }

    /// Whether `worker` or one of its descendants waits on one of the listeners right now, or has a connection to one. That is
    /// one look, and a process may just be doing something else: the caller repeats it.
    pub(crate) fn is_accepting(&self, worker: Pid) -> bool {
        let family = with_descendants(worker);
        family.iter().any(|&process| self.is_waiting(process)) || self.have_accepted(&family)
    }

    fn is_waiting(&self, process: Pid) -> bool {
        threads(process).any(|thread| {
            let awaited = awaited(&thread).unwrap_or_default();
            awaited.into_iter().any(|fd| self.is_listener(&thread, fd, LEVELS))
        })
    }

    /// Whether one of the processes has a connection to a listener.
    fn have_accepted(&self, processes: &[Pid]) -> bool {
        let mut others = self.others.borrow_mut();
        let all = processes.iter().flat_map(|&process| sockets_of(process));
        let new: BTreeSet<_> = all.filter(|inode| !self.inodes.contains(inode) && !others.contains(inode)).collect();
        if new.is_empty() {
            return false;
        }
        let is_there = self.connections.have_one_of(&new);
        if !is_there {
            others.extend(new);
        }
        is_there
    }

    /// Whether `fd` of `thread` is a listener, or an epoll set with one in it. Of sets, so many levels are looked into.
    fn is_listener(&self, thread: &Path, fd: RawFd, levels: u8) -> bool {
        let Ok(target) = fs::read_link(thread.join(format!("fd/{fd}"))) else { return false };
        let is_epoll_set = target == Path::new("anon_inode:[eventpoll]");
        socket_inode(&target).is_some_and(|inode| self.inodes.contains(&inode))
            || is_epoll_set && levels > 0 && self.epoll_set_has_listener(thread, fd, levels - 1)
    }

    fn epoll_set_has_listener(&self, thread: &Path, fd: RawFd, levels: u8) -> bool {
        let mut list = Vec::new();
        if let Ok(file) = File::open(thread.join(format!("fdinfo/{fd}"))) {
            let _ = file.take(LONGEST_SET as u64).read_to_end(&mut list);
        }
        // A member has the number under which it was added, perhaps by another process; the inode is what counts. Linux
        // before 4.13 doesn't tell it.
        String::from_utf8_lossy(&list).lines().filter_map(EpollMember::parse).filter(|member| member.is_for_input).any(
            |member| {
                member.inode.is_some_and(|inode| self.inodes.contains(&inode))
                    || self.is_listener(thread, member.fd, levels)
            },
        )
    }
}

// --- processes

/// Forks a process that stands still, and reads what will be read of workers.
fn try_to_look() -> Result<(), Error> {
    let (mut ours, theirs) = UnixStream::pair().map_err(|error| Error::system(&[b"socketpair failed:"], error))?;
    // In the child they stay blocked: the handlers of the superdaemon would tell it of signals that it hasn't got.
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let forked = sys::fork();
    if let Ok(mask) = mask
        && !matches!(forked, Ok(Fork::Child))
    {
        let _ = mask.thread_set_mask();
    }
    match forked.map_err(|errno| Error::system(&[b"fork failed:"], errno))? {
        Fork::Child => {
            drop(ours);
            stand_still(theirs)
        }
        Fork::Parent(pid) => {
            drop(theirs);
            let _ = ours.read_exact(&mut [0]);
            let readable = is_readable(pid);
            let _ = sys::kill(pid, libc::SIGKILL);
            sys::wait_for(pid);
            readable
        }
    }
}

/// The child: lasts until it is killed or the parent is gone. Async-signal-safe.
fn stand_still(mut parent: UnixStream) -> ! {
    // A superdaemon that has capabilities (setcap) may not be looked at, and neither may what is forked from it; but its
    // workers may, since they have executed another program.
    let _ = prctl::set_dumpable(true);
    let _ = parent.write(b".");
    let _ = parent.read(&mut [0]);
    sys::exit_now(0)
}

/// Whether the kernel shows what only a debugger may see. All else that is read needs less.
fn is_readable(process: Pid) -> Result<(), Error> {
    let syscall = format!("/proc/{process}/syscall");
    let memory = format!("/proc/{process}/mem");
    // The right to the first is checked when it is read, that to the other when it is opened.
    for (path, outcome) in [(&syscall, fs::read(&syscall).map(drop)), (&memory, File::open(&memory).map(drop))] {
        let sentence =
            b"--ready=accepting can't look at workers (is kernel.yama.ptrace_scope above 1?): failed to read ";
        outcome.map_err(|error| Error::system(&[sentence, path.as_bytes(), b":"], error))?;
    }
    Ok(())
}

/// From where the link of a descriptor points to: `socket:[INODE]`.
fn socket_inode(target: &Path) -> Option<ino_t> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn sockets_of(process: Pid) -> impl Iterator<Item = ino_t> {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|descriptor| socket_inode(&fs::read_link(descriptor.path()).ok()?))
}

// --- system calls

/// The descriptors on which a thread waits for input; None if it does something else, or runs.
fn awaited(thread: &Path) -> Option<Vec<RawFd>> {
    let call = fs::read_to_string(thread.join("syscall")).ok()?;
    // The number, six arguments, and two addresses. A thread that isn't in a call has the number -1, and one that doesn't
    // sleep is just `running`.
    let mut words = call.split_whitespace();
    let number: c_long = words.next()?.parse().ok()?;
    let mut argument = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let (first, second) = (argument()?, argument()?);
    if ON_DESCRIPTOR.contains(&number) {
        Some(vec![int(first)])
    } else if ON_POLL_SET.contains(&number) {
        Some(poll_set(&read_memory(thread, first, count(second), size_of::<libc::pollfd>())))
    } else if ON_SELECT_SET.contains(&number) {
        let words = count(first).div_ceil(usize::BITS as usize);
        Some(select_set(&read_memory(thread, second, words, size_of::<usize>())))
    } else {
        None
    }
}

// Which calls there are, and their numbers, depends on the architecture. New ones have only one call for each purpose. Where
// time had 32 bits, some have a successor, of which `libc` doesn't know everywhere.

/// Calls whose first argument is a descriptor that is waited on: a socket, or an epoll set.
const ON_DESCRIPTOR: &[c_long] = &[
    #[cfg(not(any(target_arch = "m68k", target_arch = "s390x", target_arch = "x86")))]
    libc::SYS_accept,
    libc::SYS_accept4,
    #[cfg(not(any(
        target_arch = "aarch64",
        target_arch = "csky",
        target_arch = "loongarch64",
        target_arch = "riscv32",
        target_arch = "riscv64"
    )))]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    // On a listener for UDP, that is: others can't be read from.
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    #[cfg(not(target_arch = "riscv32"))]
    libc::SYS_recvmmsg,
    #[cfg(any(target_arch = "arm", target_arch = "powerpc", target_arch = "riscv32", target_arch = "x86"))]
    RECVMMSG_TIME64,
    libc::SYS_read,
];

/// Calls whose first arguments are an array of `pollfd` and its length.
const ON_POLL_SET: &[c_long] = &[
    #[cfg(not(any(
        target_arch = "aarch64",
        target_arch = "csky",
        target_arch = "loongarch64",
        target_arch = "riscv32",
        target_arch = "riscv64"
    )))]
    libc::SYS_poll,
    #[cfg(not(target_arch = "riscv32"))]
    libc::SYS_ppoll,
    #[cfg(any(target_arch = "arm", target_arch = "powerpc", target_arch = "riscv32", target_arch = "x86"))]
    PPOLL_TIME64,
];

/// Calls whose first arguments are how many descriptors count, and the `fd_set` of those to read from.
const ON_SELECT_SET: &[c_long] = &[
    #[cfg(any(target_arch = "s390x", target_arch = "sparc64", target_arch = "x86_64"))]
    libc::SYS_select,
    // Where this is there, the one without `new` takes other arguments.
    #[cfg(any(
        target_arch = "arm",
        target_arch = "mips",
        target_arch = "mips64",
        target_arch = "powerpc",
        target_arch = "powerpc64",
        target_arch = "x86"
    ))]
    libc::SYS__newselect,
    #[cfg(not(target_arch = "riscv32"))]
    libc::SYS_pselect6,
    #[cfg(any(target_arch = "arm", target_arch = "powerpc", target_arch = "riscv32", target_arch = "x86"))]
    PSELECT6_TIME64,
];

#[cfg(any(target_arch = "arm", target_arch = "powerpc", target_arch = "riscv32", target_arch = "x86"))]
const PSELECT6_TIME64: c_long = 413;
#[cfg(any(target_arch = "arm", target_arch = "powerpc", target_arch = "riscv32", target_arch = "x86"))]
const PPOLL_TIME64: c_long = 414;
#[cfg(any(target_arch = "arm", target_arch = "powerpc", target_arch = "riscv32", target_arch = "x86"))]
const RECVMMSG_TIME64: c_long = 417;

/// An argument that is an int: its register may hold anything in the upper half.
fn int(argument: u64) -> c_int {
    #[expect(clippy::cast_possible_truncation, reason = "as the kernel does it")]
    return argument as c_int;
}

/// An argument that is a number of descriptors.
fn count(argument: u64) -> usize {
    usize::try_from(int(argument)).unwrap_or(0)
}

/// `count` things of `size` from the memory of a process, or fewer: select may be given more descriptors than its set has
/// room for, and then the memory may end before.
fn read_memory(thread: &Path, address: u64, count: usize, size: usize) -> Vec<u8> {
    let length = count.saturating_mul(size).min(LONGEST_SET);
    let mut bytes = vec![0; length];
    let read = File::open(thread.join("mem")).and_then(|memory| memory.read_at(&mut bytes, address));
    bytes.truncate(read.unwrap_or(0));
    bytes
}

/// From the bytes of an array of `pollfd`: descriptor, wanted events, events that have come.
fn poll_set(bytes: &[u8]) -> Vec<RawFd> {
    let member = |bytes: &[u8]| {
        let events = i16::from_ne_bytes(bytes[4..6].try_into().ok()?);
        let is_for_input = events & (libc::POLLIN | libc::POLLRDNORM) != 0;
        is_for_input.then_some(RawFd::from_ne_bytes(bytes[..4].try_into().ok()?))
    };
    bytes.chunks_exact(size_of::<libc::pollfd>()).filter_map(member).collect()
}

/// From the bytes of an `fd_set`, which consists of words.
fn select_set(bytes: &[u8]) -> Vec<RawFd> {
    let words = bytes.as_chunks().0.iter().map(|&word| usize::from_ne_bytes(word));
    let bits = words.flat_map(|word| (0..usize::BITS).map(move |bit| word >> bit & 1 == 1));
    (0..).zip(bits).filter_map(|(fd, is_set)| is_set.then_some(fd)).collect()
}

/// A line about a member of an epoll set.
#[derive(Debug, PartialEq)]
struct EpollMember {
    fd: RawFd,
    inode: Option<ino_t>,
    is_for_input: bool,
}

impl EpollMember {
    /// `tfd: FD events: HEX data: HEX pos:N ino:HEX sdev:HEX`; None for other lines.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("tfd:")?.split_whitespace();
        let fd = words.next()?.parse().ok()?;
        let events = words.by_ref().skip_while(|&word| word != "events:").nth(1)?;
        let events = u32::from_str_radix(events, 16).ok()?;
        let input = (libc::EPOLLIN | libc::EPOLLRDNORM).cast_unsigned();
        let inode = words.find_map(|word| ino_t::from_str_radix(word.strip_prefix("ino:")?, 16).ok());
        Some(Self { fd, inode, is_for_input: events & input != 0 })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixListener;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};
    use std::thread::{self, JoinHandle};
    use std::time::{Duration, Instant};

    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

    use super::*;

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

    /// A Perl program that has a listener as its standard input. Killed with all that it has forked, and reaped, when it
    /// goes.
    struct Worker(Child);

    impl Worker {
        fn start(code: &str, stdin: impl Into<OwnedFd>, stdout: impl Into<Stdio>) -> Self {
            let mut perl = Command::new("perl");
            // Should the test be killed, it ends by itself.
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
        let accepting = Accepting::new([listener]).unwrap();
        wait_until("a worker that accepts", || accepting.is_accepting(worker));
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
        assert!(!Accepting::new([&listener]).unwrap().is_accepting(own_pid()));
        connect(&other);
        server.join().unwrap();
    }

    /// It has both sockets, and waits first on one, then on the other.
    #[test]
    fn another_socket() {
        let (listener, other) = (listener(), listener());
        let stdout = Stdio::from(OwnedFd::from(other.try_clone().unwrap()));
        let worker = Worker::start("accept C, STDOUT; close C; accept C, STDIN", listener.try_clone().unwrap(), stdout);
        let accepting = Accepting::new([&listener]).unwrap();
        let accepting_other = Accepting::new([&other]).unwrap();
        let both = Accepting::new([&listener, &other]).unwrap();
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
        let accepting = Accepting::new([&listener]).unwrap();
        assert!(!accepting.is_accepting(worker.pid()));
        BufReader::new(worker.0.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let call = || fs::read_to_string(format!("/proc/{}/syscall", worker.pid())).unwrap();
        wait_until("a worker that sleeps", || call() != "running\n");
        assert!(!accepting.is_accepting(worker.pid()));
    }

    /// It never waits on the listener, but has connections: two to others of its own, then one to the listener.
    fn sees_connection(listener: impl Into<OwnedFd>, connect: impl Fn()) {
        let listener = listener.into();
        let accepting = Accepting::new([&listener]).unwrap();
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

    /// Where there is IPv6, a socket for both.
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
        let (accepting, pid) = (Accepting::new([&listener]).unwrap(), worker.pid());
        drop(worker);
        assert!(!accepting.is_accepting(pid));
        let error = is_readable(pid).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(
            error.to_string(),
            format!(
                "--ready=accepting can't look at workers (is kernel.yama.ptrace_scope above 1?): \
                 failed to read /proc/{pid}/syscall:No such file or directory"
            )
        );
    }

    #[test]
    fn trial_leaves_the_signals_as_they_were() {
        let mask = SigSet::thread_get_mask().unwrap();
        try_to_look().unwrap();
        assert_eq!(SigSet::thread_get_mask().unwrap(), mask);
    }

    #[test]
    fn members_of_epoll_sets() {
        let member = |fd, inode, is_for_input| Some(EpollMember { fd, inode, is_for_input });
        let table = [
            ("tfd:        5 events:       19 data: 5  pos:0 ino:1a2b sdev:9", member(5, Some(0x1a2b), true)),
            (
                "tfd: 123456789 events: 80000004 data: ffffffffffffffff  pos:0 ino:7 sdev:9",
                member(123_456_789, Some(7), false),
            ),
            ("tfd:        5 events: 80000001 data: 5", member(5, None, true)),
            ("pos:\t0", None),
            ("tfd:", None),
        ];
        for (line, expected) in table {
            assert_eq!(EpollMember::parse(line), expected, "{line}");
        }
    }
}
