//! The scenarios of `compat-tests/tool` as tests: this build's program beside the original. `--nocapture` shows transcripts.
//!
//! A run of all is compared with the results in `docs/conformance.md`, too.
//!
//! `START_SERVER_PERL` and `START_SERVER_RUST` put any other program in either place. With the original in both, all but
//! `divergences` must pass: that is how the harness itself is tested.

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
    // What a scenario fails with is reported at the end.
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

/// What each scenario came to.
static SEEN: Mutex<Vec<(Verdict, Grades)>> = Mutex::new(Vec::new());

/// Between docs/conformance.md and this run, if it was of all scenarios and of our program.
fn contradictions() -> Vec<String> {
    let seen = SEEN.lock().expect("nobody panics with it");
    let others = ["START_SERVER_PERL", "START_SERVER_RUST"];
    if seen.len() < catalogue::all().len() || others.iter().any(|variable| env::var_os(variable).is_some()) {
        return Vec::new();
    }
    let on_purpose = seen.iter().filter(|(verdict, _)| *verdict == Verdict::OnPurpose).count();
    results::contradictions(&grades::of_all(&seen.iter().map(|(_, grades)| grades)), seen.len(), on_purpose)
}

/// The filters and the rest of the command line. There may be several, as libtest has it; `libtest_mimic` knows only one.
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
