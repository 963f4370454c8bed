//! What a superdaemon is started with.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::stop_signal::StopSignal;

/// The options of [`start_server`](crate::start_server), with the names of the original's.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program that workers run, and its arguments. Found by the PATH of the worker's environment.
    pub program: Vec<OsString>,
    /// `--port`: what to listen to, `[HOST:][u]PORT[=FD]` each.
    pub ports: Vec<OsString>,
    /// `--path`: the files of unix sockets to listen to.
    pub paths: Vec<PathBuf>,
    /// `--backlog`: how many connections may wait to be accepted; 0 stands for the system's `SOMAXCONN`.
    pub backlog: i32,
    /// `--interval`: a new worker has started if it is still alive after so many seconds.
    pub interval: u32,
    /// `--signal-on-hup`: what stops the old workers in a restart.
    pub signal_on_hup: StopSignal,
    /// `--signal-on-term`: what stops all workers on TERM. (INT always sends them TERM.)
    pub signal_on_term: StopSignal,
    /// `--dir`: the working directory of workers. Nothing else is relative to it.
    pub dir: Option<PathBuf>,
    /// `--envdir`: a directory of environment variables, one a file, read at start and whenever something happens.
    /// Exported as `ENVDIR`.
    pub envdir: Option<OsString>,
    /// `--enable-auto-restart`: restart when the last start is `auto_restart_interval` seconds ago. Exported as
    /// `ENABLE_AUTO_RESTART`.
    pub enable_auto_restart: bool,
    /// `--auto-restart-interval`, in seconds. Exported as `AUTO_RESTART_INTERVAL`, which is 360 if nothing is given.
    pub auto_restart_interval: Option<i32>,
    /// `--kill-old-delay`: how many seconds the old workers go on after a new one has started. Exported as
    /// `KILL_OLD_DELAY`; if nothing is given, it is 5 with automatic restarts and 0 without.
    pub kill_old_delay: Option<i32>,
    /// `--status-file`: a file that holds a line `GENERATION:PID` for each worker.
    pub status_file: Option<PathBuf>,
    /// `--pid-file`: a file that holds the pid of the superdaemon and is locked by it.
    pub pid_file: Option<PathBuf>,
    /// `--log-file`: where standard output and standard error go: a file, or a command if it starts with `|`.
    pub log_file: Option<OsString>,
    /// `--daemonize`: run in the background.
    pub daemonize: bool,
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
            interval: 1,
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
        }
    }
}
