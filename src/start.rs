//! `start_server` itself: everything is checked, opened and bound in the original's order, then the supervisor runs.

mod daemonize;
mod log_target;

use crate::environment::Environment;
use crate::environment::envdir;
use crate::error::Error;
use crate::files::pid_file::PidFile;
use crate::files::status_file::{StatusFile, failure_path};
use crate::listeners::inherited;
use crate::listeners::{ListenPlan, Listeners};
use crate::options::Options;
use crate::readiness::Watch;
use crate::start::daemonize::daemonize;
use crate::start::log_target::LogTarget;
use crate::stderr::say;
use crate::supervisor::{LifeCycle, Supervisor};
use crate::sys;
use crate::system::System;
use crate::system::service_manager::ServiceManager;
use crate::system::signals::{LaunchState, SignalPipe, ignore_broken_pipes};

/// Runs a superdaemon until TERM or INT stops it and its workers have ended.
///
/// It takes the process over: signal handlers, standard descriptors, with `daemonize` the process itself. The process
/// must have no other thread.
///
/// # Errors
/// If something can't be opened or bound; no worker has been started then. The error has been said on standard error, as
/// everything that the superdaemon has to say. After the first worker has been started, nothing is an error any more.
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
    sys::open_standard_descriptors();
    let mut resources = Resources::default();
    let result = resources.run(options);
    // ORDER: said before the socket files are removed and before the log command is waited for (L7), which may take for ever.
    if let Err(error) = &result {
        say(error.message());
    }
    result
}

/// What has to be given back, also after an error.
#[derive(Default)]
struct Resources {
    log: Option<LogTarget>,
    listeners: Listeners,
}

impl Resources {
    fn run(&mut self, options: &Options) -> Result<(), Error> {
        if options.program.is_empty() {
            return Err(Error::rule(&[b"server program not specified"]));
        }
        let launch = LaunchState::take_over();

        let mut environment = Environment::inherited(options);
        // ORDER: before anything is opened or started, as numbers of descriptors are all that tells of inherited listeners.
        let manager = self.meet_manager(options, &mut environment)?;
        if let Some(path) = environment.get("ENVDIR") {
            let variables = envdir::read(path);
            environment.keep_envdir(variables);
        }
        if let Some(option) = &options.log_file {
            self.log = Some(LogTarget::open(option, &environment, &launch)?);
        }
        say(format!("start_server (pid:{}) starting now...", std::process::id()));

        // All that can be known before anything is bound or removed.
        let plan = ListenPlan::new(&options.ports, &options.paths, options.backlog, &self.listeners)?;
        let plan = if options.listen_fds { plan.for_listen_fds()? } else { plan };
        options.pid_file.as_deref().map_or(Ok(()), PidFile::check)?;
        let status_file = options.status_file.as_deref().map(StatusFile::new).transpose()?;
        let failure_file = options.status_file.as_deref().filter(|_| options.max_start_failures.is_some());
        let failure_file = failure_file.map(|path| StatusFile::new(&failure_path(path))).transpose()?;

        if let Some(log) = &mut self.log {
            log.keep_clear_of(&plan)?;
        }
        plan.listen(&mut self.listeners)?;
        environment.set("SERVER_STARTER_PORT", self.listeners.variable());
        if options.listen_fds {
            // Some of it may be left over from another hand-over, and would be taken for a part of this one.
            for name in inherited::VARIABLES {
                environment.remove(name);
            }
            environment.set("LISTEN_FDS", self.listeners.listen_fds());
            environment.set("LISTEN_FDNAMES", self.listeners.listen_fdnames());
        }
        let watch = Watch::new(options.ready, &self.listeners)?;
        ignore_broken_pipes();
        if let Some(log) = &mut self.log {
            log.move_into_place()?;
        }
        let launcher = options.daemonize.then(|| daemonize(self.listeners.use_stdin())).transpose()?;

        // The launcher of a daemon has no handlers: it dies of signals as any program does.
        let pipe = SignalPipe::install().map_err(|error| Error::system(&[b"pipe failed:"], error))?;
        let pid_file = options.pid_file.as_deref().map(PidFile::create).transpose();
        if let Some(launcher) = launcher {
            launcher.release(&pid_file);
        }
        let pid_file = pid_file?;

        if let Some(file) = &failure_file {
            file.remove_left_over();
        }
        let system = System::new(options, status_file, failure_file, watch, manager, pipe, &launch);
        let mut supervisor = Supervisor::new(system, LifeCycle::of(options), environment);
        let ended = supervisor.run();

        // ORDER: pid file, sockets, status file (U8); its lock is the last thing, which --stop waits for
        // (`lock-released-last`).
        if let Some(file) = &pid_file {
            file.remove();
        }
        self.listeners = Listeners::default();
        drop(supervisor);
        drop(pid_file);
        ended
    }

    /// Takes over what the service manager has opened, and where it listens itself. Both are between it and the
    /// superdaemon: no other process gets to know of it.
    fn meet_manager(&mut self, options: &Options, environment: &mut Environment) -> Result<ServiceManager, Error> {
        if options.from_systemd {
            let [pid, fds, names] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].map(|name| environment.get(name));
            self.listeners = inherited::take(pid, fds, names)?.into();
            for name in inherited::VARIABLES {
                environment.remove(name);
            }
        }
        if !options.sd_notify {
            return Ok(ServiceManager::default());
        }
        let manager = ServiceManager::from_environment(environment.get("NOTIFY_SOCKET"))?;
        environment.remove("NOTIFY_SOCKET");
        Ok(manager)
    }
}
