//! `--listen-fds`: workers get their listeners as a service manager would pass them. `deployments.rs` has servers that
//! understand this.

use super::stop;
use crate::harness::{Scenario, ours_alone};

/// Fails unless the variables of this worker are for its own pid, and have these values.
#[track_caller]
fn expect_hand_over(s: &Scenario, generation: usize, count: &str, names: &str) {
    let told = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].map(|name| s.worker_env(generation, name));
    let told = told.map(Option::unwrap_or_default);
    assert_eq!(told, [&format!("<W{generation}>"), count, names]);
    assert_eq!(s.worker_env(generation, "LISTEN_PIDFDID"), None, "it would tell of another process");
}

#[test]
fn every_generation_gets_them() {
    ours_alone(|s| {
        s.start(&[
            "--listen-fds",
            "--port=127.0.0.1:$PORT",
            "--port=$PORT2=4",
            "--port=u$PORT3",
            "--path=sock",
            "--",
            "$PROBE",
            "accept",
            "now",
        ]);
        for generation in 1..=3 {
            s.wait_worker(generation);
            s.wait_http("$PORT", &format!("generation {generation}"));
            s.wait_http("sock", &format!("generation {generation}"));
            expect_hand_over(s, generation, "4", "127.0.0.1_$PORT:$PORT2:$PORT3:sock");
            let names = "127.0.0.1:$PORT=3;$PORT2=4;$PORT3=5;sock=6";
            assert_eq!(s.worker_env(generation, "SERVER_STARTER_PORT").as_deref(), Some(names));
            if generation < 3 {
                s.signal("HUP");
            }
        }
        stop(s);
        assert_eq!(s.ls(), "");
    });
}

/// A worker that replaces one that has died or failed gets its own pid, too.
#[test]
fn successors_get_them() {
    ours_alone(|s| {
        let options = ["--listen-fds", "--port=$PORT", "--ready=notify", "--interval=0", "--status-file=st"];
        s.probe(&options, &["notify=READY=1", "now", "G2=exit=1"]);
        s.wait_file("st", "1:<W1>\n");
        s.signal_worker(1, "KILL");
        s.wait_line("new worker <W2> seems to have failed to start");
        s.wait_worker(3);
        for generation in 1..=3 {
            expect_hand_over(s, generation, "1", "$PORT");
        }
        stop(s);
    });
}

/// The superdaemon's own descriptors don't get in the way.
#[test]
fn with_everything_else_that_is_open() {
    for log in ["--log-file=log", "--log-file=| exec cat >log"] {
        ours_alone(|s| {
            let files = ["--daemonize", log, "--pid-file=pid", "--status-file=st", "--ready=notify"];
            let listeners = ["--listen-fds", "--port=$PORT", "--path=sock", "--port=127.0.0.1:$PORT2"];
            s.start(&[&files[..], &listeners, &["--", "$PROBE", "notify=READY=1", "now"]].concat());
            s.adopt_daemon("pid");
            for generation in [1, 2] {
                s.wait_worker(generation);
                s.wait_file("st", &format!("{generation}:<W{generation}>\n"));
                expect_hand_over(s, generation, "3", "$PORT:127.0.0.1_$PORT2:sock");
                let names = "$PORT=3;127.0.0.1:$PORT2=4;sock=5";
                assert_eq!(s.worker_env(generation, "SERVER_STARTER_PORT").as_deref(), Some(names));
                if generation == 1 {
                    s.signal("HUP");
                }
            }
            s.term();
        });
    }
}

/// The manager's names for its listeners stay. Its other variables were for the superdaemon.
#[test]
fn from_a_manager_to_a_worker() {
    ours_alone(|s| {
        s.prelude(
            "export LISTEN_PIDFDID=1; exec perl \"$FIXTURES/manager.pl\" web@tcp:127.0.0.1:$PORT local@unix:$DIR/sock -- \
             \"$0\" \"$@\"",
        );
        s.probe(&["--from-systemd", "--listen-fds", "--port=$PORT2"], &[]);
        expect_hand_over(s, 1, "3", "web:local:$PORT2");
        s.signal("HUP");
        s.wait_worker(2);
        expect_hand_over(s, 2, "3", "web:local:$PORT2");
        let names = "127.0.0.1:$PORT=3;$DIR/sock=4;$PORT2=5";
        assert_eq!(s.worker_env(2, "SERVER_STARTER_PORT").as_deref(), Some(names));
        stop(s);
    });
}

/// Variables that were meant for another process don't reach workers.
#[test]
fn variables_that_are_left_over() {
    ours_alone(|s| {
        for name in ["LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            s.env(name, "12");
        }
        s.probe(&["--listen-fds", "--port=$PORT"], &[]);
        expect_hand_over(s, 1, "1", "$PORT");
        stop(s);
    });
}

/// Listeners, and the complaint. Descriptor 4 is taken.
const REFUSED: [(&[&str], &str); 5] = [
    (&[], "--listen-fds: there is nothing to listen to"),
    (
        &["--port=127.0.0.1:$PORT", "--path=sock"],
        "--listen-fds: file descriptor 4 is needed for a listener, but is open already",
    ),
    (&["--path=sock", "--port=$PORT=4"], "--listen-fds: the file descriptor of this port must be 3, not 4:$PORT"),
    (
        &["--path=sock", "--port=127.0.0.1:$PORT=9"],
        "--listen-fds: the file descriptor of this port must be 3, not 9:127.0.0.1:$PORT",
    ),
    (&["--path=sock", "--port=$PORT=3", "--port=$PORT2=3"], "file descriptor 3 is requested more than once"),
];

#[test]
fn what_cannot_be_side_by_side_is_refused() {
    ours_alone(|s| {
        s.stale_socket("sock");
        s.write("pid", "4000000\n");
        let before = s.ls();
        s.prelude("exec 4</dev/null");
        for (listeners, complaint) in REFUSED {
            let options = ["--listen-fds", "--pid-file=pid", "--status-file=st"];
            let output = s.run(&[&options[..], listeners, &["--", "$PROBE"]].concat());
            assert_eq!(output.end, "exit 255");
            assert!(output.stderr.trim_end().ends_with(complaint), "{complaint}: {}", output.stderr);
            assert_eq!(s.ls(), before);
        }
        // One listener fits below descriptor 4.
        s.probe(&["--listen-fds", "--port=$PORT"], &[]);
        expect_hand_over(s, 1, "1", "$PORT");
        stop(s);
    });
}

/// The envdir can't set these variables for workers (`envdir-own-names`).
#[test]
fn names_in_the_envdir() {
    ours_alone(|s| {
        s.mkdir("env");
        for name in ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "NOTIFY_SOCKET"] {
            s.write(&format!("env/{name}"), "junk\n");
        }
        let options = ["--listen-fds", "--port=$PORT", "--ready=notify", "--envdir=env", "--status-file=st"];
        s.probe(&options, &["notify=READY=1", "now"]);
        for generation in 1..=2 {
            s.wait_file("st", &format!("{generation}:<W{generation}>\n"));
            expect_hand_over(s, generation, "1", "$PORT");
            s.signal("HUP");
        }
        s.wait_file("st", "3:<W3>\n");
        stop(s);
    });
}
