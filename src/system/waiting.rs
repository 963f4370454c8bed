//! How the superdaemon waits: for a signal, a death, a worker, and the time to retry what has failed.

use std::time::Duration;

use nix::errno::Errno;

use crate::files::log_file::LogFile;
use crate::stderr;
use crate::sys;
use crate::sys::Pid;
use crate::system::System;
use crate::system::approval::Approval;
use crate::system::inbox::Inbox;
use crate::system::signals::find_dead_child;
use crate::world::{Awaited, Woken, World};

/// How long to wait before another look at children after a failed one.
const RETRY: Duration = Duration::from_secs(1);

impl System<'_> {
    /// Whether there is a request that has not been taken.
    pub(super) fn is_requested(&mut self) -> bool {
        let is_requested = self.inbox.look();
        if self.inbox.take_log_to_be_opened() {
            self.open_log(LogFile::open_again);
        }
        is_requested
    }

    fn has_happened(&mut self, awaited: Awaited) -> Result<bool, Errno> {
        Ok(match awaited {
            Awaited::Request => false,
            Awaited::Death | Awaited::Anything { .. } => {
                self.kin.has_ended() || find_dead_child(sys::dead_child)?.is_some_and(|pid| !self.is_own_child(pid))
            }
            Awaited::End(worker) => sys::is_dead(worker)?,
            Awaited::Approval(candidate) => {
                sys::is_dead(candidate.new.1)? || self.approval.as_ref().map_or(Ok(true), Approval::is_over)?
            }
            Awaited::Ready(worker) => sys::is_dead(worker)? || self.watch.is_ready(worker),
        })
    }

    pub(super) fn wait_for(&mut self, awaited: Awaited, end: Option<Duration>) -> Woken {
        let begin = self.clock();
        loop {
            // ORDER: read before the looks, so later signals still end the wait.
            let is_requested = self.is_requested();
            self.look_after_own_children();
            // In other waits the loop reaps all dead children.
            if !matches!(awaited, Awaited::Death | Awaited::Anything { .. }) {
                self.kin.bury_untold();
            }
            let has_happened = self.has_happened(awaited);
            if has_happened == Ok(true) {
                return Woken::Happened;
            }
            if is_requested {
                return Woken::Requested;
            }
            if matches!(awaited, Awaited::Anything { .. }) && self.has_to_hand_over() {
                return Woken::HandOver;
            }
            let now = self.clock();
            let left = end.map(|end| end.saturating_sub(now));
            if left.is_some_and(|left| left.is_zero()) {
                return Woken::OutOfTime;
            }
            let look = match awaited {
                Awaited::Ready(worker) => self.pause_of_start(worker, now.saturating_sub(begin)),
                Awaited::Anything { .. } => self.pause_of_looks(),
                _ => None,
            };
            let look_again = has_happened.is_err().then_some(RETRY);
            self.pause([left, look, look_again, self.pause_of_retries()].into_iter().flatten().min());
            self.retry();
        }
    }

    /// Waits until a signal arrives or a worker writes something, at most `timeout`.
    fn pause(&mut self, timeout: Option<Duration>) {
        // ORDER: after the files, so a client that has read it finds them up to date.
        self.reporter.publish();
        let mut fds = self.watch.fds();
        fds.extend(self.successor.as_ref().and_then(|successor| successor.rehearsal.fd()));
        Inbox::wait(&fds, timeout);
        self.watch.read();
    }

    /// When to look again at a worker that isn't ready, `waited` after the wait for it began. Reports what it has not
    /// done for a long time.
    fn pause_of_start(&mut self, worker: Pid, waited: Duration) -> Option<Duration> {
        let look = self.watch.pause(waited);
        let explanation = self.explanation.as_mut();
        let lack = explanation.map(|explanation| explanation.of_long_start(worker, self.watch.as_ref()));
        match lack {
            Some(Ok(line)) => {
                self.say(&line);
                look
            }
            Some(Err(left)) => look.into_iter().chain(left).min(),
            None => look,
        }
    }

    /// When to check next whether all listeners are served. Reports those that aren't.
    fn pause_of_looks(&mut self) -> Option<Duration> {
        let (lines, pause) = self.neglect.as_mut()?.look(self.watch.as_ref(), || self.kin.workers());
        lines.into_iter().for_each(stderr::say);
        Some(pause)
    }

    /// When to retry what has failed, as nothing else may wake the loop.
    fn pause_of_retries(&self) -> Option<Duration> {
        let rehearsal = self.successor.as_ref().and_then(|successor| successor.rehearsal.pause());
        let pauses = [self.delivery.pause(), self.manager.pause(), self.files.pause(), rehearsal];
        pauses.into_iter().flatten().min()
    }

    /// Retries what has failed.
    fn retry(&mut self) {
        self.manager.flush();
        self.files.retry();
        self.delivery.retry();
    }
}
