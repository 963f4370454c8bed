//! The report of `scripts/compat`: its verdicts, formats and exit codes.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, ends_with, is_empty, starts_with};

use crate::harness::Programs;

/// The script, with this program as its tests. On a busy machine equal programs may be far apart.
fn compat(args: &[&str]) -> Command {
    let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/compat"));
    script.env("COMPAT_TESTS", env::current_exe().expect("this program has a path")).arg("--wait=60").args(args);
    script
}

fn original() -> String {
    format!("--candidate={}", Programs::find().original.display())
}

#[test]
fn of_the_original_and_itself() {
    let verdicts = "equal       divergences::port_range\nequal       command_line::flags\n";
    let full = "Option grammar                          100          1\n";
    compat(&["--verbose", &original(), "command_line::flags", "port_range"])
        .assert()
        .code(0)
        .stdout(starts_with(verdicts).and(contains(full)).and(ends_with("\n\n2 equal, 0 different, 0 on purpose\n")));
}

#[test]
fn of_our_program() {
    let verdicts = "on purpose  divergences::port_range\nequal       command_line::flags\n";
    let full = "Messages                                100          2\n";
    let ours = concat!("--candidate=", env!("CARGO_BIN_EXE_start_server"));
    compat(&["--verbose", ours, "command_line::flags", "port_range"])
        .assert()
        .code(0)
        .stdout(starts_with(verdicts).and(contains(full)).and(ends_with("\n\n1 equal, 0 different, 1 on purpose\n")));
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
        let scenarios = ["--verbose", "dir_is_the_workers_only", "without_a_listener"];
        compat(&[&[&*candidate, &*format!("--format={format}")], &scenarios[..]].concat()).assert().code(1)
    };
    let difference = "-cwd $DIR/sub\n";
    report("text")
        .stdout(contains("different   files::dir_is_the_workers_only\n").and(contains(difference)))
        .stdout(contains("equal       sockets::without_a_listener_the_variable_is_empty\n"))
        .stdout(contains("\n1 scenario: -cwd $DIR/sub\n  as in files::dir_is_the_workers_only:\n"))
        .stdout(contains("Messages                                100          2\n"))
        .stdout(ends_with("\n1 equal, 1 different, 0 on purpose\n"));
    report("markdown")
        .stdout(starts_with("**1 equal, 1 different, 0 on purpose**\n\n| | grade | scenarios |\n|---|--:|--:|\n"))
        .stdout(contains("| scenario | verdict |\n|---|---|\n"))
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
        .stdout(contains("Liveness                                0.0          1\n"))
        .stdout(contains("0 equal, 1 different, 0 on purpose\n"));
}

/// A start_server that is another one on purpose.
fn small() -> String {
    format!("--candidate={}/perl-fixtures/small_start_server.pl", env!("CARGO_MANIFEST_DIR"))
}

/// The worker gets what it should, but the messages are others, and no signal is as it should be.
#[test]
fn of_another_implementation() {
    let output = compat(&[&small(), "without_a_listener", "command_line::repetition"]).assert().code(1);
    let report = String::from_utf8(output.get_output().stdout.clone()).expect("a report in UTF-8");
    let expected = [
        ("Exit codes", "50.0", 2),
        ("Messages", "39.2", 2),
        ("Workers' arguments and environment", "100", 1),
        ("Descriptors and their options", "100", 1),
        ("Numbers of descriptors", "100", 1),
        ("Signals and masks", "50.0", 1),
        ("Life cycle", "100", 2),
        ("Option grammar", "62.5", 1),
        ("Liveness", "100", 2),
    ];
    let rows: Vec<_> =
        expected.iter().map(|(name, grade, count)| format!("{name:<36} {grade:>6}  {count:>9}")).collect();
    assert_eq!(report.lines().skip(1).take(rows.len()).collect::<Vec<_>>(), rows, "{report}");
    assert!(report.lines().count() <= 200);
}

/// Neither floods the report, nor keeps anybody waiting for long.
#[test]
fn of_a_program_that_never_stops_writing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("start_server");
    fs::write(&path, "#!/bin/sh\nexec yes 'starting now' >&2\n").expect("the program");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("its mode");
    let output = compat(&[&format!("--candidate={}", path.display()), "without_a_listener"]).assert().code(1);
    let report = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    assert!(report.contains("+!!! it writes without end") && report.lines().count() <= 200, "{report}");
}

#[test]
fn what_got_worse_since_a_report_in_json() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let baseline = dir.path().join("baseline.json");
    let with_baseline = format!("--baseline={}", baseline.display());
    let scenario = "without_a_listener";
    for (first, second, code, message) in [
        (small(), small(), 0, ""),
        (original(), small(), 1, "worse: sockets::without_a_listener_the_variable_is_empty is different now\n"),
        (small(), original(), 0, ""),
    ] {
        let json = compat(&[&first, "--format=json", scenario]).output().expect("a report").stdout;
        fs::write(&baseline, json).expect("the baseline");
        compat(&[&second, &with_baseline, scenario]).assert().code(code).stderr(contains(message));
    }
    fs::write(&baseline, "no report").expect("the baseline");
    compat(&[&original(), &with_baseline, scenario]).assert().code(2).stderr(contains("is no report in JSON"));
}

/// One page that needs nothing else, in which everything that differs can be found.
#[test]
fn as_a_page() {
    let output =
        compat(&[&small(), "--format=html", "without_a_listener", "command_line::repetition"]).assert().code(1);
    let page = String::from_utf8(output.get_output().stdout.clone()).expect("a page in UTF-8");
    for part in [
        "<!DOCTYPE html>",
        "<p class=\"summary\">0 equal, 2 different, 0 on purpose</p>",
        "<tr><th scope=\"row\">Messages</th><td>39.2</td>",
        "<details id=\"command_line::repetition\" data-kinds=\"exit messages options\" data-rules=\"G13\">",
        "<option>LIFE-008</option>",
        "<del>-&gt; exit 1</del>",
        "<ins>bye</ins>",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
    assert!(!["http://", "https://", "src=", "<link"].iter().any(|part| page.contains(part)));
}

#[test]
fn is_refused_when_there_is_nothing_to_compare() {
    for (args, message) in [
        (["--bogus"], "Unknown option: bogus"),
        (["--format=pdf"], "there is no format pdf"),
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
