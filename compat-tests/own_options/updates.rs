//! `--list-updates`, by which the Debian package reports the superdaemons that run when it is installed.

use std::process::Command;

use super::stop;
use super::upgrade::{WORKER, binary, install_ours, start};
use crate::harness::{Scenario, original_alone, ours_alone};

/// The line about the scenario's superdaemon.
fn said_of(s: &Scenario, program: &str) -> String {
    let output = Command::new(program).arg("--list-updates").output().expect("it can be run");
    assert!(output.status.success() && output.stderr.is_empty());
    let pid = s.superdaemon();
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let line = said.lines().find(|line| line.contains(&format!("process {pid}")));
    let names =
        |line: &str| line.replace(&pid.to_string(), "<S>").replace(s.path("").to_str().expect("UTF-8"), "$DIR/");
    line.map(names).unwrap_or_default()
}

/// In every spelling of the option that the original knows.
#[test]
fn of_the_original() {
    let to_update = "start_server: to update process <S>: start_server --take-over --pid-file=";
    for (options, expected) in [
        (&["--pid-file=one.pid"][..], "$DIR/one.pid"),
        (&["--pid=two.pid"], "$DIR/two.pid"),
        (&["-pid-file", "three.pid"], "$DIR/three.pid"),
        (&["--pid-file=a b/it's.pid"], "'$DIR/a b/it'\\''s.pid'"),
        (&["--pid-file=old.pid", "--pid-file=$DIR/eight.pid"], "$DIR/eight.pid"),
        (&["-pid=nine.pid", "-port", "$PORT", "--pid-f", "ten.pid"], "$DIR/ten.pid"),
    ] {
        original_alone(|s| {
            s.mkdir("a b");
            s.start(&[options, &WORKER, &["--pid-file=not.me"]].concat());
            s.wait_worker(1);
            assert_eq!(said_of(s, binary()), format!("{to_update}{expected}"));
            stop(s);
        });
    }
    original_alone(|s| {
        s.prelude("exec perl -w -I . \"$0\" \"$@\"");
        s.start(&[&["--pid-file=pid"], &WORKER[..]].concat());
        s.wait_worker(1);
        assert_eq!(said_of(s, binary()), format!("{to_update}$DIR/pid"));
        stop(s);
    });
    original_alone(|s| {
        s.start(&WORKER);
        s.wait_worker(1);
        assert_eq!(said_of(s, binary()), "start_server: process <S> has no --pid-file: stop and start it to update it");
        stop(s);
    });
}

/// A superdaemon is listed once its program has been replaced.
#[test]
fn of_ours() {
    ours_alone(|s| {
        start(s, &[&["--pid-file=pid", "--kill-timeout=5"], &WORKER[..]].concat());
        s.wait_worker(1);
        let installed = s.path("../start_server").canonicalize().expect("it is there");
        let installed = installed.to_str().expect("UTF-8");
        assert_eq!(said_of(s, installed), "");
        install_ours(s);
        let expected = "start_server: to update process <S>: start_server --upgrade --pid-file=$DIR/pid";
        assert_eq!(said_of(s, installed), expected);
        stop(s);
    });
}
