//! The programs people run: Plack and `Net::Server` servers as workers.

use crate::harness::{Scenario, compare};

scenarios! {
    "plack.rs":
    starlet
    starlet_on_a_unix_socket
    starman
    net_server
    starlet_daemon
}

const APP: &str = "$FIXTURES/app.psgi";
/// Deployment, because development writes an access log, with times in it.
const STARLET: [&str; 8] =
    ["plackup", "-E", "deployment", "-s", "Plack::Handler::Starlet", "--max-workers=2", "-a", APP];
/// Without Starman's own log, which has times in it.
const STARMAN: &str = "exec plackup -E deployment -s Starman --workers=2 -a $FIXTURES/app.psgi 2>/dev/null";

/// Version 1 is served; version 2 after a HUP; nobody after a TERM.
fn deploy(s: &mut Scenario, module: &str, listener: &str, options: &[&str], program: &[&str]) {
    s.need_module(module);
    s.write("version", "1\n");
    s.start(&[options, &["--status-file=st", "--"], program].concat());
    s.wait_http(listener, "version 1\n");
    s.wait_file("st", "1:<W1>\n");
    s.write("version", "2\n");
    s.signal("HUP");
    s.wait_line("old worker <W1> died");
    s.wait_http(listener, "version 2\n");
    s.wait_file("st", "2:<W2>\n");
    s.term();
}

fn starlet() {
    compare(|s| deploy(s, "Plack::Handler::Starlet", "$PORT", &["--port=$PORT"], &STARLET));
}

fn starlet_on_a_unix_socket() {
    compare(|s| deploy(s, "Plack::Handler::Starlet", "app.sock", &["--path=app.sock"], &STARLET));
}

fn starman() {
    // Its manual asks for QUIT: on TERM it drops the requests it is working on.
    compare(|s| deploy(s, "Starman", "$PORT", &["--signal-on-hup=QUIT", "--port=$PORT"], &["sh", "-c", STARMAN]));
}

fn net_server() {
    compare(|s| {
        deploy(s, "Net::Server::SS::PreFork", "$PORT", &["--port=$PORT"], &["perl", "$FIXTURES/ss_prefork.pl"]);
    });
}

fn starlet_daemon() {
    compare(|s| {
        s.need_module("Plack::Handler::Starlet");
        s.write("version", "1\n");
        let files = ["--log-file=log", "--pid-file=pid", "--status-file=st"];
        s.start(&[&["--daemonize", "--port=$PORT"], &files[..], &["--"], &STARLET].concat());
        s.adopt_daemon("pid");
        s.wait_http("$PORT", "version 1\n");
        s.wait_line_in("st", "1:");
        s.write("version", "2\n");
        s.run(&["--restart", "--pid-file=pid", "--status-file=st"]);
        s.wait_http("$PORT", "version 2\n");
        s.run(&["--stop", "--pid-file=pid"]);
        s.wait_exit();
    });
}
