//! Starting, restarting and stopping workers: what is said, what each worker gets, and the status file meanwhile.

use std::fs;
use std::time::{Duration, Instant};

use crate::harness::compare;

scenarios! {
    "lifecycle.rs":
    a_term_stops_the_worker_and_cleans_up
    hup_stops_the_old_worker_when_the_new_one_has_started
    old_workers_take_the_time_they_need
    int_sends_term_whatever_the_options_say
    each_request_has_its_signal
    failing_starts_are_repeated_until_one_succeeds
    old_worker_stays_while_new_ones_fail
    dead_workers_are_replaced
    old_workers_go_on_for_the_kill_old_delay
    an_automatic_restart_follows_the_interval
    term_ends_the_first_interval
    term_ends_the_interval_of_a_restart
    shutdown_waits_for_a_worker_that_stays
    every_way_to_fail_is_a_failed_start
    a_successor_that_fails_is_tried_again
    term_ends_the_interval_of_a_successor
    current_worker_dies_while_an_old_one_stays
    without_an_interval_a_death_is_noticed_later
    generations_are_sorted_as_text
    a_negative_interval_is_none
    old_worker_dies_while_new_ones_fail
    status_file_is_replaced
    the_kill_old_delay_hears_neither_hup_nor_death
    a_term_comes_after_the_kill_old_delay
}

/// LIFE-001 LIFE-004 E1
fn a_term_stops_the_worker_and_cleans_up() {
    compare(|s| {
        s.probe(&["--port=$PORT", "--pid-file=pid", "--status-file=st"], &["an argument", ""]);
        s.wait_file("pid", "<S>\n");
        s.wait_file("st", "1:<W1>\n");
        s.ls();
        s.term();
    });
}

/// LIFE-002 LIFE-041
fn hup_stops_the_old_worker_when_the_new_one_has_started() {
    compare(|s| {
        s.serve(&["--port=$PORT", "--pid-file=pid"], &["G1=ign=TERM"]);
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_line("killing old workers");
        s.wait_report(1, "got TERM");
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        s.signal_worker(1, "USR1");
        s.wait_line("old worker <W1> died, status:0");
        s.wait_file("st", "2:<W2>\n");
        s.term();
    });
}

/// LIFE-059
fn old_workers_take_the_time_they_need() {
    compare(|s| {
        s.serve(&[], &["G1=ign=TERM", "G2=ign=TERM"]);
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
        s.term();
    });
}

/// LIFE-043
fn int_sends_term_whatever_the_options_say() {
    compare(|s| {
        s.probe(&["--signal-on-term=QUIT"], &[]);
        s.signal("INT");
        s.wait_exit();
    });
}

/// LIFE-042 LIFE-043
fn each_request_has_its_signal() {
    compare(|s| {
        s.serve(&["--signal-on-hup=sigusr1", "--signal-on-term=QUIT"], &[]);
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_line("old worker <W1> died");
        s.term();
    });
}

/// LIFE-026
fn failing_starts_are_repeated_until_one_succeeds() {
    compare(|s| {
        // Long: even on a slow machine the worker is dead when the interval ends.
        s.start(&["--interval=5", "--status-file=st", "--", "$PROBE", "G1=exit=7", "G2=exit=0"]);
        s.wait_line("new worker <W1> seems to have failed to start, exit status:1792");
        s.wait_line("new worker <W2> seems to have failed to start, exit status:0");
        s.wait_no_file("st");
        s.wait_worker(3);
        s.wait_file("st", "3:<W3>\n");
        s.term();
    });
}

/// LIFE-002 LIFE-046: it gets no signal before that.
fn old_worker_stays_while_new_ones_fail() {
    compare(|s| {
        s.serve(&["--interval=5"], &["G2=exit=3"]);
        s.signal("HUP");
        s.wait_line("new worker <W2> seems to have failed to start, exit status:768");
        assert!(!s.report_of(1).contains("got TERM"), "there is no other worker");
        s.wait_file("st", "1:<W1>\n");
        s.wait_worker(3);
        s.wait_line("old worker <W1> died");
        s.wait_file("st", "3:<W3>\n");
        s.term();
    });
}

/// E4 LIFE-026 LIFE-034 LIFE-082
fn dead_workers_are_replaced() {
    compare(|s| {
        s.serve(&[], &["code=7"]);
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
fn old_workers_go_on_for_the_kill_old_delay() {
    compare(|s| {
        s.serve(&["--kill-old-delay=1"], &[]);
        let hup = Instant::now();
        s.signal("HUP");
        s.wait_line("sleeping 1 secs before killing old workers");
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        s.wait_worker(2);
        s.wait_line("killing old workers");
        assert!(hup.elapsed() >= Duration::from_secs(2), "an interval and a delay");
        s.wait_file("st", "2:<W2>\n");
        s.term();
    });
}

fn an_automatic_restart_follows_the_interval() {
    compare(|s| {
        let options = ["--enable-auto-restart", "--auto-restart-interval=10", "--kill-old-delay=1", "--status-file=st"];
        // An old worker that stays keeps off the next restart for twice the interval.
        s.probe(&options, &["G1=ign=TERM"]);
        s.wait_line("autorestart triggered (interval=10)");
        s.wait_worker(2);
        s.wait_report(1, "got TERM");
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        s.signal_worker(1, "KILL");
        s.wait_line("old worker <W1> died");
        s.term();
    });
}

/// LIFE-075
fn term_ends_the_first_interval() {
    compare(|s| {
        // The deadline passes if the interval isn't cut short.
        s.probe(&["--interval=1000", "--pid-file=pid", "--status-file=st"], &[]);
        s.term();
    });
}

/// LIFE-064
fn term_ends_the_interval_of_a_restart() {
    compare(|s| {
        let options = ["--interval=5", "--signal-on-hup=USR1", "--status-file=st"];
        s.probe(&options, &["G1=ign=USR1,TERM"]);
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
fn shutdown_waits_for_a_worker_that_stays() {
    compare(|s| {
        s.serve(&["--pid-file=pid"], &["ign=TERM"]);
        s.signal("TERM");
        s.wait_report(1, "got TERM");
        s.wait_file("pid", "<S>\n");
        s.signal_worker(1, "KILL");
        s.wait_line("worker <W1> died, status:9");
        s.wait_exit();
    });
}

/// LIFE-021 LIFE-022 LIFE-023 LIFE-024 LIFE-025 E4: raw wait statuses; failed generations are gone for good. Without a
/// core dump, which would change the status.
fn every_way_to_fail_is_a_failed_start() {
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
        s.term();
    });
}

/// LIFE-035 LIFE-036 LIFE-037: the successors of a dead worker fail; meanwhile the status file still shows the dead
/// one.
fn a_successor_that_fails_is_tried_again() {
    compare(|s| {
        s.prelude("ulimit -c 0");
        s.serve(&["--interval=5"], &["G2+=exit=1"]);
        s.signal_worker(1, "SEGV");
        s.wait_line("worker <W1> died unexpectedly with status:11, restarting");
        s.wait_line("new worker <W2> seems to have failed to start, exit status:256");
        s.wait_dead(3);
        s.wait_file("st", "1:<W1>\n");
        s.term();
    });
}

/// LIFE-038
fn term_ends_the_interval_of_a_successor() {
    compare(|s| {
        s.serve(&["--interval=5"], &[]);
        s.signal_worker(1, "USR1");
        s.wait_worker(2);
        s.term();
    });
}

/// LIFE-039
fn current_worker_dies_while_an_old_one_stays() {
    compare(|s| {
        s.serve(&[], &["G1=ign=TERM", "G2=code=9"]);
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
        s.term();
    });
}

/// LIFE-027 LIFE-036 LIFE-040 F1: without an interval, a worker counts as started at once.
fn without_an_interval_a_death_is_noticed_later() {
    compare(|s| {
        s.start(&["--interval=0", "--status-file=status", "--", "$PROBE"]);
        for generation in 1..=3 {
            s.wait_worker(generation);
            s.wait_file("status", &format!("{generation}:<W{generation}>\n"));
            s.signal_worker(generation, "USR1");
            s.wait_line(&format!("worker <W{generation}> died unexpectedly with status:0, restarting"));
        }
        s.wait_worker(4);
        s.term();
    });
}

/// LIFE-052 LIFE-062: the status file is sorted as text.
fn generations_are_sorted_as_text() {
    compare(|s| {
        s.probe(&["--interval=0", "--status-file=status"], &["G9=ign=TERM"]);
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
        s.term();
    });
}

/// LIFE-029 F1: a negative interval is none.
fn a_negative_interval_is_none() {
    compare(|s| {
        s.probe(&["--interval=-1"], &[]);
        s.signal("HUP");
        s.wait_line("old worker <W1> died, status:0");
        s.wait_worker(2);
        s.term();
    });
}

/// LIFE-058 LIFE-060 LIFE-061: in an interval nobody notices that the old worker dies; it is signalled all the same.
fn old_worker_dies_while_new_ones_fail() {
    compare(|s| {
        s.serve(&["--interval=5"], &["G2=exit=5"]);
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
        s.term();
    });
}

/// LIFE-003: the status file is replaced, not rewritten: who has opened the old one keeps it. The new one is there
/// before the message is.
fn status_file_is_replaced() {
    compare(|s| {
        s.serve(&["--kill-old-delay=1"], &["G1=ign=TERM"]);
        fs::hard_link(s.path("st"), s.path("kept")).expect("a link");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_line("new worker is now running");
        s.show("st");
        s.show("kept");
        s.wait_report(1, "got TERM");
        s.signal_worker(1, "KILL");
        s.wait_line("old worker <W1> died");
        s.term();
    });
}

/// LIFE-151: a HUP waits for the end of the delay; LIFE-156: and so does the report of a death.
fn the_kill_old_delay_hears_neither_hup_nor_death() {
    compare(|s| {
        s.serve(&["--kill-old-delay=5"], &["G1=ign=TERM"]);
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
        s.term();
    });
}

/// LIFE-152: what is said is the same; when is the divergence `term-first`.
fn a_term_comes_after_the_kill_old_delay() {
    compare(|s| {
        let options = ["--kill-old-delay=5", "--signal-on-hup=USR1", "--status-file=st"];
        s.probe(&options, &["G1=ign=USR1,TERM"]);
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
