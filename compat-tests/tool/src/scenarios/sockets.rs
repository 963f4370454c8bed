//! Listeners: what they are, what they are called, which fds they get, and why there may be none.

use nix::unistd::Uid;

use crate::harness::{Scenario, compare};

scenarios! {
    "sockets.rs":
    without_a_listener_the_variable_is_empty
    a_port_is_tcp
    a_u_means_udp
    tcp_and_udp_on_one_port
    brackets_mean_ipv6
    names_with_blanks_and_brackets
    ports_come_before_paths_in_their_order
    a_port_gets_the_descriptor_it_asks_for
    listener_on_stdin
    listener_on_stdout
    a_backlog_is_passed_to_listen
    backlog_of_zero_is_the_default
    unix_socket_ignores_the_umask
    stale_unix_socket_is_replaced
    listeners_stay_open_over_a_restart
    port_in_use
    places_that_cannot_be_bound
    invalid_ports
    fd_that_is_out_of_range
    odd_names_of_sockets
    sockets_of_a_killed_superdaemon
    listeners_get_the_lowest_free_descriptors
    host_that_is_unknown
    stale_socket_that_cannot_be_removed
    another_file_in_the_place_of_a_socket_stays
}

/// Starts with these listeners, has a worker report what it got, and stops.
fn listen(s: &mut Scenario, options: &[&str]) {
    s.probe(options, &[]);
    s.ls();
    s.term();
}

/// LIFE-008
fn without_a_listener_the_variable_is_empty() {
    compare(|s| listen(s, &[]));
}

/// S1 S2 S7 S10 E1
fn a_port_is_tcp() {
    compare(|s| {
        s.need_host("localhost");
        listen(s, &["--port=$PORT", "--port=127.0.0.1:$PORT2", "--port=localhost:$PORT3"]);
    });
}

/// S10
fn a_u_means_udp() {
    compare(|s| listen(s, &["--port=u$PORT", "--port=127.0.0.1:u$PORT2"]));
}

fn tcp_and_udp_on_one_port() {
    compare(|s| listen(s, &["--port=$PORT", "--port=u$PORT"]));
}

/// S6
fn brackets_mean_ipv6() {
    compare(|s| {
        s.need_ipv6();
        listen(s, &["--port=[::1]:$PORT", "--port=::1:u$PORT", "--port=[::]:$PORT2", "--port=0.0.0.0:$PORT2"]);
    });
}

/// S2
fn names_with_blanks_and_brackets() {
    compare(|s| {
        s.need_ipv6();
        listen(s, &["--port= $PORT ", "--port=[ ::1]: $PORT2 ", "--port=[127.0.0.1]:$PORT3"]);
    });
}

/// S5 S11 U1 U7
fn ports_come_before_paths_in_their_order() {
    compare(|s| {
        listen(s, &["--path=b.sock", "--port=$PORT2", "--path=a.sock", "--port=$PORT", "--port=u$PORT3", "--path=0"]);
    });
}

/// S12
fn a_port_gets_the_descriptor_it_asks_for() {
    compare(|s| listen(s, &["--port=$PORT=7", "--port=127.0.0.1:$PORT2 =009", "--port=u$PORT3"]));
}

/// S12
fn listener_on_stdin() {
    compare(|s| listen(s, &["--port=$PORT=0"]));
}

fn listener_on_stdout() {
    compare(|s| listen(s, &["--port=$PORT=1"]));
}

/// S16
fn a_backlog_is_passed_to_listen() {
    compare(|s| listen(s, &["--backlog=7", "--port=$PORT", "--port=u$PORT2", "--path=app.sock"]));
}

/// S16
fn backlog_of_zero_is_the_default() {
    compare(|s| listen(s, &["--backlog=0", "--port=$PORT"]));
}

/// U9
fn unix_socket_ignores_the_umask() {
    compare(|s| {
        s.prelude("umask 077");
        listen(s, &["--path=app.sock", "--path=$DIR/absolute.sock"]);
    });
}

/// U2
fn stale_unix_socket_is_replaced() {
    compare(|s| {
        s.stale_socket("app.sock");
        listen(s, &["--path=app.sock"]);
    });
}

/// S10
fn listeners_stay_open_over_a_restart() {
    compare(|s| {
        s.start(&["--port=$PORT", "--", "perl", "$FIXTURES/httpd.pl"]);
        assert!(s.http_get("$PORT").starts_with("hello from generation 1 "));
        s.signal("HUP");
        s.wait_line("old worker <W1> died, status:0");
        assert!(s.http_get("$PORT").starts_with("hello from generation 2 "));
        s.term();
    });
}

/// S8 X1 U8
fn port_in_use() {
    compare(|s| {
        s.need_ipv6();
        s.start(&["--port=$PORT", "--port=[::1]:$PORT2", "--", "$PROBE"]);
        s.wait_worker(1);
        s.run(&["--port=$PORT", "--", "$PROBE"]);
        s.run(&["--port=127.0.0.1:$PORT", "--", "$PROBE"]);
        s.run(&["--port=[::1]:$PORT2", "--", "$PROBE"]);
        // What was bound before the error is removed.
        s.run(&["--port=u$PORT", "--port=$PORT", "--path=app.sock", "--pid-file=pid", "--", "$PROBE"]);
        s.ls();
        s.term();
    });
}

/// S8 U4 U10
fn places_that_cannot_be_bound() {
    compare(|s| {
        s.mkdir("directory");
        s.run(&["--port=192.0.2.1:$PORT", "--", "$PROBE"]);
        s.run(&["--path=directory", "--", "$PROBE"]);
        s.run(&["--path=no/such/dir/app.sock", "--", "$PROBE"]);
        s.run(&["--path=app.sock", "--path=directory", "--pid-file=pid", "--", "$PROBE"]);
    });
}

/// S3 S6
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

/// S13
fn fd_that_is_out_of_range() {
    compare(|s| {
        s.run(&["--port=$PORT=99999999", "--path=app.sock", "--", "$PROBE"]);
        s.run(&["--port=$PORT=2147483647", "--", "$PROBE"]);
    });
}

/// U7: names are taken as they are.
fn odd_names_of_sockets() {
    compare(|s| {
        s.mkdir("dir");
        listen(s, &["--path=a b=c", "--path=@name", "--path=x;y", "--path=./dir/../z", "--path=0"]);
    });
}

/// U8: sockets stay if there is nobody to remove them.
fn sockets_of_a_killed_superdaemon() {
    compare(|s| {
        s.probe(&["--path=app.sock", "--path=second.sock"], &[]);
        s.remove("second.sock");
        s.signal("KILL");
        s.wait_exit();
        s.ls();
    });
}

/// S11 L4: every number of a descriptor is the original's, whatever is open at launch and wherever the log goes.
fn listeners_get_the_lowest_free_descriptors() {
    compare(|s| {
        s.mkdir("env");
        let inherited =
            ["", "exec 3</dev/null", "exec 4</dev/null 6</dev/null", "exec 3</dev/null 5</dev/null 8</dev/null"];
        let listeners: [&[&str]; 4] = [
            &["--port=$PORT", "--port=$PORT2", "--path=app.sock"],
            &["--port=$PORT", "--port=$PORT2=9", "--port=$PORT3"],
            &["--port=$PORT=3", "--path=app.sock", "--path=second.sock"],
            &["--port=$PORT=12", "--port=$PORT2=11"],
        ];
        for (index, prelude) in inherited.into_iter().enumerate() {
            s.prelude(prelude);
            let (said, command) = (format!("said{index}"), format!("--log-file=| cat >said{index}"));
            let others: [&[&str]; 4] =
                [&[], &["--log-file=log"], &[&command, "--envdir=env"], &["--envdir=env", "--pid-file=pid"]];
            for (number, listeners) in listeners.into_iter().enumerate() {
                // A target that is open already is taken over by either program, but the original shows it as its own.
                if number == 2 && prelude.contains("3<") {
                    continue;
                }
                let others = others[(index + number) % others.len()];
                s.probe(&[listeners, others, &["--interval=0"]].concat(), &[]);
                s.term();
                // Nobody waits for the command that writes the log.
                if others.contains(&&*command) {
                    s.wait_line_in(&said, "exiting");
                }
            }
        }
    });
}

/// S7: a name that nobody has.
fn host_that_is_unknown() {
    compare(|s| {
        s.run(&["--port=no-such-host.invalid:$PORT", "--", "$PROBE"]);
    });
}

/// U2: in a directory that may not be written to, by somebody who isn't root.
fn stale_socket_that_cannot_be_removed() {
    let as_nobody = if Uid::effective().is_root() { "setpriv --reuid=65534 --regid=65534 --clear-groups" } else { "" };
    compare(|s| {
        s.mkdir("dir");
        s.stale_socket("dir/app.sock");
        // The program's own directory may be closed to others.
        let copy = "cp \"$0\" program; chmod 755 program; chmod 777 dir/app.sock; chmod 555 dir";
        s.prelude(&format!("{copy}; exec {as_nobody} ./program \"$@\""));
        s.run(&["--path=dir/app.sock", "--", "$PROBE"]);
        s.remove("program");
    });
}

/// U8: what is removed at the end is a socket.
fn another_file_in_the_place_of_a_socket_stays() {
    compare(|s| {
        s.probe(&["--path=app.sock"], &[]);
        s.remove("app.sock");
        s.write("app.sock", "somebody's data\n");
        s.term();
    });
}
