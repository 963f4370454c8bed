//! What shows at once, where other scenarios wait until it is as it should be.

use crate::harness::compare;

scenarios! {
    "at_once.rs":
    status_file
    interval
    default_of_the_interval
}

/// Elsewhere the status file's content is waited for; here a wrong one shows at once.
fn status_file() {
    compare(|s| {
        s.start(&["--status-file=st", "--", "$PROBE", "G1=ign=TERM"]);
        s.wait_worker(1);
        s.wait_line_in("st", "");
        s.show("st");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_report(1, "got TERM");
        s.show("st");
        s.signal_worker(1, "KILL");
        s.wait_line("old worker <W1> died");
        s.signal("TERM");
        s.wait_exit();
    });
}

/// Elsewhere what comes after the interval is waited for; here it must not be there yet.
fn interval() {
    compare(|s| {
        s.start(&["--interval=100", "--status-file=st", "--", "$PROBE"]);
        s.wait_worker(1);
        s.wait_line("starting new worker");
        // Does nothing, but only when the superdaemon is at rest.
        s.signal("CONT");
        s.ls();
        s.signal("TERM");
        s.wait_exit();
    });
}

/// F1: a worker that ends after two seconds had started, as the interval is one second long.
fn default_of_the_interval() {
    compare(|s| {
        let worker = "[ $SERVER_STARTER_GENERATION != 1 ] || { sleep 2; exit 1; }; exec \"$@\"";
        s.start(&["--", "sh", "-c", worker, "sh", "$PROBE"]);
        s.wait_worker(2);
        s.term();
    });
}
