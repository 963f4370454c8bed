//! Every option, once: its name, kind and help. The manual, `docs/start_server.1.md`, has a text for each. Only the
//! generator of the documents needs this; the program uses `generated.rs`, which is made from it.

use std::any::TypeId;
use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, ValueHint, value_parser};

use crate::cli::getopt_long::{Kind, Spec};

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

/// The source of `generated.rs`.
#[must_use]
pub fn generated() -> String {
    let mut command = command();
    let help = command.render_help();
    let specs = specs(&command);
    let (count, lines) = (specs.len(), specs.iter().map(source_of).collect::<String>());
    format!(
        "//! The part of the declaration that the program contains. Written by scripts/docs.\n\n\
         use crate::cli::getopt_long::{{Kind, Spec}};\n\n\
         pub(super) const SPECS: [Spec<'static>; {count}] = [\n{lines}];\n\n\
         pub(super) const HELP: &str = r#\"{help}\"#;\n"
    )
}

fn source_of(Spec { name, kind, is_own }: &Spec) -> String {
    format!("    Spec {{ name: {name:?}, kind: Kind::{kind:?}, is_own: {is_own} }},\n")
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

/// The declarations: the source of the help text, of the manual's list of options and of the shell completions. `help` is for a
/// terminal of 80 columns.
#[must_use]
pub fn command() -> Command {
    Command::new("start_server")
        .version(env!("CARGO_PKG_VERSION"))
        .override_usage(
            "start_server [OPTIONS] -- PROGRAM [ARGUMENTS]...\n       \
             start_server --restart --pid-file=FILE --status-file=FILE\n       \
             start_server --restart-or-start [OPTIONS] -- PROGRAM [ARGUMENTS]...\n       \
             start_server --stop --pid-file=FILE\n       \
             start_server --show-status --pid-file=FILE\n       \
             start_server --take-over --pid-file=FILE\n       \
             start_server --upgrade --pid-file=FILE",
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
            .help("Listen on a TCP port, or on a UDP port: uPORT;\nworkers find it at FD; may be repeated"),
        text("path", "FILE")
            .value_hint(ValueHint::FilePath)
            .action(ArgAction::Append)
            .help("Listen on a unix socket; may be repeated"),
        integer("backlog", "N").help("How many connections may wait [default: 4096]"),
    ]
}

fn workers() -> [Arg; 5] {
    [
        text("dir", "DIR").value_hint(ValueHint::DirPath).help("The working directory of workers"),
        text("envdir", "DIR")
            .value_hint(ValueHint::DirPath)
            .help("Variables for workers, each in a file of its\nname; read again for each new worker"),
        integer("interval", "SECS").help("How long a new worker must survive to count\nas started [default: 1]"),
        text("signal-on-hup", "SIGNAL").help("What stops old workers in a restart\n[default: TERM]"),
        text("signal-on-term", "SIGNAL").help("What stops workers on TERM or QUIT; on INT\nit is TERM [default: TERM]"),
    ]
}

fn restarts() -> [Arg; 3] {
    [
        integer("kill-old-delay", "SECS").help(
            "How long to keep old workers after a new\none has started\n[default: 0; 5 with --enable-auto-restart]",
        ),
        flag("enable-auto-restart").help("Restart regularly"),
        integer("auto-restart-interval", "SECS").help("Seconds between automatic restarts\n[default: 360]"),
    ]
}

fn running() -> [Arg; 4] {
    [
        text("pid-file", "FILE")
            .value_hint(ValueHint::FilePath)
            .help("Holds the pid of the superdaemon, which locks it"),
        text("status-file", "FILE").value_hint(ValueHint::FilePath).help("Holds a line GENERATION:PID for each worker"),
        text("log-file", "FILE")
            .value_hint(ValueHint::FilePath)
            .help("Append stdout and stderr to FILE, or pipe them to\na command: \"|COMMAND\""),
        flag("daemonize").help("Run in the background; requires --log-file"),
    ]
}

fn instead_of_starting() -> [Arg; 4] {
    [
        flag("restart").help("Restart the workers and wait until only the new one is left"),
        flag("stop").help("Stop the superdaemon and wait until it has exited"),
        flag("help").help("Print this help"),
        flag("version").help("Print 0.35, the Server::Starter version it replaces"),
    ]
}

/// The heading of the options that the original doesn't have.
const OWN: &str = "Beyond Server::Starter";

fn own() -> impl Iterator<Item = Arg> {
    own_of_workers().into_iter().chain(own_of_clients()).chain(own_of_systemd())
}

fn own_of_workers() -> [Arg; 9] {
    [
        text("ready", "WHEN").help(
            "When a new worker has started: \"interval\", when\nit has survived; \"notify\", when it reports so to\n\
             NOTIFY_SOCKET; \"accepting\", when it waits for\nconnections [default: interval]",
        ),
        integer("ready-timeout", "SECS")
            .help("Stop a new worker that is not ready after SECS;\nits start has failed [default: 60]"),
        text("approve", "COMMAND")
            .value_hint(ValueHint::CommandString)
            .help("Ask COMMAND about each new worker: unless it\nexits with 0, the old one keeps running"),
        integer("max-start-failures", "N").help("Give up a restart after N failed starts in a row\n[default: never]"),
        flag("end-without-worker").help("Exit if N starts have failed and no worker\nserves"),
        integer("kill-timeout", "SECS")
            .help("Kill a worker that has not exited SECS after its\nstop signal [default: never]"),
        integer("stop-delay", "SECS").help("Keep serving for SECS after TERM, INT or QUIT\n[default: none]"),
        flag("refuse-on-stop").help("Refuse new connections as soon as all workers\nare told to stop"),
        flag("process-group").help("Signal a worker's whole process group"),
    ]
}

fn own_of_clients() -> [Arg; 7] {
    [
        flag("restart-or-start").help("Restart if the superdaemon is running,\notherwise start"),
        flag("show-status").help("Show workers and listeners, and exit"),
        flag("json").help("With --show-status: print JSON"),
        flag("quiet").help("With --show-status: print nothing"),
        integer("restart-timeout", "SECS").help("How long --restart waits [default: for ever]"),
        flag("upgrade").help("Replace the running superdaemon with the newly\ninstalled program, in the same process"),
        flag("take-over").help("Replace a running Perl start_server with this\nprogram, in the same process"),
    ]
}

fn own_of_systemd() -> [Arg; 3] {
    [
        flag("sd-notify").help("Report readiness, reloads and shutdown to\nsystemd (Type=notify)"),
        flag("from-systemd").help("Take the listeners of systemd's sockets"),
        flag("listen-fds").help("Workers also get LISTEN_FDS, as from systemd"),
    ]
}

const HELP_TEMPLATE: &str = "\
{name} {version}, compatible with Server::Starter 0.35

start_server opens listening sockets and runs PROGRAM as a worker that inherits
them. On HUP it starts a new worker, waits until that has started, and only then
stops the old one: a deploy without a refused connection.

Usage: {usage}

{all-args}{after-help}
";

const AFTER_HELP: &str = "\
Times are in seconds (SECS). Options may be abbreviated, except those beyond
Server::Starter.

Environment:
  ENVDIR, ENABLE_AUTO_RESTART, AUTO_RESTART_INTERVAL, KILL_OLD_DELAY
             Same as the options of these names. The option overrides the
             variable, and a file in the envdir overrides both

Signals:
  HUP              Start a new worker, then stop the old one
  TERM, INT, QUIT  Stop all workers, then exit
  USR1             Open the log file again
  USR2             Upgrade in place (sent by --upgrade)

Examples:
  start_server --port=8080 --pid-file=app.pid --status-file=app.status -- \\
      plackup -s Starlet app.psgi
  start_server --restart --pid-file=app.pid --status-file=app.status
  start_server --show-status --pid-file=app.pid --status-file=app.status
  start_server --stop --pid-file=app.pid
";
