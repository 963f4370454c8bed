//! `--log-file`: a file, or a command that reads.

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::harness::{Scenario, compare};

scenarios! {
    "logs.rs":
    a_log_file_is_appended_to
    log_through_a_shell_command
    log_through_a_command_of_words
    logs_that_cannot_be_opened
    log_file_that_is_truncated
    errors_before_the_log_are_not_in_it
    odd_names_of_logs
    log_commands_that_are_words
    log_commands_with_characters_of_the_shell
    log_commands_and_their_first_word
    errors_wait_for_the_log_command
    log_command_that_dies
    log_command_that_dies_in_the_shutdown
    log_command_and_the_signals_of_the_launch
    log_that_nobody_reads
    log_command_that_does_not_read
}

/// The worker says it on stdout, and then on stderr, when the superdaemon has announced it.
fn say_hello(s: &mut Scenario, file: &str) {
    s.wait_rest();
    s.signal_worker(1, "USR2");
    s.wait_line_in(file, "hello");
    s.wait_line_in(file, "hello");
}

/// L1 L4 LIFE-122
fn a_log_file_is_appended_to() {
    compare(|s| {
        s.write("log", "what was there before\n");
        s.probe(&["--log-file=log", "--port=$PORT"], &["say=hello"]);
        say_hello(s, "log");
        s.signal("HUP");
        s.wait_line_in("log", "old worker <W1> died");
        s.wait_worker(2);
        s.term();
        s.show("log");
    });
}

/// L3
fn log_through_a_shell_command() {
    compare(|s| {
        s.probe(&["--log-file=| cat > out", "--pid-file=pid"], &["say=hello"]);
        say_hello(s, "out");
        s.term();
        s.wait_line_in("out", "exiting");
        s.show("out");
    });
}

/// L3
fn log_through_a_command_of_words() {
    compare(|s| {
        s.probe(&["--log-file= |tee  out "], &[]);
        s.term();
        s.wait_line_in("out", "exiting");
        s.show("out");
    });
}

/// L5 L8 LIFE-171
fn logs_that_cannot_be_opened() {
    compare(|s| {
        s.mkdir("directory");
        s.run(&["--log-file=directory", "--port=$PORT", "--", "$PROBE"]);
        s.run(&["--log-file=no/such/dir/log", "--port=80x", "--", "$PROBE"]);
        s.run(&["--log-file=|no-such-command", "--", "$PROBE"]);
        s.run(&["--log-file=directory", "--pid-file=pid", "--status-file=st", "--path=app.sock", "--", "$PROBE"]);
    });
}

/// L1 LIFE-124: appended to. (What happens when it is renamed is another matter: the divergence `stray-signals`.)
fn log_file_that_is_truncated() {
    compare(|s| {
        s.serve(&["--log-file=log"], &["say=hello"]);
        s.write("log", "");
        say_hello(s, "log");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_line_in("log", "old worker <W1> died");
        s.term();
    });
}

/// L4: what is said until everything is bound goes to the terminal, also where it ends with an error.
fn errors_before_the_log_are_not_in_it() {
    compare(|s| {
        s.stale_socket("app.sock");
        s.probe(&["--log-file=log", "--port=$PORT=7", "--path=app.sock"], &[]);
        s.run(&["--log-file=second", "--port=$PORT", "--", "$PROBE"]);
        s.run(&["--log-file=third", "--pid-file=no/such/dir/pid", "--", "$PROBE"]);
        s.term();
    });
}

/// L1: only a pipe in front means a command, and nothing else means anything. F4: `00` is a name.
fn odd_names_of_logs() {
    compare(|s| {
        for option in ["--log-file=>log", "--log-file=00", "--log-file= log ", "--log-file=-", "--log-file=cat |"] {
            s.probe(&[option], &[]);
            s.term();
        }
    });
}

/// Runs log commands with a program `show`, which shows its arguments, and whether a shell started it.
fn show_log_commands(commands: &[&str]) {
    let script = "print map({ \"[$_]\" } @ARGV), exists $ENV{PWD} ? \" by a shell\" : \"\", \"\\n\"; 1 while <STDIN>;";
    compare(|s| {
        s.mkdir("bin");
        s.write("bin/script", &format!("#!/usr/bin/perl\n{script}\n"));
        s.write("sourced", "show sourced\n");
        // Shells set PWD.
        s.prelude("cp bin/script bin/show; chmod +x bin/show; exec env -u PWD \"$0\" \"$@\"");
        s.env("PATH", &format!("$DIR/bin:{}", std::env::var("PATH").unwrap_or_default()));
        for command in commands {
            // After an error, the command is waited for.
            s.run(&[&format!("--log-file=|{command}"), "--port=192.0.2.1:$PORT", "--", "$PROBE"]);
        }
    });
}

/// L3
fn log_commands_that_are_words() {
    show_log_commands(&[
        "show a  b\tc ",
        "show !",
        "show #",
        "show %",
        "show ^",
        "show =",
        "show +",
        "show -",
        "show ,",
        "show :",
        "show @",
        "show /",
        "show .",
        "show a=b",
        "show 2>&1",
        "show a 2>&1 ",
        "show execute",
        "show a\n",
        "show\u{b}a",
        "show é",
    ]);
}

/// L3
fn log_commands_with_characters_of_the_shell() {
    show_log_commands(&[
        "show \\x",
        "show $",
        "show & wait",
        "show *",
        "show {",
        "show }",
        "show [",
        "show ]",
        "show 'a b'",
        "show \"a b\"",
        "show ;",
        "show | cat",
        "show ?",
        "show <&0",
        "show >&1",
        "show ~",
        "show `echo a`",
        "show 2>&1 a",
        "show a 2>&2",
    ]);
}

/// L3 L5: what the beginning says.
fn log_commands_and_their_first_word() {
    show_log_commands(&[
        "show a\nshow b",
        " exec show a",
        "\t A=b show a",
        "(show a)",
        ". ./sourced",
        "exec",
        "execshow",
        ".",
        "a-b=c",
    ]);
}

/// L7: an error before the log is in place waits for the command to end.
fn errors_wait_for_the_log_command() {
    compare(|s| {
        let log = "--log-file=| cat > out; echo done >> out; exit 3";
        s.run(&[log, "--port=192.0.2.1:$PORT", "--", "$PROBE"]);
        s.show("out");
    });
}

/// The log command is a probe, too, as generation 0; somebody else reads on.
const LOGGER: &str = "--log-file=| exec 3<&0; cat <&3 > log & \
    SERVER_STARTER_GENERATION=0 exec perl $FIXTURES/probe.pl $DIR/../reports code=3";

/// L6 LIFE-166 LIFE-167 LIFE-168: its death is an old worker's, also where nobody has looked for a while.
fn log_command_that_dies() {
    compare(|s| {
        s.mkdir("env");
        s.write("env/FOO", "bar\n");
        s.start(&[LOGGER, "--envdir=env", "--kill-old-delay=1", "--status-file=st", "--port=$PORT", "--", "$PROBE"]);
        s.wait_worker(0);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_line_in("log", "sleeping 1 secs before killing old workers");
        s.signal_worker(0, "TERM");
        s.wait_dead(0);
        s.wait_worker(2);
        s.wait_line_in("log", "old worker <W0> died, status:768");
        s.wait_line_in("log", "old worker <W1> died, status:0");
        s.term();
        s.wait_line_in("log", "exiting");
    });
}

/// LIFE-167: in the shutdown it is a worker.
fn log_command_that_dies_in_the_shutdown() {
    compare(|s| {
        s.start(&[LOGGER, "--", "$PROBE", "ign=TERM"]);
        s.wait_worker(0);
        s.wait_worker(1);
        s.signal("TERM");
        s.wait_report(1, "got TERM");
        s.signal_worker(0, "TERM");
        s.wait_line_in("log", "worker <W0> died, status:768");
        s.signal_worker(1, "USR1");
        s.wait_exit();
        s.wait_line_in("log", "exiting");
    });
}

/// LIFE-005 LIFE-006: an ignored CHLD is default for a log command, too; it gets all others as they were at launch.
fn log_command_and_the_signals_of_the_launch() {
    compare(|s| {
        s.prelude("trap '' CHLD USR1 QUIT WINCH XFSZ");
        s.start(&[LOGGER, "--", "$PROBE"]);
        s.wait_worker(0);
        s.wait_worker(1);
        s.term();
        s.wait_line_in("log", "exiting");
    });
}

/// LIFE-169: nobody reads the log any more; that changes nothing else. LIFE-170: the command may outlive the
/// superdaemon.
fn log_that_nobody_reads() {
    compare(|s| {
        let logger = "SERVER_STARTER_GENERATION=0 exec perl $FIXTURES/probe.pl $DIR/../reports ign=TERM";
        s.start(&[&format!("--log-file=| {logger}"), "--status-file=st", "--", "$PROBE"]);
        s.wait_worker(0);
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal_worker(0, "KILL");
        s.wait_dead(0);
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_file("st", "2:<W2>\n");
        s.term();
        s.start(&[&format!("--log-file=| {logger}"), "--", "$PROBE"]);
        s.wait_worker(0);
        s.wait_worker(1);
        s.term();
    });
}

/// LIFE-172: the worker fills the pipe, and the superdaemon's next word has to wait for a reader. A program may have opened a
/// file in its place, which is never full.
fn log_command_that_does_not_read() {
    let fill = "for (1 .. 1024) { last if $ENV{SERVER_STARTER_GENERATION} != 1; my $pipe = q(); vec($pipe, 1, 1) = 1; select undef, $pipe, undef, 0 or last; \
        syswrite STDOUT, q(x) x 4095 . qq(\\n) } open my $full, q(>), q(full); sleep 1000";
    compare(|s| {
        mkfifo(&s.path("go"), Mode::S_IRWXU).expect("a fifo");
        s.start(&["--log-file=| read line <go; exec grep -v --line-buffered xx > log", "--", "perl", "-e", fill]);
        s.wait_file("full", "");
        s.signal("HUP");
        s.write("go", "\n");
        s.wait_line_in("log", "received HUP, spawning a new worker");
        s.wait_line_in("log", "old worker <W1> died, status:15");
        s.term();
        s.wait_line_in("log", "exiting");
    });
}
