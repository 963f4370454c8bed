//! What the superdaemon prints in one place and looks for in another: the lines about the start of a worker, by which a
//! log shows why one has failed. The original's lines are the same, so they are found in its log, too.

/// Begins the line about the start of a worker; its pid follows.
pub(crate) const STARTING: &str = "starting new worker ";

/// Begins lines about a worker that has been started; its pid follows, and its fate.
pub(crate) const NEW_WORKER: &str = "new worker ";

/// Follows [`NEW_WORKER`] and the pid of one that has exited too early; its status follows.
pub(crate) const HAS_ENDED: &str = " seems to have failed to start, exit status:";

/// Begins our own line with the reason, which follows.
pub(crate) const HAS_FAILED: &str = "it has failed: ";

/// The line about a restart.
pub(crate) const SPAWNING: &str = "received HUP, spawning a new worker";

/// Whether a line of a log is the superdaemon's, about a new worker, and not the worker's own.
pub(crate) fn is_about_new_worker(line: &[u8]) -> bool {
    [STARTING, NEW_WORKER, SPAWNING, HAS_FAILED].iter().any(|words| line.starts_with(words.as_bytes()))
}
