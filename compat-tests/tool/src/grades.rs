//! What two transcripts have in common, in per cent: one grade for each kind of thing that can be observed.

use std::collections::BTreeMap;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::explained::Explained;
use crate::harness::{Comparison, Kind, Line, Outcome};

/// In the order of a report.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Aspect {
    Connections,
    Exit,
    Messages,
    Worker,
    Descriptors,
    Numbers,
    Signals,
    Files,
    Status,
    Life,
    Options,
    Control,
    Liveness,
}

impl Aspect {
    pub const ALL: [Self; 13] = [
        Self::Connections,
        Self::Exit,
        Self::Messages,
        Self::Worker,
        Self::Descriptors,
        Self::Numbers,
        Self::Signals,
        Self::Files,
        Self::Status,
        Self::Life,
        Self::Options,
        Self::Control,
        Self::Liveness,
    ];

    pub fn id(self) -> &'static str {
        self.names().0
    }

    pub fn title(self) -> &'static str {
        self.names().1
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Connections => ("connections", "Connections that are kept"),
            Self::Exit => ("exit", "Exit codes"),
            Self::Messages => ("messages", "Messages"),
            Self::Worker => ("worker", "Workers' arguments and environment"),
            Self::Descriptors => ("descriptors", "Descriptors and their options"),
            Self::Numbers => ("numbers", "Numbers of descriptors"),
            Self::Signals => ("signals", "Signals and masks"),
            Self::Files => ("files", "Files"),
            Self::Status => ("status", "The status file"),
            Self::Life => ("life", "Life cycle"),
            Self::Options => ("options", "Option grammar"),
            Self::Control => ("control", "Control commands"),
            Self::Liveness => ("liveness", "Liveness"),
        }
    }

    fn of(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Connections => Self::Connections,
            Kind::Exit => Self::Exit,
            Kind::Messages => Self::Messages,
            Kind::Worker => Self::Worker,
            Kind::Descriptors => Self::Descriptors,
            Kind::Signals => Self::Signals,
            Kind::Files => Self::Files,
            Kind::Status => Self::Status,
            Kind::Life => Self::Life,
            Kind::Liveness => Self::Liveness,
            Kind::Step => return None,
        })
    }
}

/// From 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Grade {
    /// Without the lines that are explained by what differs on purpose.
    pub masked: f64,
    /// The transcripts as they are.
    pub strict: f64,
}

pub type Grades = BTreeMap<Aspect, Grade>;

/// Of each aspect that the reference shows: how much of it the candidate shows, and nothing else.
pub fn of_scenario(name: &str, comparisons: &[Comparison]) -> Grades {
    let explained = Explained::of(name);
    let side = |outcome: fn(&Comparison) -> &Outcome<()>| observed(comparisons.iter().map(outcome));
    let (theirs, ours) = (side(|comparison| &comparison.reference), side(|comparison| &comparison.candidate));
    let none = Vec::new();
    let grade = |aspect: &Aspect, lines: &Vec<String>| likeness(lines, ours.get(aspect).unwrap_or(&none), &explained);
    let mut grades: Grades = theirs.iter().map(|(aspect, lines)| (*aspect, grade(aspect, lines))).collect();
    if let Some(liveness) = grades.get_mut(&Aspect::Liveness) {
        // Whoever doesn't come to the end isn't half alive.
        let whole = |part: f64| if part < 1.0 { 0.0 } else { 1.0 };
        *liveness = Grade { masked: whole(liveness.masked), strict: whole(liveness.strict) };
    }
    let of_all = |part: fn(&Grade) -> f64| mean(grades.values().map(part)).unwrap_or(1.0);
    let all = Grade { masked: of_all(|grade| grade.masked), strict: of_all(|grade| grade.strict) };
    match name.split("::").next() {
        Some("command_line") => drop(grades.insert(Aspect::Options, all)),
        Some("control") => drop(grades.insert(Aspect::Control, all)),
        _ => (),
    }
    grades
}

fn observed<'a>(outcomes: impl Iterator<Item = &'a Outcome<()>>) -> BTreeMap<Aspect, Vec<String>> {
    let mut observed = BTreeMap::from([(Aspect::Liveness, vec!["it lives".to_owned()])]);
    let mut add = |aspect: Aspect, line: String| observed.entry(aspect).or_default().push(line);
    for outcome in outcomes {
        for line in &outcome.transcript.lines {
            let Some(aspect) = Aspect::of(line.kind) else { continue };
            if line.kind == Kind::Descriptors {
                add(Aspect::Numbers, line.text.clone());
            }
            add(aspect, without_numbers(line));
        }
        if let Err(message) = &outcome.result {
            add(Aspect::Liveness, message.clone());
        }
    }
    observed
}

/// The number of a descriptor is graded once, apart from what it is. Pids that nobody knows would make everything different
/// that follows.
pub fn without_numbers(line: &Line) -> String {
    let text = &line.text;
    match line.kind {
        Kind::Descriptors => {
            let what = text.strip_prefix("fd ").and_then(|text| text.split_once(' ')).map(|(_, what)| what);
            what.unwrap_or(text).to_owned()
        }
        Kind::Worker if text.starts_with("env SERVER_STARTER_PORT=") => {
            let entries = text.split(';').map(|entry| match entry.rsplit_once('=') {
                Some((name, fd)) if !fd.is_empty() && fd.bytes().all(|byte| byte.is_ascii_digit()) => {
                    format!("{name}=FD")
                }
                _ => entry.to_owned(),
            });
            entries.collect::<Vec<_>>().join(";")
        }
        Kind::Messages | Kind::Files | Kind::Status => without_pids(text),
        _ => text.clone(),
    }
}

fn without_pids(text: &str) -> String {
    let mut text = text.to_owned();
    for before in ["worker ", "workers:", "pid:", "st."] {
        let mut from = 0;
        while let Some(at) = text[from..].find(before) {
            let begin = from + at + before.len();
            let is_of_pids = |c: char| c.is_ascii_digit() || c == ',';
            let length = text[begin..].find(|c| !is_of_pids(c)).unwrap_or(text.len() - begin);
            if text[begin..].starts_with(|c: char| c.is_ascii_digit()) {
                text.replace_range(begin..begin + length, "PID");
            }
            from = begin;
        }
    }
    text
}

/// Twice what is common, of both. Order counts.
fn likeness(left: &[String], right: &[String], explained: &Explained) -> Grade {
    let (mut common, mut all, mut unexplained) = (0, 0, 0);
    for operation in capture_diff_slices(Algorithm::Myers, left, right) {
        let (old, new) = (operation.old_range(), operation.new_range());
        all += old.len() + new.len();
        if let DiffOp::Equal { len, .. } = operation {
            common += 2 * len;
            unexplained += 2 * len;
        } else {
            unexplained += left[old].iter().filter(|line| !explained.is_missing(line)).count();
            unexplained += right[new].iter().filter(|line| !explained.is_there_instead(line)).count();
        }
    }
    let part = |of: usize| if of == 0 { 1.0 } else { f64::from(count(common)) / f64::from(count(of)) };
    Grade { masked: part(unexplained), strict: part(all) }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Over all scenarios, and how many of them show it.
pub fn of_all<'a>(scenarios: &(impl Iterator<Item = &'a Grades> + Clone)) -> BTreeMap<Aspect, (Grade, usize)> {
    let of = |aspect: Aspect| {
        let grades = scenarios.clone().filter_map(move |grades| grades.get(&aspect).copied());
        let masked = mean(grades.clone().map(|grade| grade.masked))?;
        let strict = mean(grades.clone().map(|grade| grade.strict))?;
        Some((aspect, (Grade { masked, strict }, grades.count())))
    };
    Aspect::ALL.into_iter().filter_map(of).collect()
}

fn mean(parts: impl Iterator<Item = f64>) -> Option<f64> {
    let parts: Vec<f64> = parts.collect();
    (!parts.is_empty()).then(|| parts.iter().sum::<f64>() / f64::from(count(parts.len())))
}

/// In per cent. 99.96 isn't 100.
pub fn per_cent(part: f64) -> f64 {
    (part * 1000.0 + 1e-6).floor() / 10.0
}

pub fn shown(part: f64) -> String {
    let per_cent = per_cent(part);
    if per_cent >= 100.0 { "100".to_owned() } else { format!("{per_cent:.1}") }
}
