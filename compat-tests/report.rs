//! The report of `scripts/compat`: its verdicts, formats and exit codes.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, is_empty};

use crate::harness::Programs;

/// The script, with this program as its tests.
fn compat(args: &[&str]) -> Command {
    let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/compat"));
    script.env("COMPAT_TESTS", env::current_exe().expect("this program has a path")).args(args);
    script
}

fn original() -> String {
    format!("--candidate={}", Programs::find().original.display())
}

#[test]
fn of_the_original_and_itself() {
    let report = "equal       divergences::port_range\n\
                  equal       command_line::flags\n\
                  2 equal, 0 different, 0 on purpose\n";
    compat(&[&original(), "command_line::flags", "port_range"]).assert().code(0).stdout(report);
}

#[test]
fn of_our_program() {
    let report = "on purpose  divergences::port_range\n\
                  equal       command_line::flags\n\
                  1 equal, 0 different, 1 on purpose\n";
    let ours = concat!("--candidate=", env!("CARGO_BIN_EXE_start_server"));
    compat(&[ours, "command_line::flags", "port_range"]).assert().code(0).stdout(report);
}

/// The original without `--dir`: what is different, and nothing else, stands in each of the formats.
#[test]
fn of_a_program_that_ignores_an_option() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("start_server");
    let program =
        format!("#!/usr/bin/env perl\nexec '{}', grep {{ !/^--dir=/ }} @ARGV;\n", Programs::find().original.display());
    fs::write(&path, program).expect("the program");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("its mode");
    let candidate = format!("--candidate={}", path.display());
    let report = |format: &str| {
        compat(&[&candidate, &format!("--format={format}"), "dir_is_the_workers_only", "without_a_listener"])
            .assert()
            .code(1)
    };
    let difference = "-cwd $DIR/sub\n";
    report("text").stdout(contains("different   files::dir_is_the_workers_only\n").and(contains(difference))).stdout(
        contains("equal       sockets::without_a_listener_the_variable_is_empty\n1 equal, 1 different, 0 on purpose\n"),
    );
    report("markdown")
        .stdout(contains("**1 equal, 1 different, 0 on purpose**\n\n| scenario | verdict |\n|---|---|\n"))
        .stdout(contains("### `files::dir_is_the_workers_only`\n\n```diff\n").and(contains(difference)));
    report("junit")
        .stdout(contains("<testsuite name=\"compat\" tests=\"2\" failures=\"1\" skipped=\"0\">\n"))
        .stdout(contains("<failure message=\"differs\">").and(contains("&lt;S&gt;")).and(contains(difference)));
}

#[test]
fn of_a_program_that_does_nothing() {
    compat(&["--candidate=/bin/true", "without_a_listener"])
        .assert()
        .code(1)
        .stdout(contains("+!!! everything has ended"))
        .stdout(contains("0 equal, 1 different, 0 on purpose\n"));
}

#[test]
fn is_refused_when_there_is_nothing_to_compare() {
    for (args, message) in [
        (["--bogus"], "Unknown option: bogus"),
        (["--format=html"], "there is no format html"),
        (["--reference=no/such/program"], "no/such/program"),
        (["--candidate=/dev/null"], "there is no program /dev/null"),
        (["no_such_scenario"], "there is no scenario no_such_scenario"),
    ] {
        compat(&args).assert().code(2).stdout(is_empty()).stderr(contains(message));
    }
}

#[test]
fn explains_itself() {
    compat(&["--help"]).assert().code(0).stdout(contains("--candidate=PATH")).stderr(is_empty());
}
