//! How a process has ended.

use libc::c_int;
use nix::sys::signal::Signal;

/// A status as wait(2) returns it: `256 * code` of an exit, the signal's number (with 128 for a core dump) of a death
/// by signal. This, not the exit code, is what messages show (E4).
pub(crate) type WaitStatus = c_int;

/// Describes a status for people: `exit 1`, `killed by SIGSEGV (core dumped)`.
pub(crate) fn in_words(status: WaitStatus) -> String {
    let signal = status & 0x7f;
    if signal == 0 {
        return in_short(status);
    }
    let name = Signal::try_from(signal).map_or_else(|_| in_short(status), |signal| signal.to_string());
    format!("killed by {name}{}", if status & 0x80 == 0 { "" } else { " (core dumped)" })
}

/// The same by numbers alone: `exit 1`, `signal 11`.
pub(crate) fn in_short(status: WaitStatus) -> String {
    match status & 0x7f {
        0 => format!("exit {}", status >> 8),
        signal => format!("signal {signal}"),
    }
}
