//! `start_server-compat` as a program: its verdicts, formats and exit codes, and that no process or directory outlives
//! it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, ends_with, is_empty};
use start_server_compat::altered::{Altered, Mutant};
use start_server_compat::harness::{perl_script_in_path, send};
use tempfile::TempDir;

/// The candidate gets much time, as on a busy machine equal programs may take very different times.
fn compat(args: &[&str]) -> Command {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_start_server-compat"));
    tool.arg("--wait=60").args(args);
    tool
}

fn original() -> PathBuf {
    perl_script_in_path().expect("the original: scripts/install-oracle")
}

/// Makes a program. Returns its directory, and the option for it.
fn program(content: &str) -> (TempDir, String) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("start_server");
    fs::write(&path, content).expect("the program");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("its mode");
    let candidate = format!("--candidate={}", path.display());
    (dir, candidate)
}

/// A copy of the original with a text of its module replaced.
fn altered(text: &str, replacement: &str) -> (Altered, String) {
    let altered = Altered::of(&original(), text, replacement);
    let candidate = format!("--candidate={}", altered.program().display());
    (altered, candidate)
}

#[test]
fn of_the_original_and_itself() {
    let verdicts = "equal           command_line::flags\nequal           divergences::port_range\n";
    let full = "Option grammar                          100     100          1\n";
    compat(&["--verbose", "--self", "command_line::flags", "port_range"])
        .assert()
        .code(0)
        .stdout(contains(verdicts).and(contains(full)).and(ends_with("\n\n2 equal, 0 on purpose, 0 different\n")));
}

/// The original without `--dir`. Each format has exactly what differs in the one run.
#[test]
fn of_a_program_that_ignores_an_option() {
    let (dir, candidate) =
        program(&format!("#!/usr/bin/env perl\nexec '{}', grep {{ !/^--dir=/ }} @ARGV;\n", original().display()));
    let file = |format: &str| dir.path().join(format);
    let reports = ["markdown", "junit", "json", "html", "badge"]
        .map(|format| format!("--report={format}:{}", file(format).display()));
    let mut args = vec!["--verbose", &*candidate, "dir_is_the_workers_only", "without_a_listener"];
    args.extend(reports.iter().map(String::as_str));
    let difference = "-cwd $DIR/sub\n";
    compat(&args)
        .assert()
        .code(1)
        .stdout(contains("different       files::dir_is_the_workers_only\n").and(contains(difference)))
        .stdout(contains("equal           sockets::without_a_listener_the_variable_is_empty\n"))
        .stdout(contains(
            "\n1 scenario: -cwd $DIR/sub\n            +cwd $DIR\n  as in files::dir_is_the_workers_only: ",
        ))
        .stdout(contains("Messages                                100     100          2\n"))
        .stdout(ends_with("\n1 equal, 0 on purpose, 1 different\n"));
    let report = |format: &str| fs::read_to_string(file(format)).expect("a report");
    let facts = [original().display().to_string(), dir.path().join("start_server").display().to_string()];
    for format in ["markdown", "junit", "json", "html"] {
        for fact in &facts {
            assert!(report(format).contains(fact), "{format} doesn't name {fact}");
        }
    }
    let json: serde_json::Value = serde_json::from_str(&report("json")).expect("JSON");
    for scenario in json["scenarios"].as_array().expect("scenarios") {
        let (name, digests) = (&scenario["name"], &scenario["digests"]);
        assert_eq!(digests[0] == digests[1], name == "sockets::without_a_listener_the_variable_is_empty", "{scenario}");
        assert!(scenario["reference"].is_string(), "transcripts are in a verbose report: {scenario}");
    }
    let badge: serde_json::Value = serde_json::from_str(&report("badge")).expect("JSON");
    assert!(
        badge["schemaVersion"] == 1 && badge["message"].as_str().is_some_and(|grade| grade.ends_with(" %")),
        "{badge}"
    );
    let markdown = report("markdown");
    for part in [
        "**1 equal, 0 on purpose, 1 different**\n\n- reference: `",
        "| scenario | verdict |\n|---|---|\n",
        "\nAs in `files::dir_is_the_workers_only`: ",
        "### `files::dir_is_the_workers_only`\n\n```diff\n",
        difference,
    ] {
        assert!(markdown.contains(part), "{part} is missing in {markdown}");
    }
    let junit = report("junit");
    for part in [
        "<testsuite name=\"compat\" tests=\"2\" failures=\"1\" skipped=\"0\">\n",
        "<failure message=\"differs\">",
        "&lt;S&gt;",
        difference,
    ] {
        assert!(junit.contains(part), "{part} is missing in {junit}");
    }
}

#[test]
fn of_a_program_that_does_nothing() {
    compat(&["--candidate=/bin/true", "without_a_listener"])
        .assert()
        .code(1)
        .stdout(contains("+!!! everything has ended"))
        .stdout(contains("Liveness                                0.0     0.0          1\n"))
        .stdout(contains("0 equal, 0 on purpose, 1 different\n"));
}

/// An implementation that differs on purpose.
fn small() -> String {
    format!("--candidate={}/../../perl-fixtures/small_start_server.pl", env!("CARGO_MANIFEST_DIR"))
}

/// The worker gets what it should, but the messages and the signals differ.
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
        expected.iter().map(|(name, grade, count)| format!("{name:<36} {grade:>6} {grade:>7}  {count:>9}")).collect();
    let lines = report.lines().skip_while(|line| !line.ends_with("scenarios")).skip(1);
    assert_eq!(lines.take(rows.len()).collect::<Vec<_>>(), rows, "{report}");
    assert!(report.contains("1 scenario: a worker doesn't ignore PIPE\n"), "{report}");
    assert!(report.contains("\n  rule LIFE-008: "), "{report}");
    assert!(report.lines().count() <= 200);
}

/// It neither floods the report nor delays it for long.
#[test]
fn of_a_program_that_never_stops_writing() {
    let (_dir, candidate) = program("#!/bin/sh\nexec yes 'starting now' >&2\n");
    let output = compat(&[&candidate, "without_a_listener"]).assert().code(1);
    let report = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    assert!(report.contains("+!!! it writes without end") && report.lines().count() <= 200, "{report}");
}

/// A listener that is opened anew at each HUP loses the clients in its queue.
#[test]
fn of_a_program_that_loses_connections() {
    let altered = Altered::as_mutant(&original(), &Mutant::of("listeners that are opened anew"));
    let candidate = format!("--candidate={}", altered.program().display());
    compat(&[&candidate, "those_who_wait_are_served_after_a_restart"])
        .assert()
        .code(1)
        .stdout(contains("-who waited at the port: answered by generation 2\n"))
        .stdout(contains("+who waited at the port: reset\n"));
}

/// Messages that only look like Perl's own are not removed.
#[test]
fn of_programs_that_say_too_much() {
    let starting = r#"print STDERR "start_server (pid:$$) starting now...\n";"#;
    for (said, shown) in [
        (
            r#"print STDERR "start_server (pid:$$) starting now...\r\n";"#,
            "+start_server (pid:<S>) starting now...\\x0d\n",
        ),
        (
            r#"print STDERR "start_server (pid:$$) starting now...\noops: argument isn't numeric in frobnicate\n";"#,
            "+oops: argument isn't numeric in frobnicate\n",
        ),
        (
            r#"print STDERR "start_server (pid:$$) starting now... at /some/where line 7.\n";"#,
            "+start_server (pid:<S>) starting now... at /some/where line 7.\n",
        ),
    ] {
        let (_altered, candidate) = altered(starting, said);
        compat(&[&candidate, "without_a_listener"]).assert().code(1).stdout(contains(shown));
    }
}

#[test]
fn what_got_worse_since_a_report_in_json() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let baseline = dir.path().join("baseline.json");
    let (with_baseline, report) =
        (format!("--baseline={}", baseline.display()), format!("--report=json:{}", baseline.display()));
    let scenario = "without_a_listener";
    let itself = "--self".to_owned();
    for (first, second, code, message) in [
        (small(), small(), 0, ""),
        (itself.clone(), small(), 1, "worse: sockets::without_a_listener_the_variable_is_empty is different now\n"),
        (small(), itself.clone(), 0, ""),
    ] {
        compat(&[&first, &report, scenario, "repetition"]).output().expect("a report");
        compat(&[&second, &with_baseline, scenario]).assert().code(code).stderr(contains(message));
    }
    // A grade got worse in a scenario that was already different.
    compat(&[&small(), &report, scenario]).assert().code(1);
    let better = fs::read_to_string(&baseline).expect("the baseline").replace("\"signals\":50.0", "\"signals\":75.0");
    fs::write(&baseline, better).expect("the baseline");
    let worse = "worse: sockets::without_a_listener_the_variable_is_empty: signals: 50.0, was 75.0\n";
    compat(&[&small(), &with_baseline, scenario]).assert().code(1).stderr(contains(worse));
    fs::write(&baseline, "no report").expect("the baseline");
    compat(&["--self", &with_baseline, scenario]).assert().code(2).stderr(contains("is no report in JSON"));
}

/// The page needs no other files, and has everything that differs.
#[test]
fn as_a_page() {
    let output =
        compat(&[&small(), "--format=html", "without_a_listener", "command_line::repetition"]).assert().code(1);
    let page = String::from_utf8(output.get_output().stdout.clone()).expect("a page in UTF-8");
    for part in [
        "<!DOCTYPE html>",
        "<p class=\"summary\">0 equal, 0 on purpose, 2 different</p>",
        "<tr><th scope=\"row\">Messages</th><td>39.2</td><td>39.2</td>",
        "<details id=\"command_line::repetition\" data-kinds=\"exit messages options\" data-rules=\"G13\">",
        "<li><b>G13</b> ",
        "<span class=\"says\">Without a listener the variable is empty.</span>",
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
    let same = format!("--candidate={}", original().display());
    let (_dir, no_interpreter) = program("#!/nonexistent\n");
    let (_other, no_program) = program("a text\n");
    for (args, message) in [
        (["--bogus"], "--bogus"),
        (["--format=pdf"], "there is no format pdf"),
        (["--report=html"], "FORMAT:FILE"),
        (["--report=pdf:x"], "there is no format pdf"),
        (["--report=html:no/such/dir/file"], "no/such/dir/file"),
        (["--wait=-5"], "no number of seconds"),
        (["--reference=no/such/program"], "there is no program no/such/program"),
        (["--candidate=no/such/program"], "no/such/program"),
        (["--candidate=/dev/null"], "there is no program /dev/null"),
        (["--candidate=/etc/passwd"], "there is no program /etc/passwd"),
        ([&*no_interpreter], "cannot be executed"),
        ([&*no_program], "cannot be executed"),
        ([&*same], "are the same program"),
        (["no_such_scenario"], "there is no scenario no_such_scenario"),
    ] {
        compat(&args).assert().code(2).stdout(is_empty()).stderr(contains(message));
    }
}

/// If the machine lacks something, that doesn't count as a difference.
#[test]
fn what_is_not_comparable_is_no_difference() {
    let (dir, _) = program("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n");
    fs::rename(dir.path().join("start_server"), dir.path().join("unshare")).expect("to rename a program");
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").expect("a PATH"));
    compat(&["--self", "pid_1", "command_line::repetition"])
        .env("PATH", path)
        .assert()
        .code(0)
        .stdout(contains("not comparable, as the reference itself did not come to the end: everything has ended"))
        .stdout(ends_with("1 equal, 0 on purpose, 0 different, 1 not comparable\n"));
}

#[test]
fn explains_itself() {
    compat(&["--help"]).assert().code(0).stdout(contains("--candidate <PATH>")).stderr(is_empty());
    let list = "sockets::a_u_means_udp: ";
    compat(&["--list"]).assert().code(0).stdout(contains(list)).stderr(is_empty());
}

/// No process and no directory is left, whichever signal ends the tool.
#[test]
fn nothing_outlasts_it() {
    for signal in ["TERM", "INT", "HUP", "KILL"] {
        let place = tempfile::tempdir().expect("a temporary directory");
        let mut tool = begin(place.path());
        let worker = |path: &Path| fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(place.path()));
        let workers = || {
            let processes = fs::read_dir("/proc").expect("/proc").flatten();
            processes.filter(|process| worker(&process.path())).count()
        };
        wait(|| workers() > 1);
        send(i32::try_from(tool.id()).expect("a pid is positive"), signal);
        tool.wait().expect("it ends");
        wait(|| workers() == 0 && fs::read_dir(place.path()).expect("the directory").next().is_none());
    }
}

fn begin(place: &Path) -> Child {
    let mut tool = std::process::Command::new(env!("CARGO_BIN_EXE_start_server-compat"));
    tool.args(["--self", "lifecycle"]).env("TMPDIR", place).stdout(Stdio::null()).stderr(Stdio::null());
    tool.spawn().expect("the tool")
}

fn wait(is_there: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is_there() {
        assert!(Instant::now() < deadline, "the deadline has passed");
        thread::sleep(Duration::from_millis(10));
    }
}
