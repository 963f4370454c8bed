//! The differences on purpose: each row of the table in docs/differences.md has a scenario of its name that shows both
//! behaviours, and fails when the row is no longer true.

use std::fs::{self, File, OpenOptions};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::Mode;
use nix::unistd::{Uid, mkfifo};
use predicates::Predicate;
use predicates::ord::eq;
use predicates::prelude::PredicateBooleanExt;
use predicates::prelude::predicate::str::{contains, ends_with, starts_with};

use crate::harness::{Kind, Scenario, Shown, Verdict, judged};
use crate::scenarios::injected::inject;

/// The ids of the table, in its order. The scenario `perl_tail` shows `perl-tail`, and so on.
pub const TABLE: [&str; 44] = [
    "perl-tail",
    "perl-warnings",
    "help-text",
    "errno-leftover",
    "closed-standard-fds",
    "big-integers",
    "port-range",
    "checked-first",
    "path-length",
    "signal-names",
    "fd-clash",
    "env-too-big",
    "one-file",
    "own-option-mistyped",
    "visible-text",
    "path-not-socket",
    "special-files",
    "failed-child",
    "own-files-only",
    "pid-lock-first",
    "lock-released-last",
    "stale-pid",
    "restart-ends",
    "live-socket",
    "quit-stops",
    "stray-signals",
    "never-drop-term",
    "term-first",
    "whole-interval",
    "no-such-group",
    "stopped-worker",
    "unsent-signal",
    "shut-listener",
    "path-gone",
    "alive-after-delay",
    "monotonic-clock",
    "daemonize-ready",
    "status-errors",
    "fork-failure",
    "envdir-retry",
    "envdir-files",
    "blocked-log",
    "file-size",
    "envdir-own-names",
];

scenarios! {
    "divergences.rs":
    perl_tail
    perl_warnings
    help_text
    errno_leftover
    big_integers
    port_range
    path_length
    signal_names
    fd_clash
    env_too_big
    one_file
    visible_text
    path_not_socket
    special_files
    failed_child
    failed_child_of_a_daemon
    failed_child_with_too_much_to_pass_on
    own_files_only
    pid_lock_first
    lock_released_last
    stale_pid
    stale_pid_with_a_lock_of_somebody_else
    restart_ends
    never_drop_term
    term_first
    term_first_with_a_dead_worker
    term_first_in_a_failing_restart
    whole_interval
    live_socket
    live_socket_of_which_nothing_is_known
    checked_first
    closed_standard_fds
    quit_stops
    stray_signals
    stray_signals_and_a_log_that_is_renamed
    stray_signals_and_a_log_that_is_to_be_opened
    shut_listener
    envdir_files
    envdir_files_that_are_too_long
    blocked_log
    file_size
    whole_interval_and_many_hups
    envdir_retry
    no_such_group
    stopped_worker
    unsent_signal
    alive_after_delay
    monotonic_clock
    daemonize_ready
    status_errors
    status_errors_later
    status_errors_that_pass
    status_errors_of_a_full_disk
    fork_failure
    envdir_own_names
    envdir_own_names_generation
    own_option_mistyped
    restart_ends_with_its_superdaemon
    path_gone
    path_gone_with_a_worker
    path_gone_is_no_success
    path_gone_to_another
}

/// A worker that stops its superdaemon, so that a scenario can wait for the end of either program.
const STOPS_AT_ONCE: [&str; 4] = ["--", "sh", "-c", "kill -TERM $PPID; exec sleep 1000"];

/// A program that can't be executed is tried again and again. This gives a scenario time to end before the next
/// attempt.
const FAILS_SLOWLY: &str = "--interval=3";
/// The second worker fails in its interval also where a machine is so busy that the probe would take longer.
const SECOND_FAILS: [&str; 5] = ["--", "sh", "-c", "[ $SERVER_STARTER_GENERATION != 2 ] || exit 1; exec \"$@\"", "sh"];

const FAILED: &str = "new worker <W1> seems to have failed to start, exit status:65280";

/// The message that a program can't be executed, up to its reason: the next message may follow on the same line.
fn too_long_in(said: &str) -> String {
    let begin = said.find("failed to exec").unwrap_or(said.len());
    let end = said[begin..].find("too long").map_or(said.len(), |length| begin + length + "too long".len());
    let rest = said[end..].starts_with('\n').then_some("\n");
    said[begin..end].to_owned() + rest.unwrap_or_default()
}

/// What is said up to the line that stops all workers, and the end. How a worker ends that has only just been started is not
/// decided: its program may not have begun to handle signals. What comes between fork and exec is even lost, and so it is
/// killed.
fn stopped(s: &mut Scenario) -> String {
    const LINE: &str = "sending TERM to all workers:";
    s.wait_line(LINE);
    s.kill_announced();
    let end = s.wait_exit();
    let said = s.said();
    let begin = said.find(LINE).unwrap_or_default();
    let length = said[begin..].find('\n').map_or(said.len() - begin, |length| length + 1);
    said[..begin + length].to_owned() + &end
}

/// What is said up to the start of the third worker. The first one ignores TERM, and has got it if that was said.
fn said_up_to_the_third(s: &mut Scenario) -> String {
    s.wait_line("starting new worker <W3>");
    s.signal("STOP");
    s.wait_worker(3);
    let said = s.said();
    if said.contains("\nkilling old workers") {
        s.wait_report(1, "got TERM");
    }
    said
}

/// Waits for a file that a worker makes when it handles signals.
fn wait_up(s: &mut Scenario, generation: usize) {
    s.wait(&format!("worker {generation} to be up"), |s| s.path(&format!("up{generation}")).exists());
}

/// Runs `scenario` on both programs; what it returns has to be as described, and not the same.
fn differ(
    scenario: impl Fn(&mut Scenario) -> String + Sync,
    of_original: &dyn Predicate<str>,
    of_ours: &dyn Predicate<str>,
) {
    differ_in(Shown::Transcript, scenario, of_original, of_ours);
}

/// As `differ`, for output that may be cut off at any moment, or to which several processes write at the same time.
fn differ_seen(
    scenario: impl Fn(&mut Scenario) -> String + Sync,
    of_original: &dyn Predicate<str>,
    of_ours: &dyn Predicate<str>,
) {
    differ_in(Shown::Seen, scenario, of_original, of_ours);
}

fn differ_in(
    shown: Shown,
    scenario: impl Fn(&mut Scenario) -> String + Sync,
    of_original: &dyn Predicate<str>,
    of_ours: &dyn Predicate<str>,
) {
    let expected = format!("of the original: {of_original}, of ours: {of_ours}");
    judged(
        shown,
        scenario,
        |theirs, ours| {
            let is_as_described = of_original.eval(theirs);
            if ours != theirs && of_ours.eval(ours) {
                (Verdict::OnPurpose, is_as_described)
            } else if ours == theirs || of_original.eval(ours) {
                // Another program in our place may do the same as the original, though pids in its text may differ.
                (Verdict::Equal, false)
            } else {
                (Verdict::Different, false)
            }
        },
        &expected,
    );
}

/// LIFE-112 LIFE-120
fn perl_tail() {
    let message = "failed to open file:pid:No such file or directory";
    differ(
        |s| s.run(&["--stop", "--pid-file=pid"]).stderr,
        &starts_with(format!("{message} at /")),
        &eq(&*format!("{message}\n")),
    );
}

/// LIFE-120
fn perl_warnings() {
    let message = "stop_server (pid:<C>) stopping now (pid:)...\nCan't kill a non-numeric process ID";
    differ(
        |s| {
            s.write("pid", "");
            s.run(&["--stop", "--pid-file=pid"]).stderr
        },
        &starts_with("Use of uninitialized value ").and(contains(message)),
        &eq(&*format!("{message}\n")),
    );
}

/// P3
fn help_text() {
    differ(
        |s| s.run_unrecorded(&["--help"]).stdout,
        &starts_with("Usage:\n"),
        &starts_with(concat!("start_server ", env!("CARGO_PKG_VERSION"))),
    );
}

/// X1
fn errno_leftover() {
    differ(|s| s.run(&["--port=$PORT", "--port=80x", "--", "$PROBE"]).end, &eq("exit 29"), &eq("exit 255"));
}

/// Waits some seconds, while the workers of another superdaemon fail to start.
fn pass_time(s: &mut Scenario, seconds: u32) {
    let clock = format!("[ $SERVER_STARTER_GENERATION -gt {seconds} ] || exit; kill -TERM $PPID; exec sleep 1000");
    s.run_unrecorded(&["--", "sh", "-c", &clock]);
}

/// G9: the original accepts the number, and complains about the port.
fn big_integers() {
    let refused = |value: &str| format!("Value \"{value}\" invalid for option interval (number expected)\n");
    let (past_32_bits, past_64_bits) = ("4294967297", "18446744073709551616");
    differ(
        |s| {
            let option = |value: &str| format!("--interval={value}");
            let first = s.run(&[&option(past_32_bits), "--port=80x", "--", "$PROBE"]).stderr;
            first + &s.run(&[&option(past_64_bits), "--port=80x", "--", "$PROBE"]).stderr
        },
        &contains("invalid ``port'' value:80x").count(2),
        &eq(&*(refused(past_32_bits) + &refused(past_64_bits))),
    );
}

/// S4
fn port_range() {
    differ(
        |s| {
            // The second port is in use if the first one was cut to 16 bits.
            let too_high = format!("--port={}", u32::from(s.port()) + 0x1_0000);
            s.run(&[&too_high, "--port=$PORT", "--", "$PROBE"]).stderr
        },
        &contains("failed to bind to $PORT:Address already in use"),
        &contains("invalid ``port'' value:"),
    );
}

/// U5 U6
fn path_length() {
    let long = "l".repeat(109);
    differ(
        |s| {
            let missing = "--path=no/such/dir/app.sock";
            let too_long = s.run(&["--path", &long, missing, "--", "$PROBE"]);
            let empty = s.run(&["--path", "", missing, "--", "$PROBE"]);
            format!("{}{}{}", too_long.stderr, empty.stderr, s.ls())
        },
        &ends_with(format!("{} socket 0777\n", &long[..108]))
            .and(contains("failed to listen to file no/such").count(2)),
        &ends_with("failed to listen to file :No such file or directory\n")
            .and(contains(format!("failed to listen to file {long}:"))),
    );
}

/// F3 LIFE-078
fn signal_names() {
    differ(
        |s| {
            // The original ends with whatever number the last failing call has left, and that is not always the same.
            let said = s.run_unrecorded(&[&["--signal-on-term=SIGbogus"], &STOPS_AT_ONCE[..]].concat()).stderr;
            for line in said.lines() {
                s.observe(Kind::Messages, line);
            }
            said
        },
        &contains("received TERM, sending BOGUS to all workers:").and(contains("Unrecognized signal name \"BOGUS\"")),
        &eq("Unrecognized signal name \"BOGUS\"\n"),
    );
}

/// S12 S14
fn fd_clash() {
    let look = "[ -e /proc/self/fd/$0 ] && echo open || echo closed; kill -TERM $PPID; exec sleep 1000";
    let open_for_worker = |s: &mut Scenario, ports: &[&str], fd: &str| {
        let output = s.run(&[ports, &["--", "sh", "-c", look, fd]].concat());
        format!("{}, {}", output.stdout.trim(), output.end)
    };
    differ(
        |s| {
            // The number of the first socket without the option is 4 in the original, 3 in ours.
            let own = ["3", "4"].map(|fd| open_for_worker(s, &[&format!("--port=$PORT={fd}")], fd));
            let twice = open_for_worker(s, &["--port=$PORT=7", "--port=$PORT2=7"], "7");
            format!("{}; {}; {twice}", own[0], own[1])
        },
        &ends_with("; closed, exit 0; open, exit 0"),
        &eq("open, exit 0; open, exit 0; , exit 255"),
    );
}

/// Two ports have so many leading zeros that the variable is longer than 128 KiB.
fn env_too_big() {
    let zeros = "0".repeat(70_000);
    differ_seen(
        |s| {
            s.start(&[&format!("--port={zeros}$PORT"), &format!("--port={zeros}$PORT2"), "--", "sleep", "1000"]);
            let is_started = s.wait_line_or_exit("failed to exec");
            let said = s.said().replace(&zeros, "");
            if is_started { too_long_in(&said) } else { said }
        },
        &eq("failed to exec sleepArgument list too long"),
        &ends_with("too many listeners: SERVER_STARTER_PORT would be longer than the system allows for a variable\n"),
    );
}

/// LIFE-100: written as two names.
fn one_file() {
    differ(
        |s| {
            s.mkdir("dir");
            s.start(&["--interval=0", "--pid-file=same", "--status-file=dir/../same", "--", "$PROBE"]);
            let starts = s.wait_line_or_exit("starting new worker <W1>");
            if starts {
                s.wait_file("same", "1:<W1>\n");
                let stop = s.run(&["--stop", "--pid-file=same"]).stderr;
                s.term();
                return stop;
            }
            format!("{}, {}", s.wait_exit(), s.said())
        },
        &contains("Can't kill a non-numeric process ID"),
        &starts_with("exit 255").and(ends_with("--pid-file and --status-file name the same file:same\n")),
    );
}

/// G17
fn own_option_mistyped() {
    let line = "Unknown option: killtimeout\n";
    differ(
        |s| {
            let output = s.run(&["--killtimeout=60", "--pid-file=pid", "--", "sleep", "1000"]);
            format!("{}{}", output.stderr, output.end)
        },
        &eq(format!("{line}exit 1")),
        &eq(format!(
            "{line}Did you mean --kill-timeout? Options that Server::Starter doesn't have are spelled in full.\nexit 1"
        )),
    );
}

/// LIFE-120: a pid file that would give the terminal another title.
fn visible_text() {
    differ(
        |s| {
            s.write("pid", "\x1b]0;title\x07\n");
            s.run(&["--stop", "--pid-file=pid"]).stderr
        },
        &contains("stopping now (pid:\x1b]0;title\x07)..."),
        &contains("stopping now (pid:\\u{1b}]0;title\\u{7})...\n"),
    );
}

/// U3
fn path_not_socket() {
    differ(
        |s| {
            s.write("app.sock", "somebody's data\n");
            let output = s.run(&["--path=app.sock", "--path=no/such/dir/app.sock", "--", "$PROBE"]);
            format!("{}, files: {}", output.end, s.ls())
        },
        &eq("exit 2, files: "),
        &eq("exit 98, files: app.sock file 0644\n"),
    );
}

fn special_files() {
    differ(
        |s| {
            let open_fifos = ["pid", "st"].map(|name| {
                mkfifo(&s.path(name), Mode::from_bits_truncate(0o644)).expect("a fifo");
                // With a reader, opening it for writing doesn't block.
                OpenOptions::new().read(true).write(true).open(s.path(name)).expect("an open fifo")
            });
            let pid_file = s.run(&[&["--pid-file=pid"], &STOPS_AT_ONCE[..]].concat()).end;
            let status_file = s.run(&[&["--status-file=st"], &STOPS_AT_ONCE[..]].concat()).end;
            drop(open_fifos);
            format!("{pid_file}, {status_file}, files: {}", s.ls())
        },
        &eq("exit 0, exit 0, files: "),
        &ends_with("files: pid other 0644\nst other 0644\n").and(contains("exit 0").not()),
    );
}

/// E2 X4 LIFE-031 LIFE-032 LIFE-147
fn failed_child() {
    differ(
        |s| {
            s.prelude("printf '#!/bin/sh\nexec \"$@\"\n' > prog; chmod +x prog");
            let files = ["--pid-file=pid", "--status-file=st", "--path=app.sock"];
            s.start(&[&files[..], &[FAILS_SLOWLY, "--", "./prog", "$PROBE"]].concat());
            s.wait_worker(1);
            s.wait_file("st", "1:<W1>\n");
            s.remove("prog");
            s.signal("HUP");
            s.wait_line("new worker <W2> seems to have failed to start, exit status:65280");
            s.wait_announced_end(3);
            s.signal("STOP");
            format!("{}files: {}", s.said(), s.ls())
        },
        &ends_with("files: ").and(contains("failed to exec ./progNo such file or directory")),
        &contains("failed to exec ./prog:No such file or directory\n")
            .and(ends_with("app.sock socket 0777\npid file 0644\nst file 0644\n")),
    );
}

/// LIFE-130: nobody can stop a daemon that has lost its pid file.
fn failed_child_of_a_daemon() {
    differ(
        |s| {
            let files = ["--log-file=log", "--pid-file=pid", "--status-file=st"];
            // The first attempt is the last one that anybody sees: nothing comes in its interval.
            s.start(&[&["--daemonize"], &files[..], &["--interval=1000", "--", "no-such-program"]].concat());
            s.wait_announced_end(1);
            s.run(&["--stop", "--pid-file=pid"]).end
        },
        &eq("exit 2"),
        &eq("exit 0"),
    );
}

/// LIFE-107 P5: the superdaemon ends while `--restart` waits. It removes its status file before it ends.
fn restart_ends_with_its_superdaemon() {
    differ(
        |s| {
            let options = ["--interval=5", "--signal-on-hup=USR1", "--pid-file=pid"];
            s.serve(&options, &["G1=ign=USR1,TERM"]);
            let restart = s.begin(&["--restart", "--pid-file=pid", "--status-file=st"]);
            s.wait_worker(2);
            s.signal("TERM");
            s.wait_line("worker <W2> died");
            s.wait_report(1, "got TERM");
            s.signal_worker(1, "KILL");
            s.wait_exit();
            let output = s.end(restart);
            format!("{}, {}", output.end, output.stderr)
        },
        &starts_with("exit 2, failed to open file:st:No such file or directory"),
        &eq("exit 3, the server process has died:No such process\n"),
    );
}

/// LIFE-147
fn failed_child_with_too_much_to_pass_on() {
    differ_seen(
        |s| {
            s.mkdir("env");
            for name in 0..100 {
                s.write(&format!("env/LONG{name}"), &"x".repeat(100_000));
            }
            s.start(&["--envdir=env", "--", "sleep", "1000"]);
            s.wait_line(FAILED);
            too_long_in(&s.said())
        },
        &eq("failed to exec sleepArgument list too long"),
        &eq("failed to exec sleep:Argument list too long\n"),
    );
}

/// U8: when the superdaemon ends, its socket's file belongs to another process.
fn own_files_only() {
    differ(
        |s| {
            s.probe(&["--path=app.sock", "--pid-file=pid", "--status-file=first"], &[]);
            s.wait_file("first", "1:<W1>\n");
            s.remove("app.sock");
            s.stale_socket("app.sock");
            s.run(&["--stop", "--pid-file=pid"]);
            s.wait_exit();
            s.ls()
        },
        &eq(""),
        &starts_with("app.sock socket "),
    );
}

/// LIFE-096
fn pid_lock_first() {
    differ(
        |s| {
            s.probe(&["--pid-file=pid"], &[]);
            s.wait_file("pid", "<S>\n");
            s.start(&["--pid-file=pid", "--", "$PROBE"]);
            s.wait_lock_is_wanted("pid", 1);
            s.show("pid")
        },
        &eq(""),
        &eq("<S>\n"),
    );
}

/// LIFE-081: a process that waits for the lock, as `--stop` does, looks for files that are left. In the original that
/// is a race, so it has many sockets to remove, and several rounds; ours must leave nothing in any of them.
fn lock_released_last() {
    let sockets: Vec<String> = (0..800).map(|number| format!("--path={number}.sock")).collect();
    let mut args = vec!["--pid-file=pid", "--status-file=st", "--interval=0"];
    args.extend(sockets.iter().map(String::as_str));
    args.extend(["--", "$PROBE"]);
    differ_seen(
        |s| {
            // Ours needs all rounds.
            s.may_take_longer(Duration::from_secs(30));
            for _ in 0..20 {
                s.start(&args);
                s.wait_worker(1);
                let (pid_file, dir) = (File::open(s.path("pid")).expect("a pid file"), s.path("."));
                s.signal("TERM");
                // A pause would be too late, so this thread waits, if need be until the scenario's end ends the lock.
                let look = thread::spawn(move || {
                    let _lock = Flock::lock(pid_file, FlockArg::LockShared);
                    fs::read_dir(dir).map_or(0, Iterator::count)
                });
                s.wait("the lock", |_| look.is_finished());
                s.wait_exit();
                if look.join().expect("no panic") > 0 {
                    return "files are left".to_owned();
                }
            }
            "nothing is left".to_owned()
        },
        &eq("files are left"),
        &eq("nothing is left"),
    );
}

/// LIFE-118 LIFE-121: the pid of a superdaemon without a pid file, and one that means the caller's own process group.
fn stale_pid() {
    differ(
        |s| {
            s.start(&["--", "sh", "-c", "echo $PPID > pid; exec \"$@\"", "sh", "$PROBE"]);
            s.wait_worker(1);
            s.write("zero", "0\n");
            let ends = ["--pid-file=pid", "--pid-file=zero"].map(|option| s.run(&["--stop", option]).end);
            if ends[0] == "exit 0" {
                s.wait_exit();
            }
            ends.join(", ")
        },
        &eq("exit 0, signal 15"),
        &eq("exit 3, exit 3"),
    );
}

/// A process that may read the pid file has locked it, which doesn't make a superdaemon of the process with that pid.
fn stale_pid_with_a_lock_of_somebody_else() {
    differ(
        |s| {
            s.start(&["--", "sh", "-c", "echo $$ > pid; exec \"$@\"", "sh", "$PROBE", "ign=TERM"]);
            s.wait_worker(1);
            let file = File::open(s.path("pid")).expect("a pid file");
            let _lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).expect("a lock that nobody has");
            let stop = s.begin(&["--stop", "--pid-file=pid"]);
            // After the signal, the original's command waits for the lock.
            s.wait("the signal or the end", |s| s.report_of(1).contains("got TERM") || !s.is_running(&stop));
            s.report_of(1)
        },
        &contains("got TERM"),
        &contains("got TERM").not(),
    );
}

/// LIFE-104 LIFE-105 LIFE-106: generation 2 fails. The original still waits for it when generation 4 serves, and only
/// ends because the status file is removed.
fn restart_ends() {
    differ(
        |s| {
            let options = ["--interval=5", "--pid-file=pid", "--status-file=st"];
            s.start(&[&options[..], &SECOND_FAILS, &["$PROBE"]].concat());
            s.wait_worker(1);
            s.wait_file("st", "1:<W1>\n");
            let restart = s.begin(&["--restart", "--pid-file=pid", "--status-file=st"]);
            s.wait_file("st", "3:<W3>\n");
            s.signal("HUP");
            s.wait_worker(4);
            s.wait_file("st", "4:<W4>\n");
            s.term();
            s.end(restart).end
        },
        &eq("exit 2"),
        &eq("exit 0"),
    );
}

/// LIFE-065: both signals are pending when the superdaemon continues.
fn never_drop_term() {
    differ(
        |s| {
            s.serve(&[], &[]);
            s.signal("STOP");
            s.signal("HUP");
            s.signal("TERM");
            s.signal("CONT");
            let restarts = s.wait_line_or_exit("old worker <W1> died");
            if restarts {
                s.wait_worker(2);
                s.wait_file("st", "2:<W2>\n");
                return "keeps running".to_owned();
            }
            "ends".to_owned()
        },
        &eq("keeps running"),
        &eq("ends"),
    );
}

/// LIFE-056 LIFE-068 LIFE-152: a TERM that is pending with a HUP.
fn term_first() {
    differ_seen(
        |s| {
            s.probe(&["--interval=5"], &["ign=TERM"]);
            s.signal("STOP");
            s.signal("HUP");
            s.signal("TERM");
            s.signal("CONT");
            stopped(s)
        },
        &contains("received HUP, spawning a new worker").and(ends_with("to all workers:<W1>,<W2>\nexit 0")),
        &contains("received HUP, spawning a new worker").not().and(ends_with("to all workers:<W1>\nexit 0")),
    );
}

/// LIFE-020 LIFE-021 LIFE-045 LIFE-117: TERM when the worker is dead.
fn term_first_with_a_dead_worker() {
    differ_seen(
        |s| {
            s.start(&["--interval=5", "--", "$PROBE", "G1=exit=1"]);
            s.wait_dead(1);
            s.signal("TERM");
            let seen = stopped(s);
            // Of ours the dead one is all that there is.
            if s.said().contains("<W2>") { seen } else { s.said() }
        },
        &contains("worker <W1> died unexpectedly with status:256, restarting\nstarting new worker <W2>\nreceived TERM"),
        &ends_with("sending TERM to all workers:<W1>\nworker <W1> died, status:256\nexiting\n"),
    );
}

/// LIFE-045: TERM while a restart fails.
fn term_first_in_a_failing_restart() {
    differ_seen(
        |s| {
            s.start(&[&["--interval=5", "--status-file=st"], &SECOND_FAILS[..], &["$PROBE", "ign=TERM"]].concat());
            s.wait_worker(1);
            s.wait_file("st", "1:<W1>\n");
            s.signal("HUP");
            s.wait_announced_end(2);
            s.signal("TERM");
            stopped(s)
        },
        &contains("starting new worker <W3>").and(ends_with("to all workers:<W1>,<W3>\nexit 0")),
        &contains("starting new worker <W3>").not().and(ends_with("to all workers:<W1>,<W2>\nexit 0")),
    );
}

/// LIFE-047 LIFE-049 LIFE-057 LIFE-074: a signal in the interval of a worker that is already dead.
fn whole_interval() {
    differ(
        |s| {
            // Ours waits for whole intervals.
            s.may_take_longer(Duration::from_secs(30));
            s.start(&[&["--interval=10", "--status-file=st"], &SECOND_FAILS[..], &["$PROBE", "ign=TERM"]].concat());
            s.wait_worker(1);
            s.wait_file("st", "1:<W1>\n");
            s.signal("HUP");
            s.wait_announced_end(2);
            s.signal("ALRM");
            said_up_to_the_third(s)
        },
        &contains("killing old workers\nworker <W2> died unexpectedly with status:256, restarting\n"),
        &contains("new worker <W2> seems to have failed to start, exit status:256\nstarting new worker <W3>\n"),
    );
}

/// U2 LIFE-085: a second start, whatever its other options, leaves the first one serving, and says why it fails.
fn live_socket() {
    let second = |s: &mut Scenario, options: &[&str]| {
        s.start(&["--path=app.sock", "--interval=0", "--", "perl", "$FIXTURES/httpd.pl"]);
        s.wait_http("app.sock", "hello");
        let worker = ["--path=app.sock", "--", "sh", "-c", "echo > up1; exec sleep 1000"];
        let command = s.begin(&[options, &worker].concat());
        s.wait("the end of the second, or its worker", |s| !s.is_running(&command) || s.path("up1").exists());
        if s.path("up1").exists() {
            return "the socket is taken away".to_owned();
        }
        let output = s.end(command);
        let answer = s.http_get("app.sock");
        s.term();
        format!("{}, {}, {answer}", output.end, output.stderr.lines().last().unwrap_or_default())
    };
    let refused = starts_with("exit 98, failed to listen to file app.sock:Address already in use, hello");
    for options in [&[][..], &["--port=$PORT"], &["--pid-file=pid"]] {
        differ(|s| second(s, options), &eq("the socket is taken away"), &refused);
    }
}

/// U2: a socket to which its user may not connect.
fn live_socket_of_which_nothing_is_known() {
    let as_nobody = if Uid::effective().is_root() { "setpriv --reuid=65534 --regid=65534 --clear-groups" } else { "" };
    differ(
        |s| {
            s.stale_socket("app.sock");
            // Another user may not be able to enter the program's own directory.
            let copy = "cp \"$0\" program; chmod 755 program; chmod 000 app.sock; chmod 777 .";
            s.prelude(&format!("{copy}; exec {as_nobody} ./program \"$@\""));
            let said = s.run(&[&["--path=app.sock"], &STOPS_AT_ONCE[..]].concat()).stderr;
            s.remove("program");
            said
        },
        &contains("\nremoving existing socket file:app.sock").and(contains("\nstarting new worker ")),
        &ends_with("\nfailed to listen to file app.sock:Permission denied\n"),
    );
}

/// S5: a mistake in the second port.
fn checked_first() {
    let duplicated = "socket is duplicated to file descriptor 9\n";
    differ(
        |s| s.run(&["--port=$PORT=9", "--port=80x", "--", "$PROBE"]).stderr,
        &contains(duplicated),
        &contains(duplicated).not().and(ends_with("invalid ``port'' value:80x\n")),
    );
}

/// LIFE-177
fn closed_standard_fds() {
    differ(
        |s| {
            s.prelude("exec <&-");
            s.start(&[
                "--interval=0",
                "--",
                "sh",
                "-c",
                "readlink /proc/$$/fd/0 >stdin; kill -TERM $PPID; exec sleep 1000",
            ]);
            s.wait_exit();
            s.show("stdin")
        },
        &contains("start_server"),
        &eq("/dev/null\n"),
    );
}

/// LIFE-071: the original is killed, and its worker keeps running.
fn quit_stops() {
    differ(
        |s| {
            s.prelude("ulimit -c 0");
            s.serve(&["--pid-file=pid", "--signal-on-term=USR1"], &[]);
            s.signal("QUIT");
            let end = s.wait_exit();
            format!("{end}, {}\n{}", s.ls(), s.said())
        },
        &contains("pid").and(contains("received QUIT").not()).and(starts_with("signal 3")),
        &starts_with("exit 0").and(contains("received QUIT, sending USR1 to all workers:<W1>\n")),
    );
}

/// LIFE-071: USR1 and USR2.
fn stray_signals() {
    for (signal, end) in [("USR1", "signal 10"), ("USR2", "signal 12")] {
        differ(
            |s| {
                s.serve(&[], &[]);
                both_at_once(s, signal);
                s.wait_exit()
            },
            &eq(end),
            &eq("exit 0"),
        );
    }
}

/// Sends a signal and TERM at once. Of pending signals, the lower number is delivered first.
fn both_at_once(s: &mut Scenario, signal: &str) {
    for signal in ["STOP", signal, "TERM", "CONT"] {
        s.signal(signal);
    }
}

/// L1 LIFE-124: the next start of a worker opens a renamed log again.
fn stray_signals_and_a_log_that_is_renamed() {
    differ(
        |s| {
            s.serve(&["--log-file=log"], &[]);
            fs::rename(s.path("log"), s.path("log.1")).expect("to rename a log");
            s.signal("HUP");
            s.wait_worker(2);
            s.wait_file("st", "2:<W2>\n");
            s.term();
            fs::read_to_string(s.path("log")).unwrap_or_default()
        },
        &eq(""),
        &contains("starting new worker").and(ends_with("exiting\n")),
    );
}

/// L1 LIFE-124: USR1 opens a renamed log again.
fn stray_signals_and_a_log_that_is_to_be_opened() {
    differ(
        |s| {
            s.serve(&["--log-file=log"], &[]);
            fs::rename(s.path("log"), s.path("log.1")).expect("to rename a log");
            both_at_once(s, "USR1");
            s.wait_exit();
            fs::read_to_string(s.path("log")).unwrap_or_default()
        },
        &eq(""),
        &starts_with("received TERM").and(ends_with("exiting\n")),
    );
}

/// A worker shuts its listener down instead of closing it, as some servers do in a graceful stop: nobody can connect
/// any more.
fn shut_listener() {
    differ(
        |s| {
            let worker = "use IO::Handle; my $fd = $ENV{SERVER_STARTER_PORT} =~ /=(\\d+)$/ ? $1 : die; \
                open my $socket, '+<&=', $fd or die; $SIG{HUP} = sub { shutdown $socket, 2; exit }; \
                open my $up, '>', \"up$ENV{SERVER_STARTER_GENERATION}\"; sleep 1000";
            s.start(&["--port=127.0.0.1:$PORT", "--interval=1", "--signal-on-hup=HUP", "--", "perl", "-e", worker]);
            wait_up(s, 1);
            s.signal("HUP");
            s.wait_line("old worker <W1> died, status:0");
            wait_up(s, 2);
            s.signal("HUP");
            s.wait_line("starting new worker <W3>");
            let connects = std::net::TcpStream::connect(("127.0.0.1", s.port())).is_ok();
            wait_up(s, 3);
            s.wait_line("old worker <W2> died, status:0");
            format!("connects: {connects}, {}", s.said())
        },
        &starts_with("connects: false"),
        &starts_with("connects: true").and(contains(
            "a worker has shut down the listener 127.0.0.1:$PORT, which is listening again\nstarting new worker <W3>",
        )),
    );
}

/// Whether a client can connect.
fn connects(s: &Scenario) -> String {
    format!("connects: {}\n", UnixStream::connect(s.path("app.sock")).is_ok())
}

/// A clean-up job removes the file.
fn path_gone() {
    differ(
        |s| {
            s.serve(&["--path=app.sock", "--interval=0"], &[]);
            s.remove("app.sock");
            for generation in 2..4 {
                s.signal("HUP");
                s.wait_worker(generation);
                s.wait_line(&format!("old worker <W{}> died", generation - 1));
                s.wait_file("st", &format!("{generation}:<W{generation}>\n"));
            }
            let seen = connects(s);
            s.term();
            seen + &s.said()
        },
        &starts_with("connects: false"),
        &starts_with("connects: true").and(contains(
            "the socket file app.sock is gone, the next worker gets a new one\nstarting new worker <W2>",
        )),
    );
}

/// A worker that removes the file when it is told to stop, as Python's asyncio does.
const REMOVES: &str = "my $g = $ENV{SERVER_STARTER_GENERATION}; \
    $SIG{TERM} = sub { unlink 'app.sock', $g == 2 ? glob '.app.sock.*' : (); exit }; open my $up, '>', \"up$g\"; sleep 1000";

/// A worker that ends removes the file.
fn path_gone_with_a_worker() {
    differ(
        |s| {
            s.start(&["--path=app.sock", "--interval=1", "--", "perl", "-e", REMOVES]);
            wait_up(s, 1);
            s.signal("HUP");
            s.wait_line("old worker <W1> died, status:0");
            wait_up(s, 2);
            let seen = connects(s);
            s.term();
            seen + &s.said()
        },
        &starts_with("connects: false"),
        &starts_with("connects: true")
            .and(contains("\na worker has removed the socket file app.sock, it has been put back\n")),
    );
}

/// If the file can't be put back, `--restart` reports that, and the next restart makes a new one.
fn path_gone_is_no_success() {
    differ(
        |s| {
            let files = ["--pid-file=pid", "--status-file=st"];
            let options = ["--path=app.sock", "--interval=1", "--", "perl", "-e", REMOVES];
            s.start(&[&files[..], &options].concat());
            s.wait_file("st", "1:<W1>\n");
            let mut restart = |generation: usize| {
                wait_up(s, generation - 1);
                let output = s.run(&[&["--restart"], &files[..]].concat());
                format!("{}{} {}", output.stderr, output.end, connects(s))
            };
            let seen = [2, 3, 4].map(&mut restart).concat();
            wait_up(s, 4);
            s.term();
            seen + &s.said()
        },
        &starts_with("exit 0 connects: false\nexit 0 connects: false\nexit 0 connects: false\n"),
        &starts_with(
            "exit 0 connects: true\n\
             generation 3 has started, but no client can connect to app.sock: its socket is gone; see the \
             log of start_server\nexit 255 connects: false\n\
             exit 0 connects: true\n",
        )
        .and(contains("\nthe socket file app.sock is gone: no client can connect until another worker starts\n"))
        .and(contains("\nthe socket file app.sock is gone, the next worker gets a new one\n")),
    );
}

/// Another process has bound the name.
fn path_gone_to_another() {
    differ(
        |s| {
            s.serve(&["--path=app.sock", "--interval=0"], &[]);
            s.remove("app.sock");
            let other = UnixListener::bind(s.path("app.sock")).expect("a socket");
            s.signal("HUP");
            s.wait_worker(2);
            s.wait_line("old worker <W1> died");
            s.wait_file("st", "2:<W2>\n");
            s.term();
            let seen = format!("still there: {}\n{}", s.path("app.sock").exists(), s.said());
            drop(other);
            seen
        },
        &starts_with("still there: false"),
        &starts_with("still there: true").and(contains(
            "\nthe socket file app.sock now belongs to another process; leaving it alone: no client can connect here\nstarting new \
             worker <W2>",
        )),
    );
}

/// LIFE-148: the original waits for data from the FIFO, before it has any handlers for signals.
fn envdir_files() {
    differ(
        |s| {
            s.mkdir("env");
            mkfifo(&s.path("env/FIFO"), Mode::S_IRWXU).expect("a fifo");
            // The FIFO has a writer, which writes nothing.
            let _fifo = OpenOptions::new().read(true).write(true).open(s.path("env/FIFO")).expect("a fifo");
            s.start(&["--envdir=env", "--", "sleep", "1000"]);
            // Ours says so when it starts a worker; the original isn't heard of.
            s.wait("a worker, or somebody who reads the fifo", |s| {
                s.said().contains("starting new worker") || has_open(s.superdaemon(), "env/FIFO")
            });
            s.signal("TERM");
            s.wait_exit();
            s.said()
        },
        &eq(""),
        &contains("\nenvdir: FIFO is left out: it is not a regular file\n"),
    );
}

fn has_open(pid: i32, file: &str) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok()).any(|path| path.ends_with(file))
}

/// LIFE-147: the original's worker can't be started any more.
fn envdir_files_that_are_too_long() {
    differ_seen(
        |s| {
            s.mkdir("env");
            s.write("env/LONG", &"x".repeat(200_000));
            let worker = "echo >up$SERVER_STARTER_GENERATION; exec sleep 1000";
            s.start(&["--envdir=env", "--", "sh", "-c", worker]);
            s.wait("the first worker, or its failure", |s| s.path("up1").exists() || s.said().contains(FAILED));
            if !s.path("up1").exists() {
                return too_long_in(&s.said());
            }
            s.signal("HUP");
            s.wait("the second worker", |s| s.path("up2").exists());
            s.wait_rest();
            s.said()
        },
        &eq("failed to exec shArgument list too long"),
        &contains("\nenvdir: LONG is left out: it is longer than the system allows for a variable\n")
            .count(1)
            .and(contains("failed to exec").not()),
    );
}

/// Perl that fills a pipe, standard error, without waiting. A program may have opened a file in its place, which is never full.
pub const FILL: &str = "use Fcntl; fcntl STDERR, F_SETFL, O_WRONLY | O_NONBLOCK; \
    for (1 .. 1024) { syswrite STDERR, '.' x 4096 or last } fcntl STDERR, F_SETFL, O_WRONLY";

/// The log's command doesn't read the log, which the first worker has filled. The original waits in write(2) for ever.
fn blocked_log() {
    differ(
        |s| {
            let worker = ["sh", "-c", "[ $SERVER_STARTER_GENERATION != 1 ] || perl -e \"$FILL\"; exec \"$@\"", "sh"];
            s.env("FILL", FILL);
            let options = ["--interval=0", "--log-file=| exec sleep 1000", "--pid-file=pid", "--"];
            s.start(&[&options[..], &worker, &["$PROBE"]].concat());
            s.wait_worker(1);
            s.signal("HUP");
            s.wait("another worker, or a line that can't be written", |s| has_reported(s, 2) || is_writing_to_log(s));
            let continues = has_reported(s, 2);
            if continues {
                s.signal("TERM");
                return s.wait_exit();
            }
            "hangs".to_owned()
        },
        &eq("hangs"),
        &eq("exit 0"),
    );
}

fn has_reported(s: &Scenario, generation: usize) -> bool {
    !s.report_of(generation).is_empty()
}

fn is_writing_to_log(s: &Scenario) -> bool {
    let pid = fs::read_to_string(s.path("pid")).unwrap_or_default();
    let call = fs::read_to_string(format!("/proc/{}/syscall", pid.trim())).unwrap_or_default();
    // A 32-bit tool runs beside the machine's 64-bit Perl.
    let numbers = if cfg!(target_arch = "x86") { &[libc::SYS_write, 1][..] } else { &[libc::SYS_write] };
    numbers.iter().any(|number| call.starts_with(&format!("{number} 0x2 ")))
}

/// The log has reached the file size limit: the original is killed by XFSZ, and its worker keeps running.
fn file_size() {
    differ(
        |s| {
            s.prelude("ulimit -c 0; ulimit -f 1");
            s.write("log", &"x".repeat(1024));
            s.start(&[
                "--interval=1",
                "--log-file=log",
                "--",
                "sh",
                "-c",
                "sleep 2; kill -TERM $PPID; exec sleep 1000",
            ]);
            s.wait_exit()
        },
        &starts_with("signal 25"),
        &eq("exit 0"),
    );
}

/// LIFE-051: HUPs that arrive in an interval.
fn whole_interval_and_many_hups() {
    differ_seen(
        |s| {
            // Ours waits for whole intervals.
            s.may_take_longer(Duration::from_secs(30));
            s.serve(&["--interval=5"], &[]);
            for _ in 0..3 {
                s.signal("HUP");
                // At rest, the superdaemon has taken this one, so the next one doesn't merge with it.
                s.wait_rest();
            }
            s.wait_worker(3);
            s.term();
            format!("{} times received HUP", s.said().matches("received HUP").count())
        },
        &eq("3 times received HUP"),
        &eq("2 times received HUP"),
    );
}

/// LIFE-139
fn envdir_retry() {
    differ(
        |s| {
            s.mkdir("env");
            s.write("env/WHEN", "before\n");
            let options = ["--envdir=env", "--interval=5", "--status-file=st"];
            s.start(&[&options[..], &SECOND_FAILS, &["$PROBE"]].concat());
            s.wait_worker(1);
            s.wait_file("st", "1:<W1>\n");
            s.signal("HUP");
            s.wait_announced_end(2);
            s.write("env/WHEN", "while a start fails\n");
            s.wait_line("starting new worker <W3>");
            s.signal("STOP");
            s.wait_worker(3);
            s.worker_env(3, "WHEN").unwrap_or_default()
        },
        &eq("before"),
        &eq("while a start fails"),
    );
}

/// F2: the worker is in the superdaemon's group, and doesn't lead one.
fn no_such_group() {
    differ_seen(
        |s| {
            s.serve(&["--signal-on-hup=-USR1"], &[]);
            s.signal("HUP");
            s.wait_line("killing old workers");
            s.term();
            let got =
                s.report_of(1).lines().filter(|line| line.starts_with("got ")).map(str::to_owned).collect::<Vec<_>>();
            got.join("\n")
        },
        &eq("got TERM"),
        &starts_with("got USR1"),
    );
}

/// LIFE-018: nobody else continues the worker, so the original waits for ever.
fn stopped_worker() {
    let state = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    };
    differ(
        |s| {
            s.serve(&[], &[]);
            let worker = s.worker_pid(1);
            s.signal_worker(1, "STOP");
            s.wait("the worker to be stopped", |_| state(worker) == Some('T'));
            s.signal("TERM");
            s.wait_line("received TERM, sending TERM to all workers");
            s.wait("the end, or rest", |s| s.end_of_superdaemon().is_some() || state(s.superdaemon()) == Some('S'));
            let is_stopped = state(worker) == Some('T');
            s.signal_worker(1, "CONT");
            assert_eq!(s.wait_exit(), "exit 0");
            format!("still stopped: {is_stopped}")
        },
        &eq("still stopped: true"),
        &eq("still stopped: false"),
    );
}

/// The first signal that the superdaemon sends is refused.
fn unsent_signal() {
    differ(
        |s| {
            inject(s, "kill", "EPERM:when=1");
            s.serve(&[], &[]);
            s.signal("TERM");
            s.wait_line("received TERM, sending TERM to all workers");
            s.prelude("");
            pass_time(s, 4);
            s.signal_worker(1, "KILL");
            s.wait_exit();
            s.report_of(1)
        },
        &contains("got TERM").not(),
        &contains("got TERM"),
    );
}

/// LIFE-158: the clock is set forward by an hour.
fn monotonic_clock() {
    differ(
        |s| {
            let library = s.need_wall_clock();
            let clock = "FAKETIME_TIMESTAMP_FILE=clock FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1";
            s.prelude(&format!("export LD_PRELOAD={} {clock}", library.display()));
            s.write("clock", "+0");
            let options = ["--enable-auto-restart", "--auto-restart-interval=1800", "--kill-old-delay=0"];
            s.start(&[&options[..], &["--status-file=st", "--", "sleep", "1000"]].concat());
            s.wait_line_in("st", "1:");
            s.write("clock", "+1h");
            s.prelude("");
            pass_time(s, 4);
            if s.said().contains("autorestart triggered") {
                s.wait_line("old worker <W1> died");
            }
            s.term();
            s.said()
        },
        &contains("autorestart triggered (interval=1800)"),
        &contains("autorestart triggered").not(),
    );
}

/// LIFE-155
fn alive_after_delay() {
    differ(
        |s| {
            s.serve(&["--interval=3", "--kill-old-delay=5"], &["G1=ign=TERM"]);
            s.signal("HUP");
            s.wait_worker(2);
            s.wait_line("sleeping 5 secs before killing old workers");
            s.signal_worker(2, "KILL");
            said_up_to_the_third(s)
        },
        &contains("\nkilling old workers\nworker <W2> died unexpectedly with status:9, restarting\n"),
        &contains("before killing old workers\nworker <W2> died unexpectedly with status:9, restarting\n"),
    );
}

/// LIFE-125 LIFE-128
fn daemonize_ready() {
    differ(
        |s| {
            let end = s.run(&["--daemonize", "--log-file=log", "--pid-file=no/such/dir/pid", "--", "$PROBE"]).end;
            s.wait_line_in("log", "failed to open file");
            end
        },
        &eq("exit 0"),
        &eq("exit 2"),
    );
}

/// X3 LIFE-090
fn status_errors() {
    let message = "failed to create temporary file:no/such/dir/st.<C>:No such file or directory";
    differ(
        |s| s.run(&["--status-file=no/such/dir/st", "--", "sleep", "1000"]).stderr,
        &contains("starting new worker ").and(contains(message)),
        &eq(&*format!("start_server (pid:<C>) starting now...\n{message}\n")),
    );
}

/// X3 LIFE-091
fn status_errors_later() {
    differ(
        |s| {
            // The second one is no probe: the original may have ended before that looks.
            let worker = ["sh", "-c", "[ $SERVER_STARTER_GENERATION = 1 ] || exec sleep 1000; exec \"$@\"", "sh"];
            s.start(&[&["--status-file=st", "--"], &worker[..], &["$PROBE"]].concat());
            s.wait_worker(1);
            s.wait_file("st", "1:<W1>\n");
            s.remove("st");
            s.mkdir("st");
            s.signal("HUP");
            let continues = s.wait_line_or_exit("old worker <W1> died");
            if continues {
                s.wait_rest();
            }
            format!("continues: {continues}, {}", s.said())
        },
        &starts_with("continues: false").and(contains("failed to rename st.<S> to st:Is a directory")),
        &starts_with("continues: true").and(contains("failed to rename st.<S> to st:Is a directory")),
    );
}

/// X3 LIFE-091: a status that could not be written is written when it can be, even if nothing else happens.
fn status_errors_that_pass() {
    differ(
        |s| {
            s.mkdir("dir");
            // The original ends when its second worker has just been forked, so that is no probe: nobody knows what it still sees.
            s.start(&["--interval=0", "--status-file=dir/st", "--", "sleep", "1000"]);
            s.wait_file("dir/st", "1:<W1>\n");
            fs::rename(s.path("dir"), s.path("away")).expect("to rename a directory");
            s.signal("HUP");
            let continues = s.wait_line_or_exit("old worker <W1> died");
            fs::rename(s.path("away"), s.path("dir")).expect("to rename a directory");
            if continues {
                s.wait_file("dir/st", "2:<W2>\n");
            }
            format!("continues: {continues}")
        },
        &eq("continues: false"),
        &eq("continues: true"),
    );
}

/// LIFE-092: a limit of zero bytes takes the place of a full disk. Logger and worker are not limited.
fn status_errors_of_a_full_disk() {
    differ(
        |s| {
            s.prelude("trap '' XFSZ; ulimit -S -f 0");
            let log = "--log-file=| ulimit -S -f unlimited; exec cat > log";
            let worker = ["sh", "-c", "ulimit -S -f unlimited; exec \"$@\"", "sh", "$PROBE"];
            s.start(&[&[log, "--pid-file=pid", "--status-file=st", "--"], &worker[..]].concat());
            s.wait_worker(1);
            s.term();
            s.wait_line_in("log", "exiting");
            s.show("log")
        },
        &starts_with("starting new worker <W1>\nreceived TERM"),
        &contains("failed to write temporary file:st.<S>:File too large\n").and(ends_with("exiting\n")),
    );
}

/// LIFE-086: as a user who has no other process, and may not have one. The port is a number that nobody else uses. How often
/// ours says so depends on the moment.
fn fork_failure() {
    let as_nobody = if Uid::effective().is_root() { "setpriv --reuid=$port --regid=$port --clear-groups" } else { "" };
    differ_seen(
        |s| {
            // Another user may not be able to enter the program's own directory.
            let copy = format!("port={}; cp \"$0\" program; chmod 755 program", s.port());
            s.prelude(&format!("{copy}; exec prlimit --nproc=1 {as_nobody} ./program \"$@\""));
            s.start(&["--", "sleep", "1000"]);
            let failure = "fork(2) failed:Resource temporarily unavailable";
            s.wait_line(failure);
            let tries_again = s.wait_line_or_exit(failure);
            s.remove("program");
            let end = if tries_again { String::new() } else { s.wait_exit() };
            format!("{failure}, tries again: {tries_again} {end}")
        },
        &contains(", tries again: false exit "),
        &ends_with(", tries again: true "),
    );
}

/// LIFE-140
fn envdir_own_names() {
    differ(
        |s| {
            s.mkdir("env");
            s.write("env/SERVER_STARTER_PORT", "x=9\n");
            s.serve(&["--envdir=env"], &[]);
            s.signal("HUP");
            s.wait_worker(2);
            s.wait_line("old worker <W1> died");
            s.wait_file("st", "2:<W2>\n");
            s.worker_env(2, "SERVER_STARTER_PORT").unwrap_or_default()
        },
        &eq("x=9"),
        &eq(""),
    );
}

/// LIFE-140: the original tells the second worker a generation that isn't its own.
fn envdir_own_names_generation() {
    differ(
        |s| {
            s.mkdir("env");
            s.write("env/SERVER_STARTER_GENERATION", "100\n");
            s.start(&[
                "--envdir=env",
                "--",
                "sh",
                "-c",
                "echo $SERVER_STARTER_GENERATION >> generations; exec sleep 1000",
            ]);
            s.wait_file("generations", "1\n");
            s.signal("HUP");
            s.wait_line("old worker <W1> died");
            s.show("generations")
        },
        &eq("1\n101\n"),
        &eq("1\n2\n"),
    );
}
