//! The command line of `start_server`: every option is declared here, once. Names, kinds and help come from the declaration.

use std::any::TypeId;
use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};

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
        return Ok(Action::Help(command.render_help().to_string()));
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

/// The declarations: the source of the help text, the man page and the shell completions. `help` is for a terminal of
/// 80 columns, `long_help` for the man page.
#[must_use]
pub fn command() -> Command {
    Command::new("start_server")
        .version(env!("CARGO_PKG_VERSION"))
        .about("keeps a server program running and replaces it without losing a connection")
        .long_about(
            "start_server opens listeners and runs PROGRAM with them: the worker. Send it a HUP to deploy: it starts a new \
             worker, waits until that has started, and only then stops the old one; the listeners stay open all the \
             time. If the new worker fails, the old one goes on. Send it a TERM to stop.\n\n\
             This is a drop-in replacement for the program of the same name in Perl's Server::Starter 0.35.",
        )
        .override_usage(
            "start_server [OPTIONS] -- PROGRAM [ARGUMENTS]...\n       \
             start_server --restart --pid-file=FILE --status-file=FILE\n       \
             start_server --stop --pid-file=FILE",
        )
        .help_template(HELP_TEMPLATE)
        .after_help(AFTER_HELP)
        // Lines are broken by hand.
        .term_width(0)
        .no_binary_name(true)
        .args_override_self(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .next_help_heading("Listening")
        .args(listening())
        .next_help_heading("Workers")
        .args(workers())
        .next_help_heading("Restarts")
        .args(restarts())
        .next_help_heading("Running")
        .args(running())
        .next_help_heading("Instead of starting")
        .args(instead_of_starting())
        .arg(Arg::new("program").num_args(0..).value_parser(value_parser!(OsString)).hide(true))
}

fn listening() -> [Arg; 3] {
    [
        text("port", "[HOST:]PORT[=FD]")
            .action(ArgAction::Append)
            .help("Listen to a TCP port, or to a UDP port: uPORT;\nworkers find it at FD; may be repeated")
            .long_help(
                "Listen to a TCP port, or with u in front of PORT (u443, [::1]:u443) to a UDP port. May be repeated; \
                 without it there is no port. HOST is a name, an IPv4 address, or an IPv6 address in brackets, which \
                 takes no IPv4. Without HOST, the port is bound on all IPv4 addresses. PORT is a number up to 65535; 0 \
                 lets the system choose. With =FD, workers find the listener at that descriptor, otherwise at the \
                 lowest free one from 3 on.",
            ),
        text("path", "FILE")
            .value_hint(ValueHint::FilePath)
            .action(ArgAction::Append)
            .help("Listen to a unix socket; may be repeated")
            .long_help(
                "Listen to a unix stream socket, which everybody may connect to (mode 0777) who gets at its directory. \
                 May be repeated; without it there is no unix socket. A socket that is there already is removed, with \
                 a warning; anything else that is there is an error. The socket is removed at the end.",
            ),
        integer("backlog", "N").help("How many connections may wait [default: 4096]").long_help(
            "How many connections may wait at each listener to be accepted. Default: 4096, also for 0. The system \
                 may have a lower limit (on Linux, net.core.somaxconn).",
        ),
    ]
}

fn workers() -> [Arg; 5] {
    [
        text("dir", "DIR").value_hint(ValueHint::DirPath).help("The working directory of workers").long_help(
            "The working directory of workers. PROGRAM may be relative to it; nothing else is. Default: the \
                 directory that start_server is started in.",
        ),
        text("envdir", "DIR")
            .value_hint(ValueHint::DirPath)
            .help("Variables for workers, each in a file of its\nname; read again for each new worker")
            .long_help(
                "A directory of environment variables for workers: each file names one, its first line is the value. \
                 Empty files and names that start with a point are passed over. It is read at start, and again \
                 whenever something happens (a signal, a death, a tick of the automatic restart), so that each new \
                 worker gets its current values. What was there at start stays set when its file is removed; what came \
                 later goes with its file. SERVER_STARTER_PORT and SERVER_STARTER_GENERATION are ignored in it. \
                 Default: none. Variable: ENVDIR.",
            ),
        integer("interval", "SECS")
            .help("A worker that lives so long has started; one\nthat doesn't is tried again [default: 1]")
            .long_help(
                "A worker that is alive after so many seconds has started. One that has died by then is reported and \
                 the next one is started at once, for ever; meanwhile the workers that there are go on. Default: 1. \
                 With 0 a worker is looked at as soon as it is there, which tells little about it.",
            ),
        text("signal-on-hup", "SIGNAL").help("What stops old workers in a restart\n[default: TERM]").long_help(
            "What the old workers get in a restart: the name of a signal, in any case and with or without SIG, or \
                 its number. With - in front, it goes to the process group of the worker. Default: TERM.",
        ),
        text("signal-on-term", "SIGNAL")
            .help("What stops workers on TERM; on INT it is TERM\n[default: TERM]")
            .long_help(
                "What all workers get when the superdaemon receives TERM, in the same form. Default: TERM. On INT, \
                 they always get TERM.",
            ),
    ]
}

fn restarts() -> [Arg; 3] {
    [
        integer("kill-old-delay", "SECS")
            .help("How long old workers go on when a new one\nhas started\n[default: 0; 5 with --enable-auto-restart]")
            .long_help(
                "How many seconds the old workers go on, beside the new one, when that has started. If the new one \
                 dies meanwhile, it is replaced before they are stopped. Default: 0, or 5 with automatic restarts. \
                 Variable: KILL_OLD_DELAY.",
            ),
        flag("enable-auto-restart").help("Restart regularly").long_help(
            "Restart regularly, as if by HUP. Default: off. Variable: ENABLE_AUTO_RESTART; any value but the empty \
                 one and 0 means on.",
        ),
        integer("auto-restart-interval", "SECS").help("So long after the last one [default: 360]").long_help(
            "How many seconds after the last worker has started an automatic restart is due. While an old worker \
                 is left, it waits until twice that time has passed. Default: 360. Variable: AUTO_RESTART_INTERVAL.",
        ),
    ]
}

fn running() -> [Arg; 4] {
    [
        text("pid-file", "FILE")
            .value_hint(ValueHint::FilePath)
            .help("Holds the pid of the superdaemon, which locks it")
            .long_help(
                "A file for the pid of the superdaemon, which keeps it locked. If another superdaemon has it, this one \
                 waits, without a word, for the other's end. An empty FILE or 0 mean none, which is the default.",
            ),
        text("status-file", "FILE")
            .value_hint(ValueHint::FilePath)
            .help("Holds a line GENERATION:PID for each worker")
            .long_help(
                "A file with a line for each worker that runs. An empty FILE or 0 mean none, which is the default.",
            ),
        text("log-file", "FILE")
            .value_hint(ValueHint::FilePath)
            .help("Append stdout and stderr to FILE, or pipe them to\na command: \"|COMMAND\"")
            .long_help(
                "Append standard output and standard error, of the superdaemon and of the workers, to FILE, or pipe \
                 them to a command: \"| cronolog /var/log/app.%Y%m%d\". The file is never opened again and a command \
                 that has ended is not started again, so a log that is rotated by renaming needs such a command. An \
                 empty FILE or 0 mean none: both stay as they are, which is the default.",
            ),
        flag("daemonize").help("Run in the background; needs --log-file").long_help(
            "Run in the background, in a session of its own; needs --log-file. The command in the foreground ends \
                 when the pid file is written, or with the error that prevented it; it doesn't wait for the first \
                 worker. Default: off.",
        ),
    ]
}

fn instead_of_starting() -> [Arg; 4] {
    [
        flag("restart").help("Restart the workers and wait until only the new one is left").long_help(
            "Send HUP to the superdaemon of --pid-file, and wait until the --status-file shows a new worker and no \
                 other. There is no limit to that: as long as new workers fail, it waits. It is an error if the \
                 superdaemon isn't running, dies meanwhile, or has not started its first worker.",
        ),
        flag("stop").help("Stop the superdaemon and wait for its end").long_help(
            "Send TERM to the superdaemon of --pid-file and wait for its end. It is an error if it isn't running.",
        ),
        flag("help").help("Print this help").long_help("Print a summary of this page."),
        flag("version")
            .help("Print 0.35, the version of Server::Starter that it replaces")
            .long_help("Print 0.35, the version of Server::Starter that this program is compatible with."),
    ]
}

const HELP_TEMPLATE: &str = "\
{name} {version}, compatible with Server::Starter 0.35

It {about}:
it opens listeners and runs PROGRAM with them, the worker. On HUP it starts a
new worker, waits until that has started, and only then stops the old one.

Usage: {usage}

{all-args}{after-help}
";

const AFTER_HELP: &str = "\
Times are in seconds (SECS). Options may be abbreviated.

Environment:
  ENVDIR, ENABLE_AUTO_RESTART, AUTO_RESTART_INTERVAL, KILL_OLD_DELAY
             Like the options of these names. The option wins over the variable,
             and a file in the envdir wins over both

Signals:
  HUP        Start a new worker, then stop the old one
  TERM, INT  Stop all workers, then exit

Examples:
  start_server --port=8080 --pid-file=app.pid --status-file=app.status -- \\
      plackup -s Starlet app.psgi
  start_server --restart --pid-file=app.pid --status-file=app.status
  start_server --stop --pid-file=app.pid
";
