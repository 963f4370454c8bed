//! `--restart` and `--stop`, on the same program and across the two.

use crate::harness::compare;

const START: [&str; 4] = ["--pid-file=pid", "--status-file=st", "--", "$PROBE"];
const RESTART: [&str; 3] = ["--restart", "--pid-file=pid", "--status-file=st"];
const STOP: [&str; 2] = ["--stop", "--pid-file=pid"];

#[test]
fn restart_and_stop() {
    compare(|s| {
        s.start(&START);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.run(&RESTART);
        s.wait_file("st", "2:<W2>\n");
        s.run(&RESTART);
        s.wait_file("st", "3:<W3>\n");
        s.run(&STOP);
        s.wait_exit();
    });
}

#[test]
fn restart_and_stop_by_the_other_program() {
    compare(|s| {
        s.start(&START);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.run_other(&RESTART);
        s.wait_file("st", "2:<W2>\n");
        s.run_other(&STOP);
        s.wait_exit();
    });
}

#[test]
fn restart_waits_for_the_end_of_the_old_worker() {
    compare(|s| {
        s.start(&[&START[..], &["G1=ign=TERM"]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        let restart = s.begin(&RESTART);
        s.wait_worker(2);
        s.wait_report(1, "got TERM");
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        assert!(s.is_running(&restart), "the old worker is still there");
        s.signal_worker(1, "USR1");
        s.end(restart);
        s.wait_file("st", "2:<W2>\n");
        s.signal("TERM");
        s.wait_exit();
    });
}

#[test]
fn stop_waits_for_the_end_of_the_superdaemon() {
    compare(|s| {
        s.start(&[&START[..], &["ign=TERM"]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        let stop = s.begin(&STOP);
        s.wait_report(1, "got TERM");
        assert!(s.is_running(&stop), "the superdaemon waits for its worker");
        s.signal_worker(1, "USR1");
        s.end(stop);
        s.wait_exit();
    });
}

#[test]
fn stop_in_the_first_interval() {
    compare(|s| {
        s.start(&[&["--interval=100"], &START[..]].concat());
        s.wait_worker(1);
        s.wait_file("pid", "<S>\n");
        s.run(&STOP);
        s.wait_exit();
    });
}

#[test]
fn after_a_crash() {
    compare(|s| {
        s.start(&START);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("KILL");
        s.wait_exit();
        s.run(&RESTART);
        s.run(&STOP);
    });
}

#[test]
fn missing_options_and_files() {
    compare(|s| {
        s.run(&["--restart"]);
        s.run(&["--restart", "--pid-file=pid"]);
        s.run(&["--restart", "--status-file=st"]);
        s.run(&["--restart", "--pid-file", "", "--status-file=st"]);
        s.run(&["--restart", "--pid-file=0", "--status-file=0"]);
        s.run(&RESTART);
        s.run(&["--stop"]);
        s.run(&["--stop", "--pid-file", "", "--status-file=st"]);
        s.run(&STOP);
        s.run(&["--stop", "--pid-file=no/such/dir/pid"]);
        // Nobody has this pid: it belonged to the superdaemon that ends here.
        s.start(&["--pid-file=pid", "--", "$PROBE"]);
        s.wait_worker(1);
        s.run(&RESTART);
        s.signal("TERM");
        s.wait_exit();
    });
}
