//! The command line of `start_server`: every option is declared here, once. Names, kinds and help come from the declaration.

mod getopt_long;

use std::any::TypeId;
use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};

use crate::cli::getopt_long::{Kind, Spec};
use crate::error::Error;
use crate::options::{Options, Readiness};
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
        /// How many seconds it may take.
        timeout: Option<u32>,
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
    let mut command = command();
    let posixly_correct = env::var_os("POSIXLY_CORRECT").is_some();
    let arguments = getopt_long::canonical(arguments, &specs(&command), posixly_correct)?;
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
        return Ok(Action::Restart { pid_file, status_file, timeout: positive(&matches, "restart-timeout")? });
    }
    if matches.contains_id("restart-timeout") {
        return rule("--restart-timeout option requires --restart to be set as well");
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
    let ready = matches.get_one::<OsString>("ready");
    let ready = ready.map_or(Ok(Readiness::default()), |text| Readiness::parse(text.as_bytes()))?;
    let ready_timeout = positive(&matches, "ready-timeout")?;
    if ready_timeout.is_some() && ready == Readiness::Interval {
        return rule("--ready-timeout option requires --ready=notify or --ready=accepting to be set as well");
    }
    let has_listeners = ["port", "path"].into_iter().any(|name| matches.contains_id(name));
    if ready == Readiness::Accepting && !has_listeners && !matches.get_flag("from-systemd") {
        return rule("--ready=accepting requires something to listen to");
    }
    if matches.get_flag("daemonize") && matches.get_flag("sd-notify") {
        return rule("--sd-notify and --daemonize options can't be used together");
    }
    let defaults = Options::new(program);
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
        ready,
        ready_timeout: ready_timeout.unwrap_or(defaults.ready_timeout),
        max_start_failures: positive(&matches, "max-start-failures")?,
        kill_timeout: positive(&matches, "kill-timeout")?,
        sd_notify: matches.get_flag("sd-notify"),
        from_systemd: matches.get_flag("from-systemd"),
        listen_fds: matches.get_flag("listen-fds"),
        ..defaults
    })))
}

/// The value of an option; an empty one and `0` mean that it is not given (F4).
fn given(matches: &mut ArgMatches, name: &str) -> Option<OsString> {
    matches.remove_one::<OsString>(name).filter(|value| perl::is_true(value.as_bytes()))
}

fn path(matches: &mut ArgMatches, name: &str) -> Option<PathBuf> {
    given(matches, name).map(PathBuf::from)
}

/// The value of one of our own numbers, all of which are more than 0.
fn positive(matches: &ArgMatches, name: &str) -> Result<Option<u32>, Error> {
    let Some(&number) = matches.get_one::<i32>(name) else { return Ok(None) };
    match u32::try_from(number) {
        Ok(number @ 1..) => Ok(Some(number)),
        _ => Err(Error::Rule(format!("invalid ``{name}'' value:{number}").into())),
    }
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
            Some(Spec { name: arg.get_long()?, kind, is_own: arg.get_help_heading() == Some(OWN) })
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
        .next_help_heading(OWN)
        .args(own())
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
                 other. As long as new workers fail, it waits, unless there is a --restart-timeout or the superdaemon \
                 has --max-start-failures. It is an error if the superdaemon isn't running, dies meanwhile, or has \
                 not started its first worker.",
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

/// The heading of the options that the original doesn't have.
const OWN: &str = "Beyond Server::Starter";

fn own() -> [Arg; 8] {
    [
        text("ready", "WHEN")
            .help("How a new worker shows that it has started:\n\"interval\", it lives; \"notify\", it says so to\nNOTIFY_SOCKET; \"accepting\", it waits for\nconnections [default: interval]")
            .long_help(
                "When a new worker has started. \"interval\": when it is alive after --interval seconds. \"notify\": when it, \
                 or one of its descendants, says READY=1 to the NOTIFY_SOCKET that it gets, see sd_notify(3). \
                 \"accepting\": when it, or one of its descendants, waits for a connection at one of the listeners: \
                 blocked in accept(2), or in epoll_wait(2), poll(2) or select(2) with the listener in the set. The \
                 worker need not know of that, but the kernel must let start_server look at it, which is checked at \
                 start. With both, a worker that dies is noticed at once, and the next one is started when \
                 --interval seconds have passed since the start of that one. Both need Linux. Default: interval.",
            ),
        integer("ready-timeout", "SECS").help("A worker that is not ready by then is stopped,\nand has failed [default: 60]").long_help(
            "A worker that is not ready so many seconds after its start gets the signal of --signal-on-hup, and \
             counts as a failed start; the workers that there are go on. Default: 60. Only with --ready=notify or \
             --ready=accepting.",
        ),
        integer("max-start-failures", "N").help("Give a restart up after so many failed starts\nin a row [default: never]").long_help(
            "After so many failed starts in a row, give a restart up: the old worker goes on as if there had been \
             no restart. If no worker has ever started, exit with 125. A worker that dies is replaced without any \
             limit. Default: try for ever.",
        ),
        integer("kill-timeout", "SECS").help("Send KILL to a worker so long after its stop\nsignal [default: never]").long_help(
            "Send KILL to a worker that has not ended so many seconds after its stop signal, in a restart and in a \
             shutdown; to its process group, if the stop signal was for that. Default: never.",
        ),
        integer("restart-timeout", "SECS").help("How long --restart waits [default: for ever]").long_help(
            "How many seconds --restart waits for the end of the restart. If that takes longer, --restart exits \
             with 124, and the restart goes on. Default: for ever.",
        ),
        flag("sd-notify").help("Tell systemd of the first worker, of restarts\nand of the end (Type=notify)").long_help(
            "Tell the service manager at NOTIFY_SOCKET how things stand, see sd_notify(3): READY=1 when the first \
             worker has started; RELOADING=1 on HUP, and READY=1 when that restart is over, successful or not; \
             STOPPING=1; and in STATUS the workers. For units with Type=notify or Type=notify-reload. Workers \
             don't get that NOTIFY_SOCKET then. Without NOTIFY_SOCKET, nobody is told. Not with --daemonize.",
        ),
        flag("from-systemd").help("Take over the listeners of systemd's sockets").long_help(
            "Take over the listeners that the service manager has opened (LISTEN_FDS, see sd_listen_fds(3)). They \
             come first in SERVER_STARTER_PORT, with the NAME that --port or --path would have given them. Workers \
             don't get the manager's LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES.",
        ),
        flag("listen-fds").help("Workers also get LISTEN_FDS, as from systemd").long_help(
            "Workers also get their listeners as from systemd's socket activation: LISTEN_FDS, LISTEN_PID and \
             LISTEN_FDNAMES, so that a PROGRAM that knows nothing of SERVER_STARTER_PORT can be used. The \
             listeners must sit at the descriptors from 3 on: it is an error if one of these is taken, or if \
             =FD says otherwise.",
        ),
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
Times are in seconds (SECS). Options may be abbreviated, but not those beyond
Server::Starter.

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
