//! `--help` has other words than the original's, but the same options and defaults.

use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin_cmd;
use predicates::str::{contains, is_empty};

use crate::harness::Programs;

/// An option, and how the help of the original and ours state its default.
const DEFAULTS: [(&str, &str, &str); 6] = [
    ("--interval", "(default: 1)", "[default: 1]"),
    ("--signal-on-hup", "(default: SIGTERM)", "[default: TERM]"),
    ("--signal-on-term", "(default: SIGTERM)", "[default: TERM]"),
    ("--auto-restart-interval", "(default 360)", "[default: 360]"),
    ("--kill-old-delay", "The default value is 5 when", "[default: 0; 5 with --enable-auto-restart]"),
    // The value of Socket::SOMAXCONN(), although the original's help says "usually 128 on Linux".
    ("--backlog", "whose default is SOMAXCONN", "[default: 4096]"),
];

fn help_of(mut program: Command) -> String {
    let help = program.arg("--help").assert().code(0).stderr(is_empty());
    String::from_utf8(help.get_output().stdout.clone()).expect("help in UTF-8")
}

fn helps() -> (String, String) {
    (help_of(Command::new(Programs::find().original)), help_of(cargo_bin_cmd!("start_server")))
}

/// The words from the line that begins with `option` to the next empty line.
fn paragraph(help: &str, option: &str) -> String {
    let is_the_options = |line: &&str| {
        let rest = line.trim_start().strip_prefix(option);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c == '-' || c.is_alphanumeric()))
    };
    let lines = help.lines().skip_while(|line| !is_the_options(line)).take_while(|line| !line.is_empty());
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

#[test]
fn names_every_option() {
    let (original, ours) = helps();
    let names = |line: &str| {
        let name = line.trim_start().strip_prefix("--")?.split(|c: char| c != '-' && !c.is_alphanumeric()).next()?;
        Some(format!("--{name}"))
    };
    let options: Vec<String> = original.lines().filter_map(names).collect();
    assert!(options.len() >= 20, "the original's options are not found: {options:?}");
    for option in options {
        assert!(!paragraph(&ours, &option).is_empty(), "{option} is missing");
    }
}

#[test]
fn names_the_same_defaults() {
    let (original, ours) = helps();
    for (option, of_original, of_ours) in DEFAULTS {
        for (help, default) in [(&original, of_original), (&ours, of_ours)] {
            let paragraph = paragraph(help, option);
            assert!(paragraph.contains(default), "{option}: {default} is missing in: {paragraph}");
        }
    }
    let (common, _) = ours.split_once("\nBeyond Server::Starter:").expect("a group of our own");
    assert_eq!(common.matches("[default:").count(), DEFAULTS.len());
}

#[test]
fn goes_before_everything_but_errors() {
    cargo_bin_cmd!("start_server").args(["--version", "--help", "prog"]).assert().code(0).stdout(contains("--port"));
    cargo_bin_cmd!("start_server").args(["--help", "--bogus"]).assert().code(1).stdout(is_empty());
}
