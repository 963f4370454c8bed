//! The real world: processes, signals, files, and the service manager.

mod abandoned;
mod approval;
pub(crate) mod arrival;
mod delivery;
mod departure;
mod explanation;
mod family;
mod inbox;
mod member;
mod neglect;
mod own_files;
pub(crate) mod rehearsal;
mod reporter;
pub(crate) mod service_manager;
pub(crate) mod signals;
mod spawner;
mod state;
mod strangers;
mod succession;
pub(crate) mod successor;
mod waiting;

pub(crate) use own_files::{Files, failure_file};
pub(crate) use state::State;
#[allow(unused_imports, reason = "for --take-over alone, which not every system and not every build has")]
pub(crate) use {
    delivery::UnsentPart, family::KinPart, inbox::InboxPart, own_files::FilesPart, service_manager::ManagerPart,
    signals::LaunchPart, successor::ProgramPart,
};

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

use crate::environment::{Environment, Variables};
use crate::error::Error;
use crate::files::log_file::LogFile;
use crate::listeners::Listeners;
use crate::options::Options;
use crate::readiness::Watch;
use crate::stderr;
use crate::stop_signal::StopSignal;
use crate::sys::{self, Pid, WaitStatus};
use crate::system::abandoned::Abandoned;
use crate::system::approval::Approval;
use crate::system::delivery::Delivery;
use crate::system::explanation::Explanation;
use crate::system::family::Kin;
use crate::system::inbox::Inbox;
use crate::system::neglect::Neglect;
use crate::system::reporter::Reporter;
use crate::system::service_manager::ServiceManager;
use crate::system::signals::{LaunchState, Signals, find_dead_child, may_have_dead_child};
use crate::system::spawner::Spawner;
use crate::system::successor::Successor;
use crate::world::{Awaited, Failure, LifePart, News, Request, Standing, Woken, World};

/// The system as it is.
pub(crate) struct System<'a> {
    inbox: Inbox,
    spawner: Spawner<'a>,
    delivery: Delivery<'a>,
    launch: &'a LaunchState,
    files: Files,
    watch: Box<dyn Watch>,
    kin: Kin,
    manager: ServiceManager,
    approval: Option<Approval<'a>>,
    abandoned: Abandoned,
    /// With `--ready=accepting`.
    neglect: Option<Neglect<'a>>,
    /// With options of ours.
    explanation: Option<Explanation>,
    reporter: Reporter,
    successor: Option<Successor>,
    /// All workers are being stopped, or will be soon, and then the superdaemon exits.
    is_stopping: bool,
}

impl<'a> System<'a> {
    pub(crate) fn new(
        options: &Options,
        listeners: &'a Listeners,
        mut files: Files,
        mut watch: Box<dyn Watch>,
        manager: ServiceManager,
        signals: Signals,
        launch: &'a LaunchState,
    ) -> Self {
        let mut abandoned = Abandoned::default();
        let mut kin = Kin::of(options, listeners);
        if let Some(pid) = watch.take_abandoned() {
            kin.spare(pid);
            abandoned.add(pid);
        }
        Self {
            inbox: Inbox::new(signals),
            spawner: Spawner::of(options, listeners, launch),
            delivery: Delivery::new(options, listeners),
            launch,
            reporter: Reporter::new(options, listeners, files.board.take()),
            files,
            watch,
            kin,
            manager: manager
                .with_patience(options.kill_timeout)
                .forgetting(options.stores_listeners().then(|| listeners.names_of_stored_files())),
            approval: Approval::of(options, listeners, launch),
            abandoned,
            neglect: Neglect::of(options, listeners),
            explanation: options.uses_our_own().then(|| Explanation::new(listeners.names())),
            successor: None,
            is_stopping: false,
        }
    }

    /// What outlives the rest. The pid file is removed first (U8).
    pub(crate) fn into_files(mut self) -> Files {
        for line in self.kin.strangers() {
            self.say(&line);
        }
        self.manager.finish();
        if let Some(file) = &self.files.pid {
            file.remove();
        }
        self.files.board = self.reporter.into_board();
        self.files
    }

    /// A failure to open it is reported on the old log, which stays.
    fn open_log(&mut self, open: impl FnOnce(&LogFile) -> Result<(), Error>) {
        if let Some(Err(error)) = self.files.log.as_ref().map(open) {
            self.say(&error.message());
        }
    }

    /// Undoes what workers or others have done to listeners, as far as possible, and announces new sockets.
    fn mend_listeners(&mut self) {
        self.spawner.revive_listeners();
        let listeners = self.spawner.listeners;
        let rebound = listeners.rebind();
        if rebound.is_empty() {
            return;
        }
        for listener in rebound {
            self.manager.store_again(listener);
        }
        self.watch.follow(listeners);
        self.kin.follow(listeners);
    }

    /// A child has been reaped. Whether to report that now. `is_wanted`: it is a worker that is waited for by pid.
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

    /// A death to report. After deaths that aren't reported, one look checks what is left of all families. The number
    /// of children that are buried at once is limited, so timers get their turn even if children die all the time.
    fn reap_any(&mut self) -> Option<(Pid, WaitStatus)> {
        const MOST_UNTOLD: usize = 1000;
        for _ in 0..MOST_UNTOLD {
            let Some((pid, status)) = find_dead_child(|| self.reap_child()).ok().flatten() else { break };
            if self.bury(pid, status, false) {
                return Some((pid, status));
            }
        }
        self.kin.take_ended(None)
    }

    /// Reaps a child, except those that are handled separately.
    fn reap_child(&mut self) -> Result<Option<(Pid, WaitStatus)>, Errno> {
        self.look_after_own_children();
        if self.rehearsal().is_none() && self.abandoned.is_empty() {
            return sys::reap(-1);
        }
        let other = sys::dead_child()?.filter(|&pid| !self.is_own_child(pid));
        other.map_or(Ok(None), sys::reap)
    }

    /// A rehearsal, whose family is killed before it is reaped, and children that got KILL.
    fn look_after_own_children(&mut self) {
        self.look_after_rehearsal();
        self.abandoned.bury(|pid| self.kin.release(pid));
    }

    fn is_own_child(&self, pid: Pid) -> bool {
        Some(pid) == self.rehearsal() || self.abandoned.contains(pid)
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

    /// Reports why a new worker has failed to start, and notes it for `--restart`.
    fn explain(&mut self, (generation, worker): (u64, Pid), failure: &Failure) {
        let Some(explanation) = &mut self.explanation else { return };
        if let Some(line) = explanation.of(worker, failure, self.watch.as_ref()) {
            stderr::say(line);
        }
        if let Some(file) = &mut self.files.failure {
            file.note(generation, false, explanation.last());
        }
    }

    /// A worker has started; or, with the generation of its last attempt, a restart has been given up.
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

    fn tell_others(&mut self, news: &News) {
        match *news {
            News::Workers(workers) => {
                self.manager.send_workers(workers);
                if let Some(Err(error)) = self.files.status.as_mut().map(|file| file.write(workers)) {
                    self.say(&error.message());
                }
            }
            News::Standing(standing) => {
                // Once it knows about the shutdown, nothing else matters to it.
                if !self.is_stopping {
                    self.manager.send(Some(standing), b"");
                }
                if matches!(standing, Standing::Leaving | Standing::Stopping) {
                    self.refuse_to_be_replaced();
                }
                if standing == Standing::Stopping {
                    self.delivery.end_all();
                }
            }
            News::Failed { worker, failure } => self.explain(worker, failure),
            News::Family(_) => {}
            News::Died { worker, status } => {
                if let Some(line) = self.explanation.as_mut().and_then(|it| it.of_death(worker, status)) {
                    self.say(&line);
                }
            }
            News::Started => self.note_end_of_start(None),
            News::GivenUp { generation } => self.note_end_of_start(Some(generation)),
        }
    }
}

impl World for System<'_> {
    fn spawn(&mut self, environment: &Environment) -> Result<Pid, Error> {
        self.open_log(LogFile::follow);
        self.mend_listeners();
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
        if self.kin.stop(worker, signal, self.delivery.is_for_group(signal))
            && let Err(error) = self.delivery.send(worker, signal)
        {
            self.say(&error.message());
        }
    }

    fn wait(&mut self, awaited: Awaited, end: Option<Duration>) -> Woken {
        if let (Awaited::Approval(candidate), Some(approval)) = (awaited, &mut self.approval) {
            match approval.ask(candidate) {
                Ok(Some(pid)) => self.kin.spare(pid),
                Ok(None) => {}
                Err(error) => self.say(&error.message()),
            }
        }
        if awaited != (Awaited::Anything { tick: true }) {
            return self.wait_for(awaited, end);
        }
        self.inbox.start_ticking();
        let woken = self.wait_for(awaited, end);
        if woken == Woken::HandOver {
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
        let Some(approval) = &mut self.approval else { return Ok(()) };
        let command = approval.process();
        let verdict = approval.end(&mut self.abandoned);
        if let Some(pid) = command.filter(|&pid| !self.abandoned.contains(pid)) {
            self.kin.release(pid);
        }
        verdict
    }

    /// The same in the program that continues.
    fn clock(&self) -> Duration {
        clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
    }

    fn read_envdir(&mut self, path: &[u8]) -> Variables {
        self.files.envdir.read(path, |line| stderr::say(line))
    }

    fn tell(&mut self, news: News) {
        self.tell_others(&news);
        self.reporter.tell(news, self.explanation.as_ref().map(Explanation::last));
    }

    fn hand_over(&mut self, life: LifePart) -> LifePart {
        self.hand_over_next(life)
    }

    fn say(&mut self, line: &[u8]) {
        stderr::say(line);
    }
}
