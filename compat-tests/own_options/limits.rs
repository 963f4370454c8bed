//! `--max-start-failures`, `--kill-timeout` and `--restart-timeout`: what is given up, and what keeps running after
//! that.

use super::stop;
use crate::harness::{Scenario, original_alone, ours_alone};

const FILES: [&str; 3] = ["--pid-file=pid", "--status-file=st", "--path=sock"];
const RESTART: [&str; 3] = ["--restart", "--pid-file=pid", "--status-file=st"];

/// With `--ready=notify`, a worker that dies before it is ready has failed, however slow the machine is.
const UNTIL_READY: [&str; 2] = ["--ready=notify", "--interval=0"];
const READY_AT_ONCE: [&str; 4] = ["--", "$PROBE", "notify=READY=1", "now"];

/// Starts a superdaemon whose sockets for workers are in the scenario's directory.
fn start(s: &mut Scenario, options: &[&str], behaviours: &[&str]) {
    s.env("TMPDIR", "$DIR");
    s.start(&[&UNTIL_READY, &FILES[..], options, &READY_AT_ONCE, behaviours].concat());
}

// --- failed starts

#[test]
fn a_restart_is_given_up() {
    ours_alone(|s| {
        start(s, &["--max-start-failures=2"], &["G2=exit=1", "G3=exit=2"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        let output = s.run(&RESTART);
        assert_eq!(output.end, "exit 125");
        assert_eq!(output.stderr, "the restart was given up, the old worker keeps running\nit has failed: exit 2\n");
        s.wait_line("new worker <W3> seems to have failed to start, exit status:512");
        s.wait_line("giving up the restart, the old worker keeps running");
        assert_eq!((s.show("st"), s.show("st.failed")), ("1:<W1>\n".into(), "3\nit has failed: exit 2\n".into()));
        // The old worker is the current one again.
        let output = s.run(&RESTART);
        assert_eq!((output.end.as_str(), output.stderr.as_str()), ("exit 0", ""));
        s.wait_line("new worker is now running, sending TERM to old workers:<W1>");
        assert_eq!(s.show("st"), "4:<W4>\n");
        assert!(!s.ls().contains("failed"), "the note goes when a worker has started");
        stop(s);
        assert_eq!(s.ls(), "");
    });
}

/// Each failure gets a new note, and the last note is removed at the end.
#[test]
fn a_restart_is_given_up_again() {
    ours_alone(|s| {
        start(s, &["--max-start-failures=1"], &["G2+=exit=1"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        for generation in 2..=4 {
            assert_eq!(s.run(&RESTART).end, "exit 125");
            assert_eq!(s.show("st.failed"), format!("{generation}\nit has failed: exit 1\n"));
        }
        s.signal("HUP");
        s.wait_file("st.failed", "5\nit has failed: exit 1\n");
        s.wait_file("st", "1:<W1>\n");
        stop(s);
        assert_eq!(s.ls(), "");
    });
}

/// The worker that would have kept running is found dead when the restart is over, and is replaced like any other.
#[test]
fn a_restart_is_given_up_and_the_old_worker_is_dead() {
    ours_alone(|s| {
        s.start(
            &[&UNTIL_READY, &FILES[..], &["--max-start-failures=1", "--", "$PROBE", "notify=READY=1", "G1=now"]]
                .concat(),
        );
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_worker(2);
        s.signal_worker(1, "KILL");
        s.wait_dead(1);
        s.signal_worker(2, "KILL");
        s.wait_line("giving up the restart, the old worker keeps running");
        s.wait_line("worker <W1> died unexpectedly with status:9, restarting");
        s.wait_worker(3);
        s.signal_worker(3, "USR2");
        s.wait_file("st", "3:<W3>\n");
        s.wait_no_file("st.failed");
        stop(s);
    });
}

/// The new worker dies in the kill-old delay and can't be replaced. The old one keeps running, as it has not been
/// stopped yet.
#[test]
fn a_restart_is_given_up_in_the_kill_old_delay() {
    ours_alone(|s| {
        start(s, &["--max-start-failures=1", "--kill-old-delay=5"], &["G3=exit=1"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        let restart = s.begin(&RESTART);
        s.wait_line("sleeping 5 secs before killing old workers");
        s.wait_worker(2);
        s.signal_worker(2, "KILL");
        s.wait_line("worker <W2> died unexpectedly with status:9, restarting");
        s.wait_line("giving up the restart, the old worker keeps running");
        assert_eq!(s.end(restart).end, "exit 125");
        s.wait_rest();
        assert_eq!((s.show("st"), s.show("st.failed")), ("1:<W1>\n".into(), "3\nit has failed: exit 1\n".into()));
        stop(s);
        assert_eq!(s.ls(), "");
    });
}

/// A superdaemon that was killed leaves its note behind, and the next one removes it.
#[test]
fn a_note_that_is_left_over() {
    ours_alone(|s| {
        s.write("st.failed", "7\n");
        start(s, &["--max-start-failures=1"], &[]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.wait_no_file("st.failed");
        stop(s);
    });
}

/// Without the option nothing is given up, so a file of that name is not a note.
#[test]
fn a_file_that_is_no_note() {
    ours_alone(|s| {
        s.probe(&[&UNTIL_READY, &FILES[..]].concat(), &["notify=READY=1", "G1=now"]);
        s.wait_file("st", "1:<W1>\n");
        let restart = s.begin(&RESTART);
        s.wait_worker(2);
        for content in ["theirs\n", "1\n"] {
            s.write("st.failed", content);
        }
        s.signal_worker(2, "USR2");
        assert_eq!(s.end(restart).end, "exit 0");
        stop(s);
        assert_eq!(s.show("st.failed"), "1\n");
    });
}

/// With the interval alone, as in the original. It is five seconds, so that the worker is dead by its end even on a
/// slow machine.
#[test]
fn a_restart_is_given_up_where_the_interval_decides() {
    ours_alone(|s| {
        let options = ["--interval=5", "--max-start-failures=2", "--", "$PROBE", "G2=exit=1", "G3=exit=2"];
        s.start(&[&FILES[..], &options].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        assert_eq!(s.run(&RESTART).end, "exit 125");
        assert_eq!((s.show("st"), s.show("st.failed")), ("1:<W1>\n".into(), "3\nit has failed: exit 2\n".into()));
        assert_eq!(s.run(&RESTART).end, "exit 0");
        s.wait_file("st", "4:<W4>\n");
        stop(s);
        assert_eq!(s.ls(), "");
    });
}

#[test]
fn a_first_start_is_given_up() {
    for options in [&UNTIL_READY[..], &["--interval=5"]] {
        ours_alone(|s| {
            s.env("TMPDIR", "$DIR");
            s.start(&[options, &FILES[..], &["--max-start-failures=2", "--", "$PROBE", "exit=9"]].concat());
            s.wait_line("new worker <W2> seems to have failed to start, exit status:2304");
            assert_eq!(s.wait_exit(), "exit 125");
            assert!(s.said().ends_with("\ngiving up, no worker has started\n"), "{}", s.said());
            assert_eq!(s.ls(), "");
        });
    }
}

/// The superdaemon waits for the end of a worker that is not ready in time, as it has the listeners.
#[test]
fn a_first_start_that_takes_too_long_is_given_up() {
    ours_alone(|s| {
        s.env("TMPDIR", "$DIR");
        let options = ["--ready-timeout=10", "--max-start-failures=1", "--", "$PROBE", "ign=TERM"];
        s.start(&[&UNTIL_READY, &FILES[..], &options].concat());
        s.wait_worker(1);
        s.wait_report(1, "got TERM");
        s.wait_file("st", "1:<W1>\n");
        s.signal_worker(1, "USR1");
        s.wait_line("worker <W1> died, status:0");
        assert_eq!(s.wait_exit(), "exit 125");
        assert_eq!(s.ls(), "");
    });
}

/// The replacement of a worker that has died is tried without end, unlike a restart: nothing else would serve.
#[test]
fn a_dead_worker_is_replaced_without_a_limit() {
    ours_alone(|s| {
        start(s, &["--max-start-failures=1"], &["G2=exit=1", "G3=exit=1", "G4=exit=1"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal_worker(1, "KILL");
        for generation in 2..=4 {
            s.wait_line(&format!("new worker <W{generation}> seems to have failed to start, exit status:256"));
        }
        s.wait_worker(5);
        s.wait_file("st", "5:<W5>\n");
        stop(s);
        assert_eq!(s.ls(), "");
    });
}

// --- workers that don't end

#[test]
fn a_deaf_worker_is_killed_in_a_restart() {
    ours_alone(|s| {
        start(s, &["--kill-timeout=5"], &["G1=ign=TERM"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        let output = s.run(&RESTART);
        assert_eq!((output.end.as_str(), output.stderr.as_str()), ("exit 0", ""));
        s.wait_report(1, "got TERM");
        s.wait_line("old worker <W1> has not ended in time, sending KILL");
        s.wait_line("old worker <W1> died, status:9");
        assert_eq!(s.show("st"), "2:<W2>\n");
        stop(s);
        assert!(!s.said().contains("worker <W2> has not ended"), "{}", s.said());
    });
}

#[test]
fn deaf_workers_are_killed_in_a_shutdown() {
    ours_alone(|s| {
        // The worker ignores both signals, so only KILL can end it.
        start(s, &["--kill-timeout=5", "--signal-on-hup=USR1"], &["ign=USR1,TERM"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("TERM");
        s.wait_report(1, "got TERM");
        s.wait_line("old worker <W1> has not ended in time, sending KILL");
        s.wait_line("worker <W1> died, status:9");
        assert_eq!(s.wait_exit(), "exit 0");
        assert_eq!(s.ls(), "");
    });
}

/// Without the option the superdaemon waits, as the original does. To show that there was time for a KILL, a worker of
/// another superdaemon with the option is killed meanwhile.
#[test]
fn nobody_is_killed_unless_asked_for() {
    ours_alone(|s| {
        s.probe(&[], &["ign=TERM"]);
        s.signal("TERM");
        s.wait_report(1, "got TERM");
        let other = s.begin(&["--kill-timeout=1", "--", "sh", "-c", "trap '' TERM; kill -TERM $PPID; exec sleep 1000"]);
        let output = s.end(other);
        assert!(output.stderr.contains("has not ended in time, sending KILL"), "{}", output.stderr);
        s.wait_rest();
        s.signal_worker(1, "USR1");
        s.wait_line("worker <W1> died, status:0");
        assert_eq!(s.wait_exit(), "exit 0");
    });
}

/// A process in the worker's process group that ignores the signal, too, is killed with the worker.
#[test]
fn a_group_that_was_told_to_stop_is_killed() {
    let group = "trap '' TERM; sleep 1000 & echo $! >relative-$SERVER_STARTER_GENERATION; exec \"$@\"";
    ours_alone(|s| {
        let options = ["--kill-timeout=5", "--signal-on-hup=-TERM", "--signal-on-term=-TERM", "--status-file=st"];
        let worker = ["--", "setsid", "sh", "-c", group, "sh", "$PROBE", "ign=TERM"];
        s.start(&[&options[..], &worker].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_report(1, "got TERM");
        s.wait_line("old worker <W1> has not ended in time, sending KILL");
        s.wait_line("old worker <W1> died, status:9");
        s.wait_dead_process("relative-1");
        s.wait_file("st", "2:<W2>\n");
        s.wait_worker(2);
        s.signal("TERM");
        s.wait_line("worker <W2> died, status:9");
        s.wait_dead_process("relative-2");
        assert_eq!(s.wait_exit(), "exit 0");
    });
}

/// The child of a worker, in a session of its own and ignoring TERM, whose parent has ended (`setsid sh ... &` in a
/// subshell).
const ESCAPED: &str = "(setsid sh -c 'trap \"\" TERM; echo $$ >relative-$SERVER_STARTER_GENERATION; exec sleep 1000' &) ; \
                       while ! test -s relative-$SERVER_STARTER_GENERATION; do sleep 0.01; done; exec \"$@\"";

/// The worker's first process ends at once; what it has started keeps it in the status file until KILL.
#[test]
fn a_family_ends_with_its_worker() {
    ours_alone(|s| {
        let worker = ["--", "sh", "-c", ESCAPED, "sh", "$PROBE"];
        s.start(&[&["--kill-timeout=3", "--interval=0", "--status-file=st"], &worker[..]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        s.wait_worker(2);
        s.wait_report(1, "exit 0");
        s.wait_line("old worker <W1> has not ended in time, sending KILL");
        s.wait_line("old worker <W1> died, status:0");
        s.wait_dead_process("relative-1");
        s.wait_file("st", "2:<W2>\n");
        s.signal("TERM");
        s.wait_line("old worker <W2> has not ended in time, sending KILL");
        s.wait_dead_process("relative-2");
        assert_eq!(s.wait_exit(), "exit 0");
    });
}

/// Processes that a worker left behind when it died by itself end with the superdaemon at the latest.
#[test]
fn a_family_does_not_outlive_the_superdaemon() {
    ours_alone(|s| {
        let worker = ["--", "sh", "-c", ESCAPED, "sh", "$PROBE"];
        s.start(&[&["--kill-timeout=60", "--interval=0", "--status-file=st"], &worker[..]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal_worker(1, "KILL");
        s.wait_line("worker <W1> died unexpectedly with status:9, restarting");
        s.wait_worker(2);
        s.signal_worker(2, "KILL");
        s.wait_worker(3);
        s.wait_file("st", "3:<W3>\n");
        s.signal("TERM");
        s.wait_report(3, "exit 0");
        // The process of the last worker is ended by hand.
        s.kill_process("relative-3");
        assert_eq!(s.wait_exit(), "exit 0");
        s.wait_dead_process("relative-1");
        s.wait_dead_process("relative-2");
    });
}

/// When a worker puts its server into the background, the log explains it, and with `--max-start-failures` no process
/// of it is left.
#[test]
fn what_a_worker_leaves_behind_is_told_and_stopped() {
    ours_alone(|s| {
        let script = "setsid sleep 1000 & echo $! >relative-$SERVER_STARTER_GENERATION; exit 0";
        s.start(&[
            "--port=$PORT",
            "--interval=0",
            "--max-start-failures=1",
            "--ready=accepting",
            "--",
            "sh",
            "-c",
            script,
        ]);
        s.wait_line(", which it started, still hold its listeners");
        s.wait_line("seems to have failed to start, exit status:0");
        assert_eq!(s.wait_exit(), "exit 125");
        s.wait_dead_process("relative-1");
    });
}

/// A start script runs the server without exec.
#[test]
fn a_process_group_is_stopped_whole() {
    let script = "sleep 1000 & echo $! >relative-$SERVER_STARTER_GENERATION; \"$@\"; exit 0";
    ours_alone(|s| {
        let worker = ["--", "sh", "-c", script, "sh", "$PROBE"];
        s.start(&[&["--process-group", "--status-file=st"], &worker[..]].concat());
        s.wait_report(1, "ready");
        s.wait("the first worker", |s| std::fs::metadata(s.path("st")).is_ok());
        s.signal("HUP");
        s.wait_report(1, "got TERM");
        s.wait_dead_process("relative-1");
        s.wait_report(2, "ready");
        s.wait_line("old worker ");
        s.signal("TERM");
        s.wait_report(2, "got TERM");
        s.wait_dead_process("relative-2");
        assert_eq!(s.wait_exit(), "exit 0");
    });
}

/// The same command line starts, and then deploys.
#[test]
fn restart_or_start_does_what_is_needed() {
    ours_alone(|s| {
        let line = ["--restart-or-start", "--pid-file=pid", "--status-file=st", "--interval=0", "--", "$PROBE"];
        s.start(&line);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        let output = s.run(&line);
        assert_eq!((&*output.end, &*output.stderr), ("exit 0", ""));
        s.wait_worker(2);
        s.wait_file("st", "2:<W2>\n");
        let output = s.run(&["--restart-or-start", "--pid-file=pid", "--", "$PROBE"]);
        assert_eq!(output.end, "exit 255");
        assert!(output.stderr.contains("requires --pid-file and --status-file"), "{}", output.stderr);
        assert_eq!(s.term(), "exit 0");
    });
}

/// Before the start, in a restart, and after a KILL.
#[test]
fn the_status_of_a_superdaemon_is_shown() {
    ours_alone(|s| {
        let files = ["--pid-file=pid", "--status-file=st"];
        let shown =
            |s: &mut Scenario, option: &[&str]| s.run_unrecorded(&[&["--show-status"], &files[..], option].concat());
        let output = shown(s, &[]);
        assert_eq!((&*output.end, &*output.stdout), ("exit 3", "not running: there is no pid\n"));
        s.probe(&["--port=$PORT", "--path=app.sock", "--pid-file=pid", "--status-file=st"], &["G1=ign=TERM"]);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_report(1, "got TERM");
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        let output = shown(s, &[]);
        assert_eq!(output.end, "exit 0");
        let lines: Vec<&str> = output.stdout.lines().collect();
        assert!(lines[0].starts_with("superdaemon <S>, "), "{}", output.stdout);
        assert!(lines[1].starts_with("a restart has been under way for "), "{}", output.stdout);
        assert!(lines[2].starts_with("generation 1, pid <W1>, stopping, ") && lines[2].contains(" (TERM "));
        assert!(lines[3].starts_with("generation 2, pid <W2>, current, ") && lines[3].contains(": perl "));
        assert!(lines[4].starts_with("listener $PORT, waiting 0, of at most ") && lines[4].ends_with(", refused 0"));
        assert!(lines[5].starts_with("listener app.sock, waiting 0, of at most "), "{}", output.stdout);
        let output = shown(s, &["--json"]);
        let begin = "{\"state\":\"running\",\"serves\":true,\"pid\":<S>,";
        assert!(output.stdout.starts_with(begin), "{}", output.stdout);
        s.signal("KILL");
        s.wait_exit();
        let output = shown(s, &[]);
        let lines: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(
            (&*output.end, lines[0], lines[1]),
            ("exit 1", "dead, but has a pid file", "its workers are alive:")
        );
        assert!(lines[2].starts_with("generation 1, pid <W1>, orphaned, "), "{}", output.stdout);
        assert!(lines[3].starts_with("generation 2, pid <W2>, orphaned, "), "{}", output.stdout);
        assert!(lines[4].starts_with("listener $PORT, waiting 0, "), "{}", output.stdout);
        for generation in [1, 2] {
            s.signal_worker(generation, "KILL");
            s.wait_dead(generation);
        }
        for file in ["app.sock", "pid", "st"] {
            s.remove(file);
        }
    });
}

/// If the pid file can't be read, the superdaemon is not reported as dead or missing.
#[test]
fn the_status_may_be_unknown() {
    ours_alone(|s| {
        s.mkdir("directory");
        let output = s.run(&["--show-status", "--pid-file=directory"]);
        assert_eq!((&*output.end, &*output.stdout), ("exit 4", "unknown: directory is not a file\n"));
        let output = s.run(&["--show-status", "--pid-file=directory", "--json"]);
        assert_eq!(
            (&*output.end, &*output.stdout),
            ("exit 4", "{\"state\":\"unknown\",\"reason\":\"directory is not a file\"}\n")
        );
        let output = s.run(&["--show-status", "--pid-file=nowhere"]);
        assert_eq!((&*output.end, &*output.stdout), ("exit 3", "not running: there is no nowhere\n"));
    });
}

// --- restarts that take long

#[test]
fn a_restart_takes_too_long_and_continues() {
    ours_alone(|s| {
        s.probe(&[&UNTIL_READY, &FILES[..]].concat(), &["notify=READY=1", "G1=now"]);
        s.wait_file("st", "1:<W1>\n");
        let output = s.run(&[&["--restart-timeout=1"], &RESTART[..]].concat());
        assert_eq!(output.end, "exit 124");
        assert_eq!(output.stderr, "the restart did not finish within 1 seconds\nwaiting for generation 2 to start\n");
        s.wait_worker(2);
        assert_eq!(s.show("st"), "1:<W1>\n");
        s.signal_worker(2, "USR2");
        s.wait_line("old worker <W1> died, status:0");
        s.wait_file("st", "2:<W2>\n");
        stop(s);
    });
}

#[test]
fn a_restart_in_time() {
    ours_alone(|s| {
        start(s, &[], &[]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        let output = s.run(&[&["--restart-timeout=1000"], &RESTART[..]].concat());
        assert_eq!((output.end.as_str(), output.stderr.as_str()), ("exit 0", ""));
        assert_eq!(s.show("st"), "2:<W2>\n");
        stop(s);
    });
}

#[test]
fn a_restart_of_a_superdaemon_that_dies() {
    ours_alone(|s| {
        // A killed superdaemon leaves the sockets of its workers behind.
        s.env("TMPDIR", "$DIR");
        s.probe(&[&UNTIL_READY, &FILES[..]].concat(), &["notify=READY=1", "G1=now"]);
        s.wait_file("st", "1:<W1>\n");
        let restart = s.begin(&[&["--restart-timeout=1000"], &RESTART[..]].concat());
        s.wait_worker(2);
        s.signal("KILL");
        let output = s.end(restart);
        assert_eq!(output.end, "exit 3");
        assert_eq!(output.stderr, "the server process has died:No such process\n");
        for generation in [1, 2] {
            s.signal_worker(generation, "KILL");
            s.wait_dead(generation);
        }
        let output = s.run(&[&["--restart-timeout=1"], &RESTART[..]].concat());
        assert_eq!(output.end, "exit 3");
        assert_eq!(output.stderr, "failed to send SIGHUP to the server process:No such process\n");
    });
}

/// The original can't give up a restart, so it never says so. Everything else is as with ours.
#[test]
fn restarts_of_the_original() {
    original_alone(|s| {
        s.serve(&["--interval=5", "--pid-file=pid"], &["G2=exit=1", "G3=ign=TERM"]);
        let output = s.run_other(&[&["--restart-timeout=1"], &RESTART[..]].concat());
        assert_eq!(output.end, "exit 124");
        let expected = "the restart did not finish within 1 seconds\nwaiting for generation 2 to start\n";
        assert!(output.stderr.starts_with(expected), "{}", output.stderr);
        s.wait_line("new worker <W2> seems to have failed to start, exit status:256");
        s.wait_worker(3);
        s.wait_file("st", "3:<W3>\n");
        let restart = s.begin_other(&[&["--restart-timeout=1000"], &RESTART[..]].concat());
        s.wait_report(3, "got TERM");
        s.signal_worker(3, "USR1");
        assert_eq!(s.end(restart).end, "exit 0");
        s.wait_file("st", "4:<W4>\n");
        let restart = s.begin_other(&[&["--restart-timeout=1000"], &RESTART[..]].concat());
        s.wait_worker(5);
        s.signal("KILL");
        assert_eq!(s.end(restart).end, "exit 3");
        for generation in [4, 5] {
            s.signal_worker(generation, "KILL");
            s.wait_dead(generation);
        }
    });
}
