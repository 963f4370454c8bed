//! What a comparison came to.

use std::cell::RefCell;
use std::time::Duration;

use super::{Outcome, Programs};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    Equal,
    /// Different, and as the table in docs/differences.md says.
    OnPurpose,
    /// The reference did not come to its end.
    NotComparable,
    Different,
}

pub struct Comparison {
    pub verdict: Verdict,
    /// Whether the original and this repository's program do this: what is on purpose, too, is as it should be.
    pub is_right: bool,
    /// What the scenario returned on either side, where that is what counts.
    pub seen: String,
    pub reference: Outcome<()>,
    pub candidate: Outcome<()>,
}

/// Whoever wants to know what comparisons come to, instead of a panic.
struct Judge {
    programs: Programs,
    patience: Option<Duration>,
    comparisons: Vec<Comparison>,
}

thread_local! {
    static JUDGE: RefCell<Option<Judge>> = const { RefCell::new(None) };
}

/// What the comparisons of `scenario` come to on these programs. With `patience`, the candidate isn't waited for as long as
/// the reference is, but so long at least. The second value is the message of a panic outside of the comparisons.
pub fn judge(programs: &Programs, patience: Option<Duration>, scenario: fn()) -> (Vec<Comparison>, Result<(), String>) {
    let judge = Judge { programs: programs.clone(), patience, comparisons: Vec::new() };
    JUDGE.set(Some(judge));
    let end = super::caught(scenario);
    let judge = JUDGE.take().expect("nobody else takes it");
    (judge.comparisons, end)
}

/// The programs that this thread compares, and the candidate's patience.
pub fn compared() -> (Programs, Option<Duration>) {
    let judged = JUDGE.with_borrow(|judge| judge.as_ref().map(|judge| (judge.programs.clone(), judge.patience)));
    judged.unwrap_or_else(|| (Programs::find(), None))
}

/// Hands a comparison to whoever judges. False if nobody does.
pub fn hand_over<T>(
    verdict: Verdict,
    is_right: bool,
    seen: &str,
    reference: &Outcome<T>,
    candidate: &Outcome<T>,
) -> bool {
    let verdict = match (&reference.result, reference.has_run_other) {
        (Err(_), false) => Verdict::NotComparable,
        // The reference waited for what the other program's command should have brought about.
        (Err(_), true) => Verdict::Different,
        (Ok(_), _) => verdict,
    };
    JUDGE.with_borrow_mut(|judge| {
        let Some(judge) = judge else {
            return false;
        };
        let (reference, candidate) = (reference.ended(), candidate.ended());
        judge.comparisons.push(Comparison { verdict, is_right, seen: seen.to_owned(), reference, candidate });
        true
    })
}
