//! What signals request from the superdaemon: requests that have not been taken, and the tick that makes one.

use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use nix::unistd::alarm;

use crate::error::Error;
use crate::succession::{Lines, Part};
use crate::system::signals::Signals;
use crate::world::Request;

/// What the next program has to know about the signals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InboxPart {
    /// Whether an alarm is running.
    pub(crate) is_ticking: bool,
    /// Up to version 1.1, the ends of a pipe for signals. No longer used.
    pub(crate) pipe: Option<(RawFd, RawFd)>,
}

impl Part for InboxPart {
    fn write(&self, lines: &mut Lines) {
        lines.add("ticking", &(self.is_ticking,));
        lines.add_all("signal-pipe", self.pipe);
    }

    fn read(lines: &Lines) -> Result<Self, Error> {
        let is_ticking = lines.get("ticking")?.is_some_and(|(is_ticking,)| is_ticking);
        Ok(Self { is_ticking, pipe: lines.get("signal-pipe")? })
    }

    fn descriptors(&self) -> Vec<RawFd> {
        self.pipe.into_iter().flat_map(|(reader, writer)| [reader, writer]).collect()
    }
}

/// The signals that have arrived.
pub(super) struct Inbox {
    signals: Signals,
    /// Those that have not been taken, oldest first.
    requests: Vec<Request>,
    /// Whether an alarm is running from the last wait.
    is_ticking: bool,
}

impl Inbox {
    pub(super) fn new(signals: Signals) -> Self {
        Self { signals, requests: Vec::new(), is_ticking: false }
    }

    /// Whether there is a request that has not been taken. Never waits.
    pub(super) fn look(&mut self) -> bool {
        let requests = self.signals.read();
        self.is_ticking &= !requests.contains(&Request::Alrm);
        self.requests.extend(requests);
        !self.requests.is_empty()
    }

    /// Those that have not been taken.
    pub(super) fn requests(&self) -> &[Request] {
        &self.requests
    }

    pub(super) fn take(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    /// Whether USR1 has arrived since the last call.
    pub(super) fn take_log_to_be_opened(&mut self) -> bool {
        self.signals.take_log_to_be_opened()
    }

    /// Whether USR2 has arrived since the last call.
    pub(super) fn take_to_be_replaced(&mut self) -> bool {
        self.signals.take_to_be_replaced()
    }

    /// Waits until a signal arrives or one of `others` can be read, at most `timeout`.
    pub(super) fn wait(others: &[BorrowedFd], timeout: Option<Duration>) {
        Signals::wait(others, timeout);
    }

    /// Requests an ALRM in a second, unless one is already on its way.
    pub(super) fn start_ticking(&mut self) {
        // A real alarm, as in the original: if ALRM is blocked, there are no ticks (LIFE-007).
        if !std::mem::take(&mut self.is_ticking) {
            alarm::set(1);
        }
    }

    pub(super) fn stop_ticking() {
        alarm::cancel();
    }

    /// The alarm continues, whichever program gets it.
    pub(super) fn keep_ticking(&mut self) {
        self.is_ticking = true;
    }

    /// The requests are in the supervisor's part.
    pub(super) fn part(&self) -> InboxPart {
        InboxPart { is_ticking: self.is_ticking, pipe: None }
    }

    pub(super) fn take_over(&mut self, part: &InboxPart) {
        self.is_ticking = part.is_ticking;
    }
}
