//! The scenarios of `compat-tests/tool` as tests: this build's program beside the original. `--nocapture` shows transcripts.
//!
//! `START_SERVER_PERL` and `START_SERVER_RUST` put any other program in either place. With the original in both, all but
//! `divergences` must pass: that is how the harness itself is tested.

use std::panic;
use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use start_server_compat::catalogue;
use start_server_compat::harness::{Comparison, Programs, failure, judge};

fn main() -> ExitCode {
    Programs::ours_is(Path::new(env!("CARGO_BIN_EXE_start_server")));
    let (filters, others) = split(std::env::args());
    let mut arguments = Arguments::from_iter(others);
    let from_environment = std::env::var("RUST_TEST_THREADS").ok().and_then(|threads| threads.parse().ok());
    arguments.test_threads = arguments.test_threads.or(from_environment);
    // What a scenario fails with is reported at the end.
    panic::set_hook(Box::new(|_| ()));
    let shows = arguments.nocapture;
    let is_wanted =
        |name: &str, filter: &String| if arguments.exact { name == filter } else { name.contains(&**filter) };
    let scenarios = catalogue::all()
        .into_iter()
        .filter(|scenario| filters.is_empty() || filters.iter().any(|filter| is_wanted(&scenario.name, filter)));
    let trials = scenarios.map(|scenario| Trial::test(scenario.name, move || is_right(scenario.run, shows)));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
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

fn is_right(scenario: fn(), shows: bool) -> Result<(), Failed> {
    let (comparisons, end) = judge(&Programs::find(), None, scenario);
    end?;
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
