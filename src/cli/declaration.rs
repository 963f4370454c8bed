//! Every option, once: its name, kind and help. Only what writes documents needs this; the program has what is in
//! `generated.rs`, which is made from it.

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
        "//! What the program has of its declaration. Written by scripts/docs.\n\n\
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
                 a warning, if nobody listens to it. Otherwise, and if anything else is there, it is an error, and \
                 nothing is touched. The socket is removed at the end.",
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
            .help("Seconds a new worker must stay alive to\ncount as started [default: 1]")
            .long_help(
                "Seconds that a new worker must stay alive to count as started. One that has died by then is reported and \
                 the next one is started at once, for ever; running workers are not affected. Default: 1. \
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
        integer("auto-restart-interval", "SECS").help("Seconds between automatic restarts\n[default: 360]").long_help(
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
                 waits for the other's end: silently, unless an option is given that Server::Starter doesn't have. An \
                 empty FILE or 0 mean none, which is the default.",
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
                 them to a command: \"| cronolog /var/log/app.%Y%m%d\". A file that has been renamed is opened again on \
                 USR1 and before each start of a worker. A command that has ended is not started again. An empty FILE or \
                 0 mean none: both stay as they are, which is the default.",
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

fn own() -> impl Iterator<Item = Arg> {
    own_of_workers().into_iter().chain(own_of_clients()).chain(own_of_systemd())
}

fn own_of_workers() -> [Arg; 9] {
    [
        text("ready", "WHEN")
            .help("How a new worker shows that it has started:\n\"interval\", it lives; \"notify\", it says so to\nNOTIFY_SOCKET; \"accepting\", it waits for\nconnections [default: interval]")
            .long_help(
                "When a new worker has started. \"interval\": when it is alive after --interval seconds. \"notify\": when it, \
                 or a program that it starts, says READY=1 to the NOTIFY_SOCKET that it gets, see sd_notify(3). \
                 \"accepting\": when it, or one of its descendants, waits for a connection at one of the listeners: \
                 blocked in accept(2), or in epoll_wait(2), poll(2) or select(2) with the listener in the set; in a restart, \
                 at each listener where the old worker waits. The \
                 worker need not know of that, but the kernel must let start_server look at it, which is checked at \
                 start. With both, a worker that dies is noticed at once, and the next one is started when \
                 --interval seconds have passed since the start of that one. Both need Linux. Default: interval.",
            ),
        integer("ready-timeout", "SECS").help("A worker that is not ready by then is stopped,\nand has failed [default: 60]").long_help(
            "Seconds that a new worker may take to become ready. One that takes longer gets the signal of --signal-on-hup, and \
             counts as a failed start; running workers are not affected. Default: 60. Only with --ready=notify, \
             --ready=accepting or --approve, whose command may take as long.",
        ),
        text("approve", "COMMAND")
            .value_hint(ValueHint::CommandString)
            .help("Ask COMMAND about each new worker: unless it\nexits with 0, the old one goes on")
            .long_help(
                "When a new worker has started, run COMMAND, by the shell if it has characters for that, with the environment \
                 of the worker and APPROVE_NEW_PID, APPROVE_NEW_GENERATION, and if there is an old one APPROVE_OLD_PID and \
                 APPROVE_OLD_GENERATION. If it exits with 0, the new worker takes over. If not, or not within \
                 --ready-timeout seconds (60), the new worker is stopped, and its start has failed: the restart is given up, \
                 or tried again as often as --max-start-failures says, and the old worker goes on. The new worker and the \
                 old one share the listeners, so a request to them reaches either: see APPROVAL. Default: none.",
            ),
        integer("max-start-failures", "N").help("Failed starts in a row after which a restart\nis given up [default: never]").long_help(
            "Failed starts in a row after which a restart is given up: the old worker goes on as if there had been \
             no restart. If no worker has ever started, exit with 125. A worker that dies is replaced without any \
             limit, unless there is --end-without-worker; but a HUP that comes while no worker serves is given up, too. \
             Default: try for ever.",
        ),
        flag("end-without-worker").help("End when so many starts have failed and no\nworker serves").long_help(
            "Exit with 125 when --max-start-failures starts have failed in a row and no worker serves: when the worker has died \
             and none can be started in its place. For a container or a unit, whose manager acts on that. Only with \
             --max-start-failures. Default: try for ever to replace a worker that has died.",
        ),
        integer("kill-timeout", "SECS").help("Seconds after its stop signal until a worker\ngets KILL [default: never]").long_help(
            "Seconds after its stop signal until a worker that is still running gets KILL, in a restart and in a \
             shutdown: with everything that it has started, also if its first process has ended by itself before. \
             Until then the status file lists it, and a shutdown waits. What a worker starts and must outlive it has to be \
             started by another program. Default: never.",
        ),
        integer("stop-delay", "SECS").help("Seconds that workers keep serving after TERM,\nINT or QUIT [default: none]").long_help(
            "Seconds that workers keep serving when TERM, INT or QUIT has come, before they are stopped: time for load \
             balancers to notice. Until then, everything continues as before: a worker that dies is replaced, and HUP starts a \
             new one. Another TERM, INT or QUIT ends the wait at once, and no upgrade is possible. There is no wait if no worker \
             has started. Whoever sends KILL after a time, as systemd's TimeoutStopSec=, has to wait that much longer. Default: \
             none.",
        ),
        flag("refuse-on-stop").help("Refuse new connections as soon as all workers\nare stopped").long_help(
            "When all workers have got their stop signal, shut down the listeners of --port and --path: who connects is refused \
             at once, and can try another server, instead of waiting for the last request to end. Requests that run are \
             finished. Without it, connections are taken until all workers have ended, and then reset. UDP is not affected. Not \
             with --from-systemd, as the service manager keeps its listeners open.",
        ),
        flag("process-group").help("Stop workers with what they have started").long_help(
            "Each worker leads a process group of its own, and its stop signals and KILL go to the group. So a start script \
             that starts the server without exec is stopped whole. Signals of the terminal, such as that of Ctrl-C, reach \
             the superdaemon alone, which then stops the workers.",
        ),
    ]
}

fn own_of_clients() -> [Arg; 7] {
    [
        flag("restart-or-start").help("Restart if the superdaemon is alive, or\nelse start").long_help(
            "If the superdaemon of --pid-file is alive, do as --restart; otherwise start with all the other options, in the \
             foreground or with --daemonize. One line for an init or deploy script: a restart that fails can't lead to a \
             second superdaemon. Requires --pid-file and --status-file.",
        ),
        flag("show-status").help("Show workers and listeners, and exit").long_help(
            "Show what the superdaemon of --pid-file is doing: a line for each worker with generation, pid, whether it is starting, \
             current, stopping or rejected, age and command, and with its stop signal and the time that is left until KILL; failed \
             starts and their reasons; a restart that is under way; the version; a line for each listener with the connections that wait \
             (of UDP: bytes) and those that a full queue has refused since it was opened (which unix sockets don't tell). The original \
             and older versions don't tell all that: of them, --status-file and their children are shown. Of one that was killed, what it \
             has left behind. Exit status: 0 if a worker serves, 150 if the superdaemon runs and no worker serves, or it is stopping, 1 if it is dead but \
             has a pid file, 3 if there is none, 4 if that can't be known.",
        ),
        flag("json").help("With --show-status: as JSON").long_help(
            "With --show-status: one object of JSON with state, pid, age_seconds, workers and listeners. What can't be known is \
             null.",
        ),
        flag("quiet").help("With --show-status: by the exit status alone").long_help(
            "With --show-status: print nothing. The exit status tells, so that this is a probe: it is 0 if and only if the \
             superdaemon runs, a worker serves, and it has not been told to stop.",
        ),
        integer("restart-timeout", "SECS").help("Seconds that --restart waits\n[default: for ever]").long_help(
            "Seconds that --restart waits for the end of the restart. If that takes longer, --restart exits with 123 if the new version \
             serves and old workers have not ended, otherwise with 124, having said what it was waiting for; the restart continues. \
             With it, --restart also waits for a superdaemon whose first worker has not started. Default: for ever.",
        ),
        flag("upgrade").help("Let the program that is on disk by now go on in\nthe place of the superdaemon of --pid-file").long_help(
            "Let the program that is on disk by now, after an update of this package, go on in the place of the \
             superdaemon of --pid-file: the same process, with its listeners, workers, files and log; no connection is \
             refused. It has to show first that it can; otherwise the running one goes on, and the exit status is 125. \
             The superdaemon has to be able to write to FILE.upgrade beside the pid file.",
        ),
        flag("take-over").help("Let this program go on in the place of the Perl\noriginal of --pid-file, in the same process").long_help(
            "Let this program run in place of the Perl original of --pid-file: the same process, with its listeners, \
             workers, files and log; no connection is refused. The superdaemon is stopped by ptrace(2) while it waits, \
             and made to execute this program with its own options, after a copy of it has shown that it can. Linux on \
             x86_64 and aarch64. If anything is in the way, or it has been told to stop, it keeps running as it was. \
             The exit status is 125 then; or 124 if it has been busy with the start of a worker for too long, and the \
             number of the system's error if it isn't running or may not be traced. One that is no Perl original is \
             for --upgrade.",
        ),
    ]
}

fn own_of_systemd() -> [Arg; 3] {
    [
        flag("sd-notify").help("Tell systemd of the first worker, of restarts\nand of the end (Type=notify)").long_help(
            "Tell the service manager at NOTIFY_SOCKET how things stand, see sd_notify(3): READY=1 when the first \
             worker has started; RELOADING=1 on HUP, and READY=1 when that restart is over, successful or not, and no old worker \
             can answer any more, or a second after --kill-timeout (without one, after 5 seconds); STOPPING=1; and in STATUS the workers. For units with Type=notify or Type=notify-reload. Workers \
             don't get that NOTIFY_SOCKET then, nor WATCHDOG_USEC, which the superdaemon answers with WATCHDOG=1 twice \
             in that time. Without NOTIFY_SOCKET, nothing is sent. Not with --daemonize.",
        ),
        flag("from-systemd").help("Take over the listeners of systemd's sockets").long_help(
            "Take over the listeners that the service manager has opened (LISTEN_FDS, see sd_listen_fds(3)). They \
             come first in SERVER_STARTER_PORT, with the NAME that --port or --path would have given them. Workers \
             don't get the manager's LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES. With --sd-notify, the manager also keeps the \
             listeners of --port and --path, if the unit has FileDescriptorStoreMax=, and a superdaemon that was killed \
             takes them from it; none need be passed then.",
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
  HUP              Start a new worker, then stop the old one
  TERM, INT, QUIT  Stop all workers, then exit
  USR1             Open the log file again
  USR2             What --upgrade asks for

Examples:
  start_server --port=8080 --pid-file=app.pid --status-file=app.status -- \\
      plackup -s Starlet app.psgi
  start_server --restart --pid-file=app.pid --status-file=app.status
  start_server --stop --pid-file=app.pid
";
