//! Starting, restarting and stopping workers: what is said, what each worker gets, and the status file meanwhile.

use std::time::{Duration, Instant};

use crate::harness::compare;

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

#[test]
fn int_sends_term_whatever_the_options_say() {
    compare(|s| {
        s.start(&["--signal-on-term=QUIT", "--", "$PROBE"]);
        s.wait_worker(1);
        s.signal("INT");
        s.wait_exit();
    });
}

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
        s.start(&["--interval=2", "--status-file=st", "--", "$PROBE", "G1=exit=7", "G2=exit=0"]);
        s.wait_line("new worker <W1> seems to have failed to start, exit status:1792");
        s.wait_line("new worker <W2> seems to have failed to start, exit status:0");
        s.wait_no_file("st");
        s.wait_worker(3);
        s.wait_file("st", "3:<W3>\n");
        s.signal("TERM");
        s.wait_exit();
    });
}

#[test]
fn old_worker_stays_while_new_ones_fail() {
    compare(|s| {
        s.start(&["--interval=2", "--status-file=st", "--", "$PROBE", "G2=exit=3"]);
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
        let options = ["--enable-auto-restart", "--auto-restart-interval=4", "--kill-old-delay=1", "--status-file=st"];
        // An old worker that stays keeps off the next restart for twice the interval.
        s.start(&[&options[..], &["--", "$PROBE", "G1=ign=TERM"]].concat());
        s.wait_worker(1);
        s.wait_line("autorestart triggered (interval=4)");
        s.wait_worker(2);
        s.wait_report(1, "got TERM");
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        s.signal_worker(1, "KILL");
        s.wait_line("old worker <W1> died");
        s.signal("TERM");
        s.wait_exit();
    });
}

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

#[test]
fn term_ends_the_interval_of_a_restart() {
    compare(|s| {
        let options = ["--interval=3", "--signal-on-hup=USR1", "--status-file=st"];
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
