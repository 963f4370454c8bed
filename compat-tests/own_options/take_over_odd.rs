//! Odd cases of `--take-over`: each either works, or is refused with a reason, and the original keeps running.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::geteuid;

use super::stop;
use super::upgrade::{program_of, status_line};
use crate::harness::{Scenario, original_alone, send};

const TAKE_OVER: [&str; 2] = ["--take-over", "--pid-file=pid"];
const START: [&str; 6] =
    ["--pid-file=pid", "--status-file=st", "--port=127.0.0.1:$PORT", "--interval=0", "--", "$PROBE"];

fn start(s: &mut Scenario) {
    s.start(&START);
    s.wait_worker(1);
    s.wait_file("st", "1:<W1>\n");
    s.wait_rest();
}

fn take_over(s: &Scenario) -> (Option<i32>, String) {
    said(&Command::new(s.other()).args(TAKE_OVER).current_dir(s.path(".")).output().unwrap())
}

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn is_ours(s: &Scenario) -> bool {
    program_of(s) == fs::canonicalize(s.other()).unwrap()
}

fn limit(s: &Scenario, resource: &str) {
    let set = Command::new("prlimit").args(["--pid", &s.superdaemon().to_string(), resource]).status();
    assert!(set.expect("prlimit").success());
}

/// Expects a refusal, after which the original works as before.
fn refused(s: &mut Scenario, reason: &str) {
    let (code, text) = take_over(s);
    assert!(code == Some(125) && text.contains(reason), "{code:?} {text}");
    assert!(!is_ours(s));
    assert!(status_line(s, "SigBlk").ends_with("\t0000000000000000"));
    // The workers have to write more than the limit allows.
    limit(s, "--fsize=unlimited:");
    restarts_and_ends(s);
}

/// HUP leads to another worker, and the end leaves nothing.
fn restarts_and_ends(s: &mut Scenario) {
    send(s.superdaemon(), "HUP");
    s.wait_worker(2);
    s.wait_file("st", "2:<W2>\n");
    stop(s);
    assert_eq!(s.ls(), "");
}

#[test]
fn a_limit_of_the_size_of_files() {
    original_alone(|s| {
        start(s);
        limit(s, "--fsize=100:");
        refused(s, "its file size limit is less than the ");
    });
}

/// Around the number of descriptors that the copy, or this program, needs.
#[test]
fn a_limit_of_descriptors() {
    for most in 6..12 {
        original_alone(|s| {
            start(s);
            limit(s, &format!("--nofile={most}:"));
            let (code, text) = take_over(s);
            println!("{most}: {code:?} {text}");
            assert!(matches!(code, Some(0 | 125)), "{most}: {code:?} {text}");
            assert_eq!(is_ours(s), code == Some(0));
            limit(s, "--nofile=100:");
            restarts_and_ends(s);
        });
    }
}

#[test]
fn a_stopped_process() {
    original_alone(|s| {
        start(s);
        send(s.superdaemon(), "STOP");
        s.wait("its stop", |s| status_line(s, "State").contains("T (stopped)"));
        let pid = s.superdaemon();
        let (code, text) = take_over(s);
        let sentence = format!("process {pid} is stopped by a signal: continue it with kill -CONT {pid}\n");
        assert!(code == Some(125) && text.ends_with(&sentence), "{code:?} {text}");
        send(pid, "CONT");
        s.wait_rest();
        assert_eq!(take_over(s).0, Some(0));
        stop(s);
    });
}

/// A variable whose name begins like ours stays, and the script may have another name.
#[test]
fn names_of_others() {
    original_alone(|s| {
        s.env("START_SERVER_STATE_DIR", "/x");
        std::os::unix::fs::symlink(s.program(), s.path("server-starter.pl")).unwrap();
        s.prelude("shift 0; exec perl ./server-starter.pl \"$@\"");
        s.start(&START);
        s.prelude("");
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.wait_rest();
        let (code, text) = take_over(s);
        assert_eq!(code, Some(0), "{text}");
        send(s.superdaemon(), "HUP");
        s.wait_worker(2);
        assert!(s.report_of(2).contains("env START_SERVER_STATE_DIR=/x\n"), "{}", s.report_of(2));
        stop(s);
        s.remove("server-starter.pl");
    });
}

/// A signal arrives while the superdaemon is traced, in a take-over that is refused, unless the restart has written a new
/// status file by then. Either way, the signal counts.
#[test]
fn a_signal_and_a_refusal() {
    for signal in ["HUP", "TERM"] {
        original_alone(|s| {
            start(s);
            fs::write(s.path("st"), "nonsense\n").unwrap();
            let mut command = Command::new(s.other())
                .args(TAKE_OVER)
                .current_dir(s.path("."))
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let status = format!("/proc/{}/status", s.superdaemon());
            let is_traced = || !fs::read_to_string(&status).unwrap().contains("TracerPid:\t0\n");
            // The trace is too short for the pauses of `Scenario::wait`, and ends with the command.
            while !is_traced() && command.try_wait().unwrap().is_none() {}
            send(s.superdaemon(), signal);
            let (code, text) = said(&command.wait_with_output().unwrap());
            // After TERM, the process may be gone before it is looked at once more.
            let codes: &[_] = if signal == "HUP" { &[0, 125] } else { &[3, 125] };
            assert!(codes.contains(&code.unwrap()) && !text.is_empty(), "{signal}: {code:?} {text}");
            println!("{signal}: {code:?} {text}");
            if signal == "HUP" {
                s.wait_worker(2);
                s.wait_file("st", "2:<W2>\n");
                stop(s);
            } else {
                assert_eq!(s.wait_exit(), "exit 0");
            }
        });
    }
}

/// An old worker that ignored its stop signal gets it again.
#[test]
fn an_old_worker_that_was_not_told() {
    original_alone(|s| {
        s.start(&[&START[..], &["ign=TERM"]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        send(s.superdaemon(), "HUP");
        s.wait_worker(2);
        s.wait_report(1, "got TERM");
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        s.wait_rest();
        assert_eq!(take_over(s).0, Some(0));
        s.wait_report(1, "got TERM");
        s.signal_worker(1, "KILL");
        s.signal_worker(2, "KILL");
        s.wait_worker(3);
        send(s.superdaemon(), "TERM");
        s.wait_report(3, "got TERM");
        s.signal_worker(3, "KILL");
        assert_eq!(s.wait_exit(), "exit 0");
    });
}

/// Files that the command line of another user's process names are read with that user's rights, even if root asks.
#[test]
fn what_its_user_may_not_read() {
    if !geteuid().is_root() {
        return;
    }
    original_alone(|s| {
        s.copy_other();
        fs::set_permissions(s.path(".."), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(s.path("."), fs::Permissions::from_mode(0o777)).unwrap();
        s.mkdir("secret");
        s.write("secret/API_KEY", "s3cr3t\n");
        s.write("whole", "1:1\ns3cr3t\n");
        for path in ["secret", "whole"] {
            fs::set_permissions(s.path(path), fs::Permissions::from_mode(0o700)).unwrap();
        }
        let mut superdaemon = Command::new(s.program())
            .args(["--pid-file=pid", "--status-file=st", "--envdir=secret", "--interval=0", "--", "sleep", "1000"])
            .current_dir(s.path("."))
            .uid(65534)
            .gid(65534)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        s.wait("the worker", |s| s.path("st").exists());
        let pid = i32::try_from(superdaemon.id()).unwrap();
        // Its user could put a link there, which root could follow.
        fs::remove_file(s.path("st")).unwrap();
        std::os::unix::fs::symlink("whole", s.path("st")).unwrap();
        let (code, text) = take_over(s);
        assert!(code == Some(125) && text.ends_with("it has no worker whose generation is known\n"), "{code:?} {text}");
        fs::remove_file(s.path("st")).unwrap();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        fs::write(s.path("st"), format!("1:{}\n", children.trim())).unwrap();
        let trace = s.path("trace");
        let output = Command::new("strace")
            .args(["-e", "trace=openat,pwrite64", "-s", "10000", "-o"])
            .arg(&trace)
            .arg(s.other())
            .args(TAKE_OVER)
            .current_dir(s.path("."))
            .output()
            .expect("strace");
        assert_eq!(output.status.code(), Some(0), "{}", said(&output).1);
        let trace = fs::read_to_string(trace).unwrap();
        assert!(trace.contains("start_server state") && !trace.contains("s3cr3t"), "{trace}");
        send(pid, "TERM");
        superdaemon.wait().unwrap();
        for file in ["trace", "st", "whole", "secret/API_KEY"] {
            let _ = fs::remove_file(s.path(file));
        }
        let _ = fs::remove_dir(s.path("secret"));
    });
}

/// A signal arrives between the original's last check for signals and its wait, where the original would forget it
/// until something else happens. It is acted on before the take-over. (F6b)
#[test]
fn what_it_has_been_told_and_forgotten() {
    for signal in ["HUP", "INT", "TERM"] {
        original_alone(|s| {
            s.write(
                "Window.pm",
                "package Window;
                INIT {
                    no warnings;
                    my $wait = \\&Server::Starter::_wait3;
                    *Server::Starter::_wait3 = sub {
                        if ($_[0] && -e 'hold') {
                            open my $held, '>', 'held';
                            select undef, undef, undef, 0.01 while -e 'hold';
                        }
                        $wait->(@_);
                    };
                }
                1;\n",
            );
            s.prelude("exec perl -I. -MWindow \"$0\" \"$@\"");
            start(s);
            s.prelude("");
            s.write("hold", "");
            send(s.superdaemon(), "ALRM");
            s.wait("the window", |s| s.path("held").exists());
            {
                send(s.superdaemon(), signal);
            }
            s.remove("hold");
            s.wait_rest();
            assert!(!s.said().contains("received "), "{}", s.said());
            let (code, text) = take_over(s);
            if signal == "HUP" {
                assert_eq!(code, Some(0), "{text}");
                s.wait_worker(2);
                s.wait_file("st", "2:<W2>\n");
                stop(s);
            } else {
                assert_eq!(s.wait_exit(), "exit 0", "{code:?} {text}");
            }
        });
    }
}

/// The status file is a FIFO without a writer. The command doesn't wait for it, as the original stands still meanwhile.
#[test]
fn a_status_file_that_is_a_fifo() {
    original_alone(|s| {
        start(s);
        fs::remove_file(s.path("st")).unwrap();
        nix::unistd::mkfifo(&s.path("st"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused(s, "it has no worker whose generation is known");
    });
}

/// HUP and TERM arrive while the command has stopped the original, and then the command is killed: the original acts on
/// them all the same.
#[test]
fn a_signal_before_the_command_is_killed() {
    let (stops, is_over) = (Cell::new(0), Cell::new(false));
    for call in (2..).step_by(7) {
        for signal in ["HUP", "TERM"] {
            original_alone(|s| {
                start(s);
                let stop_at = format!("inject=ptrace:signal=STOP:when={call}");
                let mut strace = Command::new("strace")
                    .args(["-qq", "-o", "trace", "-e", "trace=ptrace", "-e", &stop_at])
                    .arg(s.other())
                    .args(TAKE_OVER)
                    .current_dir(s.path("."))
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("strace");
                s.wait("the command's stop or end", |s| {
                    is_over.set(strace.try_wait().unwrap().is_some());
                    let trace = fs::read_to_string(s.path("trace")).unwrap_or_default();
                    is_over.get() || trace.contains("--- stopped by SIGSTOP ---")
                });
                let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", strace.id()));
                let command = children.ok().and_then(|children| children.trim().parse::<i32>().ok());
                send(s.superdaemon(), signal);
                if let Some(command) = command.filter(|_| !is_over.get()) {
                    stops.set(stops.get() + 1);
                    send(command, "KILL");
                    strace.wait().unwrap();
                }
                if signal == "HUP" {
                    s.wait_worker(2);
                    s.wait_file("st", "2:<W2>\n");
                    stop(s);
                } else {
                    assert_eq!(s.wait_exit(), "exit 0");
                }
            });
        }
        if is_over.get() {
            break;
        }
    }
    assert!(stops.get() > 10, "{} stops", stops.get());
}

/// A library for the original's environment. It makes the copy do what the C statements say before it comes to the
/// rehearsal.
fn delay(s: &mut Scenario, statements: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let source = format!(
        "#include <string.h>\n#include <time.h>\n#include <unistd.h>\n\
         __attribute__((constructor)) static void delay(int argc, char **argv) {{\n\
         if (argc > 1 && strncmp(argv[1], \"--rehearse-state=\", 17) == 0) {{ {statements} }}\n}}\n"
    );
    fs::write(directory.path().join("delay.c"), source).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o", "delay.so", "delay.c"]).current_dir(&directory);
    assert!(compiler.status().expect("cc").success());
    let library = directory.path().join("delay.so");
    s.prelude(&format!("export LD_PRELOAD={}; exec \"$0\" \"$@\"", library.display()));
    start(s);
    s.prelude("");
    s.may_take_longer(Duration::from_secs(60));
    directory
}

/// Longer than a copy may sleep. On a slow or busy machine, it is like this.
#[test]
fn a_copy_that_is_at_work() {
    original_alone(|s| {
        let work = "struct timespec begin, now; clock_gettime(CLOCK_MONOTONIC, &begin); \
                    do clock_gettime(CLOCK_MONOTONIC, &now); while (now.tv_sec < begin.tv_sec + 7);";
        let _library = delay(s, work);
        let begin = Instant::now();
        let (code, text) = take_over(s);
        assert_eq!(code, Some(0), "{text}");
        assert!(cfg!(target_feature = "crt-static") || begin.elapsed() > Duration::from_secs(6));
        restarts_and_ends(s);
    });
}

/// A static program loads no library.
#[cfg(not(target_feature = "crt-static"))]
#[test]
fn a_copy_that_hangs() {
    original_alone(|s| {
        let _library = delay(s, "for (;;) pause();");
        let (code, text) = take_over(s);
        assert!(code == Some(125) && text.ends_with("it has not answered in time\n"), "{code:?} {text}");
        assert!(!is_ours(s));
        restarts_and_ends(s);
    });
}
