//! `--stop-delay` and `--refuse-on-stop`: what happens to clients between a TERM and the end.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use super::upgrade::{FILES, UPGRADE, install_ours, start};
use crate::harness::{Scenario, ours_alone};

const ANSWERS: [&str; 2] = ["accept", "now"];
const KEEPS: &str = "received TERM, the workers keep serving for 1000 seconds before they are stopped";

fn serve(s: &mut Scenario, options: &[&str], behaviours: &[&str]) {
    let listeners = ["--port=127.0.0.1:$PORT", "--path=sock", "--interval=0"];
    s.serve(&[&listeners[..], options].concat(), &[&ANSWERS[..], behaviours].concat());
    s.wait_http("$PORT", "generation 1");
}

/// Until the time is over, everything works as before: requests are answered, and a HUP or a death leads to another
/// worker.
#[test]
fn workers_serve_on_after_a_term() {
    ours_alone(|s| {
        serve(s, &["--stop-delay=1000"], &[]);
        s.signal("TERM");
        s.wait_line(KEEPS);
        for listener in ["$PORT", "sock"] {
            assert_eq!(s.http_get(listener), "generation 1\n");
        }
        s.signal_worker(1, "KILL");
        s.wait_http("$PORT", "generation 2");
        s.signal("HUP");
        s.wait_line("old worker <W2> died, status:0");
        assert_eq!(s.http_get("sock"), "generation 3\n");
        // A second signal ends the delay.
        s.signal("INT");
        assert_eq!(s.wait_exit(), "exit 0");
        let said = s.said();
        assert!(said.contains("\nreceived INT, sending TERM to all workers:<W3>\n"), "{said}");
        assert!(!said.contains("received TERM, sending"), "{said}");
    });
}

#[test]
fn the_delay_comes_to_its_end() {
    for signal in ["TERM", "QUIT"] {
        ours_alone(|s| {
            s.serve(&["--stop-delay=1", "--kill-timeout=1"], &["ign=TERM"]);
            s.signal(signal);
            assert_eq!(s.wait_exit(), "exit 0");
            let expected = format!(
                "received {signal}, the workers keep serving for 1 seconds before they are stopped\n\
                 received {signal}, sending TERM to all workers:<W1>\n\
                 old worker <W1> has not ended in time, sending KILL\n\
                 worker <W1> died, status:9\nexiting\n"
            );
            assert!(s.said().ends_with(&expected), "{}", s.said());
        });
    }
}

/// It also ends while starts fail again and again.
#[test]
fn the_delay_ends_a_start() {
    ours_alone(|s| {
        s.serve(&["--stop-delay=2", "--interval=1"], &["G2+=exit=1"]);
        s.signal("TERM");
        s.wait_line("the workers keep serving");
        s.signal_worker(1, "KILL");
        assert_eq!(s.wait_exit(), "exit 0");
    });
}

/// No clients are served who could be asked to leave.
#[test]
fn without_a_worker_there_is_no_delay() {
    ours_alone(|s| {
        s.probe(&["--stop-delay=1000", "--interval=1000"], &[]);
        s.signal("TERM");
        assert_eq!(s.wait_exit(), "exit 0");
        assert!(!s.said().contains("keep serving"), "{}", s.said());
    });
}

/// A restart that is under way is finished.
#[test]
fn a_restart_goes_on_in_the_delay() {
    ours_alone(|s| {
        s.serve(&["--stop-delay=1000", "--ready=notify"], &["notify=READY=1", "G1=now"]);
        s.signal("HUP");
        s.wait_report(2, "ready");
        s.signal("TERM");
        s.wait_line(KEEPS);
        s.signal_worker(2, "USR2");
        s.wait_line("old worker <W1> died, status:0");
        assert_eq!(s.term(), "exit 0");
    });
}

/// The next program would not know of the delay.
#[test]
fn no_upgrade_in_the_delay() {
    ours_alone(|s| {
        start(s, &[&FILES[..], &["--interval=0", "--stop-delay=1000", "--", "$PROBE"]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("TERM");
        s.wait_line(KEEPS);
        install_ours(s);
        let output = s.run(&UPGRADE);
        assert_eq!(output.end, "exit 125", "{}", output.stderr);
        assert_eq!(s.term(), "exit 0");
    });
}

fn connects(s: &Scenario) -> [bool; 2] {
    [TcpStream::connect(("127.0.0.1", s.port())).is_ok(), UnixStream::connect(s.path("sock")).is_ok()]
}

/// Clients don't wait for a worker that is still busy.
#[test]
fn clients_are_refused_while_workers_end() {
    ours_alone(|s| {
        serve(s, &["--refuse-on-stop", "--stop-delay=1000"], &["ign=TERM"]);
        s.signal("TERM");
        s.wait_line(KEEPS);
        assert_eq!(connects(s), [true, true]);
        s.signal("TERM");
        s.wait_report(1, "got TERM");
        s.wait_line("refusing new connections");
        assert_eq!(connects(s), [false, false]);
        s.signal_worker(1, "KILL");
        assert_eq!(s.wait_exit(), "exit 0");
        assert!(!s.said().contains("has shut down the listener"), "{}", s.said());
    });
}

/// In a restart, all clients are served.
#[test]
fn no_client_is_refused_in_a_restart() {
    ours_alone(|s| {
        serve(s, &["--refuse-on-stop"], &["G1=ign=TERM"]);
        s.signal("HUP");
        s.wait_report(1, "got TERM");
        assert_eq!(connects(s), [true, true]);
        s.signal_worker(1, "KILL");
        s.wait_http("$PORT", "generation 2");
        assert_eq!(s.term(), "exit 0");
    });
}

/// Clients that were in the queue when the TERM came get an answer.
#[test]
fn who_has_connected_is_served() {
    for _ in 0..10 {
        ours_alone(|s| {
            s.serve(&["--port=127.0.0.1:$PORT", "--refuse-on-stop", "--interval=0"], &["accept", "now", "ign=TERM"]);
            s.wait_http("$PORT", "generation 1");
            let mut clients: Vec<_> =
                (0..20).map(|_| TcpStream::connect(("127.0.0.1", s.port())).expect("a listener")).collect();
            s.signal("TERM");
            for client in &mut clients {
                use std::io::{Read, Write};
                client.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
                client.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("a connection");
                let mut answer = String::new();
                client.read_to_string(&mut answer).expect("an answer");
                assert!(answer.ends_with("generation 1\n"), "{answer}");
            }
            let worker = s.reported().pop().expect("a worker").1;
            crate::harness::send(worker, "KILL");
            assert_eq!(s.wait_exit(), "exit 0");
        });
    }
}
