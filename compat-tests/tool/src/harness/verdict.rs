//! The result of a comparison.

use std::cell::RefCell;
use std::time::Duration;

use super::{Outcome, Programs};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    Equal,
    /// Different, and as the table in docs/differences.md says.
    OnPurpose,
    /// The scenario failed with the reference.
    NotComparable,
    Different,
}

pub struct Comparison {
    pub verdict: Verdict,
    /// Whether the original and this repository's program should do this. Differences on purpose are right, too.
    pub is_right: bool,
    /// What the scenario returned on either side, if that decides.
    pub seen: String,
    pub reference: Outcome<()>,
    pub candidate: Outcome<()>,
}

/// Collects comparisons, which would panic without it.
struct Judge {
    programs: Programs,
    patience: Option<Duration>,
    comparisons: Vec<Comparison>,
}

thread_local! {
    static JUDGE: RefCell<Option<Judge>> = const { RefCell::new(None) };
}

/// The comparisons of `scenario` with these programs. With `patience`, each wait for the candidate has that time and a
/// multiple of what the reference took, instead of the full deadline. The second value is the message of a panic
/// outside of the comparisons.
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

/// Hands a comparison to the judge. False if there is none.
pub fn hand_over<T>(
    verdict: Verdict,
    is_right: bool,
    seen: &str,
    reference: &Outcome<T>,
    candidate: &Outcome<T>,
) -> bool {
    let verdict = if reference.result.is_err() { Verdict::NotComparable } else { verdict };
    JUDGE.with_borrow_mut(|judge| {
        let Some(judge) = judge else {
            return false;
        };
        let (reference, candidate) = (reference.ended(), candidate.ended());
        judge.comparisons.push(Comparison { verdict, is_right, seen: seen.to_owned(), reference, candidate });
        true
    })
}
