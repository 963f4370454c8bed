//! The scenarios of `compat-tests/tool` as tests: this build's program beside the original. `--nocapture` shows transcripts.
//!
//! If all of them ran, their grades are also compared with those in `docs/conformance.md`.
//!
//! `START_SERVER_PERL` and `START_SERVER_RUST` replace either program by any other. With the original as both, all but
//! `divergences` must pass, which tests the harness itself.

use std::env;
use std::panic;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;

use libtest_mimic::{Arguments, Failed, Trial};
use start_server_compat::catalogue::{self, Entry};
use start_server_compat::grades::{self, Grades};
use start_server_compat::harness::{Comparison, Programs, Verdict, failure, judge};
use start_server_compat::results;

fn main() -> ExitCode {
    Programs::ours_is(Path::new(env!("CARGO_BIN_EXE_start_server")));
    let (filters, others) = split(env::args());
    let mut arguments = Arguments::from_iter(others);
    let from_environment = env::var("RUST_TEST_THREADS").ok().and_then(|threads| threads.parse().ok());
    arguments.test_threads = arguments.test_threads.or(from_environment);
    // Panics of scenarios are reported at the end.
    panic::set_hook(Box::new(|_| ()));
    let shows = arguments.nocapture;
    let is_wanted =
        |name: &str, filter: &String| if arguments.exact { name == filter } else { name.contains(&**filter) };
    let scenarios = catalogue::all()
        .into_iter()
        .filter(|scenario| filters.is_empty() || filters.iter().any(|filter| is_wanted(&scenario.name, filter)));
    let trials = scenarios.map(|scenario| {
        let Entry { name, run, .. } = scenario;
        Trial::test(name.clone(), move || is_right(&name, run, shows))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let contradictions = if conclusion.has_failed() { Vec::new() } else { contradictions() };
    for contradiction in &contradictions {
        println!("{contradiction}; scripts/docs --results writes it again");
    }
    if contradictions.is_empty() { conclusion.exit_code() } else { ExitCode::from(101) }
}

/// The verdict and grades of each scenario so far.
static SEEN: Mutex<Vec<(Verdict, Grades)>> = Mutex::new(Vec::new());

/// Contradictions between docs/conformance.md and this run, if it was one of all scenarios with the original and our
/// program.
fn contradictions() -> Vec<String> {
    let seen = SEEN.lock().expect("nobody panics with it");
    let others = ["START_SERVER_PERL", "START_SERVER_RUST"];
    if seen.len() < catalogue::all().len() || others.iter().any(|variable| env::var_os(variable).is_some()) {
        return Vec::new();
    }
    let on_purpose = seen.iter().filter(|(verdict, _)| *verdict == Verdict::OnPurpose).count();
    results::contradictions(&grades::of_all(&seen.iter().map(|(_, grades)| grades)), seen.len(), on_purpose)
}

/// Splits a command line into filters and the rest. As with libtest, there can be several filters; `libtest_mimic`
/// takes only one.
fn split(words: impl Iterator<Item = String>) -> (Vec<String>, Vec<String>) {
    const WITH_VALUE: [&str; 6] = ["--test-threads", "--skip", "--logfile", "--color", "--format", "-Z"];
    let (mut filters, mut others) = (Vec::new(), Vec::new());
    for word in words {
        let is_value = others.last().is_none_or(|before: &String| WITH_VALUE.contains(&&**before));
        let of = if is_value || word.starts_with('-') { &mut others } else { &mut filters };
        of.push(word);
    }
    (filters, others)
}

fn is_right(name: &str, scenario: fn(), shows: bool) -> Result<(), Failed> {
    let (comparisons, end) = judge(&Programs::find(), None, scenario);
    end?;
    let verdict = comparisons.iter().map(|comparison| comparison.verdict).max().unwrap_or(Verdict::NotComparable);
    SEEN.lock().expect("nobody panics with it").push((verdict, grades::of_scenario(name, &comparisons)));
    for Comparison { is_right, seen, reference, candidate, .. } in comparisons {
        if !is_right {
            return Err((failure(&reference, &candidate) + &seen).into());
        }
        if shows {
            println!("{}", candidate.transcript.text());
        }
    }
    Ok(())
}
