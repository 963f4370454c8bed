//! `--take-over`: a running Perl original becomes this program. It is stopped while it waits, and made to execute this
//! program with its own options and its state, as `--upgrade` would hand it over: first in a copy, which has to answer,
//! then itself.
//!
//! Until then nothing about it has changed, no signal is kept from it, and if anything fails it keeps running.

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod linux;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod patience;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod predecessor;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod registers;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod rights;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod routine;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod stopping;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tracee;

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub use linux::take_over;

/// It can't be done here.
///
/// # Errors
/// Always.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub fn take_over(_: &std::path::Path) -> Result<(), crate::error::Error> {
    crate::options::needs_linux("--take-over")?;
    Err(crate::error::Error::rule(&[b"--take-over needs Linux on x86_64 or aarch64"]))
}
