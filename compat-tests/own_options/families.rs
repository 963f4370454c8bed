//! Which processes belong to a worker and end with it. Processes that no worker has started are left alone.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::unistd::Uid;

use super::stop;
use crate::harness::{Scenario, is_dead, ours_alone, send, with_argument};

/// With `--ready=notify`, a worker that dies before it is ready has failed, however slow the machine is.
const READY_AT_ONCE: [&str; 7] =
    ["--ready=notify", "--interval=0", "--status-file=st", "--", "$PROBE", "notify=READY=1", "now"];

/// A script that waits for the file `go`, and leaves behind a process in a session of its own, with its pid in the file
/// `stranger`.
const LEAVES_STRANGER: &str = "while ! test -e go; do sleep 0.02; done; \
                               setsid sh -c 'echo $$ >stranger.new; mv stranger.new stranger; exec sleep 1000' & exit 0";

fn start(s: &mut Scenario, options: &[&str], behaviours: &[&str]) {
    s.env("TMPDIR", "$DIR");
    s.start(&[options, &READY_AT_ONCE, behaviours].concat());
    s.wait_worker(1);
    s.wait_file("st", "1:<W1>\n");
}

fn pid_in(s: &Scenario, file: &str) -> Option<i32> {
    std::fs::read_to_string(s.path(file)).ok()?.trim().parse().ok()
}

/// Waits until this process is a child of the superdaemon.
fn wait_adopted(s: &mut Scenario, file: &str) {
    let superdaemon = s.superdaemon().to_string();
    s.wait("an adopted child", |s| {
        let stat = pid_in(s, file).and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
        let stat = stat.unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(1)) == Some(superdaemon.as_str())
    });
}

/// Neither a restart with `--kill-timeout` nor the shutdown waits for the stranger or kills it.
fn restart_beside_stranger(s: &mut Scenario) {
    s.write("go", "");
    wait_adopted(s, "stranger");
    s.signal("HUP");
    s.wait_worker(2);
    s.wait_line("old worker <W1> died, status:0");
    s.wait_file("st", "2:<W2>\n");
    stop(s);
    let stranger = pid_in(s, "stranger").expect("a pid");
    assert!(!is_dead(stranger), "the stranger was ended");
    s.kill_process("stranger");
}

/// Two services share a socket. When the deploy of one fails, the other one and its worker keep serving.
#[test]
fn a_second_service_on_the_same_socket_is_left_alone() {
    ours_alone(|s| {
        // The neighbour is started after the superdaemon, and is not its child.
        let neighbour = "use POSIX; if (!fork) { if (!fork) { $ENV{LISTEN_PID} = $$; open STDERR, '>', 'green'; \
                         open my $f, '>', 'neighbour'; print $f $$; close $f; \
                         exec $ARGV[0], '--from-systemd', '--interval=0', '--status-file=green-st', '--', 'sleep', '1000' } \
                         POSIX::_exit(0) } wait; $ENV{LISTEN_PID} = $$; exec @ARGV";
        s.write("neighbour.pl", neighbour);
        s.prelude("exec perl \"$FIXTURES/manager.pl\" tcp:127.0.0.1:$PORT -- perl neighbour.pl \"$0\" \"$@\"");
        start(s, &["--from-systemd", "--max-start-failures=1"], &["G2=exit=1"]);
        s.wait("the neighbour's worker", |s| s.path("green-st").exists());
        let worker = std::fs::read_to_string(s.path("green-st")).expect("a status file");
        let worker: i32 = worker.trim().rsplit(':').next().expect("a pid").parse().expect("a pid");
        s.signal("HUP");
        s.wait_line("giving up the restart");
        stop(s);
        let neighbour = pid_in(s, "neighbour").expect("a pid");
        assert!(!s.said().contains("still hold") && !s.said().contains(" holds "), "{}", s.said());
        assert!(!is_dead(neighbour) && !is_dead(worker), "the neighbour was ended");
        let said = std::fs::read_to_string(s.path("green")).expect("what the neighbour has said");
        assert!(!said.contains("received"), "{said}");
        send(neighbour, "TERM");
        s.wait_dead_process("neighbour");
    });
}

/// A process that `kubectl exec` leaves behind in a container becomes a child of the superdaemon, which is PID 1 there.
#[test]
fn what_is_left_in_a_container_is_left_alone() {
    ours_alone(|s| {
        let (root, enter) = if Uid::effective().is_root() {
            ("", [].as_slice())
        } else {
            ("--map-root-user", ["-U", "--preserve-credentials"].as_slice())
        };
        s.prelude(&format!("exec unshare {root} --pid --fork --kill-child --mount-proc \"$0\" \"$@\""));
        // Pids in there are small numbers that occur elsewhere, too, so no symbols are waited for.
        s.env("TMPDIR", "$DIR");
        s.start(&[&["--kill-timeout=2"], &READY_AT_ONCE[..]].concat());
        let serves = |s: &Scenario, begin: &str| {
            std::fs::read_to_string(s.path("st")).is_ok_and(|st| st.starts_with(begin) && st.lines().count() == 1)
        };
        s.wait("the first worker", |s| serves(s, "1:"));
        let superdaemon = children_of(s.superdaemon())[0];
        let mut exec = std::process::Command::new("nsenter");
        exec.args(["-t", &superdaemon.to_string(), "-p", "-m"]).args(enter);
        let leave = "setsid sleep 1000 >/dev/null 2>&1 & exit 0";
        assert!(exec.args(["sh", "-c", leave]).current_dir(s.path("")).status().expect("nsenter").success());
        let is_stranger = |pid: &i32| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.starts_with("sleep\0") || line.starts_with("sh\0") || line.starts_with("setsid\0")
        };
        let mut stranger = None;
        s.wait("a stranger", |_| {
            stranger = children_of(superdaemon).into_iter().find(is_stranger);
            stranger.is_some()
        });
        send(superdaemon, "HUP");
        s.wait("the second worker alone", |s| serves(s, "2:"));
        assert!(!is_dead(stranger.expect("a pid")), "the stranger was ended");
        assert!(!s.said().contains("has not ended in time"), "{}", s.said());
        send(superdaemon, "TERM");
        assert_eq!(s.wait_exit(), "exit 0");
        assert!(!s.said().contains("has not ended in time"), "{}", s.said());
    });
}

fn children_of(pid: i32) -> Vec<i32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Restarts and deaths of workers cost the same however many other processes there are: only a worker's family is
/// looked at.
#[test]
fn nobody_else_is_looked_at() {
    for options in [&["--kill-timeout=20", "--process-group"][..], &["--max-start-failures=5"], &["--ready=accepting"]]
    {
        ours_alone(|s| {
            s.strace("-o trace -e trace=?open,openat,?readlink,readlinkat");
            let worker =
                ["--port=127.0.0.1:$PORT", "--interval=0", "--status-file=st", "--", "$PROBE", "accept", "now"];
            s.start(&[options, &worker].concat());
            for generation in 1..=3 {
                s.wait_worker(generation);
                s.wait_file("st", &format!("{generation}:<W{generation}>\n"));
                if generation == 1 {
                    s.signal("HUP");
                    s.wait_line("old worker <W1> died");
                } else if generation == 2 {
                    s.signal_worker(2, "KILL");
                }
            }
            s.wait_rest();
            let trace = std::fs::read_to_string(s.path("trace")).expect("a trace");
            // Neither the list of all processes is read nor anything about these two.
            let others = ["\"/proc\"".to_owned(), "\"/proc/1/".to_owned(), format!("\"/proc/{}/", std::process::id())];
            let looks: Vec<&str> =
                trace.lines().filter(|line| others.iter().any(|other| line.contains(other))).collect();
            assert!(trace.contains("/task/") && looks.is_empty(), "{looks:?}");
            stop(s);
        });
    }
}

/// The start script has started a process of its own before it executed the superdaemon.
#[test]
fn what_a_sidecar_leaves_behind_is_left_alone() {
    ours_alone(|s| {
        s.write("leave", LEAVES_STRANGER);
        s.prelude("sh leave & true");
        start(s, &["--kill-timeout=2"], &[]);
        restart_beside_stranger(s);
    });
}

#[test]
fn what_a_log_command_leaves_behind_is_left_alone() {
    ours_alone(|s| {
        s.write("leave", LEAVES_STRANGER);
        s.env("TMPDIR", "$DIR");
        s.start(
            &[&["--kill-timeout=2", "--log-file=| sh -c '(sh leave &) ; exec cat >lines'"], &READY_AT_ONCE[..]]
                .concat(),
        );
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.write("go", "");
        s.wait("the stranger", |s| pid_in(s, "stranger").is_some());
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_file("st", "2:<W2>\n");
        let lines = std::fs::read_to_string(s.path("lines")).unwrap_or_default();
        assert!(!lines.contains("has not ended in time"), "{lines}");
        assert!(!is_dead(pid_in(s, "stranger").expect("a pid")), "the stranger was ended");
        s.kill_process("stranger");
        stop(s);
    });
}

/// The process has the environment of a worker, but no worker has started it.
#[test]
fn what_a_command_of_approval_leaves_behind_is_left_alone() {
    ours_alone(|s| {
        let command = "test $SERVER_STARTER_GENERATION = 2 || exit 0; setsid sh -c 'echo $$ >stranger.new; mv stranger.new stranger; \
                       exec sleep 1000' & while ! test -e stranger; do sleep 0.02; done; exit 1";
        s.write("command", command);
        start(s, &["--kill-timeout=2", "--approve=sh command"], &[]);
        s.signal("HUP");
        s.wait_line("giving up the restart, the old worker");
        s.wait_line("old worker <W2> died, status:0");
        assert!(!is_dead(pid_in(s, "stranger").expect("a pid")), "the stranger was ended");
        stop(s);
        assert!(!is_dead(pid_in(s, "stranger").expect("a pid")), "the stranger was ended");
        s.kill_process("stranger");
    });
}

/// The process has a session of its own and no environment, and its parent ends after the superdaemon has seen that it
/// descends from the worker.
#[test]
fn whoever_was_seen_to_descend_from_a_worker_belongs_to_it() {
    ours_alone(|s| {
        let script = "env -i PATH=\"$PATH\" sh -c 'trap \"\" TERM; setsid sh -c \"trap \\\"\\\" TERM; echo \\$\\$ >relative; exec sleep 1000\" & \
                      sleep 1000' & while ! test -s relative; do sleep 0.02; done; exec \"$@\"";
        s.write("worker", script);
        s.env("TMPDIR", "$DIR");
        s.strace("-o trace -e trace=kill");
        let worker = ["--", "sh", "worker", "$PROBE"];
        s.start(&[&["--kill-timeout=2", "--interval=0", "--status-file=st"], &worker[..]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("TERM");
        s.wait_line("worker <W1> has not ended in time, sending KILL");
        assert_eq!(s.wait_exit(), "exit 0");
        s.wait_dead_process("relative");
        // The worker has already been reaped, so its pid may belong to any process.
        let kills = std::fs::read_to_string(s.path("trace")).expect("a trace");
        assert!(kills.contains(&format!("kill({}, SIGTERM)", s.worker_pid(1))), "{kills}");
        assert!(!kills.contains(&format!("kill({}, SIGKILL)", s.worker_pid(1))), "{kills}");
    });
}

/// Each process forks the next one and exits, and ignores TERM. None is left when the superdaemon has ended.
#[test]
fn what_keeps_forking_is_ended() {
    ours_alone(|s| {
        // The chain ends by itself, even if this test fails.
        let chain = "$SIG{TERM} = 'IGNORE'; my $end = time + 120; \
                     while (time < $end) { exit if fork; select undef, undef, undef, $ARGV[0] }";
        s.write("chain.pl", chain);
        s.write("worker", "for pause in 0.05 0.002 0.001; do setsid perl chain.pl $pause & done; exec \"$@\"");
        s.env("TMPDIR", "$DIR");
        let worker = ["--", "sh", "worker", "$PROBE"];
        s.start(&[&["--kill-timeout=1", "--interval=0", "--status-file=st"], &worker[..]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        let links = |s: &Scenario| with_argument(s, "chain.pl").into_iter().filter(|&pid| !is_dead(pid)).count();
        s.wait("all three chains", |s| links(s) >= 3);
        s.signal("TERM");
        s.wait_line("worker <W1> has not ended in time, sending KILL");
        assert_eq!(s.wait_exit(), "exit 0");
        assert_eq!(links(s), 0);
    });
}

/// The group that the worker led still exists, so a signal for the group reaches a process, but not the worker.
#[test]
fn a_worker_that_has_left_its_group_is_stopped() {
    ours_alone(|s| {
        let worker = "if (!fork) { exec 'sleep', '1000' } setpgrp(0, getpgrp(getppid)); open my $f, '>', 'left'; close $f; \
                      exec 'sleep', '1000'";
        s.write("worker.pl", worker);
        s.start(&["--process-group", "--interval=0", "--", "perl", "worker.pl"]);
        s.wait("the worker", |s| s.path("left").exists());
        s.signal("TERM");
        assert_eq!(s.wait_exit(), "exit 0");
    });
}

/// A stopped process doesn't act on a signal, so the whole group is continued, with the worker.
#[test]
fn a_stopped_group_is_continued() {
    ours_alone(|s| {
        // In the background, as a shell that waits for a vfork(2) can't be stopped.
        let program = "sleep 1000 & echo >up; wait; exit 0";
        s.start(&["--process-group", "--interval=0", "--status-file=st", "--", "sh", "-c", program]);
        s.wait_file("st", "1:<W1>\n");
        s.wait_file("up", "\n");
        let line = s.show("st");
        let said = s.said();
        assert!(said.contains("starting new worker"), "{line}");
        let status = std::fs::read_to_string(s.path("st")).expect("the status file");
        let worker: i32 = status.trim().rsplit_once(':').expect("a line").1.parse().expect("a pid");
        crate::harness::send(-worker, "STOP");
        s.wait("the stop", |_| {
            let stat = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap_or_default();
            stat.contains(") T ")
        });
        s.signal("TERM");
        assert_eq!(s.wait_exit(), "exit 0");
    });
}

/// Neither a slow start nor the delay before old workers are stopped keeps dead processes of a worker waiting to be
/// reaped.
#[test]
fn what_a_worker_leaves_behind_is_reaped_in_every_wait() {
    let waits: [(&[&str], &[&str], bool); 2] =
        [(&["--ready=notify"], &["notify=READY=1"], false), (&["--kill-old-delay=1000"], &[], true)];
    for (options, behaviours, is_restarted) in waits {
        ours_alone(|s| {
            let leave = "while ! test -e go; do sleep 0.02; done; \
                         sh -c 'echo $$ >orphan; while ! test -e end; do sleep 0.02; done' & exit 0";
            s.write("leave", leave);
            s.write("worker", "test $SERVER_STARTER_GENERATION = 1 && sh leave & exec \"$@\"");
            s.env("TMPDIR", "$DIR");
            let worker = ["--kill-timeout=100", "--interval=0", "--", "sh", "worker", "$PROBE"];
            s.start(&[options, &worker, behaviours].concat());
            s.wait_worker(1);
            if is_restarted {
                s.signal("HUP");
                s.wait_line("sleeping 1000 secs before killing old workers");
            }
            s.write("go", "");
            s.wait("the orphan", |s| pid_in(s, "orphan").is_some());
            wait_adopted(s, "orphan");
            let orphan = format!("/proc/{}", pid_in(s, "orphan").expect("a pid"));
            s.write("end", "");
            s.wait("the orphan to be reaped", |_| !std::path::Path::new(&orphan).exists());
            stop(s);
        });
    }
}

/// A worker that sends its first listener to the socket `stranger`, and keeps running.
const SENDS_LISTENER: &str = "use POSIX; use Socket; \
     socket my $to, AF_UNIX, SOCK_DGRAM, 0 or die; connect $to, pack_sockaddr_un('stranger') or die; \
     my ($fd) = $ENV{SERVER_STARTER_PORT} =~ /=(\\d+)/; my $text = 'x'; my $vector = pack 'PQ', $text, 1; \
     my $control = pack 'Q i i i x4', 20, 1, 1, $fd; \
     my $header = pack 'Q Q P Q P Q i x4', 0, 0, $vector, 1, $control, 24, 0; \
     syscall((POSIX::uname())[4] eq 'aarch64' ? 211 : 46, fileno $to, $header, 0) == 1 or die $!; sleep 1000";

/// Waits for the listener that a worker sends, and takes it.
fn receive_listener(socket: &UnixDatagram) -> OwnedFd {
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC);
    let message = message.expect("a message");
    let mut fds = message.cmsgs().expect("control messages").flat_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => fds,
        _ => Vec::new(),
    });
    #[expect(unsafe_code, reason = "the kernel has just made it, and nobody else knows of it")]
    // SAFETY: it is open, and this is its only owner.
    unsafe {
        OwnedFd::from_raw_fd(fds.next().expect("a descriptor"))
    }
}

/// A process that got a listener over a socket still holds it when everything has ended. With options of ours, the log
/// says so.
#[test]
fn a_stranger_that_holds_a_listener_is_named_at_the_end() {
    for (options, is_named) in [(&["--kill-timeout=100"][..], true), (&["--max-start-failures=1"], true), (&[], false)]
    {
        ours_alone(|s| {
            let socket = UnixDatagram::bind(s.path("stranger")).expect("a socket");
            s.write("worker.pl", SENDS_LISTENER);
            let has_failed = options.concat().contains("failures");
            let shell = if has_failed { "perl worker.pl & wait $!; exit 1" } else { "exec perl worker.pl" };
            if has_failed {
                s.write("worker.pl", &SENDS_LISTENER.replace("sleep 1000", "exit 0"));
            }
            let ours = ["--port=127.0.0.1:$PORT", "--path=sock", "--interval=1", "--", "sh", "-c", shell];
            s.start(&[options, &ours].concat());
            let held = receive_listener(&socket);
            if !has_failed {
                s.signal("TERM");
            }
            assert_eq!(s.wait_exit(), if has_failed { "exit 125" } else { "exit 0" });
            let name = std::fs::read_to_string("/proc/self/comm").expect("a name");
            let line = format!(
                "{} ({}) holds 127.0.0.1:$PORT too; not started by a worker\n",
                std::process::id(),
                name.trim()
            );
            assert_eq!(s.said().contains(&line), is_named, "{}{line}", s.said());
            assert_eq!(s.said().contains(" holds "), is_named, "{}", s.said());
            drop(held);
            s.remove("stranger");
        });
    }
}
