//! The rehearsal of `--upgrade`, in which the program on disk shows that it can continue: meanwhile, events are acted
//! on as at any other time, and no process of the rehearsal is left.

use std::fs;
use std::time::{Duration, Instant};

use super::stop;
use super::upgrade::{FILES, UPGRADE, WORKER, binary, install_ours, install_text, program_of, start, upgrade};
use crate::harness::{Begun, Output, Scenario, is_at_rest, ours_alone, with_argument};

/// A program that writes down its pid, and hangs.
const HANGS: &str = "#!/bin/sh\necho $$ >tried\nexec sleep 1000\n";

/// Starts a superdaemon with one worker, and waits until it is at rest.
fn serve(s: &mut Scenario, options: &[&str], behaviours: &[&str]) {
    start(s, &[&FILES[..], &["--interval=0"], options, &WORKER, behaviours].concat());
    s.wait_worker(1);
    s.wait_file("st", "1:<W1>\n");
    s.wait_rest();
}

/// Begins an upgrade, and waits until the program runs, which has to write its pid into the file `tried`.
fn begin_upgrade(s: &mut Scenario, program: &str) -> Begun {
    install_text(s, program);
    let begun = s.begin(&UPGRADE);
    s.wait("the program to run", |s| fs::read_to_string(s.path("tried")).is_ok_and(|pid| pid.ends_with('\n')));
    begun
}

#[track_caller]
fn check_refused(s: &Scenario, output: &Output, reason: &str) {
    let expected = format!("not upgraded: {}: {reason}\n", installed(s));
    assert_eq!((output.end.as_str(), output.stderr.as_str()), ("exit 125", s.with_symbols(&expected).as_str()));
}

fn installed(s: &Scenario) -> String {
    s.path("../start_server").display().to_string()
}

#[test]
fn a_worker_that_dies_is_replaced_at_once() {
    ours_alone(|s| {
        serve(s, &[], &[]);
        let begun = begin_upgrade(s, HANGS);
        s.signal_worker(1, "KILL");
        s.wait_line("worker <W1> died unexpectedly with status:9, restarting");
        s.wait_worker(2);
        s.wait_file("st", "2:<W2>\n");
        assert!(s.is_running(&begun), "{}", s.said());
        let output = s.end(begun);
        check_refused(s, &output, "it has not answered within 10 seconds");
        s.wait_dead_process("tried");
        assert_eq!(s.said().matches("died").count(), 1, "{}", s.said());
        stop(s);
    });
}

#[test]
fn a_hup_is_acted_on_at_once() {
    ours_alone(|s| {
        serve(s, &[], &[]);
        let begun = begin_upgrade(s, HANGS);
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_file("st", "2:<W2>\n");
        assert!(s.is_running(&begun), "{}", s.said());
        let output = s.end(begun);
        check_refused(s, &output, "it has not answered within 10 seconds");
        s.wait_dead_process("tried");
        stop(s);
    });
}

/// Its time also runs while the superdaemon waits for the end of an interval.
#[test]
fn an_interval_does_not_make_it_longer() {
    ours_alone(|s| {
        start(s, &[&FILES[..], &["--interval=20"], &WORKER].concat());
        s.wait_file("st", "1:<W1>\n");
        let begun = begin_upgrade(s, HANGS);
        s.signal("HUP");
        s.wait_line("starting new worker <W2>");
        assert!(s.is_running(&begun), "{}", s.said());
        let output = s.end(begun);
        check_refused(s, &output, "it has not answered within 10 seconds");
        assert!(!s.said().contains("now running"), "{}", s.said());
        stop(s);
    });
}

/// The new program continues with the worker of a restart that happened meanwhile.
#[test]
fn a_restart_before_the_new_program_continues() {
    ours_alone(|s| {
        serve(s, &[], &[]);
        let program =
            format!("#!/bin/sh\necho $$ >tried\nuntil [ -e go ]; do sleep 0.1; done\nexec {} \"$@\"\n", binary());
        let begun = begin_upgrade(s, &program);
        s.signal_worker(1, "KILL");
        s.wait_file("st", "2:<W2>\n");
        s.write("go", "");
        let output = s.end(begun);
        assert_eq!((output.end.as_str(), output.stderr.as_str()), ("exit 0", ""), "{}", s.said());
        assert_eq!(program_of(s), fs::canonicalize(binary()).unwrap());
        s.signal("HUP");
        s.wait_file("st", "3:<W3>\n");
        stop(s);
    });
}

fn stop_and_check(s: &mut Scenario, begun: Begun) {
    let time = Instant::now();
    crate::harness::send(s.superdaemon(), "TERM");
    let output = s.end(begun);
    let expected = ("exit 125", "not upgraded: start_server is stopping\n");
    assert_eq!((output.end.as_str(), output.stderr.as_str()), expected);
    assert_eq!(s.wait_exit(), "exit 0");
    assert!(time.elapsed() < Duration::from_secs(8), "{:?}", time.elapsed());
    s.wait_dead_process("tried");
    s.remove("tried");
    assert_eq!(s.ls(), "");
}

#[test]
fn a_term_gives_it_up() {
    ours_alone(|s| {
        serve(s, &[], &[]);
        let begun = begin_upgrade(s, HANGS);
        stop_and_check(s, begun);
    });
}

/// Also while the superdaemon waits for its last worker.
#[test]
fn no_upgrade_of_one_that_is_stopping() {
    ours_alone(|s| {
        serve(s, &[], &["G1=ign=TERM"]);
        s.signal("TERM");
        s.wait_report(1, "got TERM");
        install_ours(s);
        let output = s.run(&UPGRADE);
        let expected = ("exit 125", "not upgraded: start_server is stopping\n");
        assert_eq!((output.end.as_str(), output.stderr.as_str()), expected);
        s.signal_worker(1, "KILL");
        assert_eq!(s.wait_exit(), "exit 0");
        assert_eq!(s.ls(), "");
    });
}

/// The rehearsal belongs to no worker, so it isn't killed with a worker whose time is over.
#[test]
fn the_end_of_an_overdue_worker_leaves_it_alone() {
    ours_alone(|s| {
        serve(s, &["--kill-timeout=2"], &["G1=ign=TERM"]);
        s.signal("HUP");
        s.wait_report(1, "got TERM");
        let program = format!(
            "#!/bin/sh\n[ -e tried ] || {{ echo $$ >tried; until [ -e go ]; do sleep 0.1; done; }}\nexec {} \"$@\"\n",
            binary()
        );
        let begun = begin_upgrade(s, &program);
        s.wait_line("old worker <W1> has not ended in time, sending KILL");
        s.wait_line("old worker <W1> died, status:9");
        s.write("go", "");
        let output = s.end(begun);
        assert_eq!((output.end.as_str(), output.stderr.as_str()), ("exit 0", ""), "{}", s.said());
        s.wait_file("st", "2:<W2>\n");
        assert_eq!(s.said().matches("died").count(), 1, "{}", s.said());
        stop(s);
    });
}

#[test]
fn two_upgrades_at_once_both_get_their_answer() {
    ours_alone(|s| {
        serve(s, &[], &[]);
        let begun = begin_upgrade(s, "#!/bin/sh\necho $$ >tried\nuntil [ -e go ]; do sleep 0.01; done\nexit 7\n");
        let another = s.begin(&UPGRADE);
        // Both sleep: one waits for its answer, the other one for the end of that.
        s.wait("two commands", |s| {
            with_argument(s, "--upgrade").into_iter().filter(|&pid| is_at_rest(pid)).count() == 2
        });
        s.write("go", "");
        for begun in [begun, another] {
            let output = s.end(begun);
            check_refused(s, &output, "it has ended without an answer (exit 7)");
        }
        install_ours(s);
        let begun = [s.begin(&UPGRADE), s.begin(&UPGRADE), s.begin(&UPGRADE)];
        for begun in begun {
            let output = s.end(begun);
            assert_eq!((output.end.as_str(), output.stderr.as_str()), ("exit 0", ""), "{}", s.said());
        }
        assert_eq!(s.said().matches("now runs version").count(), 1, "{}", s.said());
        // The file of a command that was killed while it asked gets in nobody's way.
        s.write("pid.upgrade", "");
        install_ours(s);
        upgrade(s);
        s.remove("tried");
        s.remove("go");
        stop(s);
        assert_eq!(s.ls(), "");
    });
}

/// Starts processes in its process group and out of it, with a living parent and without.
const FAMILY: &str = "#!/bin/sh
sleep 1000 & echo $! >child
(sleep 1000 & echo $! >grandchild)
setsid sh -c 'echo $$ >leader; exec sleep 1000' &
(setsid sh -c 'echo $$ >daemon; exec sleep 1000' &)
until [ -s leader ] && [ -s daemon ]; do sleep 0.1; done
echo $$ >tried
";

#[test]
fn nothing_that_it_has_started_is_left() {
    for options in [&[][..], &["--kill-timeout=60"]] {
        ours_alone(|s| {
            serve(s, options, &[]);
            let begun = begin_upgrade(s, &[FAMILY, "wait\n"].concat());
            let output = s.end(begun);
            check_refused(s, &output, "it has not answered within 10 seconds");
            for process in ["child", "grandchild", "leader", "daemon", "tried"] {
                s.wait_dead_process(process);
            }
            s.wait_rest();
            assert!(!s.said().contains("died"), "{}", s.said());
            stop(s);
        });
    }
}

/// When the program has ended, its answer isn't waited for, although a process that it has started could still write
/// one.
#[test]
fn what_outlives_it_is_not_left_either() {
    ours_alone(|s| {
        serve(s, &[], &[]);
        for (child, end, how) in [
            ("sleep 1000 & echo $! >child", "exit 3", "exit 3"),
            (
                "setsid sh -c 'echo $$ >child; exec sleep 1000' & until [ -s child ]; do sleep .01; done",
                "exit 3",
                "exit 3",
            ),
            (
                "(setsid sh -c 'echo $$ >child; exec sleep 1000' &) & until [ -s child ]; do sleep .01; done",
                "exit 3",
                "exit 3",
            ),
            ("sleep 1000 & echo $! >child", "kill -KILL $$", "signal 9"),
        ] {
            let begun = begin_upgrade(s, &format!("#!/bin/sh\n{child}\necho $$ >tried\n{end}\n"));
            let output = s.end(begun);
            check_refused(s, &output, &format!("it has ended without an answer ({how})"));
            s.wait_dead_process("child");
            s.remove("child");
            s.remove("tried");
        }
        stop(s);
    });
}

/// After its end, the answer isn't read again and again.
#[test]
fn a_program_that_closes_its_answer_and_hangs() {
    ours_alone(|s| {
        serve(s, &[], &[]);
        let program = "#!/usr/bin/perl
            use POSIX;
            POSIX::close($ARGV[0] =~ /,(\\d+)$/);
            open my $file, '>', 'tried';
            print $file \"$$\\n\";
            close $file;
            sleep 1000;
        ";
        let begun = begin_upgrade(s, program);
        let before = cpu_time(s);
        let output = s.end(begun);
        check_refused(s, &output, "it has not answered within 10 seconds");
        assert!(cpu_time(s) - before < 100, "it was busy");
        stop(s);
    });
}

/// The superdaemon's, in hundredths of a second.
fn cpu_time(s: &Scenario) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", s.superdaemon())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11..=12].iter().map(|field| field.parse::<u64>().unwrap()).sum()
}

/// The reason includes the program's own words.
#[test]
fn what_it_says_on_standard_error() {
    ours_alone(|s| {
        serve(s, &[], &[]);
        install_text(s, "#!/bin/sh\nprintf 'no \\033 library\\nat all\\n' >&2\nexit 127\n");
        let output = s.run(&UPGRADE);
        check_refused(s, &output, "it has ended without an answer (exit 127): no \\u{1b} library");
        s.wait_line("no \\u{1b} library");
        s.wait_line("at all");
        s.wait_line("it has ended without an answer (exit 127): no \\u{1b} library");
        // Output that is too long is cut off, but doesn't block the program.
        install_text(s, "#!/usr/bin/perl\n$| = 1;\nprint STDERR \"x\\n\" for 1 .. 100_000;\nexit 5;\n");
        let output = s.run(&UPGRADE);
        check_refused(s, &output, "it has ended without an answer (exit 5): x");
        // The reason is one short line.
        install_text(s, "#!/usr/bin/perl\nprint STDERR \"\\e\" x 4000;\nexit 6;\n");
        let output = s.run(&UPGRADE);
        let line = "\\u{1b}".repeat(200);
        check_refused(s, &output, &format!("it has ended without an answer (exit 6): {line}"));
        stop(s);
    });
}

/// By `visible-text`, control characters get neither into the log nor to the terminal.
#[test]
fn answers_that_a_terminal_would_obey() {
    ours_alone(|s| {
        serve(s, &[], &[]);
        install_text(s, "#!/bin/sh\nprintf '\\033]0;title\\007' >/proc/self/fd/${1##*,}\n");
        let output = s.run(&UPGRADE);
        check_refused(s, &output, "\\u{1b}]0;title\\u{7}");
        s.wait_line("\\u{1b}]0;title\\u{7}");
        install_text(s, "#!/bin/sh\nexec yes >/proc/self/fd/${1##*,}\n");
        let output = s.run(&UPGRADE);
        check_refused(s, &output, "its answer is too long");
        // These answers are from somebody who can write to the directory of the pid file.
        for (forged, expected) in [
            ("refused \x1b[31mred\n", "\\u{1b}[31mred"),
            ("\x1b[31mred !\n", "the answer can't be understood:\\u{1b}[31mred !"),
        ] {
            let begun = begin_upgrade(s, HANGS);
            fs::write(s.path("pid.upgrade"), forged).unwrap();
            let output = s.end(begun);
            let expected = format!("not upgraded: {expected}\n");
            assert_eq!((output.end.as_str(), output.stderr.as_str()), ("exit 125", expected.as_str()));
            s.remove("tried");
            s.wait_line("it has not answered within 10 seconds");
        }
        stop(s);
    });
}
