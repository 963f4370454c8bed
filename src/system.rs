//! The real world: processes, signals, files, and the service manager.

mod approval;
mod family;
mod obituary;
pub(crate) mod service_manager;
pub(crate) mod signals;
pub(crate) mod successor;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::io::PipeWriter;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{self, alarm, setpgid};

use crate::environment::{Environment, Variables, envdir};
use crate::error::Error;
use crate::files::log_file::LogFile;
use crate::files::pid_file::PidFile;
use crate::files::status_file::{FailureFile, StatusFile};
use crate::listeners::{Listeners, Shut};
use crate::options::Options;
use crate::readiness::Watch;
use crate::state::State;
use crate::stderr;
use crate::stop_signal::StopSignal;
use crate::supervisor::save_request;
use crate::sys::{self, CStringArray, Fork, Pid, WaitStatus, c_string};
use crate::system::approval::Approval;
use crate::system::family::Kin;
use crate::system::obituary::Obituary;
use crate::system::service_manager::ServiceManager;
use crate::system::signals::{LaunchState, SignalPipe, find_dead_child, may_have_dead_child};
use crate::system::successor::Successor;
use crate::world::{Awaited, Candidate, Failure, Request, Standing, Woken, World};

/// After which time it is said of a worker what it has not done.
const LONG_TIME: Duration = Duration::from_secs(10);

/// How long to wait before what could not be done is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The system as it is.
pub(crate) struct System<'a> {
    program: Vec<CString>,
    arguments: CStringArray,
    directory: Option<CString>,
    /// Whether workers get their pid as `LISTEN_PID`.
    tells_pid: bool,
    /// Whether each worker leads a process group.
    leads_group: bool,
    /// The listeners that the service manager keeps and that have a file: by their names there. The files go at the end, and
    /// then nobody reaches them.
    of_no_use: Vec<Vec<u8>>,
    /// The signals that workers could not be sent, which has been said; and when to try again.
    unsent: BTreeMap<Pid, (StopSignal, Instant)>,
    listeners: &'a Listeners,
    /// Those that stay shut, which has been said.
    shut: BTreeSet<RawFd>,
    launch: &'a LaunchState,
    pipe: SignalPipe,
    /// Those that have not been taken.
    requests: Vec<Request>,
    files: Files,
    watch: Box<dyn Watch>,
    kin: Kin,
    /// The newest worker and when it was started, until something has been said of it.
    newest: Option<(Pid, Duration)>,
    manager: ServiceManager,
    approval: Option<Approval>,
    /// With options of ours.
    obituary: Option<Obituary>,
    /// The PATH of the newest worker.
    path: Vec<u8>,
    /// Of which worker something is left that it has started.
    has_left: Option<Pid>,
    successor: Option<Successor>,
    /// Whether an alarm is running from the last wait.
    is_ticking: bool,
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
        let program: Vec<_> = options.program.iter().map(|argument| c_string(argument.as_bytes())).collect();
        Self {
            arguments: program.iter().cloned().collect(),
            program,
            directory: options.dir.as_ref().map(|path| c_string(path.as_os_str().as_bytes())),
            tells_pid: options.listen_fds,
            leads_group: options.process_group,
            of_no_use: if options.stores_listeners() { listeners.names_of_stored_files() } else { Vec::new() },
            unsent: BTreeMap::new(),
            listeners,
            shut: BTreeSet::new(),
            launch,
            pipe,
            requests: Vec::new(),
            files,
            watch,
            kin: Kin::of(options, listeners),
            newest: None,
            manager,
            approval: Approval::of(options),
            obituary: options.uses_our_own().then(|| Obituary::new(listeners.names())),
            path: Vec::new(),
            has_left: None,
            successor: None,
            is_ticking: false,
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
        let unsent = state.all("unsent")?.into_iter();
        self.unsent.extend(unsent.map(|(pid, signal)| (pid, (signal, Instant::now()))));
        state.fill_set("shut", &mut self.shut)?;
        self.is_ticking = state.get("ticking")?.is_some_and(|(is_ticking,)| is_ticking);
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
        self.requests.iter().for_each(|&request| save_request(request, state));
        for (&pid, (signal, _)) in &self.unsent {
            state.add("unsent", &(pid, signal.clone()));
        }
        self.shut.iter().for_each(|&fd| state.add("shut", &(fd,)));
        state.add("ticking", &(self.is_ticking,));
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

    /// A listener that a worker has shut down would make every start fail, or be in vain (`shut-listener`).
    fn revive_listeners(&mut self) {
        for Shut { fd, listens_again, line } in self.listeners.revive() {
            if listens_again || self.shut.insert(fd) {
                self.say(&line);
            }
        }
    }

    /// No other program goes on in the place of this one.
    fn refuse(&mut self, reason: &[u8]) {
        self.say(&[b"not upgraded: ", reason].concat());
        if let Some(successor) = &self.successor {
            successor.answer("refused", reason);
        }
    }

    /// Whether there is a request that has not been taken.
    fn is_requested(&mut self) -> bool {
        let requests = self.pipe.read();
        self.is_ticking &= !requests.contains(&Request::Alrm);
        self.requests.extend(requests);
        if self.pipe.take_log_to_be_opened() {
            self.open_log(LogFile::open_again);
        }
        !self.requests.is_empty()
    }

    /// What can't be opened is said on the old log, which stays.
    fn open_log(&mut self, open: impl FnOnce(&LogFile) -> Result<(), Error>) {
        if let Some(Err(error)) = self.files.log.as_ref().map(open) {
            self.say(&error.message());
        }
    }

    fn has_happened(&mut self, awaited: Awaited) -> Result<bool, Errno> {
        Ok(match awaited {
            Awaited::Request => false,
            Awaited::Death | Awaited::Anything { .. } => find_dead_child(sys::dead_child)?.is_some(),
            Awaited::Approval(worker) => {
                sys::is_dead(worker)? || self.approval.as_ref().map_or(Ok(true), Approval::is_over)?
            }
            Awaited::Rehearsal => self.successor.as_mut().is_none_or(Successor::is_rehearsed),
            Awaited::Ready(worker) => sys::is_dead(worker)? || self.watch.is_ready(worker),
        })
    }

    /// Says once of a worker what it has not done for a long time. When it will be time for that, if ever.
    fn say_lack(&mut self, worker: Pid) -> Option<Duration> {
        let (newest, started) = self.newest.filter(|&(newest, _)| newest == worker)?;
        let left = (started + LONG_TIME).saturating_sub(self.clock());
        if left.is_zero() {
            self.newest = None;
            self.say(format!("new worker {newest} is alive, but {} so far", self.watch.lack()).as_bytes());
        }
        (!left.is_zero()).then_some(left)
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
            if matches!(awaited, Awaited::Anything { .. }) && self.pipe.take_to_be_replaced() {
                return Woken::Replaced;
            }
            let now = self.clock();
            let left = end.map(|end| end.saturating_sub(now));
            if left.is_some_and(|left| left.is_zero()) {
                return Woken::OutOfTime;
            }
            let look = match awaited {
                Awaited::Ready(worker) => {
                    let look = self.watch.pause(now.saturating_sub(begin));
                    look.into_iter().chain(self.say_lack(worker)).min()
                }
                _ => None,
            };
            // What could not be done is tried again, though nothing may wake the loop.
            let again = has_happened.is_err() || !self.unsent.is_empty();
            let again = again.then_some(RETRY).into_iter().chain(self.manager.pause()).chain(self.files.pause());
            let again = again.chain(self.successor.as_ref().and_then(Successor::pause));
            self.pause(left.into_iter().chain(look).chain(again).min());
            self.manager.flush();
            self.files.retry();
            self.send_again();
        }
    }

    /// Waits until a signal comes or a worker writes something, at most `timeout`.
    fn pause(&mut self, timeout: Option<Duration>) {
        let mut fds = self.watch.fds();
        fds.extend(self.successor.as_ref().and_then(Successor::fd));
        self.pipe.wait(&fds, timeout);
        self.watch.read();
    }

    /// That there is no such process is no error.
    fn send(&self, worker: Pid, signal: &StopSignal) -> Result<(), Errno> {
        let is_for_group = self.leads_group || signal.is_for_process_group();
        let sent = match is_for_group.then(|| sys::kill(-worker, signal.number())) {
            // It leads none (`no-such-group`).
            None | Some(Err(Errno::ESRCH)) => sys::kill(worker, signal.number()),
            Some(sent) => sent,
        };
        if sent == Err(Errno::ESRCH) { Ok(()) } else { sent }
    }

    /// A program that changes its user may be out of reach for a moment only.
    fn send_again(&mut self) {
        let now = Instant::now();
        let due: Vec<Pid> = self.unsent.iter().filter(|(_, (_, time))| *time <= now).map(|(&pid, _)| pid).collect();
        for worker in due {
            let Some((signal, _)) = self.unsent.remove(&worker) else { continue };
            if self.send(worker, &signal).is_err() {
                self.unsent.insert(worker, (signal, now + RETRY));
            }
        }
    }

    /// A child has been reaped. Whether that is to be told now. `is_wanted`: it is a worker that is looked after by
    /// name.
    fn bury(&mut self, pid: Pid, status: WaitStatus, is_wanted: bool) -> bool {
        self.watch.end(pid);
        self.unsent.remove(&pid);
        let (is_told, line) = self.kin.bury(pid, status, is_wanted);
        if let Some(line) = line {
            self.has_left = Some(pid);
            self.say(&line);
        }
        is_told
    }

    /// The child's way to the worker's program. If that fails, the child leaves without touching what belongs to the
    /// superdaemon (`failed-child`): message and status are all there is of it.
    fn exec(&self, environment: &CStringArray, report: Option<&PipeWriter>) -> ! {
        if let Some(directory) = &self.directory
            && let Err(errno) = nix::unistd::chdir(directory.as_c_str())
        {
            sys::say_errno([b"failed to chdir:", directory.as_bytes(), b":"], errno);
            sys::exit_now((errno as i32).to_le_bytes()[0]);
        }
        let errno = sys::exec(&self.arguments, environment);
        if let Some(report) = report {
            Obituary::tell_exec(report, errno);
        }
        sys::say_errno([b"failed to exec ", self.program[0].as_bytes(), b":"], errno);
        sys::exit_now(255)
    }
}

impl World for System<'_> {
    fn spawn(&mut self, environment: &Environment) -> Result<Pid, Error> {
        self.open_log(LogFile::follow);
        self.revive_listeners();
        let notify_socket = self.watch.prepare();
        let notify_socket =
            notify_socket.map_err(|errno| Error::system(&[b"failed to open a notify socket:"], errno))?;
        let generation = environment.get("SERVER_STARTER_GENERATION").map(<[u8]>::to_vec);
        let path = environment.get("PATH").map(<[u8]>::to_vec);
        // ORDER: everything that allocates happens before the fork.
        let mut environment = environment.to_c();
        if let Some(path) = notify_socket {
            environment.set("NOTIFY_SOCKET", path.as_os_str().as_bytes());
        }
        if self.tells_pid {
            environment.reserve_pid("LISTEN_PID");
        }
        self.path = self.obituary.as_ref().and(path).unwrap_or_default();
        let report = self.obituary.as_mut().and_then(|obituary| obituary.begin(self.files.log.as_ref()));
        let blocked = sys::block_all();
        match sys::fork(self.launch.one_thread).map_err(|errno| Error::system(&[b"fork(2) failed:"], errno))? {
            Fork::Parent(pid) => {
                // In both processes, since either may come first.
                if self.leads_group {
                    let _ = setpgid(unistd::Pid::from_raw(pid), unistd::Pid::from_raw(pid));
                }
                self.watch.begin(pid);
                self.newest = Some((pid, self.clock()));
                self.kin.add(pid, generation.as_deref().unwrap_or_default());
                Ok(pid)
            }
            Fork::Child => {
                if self.leads_group {
                    let _ = setpgid(unistd::Pid::from_raw(0), unistd::Pid::from_raw(0));
                }
                self.launch.restore_in_child(blocked);
                environment.put_pid();
                self.exec(&environment, report.as_ref())
            }
        }
    }

    fn kill(&mut self, worker: Pid, signal: &StopSignal) {
        self.kin.stop(worker, signal);
        let Err(errno) = self.send(worker, signal) else {
            self.unsent.remove(&worker);
            return;
        };
        if self.unsent.insert(worker, (signal.clone(), Instant::now() + RETRY)).is_none() {
            let sentence =
                [b"failed to send ", signal.text(), b" to worker ", worker.to_string().as_bytes(), b":"].concat();
            self.say(&Error::system(&[&sentence], errno).message());
        }
    }

    fn wait(&mut self, awaited: Awaited, end: Option<Duration>) -> Woken {
        if awaited != (Awaited::Anything { tick: true }) {
            return self.wait_for(awaited, end);
        }
        // A real alarm, as in the original: where ALRM is blocked, there are no ticks (LIFE-007).
        if !std::mem::take(&mut self.is_ticking) {
            alarm::set(1);
        }
        let woken = self.wait_for(awaited, end);
        if woken == Woken::Replaced {
            // It goes on, whichever program is here then.
            self.is_ticking = true;
        } else {
            alarm::cancel();
        }
        woken
    }

    fn take_requests(&mut self) -> Vec<Request> {
        self.is_requested();
        std::mem::take(&mut self.requests)
    }

    fn reap(&mut self) -> Option<(Pid, WaitStatus)> {
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

    fn reap_worker(&mut self, worker: Pid) -> Option<WaitStatus> {
        if let Some((_, status)) = self.kin.take_ended(Some(worker)) {
            return Some(status);
        }
        if !may_have_dead_child() {
            return None;
        }
        let (pid, status) = sys::reap(worker).ok().flatten()?;
        self.bury(pid, status, true).then_some(status)
    }

    /// The same in the program that goes on.
    fn clock(&self) -> Duration {
        clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
    }

    fn explain(&mut self, (generation, worker): (u64, Pid), failure: &Failure) {
        let left_something = self.newest.map(|(pid, _)| pid) == self.has_left.take() && self.newest.is_some();
        let Some(obituary) = &mut self.obituary else { return };
        match failure {
            Failure::Ended(status) => {
                let line = obituary.of(*status, &self.path, left_something);
                stderr::say(line);
            }
            Failure::NotReady => {
                let line = obituary.of_late(worker, failure, self.watch.lack());
                stderr::say(line);
            }
            Failure::NotApproved(_) => obituary.of_refused(worker, failure, b""),
        }
        if let Some(file) = &mut self.files.failure {
            file.note(generation, false, &obituary.last);
        }
    }

    fn read_envdir(&mut self, path: &[u8]) -> Variables {
        self.files.envdir.read(path, |line| stderr::say(line))
    }

    fn publish(&mut self, workers: &[u8]) -> Result<(), Error> {
        self.manager.send(None, &[b"workers, as GENERATION:PID: ", workers.trim_ascii_end()].concat());
        self.files.status.as_mut().map_or(Ok(()), |file| file.write(workers))
    }

    fn note_given_up(&mut self, generation: Option<u64>) {
        if let Some(obituary) = &mut self.obituary {
            obituary.end();
        }
        if let Some(file) = &mut self.files.failure {
            let reason = self.obituary.as_ref().map(|obituary| obituary.last.as_slice());
            match generation {
                Some(generation) => file.note(generation, true, reason.unwrap_or_default()),
                None => file.remove(),
            }
        }
    }

    fn announce(&mut self, standing: Standing) {
        if standing == Standing::Stopping {
            self.of_no_use.drain(..).for_each(|name| self.manager.forget(&name));
        }
        self.manager.send(Some(standing), b"");
    }

    fn ask_approval(&mut self, environment: &Environment, candidate: Candidate) -> Result<(), Error> {
        let listeners: Vec<RawFd> = self.listeners.fds().map(|fd| fd.as_raw_fd()).collect();
        let Some(approval) = &mut self.approval else { return Ok(()) };
        approval.begin(environment, candidate, self.launch, &listeners)
    }

    fn take_approval(&mut self) -> Result<(), String> {
        self.approval.as_mut().map_or(Ok(()), Approval::end)
    }

    fn rehearse(&mut self, state: State) -> bool {
        let listeners: Vec<RawFd> = self.listeners.fds().map(|fd| fd.as_raw_fd()).collect();
        let Some(successor) = &mut self.successor else { return false };
        let mut state = state;
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
            let _blocked = sys::block_all();
            // ORDER: what came in before is part of the state, what comes now stays pending.
            self.is_requested();
            let reason = successor.execute(&mut state, self.launch, |state| self.save(state));
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
