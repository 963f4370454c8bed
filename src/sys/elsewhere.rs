//! Systems other than Linux: the functions of `linux.rs`, unavailable (`ENOSYS`) or done in another way.

use std::ffi::CStr;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::SocketAddr;
use std::time::Duration;

use libc::c_int;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::select::{FdSet, pselect};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::time::TimeSpec;

use crate::sys::{OneThread, Pid};

/// Whether this is Linux.
pub(crate) const IS_LINUX: bool = false;

pub(crate) fn write_nowait(_: impl AsFd, _: &[u8]) -> Result<usize, Errno> {
    Err(Errno::EOPNOTSUPP)
}

/// Longer waits are refused.
const LONGEST: Duration = Duration::from_secs(100_000_000);

/// With a mask: signals get through only during the wait.
pub(crate) fn wait(fds: &mut [PollFd], timeout: Option<Duration>, is_over: impl Fn() -> bool) -> bool {
    let Ok(mask) = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK) else { return false };
    let (mut readable, mut writable) = (FdSet::new(), FdSet::new());
    for fd in fds.iter() {
        let set = if fd.events().contains(PollFlags::POLLOUT) { &mut writable } else { &mut readable };
        set.insert(fd.as_fd());
    }
    let timeout = timeout.map(|time| TimeSpec::from_duration(time.min(LONGEST)));
    let is_ready =
        !is_over() && pselect(None, &mut readable, &mut writable, None, &timeout, &mask).is_ok_and(|it| it > 0);
    let _ = mask.thread_set_mask();
    is_ready
}

pub(crate) fn ignore_connection_requests(_: &OwnedFd) -> Result<(), Errno> {
    Err(Errno::ENOSYS)
}

/// A signal that gets through has ended it.
pub(crate) fn end_wait() {}

/// None.
pub(crate) fn real_time_signals() -> RangeInclusive<c_int> {
    RangeInclusive::new(1, 0)
}

pub(crate) fn datagram_socket() -> Result<OwnedFd, Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn receive(_: &OwnedFd, _: &mut [u8]) -> Result<(usize, Option<u32>), Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn abstract_address(_: &[u8]) -> io::Result<SocketAddr> {
    Err(Errno::EAFNOSUPPORT.into())
}

pub(crate) fn abstract_name(_: &SocketAddr) -> Option<&[u8]> {
    None
}

pub(crate) fn sealed_file(_: &CStr, _: &[u8]) -> io::Result<OwnedFd> {
    Err(Errno::ENOSYS.into())
}

pub(crate) fn reserve(_: impl AsFd, _: u16) -> Result<(), Errno> {
    Ok(())
}

pub(crate) fn is_sealed(_: impl AsFd) -> bool {
    false
}

pub(super) fn fork_without_handlers(_: OneThread) -> Option<Result<Pid, Errno>> {
    None
}

pub(crate) fn become_subreaper() -> Result<(), Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn process_handle(_: Pid) -> Result<OwnedFd, Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn kill_by_handle(_: &OwnedFd, _: c_int) -> Result<(), Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn end_with_parent() -> Result<(), Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn set_process_name(_: &CStr) -> Result<(), Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn allow_looks() -> Result<(), Errno> {
    Err(Errno::ENOSYS)
}

/// Nothing shows in which system call a process waits.
pub(crate) mod waits {
    use libc::c_long;

    pub(crate) const ARE_KNOWN: bool = false;
    pub(crate) const EPOLL_INPUT: u32 = 0;
    pub(crate) const ON_DESCRIPTOR: &[c_long] = &[];
    pub(crate) const ON_POLL_SET: &[c_long] = &[];
    pub(crate) const ON_SELECT_SET: &[c_long] = &[];
}
