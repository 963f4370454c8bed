//! `start_server` itself: everything is checked, opened and bound in the original's order, then the supervisor runs.

mod daemonize;
mod log_target;

use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::environment::{Environment, envdir};
use crate::error::Error;
use crate::files::failure_note::FailureFile;
use crate::files::log_file::LogFile;
use crate::files::names::is_same_name;
use crate::files::pid_file::PidFile;
use crate::files::status_file::StatusFile;
use crate::listeners::{ListenPlan, Listeners, Place, Stored, inherited};
use crate::options::{Options, Readiness};
use crate::proc::is_own_proc;
use crate::readiness::{PreparedWatch, Watch, watch};
use crate::start::daemonize::daemonize;
use crate::start::log_target::LogTarget;
use crate::stderr::say;
use crate::succession::Descriptors;
use crate::supervisor::{LifeCycle, Supervisor};
use crate::sys::{self, Blocked, IS_LINUX, OneThread, block_all};
use crate::system::arrival::{self, Arrival};
use crate::system::rehearsal::answer_rehearsal;
use crate::system::service_manager::ServiceManager;
use crate::system::signals::{LaunchState, Signals, ignore_broken_pipes};
use crate::system::successor::Successor;
use crate::system::{Files, State, System, failure_file};

/// Names the socket of the service manager.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// Runs a superdaemon until TERM, INT or QUIT stops it and its workers have exited.
///
/// It takes the process over: signal handlers, standard descriptors, with `daemonize` the process itself. The process
/// must have no other thread.
///
/// # Errors
/// If there is another thread, or if something can't be opened or bound; no worker has been started then. Once the
/// first worker has been started, there are no more errors (except with `max_start_failures`).
///
/// The error is written to standard error, like all messages of the superdaemon, *and* returned; it is written before
/// sockets are removed and the log command is waited for, which may take long. So don't print it again.
///
/// ```no_run
/// use server_starter::{Options, start_server};
///
/// let mut options = Options::new(vec!["plackup".into(), "-s".into(), "Starlet".into(), "app.psgi".into()]);
/// options.ports = vec!["127.0.0.1:8080".into()];
/// options.status_file = Some("/run/app.status".into());
/// start_server(&options)?;
/// # Ok::<(), server_starter::Error>(())
/// ```
pub fn start_server(options: &Options) -> Result<(), Error> {
    start(options, IsProgram(false))
}

/// The same for the program `start_server`, which another version can replace.
///
/// # Errors
/// Those of [`start_server`].
pub fn start_program(options: &Options) -> Result<(), Error> {
    start(options, IsProgram(true))
}

/// Whether this process is the program `start_server`, and not another one that uses the library.
#[derive(Clone, Copy)]
struct IsProgram(bool);

fn start(options: &Options, is_program: IsProgram) -> Result<(), Error> {
    let mut resources = Resources::default();
    let result = resources.run(options, is_program);
    // ORDER: reported before the socket files are removed and before the wait for the log command (L7), which may take
    // for ever.
    if let Err(error) = &result {
        say(error.message());
    }
    result
}

/// Shows a superdaemon that this program could replace it, with the state at one descriptor and the options from its
/// command line. Answers at the other descriptor, and returns the exit code.
pub(crate) fn rehearse(state: RawFd, answer: RawFd, options: Result<Box<Options>, Error>) -> u8 {
    answer_rehearsal(state, answer, || options?.check())
}

/// This program has been executed to replace another one, and its command line is refused: the other one continues.
/// Returns if there is none.
pub(crate) fn go_back(reason: &[u8]) {
    let Some(one_thread) = OneThread::check() else { return };
    let mut environment = Environment::inherited(&Options::new(Vec::new()), one_thread);
    if let Ok(Some(arrival)) = Arrival::find(&mut environment, one_thread) {
        arrival.go_back(reason);
    }
}

/// What has to be released, also after an error.
#[derive(Default)]
struct Resources {
    place: Place,
    listeners: Listeners,
    /// From the first file that is made until there are handlers: a signal in between would leave the file behind.
    blocked: Option<Blocked>,
    log: Option<LogTarget>,
}

/// The result of both ways to start.
struct Parts {
    launch: LaunchState,
    environment: Environment,
    manager: ServiceManager,
    watch: Box<dyn Watch>,
    signals: Signals,
    files: Files,
}

/// Everything that a program needs to replace another one without a possible failure.
struct Prepared {
    state: State,
    descriptors: Descriptors,
    manager: ServiceManager,
    watch: PreparedWatch,
}

impl Resources {
    fn run(&mut self, options: &Options, IsProgram(is_program): IsProgram) -> Result<(), Error> {
        let is_checked = options.check();
        let Some(one_thread) = OneThread::check() else {
            is_checked?;
            return Err(Error::rule(&[b"start_server needs a process with a single thread"]));
        };
        let mut environment = Environment::inherited(options, one_thread);
        let mut state = None;
        let parts = if let Some(arrival) = Arrival::find(&mut environment, one_thread)? {
            let prepared = arrival.prepare(|| {
                is_checked.clone()?;
                Prepared::of(options, &environment, &arrival, one_thread)
            })?;
            state = Some((prepared.state.clone(), arrival.refusal().map(<[u8]>::to_vec)));
            self.commit(options, one_thread, environment, prepared)
        } else {
            is_checked?;
            self.open(options, one_thread, environment)?
        };
        let Parts { launch, environment, manager, watch, signals, files } = parts;
        let mut system = System::new(options, &self.listeners, files, watch, manager, signals, &launch);
        let program = state.as_ref().map(|(state, _)| &state.program);
        system.allow(is_program.then(|| Successor::of(options, program)).flatten());
        let life_cycle = LifeCycle::of(options);
        let ended;
        let mut supervisor;
        if let Some((state, refusal)) = state {
            system.take_over(&state);
            system.answer_upgrade(refusal.as_deref());
            supervisor = Supervisor::new(system, &life_cycle, environment);
            supervisor.take_over(state.life);
            ended = supervisor.keep_running();
        } else {
            supervisor = Supervisor::new(system, &life_cycle, environment);
            ended = supervisor.run();
        }

        // ORDER: pid file, sockets, status file (U8); its lock comes last, as --stop waits for it
        // (`lock-released-last`).
        let files = supervisor.into_world().into_files();
        self.listeners = Listeners::default();
        drop(files);
        ended
    }

    /// The headings of the start, in the original's order.
    fn open(&mut self, options: &Options, one_thread: OneThread, mut environment: Environment) -> Result<Parts, Error> {
        check_proc(options)?;
        self.place = Place::of_script(options);
        let mut launch = LaunchState::take_over(one_thread);
        // ORDER: before anything is opened or started, as only their numbers identify inherited listeners.
        let mut stored = Stored::default();
        if options.from_systemd {
            let is_needed = !options.stores_listeners();
            let (ours, theirs) = Stored::take_from(inherited::take(&mut environment, is_needed)?)?;
            self.listeners = theirs.into();
            stored = ours;
        }
        let mut manager = meet_manager(options, &mut environment)?;
        let mut envdir = envdir::Reader::default();
        let left_out = read_envdir(&mut envdir, &mut environment);
        self.open_log(options, &environment, &launch)?;
        say(format!("start_server (pid:{}) starting now...", sys::own_pid()));
        left_out.into_iter().for_each(say);

        let Checked { plan, mut files } = Checked::of(options, &self.listeners)?;
        self.listen(&plan, &mut stored)?;
        if options.stores_listeners() {
            // ORDER: useless ones go first, as a new one may have the same name.
            stored.names().for_each(|name| manager.forget(name));
            self.listeners.to_store().for_each(|(name, fd)| manager.store(&name, fd));
        }
        drop(stored);
        self.listeners.export(options.listen_fds, &mut environment);
        let watch = watch(options.ready, &self.listeners, launch.one_thread)?;
        ignore_broken_pipes();
        files.log = self.redirect_output()?;
        files.envdir = envdir;
        files.board = std::mem::take(&mut self.place).into_board();
        let daemonize = || daemonize(launch.one_thread, self.listeners.use_stdin(), self.blocked.as_ref());
        let launcher = options.daemonize.then(daemonize).transpose()?;

        let mut signals = Signals::install(&mut launch, self.blocked.take().unwrap_or_else(block_all));
        let pid_file = options.pid_file.as_deref();
        let create_pid_file = |path| {
            let tell_wait = || {
                if options.uses_our_own() {
                    let end = b" is locked by another superdaemon, waiting until it exits".as_slice();
                    say([Path::as_os_str(path).as_bytes(), end].concat());
                }
            };
            PidFile::create(path, || !signals.read().is_empty(), tell_wait)
        };
        let pid_file = pid_file.map(create_pid_file).transpose();
        if let Some(launcher) = launcher {
            launcher.release(&pid_file);
        }
        files.pid = pid_file?;
        if let Some(file) = &files.failure {
            file.remove_left_over();
        }
        Ok(Parts { launch, environment, manager, watch, signals, files })
    }

    /// Replaces another program in the same process: nothing is opened or bound, and no start is reported.
    // ORDER: there is no `?` in here, and no way back after it.
    fn commit(
        &mut self,
        options: &Options,
        one_thread: OneThread,
        mut environment: Environment,
        prepared: Prepared,
    ) -> Parts {
        let Prepared { state, mut descriptors, manager, watch } = prepared;
        let (mut launch, blocked) = LaunchState::resume(one_thread, &state.launch);
        self.listeners = Listeners::take_over(&state.listeners, options.backlog, &mut descriptors);
        if options.from_systemd {
            inherited::forget(&mut environment);
        }
        keep_manager_secret(options, &mut environment);
        let files = Files::take_over(options, state.files.clone(), &mut descriptors);
        let watch = watch.take_over(&self.listeners, &mut descriptors);
        arrival::finish(&state.program, descriptors);
        ignore_broken_pipes();
        let signals = Signals::install(&mut launch, blocked);
        say(format!("start_server (pid:{}) now runs version {}", std::process::id(), env!("CARGO_PKG_VERSION")));
        Parts { launch, environment, manager, watch, signals, files }
    }

    /// First of all, so all later errors are in it, too.
    fn open_log(&mut self, options: &Options, environment: &Environment, launch: &LaunchState) -> Result<(), Error> {
        if let Some(option) = &options.log_file {
            self.log = Some(LogTarget::open(option, environment, launch)?);
        }
        Ok(())
    }

    fn listen(&mut self, plan: &ListenPlan, stored: &mut Stored) -> Result<(), Error> {
        if let Some(log) = &mut self.log {
            log.relocate(|fd| plan.keep_clear(fd))?;
        }
        let places = plan.listen_to_ports(&mut self.listeners, &mut self.place, stored)?;
        // ORDER: after the ports, where the look-up of a host name may take long.
        self.blocked = Some(block_all());
        plan.listen_to_paths(&mut self.listeners, places, stored)?;
        Ok(())
    }

    fn redirect_output(&mut self) -> Result<Option<LogFile>, Error> {
        let Some(log) = &mut self.log else { return Ok(None) };
        log.move_into_place()?;
        Ok(log.file())
    }
}

impl Prepared {
    /// Gets everything that is needed in addition to what `arrival` has brought. Changes nothing, and owns nothing of
    /// it.
    fn of(
        options: &Options,
        environment: &Environment,
        arrival: &Arrival,
        one_thread: OneThread,
    ) -> Result<Self, Error> {
        let (state, descriptors) = arrival.read()?;
        let manager = manager_of(options, environment)?;
        let watch = PreparedWatch::of(options.ready, state.watch.clone(), one_thread)?;
        Ok(Self { state, descriptors, manager, watch })
    }
}

/// Refuses options that would do nothing, or the wrong thing, without the right /proc. Only on Linux: elsewhere,
/// [`Options::check`] refuses options that need it.
fn check_proc(options: &Options) -> Result<(), Error> {
    let option: &[u8] = match options.ready {
        Readiness::Notify => b"--ready=notify",
        Readiness::Accepting => b"--ready=accepting",
        Readiness::Interval if options.kill_timeout.is_some() && IS_LINUX => b"--kill-timeout",
        Readiness::Interval => return Ok(()),
    };
    match is_own_proc() {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(Error::rule(&[option, b" needs the /proc of its own pid namespace, and this one belongs to another"]))
        }
        Err(error) => Err(Error::system(&[option, b" needs the /proc of its own pid namespace:"], error)),
    }
}

/// Where the service manager listens.
fn manager_of(options: &Options, environment: &Environment) -> Result<ServiceManager, Error> {
    if !options.sd_notify {
        return Ok(ServiceManager::default());
    }
    let manager = ServiceManager::from_environment(environment.get(NOTIFY_SOCKET))?;
    Ok(manager.watched(environment.get(WATCHDOG_USEC), environment.get(WATCHDOG_PID)))
}

/// The same.
fn meet_manager(options: &Options, environment: &mut Environment) -> Result<ServiceManager, Error> {
    let manager = manager_of(options, environment)?;
    keep_manager_secret(options, environment);
    Ok(manager)
}

/// It is between the manager and the superdaemon: no other process learns about it.
fn keep_manager_secret(options: &Options, environment: &mut Environment) {
    if options.sd_notify {
        for name in [NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID] {
            environment.remove(name);
        }
    }
}

/// What can be checked before anything is bound or removed.
struct Checked<'a> {
    plan: ListenPlan<'a>,
    files: Files,
}

impl<'a> Checked<'a> {
    fn of(options: &'a Options, inherited: &Listeners) -> Result<Self, Error> {
        let plan = ListenPlan::new(&options.ports, &options.paths, options.backlog, inherited)?;
        let plan = if options.listen_fds { plan.for_listen_fds()? } else { plan };
        check_names(options)?;
        options.pid_file.as_deref().map_or(Ok(()), PidFile::check)?;
        // Both make a file for a moment.
        let _blocked = options.status_file.is_some().then(block_all);
        let status = options.status_file.as_deref().map(StatusFile::new).transpose()?;
        let failure = failure_file(options).map(FailureFile::new).transpose()?;
        Ok(Self { plan, files: Files { status, failure, ..Files::default() } })
    }
}

/// Each of the two files would overwrite the other (`one-file`).
fn check_names(options: &Options) -> Result<(), Error> {
    match (&options.pid_file, &options.status_file) {
        (Some(pid_file), Some(status_file)) if is_same_name(pid_file, status_file) => {
            let name = pid_file.as_os_str().as_bytes();
            Err(Error::rule(&[b"--pid-file and --status-file name the same file:", name]))
        }
        _ => Ok(()),
    }
}

/// Returns lines about it, to be printed when there is a log.
fn read_envdir(reader: &mut envdir::Reader, environment: &mut Environment) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    if let Some(path) = environment.envdir() {
        let variables = reader.read(path, |line| lines.push(line.to_vec()));
        environment.keep_envdir(variables);
    }
    lines
}
