//! Listeners: what they are, what they are called, which fds they get, and why there may be none.

use crate::harness::{Scenario, compare};

/// Starts with these listeners, lets a worker report what it got, and stops.
fn listen(s: &mut Scenario, options: &[&str]) {
    s.start(&[options, &["--", "$PROBE"]].concat());
    s.wait_worker(1);
    s.ls();
    s.signal("TERM");
    s.wait_exit();
}

#[test]
fn no_listener() {
    compare(|s| listen(s, &[]));
}

#[test]
fn tcp() {
    compare(|s| listen(s, &["--port=$PORT", "--port=127.0.0.1:$PORT2", "--port=localhost:$PORT3"]));
}

#[test]
fn udp() {
    compare(|s| listen(s, &["--port=u$PORT", "--port=127.0.0.1:u$PORT2"]));
}

#[test]
fn tcp_and_udp_on_one_port() {
    compare(|s| listen(s, &["--port=$PORT", "--port=u$PORT"]));
}

#[test]
fn ipv6() {
    compare(|s| listen(s, &["--port=[::1]:$PORT", "--port=::1:u$PORT", "--port=[::]:$PORT2", "--port=0.0.0.0:$PORT2"]));
}

#[test]
fn names_with_blanks_and_brackets() {
    compare(|s| listen(s, &["--port= $PORT ", "--port=[ ::1]: $PORT2 ", "--port=[127.0.0.1]:$PORT3"]));
}

#[test]
fn several_in_order() {
    compare(|s| {
        listen(s, &["--path=b.sock", "--port=$PORT2", "--path=a.sock", "--port=$PORT", "--port=u$PORT3", "--path=0"]);
    });
}

#[test]
fn requested_fds() {
    compare(|s| listen(s, &["--port=$PORT=7", "--port=127.0.0.1:$PORT2 =009", "--port=u$PORT3"]));
}

#[test]
fn listener_on_stdin() {
    compare(|s| listen(s, &["--port=$PORT=0"]));
}

#[test]
fn listener_on_stdout() {
    compare(|s| listen(s, &["--port=$PORT=1"]));
}

#[test]
fn backlog() {
    compare(|s| listen(s, &["--backlog=7", "--port=$PORT", "--port=u$PORT2", "--path=app.sock"]));
}

#[test]
fn backlog_of_zero_is_the_default() {
    compare(|s| listen(s, &["--backlog=0", "--port=$PORT"]));
}

#[test]
fn unix_socket_ignores_the_umask() {
    compare(|s| {
        s.prelude("umask 077");
        listen(s, &["--path=app.sock", "--path=$DIR/absolute.sock"]);
    });
}

#[test]
fn stale_unix_socket_is_replaced() {
    compare(|s| {
        s.stale_socket("app.sock");
        listen(s, &["--path=app.sock"]);
    });
}

#[test]
fn listeners_stay_open_over_a_restart() {
    compare(|s| {
        s.start(&["--port=$PORT", "--", "perl", "$FIXTURES/httpd.pl"]);
        assert!(s.http_get("$PORT").starts_with("hello from generation 1 "));
        s.signal("HUP");
        s.wait_line("old worker <W1> died, status:0");
        assert!(s.http_get("$PORT").starts_with("hello from generation 2 "));
        s.signal("TERM");
        s.wait_exit();
    });
}

#[test]
fn port_in_use() {
    compare(|s| {
        s.start(&["--port=$PORT", "--port=[::1]:$PORT2", "--", "$PROBE"]);
        s.wait_worker(1);
        s.run(&["--port=$PORT", "--", "$PROBE"]);
        s.run(&["--port=127.0.0.1:$PORT", "--", "$PROBE"]);
        s.run(&["--port=[::1]:$PORT2", "--", "$PROBE"]);
        // What was bound before the error is removed.
        s.run(&["--port=u$PORT", "--port=$PORT", "--path=app.sock", "--pid-file=pid", "--", "$PROBE"]);
        s.ls();
        s.signal("TERM");
        s.wait_exit();
    });
}

#[test]
fn places_that_cannot_be_bound() {
    compare(|s| {
        s.mkdir("directory");
        s.run(&["--port=192.0.2.1:$PORT", "--", "$PROBE"]);
        s.run(&["--path=directory", "--", "$PROBE"]);
        s.run(&["--path=no/such/dir/app.sock", "--", "$PROBE"]);
        s.run(&["--path=app.sock", "--path=directory", "--pid-file=pid", "--", "$PROBE"]);
    });
}

#[test]
fn invalid_ports() {
    compare(|s| {
        for port in
            ["", " ", "abc", "80x", "80=", "=5", "80=x", "-80", "80 81", "80= 5", "1=2=3", "u", "uu80", "U80", "u 80"]
        {
            s.run(&["--port", port, "--", "$PROBE"]);
        }
        for port in
            [":", "[::1]", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "[::1]:80:x", "127.0.0.1:80=", "[x:y]:80"]
        {
            s.run(&["--port", port, "--", "$PROBE"]);
        }
    });
}
