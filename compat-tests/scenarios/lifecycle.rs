//! Starting, restarting and stopping workers: what is said, what each worker gets, and the status file meanwhile.

use std::fs;
use std::time::{Duration, Instant};

use crate::harness::compare;

/// LIFE-001 LIFE-004 E1
#[test]
fn start_and_term() {
    compare(|s| {
        s.start(&["--port=$PORT", "--pid-file=pid", "--status-file=st", "--", "$PROBE", "an argument", ""]);
        s.wait_worker(1);
        s.wait_file("pid", "<S>\n");
        s.wait_file("st", "1:<W1>\n");
        s.ls();
        s.signal("TERM");
        s.wait_exit();
    });
}

/// LIFE-002 LIFE-041
#[test]
fn hup() {
    compare(|s| {
        s.start(&["--port=$PORT", "--pid-file=pid", "--status-file=st", "--", "$PROBE", "G1=ign=TERM"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_line("killing old workers");
        s.wait_report(1, "got TERM");
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        s.signal_worker(1, "USR1");
        s.wait_line("old worker <W1> died, status:0");
        s.wait_file("st", "2:<W2>\n");
        s.signal("TERM");
        s.wait_exit();
    });
}

/// LIFE-059
#[test]
fn old_workers_that_stay() {
    compare(|s| {
        s.start(&["--status-file=st", "--", "$PROBE", "G1=ign=TERM", "G2=ign=TERM"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_report(1, "got TERM");
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        s.signal("HUP");
        s.wait_worker(3);
        s.wait_line("sending TERM to old workers:<W1>,<W2>");
        s.wait_report(1, "got TERM");
        s.wait_report(2, "got TERM");
        s.wait_file("st", "1:<W1>\n2:<W2>\n3:<W3>\n");
        s.signal_worker(2, "KILL");
        s.wait_file("st", "1:<W1>\n3:<W3>\n");
        s.signal_worker(1, "KILL");
        s.wait_file("st", "3:<W3>\n");
        s.signal("TERM");
        s.wait_exit();
    });
}

/// LIFE-043
#[test]
fn int_sends_term_whatever_the_options_say() {
    compare(|s| {
        s.start(&["--signal-on-term=QUIT", "--", "$PROBE"]);
        s.wait_worker(1);
        s.signal("INT");
        s.wait_exit();
    });
}

/// LIFE-042 LIFE-043
#[test]
fn signals_of_choice() {
    compare(|s| {
        s.start(&["--signal-on-hup=sigusr1", "--signal-on-term=QUIT", "--status-file=st", "--", "$PROBE"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_line("old worker <W1> died");
        s.signal("TERM");
        s.wait_exit();
    });
}

#[test]
fn failing_starts_are_repeated_until_one_succeeds() {
    compare(|s| {
        // Two seconds: even on a slow machine the worker is dead when the interval ends.
        s.start(&["--interval=5", "--status-file=st", "--", "$PROBE", "G1=exit=7", "G2=exit=0"]);
        s.wait_line("new worker <W1> seems to have failed to start, exit status:1792");
        s.wait_line("new worker <W2> seems to have failed to start, exit status:0");
        s.wait_no_file("st");
        s.wait_worker(3);
        s.wait_file("st", "3:<W3>\n");
        s.signal("TERM");
        s.wait_exit();
    });
}

/// LIFE-046
#[test]
fn old_worker_stays_while_new_ones_fail() {
    compare(|s| {
        s.start(&["--interval=5", "--status-file=st", "--", "$PROBE", "G2=exit=3"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_line("new worker <W2> seems to have failed to start, exit status:768");
        s.wait_file("st", "1:<W1>\n");
        s.wait_worker(3);
        s.wait_line("old worker <W1> died");
        s.wait_file("st", "3:<W3>\n");
        s.signal("TERM");
        s.wait_exit();
    });
}

/// E4 LIFE-026 LIFE-034 LIFE-082
#[test]
fn dead_workers_are_replaced() {
    compare(|s| {
        s.start(&["--status-file=st", "--", "$PROBE", "code=7"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal_worker(1, "USR1");
        s.wait_line("worker <W1> died unexpectedly with status:1792, restarting");
        s.wait_file("st", "1:<W1>\n");
        s.wait_worker(2);
        s.wait_file("st", "2:<W2>\n");
        s.signal_worker(2, "KILL");
        s.wait_line("worker <W2> died unexpectedly with status:9, restarting");
        s.wait_worker(3);
        s.wait_file("st", "3:<W3>\n");
        s.signal("TERM");
        s.wait_line("worker <W3> died, status:1792");
        s.wait_exit();
    });
}

/// LIFE-150
#[test]
fn kill_old_delay() {
    compare(|s| {
        s.start(&["--kill-old-delay=1", "--status-file=st", "--", "$PROBE"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        let hup = Instant::now();
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_line("sleeping 1 secs before killing old workers");
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        s.wait_line("killing old workers");
        assert!(hup.elapsed() >= Duration::from_secs(2), "an interval and a delay");
        s.wait_file("st", "2:<W2>\n");
        s.signal("TERM");
        s.wait_exit();
    });
}

#[test]
fn automatic_restart() {
    compare(|s| {
        let options = ["--enable-auto-restart", "--auto-restart-interval=10", "--kill-old-delay=1", "--status-file=st"];
        // An old worker that stays keeps off the next restart for twice the interval.
        s.start(&[&options[..], &["--", "$PROBE", "G1=ign=TERM"]].concat());
        s.wait_worker(1);
        s.wait_line("autorestart triggered (interval=10)");
        s.wait_worker(2);
        s.wait_report(1, "got TERM");
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        s.signal_worker(1, "KILL");
        s.wait_line("old worker <W1> died");
        s.signal("TERM");
        s.wait_exit();
    });
}

/// LIFE-075
#[test]
fn term_ends_the_first_interval() {
    compare(|s| {
        // The deadline passes if the interval isn't cut short.
        s.start(&["--interval=100", "--pid-file=pid", "--status-file=st", "--", "$PROBE"]);
        s.wait_worker(1);
        s.signal("TERM");
        s.wait_exit();
    });
}

/// LIFE-064
#[test]
fn term_ends_the_interval_of_a_restart() {
    compare(|s| {
        let options = ["--interval=5", "--signal-on-hup=USR1", "--status-file=st"];
        s.start(&[&options[..], &["--", "$PROBE", "G1=ign=USR1,TERM"]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_worker(2);
        s.signal("TERM");
        s.wait_report(1, "got TERM");
        s.wait_line("worker <W2> died");
        s.signal_worker(1, "KILL");
        s.wait_exit();
    });
}

/// LIFE-076
#[test]
fn shutdown_waits_for_a_worker_that_stays() {
    compare(|s| {
        s.start(&["--pid-file=pid", "--status-file=st", "--", "$PROBE", "ign=TERM"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("TERM");
        s.wait_report(1, "got TERM");
        s.wait_file("pid", "<S>\n");
        s.signal_worker(1, "KILL");
        s.wait_line("worker <W1> died, status:9");
        s.wait_exit();
    });
}

/// LIFE-021 LIFE-022 LIFE-023 LIFE-024 LIFE-025 E4: raw wait statuses; failed generations are gone for good. Without a core
/// dump, which would change the status.
#[test]
fn ways_to_fail() {
    let fail = "case $SERVER_STARTER_GENERATION in \
        1) kill -KILL $$;; 2) kill -SEGV $$;; 3) exit 0;; 4) exit 255;; *) exec \"$@\";; esac";
    compare(|s| {
        s.prelude("ulimit -c 0");
        s.start(&["--status-file=st", "--", "sh", "-c", fail, "sh", "$PROBE"]);
        for (generation, status) in [(1, 9), (2, 11), (3, 0), (4, 65280)] {
            s.wait_line(&format!("new worker <W{generation}> seems to have failed to start, exit status:{status}"));
        }
        s.wait_worker(5);
        s.wait_file("st", "5:<W5>\n");
        s.signal("HUP");
        s.wait_worker(6);
        s.wait_line("old worker <W5> died");
        s.wait_file("st", "6:<W6>\n");
        s.signal("TERM");
        s.wait_exit();
    });
}

/// LIFE-035 LIFE-036 LIFE-037: the successors of a dead worker fail; meanwhile the status file still shows the dead one.
#[test]
fn successors_that_fail() {
    compare(|s| {
        s.prelude("ulimit -c 0");
        s.start(&["--interval=5", "--status-file=st", "--", "$PROBE", "G2+=exit=1"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal_worker(1, "SEGV");
        s.wait_line("worker <W1> died unexpectedly with status:11, restarting");
        s.wait_line("new worker <W2> seems to have failed to start, exit status:256");
        s.wait_dead(3);
        s.wait_file("st", "1:<W1>\n");
        s.signal("TERM");
        s.wait_exit();
    });
}

/// LIFE-038
#[test]
fn term_ends_the_interval_of_a_successor() {
    compare(|s| {
        s.start(&["--interval=5", "--status-file=st", "--", "$PROBE"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal_worker(1, "USR1");
        s.wait_worker(2);
        s.signal("TERM");
        s.wait_exit();
    });
}

/// LIFE-039
#[test]
fn current_worker_dies_while_an_old_one_stays() {
    compare(|s| {
        s.start(&["--status-file=st", "--", "$PROBE", "G1=ign=TERM", "G2=code=9"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_report(1, "got TERM");
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        s.signal_worker(2, "USR1");
        s.wait_line("worker <W2> died unexpectedly with status:2304, restarting");
        s.wait_worker(3);
        s.wait_file("st", "1:<W1>\n3:<W3>\n");
        s.signal_worker(1, "USR1");
        s.wait_line("old worker <W1> died, status:0");
        s.wait_file("st", "3:<W3>\n");
        s.signal("TERM");
        s.wait_exit();
    });
}

/// LIFE-027 LIFE-040 F1: without an interval, a worker counts as started at once.
#[test]
fn workers_that_die_without_an_interval() {
    compare(|s| {
        s.start(&["--interval=0", "--status-file=status", "--", "$PROBE"]);
        for generation in 1..=3 {
            s.wait_worker(generation);
            s.wait_file("status", &format!("{generation}:<W{generation}>\n"));
            s.signal_worker(generation, "USR1");
            s.wait_line(&format!("worker <W{generation}> died unexpectedly with status:0, restarting"));
        }
        s.wait_worker(4);
        s.signal("TERM");
        s.wait_exit();
    });
}

/// LIFE-052 LIFE-062: the status file is sorted as text.
#[test]
fn ten_generations() {
    compare(|s| {
        s.start(&["--interval=0", "--status-file=status", "--", "$PROBE", "G9=ign=TERM"]);
        s.wait_worker(1);
        for generation in 1..=8 {
            s.signal("HUP");
            s.wait_line(&format!("old worker <W{generation}> died, status:0"));
            s.wait_worker(generation + 1);
        }
        s.wait_file("status", "9:<W9>\n");
        s.signal("HUP");
        s.wait_report(9, "got TERM");
        s.wait_worker(10);
        s.wait_file("status", "10:<W10>\n9:<W9>\n");
        s.signal_worker(9, "KILL");
        s.wait_file("status", "10:<W10>\n");
        s.signal("TERM");
        s.wait_exit();
    });
}

/// LIFE-029 F1: a negative interval is none.
#[test]
fn negative_interval() {
    compare(|s| {
        s.start(&["--interval=-1", "--", "$PROBE"]);
        s.wait_worker(1);
        s.signal("HUP");
        s.wait_line("old worker <W1> died, status:0");
        s.wait_worker(2);
        s.signal("TERM");
        s.wait_exit();
    });
}

/// LIFE-058 LIFE-060 LIFE-061: in an interval nobody notices that the old worker dies; it is signalled all the same.
#[test]
fn old_worker_dies_while_new_ones_fail() {
    compare(|s| {
        s.start(&["--interval=5", "--status-file=st", "--", "$PROBE", "G2=exit=5"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_dead(2);
        s.signal_worker(1, "KILL");
        s.wait_dead(1);
        s.wait_line("new worker <W2> seems to have failed to start, exit status:1280");
        s.wait_worker(3);
        s.wait_file("st", "1:<W1>\n");
        s.wait_line("new worker is now running, sending TERM to old workers:<W1>");
        s.wait_line("killing old workers");
        s.wait_line("old worker <W1> died, status:9");
        s.wait_file("st", "3:<W3>\n");
        s.signal("TERM");
        s.wait_exit();
    });
}

/// LIFE-003: the status file is replaced, not rewritten: who has opened the old one keeps it. The new one is there before the
/// message is.
#[test]
fn status_file_is_replaced() {
    compare(|s| {
        s.start(&["--kill-old-delay=1", "--status-file=st", "--", "$PROBE"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        fs::hard_link(s.path("st"), s.path("kept")).expect("a link");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_line("new worker is now running");
        s.show("st");
        s.show("kept");
        s.wait_line("old worker <W1> died");
        s.signal("TERM");
        s.wait_exit();
    });
}

/// LIFE-151: a HUP waits for the end of the delay; LIFE-156: and so does the report of a death.
#[test]
fn hup_and_death_in_the_kill_old_delay() {
    compare(|s| {
        s.start(&["--kill-old-delay=5", "--status-file=st", "--", "$PROBE", "G1=ign=TERM"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_line("sleeping 5 secs before killing old workers");
        s.signal("HUP");
        s.wait_worker(3);
        s.wait_line("sending TERM to old workers:<W1>,<W2>");
        s.wait_line("sleeping 5 secs before killing old workers");
        s.signal_worker(2, "KILL");
        s.wait_line("killing old workers");
        s.wait_line("old worker <W2> died, status:9");
        s.wait_report(1, "got TERM");
        s.wait_report(1, "got TERM");
        s.wait_file("st", "1:<W1>\n3:<W3>\n");
        s.signal_worker(1, "KILL");
        s.wait_file("st", "3:<W3>\n");
        s.signal("TERM");
        s.wait_exit();
    });
}

/// LIFE-152: what is said is the same; when is the divergence `term-first`.
#[test]
fn term_in_the_kill_old_delay() {
    compare(|s| {
        let options = ["--kill-old-delay=5", "--signal-on-hup=USR1", "--status-file=st"];
        s.start(&[&options[..], &["--", "$PROBE", "G1=ign=USR1,TERM"]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_line("sleeping 5 secs before killing old workers");
        s.signal("TERM");
        s.wait_line("worker <W2> died, status:0");
        s.wait_report(1, "got TERM");
        s.signal_worker(1, "KILL");
        s.wait_exit();
    });
}
