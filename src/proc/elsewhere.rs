//! Systems other than Linux: nothing of what `linux.rs` has.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

use nix::errno::Errno;

pub(crate) fn program_path() -> Option<CString> {
    None
}

pub(crate) fn memory_file(_: &CStr) -> Result<OwnedFd, Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn diagnosis_socket() -> Result<OwnedFd, Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) const DUMP: u16 = 0;
