//! Whether connections are lost, which a superdaemon exists to prevent: those that wait in a listener's queue, and
//! those that arrive all the time. The worker itself loses none.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::harness::{Kind, Scenario, compare};
use crate::load::{Address, Client, Figures, Load};

scenarios! {
    "connections.rs":
    those_who_wait_are_served_after_a_restart
    those_who_wait_are_served_after_a_start_that_fails
    those_who_wait_are_served_when_the_worker_is_replaced
    those_who_wait_are_told_when_it_stops
    none_is_lost_over_five_restarts
    it_can_be_started_again_at_once
}

/// No answer takes this long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);
const RESTARTS: u64 = 5;

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Starts a superdaemon with both listeners. The worker first runs the shell commands in `exception`.
fn start(s: &mut Scenario, exception: &str) {
    let worker = format!("{exception}; exec \"$@\"");
    let listeners = ["--port=127.0.0.1:$PORT", "--path=app.sock", "--status-file=st"];
    s.start(&[&listeners[..], &["--", "sh", "-c", &worker, "sh", "perl", "$FIXTURES/three_ways.pl"]].concat());
}

/// Waits until this generation is the only one.
fn wait_generation(s: &mut Scenario, generation: u64) {
    let only = format!("{generation}:");
    s.wait(&format!("generation {generation} alone"), |s| {
        let status = fs::read_to_string(s.path("st")).unwrap_or_default();
        status.starts_with(&only) && status.lines().count() == 1
    });
}

/// One connection to each listener, with a request that nobody has read.
fn connect(s: &Scenario) -> Vec<(&'static str, Box<dyn Stream>)> {
    let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, s.port())).expect("a port that listens");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let unix = UnixStream::connect(s.path("app.sock")).expect("a unix socket that listens");
    unix.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut streams: Vec<(&str, Box<dyn Stream>)> = vec![("port", Box::new(tcp)), ("unix socket", Box::new(unix))];
    for (_, stream) in &mut streams {
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("a request is sent");
    }
    streams
}

fn tell_what_became_of(s: &mut Scenario, waiting: Vec<(&str, Box<dyn Stream>)>) {
    for (name, mut stream) in waiting {
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let became = match (answer.rsplit_once("version "), end.map_err(|error| error.kind())) {
            (Some((_, version)), _) => format!("answered by generation {}", version.trim()),
            (None, Ok(_)) => "closed without an answer".to_owned(),
            (None, Err(ErrorKind::ConnectionReset)) => "reset".to_owned(),
            (None, Err(error)) => error.to_string(),
        };
        s.observe(Kind::Connections, &format!("who waited at the {name}: {became}"));
    }
}

/// The first worker accepts nothing, so clients wait.
fn those_who_wait_are_served_after_a_restart() {
    compare(|s| {
        start(s, "[ $SERVER_STARTER_GENERATION != 1 ] || exec sleep 1000");
        wait_generation(s, 1);
        let waiting = connect(s);
        s.signal("HUP");
        wait_generation(s, 2);
        tell_what_became_of(s, waiting);
        s.term();
    });
}

/// The second worker fails to start, and the third one serves.
fn those_who_wait_are_served_after_a_start_that_fails() {
    compare(|s| {
        let exception = "case $SERVER_STARTER_GENERATION in 1) exec sleep 1000;; 2) exit 1;; esac";
        start(s, exception);
        wait_generation(s, 1);
        let waiting = connect(s);
        s.signal("HUP");
        wait_generation(s, 3);
        tell_what_became_of(s, waiting);
        s.term();
    });
}

/// A worker that is killed doesn't take the queue along.
fn those_who_wait_are_served_when_the_worker_is_replaced() {
    compare(|s| {
        start(s, "[ $SERVER_STARTER_GENERATION != 1 ] || { echo $$ > worker; exec sleep 1000; }");
        wait_generation(s, 1);
        let waiting = connect(s);
        s.kill_process("worker");
        wait_generation(s, 2);
        tell_what_became_of(s, waiting);
        s.remove("worker");
        s.term();
    });
}

/// Clients that still wait at the end are told, and no others can connect.
fn those_who_wait_are_told_when_it_stops() {
    compare(|s| {
        start(s, "exec sleep 1000");
        wait_generation(s, 1);
        let waiting = connect(s);
        s.term();
        tell_what_became_of(s, waiting);
        let comes = TcpStream::connect((Ipv4Addr::LOCALHOST, s.port())).map_err(|error| error.kind());
        let came = comes.map_or_else(|error| error.to_string(), |_| "connected".to_owned());
        s.observe(Kind::Connections, &format!("who comes later: {came}"));
    });
}

/// Clients keep asking at a port and at a unix socket: none is refused or left without an answer, and none is answered
/// by a generation that had ended before it connected.
fn none_is_lost_over_five_restarts() {
    compare(|s| {
        start(s, ":");
        wait_generation(s, 1);
        let addresses = [("port", Address::Port(s.port())), ("unix socket", Address::Path(s.path("app.sock")))];
        let loads = addresses.map(|(name, address)| (name, Load::begin(address, &[Client::New; 2])));
        let wait_answer = |s: &mut Scenario, generation: u64| {
            let have_seen = |loads: &[(&str, Load)]| loads.iter().all(|(_, load)| load.has_seen(generation));
            s.wait(&format!("answers of generation {generation}"), |_| have_seen(&loads));
        };
        wait_answer(s, 1);
        for generation in 2..=RESTARTS + 1 {
            s.signal("HUP");
            wait_generation(s, generation);
            for (_, load) in &loads {
                load.retire_before(generation);
            }
            wait_answer(s, generation);
        }
        for (name, load) in loads {
            tell_figures(s, name, &load.end());
        }
        s.term();
    });
}

fn tell_figures(s: &mut Scenario, name: &str, figures: &Figures) {
    let all = figures.lost.len() + figures.dropped.len() + usize::try_from(figures.answered).unwrap_or_default();
    let of_kind = |text: &str| figures.lost.iter().chain(&figures.dropped).filter(|what| what.contains(text)).count();
    let (refused, reset) = (of_kind("refused"), of_kind("reset"));
    let others = figures.lost.len() + figures.dropped.len() - refused - reset;
    let counts = [
        ("refused", refused),
        ("reset", reset),
        ("without an answer", others),
        ("answered by a generation that was gone", figures.stale.len()),
    ];
    for (what, count) in counts {
        let count = if count == 0 { "none".to_owned() } else { format!("{count} of {all}") };
        s.observe(Kind::Connections, &format!("requests at the {name} that were {what}: {count}"));
    }
}

/// S10: connections of the first superdaemon that linger at the port (`TIME_WAIT`) keep nobody from listening to it.
fn it_can_be_started_again_at_once() {
    compare(|s| {
        start(s, ":");
        wait_generation(s, 1);
        // The server closes first, so its side of the connection stays in TIME_WAIT.
        let waiting = connect(s);
        tell_what_became_of(s, waiting);
        s.term();
        start(s, ":");
        s.wait("an answer, or the end", |s| s.path("st").exists() || s.end_of_superdaemon().is_some());
        let waiting = if s.path("st").exists() { connect(s) } else { Vec::new() };
        tell_what_became_of(s, waiting);
        if s.end_of_superdaemon().is_none() {
            s.term();
        }
    });
}
