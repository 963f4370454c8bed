//! The environment that workers get: `--envdir`, and what of it the superdaemon itself obeys.

use std::fs;

use crate::harness::{Scenario, compare};

scenarios! {
    "envdir.rs":
    the_envdir_is_read_at_each_wake_up
    envdir_that_is_missing
    envdir_and_kill_old_delay_from_the_environment
    envdir_falls_back_to_the_start
    envdirs_that_change
    envdir_that_comes_and_goes
    long_values_are_passed_on
    kill_old_delay_in_the_envdir
    texts_of_the_kill_old_delay
}

/// A HUP that leads to this generation, without an interval.
fn restart(s: &mut Scenario, generation: usize) {
    s.signal("HUP");
    s.wait_line(&format!("old worker <W{}> died", generation - 1));
    s.wait_worker(generation);
}

/// LIFE-134 LIFE-135 LIFE-136
fn the_envdir_is_read_at_each_wake_up() {
    compare(|s| {
        s.mkdir("env");
        s.write("env/CHANGED", "old\nand a second line\n");
        s.write("env/REMOVED", "still there\n");
        s.write("env/EMPTY", "");
        s.write("env/BLANK", "\n");
        s.write("env/.HIDDEN", "x\n");
        s.write("env/INHERITED", "from the envdir");
        s.env("INHERITED", "from outside");
        s.env("EMPTY", "from outside");
        s.serve(&["--envdir=env"], &[]);
        s.write("env/CHANGED", "new\n");
        s.write("env/ADDED", "added = $DIR \n");
        s.remove("env/REMOVED");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_file("st", "2:<W2>\n");
        s.remove("env/ADDED");
        s.signal("HUP");
        s.wait_worker(3);
        s.wait_file("st", "3:<W3>\n");
        s.term();
    });
}

/// LIFE-012
fn envdir_that_is_missing() {
    compare(|s| {
        s.probe(&["--envdir=no/such/dir"], &[]);
        s.term();
    });
}

/// LIFE-009
fn envdir_and_kill_old_delay_from_the_environment() {
    compare(|s| {
        s.mkdir("env");
        s.write("env/FOO", "bar\n");
        s.env("ENVDIR", "env");
        s.env("KILL_OLD_DELAY", "1");
        s.serve(&[], &[]);
        s.signal("HUP");
        s.wait_line("sleeping 1 secs before killing old workers");
        s.wait_worker(2);
        s.wait_line("old worker <W1> died");
        s.term();
    });
}

/// LIFE-135 LIFE-137 LIFE-138: what was there at the start is what a file that goes, or becomes empty, falls back to.
/// LIFE-139:
/// a death makes it be read, too. (That a failing start doesn't is another matter: the divergence `envdir-retry`.)
fn envdir_falls_back_to_the_start() {
    compare(|s| {
        s.mkdir("env");
        for name in ["GOES", "EMPTIED"] {
            s.write(&format!("env/{name}"), "start\n");
            s.env(name, "from outside");
        }
        s.serve(&["--envdir=env", "--interval=5"], &[]);
        s.write("env/GOES", "later\n");
        s.write("env/EMPTIED", "later\n");
        s.signal_worker(1, "USR1");
        s.wait_worker(2);
        s.wait_file("st", "2:<W2>\n");
        s.remove("env/GOES");
        s.write("env/EMPTIED", "");
        s.signal("HUP");
        s.wait_worker(3);
        s.wait_line("old worker <W2> died");
        s.wait_file("st", "3:<W3>\n");
        s.term();
    });
}

/// LIFE-144: an envdir that names another one, LIFE-145: PATH for the program's search, LIFE-146: directories that come
/// and go.
fn envdirs_that_change() {
    compare(|s| {
        s.mkdir("bin");
        s.prelude("printf '#!/bin/sh\\nexec \"$@\"\\n' > bin/prog; chmod +x bin/prog");
        s.write("file", "no directory\n");
        s.env("ENVDIR", "first");
        s.mkdir("first");
        s.write("first/PATH", &format!("$DIR/bin:{}\n", std::env::var("PATH").unwrap_or_default()));
        s.write("first/FOO", "first\n");
        s.mkdir("first/DIRECTORY");
        std::os::unix::fs::symlink("nowhere", s.path("first/DANGLING")).expect("a link");
        std::os::unix::fs::symlink("../file", s.path("first/LINK")).expect("a link");
        s.start(&["--interval=0", "--", "prog", "$PROBE"]);
        s.wait_worker(1);
        s.write("first/ENVDIR", "second\n");
        restart(s, 2);
        s.mkdir("second");
        s.write("second/FOO", "second\n");
        s.write("second/BAR", "second\n");
        restart(s, 3);
        s.remove("first/ENVDIR");
        restart(s, 4);
        s.write("first/ENVDIR", "file\n");
        restart(s, 5);
        restart(s, 6);
        s.term();
    });
}

/// LIFE-146: read as soon as it is there.
fn envdir_that_comes_and_goes() {
    compare(|s| {
        s.probe(&["--envdir=env", "--interval=0"], &[]);
        s.mkdir("env");
        s.write("env/FOO", "bar\n");
        restart(s, 2);
        fs::rename(s.path("env"), s.path("away")).expect("to rename a directory");
        restart(s, 3);
        s.term();
    });
}

/// LIFE-147: as much as the system takes.
fn long_values_are_passed_on() {
    compare(|s| {
        s.mkdir("env");
        s.write("env/LONG", &"x".repeat(100_000));
        s.probe(&["--envdir=env"], &[]);
        s.term();
    });
}

/// LIFE-141: the delay from the envdir wins over the option, and goes when its file goes.
fn kill_old_delay_in_the_envdir() {
    compare(|s| {
        s.mkdir("env");
        s.probe(&["--envdir=env", "--kill-old-delay=0", "--interval=0"], &[]);
        s.write("env/KILL_OLD_DELAY", "1\n");
        restart(s, 2);
        s.remove("env/KILL_OLD_DELAY");
        restart(s, 3);
        s.term();
    });
}

/// The texts that `KILL_OLD_DELAY` may be; the pause is less than a second where it can be.
const DELAYS: [&str; 18] =
    ["0", "00", "0.0", "0 ", "0.5", "1e0", " 1", "1\r", "-1", "-0.5", "abc", "", "0x2", "1x", "+1", ".5", "1_0", "0e9"];

/// LIFE-157
fn texts_of_the_kill_old_delay() {
    compare(|s| {
        s.mkdir("env");
        s.probe(&["--envdir=env", "--interval=0"], &[]);
        for (delay, generation) in DELAYS.iter().zip(2..) {
            s.write("env/KILL_OLD_DELAY", &format!("{delay}\n"));
            restart(s, generation);
        }
        s.term();
    });
}
