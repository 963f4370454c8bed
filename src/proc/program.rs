//! The program that this process executes.

use std::ffi::{CStr, CString, c_char};

/// The path by which this program was executed, as it was given to execve(2). Where a link leads may have changed since,
/// so this is not what `/proc/self/exe` leads to.
#[cfg(target_os = "linux")]
pub(crate) fn program_path() -> Option<CString> {
    // SAFETY: the kernel puts the path, which ends in a NUL, on the stack, where it stays.
    #[expect(unsafe_code)]
    unsafe {
        let path = libc::getauxval(libc::AT_EXECFN) as *const c_char;
        (!path.is_null()).then(|| CStr::from_ptr(path).to_owned())
    }
}
