//! The clients of a running superdaemon, ours or the original: `--restart`, `--stop`, `--upgrade`, `--show-status`.

mod delay;
mod pace;
mod progress;
mod restart;
mod show_status;
mod status;
mod stop;
mod upgrade;

use std::fs;

use crate::sys::Pid;

pub use restart::restart_server;
pub use show_status::{is_running, show_status};
pub use status::{ListenerStatus, Status, SuperdaemonStatus, WorkerState, WorkerStatus};
pub use stop::stop_server;
pub use upgrade::upgrade_server;

/// Whether USR2 is caught.
pub(crate) fn catches_usr2(pid: Pid) -> bool {
    has_signal(pid, "SigCgt:", libc::SIGUSR2)
}

/// Whether a line of /proc/PID/status has a signal.
pub(crate) fn has_signal(pid: Pid, line: &str, signal: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let signals = status.lines().find_map(|text| text.strip_prefix(line));
    let signals = signals.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    signals.is_some_and(|mask| mask & 1 << (signal - 1) != 0)
}
