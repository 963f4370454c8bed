//! Our own options: `--ready`, `--approve` and `--listen-fds` with real servers, on ours alone.
//!
//! Versions take some time to start, and the interval is the default. With the interval alone, requests wait for a
//! worker that isn't serving yet; with the other values of `--ready`, the old one answers until the new one does. How
//! long a request waits depends on the machine, so only a minimum is checked. The log shows that no request waits for a
//! worker: each version logs that it has started.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::Duration;

use super::load::{Client, Figures};
use super::{APP, CLIENTS, Deployment, NEW_CLIENTS, STARLET, example, hups};
use crate::harness::{Scenario, ours_alone, target_directory};

const PLAIN: [&str; 2] = ["perl", "$FIXTURES/versioned_notify.pl"];
/// Makes any program take some time to start.
const SLOWLY: [&str; 3] =
    ["sh", "-c", "sleep ${START_UP:-0}; echo \"version $VERSION has started\" >&2; exec \"$0\" \"$@\""];

/// The deploys of a test.
struct Deploys<'a> {
    program: &'a [&'a str],
    options: &'a [&'a str],
    clients: &'a [Client],
    listener: &'a str,
    /// How many seconds each version but the first takes to start.
    start_up: u64,
    hups: u64,
    /// How many connections the server may drop by itself.
    dropped: u64,
}

impl<'a> Deploys<'a> {
    fn of(program: &'a [&'a str], options: &'a [&'a str], start_up: u64, hups: u64) -> Self {
        Self { program, options, clients: &CLIENTS, listener: "$PORT", start_up, hups, dropped: 0 }
    }

    /// Nothing is lost, and no old worker is told to leave before the new one has started.
    fn lose_nothing_and_wait_for_nobody(&self) {
        ours_alone(|s| {
            let figures = self.run(s);
            assert_eq!(starts_and_stops(s), starts_before_stops(figures.versions.len()));
        });
    }

    /// Nothing is lost, but requests wait for the part of the start that comes after the interval. Only half of that is
    /// required, since the superdaemon may be late.
    fn lose_nothing_but_wait(&self) {
        ours_alone(|s| {
            let figures = self.run(s);
            let gap = Duration::from_secs(self.start_up - 1);
            assert!(figures.longest_wait >= gap / 2, "{figures}");
        });
    }

    fn run(&self, s: &mut Scenario) -> Figures {
        let mut deployment = Deployment::begin(s, self.listener, self.clients, self.options, self.program);
        deployment.s.write("env/START_UP", &format!("{}\n", self.start_up));
        for _ in 0..self.hups {
            deployment.hup();
        }
        let figures = deployment.end();
        println!("{}: {figures}", thread::current().name().unwrap_or_default());
        let are_few = figures.dropped.len() as u64 <= self.dropped;
        assert!(figures.lost.is_empty() && figures.stale.is_empty() && are_few, "{figures}");
        figures
    }
}

/// The log's lines about the start of each version (only the first, as each process of a server may write one), and
/// about the stop signal for the version before.
fn starts_and_stops(s: &Scenario) -> Vec<String> {
    let mut lines = Vec::new();
    for line in s.said().lines().map(str::to_owned) {
        if line == "killing old workers" || line.ends_with(" has started") && !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

fn starts_before_stops(versions: usize) -> Vec<String> {
    let lines =
        (1..=versions).flat_map(|version| [format!("version {version} has started"), "killing old workers".into()]);
    // The first version has none before it to kill.
    lines.enumerate().filter(|(number, _)| *number != 1).map(|(_, line)| line).collect()
}

// --- the same deploys with each way of --ready

#[test]
fn interval_and_three_seconds() {
    Deploys::of(&STARLET, &["--ready=interval"], 3, 1).lose_nothing_but_wait();
}

#[test]
fn interval_and_ten_seconds() {
    Deploys::of(&STARLET, &["--ready=interval"], 10, 1).lose_nothing_but_wait();
}

#[test]
fn accepting_at_once() {
    Deploys::of(&STARLET, &["--ready=accepting"], 0, hups(10)).lose_nothing_and_wait_for_nobody();
}

#[test]
fn accepting_after_three_seconds() {
    Deploys::of(&STARLET, &["--ready=accepting"], 3, hups(2)).lose_nothing_and_wait_for_nobody();
}

#[test]
fn accepting_after_ten_seconds() {
    Deploys::of(&STARLET, &["--ready=accepting"], 10, 1).lose_nothing_and_wait_for_nobody();
}

fn deploy_plain(options: &[&str], start_up: u64, hups: u64) {
    let deploys = Deploys { clients: &NEW_CLIENTS, ..Deploys::of(&PLAIN, options, start_up, hups) };
    deploys.lose_nothing_and_wait_for_nobody();
}

#[test]
fn notify_at_once() {
    deploy_plain(&["--ready=notify"], 0, hups(20));
}

#[test]
fn notify_after_three_seconds() {
    deploy_plain(&["--ready=notify"], 3, hups(2));
}

#[test]
fn notify_after_ten_seconds() {
    deploy_plain(&["--ready=notify"], 10, 1);
}

// --- other servers that know nothing of --ready

/// This server touches no listener before it accepts.
#[test]
fn accepting_plain() {
    deploy_plain(&["--ready=accepting"], 3, 1);
}

/// Hyper waits for connections in epoll(7).
#[test]
fn accepting_rust_on_hyper() {
    let program = [&SLOWLY[..], &[example("hello_hyper")]].concat();
    Deploys::of(&program, &["--ready=accepting"], 3, 1).lose_nothing_and_wait_for_nobody();
}

// For QUIT, and the connections that Net::Server drops, see `deploy_net_server`.

/// Each process of Starman loads the app by itself.
#[test]
fn accepting_starman() {
    let program = ["starman", "-E", "deployment", "--workers=6", APP];
    let deploys = Deploys::of(&program, &["--ready=accepting", "--signal-on-hup=QUIT"], 3, 1);
    Deploys { dropped: 6, ..deploys }.lose_nothing_and_wait_for_nobody();
}

#[test]
fn accepting_net_server() {
    let program = ["perl", "$FIXTURES/versioned_prefork.pl"];
    let deploys = Deploys::of(&program, &["--ready=accepting", "--signal-on-hup=QUIT"], 3, 1);
    Deploys { clients: &NEW_CLIENTS, dropped: 8, ..deploys }.lose_nothing_and_wait_for_nobody();
}

/// A version that isn't approved is stopped, and the old one keeps answering. Nothing is lost then, nor with the next
/// version.
fn refuse_a_version(program: &[&str], options: &[&str]) {
    ours_alone(|s| {
        // The command waits for an answer, as a server that reports that it is ready may be starting processes that
        // can't be stopped yet.
        let approval = [
            "--approve=test \"$VERSION\" != 2 || ! until curl -s http://127.0.0.1:$PORT/ | grep -q 'version 2'; do :; done",
            "--max-start-failures=1",
        ];
        let mut deployment = Deployment::begin(s, "$PORT", &CLIENTS, &[&approval, options].concat(), program);
        deployment.publish_next();
        let output = deployment.s.run_unrecorded(&["--restart", "--pid-file=pid", "--status-file=st"]);
        assert_eq!(output.end, "exit 125", "{}", output.stderr);
        assert!(output.stderr.contains(" is not approved (exit 1)\n"), "{}", output.stderr);
        // Version 1 may still answer until the next deploy.
        deployment.load.retire_before(1);
        deployment.hup();
        let figures = deployment.stop();
        println!("{}: {figures}", thread::current().name().unwrap_or_default());
        assert!(figures.lost.is_empty() && figures.dropped.is_empty() && figures.stale.is_empty(), "{figures}");
        assert!(figures.versions.contains(&1) && figures.versions.contains(&3), "{figures}");
    });
}

#[test]
fn a_version_of_starlet_that_is_not_approved() {
    refuse_a_version(&STARLET, &["--ready=accepting"]);
}

#[test]
fn a_version_of_gunicorn_that_is_not_approved() {
    with_gunicorn(&["--threads=8"], |program| refuse_a_version(program, &["--listen-fds", "--ready=notify"]));
}

// --- servers that know nothing of Server::Starter

/// gunicorn itself reports when it is ready; with `--preload`, that is after the app was loaded.
fn deploy_gunicorn(listener: &str, clients: &[Client], start_up: u64, hups: u64, concurrency: &[&str]) {
    with_gunicorn(concurrency, |program| {
        let deploys = Deploys::of(program, &["--listen-fds", "--ready=notify"], start_up, hups);
        Deploys { clients, listener, ..deploys }.lose_nothing_and_wait_for_nobody();
    });
}

/// Calls `deploy` with gunicorn's command line.
fn with_gunicorn(concurrency: &[&str], deploy: impl FnOnce(&[&str])) {
    let python = target_directory().join("python/bin/python");
    assert!(python.is_file(), "gunicorn is missing: run scripts/install-oracle");
    // -B leaves no compiled files in the repository.
    let server =
        [python.to_str().expect("a path in UTF-8"), "-B", "-m", "gunicorn", "--preload", "--no-control-socket"];
    let examples = concat!("--chdir=", env!("CARGO_MANIFEST_DIR"), "/examples");
    deploy(&[&server[..], concurrency, &[examples, "hello_gunicorn:app"]].concat());
}

#[test]
fn gunicorn() {
    deploy_gunicorn("$PORT", &CLIENTS, 0, hups(3), &["--threads=8"]);
}

#[test]
fn gunicorn_after_three_seconds() {
    deploy_gunicorn("$PORT", &CLIENTS, 3, 1, &["--threads=8"]);
}

/// These workers are processes that answer one request per connection.
#[test]
fn gunicorn_on_a_unix_socket() {
    deploy_gunicorn("app.sock", &NEW_CLIENTS, 0, hups(3), &["--workers=4"]);
}

fn deploy_slowly(clients: &[Client], start_up: u64, hups: u64, program: &[&str]) {
    let program = [&SLOWLY, program].concat();
    let deploys = Deploys::of(&program, &["--listen-fds", "--ready=accepting"], start_up, hups);
    Deploys { clients, ..deploys }.lose_nothing_and_wait_for_nobody();
}

#[test]
fn node() {
    assert!(which::which("node").is_ok(), "node is missing: run scripts/install-oracle");
    deploy_slowly(&CLIENTS, 0, hups(5), &["node", concat!(env!("CARGO_MANIFEST_DIR"), "/examples/hello_node.js")]);
}

#[test]
fn rust_on_listenfd() {
    deploy_slowly(&NEW_CLIENTS, 0, hups(20), &[example("hello_listenfd")]);
}

/// A child of Starman's master that hangs in a request and ignores signals is ended with its master, and no longer
/// serves the old version.
#[test]
fn a_hung_child_of_starman_is_killed() {
    let app = "sub { if ($_[0]{PATH_INFO} eq '/hang') { $SIG{$_} = 'IGNORE' for qw(TERM QUIT INT HUP); \
               open my $file, '>', 'hangs'; sleep 1000 while 1 } \
               [200, [], [\"generation $ENV{SERVER_STARTER_GENERATION}\\n\"]] }\n";
    ours_alone(|s| {
        s.write("app.psgi", app);
        let options = ["--port=$PORT", "--status-file=st", "--kill-timeout=1", "--ready=accepting"];
        let signals = ["--signal-on-hup=QUIT", "--signal-on-term=QUIT", "--"];
        let starman = ["starman", "-E", "deployment", "--workers=3", "--error-log=error_log", "app.psgi"];
        s.start(&[&options[..], &signals, &starman].concat());
        s.wait_http("$PORT", "generation 1\n");
        let mut hung = TcpStream::connect((Ipv4Addr::LOCALHOST, s.port())).expect("a connection");
        hung.write_all(b"GET /hang HTTP/1.0\r\n\r\n").expect("a request");
        s.wait("the child that hangs", |s| s.path("hangs").exists());
        s.signal("HUP");
        s.wait_line("has not ended in time, sending KILL");
        s.wait_line("died, status:");
        for _ in 0..8 {
            assert_eq!(s.http_get("$PORT"), "generation 2\n");
        }
        assert_eq!(s.term(), "exit 0");
        for file in ["app.psgi", "hangs", "error_log"] {
            s.remove(file);
        }
    });
}
