//! A log that nobody reads for a while: by the row `blocked-log`, lines that don't fit into the pipe are lost.

use std::fs;

use start_server_compat::divergences::FILL;

use crate::harness::{Scenario, ours_alone};

/// When somebody reads again, the log says how many lines were lost.
#[test]
fn blocked_log_that_is_read_again() {
    ours_alone(|s| {
        s.env("FILL", FILL);
        let log = "--log-file=| while ! [ -e read ]; do sleep 0.1; done; exec cat > log";
        let worker = ["sh", "-c", "[ $SERVER_STARTER_GENERATION != 1 ] || perl -e \"$FILL\"; exec \"$@\"", "sh"];
        s.start(&[&["--interval=0", log, "--pid-file=pid", "--"], &worker[..], &["$PROBE"]].concat());
        s.wait_worker(1);
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_dead(1);
        s.write("read", "");
        let drained = |s: &mut Scenario| fs::metadata(s.path("log")).is_ok_and(|log| log.len() > 1 << 15);
        s.wait("what was in the pipe", drained);
        s.signal("TERM");
        assert_eq!(s.wait_exit(), "exit 0");
        s.wait_line_in("log", " lines are lost, as nobody was reading this log");
        s.wait_line_in("log", "received TERM, sending TERM to all workers:");
        s.wait_line_in("log", "exiting");
    });
}
