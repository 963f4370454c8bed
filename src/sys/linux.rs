//! What only Linux has, or nix only there; `elsewhere.rs` has the same functions for other systems.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::ptr;
use std::sync::atomic::{AtomicIsize, Ordering, compiler_fence};
use std::time::Duration;

use libc::{c_int, c_long};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::poll::PollFd;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};

use crate::sys::{OneThread, Pid};

/// Whether this is Linux.
pub(crate) const IS_LINUX: bool = true;

/// pwritev2(2) with `RWF_NOWAIT`, which nix doesn't have: a write(2) that doesn't block, whatever the flags of `fd`,
/// which others share.
///
/// # Errors
/// `EAGAIN` if it would block, `EOPNOTSUPP` if this is unsupported: pipes and sockets have it from Linux 6.5 on.
pub(crate) fn write_nowait(fd: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    let part = IoSlice::new(bytes);
    // SAFETY: an IoSlice has the layout of an iovec, and the bytes live until the call returns.
    let written = unsafe { libc::pwritev2(fd.as_fd().as_raw_fd(), (&raw const part).cast(), 1, -1, libc::RWF_NOWAIT) };
    Errno::result(written).map(isize::cast_unsigned)
}

/// The time that [`wait`] may take. The kernel reads it when the wait begins.
static TIMEOUT: [AtomicIsize; 2] = [AtomicIsize::new(0), AtomicIsize::new(0)];

/// Whether one of `fds` gets ready within `timeout`, before a signal handler calls [`end_wait`]. False at once if
/// `is_over`, which checks what a handler has noted.
///
/// ppoll(2) by itself misses a signal just before it. Here, that signal sets the time to zero before the kernel reads
/// it. A mask would take two system calls more, and a pipe as many and two descriptors. Only one thread may wait.
pub(crate) fn wait(fds: &mut [PollFd], timeout: Option<Duration>, is_over: impl Fn() -> bool) -> bool {
    let timeout = timeout.unwrap_or(Duration::MAX);
    let [seconds, nanoseconds] = &TIMEOUT;
    nanoseconds.store(timeout.subsec_nanos().cast_signed().try_into().unwrap_or(0), Ordering::Relaxed);
    seconds.store(timeout.as_secs().try_into().unwrap_or(isize::MAX), Ordering::Relaxed);
    // ORDER: after the time is set, which overwrites the zero of an earlier signal. The compiler has to keep this
    // order, too.
    compiler_fence(Ordering::SeqCst);
    if is_over() {
        return false;
    }
    // SAFETY: `PollFd` is a `pollfd`, and `TIMEOUT` has the layout of the `timespec` that this call takes, two longs; the
    // kernel may write what is left of it.
    unsafe { libc::syscall(libc::SYS_ppoll, fds.as_mut_ptr(), fds.len(), &raw const TIMEOUT, ptr::null::<u8>(), 0) > 0 }
}

/// Ends a [`wait`]. Async-signal-safe.
pub(crate) fn end_wait() {
    for part in &TIMEOUT {
        part.store(0, Ordering::Relaxed);
    }
}

/// clone3(2) as fork(2), with `CLONE_CLEAR_SIGHAND`, which libc and nix leave out: the child's process id, 0 in the
/// child. None before Linux 5.5, or if something forbids it.
pub(super) fn fork_without_handlers(_: OneThread) -> Option<Result<Pid, Errno>> {
    const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
    /// The first version of the structure, all of it 64 bits each.
    const FIELDS: usize = 8;
    const FLAGS: usize = 0;
    const EXIT_SIGNAL: usize = 4;
    let mut arguments = [0; FIELDS];
    arguments[FLAGS] = CLONE_CLEAR_SIGHAND;
    arguments[EXIT_SIGNAL] = libc::SIGCHLD as u64;
    // SAFETY: the structure is as long as said. Memory is copied, not shared, and there is no other thread that could hold a lock.
    // The C library, which knows nothing of the fork, has the parent's thread id in the child: nothing there asks for it before exec.
    let forked = unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size_of_val(&arguments)) };
    match Errno::result(forked) {
        Err(Errno::ENOSYS | Errno::EINVAL | Errno::EPERM) => None,
        forked => Some(forked.map(|pid| pid.try_into().unwrap_or(Pid::MAX))),
    }
}

/// Keeps clients from connecting to a TCP listener without refusing them: a SYN gets no answer, and the client sends it
/// again after a second. Connections are not affected.
pub(crate) fn ignore_connection_requests(listener: &OwnedFd) -> Result<(), Errno> {
    const BYTE_OF_FLAGS: u32 = 13;
    const SYN: u32 = 2;
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code.try_into().unwrap_or(0), jt, jf, k };
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, BYTE_OF_FLAGS),
        instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, SYN),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: the option takes a sock_fprog, whose size is given, and which points to as many instructions as it says; the kernel
    // copies them.
    let set = unsafe {
        let length = size_of_val(&filter).try_into().unwrap_or(0);
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            length,
        )
    };
    Errno::result(set).map(drop)
}

/// The numbers of the real-time signals.
pub(crate) fn real_time_signals() -> RangeInclusive<c_int> {
    libc::SIGRTMIN()..=libc::SIGRTMAX()
}

/// A unix datagram socket that never blocks, and reports the sender of each datagram: see [`receive`].
pub(crate) fn datagram_socket() -> Result<OwnedFd, Errno> {
    let fd = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    // ORDER: before it has a name, as the kernel notes the sender at the time of sending.
    setsockopt(&fd, sockopt::PassCred, &true)?;
    Ok(fd)
}

/// recvmsg(2) of a datagram, without blocking: its length, as far as it fits into `buffer`, and the user that sent it,
/// which the kernel reports for a socket with `SO_PASSCRED`. Descriptors in it are closed. nix's drops all control
/// messages if one was cut, and so the sender of a message with descriptors.
pub(crate) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<(usize, Option<u32>), Errno> {
    /// Room only for the credentials: the kernel closes descriptors that don't fit (unix(7)).
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        credentials: libc::ucred,
    }
    // SAFETY: all-zero is valid for all three structures.
    let (mut control, mut message): (Control, libc::msghdr) = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut parts = [libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() }];
    (message.msg_iov, message.msg_iovlen) = (parts.as_mut_ptr(), 1);
    (message.msg_control, message.msg_controllen) = ((&raw mut control).cast(), size_of_val(&control) as _);
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the message points to memory that is as long as it says, writable, and lives until the call returns.
    let length = Errno::result(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) })?;
    let is_known = control.header.cmsg_level == libc::SOL_SOCKET && control.header.cmsg_type == libc::SCM_CREDENTIALS;
    Ok((length.cast_unsigned(), is_known.then_some(control.credentials.uid)))
}

/// Bytes that nobody can guess. nix has no getrandom(2).
pub(crate) fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], Errno> {
    let mut bytes = [0; LENGTH];
    loop {
        // SAFETY: the buffer is writable and as long as said. No signal cuts a read of up to 256 bytes short.
        match Errno::result(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), LENGTH, 0) }) {
            Ok(_) => return Ok(bytes),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The address of a unix socket that has no file, from what follows the NUL.
pub(crate) fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(name)
}

/// What follows the NUL in an address that names no file.
pub(crate) fn abstract_name(address: &SocketAddr) -> Option<&[u8]> {
    address.as_abstract_name()
}

/// An unchangeable file in memory with `content`. Closed on exec.
pub(crate) fn sealed_file(name: &CStr, content: &[u8]) -> io::Result<OwnedFd> {
    let file = File::from(memfd_create(name, MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC)?);
    (&file).write_all(content)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::all()))?;
    Ok(file.into())
}

/// Makes sure that the disk has room for the next `length` bytes of an empty file, if its file system can do that.
pub(crate) fn reserve(file: impl AsFd, length: u16) -> Result<(), Errno> {
    match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length.into()) {
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
        reserved => reserved,
    }
}

/// Whether nobody can write to a file any more.
pub(crate) fn is_sealed(file: impl AsFd) -> bool {
    let seals = fcntl(file, FcntlArg::F_GET_SEALS).map_or(SealFlag::empty(), SealFlag::from_bits_truncate);
    seals.contains(SealFlag::F_SEAL_WRITE)
}

/// An orphan becomes a child of the nearest ancestor that has called this. Async-signal-safe.
pub(crate) fn become_subreaper() -> Result<(), Errno> {
    prctl::set_child_subreaper(true)
}

/// A descriptor for this process, even if another one gets its number later. Closed on exec. nix has none.
pub(crate) fn process_handle(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: the call touches no memory of ours, and gives a new descriptor, which nothing else owns.
    unsafe {
        let fd = Errno::result(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        Ok(OwnedFd::from_raw_fd(RawFd::try_from(fd).map_err(|_| Errno::EBADF)?))
    }
}

/// kill(2) of the process of a descriptor.
pub(crate) fn kill_by_handle(handle: &OwnedFd, signal: c_int) -> Result<(), Errno> {
    let no_info = ptr::null::<libc::siginfo_t>();
    // SAFETY: without a siginfo_t, the call touches no memory of ours.
    Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, handle.as_raw_fd(), signal, no_info, 0) })
        .map(drop)
}

/// This process gets KILL when its parent dies. Async-signal-safe.
pub(crate) fn end_with_parent() -> Result<(), Errno> {
    prctl::set_pdeathsig(Signal::SIGKILL)
}

/// Sets the name in lists of processes: the beginning of `name`.
pub(crate) fn set_process_name(name: &CStr) -> Result<(), Errno> {
    prctl::set_name(name)
}

/// Allows processes of the same user to examine this one, although its program has capabilities. Async-signal-safe.
pub(crate) fn allow_looks() -> Result<(), Errno> {
    prctl::set_dumpable(true)
}

/// The system calls in which a process waits for input. Which there are, and their numbers, depends on the architecture;
/// new ones have one call for each purpose.
pub(crate) mod waits {
    use super::c_long;

    /// The input events of a member of an epoll set.
    pub(crate) const EPOLL_INPUT: u32 = (libc::EPOLLIN | libc::EPOLLRDNORM).cast_unsigned();

    /// Whether the tables below are those of this architecture.
    pub(crate) const ARE_KNOWN: bool =
        cfg!(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"));

    /// Calls whose first argument is a descriptor that is waited on: a socket, or an epoll set.
    pub(crate) const ON_DESCRIPTOR: &[c_long] = &[
        libc::SYS_accept4,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
        // On a UDP listener: others can't be read from.
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_read,
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
        libc::SYS_accept,
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
        libc::SYS_recvmmsg,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait,
    ];

    /// Calls whose first arguments are an array of `pollfd` and its length.
    pub(crate) const ON_POLL_SET: &[c_long] = &[
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
        libc::SYS_ppoll,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
    ];

    /// Calls whose first arguments are how many descriptors count, and the `fd_set` of those to read from.
    pub(crate) const ON_SELECT_SET: &[c_long] = &[
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
        libc::SYS_pselect6,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_select,
    ];
}
