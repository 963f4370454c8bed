//! What differs on purpose: the rows of README's table. Each has a scenario of its name that shows both behaviours, so
//! that a row that isn't true any more fails.

use predicates::Predicate;
use predicates::ord::eq;
use predicates::prelude::predicate::str::{contains, starts_with};

use crate::harness::{Scenario, both, failure};

struct Divergence {
    id: &'static str,
    /// The test below that shows it.
    scenario: &'static str,
}

const TABLE: [Divergence; 5] = [
    Divergence { id: "perl-tail", scenario: "perl_tail" },
    Divergence { id: "errno-leftover", scenario: "errno_leftover" },
    Divergence { id: "first-fd", scenario: "first_fd" },
    Divergence { id: "port-range", scenario: "port_range" },
    Divergence { id: "path-not-socket", scenario: "path_not_socket" },
];

#[test]
fn every_row_has_a_scenario() {
    for Divergence { id, scenario } in TABLE {
        let test = format!("#[test]\nfn {scenario}() {{");
        assert!(include_str!("divergences.rs").contains(&test), "no scenario shows {id}");
    }
}

/// Runs `scenario` on both programs; what it returns has to be as described, and not the same.
fn differ(
    scenario: impl Fn(&mut Scenario) -> String + Sync,
    of_original: &dyn Predicate<str>,
    of_ours: &dyn Predicate<str>,
) {
    let (original, ours) = both(scenario);
    if let (Ok(seen_in_original), Ok(seen_in_ours)) = (&original.result, &ours.result) {
        let as_described = of_original.eval(seen_in_original) && of_ours.eval(seen_in_ours);
        if as_described && seen_in_original != seen_in_ours {
            return;
        }
    }
    panic!(
        "{}original: {:?}, expected {of_original}\nours: {:?}, expected {of_ours}",
        failure(&original, &ours),
        original.result,
        ours.result
    );
}

#[test]
fn perl_tail() {
    let message = "failed to open file:pid:No such file or directory";
    differ(
        |s| s.run(&["--stop", "--pid-file=pid"]).stderr,
        &starts_with(format!("{message} at /")),
        &eq(&*format!("{message}\n")),
    );
}

#[test]
fn errno_leftover() {
    differ(|s| s.run(&["--port=$PORT", "--port=80x", "--", "$PROBE"]).end, &eq("exit 29"), &eq("exit 255"));
}

#[test]
fn first_fd() {
    differ(
        |s| {
            s.start(&["--port=$PORT", "--", "$PROBE"]);
            s.wait_worker(1);
            let listeners = s.worker_env(1, "SERVER_STARTER_PORT").unwrap_or_default();
            s.signal("TERM");
            s.wait_exit();
            listeners
        },
        &eq("$PORT=4"),
        &eq("$PORT=3"),
    );
}

#[test]
fn port_range() {
    differ(
        |s| {
            // The second port is in use if the first one was cut to 16 bits.
            let too_high = format!("--port={}", u32::from(s.port()) + 0x1_0000);
            s.run(&[&too_high, "--port=$PORT", "--", "$PROBE"]).stderr
        },
        &contains("failed to bind to $PORT:Address already in use"),
        &contains("invalid ``port'' value:"),
    );
}

#[test]
fn path_not_socket() {
    differ(
        |s| {
            s.write("app.sock", "somebody's data\n");
            let output = s.run(&["--path=app.sock", "--path=no/such/dir/app.sock", "--", "$PROBE"]);
            format!("{}, files: {}", output.end, s.ls())
        },
        &eq("exit 2, files: "),
        &eq("exit 98, files: app.sock file 0644\n"),
    );
}
