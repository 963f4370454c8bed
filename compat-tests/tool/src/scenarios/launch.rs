//! What the superdaemon was launched with: signals, descriptors, variables, a place in a process tree.

use nix::unistd::Uid;

use crate::harness::{Scenario, compare, compare_seen, is_at_rest};

scenarios! {
    "launch.rs":
    ignored_signals_are_inherited_but_for_the_caught_ones
    workers_get_fpe_as_it_was
    signals_are_as_at_launch_also_without_clone3
    blocked_signals_stay_blocked
    a_blocked_chld_hides_no_death
    inherited_descriptors_are_passed_on
    inherited_variables_of_the_protocol
    closed_standard_descriptors
    closed_standard_descriptors_and_a_log
    messages_that_cannot_be_written
    broken_pipes_kill_nothing
    messages_are_english_in_any_locale
    how_the_program_is_found
    a_script_without_an_interpreter_is_the_shells
    directory_that_is_missing
    superdaemon_under_a_superdaemon
    a_hangup_is_a_hup
    pid_1
}

/// Starts with these options, has a worker report what it got, and stops.
fn report(s: &mut Scenario, options: &[&str]) {
    s.probe(options, &[]);
    s.term();
}

/// A script for the prelude to copy. A file that this process writes itself can't be executed as long as a process that
/// another thread has just forked has its descriptor, too.
fn script(s: &mut Scenario, copy: &str, content: &str) {
    s.write("script", content);
    s.prelude(copy);
}

/// LIFE-005 LIFE-006 X5: those the superdaemon catches are default in the worker, CHLD is, and the others stay ignored.
fn ignored_signals_are_inherited_but_for_the_caught_ones() {
    compare(|s| {
        s.prelude("trap '' HUP INT QUIT TERM CHLD USR1 USR2 PIPE ALRM FPE WINCH");
        s.serve(&[], &[]);
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_line("old worker <W1> died");
        s.term();
    });
}

/// LIFE-006: a program in Perl would ignore it by itself.
fn workers_get_fpe_as_it_was() {
    compare(|s| {
        for prelude in ["", "trap '' FPE"] {
            s.prelude(prelude);
            let worker = "grep SigIgn /proc/self/status >signals; exec \"$@\"";
            s.start(&["--", "sh", "-c", worker, "sh", "$PROBE"]);
            s.wait_worker(1);
            s.show("signals");
            s.term();
        }
    });
}

/// LIFE-005 LIFE-006: the same where clone3(2) is forbidden, as in older containers, so that a child removes handlers by itself.
fn signals_are_as_at_launch_also_without_clone3() {
    for ignored in ["QUIT USR1 CHLD FPE XFSZ", "WINCH"] {
        compare(|s| {
            s.need_tracing();
            let forbid = "strace -D -qq -o /dev/null -e trace=clone3 -e inject=clone3:error=EPERM";
            // ALRM as in `strace`.
            s.prelude(&format!("trap '' {ignored} ALRM; exec {forbid} \"$0\" \"$@\""));
            s.serve(&[], &[]);
            s.signal("HUP");
            s.wait_worker(2);
            s.wait_line("old worker <W1> died");
            s.term();
        });
    }
}

/// LIFE-007 X5: HUP and TERM never arrive, INT does, and its TERM doesn't reach the worker.
fn blocked_signals_stay_blocked() {
    compare(|s| {
        let block = "use POSIX; sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGHUP, SIGTERM, SIGUSR1, SIGALRM))";
        s.prelude(&format!("exec perl -e '{block}; exec @ARGV' \"$0\" \"$@\""));
        s.serve(&[], &[]);
        s.signal("HUP");
        s.signal("TERM");
        s.signal("INT");
        s.wait_line("received INT, sending TERM to all workers:<W1>");
        s.signal_worker(1, "USR2");
        s.wait_exit();
    });
}

/// LIFE-007: it stays blocked for workers, but the superdaemon notices every death.
fn a_blocked_chld_hides_no_death() {
    compare(|s| {
        let block = "use POSIX; sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGCHLD))";
        s.prelude(&format!("exec perl -e '{block}; exec @ARGV' \"$0\" \"$@\""));
        s.serve(&[], &[]);
        s.signal_worker(1, "KILL");
        s.wait_worker(2);
        s.wait_file("st", "2:<W2>\n");
        s.term();
    });
}

/// LIFE-015: descriptors, and LIFE-019: standard input, are passed to the worker.
fn inherited_descriptors_are_passed_on() {
    compare(|s| {
        s.write("input", "");
        s.prelude("exec <input 3<input 7>output");
        report(s, &["--port=$PORT", "--path=app.sock", "--pid-file=pid"]);
    });
}

/// LIFE-008 LIFE-014
fn inherited_variables_of_the_protocol() {
    compare(|s| {
        s.env("SERVER_STARTER_PORT", "80=3;90=4");
        s.env("SERVER_STARTER_GENERATION", "55");
        report(s, &["--port=$PORT"]);
    });
}

/// LIFE-177: what replaces a closed descriptor is the interpreter's affair, so the worker has others.
fn closed_standard_descriptors() {
    compare(|s| {
        for closed in ["<&-", ">&-", "<&- >&-", "2>&-", "<&- >&- 2>&-"] {
            s.prelude(&format!("exec {closed}"));
            let worker = "exec \"$@\" </dev/null >/dev/null 2>/dev/null";
            s.start(&["--pid-file=pid", "--", "sh", "-c", worker, "sh", "$PROBE"]);
            s.wait_worker(1);
            s.term();
        }
    });
}

/// LIFE-178
fn closed_standard_descriptors_and_a_log() {
    compare(|s| {
        s.prelude("exec >&- 2>&-");
        report(s, &["--log-file=log", "--port=$PORT"]);
    });
}

/// LIFE-179: nothing that is said arrives, and nothing else changes.
fn messages_that_cannot_be_written() {
    compare(|s| {
        s.prelude("exec 2>/dev/full");
        s.serve(&["--pid-file=pid"], &["G1=ign=TERM"]);
        s.signal("HUP");
        s.wait_report(1, "got TERM");
        s.wait_worker(2);
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        s.signal_worker(1, "KILL");
        s.wait_file("st", "2:<W2>\n");
        s.term();
    });
}

/// X6: until everything is bound, a broken pipe is fatal. P4 P3: what is said on a full disk.
fn broken_pipes_kill_nothing() {
    compare(|s| {
        let broken = |fd| format!("pipe R, W; close R; open {fd}, \">&\", W; close W; exec @ARGV");
        s.prelude(&format!("exec perl -e '{}' \"$0\" \"$@\"", broken("STDERR")));
        s.run(&["--", "$PROBE"]);
        s.run(&["--stop"]);
        s.prelude(&format!("exec perl -e '{}' \"$0\" \"$@\"", broken("STDOUT")));
        s.run(&["--version"]);
        s.prelude("exec >/dev/full");
        s.run(&["--version"]);
        s.run(&["--help"]);
    });
}

/// X7
fn messages_are_english_in_any_locale() {
    compare(|s| {
        // Whether the locale exists or not: Perl doesn't complain.
        s.env("PERL_BADLANG", "0");
        s.env("LC_ALL", "de_DE.UTF-8");
        s.run(&["--path=no/such/dir/app.sock", "--", "$PROBE"]);
        s.run(&["--stop", "--pid-file=pid"]);
    });
}

/// E1 D2: the program is looked for after the change of directory, in the PATH of the worker.
fn how_the_program_is_found() {
    compare(|s| {
        for dir in ["sub", "first", "second"] {
            s.mkdir(dir);
        }
        // The one in first/ is not executable, so the search continues.
        let copies = "cp script first/prog; cp script second/prog; cp script sub/here; chmod +x second/prog sub/here";
        script(s, copies, "#!/bin/sh\nexec \"$@\"\n");
        let path = std::env::var("PATH").unwrap_or_default();
        s.env("PATH", &format!("$DIR/first:$DIR/second:{path}"));
        s.start(&["--", "prog", "$PROBE"]);
        s.wait_worker(1);
        s.term();
        s.start(&["--dir=sub", "--", "./here", "$PROBE", "two words", ""]);
        s.wait_worker(1);
        s.term();
    });
}

/// E3
fn a_script_without_an_interpreter_is_the_shells() {
    compare(|s| {
        script(s, "cp script prog; chmod +x prog", "exec \"$@\"\n");
        s.start(&["--", "./prog", "$PROBE", "an argument"]);
        s.wait_worker(1);
        s.term();
    });
}

/// D1 LIFE-030: whether the worker's line or the superdaemon's comes first is a race.
fn directory_that_is_missing() {
    compare_seen(|s| {
        s.start(&["--dir=no/such/dir", "--", "$PROBE"]);
        s.wait_line("new worker <W1> seems to have failed to start, exit status:512");
        let chdir = "failed to chdir:no/such/dir:No such file or directory";
        assert!(s.said().lines().any(|line| line.starts_with(chdir)), "no line says why");
        chdir.to_owned()
    });
}

/// LIFE-180: the inner superdaemon has a generation and names of its own; the outer one's socket is passed on without a
/// name.
fn superdaemon_under_a_superdaemon() {
    compare(|s| {
        s.prelude("ln -s \"$0\" program");
        let inner = ["sh", "-c", "exec ./program \"$@\" 2>inner", "sh", "--path=app.sock", "--status-file=st"];
        s.probe(&[&["--port=$PORT=9", "--"], &inner[..]].concat(), &[]);
        s.wait_file("st", "1:<W1>\n");
        s.signal_worker(1, "USR1");
        s.wait_line_in("inner", "died unexpectedly with status:0, restarting");
        s.wait_worker(2);
        s.term();
    });
}

/// LIFE-079: the superdaemon leads the session of a terminal that goes away; that is a HUP, and nobody hears it any
/// more.
fn a_hangup_is_a_hup() {
    // The number of the terminal differs, so the worker has none.
    let worker = "exec \"$@\" </dev/null >/dev/null 2>&1";
    let terminal = "use Fcntl; use POSIX; \
        sysopen my $master, q(/dev/ptmx), O_RDWR | O_NOCTTY or die qq(/dev/ptmx: $!); \
        my $number = pack q(i), 0; ioctl $master, 0x40045431, $number or die; ioctl $master, 0x80045430, $number or die; \
        if (!fork) { POSIX::setsid(); open STDIN, q(+<), q(/dev/pts/) . unpack q(i), $number or die; \
            open STDOUT, q(>&), *STDIN or die; open STDERR, q(>&), *STDIN or die; close $master; exec @ARGV } \
        sleep 1 until -e q(hang-up)";
    compare(|s| {
        s.prelude(&format!("exec perl -e '{terminal}' \"$0\" \"$@\""));
        let options = ["--pid-file=pid", "--status-file=st", "--", "sh", "-c", worker, "sh", "$PROBE"];
        s.start(&[&options[..], &["ign=HUP"]].concat());
        s.adopt_daemon("pid");
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.write("hang-up", "");
        s.wait_worker(2);
        s.wait_file("st", "2:<W2>\n");
        s.term();
    });
}

/// Runs `script` as the first process of a PID namespace; `"$0" "$@"` in it is the program with its arguments. There,
/// pids are small numbers in the order of the forks, and so they are equal.
pub fn as_pid_1(s: &mut Scenario, script: &str) {
    let root = if Uid::effective().is_root() { "" } else { "--map-root-user" };
    let unshare = format!("unshare {root} --pid --fork --mount-proc sh -c");
    let hint = "echo 'no PID namespace: run this as root, not in a container, or allow user namespaces' >&2; exit 99";
    s.prelude(&format!("{unshare} : || {{ {hint}; }}; exec {unshare} '{script}' \"$0\" \"$@\""));
}

/// The superdaemon of `as_pid_1`, as it is called out here.
pub fn pid_outside(s: &Scenario) -> i32 {
    let unshare = s.superdaemon();
    let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"));
    children.expect("children of unshare").trim().parse().expect("one child")
}

/// LIFE-174 LIFE-175: each unknown process it reaps is an old worker, or in the shutdown a worker; LIFE-176: what an
/// earlier container left means nothing. The background jobs wait for a fifo's writer, with what the shell itself can
/// do.
fn pid_1() {
    compare(|s| {
        as_pid_1(
            s,
            "mkfifo early late stop last never; \
             (read line <early; exit 7) & (read line <late; exit 8) & (read line <stop; kill -TERM 1; read line <never) & \
             (read line <last; kill -USR1 7; read line <never) & \
             exec \"$0\" \"$@\"",
        );
        s.write("pid", "1\n");
        s.write("st", "3:2\n");
        s.probe(&["--pid-file=pid", "--status-file=st"], &["ign=TERM"]);
        s.wait_line("starting new worker");
        s.write("early", "\n");
        s.wait_line("old worker 3 died, status:1792");
        // The original doesn't see a signal that comes just before a wait until that is over.
        s.wait("PID 1 to rest", |s| is_at_rest(pid_outside(s)));
        s.write("stop", "\n");
        s.wait_line("received TERM");
        s.wait_report(1, "got TERM");
        s.write("late", "\n");
        s.wait_line("worker 4 died, status:2048");
        s.show("pid");
        s.write("last", "\n");
        s.wait_exit();
    });
}
