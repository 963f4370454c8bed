//! The options that the life cycle needs.

use std::time::Duration;

use crate::options::{Options, Readiness};
use crate::stop_signal::StopSignal;

/// How long a worker may take to become ready, without a `--ready-timeout`.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// More than any limit on the command line. The sum of a longer one and the clock could overflow.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// The options that the life cycle needs.
#[derive(Clone, Debug)]
pub(crate) struct LifeCycle {
    pub(crate) interval: Duration,
    pub(crate) signal_on_hup: StopSignal,
    pub(crate) signal_on_term: StopSignal,
    /// How long a new worker may take to become ready. None: one that is alive after the interval has started.
    pub(crate) ready_timeout: Option<Duration>,
    /// How many starts may fail in a row before a restart is given up.
    pub(crate) most_failures: Option<u32>,
    /// Whether the superdaemon exits when that many have failed and no worker serves.
    pub(crate) ends_without_worker: bool,
    /// Whether there is an option that the original doesn't have.
    pub(crate) uses_our_own: bool,
    pub(crate) kill_timeout: Option<Duration>,
    /// How long workers keep serving when a shutdown is requested.
    pub(crate) stop_delay: Option<Duration>,
    /// How long the command of `--approve` may take. None: there is none.
    pub(crate) approval_timeout: Option<Duration>,
}

impl LifeCycle {
    /// Whether a worker has to do more than stay alive to have started.
    pub(crate) fn demands_proof(&self) -> bool {
        self.ready_timeout.is_some() || self.approval_timeout.is_some()
    }

    pub(crate) fn of(options: &Options) -> Self {
        let limited = |time: Duration| time.min(LONGEST);
        let ready_timeout = limited(options.ready_timeout.unwrap_or(READY_TIMEOUT));
        Self {
            interval: limited(options.interval),
            signal_on_hup: options.signal_on_hup.clone(),
            signal_on_term: options.signal_on_term.clone(),
            ready_timeout: (options.ready != Readiness::Interval).then_some(ready_timeout),
            most_failures: options.max_start_failures,
            ends_without_worker: options.end_without_worker,
            uses_our_own: options.uses_our_own(),
            kill_timeout: options.kill_timeout.map(limited),
            stop_delay: options.stop_delay.map(limited),
            approval_timeout: options.approve.is_some().then_some(ready_timeout),
        }
    }
}
