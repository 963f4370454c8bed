//! The part of the declaration that the program contains. Written by scripts/docs.

use crate::cli::getopt_long::{Kind, Spec};

pub(super) const SPECS: [Spec<'static>; 38] = [
    Spec { name: "port", kind: Kind::Text, is_own: false },
    Spec { name: "path", kind: Kind::Text, is_own: false },
    Spec { name: "backlog", kind: Kind::Integer, is_own: false },
    Spec { name: "dir", kind: Kind::Text, is_own: false },
    Spec { name: "envdir", kind: Kind::Text, is_own: false },
    Spec { name: "interval", kind: Kind::Integer, is_own: false },
    Spec { name: "signal-on-hup", kind: Kind::Text, is_own: false },
    Spec { name: "signal-on-term", kind: Kind::Text, is_own: false },
    Spec { name: "kill-old-delay", kind: Kind::Integer, is_own: false },
    Spec { name: "enable-auto-restart", kind: Kind::Flag, is_own: false },
    Spec { name: "auto-restart-interval", kind: Kind::Integer, is_own: false },
    Spec { name: "pid-file", kind: Kind::Text, is_own: false },
    Spec { name: "status-file", kind: Kind::Text, is_own: false },
    Spec { name: "log-file", kind: Kind::Text, is_own: false },
    Spec { name: "daemonize", kind: Kind::Flag, is_own: false },
    Spec { name: "restart", kind: Kind::Flag, is_own: false },
    Spec { name: "stop", kind: Kind::Flag, is_own: false },
    Spec { name: "help", kind: Kind::Flag, is_own: false },
    Spec { name: "version", kind: Kind::Flag, is_own: false },
    Spec { name: "ready", kind: Kind::Text, is_own: true },
    Spec { name: "ready-timeout", kind: Kind::Integer, is_own: true },
    Spec { name: "approve", kind: Kind::Text, is_own: true },
    Spec { name: "max-start-failures", kind: Kind::Integer, is_own: true },
    Spec { name: "end-without-worker", kind: Kind::Flag, is_own: true },
    Spec { name: "kill-timeout", kind: Kind::Integer, is_own: true },
    Spec { name: "stop-delay", kind: Kind::Integer, is_own: true },
    Spec { name: "refuse-on-stop", kind: Kind::Flag, is_own: true },
    Spec { name: "process-group", kind: Kind::Flag, is_own: true },
    Spec { name: "restart-or-start", kind: Kind::Flag, is_own: true },
    Spec { name: "show-status", kind: Kind::Flag, is_own: true },
    Spec { name: "json", kind: Kind::Flag, is_own: true },
    Spec { name: "quiet", kind: Kind::Flag, is_own: true },
    Spec { name: "restart-timeout", kind: Kind::Integer, is_own: true },
    Spec { name: "upgrade", kind: Kind::Flag, is_own: true },
    Spec { name: "take-over", kind: Kind::Flag, is_own: true },
    Spec { name: "sd-notify", kind: Kind::Flag, is_own: true },
    Spec { name: "from-systemd", kind: Kind::Flag, is_own: true },
    Spec { name: "listen-fds", kind: Kind::Flag, is_own: true },
];

pub(super) const HELP: &str = r#"start_server 0.1.0, compatible with Server::Starter 0.35

start_server opens listening sockets and runs PROGRAM as a worker that inherits
them. On HUP it starts a new worker, waits until that has started, and only then
stops the old one: a deploy without a refused connection.

Usage: start_server [OPTIONS] -- PROGRAM [ARGUMENTS]...
       start_server --restart --pid-file=FILE --status-file=FILE
       start_server --restart-or-start [OPTIONS] -- PROGRAM [ARGUMENTS]...
       start_server --stop --pid-file=FILE
       start_server --show-status --pid-file=FILE
       start_server --take-over --pid-file=FILE
       start_server --upgrade --pid-file=FILE

Listening:
      --port <[HOST:]PORT[=FD]>  Listen on a TCP port, or on a UDP port: uPORT;
                                 workers find it at FD; may be repeated
      --path <FILE>              Listen on a unix socket; may be repeated
      --backlog <N>              How many connections may wait [default: 4096]

Workers:
      --dir <DIR>                The working directory of workers
      --envdir <DIR>             Variables for workers, each in a file of its
                                 name; read again for each new worker
      --interval <SECS>          How long a new worker must survive to count
                                 as started [default: 1]
      --signal-on-hup <SIGNAL>   What stops old workers in a restart
                                 [default: TERM]
      --signal-on-term <SIGNAL>  What stops workers on TERM or QUIT; on INT
                                 it is TERM [default: TERM]

Restarts:
      --kill-old-delay <SECS>         How long to keep old workers after a new
                                      one has started
                                      [default: 0; 5 with --enable-auto-restart]
      --enable-auto-restart           Restart regularly
      --auto-restart-interval <SECS>  Seconds between automatic restarts
                                      [default: 360]

Running:
      --pid-file <FILE>     Holds the pid of the superdaemon, which locks it
      --status-file <FILE>  Holds a line GENERATION:PID for each worker
      --log-file <FILE>     Append stdout and stderr to FILE, or pipe them to
                            a command: "|COMMAND"
      --daemonize           Run in the background; requires --log-file

Instead of starting:
      --restart  Restart the workers and wait until only the new one is left
      --stop     Stop the superdaemon and wait until it has exited
      --help     Print this help
      --version  Print 0.35, the Server::Starter version it replaces

Beyond Server::Starter:
      --ready <WHEN>            When a new worker has started: "interval", when
                                it has survived; "notify", when it reports so to
                                NOTIFY_SOCKET; "accepting", when it waits for
                                connections [default: interval]
      --ready-timeout <SECS>    Stop a new worker that is not ready after SECS;
                                its start has failed [default: 60]
      --approve <COMMAND>       Ask COMMAND about each new worker: unless it
                                exits with 0, the old one keeps running
      --max-start-failures <N>  Give up a restart after N failed starts in a row
                                [default: never]
      --end-without-worker      Exit if N starts have failed and no worker
                                serves
      --kill-timeout <SECS>     Kill a worker that has not exited SECS after its
                                stop signal [default: never]
      --stop-delay <SECS>       Keep serving for SECS after TERM, INT or QUIT
                                [default: none]
      --refuse-on-stop          Refuse new connections as soon as all workers
                                are told to stop
      --process-group           Signal a worker's whole process group
      --restart-or-start        Restart if the superdaemon is running,
                                otherwise start
      --show-status             Show workers and listeners, and exit
      --json                    With --show-status: print JSON
      --quiet                   With --show-status: print nothing
      --restart-timeout <SECS>  How long --restart waits [default: for ever]
      --upgrade                 Replace the running superdaemon with the newly
                                installed program, in the same process
      --take-over               Replace a running Perl start_server with this
                                program, in the same process
      --sd-notify               Report readiness, reloads and shutdown to
                                systemd (Type=notify)
      --from-systemd            Take the listeners of systemd's sockets
      --listen-fds              Workers also get LISTEN_FDS, as from systemd

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
  start_server --port=8080 --pid-file=app.pid --status-file=app.status -- \
      plackup -s Starlet app.psgi
  start_server --restart --pid-file=app.pid --status-file=app.status
  start_server --show-status --pid-file=app.pid --status-file=app.status
  start_server --stop --pid-file=app.pid
"#;
