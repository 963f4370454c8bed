//! The container of `examples/kubernetes/deployment.yaml`, in namespaces of its own, and the answers of its probe.

use std::fs;
use std::net::TcpStream;

use nix::sys::signal::Signal;

use super::{run_beside, send, wait};
use crate::examples::{command_of_deployment, probe_of_deployment};
use crate::harness::{Scenario, ours_alone};
use crate::scenarios::launch::{as_pid_1, pid_outside};

/// Starts the container with other directories and another port. Its application starts only when there is a file `go`,
/// and fails while there is a file `bad`.
fn start(s: &mut Scenario) {
    as_pid_1(s, "exec \"$0\" \"$@\"");
    s.mkdir("env");
    s.write(
        "app.psgi",
        "die \"it is broken\\n\" if -e 'bad'; select undef, undef, undef, 0.05 until -e 'go'; sub { [200, [], ['hello']] }",
    );
    let command = command_of_deployment().into_iter().skip(1);
    let command: Vec<_> = command.map(|word| here(&word).replace("--port=8080", "--port=127.0.0.1:$PORT")).collect();
    s.start(&command.iter().map(String::as_str).collect::<Vec<_>>());
}

fn here(word: &str) -> String {
    word.replace("/run/app/", "").replace("/etc/app/", "")
}

/// Runs the probe in the namespaces of a process, and returns how it ended.
fn probe(pid_1: i32, s: &Scenario) -> String {
    let words: Vec<_> = probe_of_deployment().iter().skip(1).map(|word| here(word)).collect();
    run_beside(pid_1, s, &words.iter().map(String::as_str).collect::<Vec<_>>()).end
}

fn is_open(s: &Scenario) -> bool {
    TcpStream::connect(("127.0.0.1", s.port())).is_ok()
}

/// It fails before, although the port is open. When the worker is gone and can't be replaced, the container ends.
#[test]
fn the_probe_succeeds_while_a_worker_serves() {
    ours_alone(|s| {
        start(s);
        wait(s, "the port", |s| is_open(s));
        let pid_1 = pid_outside(s);
        wait(s, "a superdaemon that tells", |s| probe(pid_1, s) == "exit 150");
        s.write("go", "");
        wait(s, "a worker that serves", |s| probe(pid_1, s) == "exit 0");
        s.write("bad", "");
        let worker = children_of(pid_1)[0];
        send(worker, Signal::SIGKILL);
        wait(s, "the death to be noticed", |s| probe(pid_1, s) != "exit 0");
        never_ready_to_the_end(pid_1, s);
        assert_eq!(s.wait_exit(), "exit 125");
    });
}

#[test]
fn a_version_that_can_not_start_ends_the_container_and_is_never_ready() {
    ours_alone(|s| {
        s.write("bad", "");
        start(s);
        wait(s, "the first failure", |s| s.said().contains("it is broken"));
        let pid_1 = pid_outside(s);
        never_ready_to_the_end(pid_1, s);
        assert_eq!(s.wait_exit(), "exit 125");
    });
}

fn never_ready_to_the_end(pid_1: i32, s: &mut Scenario) {
    // When PID 1 has ended, unshare(1) has no child left for a moment, until it ends itself.
    let is_over = |s: &Scenario| children_of(s.superdaemon()).is_empty();
    wait(s, "the end", |s| is_over(s) || probe(pid_1, s) == "exit 0");
    assert!(is_over(s), "the probe succeeds");
}

fn children_of(pid: i32) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_ascii_whitespace().map(|pid| pid.parse().expect("a pid")).collect()
}
