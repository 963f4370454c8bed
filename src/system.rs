//! The seam between the supervisor and the system: all that the life cycle needs of the outside, and the real thing.
//! Tests put a simulated world with a virtual clock in its place.

pub(crate) mod service_manager;
pub(crate) mod signals;

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, Instant};

use nix::unistd::alarm;

use crate::environment::envdir;
use crate::environment::{Environment, Variables};
use crate::error::Error;
use crate::files::status_file::StatusFile;
use crate::options::Options;
use crate::readiness::Watch;
use crate::stderr;
use crate::stop_signal::StopSignal;
use crate::sys::{self, CStringArray, Fork, Pid, WaitStatus, c_string};
use crate::system::service_manager::{ServiceManager, Standing};
use crate::system::signals::{LaunchState, Received, SignalPipe, find_dead_child, may_have_dead_child};

/// What a supervisor does to the world, and how it learns of it.
pub(crate) trait Kernel {
    /// Starts a worker with `environment`, which it may add to. A worker that cannot run its program is a worker that dies.
    fn spawn(&mut self, environment: &mut Environment) -> Result<Pid, Error>;

    /// Sends a signal. That it fails means nothing: the worker is dead, and its death will be told.
    fn kill(&mut self, worker: Pid, signal: &StopSignal);

    /// Waits until a signal has been received or a child can be reaped, but not after `deadline`, a time of the clock. With
    /// `tick`, ALRM is received after one second.
    fn wait(&mut self, tick: bool, deadline: Option<Duration>);

    /// Waits until `worker` is ready or dead, no longer than `time`; ends early when a signal is received. Whether it is
    /// one of both.
    fn wait_until_ready(&mut self, worker: Pid, time: Duration) -> bool;

    /// Reaps any dead child, of those that exist; never waits.
    fn reap(&mut self) -> Option<(Pid, WaitStatus)>;

    /// Reaps `worker` if it is dead; never waits.
    fn reap_worker(&mut self, worker: Pid) -> Option<WaitStatus>;

    /// Sleeps; ends early when a signal is received. Deaths of workers don't wake it.
    fn sleep(&mut self, time: Duration);

    /// The time since some moment in the past; no clock that can be set.
    fn clock(&self) -> Duration;

    /// The signals that have been received and not been acted on, oldest first.
    fn received(&mut self) -> &mut VecDeque<Received>;

    /// What the envdir holds now.
    fn read_envdir(&mut self, path: &[u8]) -> Variables;

    /// Replaces the content of the status file, and tells the service manager, if there are such.
    fn write_status(&mut self, content: &[u8]) -> Result<(), Error>;

    /// Tells `--restart` that a restart has been given up and which generation was its last attempt; or, with None, that a
    /// worker has started.
    fn note_given_up(&mut self, generation: Option<u64>);

    /// Tells the service manager, if there is one.
    fn announce(&mut self, standing: Standing);

    /// Writes one line to standard error.
    fn say(&mut self, line: &[u8]);
}

/// The system as it is.
pub(crate) struct System<'a> {
    program: Vec<CString>,
    arguments: CStringArray,
    directory: Option<CString>,
    /// Whether workers get their pid as `LISTEN_PID`.
    tells_pid: bool,
    launch: &'a LaunchState,
    pipe: SignalPipe,
    received: VecDeque<Received>,
    status_file: Option<StatusFile>,
    /// The note that tells `--restart` of a restart that was given up.
    failure_file: Option<StatusFile>,
    watch: Watch,
    manager: ServiceManager,
    origin: Instant,
}

impl<'a> System<'a> {
    pub(crate) fn new(
        options: &Options,
        status_file: Option<StatusFile>,
        failure_file: Option<StatusFile>,
        watch: Watch,
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
            launch,
            pipe,
            received: VecDeque::new(),
            status_file,
            failure_file,
            watch,
            manager,
            origin: Instant::now(),
        }
    }

    /// Waits until a signal comes or a worker writes something, at most `timeout`.
    fn pause(&mut self, timeout: Option<Duration>) {
        self.pipe.wait(&self.watch.fds(), timeout);
        self.watch.read();
    }

    /// The child's way to the worker's program. If that fails, the child leaves without touching what belongs to the
    /// superdaemon (`failed-child`): message and status are all there is of it.
    fn exec(&self, environment: &CStringArray) -> ! {
        if let Some(directory) = &self.directory
            && let Err(errno) = nix::unistd::chdir(directory.as_c_str())
        {
            sys::say_errno([b"failed to chdir:", directory.as_bytes(), b":"], errno);
            sys::exit_now((errno as i32).to_le_bytes()[0]);
        }
        let errno = sys::exec(&self.arguments, environment);
        sys::say_errno([b"failed to exec ", self.program[0].as_bytes(), b":"], errno);
        sys::exit_now(255)
    }
}

impl Kernel for System<'_> {
    fn spawn(&mut self, environment: &mut Environment) -> Result<Pid, Error> {
        let notify_socket = self.watch.prepare();
        let notify_socket =
            notify_socket.map_err(|errno| Error::system(&[b"failed to open a notify socket:"], errno))?;
        if let Some(path) = notify_socket {
            environment.set("NOTIFY_SOCKET", path.into_os_string().into_vec());
        }
        // ORDER: everything that allocates happens before the fork.
        let mut environment = environment.to_c();
        if self.tells_pid {
            environment.reserve_pid("LISTEN_PID");
        }
        let blocked = self.launch.block_all();
        match sys::fork().map_err(|errno| Error::system(&[b"fork(2) failed:"], errno))? {
            Fork::Parent(pid) => {
                self.watch.begin(pid);
                Ok(pid)
            }
            Fork::Child => {
                blocked.restore_in_child();
                environment.put_pid();
                self.exec(&environment)
            }
        }
    }

    fn kill(&mut self, worker: Pid, signal: &StopSignal) {
        let target = if signal.is_for_process_group() { -worker } else { worker };
        let _ = sys::kill(target, signal.number());
    }

    fn wait(&mut self, tick: bool, deadline: Option<Duration>) {
        // A real alarm, as in the original: where ALRM is blocked, there are no ticks (LIFE-007).
        if tick {
            alarm::set(1);
        }
        while self.received().is_empty() && find_dead_child(sys::dead_child).is_none() {
            let left = deadline.map(|deadline| deadline.saturating_sub(self.clock()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            self.pause(left);
        }
        if tick {
            alarm::cancel();
        }
    }

    fn wait_until_ready(&mut self, worker: Pid, time: Duration) -> bool {
        let begin = self.clock();
        let known = self.received.len();
        loop {
            // ORDER: read before the looks, so that a death after them still wakes.
            let is_interrupted = self.received().len() > known;
            if sys::is_dead(worker) || self.watch.is_ready(worker) {
                return true;
            }
            let waited = self.clock().saturating_sub(begin);
            if is_interrupted || waited >= time {
                return false;
            }
            let left = time.saturating_sub(waited);
            self.pause(Some(self.watch.pause(waited).map_or(left, |pause| pause.min(left))));
        }
    }

    fn reap(&mut self) -> Option<(Pid, WaitStatus)> {
        find_dead_child(|| sys::reap(-1)).inspect(|&(pid, _)| self.watch.end(pid))
    }

    fn reap_worker(&mut self, worker: Pid) -> Option<WaitStatus> {
        if !may_have_dead_child() {
            return None;
        }
        sys::reap(worker).inspect(|&(pid, _)| self.watch.end(pid)).map(|(_, status)| status)
    }

    fn sleep(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        // ORDER: counted without a look at the pipe, as the supervisor has not seen what came in since its own look.
        let known = self.received.len();
        while self.received().len() == known {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.pause(Some(left));
        }
    }

    fn clock(&self) -> Duration {
        self.origin.elapsed()
    }

    fn received(&mut self) -> &mut VecDeque<Received> {
        self.received.extend(self.pipe.read());
        &mut self.received
    }

    fn read_envdir(&mut self, path: &[u8]) -> Variables {
        envdir::read(path)
    }

    fn write_status(&mut self, content: &[u8]) -> Result<(), Error> {
        self.manager.send(None, &[b"workers, as GENERATION:PID: ", content.trim_ascii_end()].concat());
        self.status_file.as_mut().map_or(Ok(()), |file| file.write(content))
    }

    fn note_given_up(&mut self, generation: Option<u64>) {
        let Some(file) = &mut self.failure_file else { return };
        match generation {
            // If this fails, as on a full disk, whoever waits for the restart waits on.
            Some(generation) => drop(file.write(format!("{generation}\n").as_bytes())),
            None => file.remove(),
        }
    }

    fn announce(&mut self, standing: Standing) {
        self.manager.send(Some(standing), b"");
    }

    fn say(&mut self, line: &[u8]) {
        stderr::say(line);
    }
}
