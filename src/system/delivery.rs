//! Delivers stop signals to workers: to the process or its group, with CONT for stopped ones, and again if that fails.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libc::c_int;
use nix::errno::Errno;
use nix::unistd;

use crate::error::Error;
use crate::listeners::Listeners;
use crate::options::Options;
use crate::stop_signal::StopSignal;
use crate::succession::{Lines, Part};
use crate::sys::{self, Pid};
use crate::system::departure::Departures;

/// How long to wait before a signal that could not be sent is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The signals that are still to be sent, for the next program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnsentPart {
    pub(crate) signals: Vec<(Pid, StopSignal)>,
}

impl Part for UnsentPart {
    fn write(&self, lines: &mut Lines) {
        lines.add_all("unsent", self.signals.iter().cloned());
    }

    fn read(lines: &Lines) -> Result<Self, Error> {
        Ok(Self { signals: lines.all("unsent")? })
    }
}

/// Sends signals to workers, and keeps those that could not be sent.
pub(super) struct Delivery<'a> {
    /// Whether each worker leads a process group, which its signals go to.
    leads_group: bool,
    /// Stop signals that failed (already reported), with the time of the next attempt.
    unsent: BTreeMap<Pid, (StopSignal, Instant)>,
    departures: Departures<'a>,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(options: &Options, listeners: &'a Listeners) -> Self {
        let departures = Departures::of(options, listeners);
        Self { leads_group: options.process_group, unsent: BTreeMap::new(), departures }
    }

    /// Whether `signal` is for the process group of a worker.
    pub(super) fn is_for_group(&self, signal: &StopSignal) -> bool {
        self.leads_group || signal.is_for_process_group()
    }

    /// Sends a signal to a worker that has not been reaped, so it still has its number. A failed one is tried again;
    /// only the first failure is an error, to be reported.
    pub(super) fn send(&mut self, worker: Pid, signal: &StopSignal) -> Result<(), Error> {
        // ORDER: a worker may act at once.
        self.departures.begin(worker);
        let Err(errno) = self.try_to_send(worker, signal) else {
            self.unsent.remove(&worker);
            return Ok(());
        };
        if self.unsent.insert(worker, (signal.clone(), Instant::now() + RETRY)).is_some() {
            return Ok(());
        }
        let worker = worker.to_string();
        let sentence = [b"failed to send ", signal.text(), b" to worker ", worker.as_bytes(), b":"].concat();
        Err(Error::system(&[&sentence], errno))
    }

    /// A program that changes its user may be unreachable only for a moment.
    pub(super) fn retry(&mut self) {
        self.departures.retry();
        if self.unsent.is_empty() {
            return;
        }
        let now = Instant::now();
        let due: Vec<Pid> = self.unsent.iter().filter(|(_, (_, time))| *time <= now).map(|(&pid, _)| pid).collect();
        for worker in due {
            let Some((signal, _)) = self.unsent.remove(&worker) else { continue };
            if self.try_to_send(worker, &signal).is_err() {
                self.unsent.insert(worker, (signal, now + RETRY));
            }
        }
    }

    /// How long to wait before the next [`Self::retry`], if a signal could not be sent or a worker is about to end.
    pub(super) fn pause(&self) -> Option<Duration> {
        let retry = (!self.unsent.is_empty()).then_some(RETRY);
        retry.into_iter().chain(self.departures.pause()).min()
    }

    /// All further signals are for the shutdown.
    pub(super) fn end_all(&mut self) {
        self.departures.end_all();
    }

    /// The worker has been reaped.
    pub(super) fn forget(&mut self, worker: Pid) {
        self.unsent.remove(&worker);
        self.departures.end(worker);
    }

    pub(super) fn part(&self) -> UnsentPart {
        UnsentPart { signals: self.unsent.iter().map(|(&pid, (signal, _))| (pid, signal.clone())).collect() }
    }

    /// Sends what the previous program could not send. `old`: the workers that it has told to stop.
    pub(super) fn take_over(&mut self, part: UnsentPart, old: impl Iterator<Item = Pid>) {
        self.departures.take_over(old);
        let now = Instant::now();
        self.unsent.extend(part.signals.into_iter().map(|(pid, signal)| (pid, (signal, now))));
    }

    /// It is not an error if there is no such process.
    fn try_to_send(&self, worker: Pid, signal: &StopSignal) -> Result<(), Errno> {
        let number = signal.number();
        let sent = self.send_to_whom(worker, signal, number);
        // A stopped one would not act on it (`stopped-worker`).
        if !matches!(number, libc::SIGKILL | libc::SIGSTOP) && sys::is_stopped(worker) {
            let _ = self.send_to_whom(worker, signal, libc::SIGCONT);
        }
        if sent == Err(Errno::ESRCH) { Ok(()) } else { sent }
    }

    /// Sends a number to the target of `signal`.
    fn send_to_whom(&self, worker: Pid, signal: &StopSignal, number: c_int) -> Result<(), Errno> {
        match self.is_for_group(signal).then(|| sys::kill(-worker, number)) {
            // It leads none (`no-such-group`).
            None | Some(Err(Errno::ESRCH)) => sys::kill(worker, number),
            // It led one, and has left it to others.
            Some(Ok(())) if has_left_its_group(worker) => sys::kill(worker, number),
            Some(sent) => sent,
        }
    }
}

fn has_left_its_group(worker: Pid) -> bool {
    let worker = unistd::Pid::from_raw(worker);
    unistd::getpgid(Some(worker)).is_ok_and(|group| group != worker)
}
