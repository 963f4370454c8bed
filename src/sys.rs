//! System calls that the `nix` crate leaves out or offers in another shape, as small functions. Each says why.
//! Differences between systems are in `linux.rs` and `elsewhere.rs`, which have the same functions.

#![allow(unsafe_code)]

mod exec;
#[cfg_attr(target_os = "linux", path = "sys/linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "sys/elsewhere.rs")]
mod os;
mod signal_mask;

use std::ffi::{CStr, CString};
use std::io::{self, IoSlice};
use std::mem::{MaybeUninit, offset_of};
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use libc::{c_char, c_int};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::sys::stat::Mode;
use nix::sys::uio::writev;
use nix::unistd::{self, ForkResult};

pub(crate) use exec::{CStringArray, environment, exec, exec_file, exec_shell};
pub(crate) use os::{
    IS_LINUX, abstract_address, abstract_name, allow_looks, become_subreaper, datagram_socket, end_wait,
    end_with_parent, ignore_connection_requests, is_sealed, random, real_time_signals, receive, reserve, sealed_file,
    set_process_name, wait, waits, write_nowait,
};
pub(crate) use signal_mask::{Blocked, Interrupts, block_all};

use crate::proc;
pub(crate) use crate::proc::Pid;
pub(crate) use crate::wait_status::WaitStatus;

/// What a C program would see of `bytes`: everything up to the first NUL.
pub(crate) fn c_string(bytes: &[u8]) -> CString {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    CString::new(&bytes[..end]).unwrap_or_default()
}

/// Proof that the process had no other thread when this was made. Nothing here starts one.
#[derive(Clone, Copy)]
pub(crate) struct OneThread(());

impl OneThread {
    /// None if there are others. If that can't be seen (without /proc), the caller is trusted.
    pub(crate) fn check() -> Option<Self> {
        proc::own_threads().is_none_or(|count| count <= 1).then_some(Self(()))
    }

    /// For tests, whose children make only async-signal-safe calls.
    #[cfg(test)]
    pub(crate) fn assume() -> Self {
        Self(())
    }
}

/// This process's, cached by [`own_pid`]. Zero: not yet.
static OWN_PID: AtomicI32 = AtomicI32::new(0);

/// The process id of this process. Looked up once.
pub(crate) fn own_pid() -> Pid {
    let known = OWN_PID.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let pid = unistd::getpid().as_raw();
    OWN_PID.store(pid, Ordering::Relaxed);
    pid
}

/// Which side of a fork the program is on.
pub(crate) enum Fork {
    Parent(Pid),
    Child,
}

/// fork(2): with one thread, the child may do what the parent may. nix's is the same, but unsafe for all.
pub(crate) fn fork(_: OneThread) -> Result<Fork, Errno> {
    // SAFETY: there is no other thread that could hold a lock which the child would wait for.
    Ok(match unsafe { unistd::fork() }? {
        ForkResult::Child => of_child(0),
        ForkResult::Parent { child } => of_child(child.as_raw()),
    })
}

/// From what fork(2) returns: the pid of the child, or 0 in the child.
fn of_child(pid: Pid) -> Fork {
    if pid == 0 {
        OWN_PID.store(0, Ordering::Relaxed);
        Fork::Child
    } else {
        Fork::Parent(pid)
    }
}

/// The same, but the child has no signal handlers: signals that the parent catches have their default effect there,
/// from the first moment on. None if the system can't do both in one step.
pub(crate) fn fork_without_handlers(one_thread: OneThread) -> Result<Option<Fork>, Errno> {
    Ok(os::fork_without_handlers(one_thread).transpose()?.map(of_child))
}

/// Leaves a forked process without running any clean-up of its parent's. nix has no _exit(2).
pub(crate) fn exit_now(code: u8) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(c_int::from(code)) }
}

/// Leaves a forked process in the same way as another one has ended.
pub(crate) fn end_like(status: WaitStatus) -> ! {
    if let Ok(signal) = Signal::try_from(status & 0x7f) {
        let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: setrlimit(2) reads the structure, and the default is no function that would be called.
        unsafe {
            libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core);
            let _ = sigaction(signal, &default);
        }
        let _ = SigSet::from(signal).thread_unblock();
        let _ = raise(signal);
    }
    exit_now(u8::try_from(status >> 8).unwrap_or(u8::MAX))
}

/// Whether something can be written to `fd` without waiting. Async-signal-safe.
pub(crate) fn is_writable(fd: impl AsFd) -> bool {
    poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)], PollTimeout::ZERO) != Ok(0)
}

/// Writes `parts` and the text of `errno` as one line to fd 2, unless that would have to wait. Async-signal-safe: for a
/// child that cannot exec.
pub(crate) fn say_errno(parts: [&[u8]; 3], errno: Errno) {
    if !is_writable(io::stderr()) {
        return;
    }
    let reason = strerror(errno);
    let line = [parts[0], parts[1], parts[2], reason.as_bytes(), b"\n"].map(IoSlice::new);
    let _ = writev(io::stderr(), &line);
}

/// The text of an errno: see [`strerror`].
pub(crate) struct ErrnoText([c_char; 128]);

impl ErrnoText {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        // SAFETY: `strerror` has filled the buffer with a NUL-terminated string.
        unsafe { CStr::from_ptr(self.0.as_ptr()) }.to_bytes()
    }
}

/// The system's text for `errno`, always in English as the program never calls setlocale(3) (X7). `Errno::desc` words
/// 26 of them differently.
pub(crate) fn strerror(errno: Errno) -> ErrnoText {
    let mut text = [0; 128];
    // SAFETY: the buffer is as long as said; the call ends what it writes with a NUL, also when it has to cut.
    unsafe { libc::strerror_r(errno as c_int, text.as_mut_ptr(), text.len()) };
    ErrnoText(text)
}

/// kill(2) with any signal number: nix has no real-time signals.
pub(crate) fn kill(pid: Pid, signal: c_int) -> Result<(), Errno> {
    // SAFETY: kill(2) touches no memory of ours.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// kill(2) of a process that is not a child of ours, so it may exit at any moment and another may get its number.
/// `is_it` checks again whether it is the right one, when the receiver is fixed.
///
/// # Errors
/// `ESRCH` if it is gone or another one.
pub(crate) fn kill_if(pid: Pid, signal: c_int, is_it: impl FnOnce() -> bool) -> Result<(), Errno> {
    let handle = match os::process_handle(pid) {
        Ok(handle) => Some(handle),
        Err(Errno::ESRCH) => return Err(Errno::ESRCH),
        // The kernel has none, there is no room for a descriptor, or something forbids it: check as late as possible.
        Err(_) => None,
    };
    if !is_it() {
        return Err(Errno::ESRCH);
    }
    handle.map_or_else(|| kill(pid, signal), |handle| os::kill_by_handle(&handle, signal))
}

/// A child that has exited and not been reaped. nix's waitid(2) fails for one that a real-time signal has ended.
pub(crate) fn dead_child() -> Result<Option<Pid>, Errno> {
    find_child(libc::P_ALL, 0, libc::WEXITED)
}

/// Whether the child `pid` has exited and not been reaped.
pub(crate) fn is_dead(pid: Pid) -> Result<bool, Errno> {
    is_in_state(pid, libc::WEXITED)
}

/// Whether a signal has stopped the child `pid`.
pub(crate) fn is_stopped(pid: Pid) -> bool {
    is_in_state(pid, libc::WSTOPPED) == Ok(true)
}

fn is_in_state(pid: Pid, state: c_int) -> Result<bool, Errno> {
    // An id_t is wider than a pid_t on some systems.
    let id = libc::id_t::try_from(pid).map_err(|_| Errno::EINVAL)?;
    find_child(libc::P_PID, id, state).map(|found| found.is_some())
}

fn find_child(kind: libc::idtype_t, id: libc::id_t, state: c_int) -> Result<Option<Pid>, Errno> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = state | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: waitid(2) writes at most the structure; where there is no such child, its si_pid stays the zero it was set to.
    let (result, pid) = unsafe {
        let result = libc::waitid(kind, id, info.as_mut_ptr(), flags);
        (result, info.assume_init().si_pid())
    };
    none_if_childless(Errno::result(result).map(|_| (pid != 0).then_some(pid)))
}

/// waitpid(2) without blocking: `pid`, or any child for -1, if it has exited. nix takes apart the status, which is
/// shown as it is, and has no real-time signals.
pub(crate) fn reap(pid: Pid) -> Result<Option<(Pid, WaitStatus)>, Errno> {
    let mut status = 0;
    // SAFETY: the status is writable.
    let reaped = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
    none_if_childless(Errno::result(reaped).map(|reaped| (reaped != 0).then_some((reaped, status))))
}

/// It is not an error to have no child.
fn none_if_childless<T>(found: Result<Option<T>, Errno>) -> Result<Option<T>, Errno> {
    if matches!(found, Err(Errno::ECHILD)) { Ok(None) } else { found }
}

/// Waits until the child `pid` has exited, and returns its status.
pub(crate) fn wait_for(pid: Pid) -> Option<WaitStatus> {
    let mut status = 0;
    loop {
        // SAFETY: the status is writable.
        match Errno::result(unsafe { libc::waitpid(pid, &raw mut status, 0) }) {
            Ok(_) => return Some(status),
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

/// dup2(2): `fd` becomes `target`, without close-on-exec. Closes whatever was at `target`. nix's requires an owner of
/// the target, and there may be none.
///
/// # Safety
/// No value owns `target`, or it is given up for this.
pub(crate) unsafe fn move_to(fd: OwnedFd, target: RawFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() == target {
        return Ok(fd);
    }
    // SAFETY: as the caller has promised, the new descriptor is the only owner of that number from here on.
    unsafe {
        Errno::result(libc::dup2(fd.as_raw_fd(), target))?;
        Ok(OwnedFd::from_raw_fd(target))
    }
}

/// Replaces another descriptor, which is closed, with `fd`. Without close-on-exec.
pub(crate) fn replace(place: OwnedFd, fd: OwnedFd) -> Result<OwnedFd, Errno> {
    // SAFETY: the place was owned by the value that is given up here.
    unsafe { move_to(fd, place.into_raw_fd()) }
}

/// Replaces another descriptor with a copy of `fd`, which its owner owns from here on. Without close-on-exec.
pub(crate) fn put_over(place: BorrowedFd, fd: &OwnedFd) -> Result<(), Errno> {
    // SAFETY: the number stays open, and its owner the only one.
    Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), place.as_raw_fd()) }).map(drop)
}

/// Moves `fd` to the lowest free number from `minimum` on. `flag` says whether it is closed on exec.
pub(crate) fn move_above(fd: OwnedFd, minimum: RawFd, flag: CloseOnExec) -> Result<OwnedFd, Errno> {
    let command = match flag {
        CloseOnExec::Yes => FcntlArg::F_DUPFD_CLOEXEC(minimum),
        CloseOnExec::No => FcntlArg::F_DUPFD(minimum),
    };
    // SAFETY: F_DUPFD makes a new descriptor, which nothing else owns. nix gives its number.
    let moved = unsafe { OwnedFd::from_raw_fd(fcntl(&fd, command)?) };
    drop(fd);
    Ok(moved)
}

/// Whether a descriptor is closed when a program is executed.
#[derive(Clone, Copy)]
pub(crate) enum CloseOnExec {
    Yes,
    No,
}

/// Whether `fd` is the number of an open descriptor. nix accepts only open ones.
pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD only looks.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags != -1 || Errno::last() != Errno::EBADF
}

/// Takes over the descriptor `fd`, which another program has left open for this one.
///
/// # Errors
/// `EBADF` if it is not open.
///
/// # Safety
/// No value owns `fd`.
pub(crate) unsafe fn take(fd: RawFd) -> Result<OwnedFd, Errno> {
    if !is_open(fd) {
        return Err(Errno::EBADF);
    }
    // SAFETY: it is open, and as the caller has promised, nothing here owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets whether the open descriptor `fd` is closed on exec. nix requires an owner. Async-signal-safe.
pub(crate) fn set_close_on_exec(fd: RawFd, flag: CloseOnExec) -> Result<(), Errno> {
    let flags = if matches!(flag, CloseOnExec::Yes) { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: F_SETFD changes nothing else.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, flags) }).map(drop)
}

/// Opens /dev/null, without close-on-exec, for each of 0, 1 and 2 that is closed, so nothing else lands there. Without
/// /dev/null, something that can be opened everywhere but neither read nor written. Returns how many there were.
pub(crate) fn open_standard_descriptors() -> usize {
    let closed = closed_standard_descriptors();
    for _ in 0..closed {
        // The lowest free number is one of them. It stays open.
        let opened = open(c"/dev/null", OFlag::O_RDWR, Mode::empty());
        let opened = opened.or_else(|_| open(c"/", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty()));
        let _ = opened.map(IntoRawFd::into_raw_fd);
    }
    closed
}

/// How many of 0, 1 and 2 are closed. One call, where fcntl(2) takes three.
fn closed_standard_descriptors() -> usize {
    let mut fds = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: three elements, which live until it returns. nix asks for descriptors that are open.
    let asked = Errno::result(unsafe { libc::poll(fds.as_mut_ptr(), 3, 0) });
    let is_closed = |fd: &libc::pollfd| match asked {
        Ok(_) => fd.revents & libc::POLLNVAL != 0,
        Err(_) => !is_open(fd.fd),
    };
    fds.iter().filter(|fd| is_closed(fd)).count()
}

/// A file that this process has locked by flock(2), until it is dropped. nix's panics if the unlock fails.
pub(crate) struct Locked<T: AsFd>(T);

impl<T: AsFd> Locked<T> {
    /// For a file that the previous program has locked, in the same process.
    pub(crate) fn by_inheritance(file: T) -> Self {
        Self(file)
    }

    /// Locks `file`, or returns it with the error. A signal ends a wait for the lock (`EINTR`).
    pub(crate) fn lock(file: T, kind: Lock) -> Result<Self, (T, Errno)> {
        let operation = match kind {
            Lock::Wait => libc::LOCK_EX,
            Lock::Try => libc::LOCK_EX | libc::LOCK_NB,
            Lock::TryShared => libc::LOCK_SH | libc::LOCK_NB,
        };
        match flock(&file, operation) {
            Ok(()) => Ok(Self(file)),
            Err(errno) => Err((file, errno)),
        }
    }
}

impl<T: AsFd> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: AsFd> Drop for Locked<T> {
    fn drop(&mut self) {
        let _ = flock(&self.0, libc::LOCK_UN);
    }
}

/// How to lock a file.
#[derive(Clone, Copy)]
pub(crate) enum Lock {
    /// Exclusively, and wait for that.
    Wait,
    /// Exclusively, if nobody has a lock: `EWOULDBLOCK` otherwise.
    Try,
    /// Shared.
    TryShared,
}

fn flock(file: impl AsFd, operation: c_int) -> Result<(), Errno> {
    // SAFETY: flock(2) touches no memory of ours.
    Errno::result(unsafe { libc::flock(file.as_fd().as_raw_fd(), operation) }).map(drop)
}

/// listen(2) with any backlog; nix accepts only some.
pub(crate) fn listen(socket: &OwnedFd, backlog: c_int) -> Result<(), Errno> {
    // SAFETY: listen(2) touches no memory of ours.
    Errno::result(unsafe { libc::listen(socket.as_raw_fd(), backlog) }).map(drop)
}

/// How long the path of a unix socket may be: all of `sun_path`, without a NUL (U5). 108 bytes on Linux.
pub(crate) const LONGEST_SOCKET_PATH: usize = size_of::<libc::sockaddr_un>() - offset_of!(libc::sockaddr_un, sun_path);

/// bind(2) of a unix socket to `path`, of which at most [`LONGEST_SOCKET_PATH`] bytes are used. nix requires room for a
/// NUL.
pub(crate) fn bind_unix(socket: &OwnedFd, path: &[u8]) -> Result<(), Errno> {
    with_unix_address(path, |address, length| {
        // SAFETY: the address is a sockaddr_un of the length given.
        unsafe { libc::bind(socket.as_raw_fd(), address, length) }
    })
}

/// connect(2) of a unix socket, otherwise like [`bind_unix`].
pub(crate) fn connect_unix(socket: &OwnedFd, path: &[u8]) -> Result<(), Errno> {
    with_unix_address(path, |address, length| {
        // SAFETY: the address is a sockaddr_un of the length given.
        unsafe { libc::connect(socket.as_raw_fd(), address, length) }
    })
}

fn with_unix_address(
    path: &[u8],
    call: impl FnOnce(*const libc::sockaddr, libc::socklen_t) -> c_int,
) -> Result<(), Errno> {
    // SAFETY: all-zero is a valid sockaddr_un.
    let mut address: libc::sockaddr_un = unsafe { MaybeUninit::zeroed().assume_init() };
    #[expect(clippy::cast_possible_truncation, reason = "AF_UNIX is 1")]
    {
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    }
    for (to, &from) in address.sun_path.iter_mut().zip(path) {
        *to = c_char::from_ne_bytes([from]);
    }
    let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
    Errno::result(call((&raw const address).cast(), length)).map(drop)
}

/// gethostbyname(3), with which the original resolves names (S7): IPv4 only, the first address only, and `127.1` and
/// the like are addresses. getaddrinfo(3) differs in all three.
///
/// # Errors
/// errno as the call left it; 0 if the name does not exist.
pub(crate) fn gethostbyname(name: &CStr) -> Result<Ipv4Addr, i32> {
    unsafe extern "C" {
        fn gethostbyname(name: *const c_char) -> *const libc::hostent;
    }
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    load_no_module();
    Errno::clear();
    // SAFETY: the name is a C string, and only the one thread of a start (`OneThread`) comes here. For an AF_INET
    // entry, h_addr_list points to a list of pointers to 4 bytes each, which ends in a null pointer.
    unsafe {
        let Some(entry) = gethostbyname(name.as_ptr()).as_ref() else {
            return Err(Errno::last_raw());
        };
        let first = *entry.h_addr_list;
        if entry.h_addrtype != libc::AF_INET || first.is_null() {
            return Err(0);
        }
        Ok(Ipv4Addr::from(*first.cast::<[u8; 4]>()))
    }
}

/// Limits the resolver to the host name sources `files` and `dns`, which a static program contains. Any other source in
/// /etc/nsswitch.conf would be loaded from the machine's C library, and crash if that is another version.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
fn load_no_module() {
    unsafe extern "C" {
        fn __nss_configure_lookup(database: *const c_char, sources: *const c_char) -> c_int;
    }
    // SAFETY: both are C strings, which are copied; there is one thread, as above.
    unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
}
