//! Pid files, status files and directories.

use std::fs::File;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::harness::compare;

scenarios! {
    "files.rs":
    pid_file_that_cannot_be_opened
    files_have_the_modes_of_the_umask
    false_names_mean_no_file
    dir_is_the_workers_only
    second_start_after_a_crash
    files_of_an_earlier_run_are_replaced
    files_that_are_changed_are_written_again
    pid_file_that_somebody_deletes
    a_lock_of_another_program_is_waited_for
    a_death_does_not_end_the_wait_for_the_lock
    the_lock_is_of_flock
}

/// X2 X3 LIFE-089
fn pid_file_that_cannot_be_opened() {
    compare(|s| {
        s.mkdir("directory");
        s.run(&["--pid-file=directory", "--path=app.sock", "--", "$PROBE"]);
        s.run(&["--pid-file=no/such/dir/pid", "--", "$PROBE"]);
    });
}

/// LIFE-088
fn files_have_the_modes_of_the_umask() {
    compare(|s| {
        s.prelude("umask 027");
        s.serve(&["--pid-file=pid", "--log-file=log", "--path=app.sock"], &[]);
        s.ls();
        s.term();
    });
}

/// F4 L2
fn false_names_mean_no_file() {
    compare(|s| {
        s.probe(&["--pid-file=0", "--status-file", "", "--log-file=0"], &[]);
        s.wait_line("starting new worker");
        s.ls();
        s.term();
    });
}

/// D2 LIFE-016
fn dir_is_the_workers_only() {
    compare(|s| {
        s.mkdir("sub");
        s.serve(&["--dir=sub", "--pid-file=pid", "--path=app.sock"], &[]);
        s.ls();
        s.term();
    });
}

/// LIFE-084: the socket is still in use by the worker that is left. Nothing of the first superdaemon is touched.
fn second_start_after_a_crash() {
    compare(|s| {
        let options = ["--port=$PORT", "--path=app.sock", "--pid-file=pid", "--status-file=st", "--", "$PROBE"];
        s.start(&options);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("KILL");
        s.wait_exit();
        s.run(&options);
        s.ls();
    });
}

/// LIFE-087: the pid file keeps its mode, the status file is a new one.
fn files_of_an_earlier_run_are_replaced() {
    compare(|s| {
        s.write("pid", "99999999999\nsecond line\n");
        s.write("st", "1:99999\n7:88888\n");
        s.prelude("chmod 600 pid st");
        s.probe(&["--pid-file=pid", "--status-file=st"], &[]);
        s.wait_file("pid", "<S>\n");
        s.wait_file("st", "1:<W1>\n");
        s.ls();
        s.term();
    });
}

/// LIFE-094 LIFE-095: files that somebody deletes or writes to; the pid file is not looked at again, and removed all
/// the same.
fn files_that_are_changed_are_written_again() {
    compare(|s| {
        s.serve(&["--pid-file=pid"], &[]);
        s.remove("st");
        s.write("pid", "foo\n");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_file("st", "2:<W2>\n");
        s.remove("st");
        s.show("pid");
        s.term();
    });
}

/// X2: a pid file that somebody deletes.
fn pid_file_that_somebody_deletes() {
    compare(|s| {
        s.probe(&["--pid-file=pid"], &[]);
        s.remove("pid");
        s.term();
    });
}

/// LIFE-098: no worker before the lock is got; X2 LIFE-097: while it waits, any signal it knows ends it.
fn a_lock_of_another_program_is_waited_for() {
    compare(|s| {
        let lock = s.lock("pid");
        for signal in ["TERM", "HUP", "INT", "ALRM"] {
            s.start(&["--pid-file=pid", "--path=app.sock", "--status-file=st", "--", "$PROBE"]);
            s.wait_lock_is_wanted("pid", 1);
            s.signal(signal);
            s.wait_exit();
            s.ls();
        }
        s.start(&["--pid-file=pid", "--", "$PROBE"]);
        s.wait_lock_is_wanted("pid", 1);
        drop(lock);
        s.wait_worker(1);
        s.wait_file("pid", "<S5>\n");
        s.term();
    });
}

/// LIFE-098: the death of a child that was there before the start doesn't end the wait.
fn a_death_does_not_end_the_wait_for_the_lock() {
    compare(|s| {
        let lock = s.lock("pid");
        s.prelude("mkfifo go; (read -r line <go) & echo $! >child");
        s.start(&["--interval=1000", "--pid-file=pid", "--", "$PROBE"]);
        s.wait_lock_is_wanted("pid", 1);
        s.write("go", "line\n");
        s.wait_dead_process("child");
        s.remove("child");
        s.wait_lock_is_wanted("pid", 1);
        drop(lock);
        s.wait_worker(1);
        s.wait_file("pid", "<S>\n");
        s.signal("KILL");
        s.wait_exit();
    });
}

/// LIFE-099: the lock is flock(2)'s, exclusive, and the superdaemon's alone.
fn the_lock_is_of_flock() {
    compare(|s| {
        s.probe(&["--pid-file=pid"], &[]);
        s.wait_file("pid", "<S>\n");
        let file = File::open(s.path("pid")).expect("a pid file");
        let (file, errno) = Flock::lock(file, FlockArg::LockSharedNonblock).expect_err("a lock that is held");
        assert_eq!(errno, Errno::EWOULDBLOCK);
        s.signal("KILL");
        s.wait_exit();
        assert!(Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok(), "the worker doesn't hold it");
    });
}
