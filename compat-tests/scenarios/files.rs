//! Logs, pid files, directories, environments and daemons.

use crate::harness::compare;

#[test]
fn log_file() {
    compare(|s| {
        s.write("log", "what was there before\n");
        s.start(&["--log-file=log", "--port=$PORT", "--", "$PROBE", "say=hello"]);
        s.wait_worker(1);
        s.signal_worker(1, "USR2");
        s.wait_line_in("log", "hello");
        s.signal("HUP");
        s.wait_line_in("log", "old worker <W1> died");
        s.wait_worker(2);
        s.signal("TERM");
        s.wait_exit();
        s.show("log");
    });
}

#[test]
fn log_through_a_shell_command() {
    compare(|s| {
        s.start(&["--log-file=| cat > out", "--pid-file=pid", "--", "$PROBE", "say=hello"]);
        s.wait_worker(1);
        s.signal_worker(1, "USR2");
        s.wait_line_in("out", "hello");
        s.signal("TERM");
        s.wait_exit();
        s.wait_line_in("out", "exiting");
        s.show("out");
    });
}

#[test]
fn log_through_a_command_of_words() {
    compare(|s| {
        s.start(&["--log-file= |tee  out ", "--", "$PROBE"]);
        s.wait_worker(1);
        s.signal("TERM");
        s.wait_exit();
        s.wait_line_in("out", "exiting");
        s.show("out");
    });
}

#[test]
fn logs_that_cannot_be_opened() {
    compare(|s| {
        s.mkdir("directory");
        s.run(&["--log-file=directory", "--port=$PORT", "--", "$PROBE"]);
        s.run(&["--log-file=no/such/dir/log", "--port=80x", "--", "$PROBE"]);
        s.run(&["--log-file=|no-such-command", "--", "$PROBE"]);
        s.run(&["--log-file=directory", "--pid-file=pid", "--status-file=st", "--path=app.sock", "--", "$PROBE"]);
    });
}

#[test]
fn pid_file_that_cannot_be_opened() {
    compare(|s| {
        s.mkdir("directory");
        s.run(&["--pid-file=directory", "--path=app.sock", "--", "$PROBE"]);
        s.run(&["--pid-file=no/such/dir/pid", "--", "$PROBE"]);
    });
}

#[test]
fn modes_of_files() {
    compare(|s| {
        s.prelude("umask 027");
        s.start(&["--pid-file=pid", "--status-file=st", "--log-file=log", "--path=app.sock", "--", "$PROBE"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.ls();
        s.signal("TERM");
        s.wait_exit();
    });
}

#[test]
fn false_names_mean_no_file() {
    compare(|s| {
        s.start(&["--pid-file=0", "--status-file", "", "--log-file=0", "--", "$PROBE"]);
        s.wait_worker(1);
        s.wait_line("starting new worker");
        s.ls();
        s.signal("TERM");
        s.wait_exit();
    });
}

#[test]
fn dir_is_the_workers_only() {
    compare(|s| {
        s.mkdir("sub");
        s.start(&["--dir=sub", "--pid-file=pid", "--status-file=st", "--path=app.sock", "--", "$PROBE"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.ls();
        s.signal("TERM");
        s.wait_exit();
    });
}

#[test]
fn envdir() {
    compare(|s| {
        s.mkdir("env");
        s.write("env/CHANGED", "old\nand a second line\n");
        s.write("env/REMOVED", "still there\n");
        s.write("env/EMPTY", "");
        s.write("env/BLANK", "\n");
        s.write("env/.HIDDEN", "x\n");
        s.write("env/INHERITED", "from the envdir");
        s.env("INHERITED", "from outside");
        s.env("EMPTY", "from outside");
        s.start(&["--envdir=env", "--status-file=st", "--", "$PROBE"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.write("env/CHANGED", "new\n");
        s.write("env/ADDED", "added = $DIR \n");
        s.remove("env/REMOVED");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_file("st", "2:<W2>\n");
        s.remove("env/ADDED");
        s.signal("HUP");
        s.wait_worker(3);
        s.wait_file("st", "3:<W3>\n");
        s.signal("TERM");
        s.wait_exit();
    });
}

#[test]
fn envdir_that_is_missing() {
    compare(|s| {
        s.start(&["--envdir=no/such/dir", "--", "$PROBE"]);
        s.wait_worker(1);
        s.signal("TERM");
        s.wait_exit();
    });
}

#[test]
fn envdir_and_kill_old_delay_from_the_environment() {
    compare(|s| {
        s.mkdir("env");
        s.write("env/FOO", "bar\n");
        s.env("ENVDIR", "env");
        s.env("KILL_OLD_DELAY", "1");
        s.start(&["--status-file=st", "--", "$PROBE"]);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_line("sleeping 1 secs before killing old workers");
        s.wait_worker(2);
        s.wait_line("old worker <W1> died");
        s.signal("TERM");
        s.wait_exit();
    });
}

#[test]
fn automatic_restart_from_the_environment() {
    compare(|s| {
        s.env("ENABLE_AUTO_RESTART", "1");
        s.env("AUTO_RESTART_INTERVAL", "4");
        s.env("KILL_OLD_DELAY", "0");
        s.start(&["--status-file=st", "--", "$PROBE", "G1=ign=TERM"]);
        s.wait_worker(1);
        s.wait_line("autorestart triggered (interval=4)");
        s.wait_worker(2);
        s.wait_report(1, "got TERM");
        s.signal_worker(1, "KILL");
        s.wait_line("old worker <W1> died");
        s.signal("TERM");
        s.wait_exit();
    });
}

#[test]
fn options_overwrite_the_environment() {
    compare(|s| {
        for name in ["ENVDIR", "ENABLE_AUTO_RESTART", "KILL_OLD_DELAY", "AUTO_RESTART_INTERVAL"] {
            s.env(name, "0");
        }
        let options = ["--envdir=.", "--enable-auto-restart", "--kill-old-delay=0_7", "--auto-restart-interval=+90"];
        s.start(&[&options[..], &["--", "$PROBE"]].concat());
        s.wait_worker(1);
        s.signal("TERM");
        s.wait_exit();
    });
}

#[test]
fn daemon() {
    compare(|s| {
        s.start(&[
            "--daemonize",
            "--log-file=log",
            "--pid-file=pid",
            "--status-file=st",
            "--path=app.sock",
            "--port=$PORT",
            "--",
            "$PROBE",
        ]);
        s.adopt_daemon("pid");
        s.wait_worker(1);
        s.wait_file("pid", "<D>\n");
        s.wait_file("st", "1:<W1>\n");
        s.ls();
        s.run(&["--restart", "--pid-file=pid", "--status-file=st"]);
        s.wait_worker(2);
        s.wait_file("st", "2:<W2>\n");
        s.run(&["--stop", "--pid-file=pid"]);
        s.wait_exit();
        s.show("log");
    });
}
