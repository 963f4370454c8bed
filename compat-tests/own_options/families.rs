//! What belongs to a worker, and ends with it, and what doesn't: whoever a worker has not started is left alone.

use crate::harness::ours_alone;

/// The group of which it was the leader is there, so that a signal for that reaches somebody, but not the worker.
#[test]
fn a_worker_that_has_left_its_group_is_stopped() {
    ours_alone(|s| {
        let worker = "if (!fork) { exec 'sleep', '1000' } setpgrp(0, getpgrp(getppid)); open my $f, '>', 'left'; close $f; \
                      exec 'sleep', '1000'";
        s.write("worker.pl", worker);
        s.start(&["--process-group", "--interval=0", "--", "perl", "worker.pl"]);
        s.wait("the worker", |s| s.path("left").exists());
        s.signal("TERM");
        assert_eq!(s.wait_exit(), "exit 0");
    });
}

/// A stopped process doesn't act on a signal; the whole group goes on with the worker.
#[test]
fn a_stopped_group_is_continued() {
    ours_alone(|s| {
        s.start(&["--process-group", "--interval=0", "--status-file=st", "--", "sh", "-c", "sleep 1000; exit 0"]);
        s.wait_file("st", "1:<W1>\n");
        let line = s.show("st");
        let said = s.said();
        assert!(said.contains("starting new worker"), "{line}");
        let status = std::fs::read_to_string(s.path("st")).expect("the status file");
        let worker: i32 = status.trim().rsplit_once(':').expect("a line").1.parse().expect("a pid");
        crate::harness::send(-worker, "STOP");
        s.signal("TERM");
        assert_eq!(s.wait_exit(), "exit 0");
    });
}
