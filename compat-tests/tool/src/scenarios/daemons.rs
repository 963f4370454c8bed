//! `--daemonize`.

use nix::unistd::Uid;

use crate::harness::compare;

scenarios! {
    "daemons.rs":
    a_daemon_leaves_its_launcher
    daemon_with_a_umask
    daemon_with_a_listener_on_stdin
    daemon_that_cannot_start
    daemon_whose_worker_fails
    daemon_that_waits_for_a_lock
    daemon_that_cannot_fork
}

/// LIFE-125 U8
fn a_daemon_leaves_its_launcher() {
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

/// LIFE-127: with relative names and a umask.
fn daemon_with_a_umask() {
    compare(|s| {
        s.prelude("umask 027");
        let files = ["--log-file=log", "--pid-file=pid", "--status-file=st", "--path=app.sock"];
        s.start(&[&["--daemonize"], &files[..], &["--", "$PROBE"]].concat());
        s.adopt_daemon("pid");
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.ls();
        s.term();
    });
}

/// LIFE-132: standard input is kept if it is a listener.
fn daemon_with_a_listener_on_stdin() {
    for port in ["--port=$PORT=0", "--port=$PORT=10"] {
        compare(|s| {
            s.start(&["--daemonize", "--log-file=log", "--pid-file=pid", port, "--", "$PROBE"]);
            s.adopt_daemon("pid");
            s.wait_worker(1);
            s.term();
        });
    }
}

/// LIFE-128: errors before the fork.
fn daemon_that_cannot_start() {
    compare(|s| {
        s.run(&["--daemonize", "--log-file=no/such/dir/log", "--pid-file=pid", "--", "$PROBE"]);
        s.run(&["--daemonize", "--log-file=log", "--port=192.0.2.1:$PORT", "--pid-file=pid", "--", "$PROBE"]);
    });
}

/// LIFE-129
fn daemon_whose_worker_fails() {
    compare(|s| {
        let options = ["--daemonize", "--log-file=log", "--pid-file=pid", "--interval=5", "--status-file=st"];
        s.start(&[&options[..], &["--", "$PROBE", "G1=exit=1"]].concat());
        s.adopt_daemon("pid");
        s.wait_worker(2);
        s.wait_file("st", "2:<W2>\n");
        s.term();
    });
}

/// LIFE-131: what the launcher does meanwhile is the divergence `daemonize-ready`.
fn daemon_that_waits_for_a_lock() {
    compare(|s| {
        let lock = s.lock("pid");
        s.start(&["--daemonize", "--log-file=log", "--pid-file=pid", "--", "$PROBE"]);
        s.wait_lock_is_wanted("pid", 1);
        s.show("log");
        drop(lock);
        s.adopt_daemon("pid");
        s.wait_worker(1);
        s.term();
    });
}

/// LIFE-128: a user who may have no other process. What it says goes to the log.
fn daemon_that_cannot_fork() {
    let as_nobody = if Uid::effective().is_root() { "setpriv --reuid=$port --regid=$port --clear-groups" } else { "" };
    compare(|s| {
        // The port is a number that nobody else uses. The program's own directory may be closed to others.
        let copy = format!("port={}; cp \"$0\" program; chmod 755 program; chmod 777 .", s.port());
        s.prelude(&format!("{copy}; exec prlimit --nproc=1 {as_nobody} ./program \"$@\""));
        s.run(&["--daemonize", "--log-file=log", "--pid-file=pid", "--", "sleep", "1000"]);
        s.remove("program");
    });
}
