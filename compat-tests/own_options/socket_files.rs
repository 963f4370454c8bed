//! A socket whose file is removed (`path-gone`), with options of ours, upgrades and take-overs.

use std::fs;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::stop;
use super::upgrade::{FILES, WORKER, install_ours, start, upgrade};
use crate::harness::{Scenario, beside, original_alone, ours_alone, send};

const RESTART: [&str; 3] = ["--restart", "--pid-file=pid", "--status-file=st"];

fn restart(s: &mut Scenario) {
    let output = s.run(&RESTART);
    assert_eq!((output.end.as_str(), output.stderr.as_str()), ("exit 0", ""), "{}", s.said());
}

fn hidden_links(s: &Scenario) -> usize {
    let names = fs::read_dir(s.path(".")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.as_encoded_bytes().starts_with(b".sock")).count()
}

/// A worker is ready only when it waits at the new socket.
#[test]
fn ready_at_a_socket_that_is_new() {
    ours_alone(|s| {
        let options = ["--path=sock", "--ready=accepting", "--interval=0", "--kill-timeout=5"];
        s.start(&[&FILES[..], &options, &["--", "$PROBE", "accept", "now"]].concat());
        s.wait_http("sock", "generation 1");
        s.wait_file("st", "1:<W1>\n");
        for generation in 2..4 {
            s.remove("sock");
            restart(s);
            assert_eq!(s.http_get("sock"), format!("generation {generation}\n"));
        }
        stop(s);
        assert!(!s.path("sock").exists());
    });
}

/// A worker that dies is replaced by one that clients can reach.
#[test]
fn a_death_mends_it() {
    ours_alone(|s| {
        s.serve(&["--path=sock", "--interval=0"], &["accept", "now"]);
        s.remove("sock");
        s.signal_worker(1, "KILL");
        s.wait_http("sock", "generation 2");
        stop(s);
    });
}

/// Several deploys of workers that remove the file, while nine in ten clients can connect.
#[test]
fn under_load() {
    ours_alone(|s| {
        s.may_take_longer(Duration::from_secs(60));
        let worker = "my ($fd) = $ENV{SERVER_STARTER_PORT} =~ /=(\\d+)$/; open my $l, '+<&=', $fd or die; \
            $SIG{TERM} = sub { unlink 'sock'; exit }; while (1) { accept my $c, $l or next; close $c }";
        s.start(&[&FILES[..], &["--path=sock", "--interval=1", "--", "perl", "-e", worker]].concat());
        s.wait_file("st", "1:<W1>\n");
        let (lost, all) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let path = s.path("sock");
        let client = || {
            lost.fetch_add(usize::from(UnixStream::connect(&path).is_err()), Ordering::Relaxed);
            all.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(1));
        };
        beside(client, || (0..4).for_each(|_| restart(s)));
        let (lost, all) = (lost.into_inner(), all.into_inner());
        println!("{lost} of {all} lost");
        assert!(lost * 10 < all, "{lost} of {all} lost");
        assert_eq!(hidden_links(s), 0);
        stop(s);
    });
}

/// The hidden link is kept until the old worker has ended, also across upgrades.
#[test]
fn an_upgrade_while_a_worker_ends() {
    ours_alone(|s| {
        start(s, &[&FILES[..], &["--path=sock", "--interval=0"], &WORKER, &["G1=ign=TERM"]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_report(1, "got TERM");
        assert_eq!(hidden_links(s), 1);
        install_ours(s);
        upgrade(s);
        s.remove("sock");
        s.wait("the file", |s| s.path("sock").exists());
        s.signal_worker(1, "KILL");
        s.wait_file("st", "2:<W2>\n");
        s.wait("the end of the link", |s| hidden_links(s) == 0);
        // The next program knows the new socket.
        s.remove("sock");
        restart(s);
        install_ours(s);
        upgrade(s);
        assert!(UnixStream::connect(s.path("sock")).is_ok());
        stop(s);
        assert!(!s.path("sock").exists() && hidden_links(s) == 0);
    });
}

/// The file is removed before the take-over.
#[test]
fn a_take_over() {
    original_alone(|s| {
        s.start(&[&FILES[..], &["--path=sock", "--interval=0"], &WORKER].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.remove("sock");
        s.wait_rest();
        assert_eq!(s.run_other(&["--take-over", "--pid-file=pid"]).end, "exit 0", "{}", s.said());
        assert_eq!(s.run_other(&RESTART).end, "exit 0", "{}", s.said());
        assert!(UnixStream::connect(s.path("sock")).is_ok());
        stop(s);
        assert!(!s.path("sock").exists());
    });
}

/// The service manager gets the new socket, and passes it to the next superdaemon.
#[test]
fn a_manager_that_keeps_listeners() {
    ours_alone(|s| {
        s.mkdir("manager");
        s.prelude("exec perl $FIXTURES/store.pl manager \"$0\" \"$@\"");
        let options = ["--sd-notify", "--from-systemd", "--path=sock", "--interval=0"];
        s.start(&[&options[..], &FILES, &["--", "perl", "$FIXTURES/httpd.pl"]].concat());
        s.prelude("");
        s.wait_http("sock", "hello from generation 1");
        let superdaemon = |s: &Scenario| fs::read_to_string(s.path("manager/pid")).ok()?.trim().parse::<i32>().ok();
        let first = superdaemon(s).unwrap();
        s.remove("sock");
        restart(s);
        let log = fs::read_to_string(s.path("manager/log")).unwrap();
        let stored = "FDSTOREREMOVE=1 FDNAME=start_server-sock\nFDSTORE=1 FDNAME=start_server-sock\n";
        assert!(log.contains(stored), "{log}");
        let worker: i32 = s.show("st").trim().split_once(':').unwrap().1.parse().unwrap_or(0);
        send(first, "KILL");
        if worker > 0 {
            send(worker, "KILL");
        }
        s.wait("another superdaemon", |s| superdaemon(s).is_some_and(|pid| pid != first));
        s.wait_http("sock", "hello from generation 1");
        send(superdaemon(s).unwrap(), "TERM");
        assert_eq!(s.wait_exit(), "exit 0");
    });
}

/// If a new socket can't be made, the log says so once, and each start tries again.
#[test]
fn a_directory_that_is_gone() {
    ours_alone(|s| {
        s.mkdir("run");
        s.serve(&["--path=run/sock", "--interval=0"], &["accept", "now"]);
        fs::remove_dir_all(s.path("run")).unwrap();
        for generation in 2..5 {
            s.signal("HUP");
            s.wait_line(&format!("old worker <W{}> died", generation - 1));
            s.wait_worker(generation);
        }
        s.mkdir("run");
        s.signal("HUP");
        s.wait_http("run/sock", "generation 5");
        let said = s.said();
        let line = "the socket file run/sock is gone, and no client can connect: failed to listen to file run/sock:No \
                    such file or directory\n";
        assert_eq!(said.matches(line).count(), 1, "{said}");
        assert_eq!(said.matches("the socket file run/sock is gone, the next worker gets a new one\n").count(), 1);
        stop(s);
    });
}

#[test]
fn no_descriptor_is_left_for_it() {
    ours_alone(|s| {
        // The worker gets a higher limit, as it needs more descriptors.
        let worker = ["--", "sh", "-c", "ulimit -S -n 100; exec \"$@\"", "sh", "$PROBE", "accept", "now"];
        s.start(&[&["--path=sock", "--interval=0", "--status-file=st"], &worker[..]].concat());
        s.wait_file("st", "1:<W1>\n");
        s.remove("sock");
        let limit = |s: &Scenario, soft: &str| {
            let mut prlimit = std::process::Command::new("prlimit");
            prlimit.args([format!("--pid={}", s.superdaemon()), format!("--nofile={soft}:")]);
            assert!(prlimit.status().unwrap().success());
        };
        limit(s, "4");
        s.signal("HUP");
        let text = if cfg!(target_env = "musl") { "No file descriptors available" } else { "Too many open files" };
        s.wait_line(&format!("is gone, and no client can connect: failed to listen to file sock:{text}"));
        s.wait_worker(2);
        assert!(!s.path("sock").exists());
        limit(s, "100");
        s.signal("HUP");
        s.wait_line("the next worker gets a new one");
        s.wait("an answer", |s| s.body("sock").is_some());
        stop(s);
    });
}
