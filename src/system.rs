//! The real world: processes, signals, files, and the service manager.

mod approval;
mod delivery;
mod explanation;
mod family;
mod inbox;
#[cfg(not(target_os = "linux"))]
pub(crate) mod no_successor;
pub(crate) mod service_manager;
pub(crate) mod signals;
mod spawner;
#[cfg(target_os = "linux")]
pub(crate) mod successor;

#[cfg(not(target_os = "linux"))]
pub(crate) use no_successor as successor;

use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

use crate::environment::{Environment, Variables, envdir};
use crate::error::Error;
use crate::files::log_file::LogFile;
use crate::files::pid_file::PidFile;
use crate::files::status_file::{FailureFile, StatusFile};
use crate::listeners::Listeners;
use crate::options::Options;
use crate::readiness::Watch;
use crate::state::State;
use crate::stderr;
use crate::stop_signal::StopSignal;
use crate::sys::{self, Pid, WaitStatus};
use crate::system::approval::Approval;
use crate::system::delivery::Delivery;
use crate::system::explanation::Explanation;
use crate::system::family::Kin;
use crate::system::inbox::Inbox;
use crate::system::service_manager::ServiceManager;
use crate::system::signals::{LaunchState, SignalPipe, find_dead_child, may_have_dead_child};
use crate::system::spawner::Spawner;
use crate::system::successor::Successor;
use crate::world::{Awaited, Failure, News, Request, Woken, World};

/// How long to wait before a look at children that has failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The system as it is.
pub(crate) struct System<'a> {
    inbox: Inbox,
    spawner: Spawner<'a>,
    delivery: Delivery,
    listeners: &'a Listeners,
    launch: &'a LaunchState,
    files: Files,
    watch: Box<dyn Watch>,
    kin: Kin,
    manager: ServiceManager,
    approval: Option<Approval<'a>>,
    /// With options of ours.
    explanation: Option<Explanation>,
    successor: Option<Successor>,
}

/// What the superdaemon reads again and again, and where it tells how things stand.
#[derive(Default)]
pub(crate) struct Files {
    pub(crate) envdir: envdir::Reader,
    pub(crate) status: Option<StatusFile>,
    pub(crate) failure: Option<FailureFile>,
    pub(crate) log: Option<LogFile>,
    /// The last to be dropped: its lock is what `--stop` waits for (`lock-released-last`).
    pub(crate) pid: Option<PidFile>,
}

impl Files {
    /// How long to wait before the next [`Self::retry`], if something could not be written.
    fn pause(&self) -> Option<Duration> {
        let pauses =
            [self.status.as_ref().and_then(StatusFile::pause), self.failure.as_ref().and_then(FailureFile::pause)];
        pauses.into_iter().flatten().min()
    }

    /// Tries again to write what could not be written.
    fn retry(&mut self) {
        self.status.iter_mut().for_each(StatusFile::retry);
        self.failure.iter_mut().for_each(FailureFile::retry);
    }
}

impl<'a> System<'a> {
    pub(crate) fn new(
        options: &Options,
        listeners: &'a Listeners,
        files: Files,
        watch: Box<dyn Watch>,
        manager: ServiceManager,
        pipe: SignalPipe,
        launch: &'a LaunchState,
    ) -> Self {
        Self {
            inbox: Inbox::new(pipe),
            spawner: Spawner::of(options, listeners, launch),
            delivery: Delivery::new(options.process_group),
            listeners,
            launch,
            files,
            watch,
            kin: Kin::of(options, listeners),
            manager: manager.forgetting(options.stores_listeners().then(|| listeners.names_of_stored_files())),
            approval: Approval::of(options, listeners, launch),
            explanation: options.uses_our_own().then(|| Explanation::new(listeners.names())),
            successor: None,
        }
    }

    /// Lets another program go on in the place of this one, when it is asked for.
    pub(crate) fn allow(&mut self, successor: Option<Successor>) {
        self.successor = successor;
    }

    /// What outlives the rest. The pid file goes first (U8).
    pub(crate) fn into_files(self) -> Files {
        if let Some(file) = &self.files.pid {
            file.remove();
        }
        self.files
    }

    /// Goes on from the state of the program that was here before.
    pub(crate) fn restore(&mut self, state: &State) -> Result<(), Error> {
        self.inbox.restore(state)?;
        self.delivery.restore(state)?;
        self.spawner.restore(state)?;
        self.manager.restore(state)?;
        self.kin.restore(state)
    }

    /// Says to `--upgrade` that this program runs now.
    pub(crate) fn answer_upgrade(&self) {
        if let Some(successor) = &self.successor {
            successor.answer("runs", b"");
        }
    }

    /// Adds what the program that goes on needs to `state`, and gives the descriptors that go to it.
    fn save(&self, state: &mut State) -> Vec<RawFd> {
        self.inbox.save(state);
        self.delivery.save(state);
        self.spawner.save(state);
        self.launch.save(state);
        self.listeners.save(state);
        self.manager.save(state);
        self.kin.save(state);
        let kept = self.watch.save(state);
        let files = &self.files;
        state.add("log-file", &(files.log.is_some(),));
        let status = files.status.as_ref().and_then(|file| file.save("status-file", state));
        let failure = files.failure.as_ref().and_then(|file| file.save("failure-file", state));
        let pid = files.pid.as_ref().map(|file| file.save(state));
        kept.into_iter().chain(status).chain(failure).chain(pid).collect()
    }

    /// No other program goes on in the place of this one.
    fn refuse(&mut self, reason: &[u8]) {
        self.say(&[b"not upgraded: ", reason].concat());
        if let Some(successor) = &self.successor {
            successor.answer("refused", reason);
        }
    }

    /// What can't be opened is said on the old log, which stays.
    fn open_log(&mut self, open: impl FnOnce(&LogFile) -> Result<(), Error>) {
        if let Some(Err(error)) = self.files.log.as_ref().map(open) {
            self.say(&error.message());
        }
    }

    /// Whether there is a request that has not been taken.
    fn is_requested(&mut self) -> bool {
        let is_requested = self.inbox.look();
        if self.inbox.take_log_to_be_opened() {
            self.open_log(LogFile::open_again);
        }
        is_requested
    }

    fn has_happened(&mut self, awaited: Awaited) -> Result<bool, Errno> {
        Ok(match awaited {
            Awaited::Request => false,
            Awaited::Death | Awaited::Anything { .. } => find_dead_child(sys::dead_child)?.is_some(),
            Awaited::Approval(candidate) => {
                sys::is_dead(candidate.new.1)? || self.approval.as_ref().map_or(Ok(true), Approval::is_over)?
            }
            Awaited::Rehearsal => self.successor.as_mut().is_none_or(Successor::is_rehearsed),
            Awaited::Ready(worker) => sys::is_dead(worker)? || self.watch.is_ready(worker),
        })
    }

    fn wait_for(&mut self, awaited: Awaited, end: Option<Duration>) -> Woken {
        let begin = self.clock();
        loop {
            // ORDER: read before the looks, so that what comes after them still wakes.
            let is_requested = self.is_requested();
            let has_happened = self.has_happened(awaited);
            if has_happened == Ok(true) {
                return Woken::Happened;
            }
            if is_requested {
                return Woken::Requested;
            }
            if matches!(awaited, Awaited::Anything { .. }) && self.inbox.take_to_be_replaced() {
                return Woken::Replaced;
            }
            let now = self.clock();
            let left = end.map(|end| end.saturating_sub(now));
            if left.is_some_and(|left| left.is_zero()) {
                return Woken::OutOfTime;
            }
            let look = match awaited {
                Awaited::Ready(worker) => self.pause_of_start(worker, now.saturating_sub(begin)),
                _ => None,
            };
            let look_again = has_happened.is_err().then_some(RETRY);
            self.pause([left, look, look_again, self.pause_of_retries()].into_iter().flatten().min());
            self.retry();
        }
    }

    /// Waits until a signal comes or a worker writes something, at most `timeout`.
    fn pause(&mut self, timeout: Option<Duration>) {
        let mut fds = self.watch.fds();
        fds.extend(self.successor.as_ref().and_then(Successor::fd));
        self.inbox.wait(&fds, timeout);
        self.watch.read();
    }

    /// When a worker that isn't ready is to be looked at again, `waited` after the wait for it began. What it has not done for
    /// a long time is said.
    fn pause_of_start(&mut self, worker: Pid, waited: Duration) -> Option<Duration> {
        let look = self.watch.pause(waited);
        let explanation = self.explanation.as_mut();
        let lack = explanation.map(|explanation| explanation.of_long_start(worker, self.watch.lack()));
        match lack {
            Some(Ok(line)) => {
                self.say(&line);
                look
            }
            Some(Err(left)) => look.into_iter().chain(left).min(),
            None => look,
        }
    }

    /// When something that could not be done is to be tried again, though nothing may wake the loop.
    fn pause_of_retries(&self) -> Option<Duration> {
        let rehearsal = self.successor.as_ref().and_then(Successor::pause);
        let pauses = [self.delivery.pause(), self.manager.pause(), self.files.pause(), rehearsal];
        pauses.into_iter().flatten().min()
    }

    /// Tries again what could not be done.
    fn retry(&mut self) {
        self.manager.flush();
        self.files.retry();
        self.delivery.retry();
    }

    /// A child has been reaped. Whether that is to be told now. `is_wanted`: it is a worker that is looked after by
    /// name.
    fn bury(&mut self, pid: Pid, status: WaitStatus, is_wanted: bool) -> bool {
        self.watch.end(pid);
        self.delivery.forget(pid);
        let (is_told, line) = self.kin.bury(pid, status, is_wanted);
        if let Some(line) = line {
            if let Some(explanation) = &mut self.explanation {
                explanation.note_left(pid);
            }
            self.say(&line);
        }
        is_told
    }

    fn reap_any(&mut self) -> Option<(Pid, WaitStatus)> {
        loop {
            if let Some(ended) = self.kin.take_ended(None) {
                return Some(ended);
            }
            let (pid, status) = find_dead_child(|| sys::reap(-1)).ok().flatten()?;
            if self.bury(pid, status, false) {
                return Some((pid, status));
            }
        }
    }

    fn reap_worker(&mut self, worker: Pid) -> Option<(Pid, WaitStatus)> {
        if let Some(ended) = self.kin.take_ended(Some(worker)) {
            return Some(ended);
        }
        if !may_have_dead_child() {
            return None;
        }
        let (pid, status) = sys::reap(worker).ok().flatten()?;
        self.bury(pid, status, true).then_some((pid, status))
    }

    /// Says why a new worker has failed to start, and notes it for `--restart`.
    fn explain(&mut self, (generation, worker): (u64, Pid), failure: &Failure) {
        let Some(explanation) = &mut self.explanation else { return };
        if let Some(line) = explanation.of(worker, failure, self.watch.lack()) {
            stderr::say(line);
        }
        if let Some(file) = &mut self.files.failure {
            file.note(generation, false, explanation.last());
        }
    }

    /// A worker has started, or with the generation of its last attempt, a restart has been given up.
    fn note_end_of_start(&mut self, given_up: Option<u64>) {
        if let Some(explanation) = &mut self.explanation {
            explanation.end();
        }
        if let Some(file) = &mut self.files.failure {
            match given_up {
                Some(generation) => {
                    file.note(generation, true, self.explanation.as_ref().map_or(&[], Explanation::last));
                }
                None => file.remove(),
            }
        }
    }
}

impl World for System<'_> {
    fn spawn(&mut self, environment: &Environment) -> Result<Pid, Error> {
        self.open_log(LogFile::follow);
        self.spawner.revive_listeners();
        let notify_socket = self.watch.prepare();
        let notify_socket =
            notify_socket.map_err(|errno| Error::system(&[b"failed to open a notify socket:"], errno))?;
        let mut variables = environment.to_c();
        if let Some(path) = notify_socket {
            variables.set("NOTIFY_SOCKET", path.as_os_str().as_bytes());
        }
        if let Some(approval) = &mut self.approval {
            approval.prepare(environment);
        }
        let log = self.files.log.as_ref();
        let explanation = self.explanation.as_mut();
        let report = explanation.and_then(|explanation| explanation.begin(environment.get("PATH"), log));
        let pid = self.spawner.spawn(variables, report.as_ref())?;
        self.watch.begin(pid);
        if let Some(explanation) = &mut self.explanation {
            explanation.started(pid);
        }
        self.kin.add(pid, environment.get("SERVER_STARTER_GENERATION").unwrap_or_default());
        Ok(pid)
    }

    fn kill(&mut self, worker: Pid, signal: &StopSignal) {
        self.kin.stop(worker, signal);
        if let Err(error) = self.delivery.send(worker, signal) {
            self.say(&error.message());
        }
    }

    fn wait(&mut self, awaited: Awaited, end: Option<Duration>) -> Woken {
        if let (Awaited::Approval(candidate), Some(approval)) = (awaited, &mut self.approval)
            && let Err(error) = approval.ask(candidate)
        {
            self.say(&error.message());
        }
        if awaited != (Awaited::Anything { tick: true }) {
            return self.wait_for(awaited, end);
        }
        self.inbox.start_ticking();
        let woken = self.wait_for(awaited, end);
        if woken == Woken::Replaced {
            self.inbox.keep_ticking();
        } else {
            Inbox::stop_ticking();
        }
        woken
    }

    fn take_requests(&mut self) -> Vec<Request> {
        self.is_requested();
        self.inbox.take()
    }

    fn reap(&mut self, worker: Option<Pid>) -> Option<(Pid, WaitStatus)> {
        match worker {
            Some(worker) => self.reap_worker(worker),
            None => self.reap_any(),
        }
    }

    fn take_verdict(&mut self) -> Result<(), String> {
        self.approval.as_mut().map_or(Ok(()), Approval::end)
    }

    /// The same in the program that goes on.
    fn clock(&self) -> Duration {
        clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
    }

    fn read_envdir(&mut self, path: &[u8]) -> Variables {
        self.files.envdir.read(path, |line| stderr::say(line))
    }

    fn tell(&mut self, news: News) {
        match news {
            News::Workers(workers) => {
                self.manager.send(None, &[b"workers, as GENERATION:PID: ", workers.trim_ascii_end()].concat());
                if let Some(Err(error)) = self.files.status.as_mut().map(|file| file.write(workers)) {
                    self.say(&error.message());
                }
            }
            News::Standing(standing) => self.manager.send(Some(standing), b""),
            News::Failed { worker, failure } => self.explain(worker, failure),
            News::Started => self.note_end_of_start(None),
            News::GivenUp { generation } => self.note_end_of_start(Some(generation)),
        }
    }

    fn rehearse(&mut self, mut state: State) -> bool {
        let Some(successor) = &mut self.successor else { return false };
        let listeners: Vec<RawFd> = self.listeners.fds().map(|fd| fd.as_raw_fd()).collect();
        self.launch.save(&mut state);
        self.listeners.save(&mut state);
        match successor.rehearse(&state, self.launch, &listeners) {
            Ok(is_begun) => is_begun,
            Err(reason) => {
                self.refuse(&reason);
                false
            }
        }
    }

    fn hand_over(&mut self, mut state: State, is_wanted: bool) -> State {
        let Some(mut successor) = self.successor.take() else { return state };
        if is_wanted {
            let as_it_was = state.clone();
            let _blocked = signals::block_all();
            // ORDER: what came in before is part of the state, what comes now stays pending.
            self.is_requested();
            let reason = successor.execute(&mut state, |state| self.save(state));
            self.successor = Some(successor);
            self.refuse(&reason);
            return as_it_was;
        }
        successor.give_up();
        self.successor = Some(successor);
        state
    }

    fn say(&mut self, line: &[u8]) {
        stderr::say(line);
    }
}
