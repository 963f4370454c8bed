//! The command line of `start_server`. `declaration.rs` declares every option once; the program contains only what
//! `scripts/docs` has generated from that.

#[cfg(feature = "declaration")]
mod declaration;
mod failure;
mod generated;
mod getopt_long;
mod given;
mod hint;
pub(crate) mod invocation;

use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::generated::{HELP, SPECS};
use crate::cli::given::Given;
use crate::cli::hint::Sight;
use crate::error::Error;
use crate::options::{Options, Readiness};
use crate::perl;
use crate::stop_signal::StopSignal;

#[cfg(feature = "declaration")]
pub use declaration::{command, generated};
pub use failure::Failure;

/// What the program is to do.
#[derive(Debug)]
pub enum Action {
    /// Print this text.
    Help(&'static str),
    /// Print the version.
    Version,
    /// Restart the workers of the superdaemon with these files.
    Restart {
        /// Holds its pid.
        pid_file: PathBuf,
        /// Holds its generations.
        status_file: PathBuf,
        /// How long it may take.
        timeout: Option<Duration>,
    },
    /// Stop the superdaemon with this file.
    Stop {
        /// Holds its pid.
        pid_file: PathBuf,
    },
    /// Show what the superdaemon with these files is doing.
    ShowStatus {
        /// Holds its pid.
        pid_file: PathBuf,
        /// Holds its generations.
        status_file: Option<PathBuf>,
        /// For a program, as JSON.
        as_json: bool,
        /// Only by the exit code.
        is_quiet: bool,
    },
    /// Run a superdaemon.
    Start(Box<Options>),
    /// Replace the superdaemon with this file, an original, with this program.
    TakeOver {
        /// Holds its pid.
        pid_file: PathBuf,
    },
    /// Replace the superdaemon with this file with the program on disk.
    Upgrade {
        /// Holds its pid.
        pid_file: PathBuf,
    },
    /// Restart the workers of the superdaemon with these files if it is alive, or else run it.
    RestartOrStart {
        /// Of both.
        options: Box<Options>,
        /// Holds its pid.
        pid_file: PathBuf,
        /// Holds its generations.
        status_file: PathBuf,
        /// How long a restart may take.
        timeout: Option<Duration>,
    },
}

/// The arguments with each option spelled out as `--name` or `--name=value` before a `--`, and the words after it.
/// `posixly_correct`: whether `POSIXLY_CORRECT` is set.
///
/// # Errors
/// All mistakes, with the words of Perl's `Getopt::Long`.
pub fn canonical(arguments: Vec<OsString>, posixly_correct: bool) -> Result<Vec<OsString>, Failure> {
    getopt_long::canonical(arguments, &SPECS, posixly_correct)
        .map_err(|mistakes| getopt_long::usage(&mistakes, Vec::new()))
}

/// What the arguments, without the program's name, request. The order of the checks is part of the interface (P1).
///
/// # Errors
/// The original's messages for a command line that can't be parsed or isn't complete, and for an unknown signal.
pub fn parse(arguments: Vec<OsString>) -> Result<Action, Failure> {
    let posixly_correct = env::var_os("POSIXLY_CORRECT").is_some();
    let sight = Sight::of(&arguments, &SPECS);
    let arguments = getopt_long::canonical(arguments, &SPECS, posixly_correct)
        .map_err(|mistakes| getopt_long::usage(&mistakes, sight.hints(&mistakes, &SPECS)))?;
    let mut given = Given::of(arguments);
    if given.flag("help") {
        return Ok(Action::Help(HELP));
    }
    if given.flag("version") {
        return Ok(Action::Version);
    }
    let files = (path(&given, "pid-file"), path(&given, "status-file"));
    if given.flag("restart") {
        let (Some(pid_file), Some(status_file)) = files else {
            return rule("--restart option requires --pid-file and --status-file to be set as well");
        };
        return Ok(Action::Restart { pid_file, status_file, timeout: time(&given, "restart-timeout")? });
    }
    let is_restart_or_start = given.flag("restart-or-start");
    let timeout = time(&given, "restart-timeout")?;
    if timeout.is_some() && !is_restart_or_start {
        return rule("--restart-timeout option requires --restart to be set as well");
    }
    let (pid_file, status_file) = files;
    let (as_json, is_quiet) = (given.flag("json"), given.flag("quiet"));
    if let Some(name) = ["stop", "upgrade", "take-over", "show-status"].into_iter().find(|name| given.flag(name)) {
        let Some(pid_file) = pid_file else {
            return rule(&format!("--{name} option requires --pid-file to be set as well"));
        };
        return Ok(match name {
            "stop" => Action::Stop { pid_file },
            "upgrade" => Action::Upgrade { pid_file },
            "take-over" => Action::TakeOver { pid_file },
            _ => Action::ShowStatus { pid_file, status_file, as_json, is_quiet },
        });
    }
    if let Some((_, name)) = [(as_json, "json"), (is_quiet, "quiet")].into_iter().find(|&(is_given, _)| is_given) {
        return rule(&format!("--{name} option requires --show-status to be set as well"));
    }
    // QUIRK: scripts know the misspelling.
    if given.flag("daemonize") && given.text("log-file").is_none() {
        return rule("Usage: --log-file option must be specified together with --deamonize");
    }
    // ORDER: a missing program comes before anything else that may be wrong.
    let defaults = Options::new(std::mem::take(&mut given.words));
    defaults.check()?;
    let number = |name| given.number(name);
    let signal = |name| {
        let text = given.text(name);
        text.map_or(Ok(StopSignal::default()), |text| StopSignal::parse(text.as_bytes()))
    };
    let ready = given.text("ready");
    let ready = ready.map_or(Ok(Readiness::default()), |text| Readiness::parse(text.as_bytes()))?;
    let options = Options {
        backlog: number("backlog").unwrap_or(0),
        // QUIRK: a negative interval is none.
        interval: number("interval")
            .map_or(defaults.interval, |seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
        signal_on_hup: signal("signal-on-hup")?,
        signal_on_term: signal("signal-on-term")?,
        enable_auto_restart: given.flag("enable-auto-restart"),
        auto_restart_interval: number("auto-restart-interval"),
        kill_old_delay: number("kill-old-delay"),
        daemonize: given.flag("daemonize"),
        ports: given.all("port").collect(),
        paths: given.all("path").map(PathBuf::from).collect(),
        dir: given.text("dir").map(PathBuf::from),
        envdir: given.text("envdir"),
        log_file: meant(&given, "log-file"),
        pid_file,
        status_file,
        ready,
        ready_timeout: time(&given, "ready-timeout")?,
        approve: given.text("approve"),
        max_start_failures: positive(&given, "max-start-failures")?,
        end_without_worker: given.flag("end-without-worker"),
        kill_timeout: time(&given, "kill-timeout")?,
        stop_delay: time(&given, "stop-delay")?,
        refuse_on_stop: given.flag("refuse-on-stop"),
        process_group: given.flag("process-group"),
        sd_notify: given.flag("sd-notify"),
        from_systemd: given.flag("from-systemd"),
        listen_fds: given.flag("listen-fds"),
        ..defaults
    };
    options.check()?;
    let options = Box::new(options);
    if !is_restart_or_start {
        return Ok(Action::Start(options));
    }
    match (options.pid_file.clone(), options.status_file.clone()) {
        (Some(pid_file), Some(status_file)) => Ok(Action::RestartOrStart { options, pid_file, status_file, timeout }),
        _ => rule("--restart-or-start option requires --pid-file and --status-file to be set as well"),
    }
}

/// The options of a command line that starts a superdaemon.
///
/// # Errors
/// Those of [`parse`], and if it is not such a command line.
pub fn superdaemon_options(arguments: Vec<OsString>) -> Result<Box<Options>, Failure> {
    match parse(arguments)? {
        Action::Start(options) | Action::RestartOrStart { options, .. } => Ok(options),
        _ => rule("the command line doesn't start a superdaemon"),
    }
}

/// The value of an option; an empty one and `0` mean that it is not given (F4).
fn meant(given: &Given, name: &str) -> Option<OsString> {
    given.text(name).filter(|value| perl::is_true(value.as_bytes()))
}

fn path(given: &Given, name: &str) -> Option<PathBuf> {
    meant(given, name).map(PathBuf::from)
}

/// The value of one of our own numbers, all of which are more than 0.
fn positive(given: &Given, name: &str) -> Result<Option<u32>, Error> {
    let Some(number) = given.number(name) else { return Ok(None) };
    match u32::try_from(number) {
        Ok(number @ 1..) => Ok(Some(number)),
        _ => Err(Error::Rule(format!("invalid ``{name}'' value:{number} (a whole number from 1 on)").into())),
    }
}

/// The value of one of our own times, in seconds.
fn time(given: &Given, name: &str) -> Result<Option<Duration>, Error> {
    Ok(positive(given, name)?.map(|seconds| Duration::from_secs(seconds.into())))
}

fn rule<T>(sentence: &str) -> Result<T, Failure> {
    Err(Error::Rule(sentence.into()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::OWN;

    /// Which options of ours are for clients.
    const OF_CLIENTS: [&str; 7] =
        ["restart-or-start", "show-status", "json", "quiet", "restart-timeout", "upgrade", "take-over"];

    /// An option that is missing in the table wouldn't switch on the lines that the original doesn't have.
    #[test]
    fn each_option_of_ours_is_in_the_table_or_for_clients() {
        let declared = SPECS.into_iter().filter(|spec| spec.is_own).map(|spec| spec.name);
        let declared: Vec<&str> = declared.filter(|name| !OF_CLIENTS.contains(name)).collect();
        assert_eq!(declared, OWN.map(|(name, _)| name));
    }
}
