//! `--approve`: a command decides whether a new worker that has started takes over.

use std::fs;

use super::stop;
use crate::harness::{Scenario, ours_alone};

const FILES: [&str; 3] = ["--pid-file=pid", "--status-file=st", "--path=sock"];
const RESTART: [&str; 3] = ["--restart", "--pid-file=pid", "--status-file=st"];

/// Starts a superdaemon whose command runs `script`, which the scenario may change.
fn start(s: &mut Scenario, script: &str, options: &[&str], behaviours: &[&str]) {
    s.write("approve", script);
    // The sockets of `--ready=notify` are below here.
    s.env("TMPDIR", "$DIR");
    let ready = ["--ready=notify", "--approve=sh approve", "--interval=0"];
    s.start(&[&FILES[..], &ready, options, &["--", "$PROBE", "notify=READY=1", "now"], behaviours].concat());
}

#[test]
fn the_command_decides() {
    ours_alone(|s| {
        start(s, "echo approved >&2\n", &[], &[]);
        s.wait_line("approved");
        s.wait_file("st", "1:<W1>\n");
        s.write(
            "approve",
            "echo \"$APPROVE_NEW_GENERATION:$APPROVE_NEW_PID $APPROVE_OLD_GENERATION:$APPROVE_OLD_PID\" >&2; exit 3\n",
        );
        let output = s.run(&RESTART);
        assert_eq!(output.end, "exit 125");
        s.wait_line("2:<W2> 1:<W1>");
        s.wait_line("new worker <W2> is not approved (exit 3), sending TERM");
        s.wait_line("giving up the restart, the old worker keeps running");
        s.wait_line("old worker <W2> died, status:0");
        s.wait_file("st", "1:<W1>\n");
        assert!(!s.report_of(1).contains("got "), "{}", s.report_of(1));
        s.write("approve", "exit 0\n");
        assert_eq!(s.run(&RESTART).end, "exit 0");
        s.wait_file("st", "3:<W3>\n");
        s.remove("approve");
        stop(s);
        assert_eq!(s.ls(), "");
    });
}

/// With `--max-start-failures`, the command is asked again about the next worker.
#[test]
fn as_often_as_starts_may_fail() {
    ours_alone(|s| {
        start(s, "exit 0\n", &["--max-start-failures=3"], &[]);
        s.wait_file("st", "1:<W1>\n");
        s.write("approve", "test $APPROVE_NEW_GENERATION = 4\n");
        assert_eq!(s.run(&RESTART).end, "exit 0");
        s.wait_file("st", "4:<W4>\n");
        s.write("approve", "exit 1\n");
        assert_eq!(s.run(&RESTART).end, "exit 125");
        assert_eq!(s.show("st.failed").lines().next(), Some("7"));
        s.wait_file("st", "4:<W4>\n");
        s.remove("approve");
        stop(s);
        assert_eq!(s.ls(), "");
    });
}

/// If the first worker isn't approved, it has failed to start.
#[test]
fn the_first_worker() {
    ours_alone(|s| {
        start(s, "exit 1\n", &["--max-start-failures=2"], &[]);
        s.wait_line("new worker <W1> is not approved (exit 1), sending TERM");
        s.wait_line("new worker <W2> is not approved (exit 1), sending TERM");
        assert_eq!(s.wait_exit(), "exit 125");
        s.remove("approve");
        assert_eq!(s.ls(), "");
    });
    // Without the limit, another start follows, as no other worker is left.
    ours_alone(|s| {
        start(s, "test $APPROVE_NEW_GENERATION = 3 && test -z \"$APPROVE_OLD_PID\"\n", &[], &[]);
        s.wait_file("st", "3:<W3>\n");
        s.signal_worker(3, "KILL");
        s.write("approve", "test $APPROVE_NEW_GENERATION = 6\n");
        s.wait_file("st", "6:<W6>\n");
        stop(s);
    });
}

/// The command and everything that it has started end when its time is over, and when a shutdown comes.
#[test]
fn a_command_that_does_not_answer() {
    ours_alone(|s| {
        // Longer than a second, as the worker, too, has to be ready within that time.
        start(s, "exit 0\n", &["--ready-timeout=10"], &[]);
        s.wait_file("st", "1:<W1>\n");
        s.write("approve", "sleep 1000 & echo $! >child; trap '' TERM; wait\n");
        assert_eq!(s.run(&RESTART).end, "exit 125");
        s.wait_line("new worker <W2> is not approved (no answer in time), sending TERM");
        s.wait_dead_process("child");
        s.remove("child");
        s.signal("HUP");
        s.wait("the command", |s| fs::read_to_string(s.path("child")).is_ok_and(|pid| pid.ends_with('\n')));
        crate::harness::send(s.superdaemon(), "TERM");
        assert_eq!(s.wait_exit(), "exit 0");
        s.wait_dead_process("child");
        s.remove("child");
        s.remove("approve");
        assert_eq!(s.ls(), "");
    });
}

/// A worker that dies meanwhile has failed to start, whatever the command would have answered.
#[test]
fn a_worker_that_dies_meanwhile() {
    ours_alone(|s| {
        start(s, "exit 0\n", &["--max-start-failures=1"], &[]);
        s.wait_file("st", "1:<W1>\n");
        s.write("approve", "echo $APPROVE_NEW_PID >asked; exec sleep 1000\n");
        s.signal("HUP");
        s.wait("the command", |s| fs::read_to_string(s.path("asked")).is_ok_and(|pid| pid.ends_with('\n')));
        s.wait_worker(2);
        s.signal_worker(2, "KILL");
        s.wait_line("new worker <W2> seems to have failed to start, exit status:9");
        s.wait_line("giving up the restart, the old worker keeps running");
        s.wait_file("st", "1:<W1>\n");
        stop(s);
    });
}

/// The command is not a worker: it has none of the listeners. Its output goes to the log.
#[test]
fn what_the_command_gets() {
    ours_alone(|s| {
        s.env("INHERITED", "yes");
        let script = "ls -l /proc/$$/fd >fds; env >variables; echo said; exit 0\n";
        start(s, script, &["--log-file=log"], &[]);
        s.wait_file("st", "1:<W1>\n");
        let variables = fs::read_to_string(s.path("variables")).unwrap();
        for expected in [
            "INHERITED=yes\n",
            "SERVER_STARTER_GENERATION=1\n",
            "SERVER_STARTER_PORT=sock=",
            "APPROVE_NEW_GENERATION=1\n",
        ] {
            assert!(variables.contains(expected), "{variables}");
        }
        assert!(!variables.contains("APPROVE_OLD"), "{variables}");
        let fds = fs::read_to_string(s.path("fds")).unwrap();
        assert!(!fds.contains("socket:"), "{fds}");
        assert!(fs::read_to_string(s.path("log")).unwrap().contains("said\n"));
        stop(s);
    });
}

/// A command that doesn't exist approves nothing.
#[test]
fn a_command_that_cannot_be_run() {
    ours_alone(|s| {
        s.start(&[&FILES[..], &["--approve=/no/such/command", "--max-start-failures=1", "--", "$PROBE"]].concat());
        s.wait_line("failed to exec /no/such/command:No such file or directory");
        s.wait_line("new worker <W1> is not approved (exit 127), sending TERM");
        assert_eq!(s.wait_exit(), "exit 125");
        assert_eq!(s.ls(), "");
    });
}

/// Processes that the command has started in its group end with it, though it has ended by itself.
#[test]
fn what_a_command_leaves_ends_with_it() {
    ours_alone(|s| {
        start(s, "sleep 1000 & echo $! >child; exit 0\n", &[], &[]);
        s.wait_file("st", "1:<W1>\n");
        s.wait_dead_process("child");
        stop(s);
    });
}

/// If the old worker dies meanwhile, the new one is kept, as nobody else would serve.
#[test]
fn an_old_worker_that_dies_meanwhile() {
    ours_alone(|s| {
        start(s, "exit 0\n", &[], &[]);
        s.wait_file("st", "1:<W1>\n");
        let is_dead = "grep -q ') Z' /proc/$APPROVE_OLD_PID/stat";
        s.write("approve", &format!("kill -KILL $APPROVE_OLD_PID; until {is_dead}; do sleep .1; done; exit 1\n"));
        s.signal("HUP");
        s.wait_line("new worker <W2> is not approved (exit 1), but keeps running, because the old worker is dead");
        s.wait_line("old worker <W1> died, status:9");
        s.wait_file("st", "2:<W2>\n");
        stop(s);
        assert!(!s.report_of(2).contains("got QUIT"), "{}", s.report_of(2));
    });
}

/// The new worker was not approved, so it isn't announced as running.
#[test]
fn a_shutdown_meanwhile() {
    ours_alone(|s| {
        start(s, "exit 0\n", &[], &[]);
        s.wait_file("st", "1:<W1>\n");
        s.write("approve", "echo >asked; exec sleep 1000\n");
        s.signal("HUP");
        s.wait("the command", |s| s.path("asked").exists());
        s.wait_worker(2);
        s.signal("TERM");
        s.wait_line("received TERM, sending TERM to all workers:<W1>,<W2>");
        assert_eq!(s.wait_exit(), "exit 0");
        assert!(!s.said().contains("new worker is now running"), "{}", s.said());
    });
}

/// A process that sleeps in the kernel can't die until that has finished. Here another process has to release the
/// command first.
#[cfg(target_arch = "x86_64")]
#[test]
fn nobody_waits_for_a_command_that_does_not_die() {
    ours_alone(|s| {
        start(s, "exit 0\n", &["--ready-timeout=10"], &[]);
        s.wait_file("st", "1:<W1>\n");
        // prctl(PR_SET_PTRACER, any) and PTRACE_SEIZE: the tracer has to reap the process before its parent can.
        let tracer = "my $main = $$; syscall 157, 0x59616d61, -1, 0, 0, 0; if (!fork) { setpgrp 0, 0; \
                      syscall(101, 0x4206, $main, 0, 0) == 0 or die $!; open my $file, '>', 'tracer'; print $file \"$$\\n\"; \
                      close $file; sleep 1000; exit } open my $file, '>', 'command'; print $file \"$$\\n\"; close $file; sleep 1000";
        s.write("approve.pl", tracer);
        s.write("approve", "exec perl approve.pl\n");
        assert_eq!(s.run(&RESTART).end, "exit 125");
        s.wait_line("new worker <W2> is not approved (no answer in time), sending TERM");
        s.write("approve", "exit 0\n");
        assert_eq!(s.run(&RESTART).end, "exit 0");
        s.wait_file("st", "3:<W3>\n");
        s.kill_process("tracer");
        let command = fs::read_to_string(s.path("command")).unwrap();
        s.wait("it is reaped", |_| !std::path::Path::new(&format!("/proc/{}", command.trim())).exists());
        assert!(!s.said().contains(&format!("worker {}", command.trim())), "{}", s.said());
        stop(s);
    });
}

/// Starts are tried again however often they fail. On HUP, a repaired one is tried at once.
#[test]
fn starts_that_fail_for_ever() {
    ours_alone(|s| {
        start(s, "exit 1\n", &[], &[]);
        s.wait_line("old worker <W1> died, status:0");
        s.wait_line("starting new worker <W2>");
        s.wait_line("old worker <W2> died, status:0");
        s.wait_line("starting new worker <W3>");
        s.wait_line("old worker <W3> died, status:0");
        s.write("approve", "exit 0\n");
        s.signal("HUP");
        s.wait_file("st", "4:<W4>\n");
        s.wait_rest();
        assert!(!s.said().contains("received HUP"), "{}", s.said());
        stop(s);
    });
}
