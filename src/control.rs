//! The clients of a running superdaemon, ours or the original: `--restart`, `--stop`, `--upgrade`, `--show-status`.

mod delay;
mod pace;
mod progress;
mod reach;
mod restart;
mod show_status;
mod status;
mod stop;
#[cfg(feature = "cli")]
mod updates;
mod upgrade;

pub use restart::restart_server;
pub use show_status::{is_running, show_status};
pub use status::{FailureStatus, ListenerStatus, ProgramStatus, Status, SuperdaemonStatus, WorkerState, WorkerStatus};
pub use stop::stop_server;
#[cfg(feature = "cli")]
pub(crate) use updates::LIST_UPDATES;
#[cfg(feature = "cli")]
pub use updates::list_updates;
pub use upgrade::upgrade_server;
