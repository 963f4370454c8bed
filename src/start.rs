//! `start_server` itself: everything is checked, opened and bound in the original's order, then the supervisor runs.

mod daemonize;
mod log_target;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::environment::{Environment, envdir};
use crate::error::Error;
use crate::files::file_id::is_same_name;
use crate::files::log_file::LogFile;
use crate::files::pid_file::PidFile;
use crate::files::status_file::{FailureFile, StatusFile};
use crate::listeners::{ListenPlan, Listeners, Place, inherited};
use crate::options::Options;
use crate::readiness::watch;
use crate::start::daemonize::daemonize;
use crate::start::log_target::LogTarget;
use crate::stderr::say;
use crate::supervisor::{LifeCycle, Supervisor};
use crate::sys::OneThread;
use crate::system::service_manager::ServiceManager;
use crate::system::signals::{Blocked, LaunchState, SignalPipe, block_all, ignore_broken_pipes};
use crate::system::{Files, System};

/// Runs a superdaemon until TERM or INT stops it and its workers have ended.
///
/// It takes the process over: signal handlers, standard descriptors, with `daemonize` the process itself. The process
/// must have no other thread.
///
/// # Errors
/// If there is another thread, or if something can't be opened or bound; no worker has been started then. The error has
/// been said on standard error, as everything that the superdaemon has to say. After the first worker has been started,
/// nothing is an error any more.
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
    let mut resources = Resources { place: Place::of_script(options), ..Resources::default() };
    let result = resources.run(options);
    // ORDER: said before the socket files are removed and before the log command is waited for (L7), which may take for
    // ever.
    if let Err(error) = &result {
        say(error.message());
    }
    result
}

/// What has to be given back, also after an error.
#[derive(Default)]
struct Resources {
    place: Place,
    listeners: Listeners,
    /// From the first file that is made until there are handlers: a signal would leave it behind.
    blocked: Option<Blocked>,
    log: Option<LogTarget>,
}

impl Resources {
    /// The headings of the start, in the original's order.
    fn run(&mut self, options: &Options) -> Result<(), Error> {
        options.check()?;
        let one_thread = OneThread::check();
        let one_thread =
            one_thread.ok_or_else(|| Error::rule(&[b"start_server needs a process that has one thread"]))?;
        let launch = LaunchState::take_over(one_thread);
        let mut environment = Environment::inherited(options);
        // ORDER: before anything is opened or started, as numbers of descriptors are all that tells of inherited
        // listeners.
        let manager = self.meet_manager(options, &mut environment)?;
        let mut envdir = envdir::Reader::default();
        let left_out = read_envdir(&mut envdir, &mut environment);
        self.open_log(options, &environment, &launch)?;
        say(format!("start_server (pid:{}) starting now...", std::process::id()));
        left_out.into_iter().for_each(say);

        let Checked { plan, mut files } = Checked::of(options, &self.listeners)?;
        self.listen(&plan)?;
        self.listeners.export(options.listen_fds, &mut environment);
        let watch = watch(options.ready, &self.listeners, launch.one_thread)?;
        ignore_broken_pipes();
        files.log = self.redirect_output()?;
        files.envdir = envdir;
        let daemonize = || daemonize(launch.one_thread, self.listeners.use_stdin(), self.blocked.as_ref());
        let launcher = options.daemonize.then(daemonize).transpose()?;

        let blocked = self.blocked.take();
        let mut pipe =
            SignalPipe::install(&launch, blocked).map_err(|error| Error::system(&[b"pipe failed:"], error))?;
        let pid_file = options.pid_file.as_deref();
        let create_pid_file = |path| {
            let tell_wait = || {
                if options.uses_our_own() {
                    let end = b" has been locked by another superdaemon, waiting for its end".as_slice();
                    say([Path::as_os_str(path).as_bytes(), end].concat());
                }
            };
            PidFile::create(path, || !pipe.read().is_empty(), tell_wait)
        };
        let pid_file = pid_file.map(create_pid_file).transpose();
        if let Some(launcher) = launcher {
            launcher.release(&pid_file);
        }
        let pid_file = pid_file?;
        if let Some(file) = &files.failure {
            file.remove_left_over();
        }

        let system = System::new(options, &self.listeners, files, watch, manager, pipe, &launch);
        let life_cycle = LifeCycle::of(options);
        let mut supervisor = Supervisor::new(system, &life_cycle, environment);
        let ended = supervisor.run();

        // ORDER: pid file, sockets, status file (U8); its lock is the last thing, which --stop waits for
        // (`lock-released-last`).
        if let Some(file) = &pid_file {
            file.remove();
        }
        let files = supervisor.into_world().into_files();
        self.listeners = Listeners::default();
        drop(files);
        drop(pid_file);
        ended
    }

    /// Takes over what the service manager has opened, and where it listens itself. Both are between it and the
    /// superdaemon: no other process gets to know of it.
    fn meet_manager(&mut self, options: &Options, environment: &mut Environment) -> Result<ServiceManager, Error> {
        if options.from_systemd {
            self.listeners = inherited::take(environment)?.into();
        }
        if !options.sd_notify {
            return Ok(ServiceManager::default());
        }
        let manager = ServiceManager::from_environment(environment.get("NOTIFY_SOCKET"))?;
        environment.remove("NOTIFY_SOCKET");
        Ok(manager)
    }

    /// First of all, so that everything else that fails is in it, too.
    fn open_log(&mut self, options: &Options, environment: &Environment, launch: &LaunchState) -> Result<(), Error> {
        if let Some(option) = &options.log_file {
            self.log = Some(LogTarget::open(option, environment, launch)?);
        }
        Ok(())
    }

    fn listen(&mut self, plan: &ListenPlan) -> Result<(), Error> {
        if let Some(log) = &mut self.log {
            log.relocate(|fd| plan.keep_clear(fd))?;
        }
        let places = plan.listen_to_ports(&mut self.listeners, &mut self.place)?;
        // ORDER: behind the ports, where the name of a host may be looked up for a long time.
        self.blocked = Some(block_all());
        plan.listen_to_paths(&mut self.listeners, places)?;
        self.place = Place::default();
        Ok(())
    }

    fn redirect_output(&mut self) -> Result<Option<LogFile>, Error> {
        let Some(log) = &mut self.log else { return Ok(None) };
        log.move_into_place()?;
        Ok(log.file())
    }
}

/// What can be known before anything is bound or removed.
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
        let _blocked = block_all();
        let status = options.status_file.as_deref().map(StatusFile::new).transpose()?;
        let failure = options.status_file.as_deref().filter(|_| options.max_start_failures.is_some());
        let failure = failure.map(FailureFile::new).transpose()?;
        Ok(Self { plan, files: Files { status, failure, ..Files::default() } })
    }
}

/// Each of the two files would be written over the other (`one-file`).
fn check_names(options: &Options) -> Result<(), Error> {
    match (&options.pid_file, &options.status_file) {
        (Some(pid_file), Some(status_file)) if is_same_name(pid_file, status_file) => {
            let name = pid_file.as_os_str().as_bytes();
            Err(Error::rule(&[b"--pid-file and --status-file name the same file:", name]))
        }
        _ => Ok(()),
    }
}

/// Lines to be said about it, when there is a log.
fn read_envdir(reader: &mut envdir::Reader, environment: &mut Environment) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    if let Some(path) = environment.envdir() {
        let variables = reader.read(path, |line| lines.push(line.to_vec()));
        environment.keep_envdir(variables);
    }
    lines
}
