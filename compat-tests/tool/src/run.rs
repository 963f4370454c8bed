//! Runs scenarios, and repeats those that differ before it reports a difference.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::catalogue::Entry;
use crate::grades::{self, Grades};
use crate::harness::{Comparison, Programs, Transcript, Verdict, difference, judge};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    Equal,
    /// Different as docs/differences.md says.
    OnPurpose,
    /// Different twice, or once if most scenarios are.
    Different,
    /// Different, but not when it was repeated.
    Unsteady,
    /// The scenario failed with the reference itself.
    NotComparable,
}

impl State {
    pub const ALL: [Self; 5] = [Self::Equal, Self::OnPurpose, Self::Different, Self::Unsteady, Self::NotComparable];

    pub fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::OnPurpose => "on purpose",
            Self::Different => "different",
            Self::Unsteady => "unsteady",
            Self::NotComparable => "not comparable",
        }
    }
}

/// The final result of a scenario.
pub struct Finding {
    pub name: String,
    pub sentence: String,
    pub rules: Vec<String>,
    pub state: State,
    /// Why the scenario failed with the reference.
    pub reason: String,
    /// Reasons and lines that differ.
    pub difference: String,
    pub reference: Transcript,
    pub candidate: Transcript,
    pub grades: Grades,
}

/// How many scenarios run at a time: they wait much more than they compute.
const AT_A_TIME: usize = 20;
/// If more than this many have to be repeated, they don't run one by one.
const ONE_BY_ONE: usize = 24;
/// How often scenarios are repeated, and how many times longer their waits may take then.
const AGAIN: usize = 2;
const MORE_PATIENCE: u32 = 3;

pub struct Runner {
    pub programs: Programs,
    /// The least time that each wait has.
    pub patience: Duration,
    pub at_a_time: Option<usize>,
}

/// One run of one scenario.
struct Look {
    verdict: Verdict,
    comparisons: Vec<Comparison>,
    /// A panic outside of the comparisons.
    failure: Option<String>,
}

impl Runner {
    pub fn run(&self, scenarios: Vec<Entry>) -> Vec<Finding> {
        let all: Vec<usize> = (0..scenarios.len()).collect();
        let mut looks: Vec<Vec<Look>> = scenarios.iter().map(|_| Vec::new()).collect();
        let at_a_time = self.at_a_time.unwrap_or(AT_A_TIME);
        self.look(&scenarios, &all, at_a_time, self.patience, &mut looks);
        // If most of many scenarios differ, the reason is another program, not a busy machine.
        let different = looks.iter().flatten().filter(|look| look.verdict == Verdict::Different).count();
        let again = if different > ONE_BY_ONE && 2 * different > looks.len() { 0 } else { AGAIN };
        for _ in 0..again {
            let open: Vec<usize> = all.iter().copied().filter(|&index| is_open(&looks[index])).collect();
            let at_a_time = if open.len() > ONE_BY_ONE { at_a_time } else { 1 };
            self.look(&scenarios, &open, at_a_time, self.patience * MORE_PATIENCE, &mut looks);
        }
        scenarios.into_iter().zip(looks).map(|(entry, looks)| finding(entry, looks)).collect()
    }

    fn look(
        &self,
        scenarios: &[Entry],
        which: &[usize],
        at_a_time: usize,
        patience: Duration,
        looks: &mut [Vec<Look>],
    ) {
        let left = Mutex::new(which.iter().copied().collect::<VecDeque<_>>());
        let ended = AtomicUsize::new(0);
        let results = Mutex::new(Vec::new());
        let work = || {
            loop {
                let Some(index) = left.lock().expect("nobody panics with it").pop_front() else { break };
                let look = self.look_once(&scenarios[index], patience);
                results.lock().expect("nobody panics with it").push((index, look));
                progress(ended.fetch_add(1, Ordering::Relaxed) + 1, which.len());
            }
        };
        thread::scope(|scope| {
            for _ in 0..at_a_time.min(which.len()) {
                scope.spawn(work);
            }
        });
        for (index, look) in results.into_inner().expect("nobody panics with it") {
            looks[index].push(look);
        }
    }

    fn look_once(&self, entry: &Entry, patience: Duration) -> Look {
        let (comparisons, end) = judge(&self.programs, Some(patience), entry.run);
        let worst = comparisons.iter().map(|comparison| comparison.verdict).max();
        let verdict = if end.is_err() { Verdict::NotComparable } else { worst.unwrap_or(Verdict::NotComparable) };
        Look { verdict, comparisons, failure: end.err() }
    }
}

fn progress(ended: usize, of: usize) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let text = if ended == of { "\r\x1b[K".to_owned() } else { format!("\r{ended} of {of} scenarios ") };
        let _ = stderr.write_all(text.as_bytes());
    }
}

impl Look {
    /// If only the text that a scenario returns counts, transcripts may end a little earlier or later.
    fn has_equal_transcripts(&self) -> bool {
        self.comparisons.iter().all(|comparison| comparison.reference.transcript == comparison.candidate.transcript)
    }

    /// How similar both sides are. The most similar look is shown.
    fn likeness(&self, name: &str) -> f64 {
        let grades = grades::of_scenario(name, &self.comparisons);
        grades.values().map(|grade| grade.masked + grade.strict).sum::<f64>()
    }
}

/// Whether a scenario has to be repeated.
fn is_open(looks: &[Look]) -> bool {
    let is_equal = |look: &Look| look.verdict == Verdict::Equal;
    match state(looks) {
        None => true,
        Some(State::Equal) => !looks.iter().any(|look| is_equal(look) && look.has_equal_transcripts()),
        Some(_) => false,
    }
}

/// The state that follows from the looks, if they suffice.
fn state(looks: &[Look]) -> Option<State> {
    let count = |verdict: Verdict| looks.iter().filter(|look| look.verdict == verdict).count();
    let as_good = looks.iter().find_map(|look| match look.verdict {
        Verdict::Equal => Some(State::Equal),
        Verdict::OnPurpose => Some(State::OnPurpose),
        _ => None,
    });
    match (as_good, count(Verdict::Different), count(Verdict::NotComparable)) {
        (Some(state), 0, _) => Some(state),
        (Some(_), _, _) => Some(State::Unsteady),
        (None, 2.., _) => Some(State::Different),
        (None, _, 2..) => Some(State::NotComparable),
        _ => None,
    }
}

fn finding(entry: Entry, looks: Vec<Look>) -> Finding {
    // If there was only one look, it decides.
    let is_different = looks.iter().any(|look| look.verdict == Verdict::Different);
    let state = state(&looks).unwrap_or(if is_different { State::Different } else { State::NotComparable });
    let verdict = match state {
        State::Equal => Verdict::Equal,
        State::OnPurpose => Verdict::OnPurpose,
        // For an unsteady scenario, the difference is shown.
        State::Different | State::Unsteady => Verdict::Different,
        State::NotComparable => Verdict::NotComparable,
    };
    let grades = |look: &Look| grades::of_scenario(&entry.name, &look.comparisons);
    let of_last = looks.last().map(grades).unwrap_or_default();
    let of_verdict = looks.into_iter().filter(|look| look.verdict == verdict);
    let shown = of_verdict.max_by(|one, other| one.likeness(&entry.name).total_cmp(&other.likeness(&entry.name)));
    let shown = shown.expect("the state is that of a look");
    let grades = match state {
        State::NotComparable => Grades::default(),
        State::Unsteady => of_last,
        _ => grades(&shown),
    };
    let Look { comparisons, failure, .. } = shown;
    let reasons = comparisons.iter().filter_map(|comparison| comparison.reference.result.as_ref().err().cloned());
    let reason = reasons.chain(failure).next().unwrap_or_default();
    let (mut reference, mut candidate) = (Transcript::default(), Transcript::default());
    let mut text = String::new();
    for comparison in comparisons {
        if comparison.verdict != Verdict::Equal {
            text += &difference(&comparison.reference, &comparison.candidate);
        }
        reference.lines.extend(comparison.reference.transcript.lines);
        candidate.lines.extend(comparison.candidate.transcript.lines);
    }
    Finding {
        name: entry.name,
        sentence: entry.sentence,
        rules: entry.rules,
        state,
        reason,
        difference: text,
        reference,
        candidate,
        grades,
    }
}
