//! `--ready=accepting`: listeners that a worker doesn't serve, although others rely on them.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::stop;
use super::upgrade::{FILES, install_ours, start, upgrade};
use crate::harness::{Scenario, ours_alone, send};

/// Serves the listeners whose indexes are in the file of its generation, or else in `all`.
const WORKER: [&str; 4] = [
    "--",
    "perl",
    "-e",
    "my @fds = $ENV{SERVER_STARTER_PORT} =~ /=(\\d+)(?:;|$)/g; \
     my ($file) = grep { -e } $ENV{SERVER_STARTER_GENERATION}, 'all'; open my $f, '<', $file or die; \
     my @sockets = map { open my $s, '+<&=', $fds[$_] or die; $s } split ' ', <$f>; \
     while (1) { my $bits = ''; vec($bits, fileno $_, 1) = 1 for @sockets; select $bits, undef, undef, undef; \
     for (@sockets) { if (vec $bits, fileno $_, 1) { accept my $c, $_; close $c } } }",
];
const LISTENERS: [&str; 2] = ["--port=127.0.0.1:$PORT", "--path=sock"];
const ACCEPTING: [&str; 4] = ["--ready=accepting", "--ready-timeout=3", "--interval=0", "--max-start-failures=1"];

fn options() -> Vec<&'static str> {
    [&FILES[..], &LISTENERS, &ACCEPTING, &WORKER].concat()
}

fn restart(s: &mut Scenario) -> (String, String) {
    let output = s.run(&["--restart", "--pid-file=pid", "--status-file=st"]);
    (output.end, output.stderr)
}

#[test]
fn a_worker_that_opens_a_listener_itself() {
    ours_alone(|s| {
        let worker = "use IO::Socket::INET; my $l = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1:0') \
                      or die; $l->accept while 1";
        s.start(&[&LISTENERS[..], &ACCEPTING, &["--", "perl", "-e", worker]].concat());
        assert_eq!(s.wait_exit(), "exit 125");
        let said = s.said();
        let expected = "\nit has failed: it is alive, but has not waited for a connection at a listener after 3 seconds; it \
                        listens to 127.0.0.1:";
        assert!(said.contains(expected) && said.contains(", which it has opened itself\n"), "{said}");
    });
}

/// A new version that doesn't serve a listener doesn't replace one that does.
#[test]
fn all_listeners_of_the_old_worker_have_to_be_served() {
    ours_alone(|s| {
        s.write("all", "0 1");
        s.write("2", "0");
        start(s, &options());
        s.wait_file("st", "1:<W1>\n");
        let (end, said) = restart(s);
        assert_eq!(end, "exit 125");
        let reason =
            "it has failed: it is alive, but has not waited for a connection at sock, where the old worker does, after";
        assert!(said.contains(reason), "{said}");
        assert_eq!(restart(s), ("exit 0".into(), String::new()));
        // The program after an upgrade knows which listeners the old worker serves, too.
        install_ours(s);
        upgrade(s);
        s.write("4", "1");
        let (end, said) = restart(s);
        assert!(end == "exit 125" && said.contains("has not waited for a connection at 127.0.0.1:"), "{end} {said}");
        stop(s);
    });
}

/// If no old worker is left, a new one that serves any listener is better than none.
#[test]
fn a_dead_worker_demands_nothing() {
    ours_alone(|s| {
        s.write("all", "0 1");
        s.write("2", "0");
        s.start(&options());
        s.wait_file("st", "1:<W1>\n");
        let status = std::fs::read_to_string(s.path("st")).expect("a status file");
        send(status.trim().trim_start_matches("1:").parse().expect("a pid"), "KILL");
        s.wait_file("st", "2:<W2>\n");
        stop(s);
    });
}

#[test]
fn a_listener_that_nobody_serves() {
    ours_alone(|s| {
        s.may_take_longer(Duration::from_secs(60));
        s.write("all", "1");
        s.start(&options());
        s.wait_file("st", "1:<W1>\n");
        let _waits = TcpStream::connect(("127.0.0.1", s.port())).expect("a listener");
        let _served = UnixStream::connect(s.path("sock")).expect("a listener");
        s.wait_line("connections wait at 127.0.0.1:$PORT for more than 10 seconds, and no worker accepts them");
        assert!(!s.said().contains("connections wait at sock"), "{}", s.said());
        stop(s);
    });
}
