//! Systems that are not Linux: the functions of `linux.rs`, where what they do is not to be had (`ENOSYS`), or is had in
//! another way.

use std::ffi::CStr;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::SocketAddr;
use std::time::Duration;

use libc::c_int;
use nix::errno::Errno;
use nix::poll::{PollFd, poll};
use nix::sys::signal::{SigSet, SigmaskHow};

/// Whether this is Linux.
pub(crate) const IS_LINUX: bool = false;

pub(crate) fn write_nowait(_: impl AsFd, _: &[u8]) -> Result<usize, Errno> {
    Err(Errno::EOPNOTSUPP)
}

/// Nothing waits and lets signals through at once, so this ends after a moment, and the caller looks for signals again and
/// again.
pub(crate) fn poll_with_mask(fds: &mut [PollFd], _: Duration, mask: SigSet) -> Result<c_int, Errno> {
    const SLICE: u8 = 50;
    let blocked = mask.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let ready = poll(fds, SLICE);
    blocked.thread_set_mask()?;
    ready
}

pub(crate) fn ignore_connection_requests(_: &OwnedFd) -> Result<(), Errno> {
    Err(Errno::ENOSYS)
}

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

pub(crate) fn is_sealed(_: impl AsFd) -> bool {
    false
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

/// Nothing tells in which system call a process waits.
pub(crate) mod waits {
    use libc::c_long;

    pub(crate) const ARE_KNOWN: bool = false;
    pub(crate) const EPOLL_INPUT: u32 = 0;
    pub(crate) const ON_DESCRIPTOR: &[c_long] = &[];
    pub(crate) const ON_POLL_SET: &[c_long] = &[];
    pub(crate) const ON_SELECT_SET: &[c_long] = &[];
}
