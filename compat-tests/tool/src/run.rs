//! Runs scenarios, and what differs again before it is believed.

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
    /// Different, and as docs/differences.md says.
    OnPurpose,
    /// Different twice, or where most scenarios are.
    Different,
    /// Different, but not when it ran again.
    Unsteady,
    /// The reference itself did not come to the end.
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

/// What is known of a scenario at the end.
pub struct Finding {
    pub name: String,
    pub sentence: String,
    pub rules: Vec<String>,
    pub state: State,
    /// Why the reference did not come to its end.
    pub reason: String,
    /// Reasons and lines that differ.
    pub difference: String,
    pub reference: Transcript,
    pub candidate: Transcript,
    pub grades: Grades,
}

/// So many at a time: they wait much more than they compute.
const AT_A_TIME: usize = 20;
/// If more than so many have to run again, they do so all at once.
const ONE_BY_ONE: usize = 24;
/// In how many more runs, and how much more patiently, it is looked at again.
const AGAIN: usize = 2;
const MORE_PATIENCE: u32 = 3;

pub struct Runner {
    pub programs: Programs,
    /// Of each wait, at least.
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
        // Where most of so many differ, that is another program and no busy machine.
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
    /// Where it counts what a scenario returns, transcripts may end a little earlier or later.
    fn has_equal_transcripts(&self) -> bool {
        self.comparisons.iter().all(|comparison| comparison.reference.transcript == comparison.candidate.transcript)
    }

    /// How much is alike, for the choice of one that is shown.
    fn likeness(&self, name: &str) -> f64 {
        let grades = grades::of_scenario(name, &self.comparisons);
        grades.values().map(|grade| grade.masked + grade.strict).sum::<f64>()
    }
}

/// Whether it has to run again.
fn is_open(looks: &[Look]) -> bool {
    let is_equal = |look: &Look| look.verdict == Verdict::Equal;
    match state(looks) {
        None => true,
        Some(State::Equal) => !looks.iter().any(|look| is_equal(look) && look.has_equal_transcripts()),
        Some(_) => false,
    }
}

/// What it came to, if that is known.
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
    // Known from one look only, if there was no other.
    let is_different = looks.iter().any(|look| look.verdict == Verdict::Different);
    let state = state(&looks).unwrap_or(if is_different { State::Different } else { State::NotComparable });
    let verdict = match state {
        State::Equal => Verdict::Equal,
        State::OnPurpose => Verdict::OnPurpose,
        // What was different once is what there is to look at.
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
