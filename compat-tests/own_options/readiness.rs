//! `--ready`: which workers are ready, which are not, and what happens until then.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::unistd::Uid;

use super::stop;
use crate::harness::{Scenario, ours_alone};

/// Without an interval, the superdaemon waits for readiness alone.
const NOTIFY: [&str; 7] =
    ["--ready=notify", "--interval=0", "--pid-file=pid", "--status-file=st", "--", "$PROBE", "notify=READY=1"];
const ACCEPTING: [&str; 7] =
    ["--ready=accepting", "--interval=0", "--port=$PORT", "--path=sock", "--status-file=st", "--", "$PROBE"];

/// Starts a superdaemon whose sockets for workers are in the scenario's directory, where a file that is left would be
/// noticed.
fn start(s: &mut Scenario, options: &[&str], behaviours: &[&str]) {
    s.env("TMPDIR", "$DIR");
    s.start(&[options, behaviours].concat());
    s.wait_worker(1);
}

fn stop_and_leave_nothing(s: &mut Scenario) {
    stop(s);
    assert_eq!(s.ls(), "");
}

/// Fails unless the superdaemon is at rest with this status file.
fn rests_with(s: &mut Scenario, status: &str) {
    s.wait_rest();
    assert_eq!(s.show("st"), status);
}

/// Makes a worker send its message, and waits until it has.
fn ask(s: &mut Scenario, generation: usize) {
    s.signal_worker(generation, "USR2");
    s.wait_report(generation, "said READY=1");
}

/// Another user of the machine who knew the socket's name could do this. Only root can become one.
fn stranger_says_ready(s: &Scenario, generation: usize) {
    if !Uid::effective().is_root() {
        return;
    }
    let code = "IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => $ARGV[0])->send('READY=1') or die $!";
    let mut perl = Command::new("perl");
    perl.args(["-MIO::Socket::UNIX", "-e", code]).arg(s.notify_socket(generation)).current_dir("/");
    assert!(perl.uid(12345).gid(12345).status().expect("perl").success());
}

// --- notify

#[test]
fn a_worker_that_is_not_ready_is_no_successor() {
    ours_alone(|s| {
        start(s, &NOTIFY, &["G1=now"]);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_worker(2);
        rests_with(s, "1:<W1>\n");
        s.signal_worker(2, "USR2");
        s.wait_line("new worker is now running, sending TERM to old workers:<W1>");
        s.wait_report(1, "got TERM");
        s.wait_line("old worker <W1> died, status:0");
        s.wait_file("st", "2:<W2>\n");
        stop_and_leave_nothing(s);
    });
}

#[test]
fn the_first_worker_has_to_be_ready_too() {
    ours_alone(|s| {
        start(s, &NOTIFY, &[]);
        s.wait_rest();
        assert!(!s.ls().contains("st "), "no worker has started");
        s.signal_worker(1, "USR2");
        s.wait_file("st", "1:<W1>\n");
        stop_and_leave_nothing(s);
    });
}

#[test]
fn a_descendant_may_say_it() {
    ours_alone(|s| {
        start(s, &NOTIFY, &["child", "now"]);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_line("old worker <W1> died");
        s.wait_file("st", "2:<W2>\n");
        stop_and_leave_nothing(s);
    });
}

/// As in a `Type=notify` unit, systemd-notify is a child of the shell that becomes the worker.
#[test]
fn a_shell_may_say_it() {
    ours_alone(|s| {
        let shell = "systemd-notify --ready --status='about to serve' && exec \"$@\"";
        s.env("TMPDIR", "$DIR");
        let options = ["--ready=notify", "--interval=0", "--status-file=st", "--", "sh", "-c", shell, "sh", "$PROBE"];
        s.start(&options);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_file("st", "2:<W2>\n");
        stop_and_leave_nothing(s);
    });
}

/// Like `systemd-notify --no-block` of a user, helpers may end at once: /proc no longer has them when their message is
/// read.
#[test]
fn a_sender_may_have_ended() {
    ours_alone(|s| {
        let shell = "until [ -e go ]; do sleep .1; done; perl -MIO::Socket::UNIX -e \"$0\"; touch said; exec \"$@\"";
        let code = "IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => $ENV{NOTIFY_SOCKET})->send('READY=1')";
        s.env("TMPDIR", "$DIR");
        let options = ["--ready=notify", "--interval=0", "--status-file=st", "--", "sh", "-c", shell, code, "$PROBE"];
        s.start(&options);
        s.wait_line("starting new worker");
        s.signal("STOP");
        s.write("go", "");
        s.wait_file("said", "");
        s.wait_worker(1);
        s.signal("CONT");
        s.wait("the worker has started", |s| std::fs::read_to_string(s.path("st")).is_ok());
        assert!(!s.said().contains("is not ready in time"), "{}", s.said());
        stop(s);
    });
}

#[test]
fn nobody_else_may_say_it() {
    ours_alone(|s| {
        s.start(&[&NOTIFY[..], &["G1=now", "G1=ign=TERM"]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_worker(2);
        stranger_says_ready(s, 2);
        rests_with(s, "1:<W1>\n");
        // The old generation only knows its own socket.
        assert_ne!(s.notify_socket(1), s.notify_socket(2));
        ask(s, 1);
        rests_with(s, "1:<W1>\n");
        s.signal_worker(2, "USR2");
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        s.signal_worker(1, "USR1");
        s.wait_file("st", "2:<W2>\n");
        stop_and_leave_nothing(s);
    });
}

/// The superdaemon and the `su` that it starts run as root, and the actual worker as another user.
#[test]
fn what_su_starts_may_say_it() {
    if !Uid::effective().is_root() {
        return;
    }
    ours_alone(|s| {
        let code = "$) = $( = 12345; $> = $< = 12345; \
                    IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => $ENV{NOTIFY_SOCKET})->send('READY=1'); sleep 1000";
        let shell = "perl -MIO::Socket::UNIX -e \"$0\" & trap 'kill $!; exit' TERM; wait";
        s.start(&["--ready=notify", "--interval=0", "--status-file=st", "--", "sh", "-c", shell, code]);
        s.wait("the worker has started", |s| std::fs::read_to_string(s.path("st")).is_ok());
        stop(s);
    });
}

#[test]
fn a_worker_that_dies_before_it_is_ready_has_failed() {
    ours_alone(|s| {
        start(s, &NOTIFY, &["G1=now", "G2=exit=3"]);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_line("new worker <W2> seems to have failed to start, exit status:768");
        s.wait_worker(3);
        rests_with(s, "1:<W1>\n");
        s.signal_worker(3, "KILL");
        s.wait_line("new worker <W3> seems to have failed to start, exit status:9");
        s.wait_worker(4);
        rests_with(s, "1:<W1>\n");
        s.signal_worker(4, "USR2");
        s.wait_line("old worker <W1> died, status:0");
        s.wait_file("st", "4:<W4>\n");
        stop_and_leave_nothing(s);
    });
}

/// A worker that is too late counts as an old one until it has ended, and gets the signal for those.
#[test]
fn a_worker_that_is_not_ready_in_time_has_failed() {
    ours_alone(|s| {
        let options = [&["--ready-timeout=10", "--signal-on-hup=QUIT"], &NOTIFY[..]].concat();
        start(s, &options, &["G1=now", "G2=ign=QUIT", "G3+=now"]);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_line("new worker <W2> is not ready in time, sending QUIT");
        s.wait_report(2, "got QUIT");
        s.wait_worker(3);
        s.wait_line("new worker is now running, sending QUIT to old workers:<W1>,<W2>");
        s.wait_line("old worker <W1> died, status:0");
        s.wait_file("st", "2:<W2>\n3:<W3>\n");
        s.signal_worker(2, "KILL");
        s.wait_file("st", "3:<W3>\n");
        stop_and_leave_nothing(s);
    });
}

/// Other messages of a worker are ignored, but always read: a worker whose messages nobody reads would block.
#[test]
fn a_talkative_worker_never_stands_still() {
    ours_alone(|s| {
        start(s, &NOTIFY, &["chat=1000", "ign=TERM", "G1=now"]);
        s.wait_file("st", "1:<W1>\n");
        ask(s, 1);
        s.signal("HUP");
        s.wait_worker(2);
        ask(s, 1);
        rests_with(s, "1:<W1>\n");
        ask(s, 2);
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        ask(s, 1);
        s.signal("TERM");
        s.wait_report(2, "got TERM");
        ask(s, 2);
        ask(s, 1);
        s.signal_worker(1, "USR1");
        s.signal_worker(2, "USR1");
        assert_eq!(s.wait_exit(), "exit 0");
        assert_eq!(s.ls(), "");
    });
}

#[test]
fn term_ends_the_wait_for_readiness() {
    ours_alone(|s| {
        // If the wait isn't cut short, the scenario's deadline passes.
        let options = [&["--ready-timeout=1000"], &NOTIFY[..]].concat();
        start(s, &options, &[]);
        stop_and_leave_nothing(s);
    });
    ours_alone(|s| {
        let options = [&["--ready-timeout=1000"], &NOTIFY[..]].concat();
        start(s, &options, &["G1=now"]);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_worker(2);
        s.signal("TERM");
        s.wait_line("received TERM, sending TERM to all workers:<W1>,<W2>");
        assert_eq!(s.wait_exit(), "exit 0");
        assert_eq!(s.ls(), "");
    });
}

/// A HUP that arrives while a new worker is not ready waits for it.
#[test]
fn hup_does_not_end_the_wait_for_readiness() {
    ours_alone(|s| {
        start(s, &NOTIFY, &["G1=now", "G3=now"]);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_worker(2);
        s.signal("HUP");
        rests_with(s, "1:<W1>\n");
        s.signal_worker(2, "USR2");
        s.wait_line("new worker is now running, sending TERM to old workers:<W1>");
        s.wait_line("received HUP, spawning a new worker");
        s.wait_line("old worker <W2> died, status:0");
        s.wait_file("st", "3:<W3>\n");
        stop_and_leave_nothing(s);
    });
}

/// Each worker gets a new socket, whatever socket the superdaemon was given.
#[test]
fn every_worker_has_a_socket_of_its_own() {
    ours_alone(|s| {
        s.env("NOTIFY_SOCKET", "$DIR/manager");
        start(s, &NOTIFY, &["now"]);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_file("st", "2:<W2>\n");
        let sockets = [1, 2].map(|generation| s.notify_socket(generation));
        assert!(sockets[0] != sockets[1] && !sockets.contains(&s.path("manager")), "{sockets:?}");
        assert!(!sockets[0].exists() && sockets[1].exists(), "it goes with its worker");
        stop_and_leave_nothing(s);
    });
}

// --- accepting

#[test]
fn a_worker_that_does_not_accept_is_no_successor() {
    ours_alone(|s| {
        start(s, &ACCEPTING, &["accept", "G1=now"]);
        s.wait_file("st", "1:<W1>\n");
        s.wait_http("$PORT", "generation 1");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_http("$PORT", "generation 1");
        s.wait_http("sock", "generation 1");
        assert_eq!(s.show("st"), "1:<W1>\n");
        s.signal_worker(2, "USR2");
        s.wait_line("old worker <W1> died, status:0");
        s.wait_file("st", "2:<W2>\n");
        s.wait_http("$PORT", "generation 2");
        s.wait_http("sock", "generation 2");
        stop_and_leave_nothing(s);
    });
}

#[test]
fn a_worker_that_never_accepts_is_not_ready_in_time() {
    ours_alone(|s| {
        let options = [&["--ready-timeout=10"], &ACCEPTING[..]].concat();
        start(s, &options, &["G1=accept", "G1=now", "G3+=accept", "G3+=now"]);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_line("new worker <W2> is not ready in time, sending TERM");
        s.wait_worker(3);
        s.wait_line("old worker <W1> died, status:0");
        s.wait_http("$PORT", "generation 3");
        stop_and_leave_nothing(s);
    });
}

/// A worker that sits in a blocking accept(2) and knows nothing of `--ready`.
#[test]
fn a_server_as_it_is() {
    ours_alone(|s| {
        s.start(&[&ACCEPTING[..6], &["perl", "$FIXTURES/httpd.pl"]].concat());
        s.wait_http("$PORT", "hello from generation 1");
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_line("old worker <W1> died, status:0");
        s.wait_http("$PORT", "hello from generation 2");
        stop(s);
    });
}

/// The superdaemon may not look at a process whose permitted capabilities exceed its own effective ones. Only root can
/// arrange that.
#[test]
fn a_kernel_that_does_not_let_it_look_is_told_of_at_start() {
    if !Uid::effective().is_root() {
        return;
    }
    ours_alone(|s| {
        let copy = "cp \"$0\" program; chmod 755 program";
        s.prelude(&format!("{copy}; exec setpriv --ruid=0 --euid=65534 --clear-groups ./program \"$@\""));
        let output = s.run(&["--ready=accepting", "--port=$PORT", "--", "$PROBE"]);
        let complaint =
            "--ready=accepting can't look at workers (is kernel.yama.ptrace_scope above 1?): failed to read /proc/";
        assert!(output.stderr.contains(complaint), "{}", output.stderr);
        assert!(!output.stderr.contains("starting new worker"), "{}", output.stderr);
    });
}

/// These options would see nothing, or other processes, without it.
#[test]
fn without_the_right_proc_it_is_refused_at_start() {
    let needs = "needs the /proc of its own pid namespace";
    let hide = "unshare --mount sh -c 'mount -t tmpfs none /proc && exec \"$0\" \"$@\"'";
    let other = "unshare --pid --fork --kill-child";
    for (prelude, reason) in [
        (hide, format!("{needs}:No such file or directory\n")),
        (other, format!("{needs}, and this one belongs to another\n")),
    ] {
        let root = if Uid::effective().is_root() { "" } else { " --map-root-user" };
        let prelude = format!("exec {} \"$0\" \"$@\"", prelude.replacen("unshare", &format!("unshare{root}"), 1));
        for option in ["--ready=notify", "--ready=accepting", "--kill-timeout=1"] {
            ours_alone(|s| {
                s.prelude(&prelude);
                let output = s.run(&[option, "--port=$PORT", "--", "$PROBE"]);
                let name = option.trim_end_matches("=1");
                assert_eq!(output.stderr, format!("{name} {reason}"));
            });
        }
    }
}

/// After ten seconds, long before the time is over, the log says what the worker has not done yet.
#[test]
fn what_a_worker_has_not_done_is_said() {
    ours_alone(|s| {
        s.start(&["--ready=accepting", "--port=$PORT", "--", "$PROBE"]);
        s.wait_line("new worker <W1> is alive, but has not waited for a connection at a listener so far");
        stop(s);
    });
}
