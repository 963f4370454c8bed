//! Why a new worker has failed to start: what the log says if options of ours are in use, and what `--restart` says.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use super::stop;
use crate::harness::{Output, Scenario, original_alone, ours_alone};

const FILES: [&str; 3] = ["--pid-file=pid", "--status-file=st", "--port=127.0.0.1:$PORT"];
const RESTART: [&str; 3] = ["--restart", "--pid-file=pid", "--status-file=st"];

/// Runs a command line of ours, whichever program is the superdaemon.
type Run = fn(&mut Scenario, &[&str]) -> Output;

/// The worker is `sh worker`. Each restart runs the current content of that file.
fn start(s: &mut Scenario, options: &[&str]) {
    s.write("worker", "exec sleep 1000\n");
    let limits = ["--max-start-failures=1", "--interval=1"];
    s.start(&[&FILES[..], &limits, options, &["--", "sh", "worker"]].concat());
    s.wait("the first worker", |s| s.path("st").exists());
}

/// Deploys a worker that fails, and returns the reason that `--restart` gives.
fn deploy(s: &mut Scenario, worker: &str) -> String {
    s.write("worker", worker);
    let output = s.run(&RESTART);
    assert_eq!(output.end, "exit 125");
    let reason =
        output.stderr.strip_prefix("the restart was given up, the old worker keeps running\n").expect(&output.stderr);
    // The log has the reason's first line, too.
    s.wait_line(reason.lines().next().unwrap());
    reason.to_owned()
}

#[test]
fn exit_codes_and_signals() {
    ours_alone(|s| {
        start(s, &[]);
        assert_eq!(deploy(s, "exit 3\n"), "it has failed: exit 3\n");
        assert_eq!(deploy(s, "kill -SEGV $$\n").replace(" (core dumped)", ""), "it has failed: killed by SIGSEGV\n");
        assert_eq!(deploy(s, "kill -40 $$\n"), "it has failed: killed by signal 40\n");
        stop(s);
    });
}

#[test]
fn a_program_that_is_not_there() {
    ours_alone(|s| {
        s.env("PATH", "$DIR/bin:/bin:/usr/bin");
        s.mkdir("bin");
        s.write("bin/worker", "#!/bin/sh\nexec sleep 1000\n");
        fs::set_permissions(s.path("bin/worker"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        s.start(&[&FILES[..], &["--max-start-failures=1", "--", "worker"]].concat());
        s.wait("the first worker", |s| s.path("st").exists());
        fs::rename(s.path("bin/worker"), s.path("bin/gone")).unwrap();
        let output = s.run(&RESTART);
        assert_eq!(output.end, "exit 125");
        let expected = "it has failed: exec: No such file or directory; PATH is $DIR/bin:/bin:/usr/bin\n";
        assert_eq!(output.stderr, format!("the restart was given up, the old worker keeps running\n{expected}"));
        s.wait_line(expected.trim_end());
        stop(s);
    });
}

#[test]
fn the_last_lines_of_the_log() {
    ours_alone(|s| {
        start(s, &["--log-file=log"]);
        s.write(
            "worker",
            "for line in 1 2 3 4 5 6; do echo line $line; done; echo \"bad \\033[31mthing\" >&2; exit 1\n",
        );
        let output = s.run(&RESTART);
        let expected = "it has failed: exit 1\nline 3\nline 4\nline 5\nline 6\nbad \\u{1b}[31mthing\n";
        assert_eq!(output.stderr, format!("the restart was given up, the old worker keeps running\n{expected}"));
        stop(s);
    });
}

/// Asks for restarts that don't finish in time, until one reports what is `expected`. A single one may have seen less.
fn restart_until(s: &mut Scenario, run: Run, expected: impl Fn(&str) -> bool) {
    s.wait("a reason", |s| {
        let output = run(s, &[&RESTART[..], &["--restart-timeout=2"]].concat());
        // On a very busy machine, a worker may survive its interval before it fails.
        if output.end == "exit 123" {
            return false;
        }
        assert_eq!(output.end, "exit 124", "{}", output.stderr);
        let reason = output.stderr.strip_prefix("the restart did not finish within 2 seconds\n").expect(&output.stderr);
        expected(&without_generations(reason))
    });
}

/// Replaces `generation 12` by `generation N`.
fn without_generations(text: &str) -> String {
    let mut parts = text.split("generation ");
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()));
    rest.fold(first, |text, part| format!("{text}generation N{part}"))
}

/// A restart continues after its time is over, with starts that fail again and again.
#[test]
fn a_failure_that_is_tried_again() {
    ours_alone(|s| {
        s.write("worker", "exec sleep 1000\n");
        s.start(&[&FILES[..], &["--interval=1", "--kill-timeout=60", "--", "sh", "worker"]].concat());
        s.wait("the first worker", |s| s.path("st").exists());
        s.write("worker", "exit 3\n");
        restart_until(s, Scenario::run, |reason| {
            reason == "generation N has failed, waiting for generation N\nit has failed: exit 3\n"
        });
        // The note is removed when a worker has started.
        assert!(s.path("st.failed").exists());
        s.write("worker", "exec sleep 1000\n");
        s.wait("another worker", |s| !s.path("st.failed").exists());
        stop(s);
    });
}

/// Neither the original nor ours without our own options writes a note. `--restart` finds the reason in the log, if
/// that is a file.
#[test]
fn a_failure_that_only_the_log_tells_of() {
    fn tell(s: &mut Scenario, run: Run) {
        s.write("worker", "exec sleep 1000\n");
        s.start(&[&FILES[..], &["--interval=1", "--log-file=log", "--", "sh", "worker"]].concat());
        s.wait("the first worker", |s| s.path("st").exists());
        s.write("worker", "echo it is broken; kill -SEGV $$\n");
        restart_until(s, run, |reason| {
            // When the worker has died, its generation is unknown, so two wordings are possible.
            let expected = "generation N has failed, waiting for generation N\n\
                            it has failed: killed by SIGSEGV\nit is broken\n";
            let reason = reason.replace(" (core dumped)", "");
            let reason =
                reason.replace("the last start has", "generation N has").replace("the next one", "generation N");
            reason == expected
        });
        assert!(!s.path("st.failed").exists());
        stop(s);
    }
    ours_alone(|s| tell(s, Scenario::run));
    original_alone(|s| tell(s, Scenario::run_other));
}

/// `--restart` names the worker that has to end.
#[test]
fn an_old_worker_that_does_not_end() {
    ours_alone(|s| {
        s.start(&[&FILES[..], &["--interval=0", "--", "$PROBE", "G1=ign=TERM"]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        let output = s.run(&[&RESTART[..], &["--restart-timeout=5"]].concat());
        assert_eq!(output.end, "exit 123", "{}", output.stderr);
        let expected = "the new version serves, but the restart did not finish within 5 seconds\n\
                        generation 2 has started, waiting for the end of 1 (pid <W1>)\n";
        assert_eq!(output.stderr, expected);
        s.signal_worker(1, "KILL");
        s.wait_line("old worker <W1> died, status:9");
        stop(s);
    });
}

/// A worker that was given up and doesn't end may be the only one left. A restart doesn't take it for the new one.
#[test]
fn a_failed_worker_is_not_the_new_one() {
    ours_alone(|s| {
        s.env("TMPDIR", "$DIR");
        let options = ["--ready=notify", "--ready-timeout=5", "--interval=6", "--", "$PROBE", "notify=READY=1"];
        s.start(&[&FILES[..], &options, &["G1=now", "G2=ign=TERM", "G3+=now"]].concat());
        s.wait_file("st", "1:<W1>\n");
        // The death is found before the HUP is acted on, so generation 2 is started when no other worker is left.
        s.signal("STOP");
        s.signal_worker(1, "KILL");
        s.wait_dead(1);
        let restart = s.begin(&RESTART);
        s.wait("the HUP", |s| is_pending(s.superdaemon(), Signal::SIGHUP));
        s.signal("CONT");
        s.wait_line("new worker <W2> is not ready in time, sending TERM");
        s.wait_file("st", "2:<W2>\n");
        // It starts a second later; meanwhile, the restart looks again and again.
        s.wait_worker(3);
        assert!(s.is_running(&restart));
        s.signal_worker(2, "KILL");
        assert_eq!(s.end(restart).end, "exit 0");
        stop(s);
    });
}

/// Whether this signal is pending for a stopped process.
fn is_pending(pid: i32, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let mask = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).expect("its signals");
    u64::from_str_radix(mask.trim(), 16).expect("a mask") & 1 << (signal as i32 - 1) != 0
}

/// The reason names what the worker lacks, and its last output.
#[test]
fn a_worker_that_is_never_ready() {
    ours_alone(|s| {
        let program = "exec perl -MIO::Socket::INET -e '$ENV{SERVER_STARTER_PORT} =~ /=([0-9]+)$/; open my $l, \"<&=$1\"; accept my $c, $l'\n";
        s.write("worker", program);
        let limits = ["--ready=accepting", "--ready-timeout=10", "--max-start-failures=1", "--log-file=log"];
        s.start(&[&FILES[..], &limits, &["--", "sh", "worker"]].concat());
        s.wait("the first worker", |s| s.path("st").exists());
        s.write("worker", "echo waiting for the database; exec sleep 1000\n");
        let output = s.run(&RESTART);
        assert_eq!(output.end, "exit 125");
        let lines: Vec<&str> = output.stderr.lines().collect();
        assert_eq!(lines[0], "the restart was given up, the old worker keeps running");
        assert!(lines[1].starts_with("new worker ") && lines[1].ends_with(" is not ready in time"), "{lines:?}");
        let lack = "it has failed: it is alive, but has not waited for a connection at a listener after 1";
        assert!(lines[2].starts_with(lack) && lines[2].ends_with(" seconds"), "{lines:?}");
        assert_eq!(lines[3..], ["waiting for the database"]);
        s.wait_line_in("log", lack);
        stop(s);
    });
}

/// A log that has become a FIFO, whose open(2) would block, keeps nobody waiting.
#[test]
fn a_log_that_becomes_a_fifo() {
    ours_alone(|s| {
        start(s, &["--log-file=log"]);
        s.write("worker", "rm log; mkfifo log; exit 3\n");
        // Not run by the scenario, which would read the log.
        let output = Command::new(s.program())
            .args(RESTART)
            .arg("--restart-timeout=60")
            .current_dir(s.path("."))
            .output()
            .expect("our program");
        s.remove("log");
        assert_eq!(output.status.code(), Some(125));
        let expected = "the restart was given up, the old worker keeps running\nit has failed: exit 3\n";
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
        stop(s);
    });
}

/// The reason includes the output of the command of --approve.
#[test]
fn a_worker_that_is_not_approved() {
    ours_alone(|s| {
        s.write("approve", "exit 0\n");
        start(s, &["--approve=sh approve", "--log-file=log"]);
        s.write("approve", "echo the smoke test fails; exit 1\n");
        let output = s.run(&RESTART);
        assert_eq!(output.end, "exit 125");
        let tail = " is not approved (exit 1)\nthe smoke test fails\n";
        assert!(output.stderr.ends_with(tail), "{}", output.stderr);
        stop(s);
    });
}

/// A program that knows nothing of `SERVER_STARTER_PORT` fails this way.
#[test]
fn a_worker_that_listens_by_itself() {
    ours_alone(|s| {
        start(s, &["--log-file=log"]);
        let perl = "exec perl -MIO::Socket::INET -e 'IO::Socket::INET->new(Listen => 5, LocalAddr => \"127.0.0.1:PORT\") or die \"$!\\n\"'\n";
        s.write("worker", &perl.replace("PORT", &s.port().to_string()));
        let output = s.run(&RESTART);
        let expected = ", it listens to 127.0.0.1:$PORT by itself, but start_server holds that: it has to use the listener in \
                        SERVER_STARTER_PORT\nAddress already in use\n";
        assert!(
            output.stderr.ends_with(&s.with_symbols(&expected.replace("$PORT", &s.port().to_string()))),
            "{}",
            output.stderr
        );
        stop(s);
    });
}

#[test]
fn a_worker_that_goes_into_the_background() {
    ours_alone(|s| {
        start(s, &[]);
        let reason = deploy(s, "sleep 1000 & echo $! >child; exit 0\n");
        assert_eq!(reason, "it has failed: exit 0, it went into the background: it must stay in the foreground\n");
        // The process in the background was stopped with its parent.
        s.wait_dead_process("child");
        stop(s);
    });
}

/// With the original's options alone, ours says nothing more than it does.
#[test]
fn nothing_more_without_options_of_ours() {
    ours_alone(|s| {
        s.start(&[&FILES[..], &["--interval=0", "--", "sh", "-c", "exit 3"]].concat());
        s.wait_line("seems to have failed to start, exit status:768");
        s.wait_line("seems to have failed to start, exit status:768");
        assert!(!s.said().contains("it has failed"), "{}", s.said());
        stop(s);
    });
}

/// On a terminal, `--restart` shows what it waits for, and in the end the result, also for a running original.
#[test]
fn a_restart_on_a_terminal() {
    ours_alone(|s| on_a_terminal(s, Scenario::program, Scenario::run));
    original_alone(|s| on_a_terminal(s, Scenario::other, Scenario::run_other));
}

/// Ctrl-C ends the command, not the restart, and the command says so.
#[test]
fn an_interrupt_on_a_terminal() {
    ours_alone(|s| {
        s.start(&[&FILES[..], &["--ready=notify", "--", "$PROBE", "notify=READY=1", "G1=now"]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        // The restart isn't over yet, as the new worker is not ready before USR2.
        let (directory, program) = (s.path("."), s.program().display().to_string());
        let restart = format!("echo $$ >restart; exec '{program}' {}", RESTART.join(" "));
        let command = format!("cd '{}'; sh -c \"{}\"; echo code $?", directory.display(), restart.replace('$', "\\$"));
        let screen = s.path("screen");
        // Tests may run in the background of a shell, which makes them ignore INT.
        let mut script = Command::new("env")
            .args(["--default-signal=INT", "script", "--quiet", "--flush", "--command", &command])
            .arg(&screen)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("script");
        let shown = || fs::read_to_string(&screen).unwrap_or_default();
        s.wait("a line", |_| shown().contains(" s: waiting for generation 2 to start"));
        let pid = fs::read_to_string(s.path("restart")).unwrap();
        crate::harness::send(pid.trim().parse().unwrap(), "INT");
        s.wait("the end of the restart", |_| script.try_wait().unwrap().is_some());
        assert!(shown().contains("to start\u{1b}[?7h\r\nthe restart continues\r\n"), "{:?}", shown());
        assert!(shown().contains("code 130\r\n"), "{:?}", shown());
        s.wait_worker(2);
        s.signal_worker(2, "USR2");
        s.wait_file("st", "2:<W2>\n");
        s.remove("screen");
        s.remove("restart");
        stop(s);
    });
}

/// `program` returns ours, and `run` runs ours.
fn on_a_terminal(s: &mut Scenario, program: fn(&Scenario) -> &Path, run: Run) {
    s.start(&[&FILES[..], &["--interval=1", "--", "$PROBE"]].concat());
    s.wait_worker(1);
    s.wait_file("st", "1:<W1>\n");
    let command = format!("cd '{}'; '{}' {}", s.path(".").display(), program(s).display(), RESTART.join(" "));
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .output()
        .expect("script");
    assert!(output.status.success());
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains(" s: waiting for generation 2 to start\u{1b}[?7h\r\u{1b}[K"), "{shown:?}");
    let told = &shown[shown.rfind("\u{1b}[K").unwrap() + 3..];
    let lines: Vec<&str> = told.lines().collect();
    assert!(
        lines[0].starts_with("generation 2 serves: it started after ") && lines[0].ends_with(" s later"),
        "{told:?}"
    );
    assert_eq!(lines[1], format!("127.0.0.1:{}: 0 refused by a full queue", s.port()));
    // Without a terminal, it writes nothing.
    let output = run(s, &RESTART);
    assert_eq!((output.end.as_str(), output.stdout.as_str(), output.stderr.as_str()), ("exit 0", "", ""));
    stop(s);
}
