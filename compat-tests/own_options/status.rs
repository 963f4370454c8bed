//! Reports for operators: `--show-status` and its exit codes, those of `--restart`, and `--end-without-worker`.

use super::stop;
use crate::harness::{Output, Scenario, original_alone, ours_alone};

const FILES: [&str; 2] = ["--pid-file=pid", "--status-file=st"];
const RESTART: [&str; 3] = ["--restart", "--pid-file=pid", "--status-file=st"];
/// Workers become ready by USR2, or at once.
const UNTIL_READY: [&str; 2] = ["--ready=notify", "--interval=0"];
const NOTIFY: [&str; 3] = ["--", "$PROBE", "notify=READY=1"];

/// Runs `--show-status`, without the status file unless `options` name it.
fn status(s: &mut Scenario, options: &[&str]) -> Output {
    s.run_unrecorded(&[&["--show-status", "--pid-file=pid"], options].concat())
}

/// Compares the lines of workers without their ages, as in `generation 1, pid <W1>, current`.
#[track_caller]
fn expect_workers(output: &Output, expected: &[&str]) {
    let lines = output.stdout.lines().filter(|line| line.starts_with("generation ") && line.contains(", pid "));
    let lines: Vec<String> = lines.map(|line| line.split(", ").take(3).collect::<Vec<_>>().join(", ")).collect();
    assert_eq!(lines, expected, "{}", output.stdout);
}

fn start(s: &mut Scenario, options: &[&str], behaviours: &[&str]) {
    s.env("TMPDIR", "$DIR");
    s.start(&[&UNTIL_READY, &FILES[..], options, &NOTIFY, behaviours].concat());
    s.wait_worker(1);
}

// --- who is shown as what

#[test]
fn each_state_of_a_restart() {
    ours_alone(|s| {
        start(s, &["--path=sock"], &["G1=ign=TERM"]);
        let output = status(s, &[]);
        assert_eq!(output.end, "exit 150");
        expect_workers(&output, &["generation 1, pid <W1>, starting"]);
        assert!(output.stdout.contains("\nno worker serves\n"), "{}", output.stdout);
        s.signal_worker(1, "USR2");
        s.wait_file("st", "1:<W1>\n");
        let output = status(s, &[]);
        assert_eq!(output.end, "exit 0");
        expect_workers(&output, &["generation 1, pid <W1>, current"]);
        assert!(output.stdout.contains("\nlistener sock, waiting 0"), "{}", output.stdout);
        s.signal("HUP");
        s.wait_worker(2);
        let output = status(s, &[]);
        assert_eq!(output.end, "exit 0");
        expect_workers(&output, &["generation 1, pid <W1>, current", "generation 2, pid <W2>, starting"]);
        assert!(output.stdout.contains("\na restart has been under way for "), "{}", output.stdout);
        s.signal_worker(2, "USR2");
        s.wait_report(1, "got TERM");
        s.wait_rest();
        let output = status(s, &[]);
        expect_workers(&output, &["generation 1, pid <W1>, stopping", "generation 2, pid <W2>, current"]);
        assert!(output.stdout.contains(" (TERM "), "{}", output.stdout);
        s.signal_worker(1, "KILL");
        s.wait_file("st", "2:<W2>\n");
        s.wait_rest();
        let output = status(s, &[]);
        expect_workers(&output, &["generation 2, pid <W2>, current"]);
        assert!(!output.stdout.contains("restart"), "{}", output.stdout);
        stop(s);
    });
}

/// The worker that serves isn't mistaken for the one that was refused, although the status file lists both.
#[test]
fn a_refused_worker() {
    ours_alone(|s| {
        start(s, &["--ready-timeout=5", "--max-start-failures=1", "--kill-timeout=1000"], &["G1=now", "G2=ign=TERM"]);
        s.wait_file("st", "1:<W1>\n");
        let restart = s.begin(&RESTART);
        s.wait_line("giving up the restart, the old worker keeps running");
        s.wait_report(2, "got TERM");
        s.wait_rest();
        assert_eq!(s.show("st"), "1:<W1>\n2:<W2>\n");
        let output = status(s, &["--status-file=st"]);
        assert_eq!(output.end, "exit 0");
        expect_workers(&output, &["generation 1, pid <W1>, current", "generation 2, pid <W2>, rejected"]);
        assert!(output.stdout.contains("KILL in "), "{}", output.stdout);
        assert!(output.stdout.contains("\nthe last restart was given up "), "{}", output.stdout);
        let failed = "\nit has failed: it is alive, but has not sent READY=1 after ";
        assert!(output.stdout.contains(failed), "{}", output.stdout);
        // The refused worker may still answer, so the restart is not over.
        assert!(s.is_running(&restart), "what was refused is still there");
        s.signal_worker(2, "KILL");
        assert_eq!(s.end(restart).end, "exit 125");
        s.wait_file("st", "1:<W1>\n");
        expect_workers(&status(s, &[]), &["generation 1, pid <W1>, current"]);
        stop(s);
    });
}

#[test]
fn a_refused_worker_that_does_not_end_in_time() {
    ours_alone(|s| {
        let approve = "--approve=test $APPROVE_NEW_GENERATION = 1";
        start(s, &[approve, "--max-start-failures=1"], &["now", "G2=ign=TERM"]);
        s.wait_file("st", "1:<W1>\n");
        let output = s.run(&[&RESTART[..], &["--restart-timeout=10"]].concat());
        assert_eq!(output.end, "exit 125", "{}", output.stderr);
        let expected = "the restart was given up, the old worker keeps running\n\
                        but the rejected worker has not ended: 2 (pid <W2>)\n";
        assert!(output.stderr.starts_with(expected), "{}", output.stderr);
        s.signal_worker(2, "KILL");
        s.wait_file("st", "1:<W1>\n");
        stop(s);
    });
}

/// The original, and a worker that overwrites its environment, are seen from outside: what can't be seen is shown as
/// unknown.
#[test]
fn what_can_be_seen_of_the_original() {
    original_alone(|s| {
        let worker = "$0 = 'x' x 9999; $SIG{TERM} = sub { exit }; print STDERR \"here\\n\"; sleep 1000 while 1";
        let options = ["--interval=0", "--port=$PORT", "--path=sock", "--pid-file=pid", "--status-file=st"];
        s.start(&[&options[..], &["--", "perl", "-e", worker]].concat());
        s.wait_line("here");
        s.wait("the status file", |s| s.path("st").exists());
        let shown = |s: &mut Scenario, options: &[&str]| {
            let output = s.run_other(&[&["--show-status", "--pid-file=pid"], options].concat());
            assert_eq!(output.end, "exit 0");
            output.stdout
        };
        let text = shown(s, &["--status-file=st"]);
        assert!(text.contains("\ngeneration 1, pid <W1>, current, "), "{text}");
        assert!(text.contains("\nseen from outside: it publishes no report, like the original\n"), "{text}");
        assert!(
            text.contains("\nlistener $PORT, waiting 0, ") && text.contains("\nlistener sock, waiting 0, "),
            "{text}"
        );
        let text = shown(s, &[]);
        assert!(text.contains("\ngeneration unknown, pid <W1>, unknown, "), "{text}");
        assert!(
            text.contains("\nlistener $PORT, waiting 0, ") && text.contains("\nlistener sock, waiting 0, "),
            "{text}"
        );
        s.signal("TERM");
        s.wait_exit();
    });
}

// --- what can't be known, and probes

#[test]
fn what_cannot_be_known_is_not_said() {
    ours_alone(|s| {
        s.mkdir("directory");
        s.write("text", "some text\n");
        s.write("empty", "");
        s.write("locked", "1\n");
        let shown = |s: &mut Scenario, file: &str| {
            let output = s.run_unrecorded(&["--show-status", &format!("--pid-file={file}")]);
            (output.end, output.stdout)
        };
        let expect = |end: &str, text: &str| (end.to_owned(), text.to_owned());
        let expected = expect("exit 3", "not running: there is no nothing\n");
        assert_eq!(shown(s, "nothing"), expected);
        let expected = expect("exit 4", "unknown: directory is not a file\n");
        assert_eq!(shown(s, "directory"), expected);
        assert_eq!(shown(s, "text"), expect("exit 4", "unknown: text is not a pid file\n"));
        assert_eq!(shown(s, "empty"), expect("exit 1", "dead, but has a pid file\n"));
        let expected = expect("exit 4", "unknown: failed to open file:text/pid:Not a directory\n");
        assert_eq!(shown(s, "text/pid"), expected);
        let _lock = s.lock("locked");
        s.write("locked", "1\n");
        let (end, text) = shown(s, "locked");
        assert!(
            end == "exit 4" && text.starts_with("unknown: locked is locked, but apparently not by the"),
            "{end} {text}"
        );
        for file in ["text", "empty", "locked"] {
            s.remove(file);
        }
        std::fs::remove_dir(s.path("directory")).expect("an empty directory");
    });
}

#[test]
fn a_probe() {
    ours_alone(|s| {
        let probe = |s: &mut Scenario| {
            let output = s.run_unrecorded(&["--show-status", "--quiet", "--pid-file=pid"]);
            assert_eq!((&*output.stdout, &*output.stderr), ("", ""));
            output.end
        };
        assert_eq!(probe(s), "exit 3");
        start(s, &[], &[]);
        assert_eq!(probe(s), "exit 150");
        s.signal_worker(1, "USR2");
        s.wait_file("st", "1:<W1>\n");
        s.wait_rest();
        assert_eq!(probe(s), "exit 0");
        stop(s);
        let output = s.run(&["--quiet", "--", "true"]);
        let expected = "--quiet option requires --show-status to be set as well\n";
        assert_eq!((&*output.end, &*output.stderr), ("exit 255", expected));
    });
}

// --- nobody serves

/// The worker has died, and no other can be started: the status shows that, and `--restart` ends with a reason.
#[test]
fn nobody_serves() {
    ours_alone(|s| {
        start(s, &["--max-start-failures=2"], &["G1=now", "G2+=exit=3"]);
        s.wait_file("st", "1:<W1>\n");
        s.signal_worker(1, "SEGV");
        s.wait_line("worker <W1> died unexpectedly with status:11, restarting");
        s.wait_line("worker <W1> was killed by SIGSEGV");
        s.wait_file("st", "");
        let output = status(s, &["--status-file=st"]);
        assert_eq!(output.end, "exit 150");
        assert!(output.stdout.contains("\nno worker serves\n") && !output.stdout.contains("<W1>"), "{}", output.stdout);
        let output = s.run(&RESTART);
        assert_eq!(output.end, "exit 125");
        let expected = "the restart was given up, and no worker serves\nit has failed: exit 3\n";
        assert_eq!(output.stderr, expected);
        s.wait_line("giving up the restart, no worker serves");
        // It is tried again nevertheless, and the next restart gets an answer, too.
        assert_eq!(s.run(&RESTART).end, "exit 125");
        stop(s);
        assert_eq!(s.ls(), "");
    });
}

/// With `--end-without-worker`, as orchestrators expect.
#[test]
fn the_end_when_nobody_serves() {
    for options in [&["--sd-notify"][..], &["--kill-timeout=60"]] {
        ours_alone(|s| {
            let ends = ["--max-start-failures=2", "--end-without-worker", "--path=sock"];
            start(s, &[&ends[..], options].concat(), &["G1=now", "G2+=exit=3"]);
            s.wait_file("st", "1:<W1>\n");
            s.signal_worker(1, "KILL");
            s.wait_line("new worker <W3> seems to have failed to start, exit status:768");
            assert_eq!(s.wait_exit(), "exit 125");
            assert!(s.said().ends_with("\ngiving up, no worker has started\n"), "{}", s.said());
            assert_eq!(s.ls(), "");
        });
    }
}

/// A failed deploy leaves the old worker, so it is not the end.
#[test]
fn a_failed_deploy_is_not_the_end() {
    ours_alone(|s| {
        start(s, &["--max-start-failures=1", "--end-without-worker"], &["G1=now", "G2=exit=3", "G3=now"]);
        s.wait_file("st", "1:<W1>\n");
        assert_eq!(s.run(&RESTART).end, "exit 125");
        assert_eq!(s.run(&RESTART).end, "exit 0");
        s.wait_file("st", "3:<W3>\n");
        let output = s.run(&["--end-without-worker", "--", "true"]);
        let expected = "--end-without-worker option requires --max-start-failures to be set as well\n";
        assert_eq!((&*output.end, &*output.stderr), ("exit 255", expected));
        stop(s);
    });
}

// --- restarts without a status file, and their end

/// Before the first worker has started, there is no status file, which is an error as in the original. With options of
/// ours on either side, the restart waits instead, even if the superdaemon has no status file at all.
#[test]
fn a_restart_before_the_first_worker() {
    ours_alone(|s| {
        s.env("TMPDIR", "$DIR");
        s.start(&[&UNTIL_READY, &["--pid-file=pid"][..], &NOTIFY, &["G2=now"]].concat());
        s.wait_worker(1);
        let restart = s.begin(&RESTART);
        s.signal_worker(1, "USR2");
        s.wait_worker(2);
        assert_eq!(s.end(restart).end, "exit 0");
        stop(s);
        s.start(&["--pid-file=pid", "--interval=1000", "--", "$PROBE"]);
        s.wait("the worker", |s| s.run_unrecorded(&["--show-status", "--pid-file=pid"]).stdout.contains("starting"));
        let output = s.run(&RESTART);
        let expected = "failed to open file:st:No such file or directory\n";
        assert_eq!((&*output.end, &*output.stderr), ("exit 2", expected));
        let output = s.run(&[&RESTART[..], &["--restart-timeout=1"]].concat());
        assert_eq!(output.end, "exit 124", "{}", output.stderr);
        stop(s);
    });
}

/// If a shutdown comes meanwhile, the restart reports that the superdaemon has ended, whichever of its files disappears
/// first.
#[test]
fn a_stop_during_a_restart() {
    ours_alone(|s| {
        start(s, &[], &["G1=now"]);
        s.wait_file("st", "1:<W1>\n");
        let restart = s.begin(&RESTART);
        s.wait_worker(2);
        assert_eq!(s.run(&["--stop", "--pid-file=pid"]).end, "exit 0");
        s.wait_exit();
        let output = s.end(restart);
        assert_eq!((&*output.end, &*output.stderr), ("exit 3", "the server process has died:No such process\n"));
    });
}
