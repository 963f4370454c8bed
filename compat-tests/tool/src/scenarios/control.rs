//! `--restart` and `--stop`, on the same program and across the two.

use nix::unistd::Uid;

use crate::harness::compare;

scenarios! {
    "control.rs":
    restart_and_stop_work
    restart_and_stop_by_the_other_program
    restart_waits_for_the_end_of_the_old_worker
    stop_waits_for_the_end_of_the_superdaemon
    stop_in_the_first_interval
    after_a_crash_there_is_nothing_to_tell
    missing_options_and_files_are_refused
    restart_in_the_first_interval
    restart_with_two_generations
    any_status_file_with_generations_will_do
    a_pid_file_must_hold_a_number
    two_stops_at_once_both_end
    a_stop_that_is_interrupted_has_sent_its_signal
    restart_and_stop_at_once
    files_that_may_not_be_opened
}

const START: [&str; 4] = ["--pid-file=pid", "--status-file=st", "--", "$PROBE"];
const RESTART: [&str; 3] = ["--restart", "--pid-file=pid", "--status-file=st"];
const STOP: [&str; 2] = ["--stop", "--pid-file=pid"];

/// LIFE-101 LIFE-114
fn restart_and_stop_work() {
    compare(|s| {
        s.start(&START);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.run(&RESTART);
        s.wait_worker(2);
        s.wait_file("st", "2:<W2>\n");
        s.run(&RESTART);
        s.wait_worker(3);
        s.wait_file("st", "3:<W3>\n");
        s.run(&STOP);
        s.wait_exit();
    });
}

/// LIFE-099
fn restart_and_stop_by_the_other_program() {
    compare(|s| {
        s.start(&START);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.run_other(&RESTART);
        s.wait_worker(2);
        s.wait_file("st", "2:<W2>\n");
        s.run_other(&STOP);
        s.wait_exit();
    });
}

/// LIFE-102
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
        s.term();
    });
}

/// LIFE-114
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

/// LIFE-117
fn stop_in_the_first_interval() {
    compare(|s| {
        s.start(&[&["--interval=1000"], &START[..]].concat());
        s.wait_worker(1);
        s.wait_file("pid", "<S>\n");
        s.run(&STOP);
        s.wait_exit();
    });
}

/// LIFE-112 LIFE-120
fn after_a_crash_there_is_nothing_to_tell() {
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

/// P5 LIFE-109 LIFE-112 LIFE-120
fn missing_options_and_files_are_refused() {
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
        s.probe(&["--pid-file=pid"], &[]);
        s.run(&RESTART);
        s.term();
    });
}

/// LIFE-108: nothing is sent as long as there is no status file.
fn restart_in_the_first_interval() {
    compare(|s| {
        s.start(&[&["--interval=1000"], &START[..]].concat());
        s.wait_worker(1);
        s.wait_file("pid", "<S>\n");
        s.run(&RESTART);
        s.term();
    });
}

/// LIFE-110: waits until only the new worker is left.
fn restart_with_two_generations() {
    compare(|s| {
        s.start(&[&START[..], &["G1=ign=TERM", "G2=ign=TERM"]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_report(1, "got TERM");
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        let restart = s.begin(&RESTART);
        s.wait_worker(3);
        s.wait_file("st", "1:<W1>\n2:<W2>\n3:<W3>\n");
        s.wait_report(1, "got TERM");
        s.wait_report(2, "got TERM");
        s.signal_worker(1, "KILL");
        s.wait_file("st", "2:<W2>\n3:<W3>\n");
        assert!(s.is_running(&restart), "an old worker is still there");
        s.signal_worker(2, "KILL");
        s.end(restart);
        s.term();
    });
}

/// The status file before `--restart`, while it waits, and when it is done. The superdaemon has none, so the
/// test writes it.
const STATUS_FILES: [(&str, &str, &str); 4] = [
    ("9:1\n10:2\n", "", "11:3\n"),
    ("foo\n007:1\n3:2\n", "7:1\n8:3\n", "8:3\nfoo:1\n :2\n"),
    ("7:1\n", "7:1\n", "008:3\n"),
    ("9:1\n", "9:1\n10:1\n", "10:1"),
];

/// LIFE-111 LIFE-112
fn any_status_file_with_generations_will_do() {
    compare(|s| {
        s.probe(&["--interval=0", "--pid-file=pid"], &[]);
        for ((before, meanwhile, after), generation) in STATUS_FILES.iter().zip(1..) {
            s.write("status", before);
            let restart = s.begin(&["--restart", "--pid-file=pid", "--status-file=status"]);
            s.wait_line(&format!("old worker <W{generation}> died"));
            s.wait_worker(generation + 1);
            s.write("status", meanwhile);
            assert!(s.is_running(&restart), "it isn't done");
            s.write("status", after);
            s.end(restart);
        }
        for content in ["", "\n", "foo\n", ":1\n", " 1:2\n"] {
            s.write("status", content);
            s.run(&["--restart", "--pid-file=pid", "--status-file=status"]);
        }
        s.term();
    });
}

/// Texts that are no number.
const NO_PIDS: [&str; 7] = ["\n", "abc\n", "12abc\n", "0x10\n", "1_000\n", " \n", "abc\ndef\n"];

/// LIFE-112 LIFE-120
fn a_pid_file_must_hold_a_number() {
    compare(|s| {
        s.write("st", "1:4000\n");
        for text in NO_PIDS {
            s.write("pid", text);
            s.run(&RESTART);
            // Its exit code is the divergence `errno-leftover`.
            let stop = s.run_unrecorded(&STOP).stderr;
            let line = text.lines().next().unwrap_or_default();
            assert!(
                stop.contains(&format!("stopping now (pid:{line})...\nCan't kill a non-numeric process ID")),
                "{stop}"
            );
        }
        for text in ["", "99999999999\n", "+99999999999", " 99999999999 \r\n"] {
            s.write("pid", text);
            s.run(&RESTART);
            s.run(&STOP);
        }
        s.mkdir("directory");
        s.run(&["--stop", "--pid-file=directory"]);
    });
}

/// LIFE-115
fn two_stops_at_once_both_end() {
    compare(|s| {
        s.start(&[&START[..], &["ign=TERM"]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        let first = s.begin(&STOP);
        s.wait_report(1, "got TERM");
        s.wait_lock_is_wanted("pid", 1);
        let second = s.begin(&STOP);
        s.wait_lock_is_wanted("pid", 2);
        s.signal_worker(1, "USR1");
        s.end(first);
        s.end(second);
        s.wait_exit();
    });
}

/// LIFE-116: it can be interrupted.
fn a_stop_that_is_interrupted_has_sent_its_signal() {
    compare(|s| {
        s.start(&[&START[..], &["ign=TERM"]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        let stop = s.begin(&STOP);
        s.wait_report(1, "got TERM");
        s.wait_lock_is_wanted("pid", 1);
        s.signal_command(&stop, "TERM");
        s.end(stop);
        s.signal_worker(1, "USR1");
        s.wait_exit();
    });
}

/// LIFE-119 P1
fn restart_and_stop_at_once() {
    compare(|s| {
        s.start(&START);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.run(&[&["--stop", "--version"], &RESTART[..]].concat());
        s.run(&[&["--stop"], &RESTART[..]].concat());
        s.wait_worker(2);
        s.wait_file("st", "2:<W2>\n");
        s.term();
    });
}

/// LIFE-112 LIFE-120 P5: files that may not be opened, by somebody who isn't root.
fn files_that_may_not_be_opened() {
    let as_nobody = if Uid::effective().is_root() { "setpriv --reuid=65534 --regid=65534 --clear-groups" } else { "" };
    compare(|s| {
        s.write("st", "1:4000\n");
        s.write("pid", "99999999999\n");
        // The program's own directory may be closed to others.
        let copy = "cp \"$0\" program; chmod 755 program";
        for modes in ["chmod 000 pid", "chmod 444 pid", "chmod 000 st"] {
            s.prelude(&format!("{copy}; {modes}; exec {as_nobody} ./program \"$@\""));
            s.run(&RESTART);
            s.run(&STOP);
        }
        s.remove("program");
    });
}
