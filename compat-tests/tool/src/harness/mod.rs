//! The ways to run a scenario: `compare` requires equal transcripts, `both` returns what each side saw, and
//! `ours_alone` is for options that the original doesn't have.

mod fixtures;
mod guard;
mod http;
mod names;
mod pace;
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
use std::thread;

pub use guard::directory;
use pace::Pace;
pub use ports::Port;
pub use process::{end_all_in, is_at_rest, is_dead, running_in, send};
pub use programs::{Programs, perl_script_in_path};
pub use scenario::{Begun, Output, Scenario, digest};
pub use transcript::{Kind, Line, Transcript, diff, excerpt, whole};
pub use verdict::{Comparison, Verdict, judge};
use verdict::{compared, hand_over};

/// The outcome of a scenario with one program.
#[derive(Clone)]
pub struct Outcome<T> {
    pub transcript: Transcript,
    /// What the scenario returned, or the message of its panic.
    pub result: Result<T, String>,
}

impl<T> Outcome<T> {
    /// Without what the scenario returned.
    fn ended(&self) -> Outcome<()> {
        let result = self.result.as_ref().map(|_| ()).map_err(Clone::clone);
        Outcome { transcript: self.transcript.clone(), result }
    }
}

impl Outcome<String> {
    /// Only what the scenario returned, as the transcript.
    fn seen(&self) -> Self {
        let mut transcript = Transcript::default();
        for line in self.result.iter().flat_map(|seen| seen.lines()) {
            transcript.push(Kind::Messages, line);
        }
        Self { transcript, result: self.result.clone() }
    }
}

/// What is graded and reported.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Transcript,
    /// What the scenario returned.
    Seen,
}

/// Runs `scenario` on both programs and fails unless their transcripts are equal.
///
/// `cargo test NAME -- --nocapture` shows the transcript of a scenario that passes.
pub fn compare(scenario: impl Fn(&mut Scenario) + Sync) {
    let (original, ours) = both(scenario);
    let both_ended = original.result.is_ok() && ours.result.is_ok();
    let are_equal = both_ended && original.transcript == ours.transcript;
    let verdict = if are_equal { Verdict::Equal } else { Verdict::Different };
    if hand_over(verdict, are_equal, "", &original, &ours) {
        return;
    }
    assert!(are_equal, "{}", failure(&original, &ours));
    println!("{}", original.transcript.text());
}

/// Runs `scenario` on both programs and fails unless it returns the same text. This is for events that may come in any
/// order: the transcripts may differ, only the texts are compared.
pub fn compare_seen(scenario: impl Fn(&mut Scenario) -> String + Sync) {
    let (original, ours) = both(scenario);
    let are_equal = original.result.is_ok() && original.result == ours.result;
    let verdict = if are_equal { Verdict::Equal } else { Verdict::Different };
    if !hand_over(verdict, are_equal, "", &original.seen(), &ours.seen()) {
        assert!(are_equal, "{}", failure(&original, &ours));
    }
}

/// Runs `scenario` on both programs. `verdict` gets the texts that it returns, the original's first, and returns the
/// verdict and whether that is right.
pub fn judged(
    shown: Shown,
    scenario: impl Fn(&mut Scenario) -> String + Sync,
    verdict: impl Fn(&str, &str) -> (Verdict, bool),
    expected: &str,
) {
    let (original, ours) = both(scenario);
    let (verdict, is_right) = match (&original.result, &ours.result) {
        (Ok(theirs), Ok(ours)) => verdict(theirs, ours),
        _ => (Verdict::Different, false),
    };
    let (original, ours) = match shown {
        Shown::Transcript => (original, ours),
        Shown::Seen => (original.seen(), ours.seen()),
    };
    let seen = format!("original: {:?}\nours: {:?}\nexpected {expected}\n", original.result, ours.result);
    if !hand_over(verdict, is_right, &seen, &original, &ours) {
        assert!(is_right, "{}{seen}", failure(&original, &ours));
    }
}

/// Runs `scenario` on our program, whose options the original doesn't have. No worker may be left.
pub fn ours_alone(scenario: impl Fn(&mut Scenario)) {
    succeed(&one(false, scenario));
}

/// Runs `scenario` on the original, with our program as the other one: for what ours can do to a running original.
pub fn original_alone(scenario: impl Fn(&mut Scenario)) {
    succeed(&one(true, scenario));
}

fn succeed(Outcome { transcript, result }: &Outcome<()>) {
    let text = transcript.text();
    if let Err(message) = result {
        panic!("{text}!!! {message}");
    }
    assert!(transcript.leaves_nobody(), "{text}!!! a worker is left");
    println!("{text}");
}

/// Runs `scenario` on the original, or on ours.
pub fn one<T>(of_original: bool, scenario: impl Fn(&mut Scenario) -> T) -> Outcome<T> {
    let (Programs { original, ours }, _) = compared();
    if of_original {
        run(&original, &ours, &Pace::Alone, scenario)
    } else {
        run(&ours, &original, &Pace::Alone, scenario)
    }
}

/// Runs `scenario` on both programs at the same time, and returns (original, ours). If the comparison is judged with a
/// patience, ours may take only that much longer than the original.
pub fn both<T: Send>(scenario: impl Fn(&mut Scenario) -> T + Sync) -> (Outcome<T>, Outcome<T>) {
    let (programs, patience) = compared();
    let (of_reference, of_candidate) = Pace::pair(patience);
    thread::scope(|scope| {
        let original = scope.spawn(|| {
            let outcome = run(&programs.original, &programs.ours, &of_reference, &scenario);
            of_reference.end();
            outcome
        });
        let ours = run(&programs.ours, &programs.original, &of_candidate, &scenario);
        (original.join().expect("a panic of the scenario is caught in its thread"), ours)
    })
}

/// Both transcripts and their difference.
pub fn failure<T>(original: &Outcome<T>, ours: &Outcome<T>) -> String {
    let side = |name: &str, outcome: &Outcome<T>| {
        let end = outcome.result.as_ref().err().map_or(String::new(), |message| format!("!!! {message}\n"));
        format!("===== {name}\n{}{end}", outcome.transcript.text())
    };
    format!(
        "{}{}===== difference (- original, + ours)\n{}",
        side("original", original),
        side("ours", ours),
        whole(&original.transcript, &ours.transcript),
    )
}

/// Why a scenario failed on either side, and the lines that differ.
pub fn difference<T>(original: &Outcome<T>, ours: &Outcome<T>) -> String {
    let reason = |mark: char, outcome: &Outcome<T>| {
        outcome.result.as_ref().err().map_or(String::new(), |message| format!("{mark}!!! {message}\n"))
    };
    reason('-', original) + &reason('+', ours) + &excerpt(&original.transcript, &ours.transcript)
}

fn run<T>(program: &Path, other: &Path, pace: &Pace, scenario: impl Fn(&mut Scenario) -> T) -> Outcome<T> {
    let mut run = Scenario::new(program, other, pace.clone());
    let result = caught(AssertUnwindSafe(|| scenario(&mut run)));
    Outcome { transcript: run.finish(), result }
}

fn caught<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(what)).map_err(|panic| message_of(&*panic))
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("the scenario panicked").to_owned()
}
