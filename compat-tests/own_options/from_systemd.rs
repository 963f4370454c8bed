//! `--from-systemd`: listeners that a service manager has opened. `manager.pl` plays the manager.

use super::stop;
use crate::harness::{Scenario, compare, ours_alone};

/// Programs that are started from now on get these listeners, and find these variables already set.
fn hand_over(s: &mut Scenario, variables: &str, listeners: &str) {
    let variables = if variables.is_empty() { String::new() } else { format!("export {variables}; ") };
    s.prelude(&format!("{variables}exec perl \"$FIXTURES/manager.pl\" {listeners} -- \"$0\" \"$@\""));
}

#[test]
fn listeners_are_taken_over_and_stay() {
    ours_alone(|s| {
        let listeners = "tcp:127.0.0.1:$PORT tcp:0.0.0.0:$PORT2 udp:127.0.0.1:$PORT3 unix:$DIR/sock";
        hand_over(s, "", listeners);
        s.start(&["--from-systemd", "--path=own", "--status-file=st", "--", "$PROBE", "accept", "now"]);
        for generation in [1, 2] {
            s.wait_worker(generation);
            s.wait_file("st", &format!("{generation}:<W{generation}>\n"));
            let names = "127.0.0.1:$PORT=3;$PORT2=4;127.0.0.1:$PORT3=5;$DIR/sock=6;own=7";
            assert_eq!(s.worker_env(generation, "SERVER_STARTER_PORT").as_deref(), Some(names));
            for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
                assert_eq!(s.worker_env(generation, name), None, "{name}");
            }
            for listener in ["$PORT", "sock", "own"] {
                s.wait_http(listener, &format!("generation {generation}"));
            }
            if generation == 1 {
                s.signal("HUP");
            }
        }
        stop(s);
        assert_eq!(s.ls(), "sock socket 0755\n");
    });
}

/// The manager's listeners come first; those of the command line get the descriptors that it asks for.
#[test]
fn ports_beside_them() {
    ours_alone(|s| {
        hand_over(s, "", "web@tcp:127.0.0.1:$PORT");
        s.probe(&["--from-systemd", "--port=127.0.0.1:$PORT2=9", "--port=127.0.0.1:$PORT3"], &[]);
        let names = "127.0.0.1:$PORT=3;127.0.0.1:$PORT2=9;127.0.0.1:$PORT3=4";
        assert_eq!(s.worker_env(1, "SERVER_STARTER_PORT").as_deref(), Some(names));
        stop(s);
    });
}

#[test]
fn they_are_something_to_listen_to() {
    ours_alone(|s| {
        hand_over(s, "", "unix:$DIR/sock");
        let options = ["--from-systemd", "--ready=accepting", "--interval=0", "--status-file=st"];
        s.probe(&options, &["accept", "G1=now"]);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_http("sock", "generation 1");
        assert_eq!(s.show("st"), "1:<W1>\n");
        s.signal_worker(2, "USR2");
        s.wait_file("st", "2:<W2>\n");
        stop(s);
    });
}

/// The command of a log doesn't get the listeners. A daemon does, though its pid isn't `LISTEN_PID`.
#[test]
fn with_a_log_in_the_background() {
    ours_alone(|s| {
        hand_over(s, "", "tcp:127.0.0.1:$PORT");
        let log = "--log-file=| test -e /proc/self/fd/3 && echo open >fd-3 || echo closed >fd-3; exec cat >log";
        let options = ["--from-systemd", "--daemonize", log, "--pid-file=pid", "--status-file=st"];
        s.start(&[&options[..], &["--", "$PROBE", "accept", "now"]].concat());
        s.adopt_daemon("pid");
        s.wait_worker(1);
        s.wait_file("fd-3", "closed\n");
        assert_eq!(s.worker_env(1, "SERVER_STARTER_PORT").as_deref(), Some("127.0.0.1:$PORT=3"));
        s.wait_http("$PORT", "generation 1");
        s.term();
    });
}

/// Without the option, they are descriptors like any others, and the variables reach workers.
#[test]
fn without_the_option_nothing_is_taken() {
    compare(|s| {
        hand_over(s, "LISTEN_PID=1", "web@tcp:127.0.0.1:$PORT");
        s.probe(&[], &[]);
        assert_eq!(s.worker_env(1, "LISTEN_FDNAMES").as_deref(), Some("web"));
        assert_eq!(s.worker_env(1, "SERVER_STARTER_PORT").as_deref(), Some(""));
        s.term();
    });
}

/// The second half is the C library's text.
const NO_SOCKET: &str = if cfg!(target_env = "musl") {
    "file descriptor 4:Not a socket"
} else {
    "file descriptor 4:Socket operation on non-socket"
};

/// The manager's variables and listeners, further options, and the complaint.
const REFUSED: [(&str, &str, &str, &str); 11] = [
    ("LISTEN_PID=1", "unix:$DIR/sock", "", "the listeners were passed to another process: LISTEN_PID is 1"),
    ("LISTEN_PID=x", "unix:$DIR/sock", "", "the listeners were passed to another process: LISTEN_PID is x"),
    ("LISTEN_FDS=0", "unix:$DIR/sock", "", "LISTEN_FDS is not a positive number:0"),
    ("LISTEN_FDS=-1", "unix:$DIR/sock", "", "LISTEN_FDS is not a positive number:-1"),
    ("LISTEN_FDS=x", "unix:$DIR/sock", "", "LISTEN_FDS is not a positive number:x"),
    ("LISTEN_FDS=2", "unix:$DIR/sock", "", "file descriptor 4:Bad file descriptor"),
    (
        "LISTEN_FDNAMES=a:b",
        "unix:$DIR/sock",
        "",
        "LISTEN_FDNAMES and LISTEN_FDS don't have the same number of listeners",
    ),
    ("", "unix:$DIR/sock file:/dev/null", "", NO_SOCKET),
    ("", "unix:$DIR/sock", "--port=$PORT=3", "file descriptor 3 is requested more than once"),
    ("", "unix:$DIR/sock", "--path=sock", "there is a listener already at sock"),
    ("", "unix:$DIR/sock", "--path=$DIR/sock", "there is a listener already at $DIR/sock"),
];

#[test]
fn what_cannot_be_taken_over_is_refused() {
    ours_alone(|s| {
        for (variables, listeners, options, complaint) in REFUSED {
            hand_over(s, variables, listeners);
            let files = ["--pid-file=pid", "--path=own", "--", "$PROBE"];
            let options = options.split_whitespace();
            let output = s.run(&["--from-systemd"].into_iter().chain(options).chain(files).collect::<Vec<_>>());
            assert!(output.stderr.trim_end().ends_with(complaint), "{complaint}: {}", output.stderr);
            assert!(output.end == "exit 255" || complaint.contains("descriptor 4"), "{}", output.end);
            assert_eq!(s.ls(), "sock socket 0755\n", "{complaint}");
            s.remove("sock");
        }
    });
}
