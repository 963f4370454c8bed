//! The parts that are not read from a file. `elsewhere.rs` has the same for other systems.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

/// The path by which this program was executed, as it was given to execve(2). Links in it may have changed since, so it
/// may differ from [`Process::executable`](crate::proc::Process::executable).
pub(crate) fn program_path() -> Option<CString> {
    // SAFETY: the kernel puts the path, which ends in a NUL, on the stack, where it stays.
    #[expect(unsafe_code)]
    unsafe {
        let path = libc::getauxval(libc::AT_EXECFN) as *const c_char;
        (!path.is_null()).then(|| CStr::from_ptr(path).to_owned())
    }
}

/// A file in memory, by whose name its descriptor is found. Closed on exec.
pub(crate) fn memory_file(name: &CStr) -> Result<OwnedFd, Errno> {
    memfd_create(name, MFdFlags::MFD_CLOEXEC)
}

/// A socket through which the kernel lists sockets: `sock_diag(7)`.
pub(crate) fn diagnosis_socket() -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Netlink, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)
}

/// The flags of a request for all sockets.
#[expect(clippy::cast_possible_truncation, reason = "they have 16 bits there")]
pub(crate) const DUMP: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
