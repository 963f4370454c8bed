//! Signals to the superdaemon: which ones it knows, what becomes of those that come at other times, and what it sends
//! on.

use std::time::{Duration, Instant};

use crate::harness::compare;

scenarios! {
    "signals.rs":
    signals_that_kill_the_superdaemon
    signals_that_mean_nothing
    signals_that_do_not_end_the_interval
    hups_to_a_stopped_superdaemon_count_once
    hups_in_an_interval_wait
    an_int_ends_the_first_interval
    of_int_and_term_the_lower_number_counts
    signals_during_the_shutdown_mean_nothing
    a_shutdown_stops_old_workers_too
    a_stopped_worker_has_not_failed
    signals_may_be_spelled_in_many_ways
    every_name_of_a_signal_is_known
    a_number_names_a_signal
}

const FILES: [&str; 3] = ["--pid-file=pid", "--status-file=st", "--path=app.sock"];

/// LIFE-071: what kills the superdaemon leaves its worker and its files. (QUIT, USR1 and USR2 are other matters: the
/// divergences `quit-stops` and `stray-signals`.)
fn signals_that_kill_the_superdaemon() {
    compare(|s| {
        s.prelude("ulimit -c 0");
        for signal in ["SEGV", "ABRT", "VTALRM", "IO", "PWR", "KILL"] {
            s.probe(&[&["--interval=1000"], &FILES[..]].concat(), &[]);
            s.signal(signal);
            s.wait_exit();
            s.signal_worker(1, "TERM");
            s.wait_dead(1);
            s.ls();
        }
    });
}

/// LIFE-071
fn signals_that_mean_nothing() {
    compare(|s| {
        s.probe(&FILES, &[]);
        s.wait_file("st", "1:<W1>\n");
        for signal in ["CHLD", "PIPE", "FPE", "WINCH", "URG", "CONT", "ALRM"] {
            s.signal(signal);
        }
        s.term();
    });
}

/// LIFE-072: the interval continues while the superdaemon is stopped, and these signals don't end it.
fn signals_that_do_not_end_the_interval() {
    compare(|s| {
        let start = Instant::now();
        s.probe(&["--interval=5", "--status-file=st"], &[]);
        for signal in ["STOP", "CONT", "CHLD", "WINCH"] {
            s.signal(signal);
        }
        s.wait_file("st", "1:<W1>\n");
        assert!(start.elapsed() >= Duration::from_secs(2), "the whole interval");
        s.term();
    });
}

/// LIFE-054: signals that are pending at the same time are one.
fn hups_to_a_stopped_superdaemon_count_once() {
    compare(|s| {
        s.serve(&[], &[]);
        s.signal("STOP");
        for _ in 0..5 {
            s.signal("HUP");
        }
        s.signal("CONT");
        s.wait_worker(2);
        s.wait_line("old worker <W1> died");
        s.wait_file("st", "2:<W2>\n");
        s.term();
    });
}

/// LIFE-047 LIFE-048 LIFE-050 LIFE-051 LIFE-055: each HUP leads to a restart, also one that comes in an interval. (When
/// the worker of that interval is taken for started is another matter: the divergence `whole-interval`.)
fn hups_in_an_interval_wait() {
    compare(|s| {
        // Ours waits for whole intervals.
        s.may_take_longer(Duration::from_secs(30));
        s.probe(&["--interval=5", "--status-file=st"], &["ign=TERM"]);
        s.signal("HUP");
        s.wait_worker(2);
        s.signal("HUP");
        s.wait_worker(3);
        s.wait_line("new worker is now running, sending TERM to old workers:<W1>,<W2>");
        for generation in [1, 1, 2] {
            s.wait_report(generation, "got TERM");
        }
        s.wait_file("st", "1:<W1>\n2:<W2>\n3:<W3>\n");
        for generation in 1..=3 {
            s.signal_worker(generation, "KILL");
            s.wait_line(&format!("worker <W{generation}> died"));
        }
        s.wait_worker(4);
        s.signal("TERM");
        s.wait_report(4, "got TERM");
        s.signal_worker(4, "USR1");
        s.wait_exit();
    });
}

/// LIFE-075
fn an_int_ends_the_first_interval() {
    compare(|s| {
        s.probe(&["--interval=1000", "--signal-on-term=QUIT", "--status-file=st"], &[]);
        s.signal("INT");
        s.wait_exit();
    });
}

/// LIFE-068: whichever came first.
fn of_int_and_term_the_lower_number_counts() {
    compare(|s| {
        s.serve(&["--signal-on-term=QUIT"], &[]);
        s.signal("STOP");
        s.signal("TERM");
        s.signal("INT");
        s.signal("CONT");
        s.wait_exit();
    });
}

/// LIFE-076: further signals change nothing.
fn signals_during_the_shutdown_mean_nothing() {
    compare(|s| {
        s.serve(&[], &["ign=TERM"]);
        s.signal("TERM");
        s.wait_report(1, "got TERM");
        for signal in ["TERM", "HUP", "INT", "ALRM"] {
            s.signal(signal);
        }
        s.wait_file("st", "1:<W1>\n");
        s.signal_worker(1, "USR1");
        s.wait_exit();
    });
}

/// LIFE-077: all get the signal, and the status file tells who is left.
fn a_shutdown_stops_old_workers_too() {
    compare(|s| {
        s.serve(&["--signal-on-term=USR1"], &["G1=ign=TERM,USR1"]);
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_report(1, "got TERM");
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        s.signal("TERM");
        s.wait_line("worker <W2> died, status:0");
        s.wait_report(1, "got USR1");
        s.wait_file("st", "1:<W1>\n");
        s.signal_worker(1, "KILL");
        s.wait_exit();
    });
}

/// LIFE-018: a worker that is stopped has not failed. (What the shutdown makes of it is the divergence `stopped-worker`.)
fn a_stopped_worker_has_not_failed() {
    compare(|s| {
        s.probe(&["--interval=5", "--status-file=st"], &[]);
        s.signal_worker(1, "STOP");
        s.wait_file("st", "1:<W1>\n");
        s.signal_worker(1, "CONT");
        s.term();
    });
}

/// Stops a superdaemon with each of these as the signal for its worker.
fn stop_with(names: &[&str]) {
    compare(|s| {
        s.prelude("ulimit -c 0");
        for name in names {
            s.probe(&["--interval=1000", "--signal-on-term", name], &[]);
            s.term();
        }
    });
}

/// F2 LIFE-043 LIFE-044: how they may be written, and how they are shown.
fn signals_may_be_spelled_in_many_ways() {
    stop_with(&["usr1", "SIGUSR2", "sigQuit", "SIGSIGINT", "0", "", "10", "012", "+1", "1.5", "3e0"]);
}

/// F2
fn every_name_of_a_signal_is_known() {
    stop_with(&["KILL", "STKFLT", "IOT", "POLL", "PROF", "PWR", "NUM35", "SIGRTMIN", "RTMAX", "VTALRM", "XCPU"]);
}

/// F2 LIFE-044: the same for HUP; a number is shown as it is given.
fn a_number_names_a_signal() {
    compare(|s| {
        s.serve(&["--signal-on-hup=10", "--signal-on-term=0"], &[]);
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_line("sending 10 to old workers:<W1>");
        s.wait_line("old worker <W1> died");
        s.term();
    });
}
