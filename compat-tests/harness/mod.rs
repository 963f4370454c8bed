//! The ways to run a scenario: `compare` wants equal transcripts, `both` hands out what each side saw, and `ours_alone`
//! is for what the original doesn't have.

mod guard;
mod http;
mod names;
mod perl_noise;
mod ports;
mod process;
mod programs;
mod scenario;
mod transcript;
mod verdict;
mod workers;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

pub use process::{is_dead, send};
pub use programs::{Programs, named_target, profile_directory, target_directory};
pub use scenario::{Begun, Output, Scenario};
pub use transcript::Transcript;
use transcript::{diff, excerpt};
pub use verdict::Verdict;

/// What one program did with a scenario.
pub struct Outcome<T> {
    pub transcript: Transcript,
    /// What the scenario returned, or the message of its panic.
    pub result: Result<T, String>,
}

/// Runs `scenario` on both programs and fails unless their transcripts are equal.
///
/// `cargo test NAME -- --nocapture` shows the transcript of a scenario that passes.
pub fn compare(scenario: impl Fn(&mut Scenario) + Sync) {
    let (original, ours) = both(scenario);
    let both_ended = original.result.is_ok() && ours.result.is_ok();
    let are_equal = both_ended && original.transcript.0 == ours.transcript.0;
    let verdict = if are_equal { Verdict::Equal } else { Verdict::Different };
    record(verdict, &original, &ours);
    assert!(are_equal, "{}", failure(&original, &ours));
    println!("{}", original.transcript.0);
}

/// Runs `scenario` on our program, whose options the original doesn't have. No worker may be left.
pub fn ours_alone(scenario: impl Fn(&mut Scenario)) {
    let programs = Programs::find();
    succeed(&run(&programs.ours, &programs.original, scenario));
}

/// Runs `scenario` on the original, for what our program can do with it as the other one.
pub fn original_alone(scenario: impl Fn(&mut Scenario)) {
    let programs = Programs::find();
    succeed(&run(&programs.original, &programs.ours, scenario));
}

fn succeed(Outcome { transcript: Transcript(transcript), result }: &Outcome<()>) {
    if let Err(message) = result {
        panic!("{transcript}!!! {message}");
    }
    assert!(transcript.contains("===== left running\n===== left files"), "{transcript}!!! a worker is left");
    println!("{transcript}");
}

/// What a program does with `scenario`: with `of_original` the original, otherwise ours.
pub fn one<T>(of_original: bool, scenario: impl Fn(&mut Scenario) -> T) -> Outcome<T> {
    let Programs { original, ours } = Programs::find();
    if of_original { run(&original, &ours, scenario) } else { run(&ours, &original, scenario) }
}

/// Runs `scenario` on both programs at the same time: (original, ours). For a report, ours may take only so much longer
/// than the original.
pub fn both<T: Send>(scenario: impl Fn(&mut Scenario) -> T + Sync) -> (Outcome<T>, Outcome<T>) {
    let programs = Programs::find();
    let end: Arc<OnceLock<Instant>> = Arc::default();
    thread::scope(|scope| {
        let original = scope.spawn(|| {
            let outcome = run(&programs.original, &programs.ours, &scenario);
            if let Some(wait) = verdict::wait_for_candidate() {
                let _ = end.set(Instant::now() + wait);
            }
            outcome
        });
        let ours = run(&programs.ours, &programs.original, |s| {
            s.end_at(&end);
            scenario(s)
        });
        (original.join().expect("a panic of the scenario is caught in its thread"), ours)
    })
}

/// For a report.
pub fn record<T>(verdict: Verdict, original: &Outcome<T>, ours: &Outcome<T>) {
    let whole = |outcome: &Outcome<T>| {
        let end = outcome.result.as_ref().err().map_or(String::new(), |message| format!("!!! {message}\n"));
        outcome.transcript.0.clone() + &end
    };
    verdict.record(&difference(original, ours), &whole(original), &whole(ours));
}

/// Both transcripts and their difference.
pub fn failure<T>(original: &Outcome<T>, ours: &Outcome<T>) -> String {
    let side = |name: &str, outcome: &Outcome<T>| {
        let verdict = outcome.result.as_ref().err().map_or(String::new(), |message| format!("!!! {message}\n"));
        format!("===== {name}\n{}{verdict}", outcome.transcript.0)
    };
    format!(
        "{}{}===== difference (- original, + ours)\n{}",
        side("original", original),
        side("ours", ours),
        diff(&original.transcript.0, &ours.transcript.0),
    )
}

/// Why a scenario did not come to its end, and the lines that differ.
pub fn difference<T>(original: &Outcome<T>, ours: &Outcome<T>) -> String {
    let reason = |mark: char, outcome: &Outcome<T>| {
        outcome.result.as_ref().err().map_or(String::new(), |message| format!("{mark}!!! {message}\n"))
    };
    reason('-', original) + &reason('+', ours) + &excerpt(&diff(&original.transcript.0, &ours.transcript.0))
}

fn run<T>(program: &Path, other: &Path, scenario: impl Fn(&mut Scenario) -> T) -> Outcome<T> {
    let mut run = Scenario::new(program, other);
    let result = catch_unwind(AssertUnwindSafe(|| scenario(&mut run))).map_err(|panic| message_of(&*panic));
    Outcome { transcript: run.finish(), result }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("the scenario panicked").to_owned()
}
