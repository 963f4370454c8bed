//! The command line of `start_server`: every option is declared here, once. Names, kinds and help come from the declaration.

use std::any::TypeId;
use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::error::Error;
use crate::getopt_long::{self, Kind, Spec};
use crate::options::Options;
use crate::perl;
use crate::stop_signal::StopSignal;

/// What the program is asked to do.
#[derive(Debug)]
pub enum Action {
    /// Print this text.
    Help(String),
    /// Print the version.
    Version,
    /// Restart the workers of the superdaemon with these files.
    Restart {
        /// Holds its pid.
        pid_file: PathBuf,
        /// Holds its generations.
        status_file: PathBuf,
    },
    /// Stop the superdaemon with this file.
    Stop {
        /// Holds its pid.
        pid_file: PathBuf,
    },
    /// Run a superdaemon.
    Start(Box<Options>),
}

/// The arguments with each option spelled out as `--name` or `--name=value` in front of a `--`, and the words behind it.
/// `posixly_correct`: whether `POSIXLY_CORRECT` is set.
///
/// # Errors
/// All mistakes, with the words of Perl's `Getopt::Long`.
pub fn canonical(arguments: Vec<OsString>, posixly_correct: bool) -> Result<Vec<OsString>, Error> {
    getopt_long::canonical(arguments, &specs(&command()), posixly_correct)
}

/// What the arguments, without the program's name, ask for. The order of the checks is part of the interface (P1).
///
/// # Errors
/// The original's messages for a command line that can't be parsed or isn't complete, and for a signal that there isn't.
pub fn parse(arguments: Vec<OsString>) -> Result<Action, Error> {
    let arguments = canonical(arguments, env::var_os("POSIXLY_CORRECT").is_some())?;
    let mut command = command();
    // The arguments are canonical, so nothing is left that clap could object to.
    let mut matches =
        command.try_get_matches_from_mut(arguments).map_err(|error| Error::Usage(error.to_string().into_bytes()))?;
    if matches.get_flag("help") {
        return Ok(Action::Help(command.render_long_help().to_string()));
    }
    if matches.get_flag("version") {
        return Ok(Action::Version);
    }
    let files = (path(&mut matches, "pid-file"), path(&mut matches, "status-file"));
    if matches.get_flag("restart") {
        let (Some(pid_file), Some(status_file)) = files else {
            return rule("--restart option requires --pid-file and --status-file to be set as well");
        };
        return Ok(Action::Restart { pid_file, status_file });
    }
    let (pid_file, status_file) = files;
    if matches.get_flag("stop") {
        return match pid_file {
            Some(pid_file) => Ok(Action::Stop { pid_file }),
            None => rule("--stop option requires --pid-file to be set as well"),
        };
    }
    // QUIRK: the misspelling is what scripts know.
    if matches.get_flag("daemonize") && !matches.contains_id("log-file") {
        return rule("Usage: --log-file option must be specified together with --deamonize");
    }
    let program: Vec<OsString> = matches.remove_many("program").into_iter().flatten().collect();
    if program.is_empty() {
        return rule("server program not specified");
    }
    let number = |name| matches.get_one::<i32>(name).copied();
    let signal = |name| {
        let text = matches.get_one::<OsString>(name);
        text.map_or(Ok(StopSignal::default()), |text| StopSignal::parse(text.as_bytes()))
    };
    Ok(Action::Start(Box::new(Options {
        backlog: number("backlog").unwrap_or(0),
        // QUIRK: a negative interval is none.
        interval: number("interval").map_or(1, |seconds| u32::try_from(seconds).unwrap_or(0)),
        signal_on_hup: signal("signal-on-hup")?,
        signal_on_term: signal("signal-on-term")?,
        enable_auto_restart: matches.get_flag("enable-auto-restart"),
        auto_restart_interval: number("auto-restart-interval"),
        kill_old_delay: number("kill-old-delay"),
        daemonize: matches.get_flag("daemonize"),
        ports: matches.remove_many("port").into_iter().flatten().collect(),
        paths: matches.remove_many::<OsString>("path").into_iter().flatten().map(PathBuf::from).collect(),
        dir: matches.remove_one::<OsString>("dir").map(PathBuf::from),
        envdir: matches.remove_one("envdir"),
        log_file: given(&mut matches, "log-file"),
        pid_file,
        status_file,
        ..Options::new(program)
    })))
}

/// The value of an option; an empty one and `0` mean that it is not given (F4).
fn given(matches: &mut ArgMatches, name: &str) -> Option<OsString> {
    matches.remove_one::<OsString>(name).filter(|value| perl::is_true(value.as_bytes()))
}

fn path(matches: &mut ArgMatches, name: &str) -> Option<PathBuf> {
    given(matches, name).map(PathBuf::from)
}

fn rule<T>(sentence: &str) -> Result<T, Error> {
    Err(Error::Rule(sentence.into()))
}

/// The names and kinds of the options, from their declarations.
fn specs(command: &Command) -> Vec<Spec<'_>> {
    command
        .get_arguments()
        .filter_map(|arg| {
            let kind = match arg.get_action() {
                ArgAction::SetTrue => Kind::Flag,
                _ if arg.get_value_parser().type_id() == TypeId::of::<i32>() => Kind::Integer,
                _ => Kind::Text,
            };
            Some(Spec { name: arg.get_long()?, kind })
        })
        .collect()
}

fn text(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).value_parser(value_parser!(OsString))
}

fn integer(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).value_parser(value_parser!(i32))
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

/// The declarations: the source of the help text, and of whatever else is made from them.
#[must_use]
pub fn command() -> Command {
    Command::new("start_server")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Keeps a server program running and replaces it without losing a connection")
        .long_about(
            "Keeps a server program running and replaces it without losing a connection.\n\n\
             start_server opens the listening sockets and runs PROGRAM, the worker, with them. Send it a HUP to deploy: it \
             starts a new worker, waits until that has started, and then stops the old one. Send it a TERM to stop. The \
             worker finds its sockets by the variable SERVER_STARTER_PORT: NAME=FD, joined by \";\".",
        )
        .override_usage(
            "start_server [OPTIONS] -- PROGRAM [ARGUMENTS]...\n       \
             start_server --restart --pid-file=FILE --status-file=FILE\n       \
             start_server --stop --pid-file=FILE",
        )
        .help_template("{name} {version}, compatible with Server::Starter 0.35\n\n{about-with-newline}\nUsage: {usage}\n\n{all-args}{after-help}\n")
        .after_help(AFTER_HELP)
        .no_binary_name(true)
        .args_override_self(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .next_help_heading("Listening")
        .arg(
            text("port", "[HOST:]PORT[=FD]")
                .action(ArgAction::Append)
                .help("Listen to a TCP port, or with \"u\" in front of PORT to a UDP port; may be repeated")
                .long_help(
                    "Listen to a TCP port, or with \"u\" in front of PORT (u443) to a UDP port; may be repeated. Without \
                     HOST, the port is bound on all IPv4 addresses. An IPv6 address is put in brackets: [::1]:8080. With \
                     =FD, workers find the socket at that descriptor.",
                ),
        )
        .arg(
            text("path", "FILE")
                .action(ArgAction::Append)
                .help("Listen to a unix socket; may be repeated")
                .long_help("Listen to a unix socket; may be repeated. A socket that is there already is replaced."),
        )
        .arg(integer("backlog", "N").help("How many connections may wait to be accepted [default: 4096]"))
        .next_help_heading("Workers")
        .arg(text("dir", "DIR").help("The working directory of workers"))
        .arg(
            text("envdir", "DIR")
                .help("A directory of environment variables, one a file; read again at each restart")
                .long_help(
                    "A directory of environment variables: each file names one, its first line is the value. It is read at \
                     start, and again whenever something happens, so that a restart brings new values to the new worker.",
                ),
        )
        .arg(
            integer("interval", "SECONDS")
                .help("A worker has started if it lives so long; one that fails is tried again [default: 1]"),
        )
        .arg(text("signal-on-hup", "SIGNAL").help("What stops the old workers in a restart [default: TERM]"))
        .arg(text("signal-on-term", "SIGNAL").help("What stops the workers on TERM; on INT it is always TERM [default: TERM]"))
        .next_help_heading("Restarts")
        .arg(
            integer("kill-old-delay", "SECONDS")
                .help("How long old workers go on after a new one has started [default: 0; 5 with --enable-auto-restart]"),
        )
        .arg(flag("enable-auto-restart").help("Restart regularly"))
        .arg(integer("auto-restart-interval", "SECONDS").help("How long after the last restart that is [default: 360]"))
        .next_help_heading("Running")
        .arg(text("pid-file", "FILE").help("Write the pid of the superdaemon to FILE, and lock it"))
        .arg(text("status-file", "FILE").help("Keep a line GENERATION:PID for each worker in FILE"))
        .arg(
            text("log-file", "FILE")
                .help("Append standard output and standard error to FILE, or pipe them to a command: \"| cmd args\"")
        )
        .arg(flag("daemonize").help("Run in the background; needs --log-file"))
        .next_help_heading("Instead of starting")
        .arg(flag("restart").help("Restart the running superdaemon's workers and wait until only the new one is left"))
        .arg(flag("stop").help("Stop the running superdaemon and wait for its end"))
        .arg(flag("help").help("Print this help"))
        .arg(flag("version").help("Print the version of Server::Starter that this program is compatible with"))
        .arg(Arg::new("program").num_args(0..).value_parser(value_parser!(OsString)).hide(true))
}

const AFTER_HELP: &str = "\
Options may be abbreviated and stand anywhere before \"--\"; what follows it is the program's.

Environment:
  ENVDIR, ENABLE_AUTO_RESTART, AUTO_RESTART_INTERVAL, KILL_OLD_DELAY
                            Like the options of these names, which win if both are given. From the envdir,
                            they win over the options.

Signals:
  HUP                       Start a new worker, then stop the old ones
  TERM, INT                 Stop all workers, then exit

Examples:
  start_server --port=8080 --pid-file=app.pid --status-file=app.status -- plackup -s Starlet app.psgi
  start_server --restart --pid-file=app.pid --status-file=app.status
";
