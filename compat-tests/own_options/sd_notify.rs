//! `--sd-notify`: the messages to a service manager, which the test plays.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::stop;
use crate::harness::{Scenario, beside, compare, ours_alone, send};

const START: [&str; 4] = ["--sd-notify", "--status-file=st", "--", "$PROBE"];

/// The manager's socket. Programs that are started from now on know of it.
struct Manager(UnixDatagram);

impl Manager {
    fn at_path(s: &mut Scenario) -> Self {
        s.env("NOTIFY_SOCKET", "$DIR/manager");
        Self(UnixDatagram::bind(s.path("manager")).expect("a socket"))
    }

    fn at_abstract_address(s: &mut Scenario) -> Self {
        // The scenario's directory makes the name unique.
        let name = s.path("manager").display().to_string();
        s.env("NOTIFY_SOCKET", &format!("@{name}"));
        let address = SocketAddr::from_abstract_name(name).expect("a name that isn't too long");
        Self(UnixDatagram::bind_addr(&address).expect("a socket"))
    }

    /// Waits for the next datagram.
    fn hear(&self, s: &Scenario) -> String {
        let mut buffer = [0; 4096];
        self.0.set_read_timeout(Some(Duration::from_secs(120))).expect("a timeout");
        let length = self.0.recv(&mut buffer).unwrap_or_else(|error| panic!("nothing is said: {error}"));
        s.with_symbols(std::str::from_utf8(&buffer[..length]).expect("UTF-8"))
    }

    #[track_caller]
    fn expect(&self, s: &Scenario, messages: &[&str]) {
        for message in messages {
            assert_eq!(self.hear(s), *message);
        }
    }

    fn expect_workers(&self, s: &Scenario, workers: &str) {
        assert_eq!(self.hear(s), format!("STATUS=workers, as GENERATION:PID: {workers}\n"));
    }

    /// Expects the message that a restart has begun, after `begin`.
    fn expect_reloading(&self, s: &Scenario, begin: Duration) {
        let message = self.hear(s);
        let time = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&message);
        let time: u128 = time.trim_end().parse().expect("microseconds");
        assert!(time >= begin.as_micros(), "{time} is before {}", begin.as_micros());
    }

    /// Fails if there is another message.
    fn expect_silence(&self) {
        self.0.set_nonblocking(true).expect("a socket");
        let mut buffer = [0; 4096];
        assert!(self.0.recv(&mut buffer).is_err(), "something has been said: {}", buffer.escape_ascii());
    }
}

fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock").into()
}

#[test]
fn starts_restarts_and_the_end_are_told() {
    for open in [Manager::at_path, Manager::at_abstract_address] {
        ours_alone(|s| {
            let manager = open(s);
            s.start(&START);
            s.wait_worker(1);
            manager.expect_workers(s, "1:<W1>");
            manager.expect(s, &["READY=1\n"]);
            for generation in [2, 3] {
                let begin = now();
                s.signal("HUP");
                manager.expect_reloading(s, begin);
                let (old, new) = (generation - 1, generation);
                s.wait_worker(generation);
                manager.expect_workers(s, &format!("{old}:<W{old}> {new}:<W{new}>"));
                // This comes only when the old worker has ended.
                manager.expect(s, &[&format!("READY=1\nSTATUS=workers, as GENERATION:PID: {new}:<W{new}>\n")]);
            }
            stop(s);
            manager.expect(s, &["STOPPING=1\n"]);
            manager.expect_workers(s, "");
            manager.expect_silence();
            assert_eq!(s.worker_env(1, "NOTIFY_SOCKET"), None);
            assert_eq!(s.worker_env(3, "NOTIFY_SOCKET"), None);
        });
    }
}

/// The interval is five seconds, so that the worker is dead by its end even on a slow machine.
#[test]
fn ready_is_told_when_a_worker_has_started() {
    ours_alone(|s| {
        let manager = Manager::at_path(s);
        s.start(&[&["--interval=5"], &START[..], &["G1=exit=1"]].concat());
        s.wait_line("new worker <W1> seems to have failed to start");
        manager.expect_silence();
        s.wait_worker(2);
        manager.0.set_nonblocking(false).expect("a socket");
        manager.expect_workers(s, "2:<W2>");
        manager.expect(s, &["READY=1\n"]);
        stop(s);
    });
}

/// A manager that waits for the end of a reload must not wait for ever.
#[test]
fn a_restart_that_is_given_up_is_over() {
    ours_alone(|s| {
        let manager = Manager::at_path(s);
        let options = ["--ready=notify", "--max-start-failures=2"];
        s.start(&[&options[..], &START, &["notify=READY=1", "now", "G2+=exit=1"]].concat());
        s.wait_worker(1);
        manager.expect_workers(s, "1:<W1>");
        manager.expect(s, &["READY=1\n"]);
        let begin = now();
        s.signal("HUP");
        manager.expect_reloading(s, begin);
        manager.expect_workers(s, "1:<W1>");
        manager.expect(s, &["READY=1\n"]);
        s.wait_line("giving up the restart, the old worker keeps running");
        // The worker's message went to a socket of its own.
        assert_ne!(s.notify_socket(1), s.path("manager"));
        stop(s);
        manager.expect(s, &["STOPPING=1\n"]);
    });
}

#[test]
fn a_first_start_that_is_given_up_is_never_ready() {
    ours_alone(|s| {
        let manager = Manager::at_path(s);
        s.start(&[&["--ready=notify", "--max-start-failures=1"], &START[..], &["exit=1"]].concat());
        assert_eq!(s.wait_exit(), "exit 125");
        manager.expect_silence();
    });
}

/// An old worker that ignores TERM may never end, so the reload is over after five seconds, though that worker may
/// still answer.
#[test]
fn a_reload_is_over_though_an_old_worker_stays() {
    ours_alone(|s| {
        let manager = Manager::at_path(s);
        s.start(&[&START[..], &["G1=ign=TERM"]].concat());
        s.wait_worker(1);
        manager.expect_workers(s, "1:<W1>");
        manager.expect(s, &["READY=1\n"]);
        let begin = now();
        s.signal("HUP");
        manager.expect_reloading(s, begin);
        s.wait_worker(2);
        manager.expect_workers(s, "1:<W1> 2:<W2>");
        manager.expect(s, &["READY=1\n"]);
        assert!(now() >= begin + Duration::from_secs(5));
        s.signal_worker(1, "KILL");
        manager.expect_workers(s, "2:<W2>");
        stop(s);
    });
}

/// TERM comes while a restart waits for its new worker.
#[test]
fn a_shutdown_ends_a_reload() {
    ours_alone(|s| {
        let manager = Manager::at_path(s);
        s.start(&[&["--ready=notify"], &START[..], &["notify=READY=1", "G1=now"]].concat());
        s.wait_worker(1);
        manager.expect_workers(s, "1:<W1>");
        manager.expect(s, &["READY=1\n"]);
        let begin = now();
        s.signal("HUP");
        manager.expect_reloading(s, begin);
        s.wait_worker(2);
        stop(s);
        let mut heard = String::new();
        while !heard.contains("STOPPING=1\n") {
            heard += &manager.hear(s);
        }
        assert!(heard.ends_with("READY=1\nSTOPPING=1\n"), "{heard}");
    });
}

/// It is up to the manager to listen.
#[test]
fn a_manager_that_is_not_there_is_no_error() {
    ours_alone(|s| {
        s.env("NOTIFY_SOCKET", "$DIR/nobody");
        s.start(&START);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        stop(s);
        s.env("NOTIFY_SOCKET", "");
        assert_eq!(s.run(&["--sd-notify", "--", "sh", "-c", "kill -TERM $PPID"]).end, "exit 0");
    });
}

/// The queue of a manager that never reads becomes full, and nothing waits for it.
#[test]
fn a_manager_that_does_not_read_is_not_waited_for() {
    ours_alone(|s| {
        let _manager = Manager::at_path(s);
        s.start(&[&["--interval=0"], &START[..]].concat());
        for generation in 1..=20 {
            s.wait_worker(generation);
            s.wait_file("st", &format!("{generation}:<W{generation}>\n"));
            s.signal("HUP");
        }
        s.wait_worker(21);
        s.wait_file("st", "21:<W21>\n");
        stop(s);
    });
}

/// Without the option, the variable is like any other: workers get it, and the superdaemon sends nothing.
#[test]
fn without_the_option_it_is_no_business_of_the_superdaemon() {
    compare(|s| {
        let manager = Manager::at_path(s);
        s.serve(&[], &[]);
        s.signal("HUP");
        s.wait_line("old worker <W1> died");
        s.wait_worker(2);
        assert_eq!(s.worker_env(2, "NOTIFY_SOCKET").as_deref(), Some("$DIR/manager"));
        s.term();
        manager.expect_silence();
    });
}

// --- listeners that the manager keeps

/// Starts a superdaemon under a manager that restarts it when it is killed.
fn start_with_store(s: &mut Scenario, args: &[&str]) {
    s.mkdir("manager");
    s.prelude("exec perl $FIXTURES/store.pl manager \"$0\" \"$@\"");
    s.start(&[&["--sd-notify", "--from-systemd"], args].concat());
    s.prelude("");
}

fn kept_superdaemon(s: &Scenario) -> Option<i32> {
    std::fs::read_to_string(s.path("manager/pid")).ok()?.trim().parse().ok()
}

/// Kills the superdaemon and its worker, as systemd kills a whole service.
fn kill_all(s: &mut Scenario, generation: usize) {
    s.wait("the worker", |s| std::fs::read_to_string(s.path("st")).is_ok_and(|status| status.ends_with('\n')));
    let status = std::fs::read_to_string(s.path("st")).unwrap();
    let worker: i32 = status.trim().split_once(':').unwrap().1.parse().unwrap();
    assert!(status.starts_with(&format!("{generation}:")), "{status}");
    let before = kept_superdaemon(s).unwrap();
    send(before, "KILL");
    send(worker, "KILL");
    s.wait("another superdaemon", |s| kept_superdaemon(s).is_some_and(|pid| pid != before));
}

#[test]
fn a_superdaemon_that_is_killed_loses_no_connection() {
    ours_alone(|s| {
        s.may_take_longer(Duration::from_secs(60));
        let listeners = ["--port=127.0.0.1:$PORT", "--path=sock", "--port=127.0.0.1:u$PORT", "--interval=0"];
        let worker = ["--pid-file=pid", "--status-file=st", "--", "perl", "$FIXTURES/three_ways.pl"];
        start_with_store(s, &[&listeners[..], &worker].concat());
        s.wait_http("$PORT", "version 1");
        // A worker that is killed loses the requests that it has accepted; these clients have only connected.
        for _ in 0..5 {
            kill_all(s, 1);
            let before = std::time::Instant::now();
            for listener in ["$PORT", "sock"] {
                s.wait_http(listener, "version 1");
            }
            let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            udp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            udp.connect(("127.0.0.1", s.port())).unwrap();
            udp.send(b"?").unwrap();
            udp.recv(&mut [0; 100]).expect("an answer");
            println!("back after {:?}", before.elapsed());
        }
        // There is a listener at any moment, so connect(2) never fails.
        let refused = std::sync::atomic::AtomicUsize::new(0);
        let (port, path) = (s.port(), s.path("sock"));
        let client = || {
            let tcp = std::net::TcpStream::connect(("127.0.0.1", port)).is_err();
            let unix = std::os::unix::net::UnixStream::connect(&path).is_err();
            refused.fetch_add(usize::from(tcp) + usize::from(unix), std::sync::atomic::Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(2));
        };
        beside(client, || {
            for _ in 0..5 {
                kill_all(s, 1);
                s.wait_http("$PORT", "version 1");
            }
        });
        assert_eq!(refused.into_inner(), 0);
        let log = std::fs::read_to_string(s.path("manager/log")).unwrap();
        let names =
            ["127.0.0.1_$PORT", "sock", "udp-127.0.0.1_$PORT"].map(|name| name.replace("$PORT", &port.to_string()));
        for name in names {
            assert!(log.contains(&format!("FDSTORE=1 FDNAME=start_server-{name}\n")), "{log}");
        }
        s.wait_http("$PORT", "version 1");
        send(kept_superdaemon(s).unwrap(), "TERM");
        assert_eq!(s.wait_exit(), "exit 0");
        let log = std::fs::read_to_string(s.path("manager/log")).unwrap();
        assert!(log.contains("FDSTOREREMOVE=1 FDNAME=start_server-sock\n") && !s.path("sock").exists(), "{log}");
    });
}

/// The listeners get the numbers that they had before.
#[test]
fn kept_listeners_have_the_same_numbers() {
    ours_alone(|s| {
        let options = [
            "--port=127.0.0.1:$PORT=7",
            "--port=127.0.0.1:$PORT2",
            "--port=127.0.0.1:$PORT3=100",
            "--interval=0",
            "--status-file=st",
        ];
        start_with_store(s, &[&options[..], &["--", "$PROBE"]].concat());
        s.wait_worker(1);
        let ports = s.worker_env(1, "SERVER_STARTER_PORT");
        let first = s.worker_pid(1);
        kill_all(s, 1);
        s.wait("the next worker", |s| s.reported().iter().any(|&(_, pid)| pid != first));
        s.wait_worker(1);
        assert_eq!(s.worker_env(1, "SERVER_STARTER_PORT"), ports);
        assert_eq!(s.worker_env(1, "LISTEN_FDS"), None);
        send(kept_superdaemon(s).unwrap(), "TERM");
        assert_eq!(s.wait_exit(), "exit 0");
    });
}

/// The manager holds listeners, but isn't taken for a process that a worker has left behind.
#[test]
fn a_manager_that_keeps_listeners_is_left_alone() {
    ours_alone(|s| {
        let options = ["--port=127.0.0.1:$PORT", "--interval=0", "--max-start-failures=2", "--ready=accepting"];
        start_with_store(s, &[&options[..], &["--", "false"]].concat());
        assert_eq!(s.wait_exit(), "exit 125");
        assert!(!s.said().contains("still hold"), "{}", s.said());
    });
}

/// The first worker is started and the last one stopped without delay. All messages about what the manager should keep
/// or forget share one deadline.
#[test]
fn a_manager_that_does_not_read_costs_one_deadline() {
    ours_alone(|s| {
        let manager = Manager::at_path(s);
        let full = UnixDatagram::unbound().expect("a socket");
        full.set_nonblocking(true).expect("a socket");
        while full.send_to(b"X=1", s.path("manager")).is_ok() {}
        let begin = std::time::Instant::now();
        let paths = ["--path=a", "--path=b", "--path=c", "--path=d", "--path=e", "--path=f"];
        s.start(&[&["--sd-notify", "--from-systemd", "--interval=0"], &paths[..], &["--", "$PROBE"]].concat());
        s.wait_worker(1);
        s.signal("TERM");
        s.wait_report(1, "got TERM");
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        assert_eq!(s.wait_exit(), "exit 0");
        assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
        drop(manager);
    });
}

/// A unit with `WatchdogSec=` keeps running while the superdaemon works.
#[test]
fn the_watchdog_is_fed() {
    ours_alone(|s| {
        let manager = Manager::at_path(s);
        s.env("WATCHDOG_USEC", "1000000");
        let begin = std::time::Instant::now();
        s.start(&["--sd-notify", "--interval=0", "--", "$PROBE"]);
        s.wait_worker(1);
        assert_eq!(s.worker_env(1, "WATCHDOG_USEC"), None);
        let mut count = 0;
        while count < 4 {
            count += usize::from(manager.hear(s) == "WATCHDOG=1\n");
        }
        assert!(begin.elapsed() > Duration::from_secs(1), "{:?}", begin.elapsed());
        stop(s);
    });
}
