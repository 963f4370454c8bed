//! The options of a superdaemon.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::perl::Exec;
use crate::stop_signal::StopSignal;
use crate::sys;

/// `--ready`: when a new worker has started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readiness {
    /// When it is alive after the interval, as in the original.
    #[default]
    Interval,
    /// When it sends `READY=1` to its `NOTIFY_SOCKET`, as `sd_notify(3)` does.
    Notify,
    /// When it waits on one of the listeners, as the kernel shows it.
    Accepting,
}

impl Readiness {
    /// Parses the value of `--ready`.
    ///
    /// # Errors
    /// For anything but `interval`, `notify` and `accepting`.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        match text {
            b"interval" => Ok(Self::Interval),
            b"notify" => Ok(Self::Notify),
            b"accepting" => Ok(Self::Accepting),
            _ => Err(Error::rule(&[b"invalid ``ready'' value:", text, b" (interval, notify or accepting)"])),
        }
    }
}

type IsGiven = fn(&Options) -> bool;

/// The options of a superdaemon that the original doesn't have, and whether they are given. A test compares them with
/// what the command line declares.
pub(crate) const OWN: [(&str, IsGiven); 12] = [
    ("ready", |options| options.ready != Readiness::Interval),
    // Only together with others.
    ("ready-timeout", |_| false),
    ("approve", |options| options.approve.is_some()),
    ("max-start-failures", |options| options.max_start_failures.is_some()),
    // Only together with that.
    ("end-without-worker", |_| false),
    ("kill-timeout", |options| options.kill_timeout.is_some()),
    ("stop-delay", |options| options.stop_delay.is_some()),
    ("refuse-on-stop", |options| options.refuse_on_stop),
    ("process-group", |options| options.process_group),
    ("sd-notify", |options| options.sd_notify),
    ("from-systemd", |options| options.from_systemd),
    ("listen-fds", |options| options.listen_fds),
];

/// The options of [`start_server`](crate::start_server), with the names of the original's. Those from `ready` on are
/// our own, and by default change nothing.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
#[non_exhaustive]
pub struct Options {
    /// The program that workers run, and its arguments. Found by the PATH of the worker's environment.
    pub program: Vec<OsString>,
    /// `--port`: what to listen on, `[HOST:][u]PORT[=FD]` each.
    pub ports: Vec<OsString>,
    /// `--path`: the files of unix sockets to listen on.
    pub paths: Vec<PathBuf>,
    /// `--backlog`: how many connections may wait to be accepted; 0 stands for the system's `SOMAXCONN`.
    pub backlog: i32,
    /// `--interval`: how long a new worker must stay alive to count as started.
    pub interval: Duration,
    /// `--signal-on-hup`: what stops the old workers in a restart.
    pub signal_on_hup: StopSignal,
    /// `--signal-on-term`: what stops all workers on TERM. (INT always sends them TERM.)
    pub signal_on_term: StopSignal,
    /// `--dir`: the working directory of workers. Nothing else is relative to it.
    pub dir: Option<PathBuf>,
    /// `--envdir`: a directory of environment variables, one per file, read at start and whenever something happens.
    /// Exported as `ENVDIR`.
    pub envdir: Option<OsString>,
    /// `--enable-auto-restart`: restart when the last start is `auto_restart_interval` seconds ago. Exported as
    /// `ENABLE_AUTO_RESTART`.
    pub enable_auto_restart: bool,
    /// `--auto-restart-interval`, in seconds: not a `Duration`, as the original also accepts a negative number.
    /// Exported as `AUTO_RESTART_INTERVAL`, which is 360 if nothing is given.
    pub auto_restart_interval: Option<i32>,
    /// `--kill-old-delay`: how many seconds the old workers keep running after a new one has started; a negative number
    /// is possible, as in the original. Exported as `KILL_OLD_DELAY`; if nothing is given, it is 5 with automatic
    /// restarts and 0 without.
    pub kill_old_delay: Option<i32>,
    /// `--status-file`: a file that holds a line `GENERATION:PID` for each worker.
    pub status_file: Option<PathBuf>,
    /// `--pid-file`: a file that holds the pid of the superdaemon and is locked by it.
    pub pid_file: Option<PathBuf>,
    /// `--log-file`: where standard output and standard error go: a file, or a command if it starts with `|`.
    pub log_file: Option<OsString>,
    /// `--daemonize`: run in the background.
    pub daemonize: bool,
    /// `--ready`: when a new worker has started.
    pub ready: Readiness,
    /// `--ready-timeout`: the time after which a worker that isn't ready is stopped, and its start has failed. None: a
    /// minute. Also the limit of `approve`; otherwise not for [`Readiness::Interval`].
    pub ready_timeout: Option<Duration>,
    /// `--approve`: a command that is run when a new worker has started. Unless it exits with 0 within `ready_timeout`,
    /// the new worker is stopped, and its start has failed; the restart is then given up, unless `max_start_failures`
    /// allows another try.
    pub approve: Option<OsString>,
    /// `--max-start-failures`: failed starts in a row after which a restart is given up. None: never.
    pub max_start_failures: Option<u32>,
    /// `--end-without-worker`: exit when `max_start_failures` starts have failed in a row and no worker serves, even if
    /// one has served before.
    pub end_without_worker: bool,
    /// `--kill-timeout`: after its stop signal, the time until a worker that is still running gets KILL. None: never.
    pub kill_timeout: Option<Duration>,
    /// `--stop-delay`: after TERM, INT or QUIT, the time for which workers keep serving before they are stopped. None: they
    /// are stopped at once.
    pub stop_delay: Option<Duration>,
    /// `--refuse-on-stop`: when all workers are stopped, the listeners refuse new connections at once.
    pub refuse_on_stop: bool,
    /// `--process-group`: each worker leads a process group, which its stop signals and KILL go to.
    pub process_group: bool,
    /// `--sd-notify`: report to the service manager at `NOTIFY_SOCKET`.
    pub sd_notify: bool,
    /// `--from-systemd`: take over the listeners that the service manager has opened.
    pub from_systemd: bool,
    /// `--listen-fds`: workers also get `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES`.
    pub listen_fds: bool,
}

impl Options {
    /// The defaults, to run `program`: no listener, an interval of one second.
    #[must_use]
    pub fn new(program: Vec<OsString>) -> Self {
        Self {
            program,
            ports: Vec::new(),
            paths: Vec::new(),
            backlog: 0,
            interval: Duration::from_secs(1),
            signal_on_hup: StopSignal::default(),
            signal_on_term: StopSignal::default(),
            dir: None,
            envdir: None,
            enable_auto_restart: false,
            auto_restart_interval: None,
            kill_old_delay: None,
            status_file: None,
            pid_file: None,
            log_file: None,
            daemonize: false,
            ready: Readiness::default(),
            ready_timeout: None,
            approve: None,
            max_start_failures: None,
            end_without_worker: false,
            kill_timeout: None,
            stop_delay: None,
            refuse_on_stop: false,
            process_group: false,
            sd_notify: false,
            from_systemd: false,
            listen_fds: false,
        }
    }

    /// The rules between options. [`start_server`](crate::start_server) checks them, too.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), Error> {
        let rules = [
            (self.program.is_empty(), "server program not specified"),
            (
                self.ready_timeout.is_some() && self.ready == Readiness::Interval && self.approve.is_none(),
                "--ready-timeout option requires --ready=notify, --ready=accepting or --approve to be set as well",
            ),
            (
                self.ready == Readiness::Accepting && !self.has_listeners(),
                "--ready=accepting requires something to listen to",
            ),
            (
                self.approve.as_ref().is_some_and(|command| Exec::of(command.as_encoded_bytes()).is_none()),
                "--approve requires a command",
            ),
            (
                self.refuse_on_stop && self.ports.is_empty() && self.paths.is_empty(),
                "--refuse-on-stop requires --port or --path to be set as well",
            ),
            (
                self.refuse_on_stop && self.from_systemd,
                "--refuse-on-stop and --from-systemd options can't be used together, as systemd keeps the listeners",
            ),
            (
                self.end_without_worker && self.max_start_failures.is_none(),
                "--end-without-worker option requires --max-start-failures to be set as well",
            ),
            (self.daemonize && self.sd_notify, "--sd-notify and --daemonize options can't be used together"),
        ];
        match rules.into_iter().find(|&(is_broken, _)| is_broken) {
            Some((_, sentence)) => Err(Error::rule(&[sentence.as_bytes()])),
            None => match self.ready {
                Readiness::Interval => Ok(()),
                Readiness::Notify => needs_linux("--ready=notify"),
                Readiness::Accepting => needs_linux("--ready=accepting"),
            },
        }
    }

    /// Whether there is an option that the original doesn't have: only then are there lines that it doesn't have.
    pub(crate) fn uses_our_own(&self) -> bool {
        OWN.iter().any(|(_, is_given)| is_given(self))
    }

    /// Whether the service manager is to keep the listeners that are opened here.
    pub(crate) fn stores_listeners(&self) -> bool {
        self.from_systemd && self.sd_notify && !(self.ports.is_empty() && self.paths.is_empty())
    }

    fn has_listeners(&self) -> bool {
        self.from_systemd || !self.ports.is_empty() || !self.paths.is_empty()
    }
}

/// Refuses an option of ours on a system that can't support it.
pub(crate) fn needs_linux(option: &str) -> Result<(), Error> {
    if sys::IS_LINUX { Ok(()) } else { Err(Error::rule(&[option.as_bytes(), b" needs Linux"])) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_between_options() {
        let options = || Options::new(vec!["worker".into()]);
        let message = |options: Options| options.check().unwrap_err().to_string();
        assert_eq!(options().check(), Ok(()));
        assert_eq!(message(Options::new(Vec::new())), "server program not specified");
        let rule = message(Options { ready_timeout: Some(Duration::from_secs(1)), ..options() });
        assert_eq!(
            rule,
            "--ready-timeout option requires --ready=notify, --ready=accepting or --approve to be set as well"
        );
        let rule = message(Options { ready: Readiness::Accepting, ..options() });
        assert_eq!(rule, "--ready=accepting requires something to listen to");
        let blank = Options { approve: Some(" ".into()), ..options() };
        assert_eq!(message(blank), "--approve requires a command");
        let from_systemd = Options { ready: Readiness::Accepting, from_systemd: true, ..options() };
        assert_eq!(from_systemd.check(), Ok(()));
        let rule = message(Options { daemonize: true, sd_notify: true, ..options() });
        assert_eq!(rule, "--sd-notify and --daemonize options can't be used together");
    }
}
