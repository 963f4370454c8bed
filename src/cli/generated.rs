//! What the program has of its declaration. Written by scripts/docs.

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

It keeps a server program running and replaces it without losing a connection:
it opens listeners and runs PROGRAM with them, the worker. On HUP it starts a
new worker, waits until that has started, and only then stops the old one.

Usage: start_server [OPTIONS] -- PROGRAM [ARGUMENTS]...
       start_server --restart --pid-file=FILE --status-file=FILE
       start_server --restart-or-start [OPTIONS] -- PROGRAM [ARGUMENTS]...
       start_server --stop --pid-file=FILE
       start_server --show-status --pid-file=FILE
       start_server --take-over --pid-file=FILE
       start_server --upgrade --pid-file=FILE

Listening:
      --port <[HOST:]PORT[=FD]>  Listen to a TCP port, or to a UDP port: uPORT;
                                 workers find it at FD; may be repeated
      --path <FILE>              Listen to a unix socket; may be repeated
      --backlog <N>              How many connections may wait [default: 4096]

Workers:
      --dir <DIR>                The working directory of workers
      --envdir <DIR>             Variables for workers, each in a file of its
                                 name; read again for each new worker
      --interval <SECS>          Seconds a new worker must stay alive to
                                 count as started [default: 1]
      --signal-on-hup <SIGNAL>   What stops old workers in a restart
                                 [default: TERM]
      --signal-on-term <SIGNAL>  What stops workers on TERM; on INT it is TERM
                                 [default: TERM]

Restarts:
      --kill-old-delay <SECS>         How long old workers go on when a new one
                                      has started
                                      [default: 0; 5 with --enable-auto-restart]
      --enable-auto-restart           Restart regularly
      --auto-restart-interval <SECS>  Seconds between automatic restarts
                                      [default: 360]

Running:
      --pid-file <FILE>     Holds the pid of the superdaemon, which locks it
      --status-file <FILE>  Holds a line GENERATION:PID for each worker
      --log-file <FILE>     Append stdout and stderr to FILE, or pipe them to
                            a command: "|COMMAND"
      --daemonize           Run in the background; needs --log-file

Instead of starting:
      --restart  Restart the workers and wait until only the new one is left
      --stop     Stop the superdaemon and wait for its end
      --help     Print this help
      --version  Print 0.35, the version of Server::Starter that it replaces

Beyond Server::Starter:
      --ready <WHEN>            How a new worker shows that it has started:
                                "interval", it lives; "notify", it says so to
                                NOTIFY_SOCKET; "accepting", it waits for
                                connections [default: interval]
      --ready-timeout <SECS>    A worker that is not ready by then is stopped,
                                and has failed [default: 60]
      --approve <COMMAND>       Ask COMMAND about each new worker: unless it
                                exits with 0, the old one goes on
      --max-start-failures <N>  Failed starts in a row after which a restart
                                is given up [default: never]
      --end-without-worker      End when so many starts have failed and no
                                worker serves
      --kill-timeout <SECS>     Seconds after its stop signal until a worker
                                gets KILL [default: never]
      --stop-delay <SECS>       Seconds that workers keep serving after TERM,
                                INT or QUIT [default: none]
      --refuse-on-stop          Refuse new connections as soon as all workers
                                are stopped
      --process-group           Stop workers with what they have started
      --restart-or-start        Restart if the superdaemon is alive, or
                                else start
      --show-status             Show workers and listeners, and exit
      --json                    With --show-status: as JSON
      --quiet                   With --show-status: by the exit status alone
      --restart-timeout <SECS>  Seconds that --restart waits
                                [default: for ever]
      --upgrade                 Let the program that is on disk by now go on in
                                the place of the superdaemon of --pid-file
      --take-over               Let this program go on in the place of the Perl
                                original of --pid-file, in the same process
      --sd-notify               Tell systemd of the first worker, of restarts
                                and of the end (Type=notify)
      --from-systemd            Take over the listeners of systemd's sockets
      --listen-fds              Workers also get LISTEN_FDS, as from systemd

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
  start_server --port=8080 --pid-file=app.pid --status-file=app.status -- \
      plackup -s Starlet app.psgi
  start_server --restart --pid-file=app.pid --status-file=app.status
  start_server --stop --pid-file=app.pid
"#;
