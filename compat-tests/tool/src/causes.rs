//! What explains most: of each scenario the first thing that differs, since what follows may be its consequence. Two things
//! are looked at apart from it, as they would show everywhere: the numbers of descriptors, and the signals of workers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::explained::general;
use crate::grades::without_numbers;
use crate::harness::{Kind, Line, Transcript, diff};
use crate::run::{Finding, State};

pub struct Cause<'a> {
    /// A line that is missing and what is there instead, or a sentence.
    pub text: String,
    pub scenarios: usize,
    /// The scenario whose difference is smallest.
    pub example: &'a Finding,
}

/// The causes of most scenarios, those first.
pub fn of(findings: &[Finding], most: usize) -> Vec<Cause<'_>> {
    let mut found: BTreeMap<String, Vec<(String, &Finding)>> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.state == State::Different) {
        for (key, text) in of_scenario(finding) {
            found.entry(key).or_default().push((text, finding));
        }
    }
    let mut causes: Vec<Cause> = found
        .into_values()
        .filter_map(|mut scenarios| {
            scenarios.sort_by_key(|(_, finding)| (finding.difference.len(), &finding.name));
            let count = scenarios.len();
            let (text, example) = scenarios.into_iter().next()?;
            Some(Cause { text, scenarios: count, example })
        })
        .collect();
    // Stable: of as many scenarios, in the order of the texts.
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.scenarios));
    causes.truncate(most);
    causes
}

/// Keys that are the same wherever the cause is the same, with texts as they are in this scenario.
fn of_scenario(finding: &Finding) -> Vec<(String, String)> {
    let (reference, candidate) = (&finding.reference, &finding.candidate);
    let sentences = [shifted(reference, candidate), signals(reference, candidate)];
    let mut causes: Vec<(String, String)> =
        sentences.into_iter().flatten().map(|sentence| (sentence.clone(), sentence)).collect();
    let (left, right) = (without_known(reference), without_known(candidate));
    let is_cut_off = finding.difference.lines().any(|line| line.starts_with("+!!! "));
    causes.extend(first_difference(&left, &right, is_cut_off));
    if causes.is_empty() {
        // Both did the same for as long as it went.
        let end = finding.difference.lines().find(|line| line.contains("!!! "));
        causes.extend(end.map(|line| (general(line), line.to_owned())));
    }
    causes
}

/// Without what `shifted` and `signals` tell.
fn without_known(transcript: &Transcript) -> Vec<Line> {
    let lines = transcript.lines.iter().filter(|line| line.kind != Kind::Signals || line.text.starts_with("umask"));
    lines.map(|line| Line { kind: line.kind, text: without_numbers(line) }).collect()
}

/// The first line that is missing or there instead, of those that are no consequence by their nature. If the candidate did
/// not come to the end, what it said may be a cause, and what else is missing isn't.
fn first_difference(left: &[Line], right: &[Line], is_cut_off: bool) -> Option<(String, String)> {
    let tells = |line: &Line| tells(line) && (!is_cut_off || line.kind == Kind::Messages);
    let changes = diff(left, right);
    let mut hunks = changes.chunk_by(|(before, _), (mark, _)| (*before == ' ') == (*mark == ' '));
    hunks.find_map(|hunk| {
        let of = |wanted: char| {
            let lines = hunk.iter().filter(move |(mark, line)| *mark == wanted && tells(line));
            lines.map(|(_, line)| *line)
        };
        let (missing, instead) = (of('-').next(), of('+').next());
        // A program that has not come so far has not ended, either.
        let only_end = |line: Option<&Line>| line.is_some_and(|line| line.kind == Kind::Exit);
        match (missing, instead) {
            (Some(missing), Some(instead)) if missing.kind == instead.kind => {
                let text = format!("-{}\n+{}", missing.text, instead.text);
                let both = missing.kind == Kind::Exit;
                let key = general(&missing.text);
                Some((if both { general(&text) } else { format!("-{key}") }, text))
            }
            (missing, None) if only_end(missing) => None,
            (Some(missing), _) => Some((format!("-{}", general(&missing.text)), format!("-{}", missing.text))),
            (None, Some(instead)) => Some((format!("+{}", general(&instead.text)), format!("+{}", instead.text))),
            (None, None) => None,
        }
    })
}

fn tells(line: &Line) -> bool {
    let is_step = line.kind == Kind::Step
        || line.text.starts_with("wait for ")
        || (line.kind == Kind::Life && (line.text.starts_with("signal ") || line.text.starts_with("=====")));
    !is_step && !line.text.trim().is_empty()
}

/// If descriptors are the same but for their numbers.
fn shifted(reference: &Transcript, candidate: &Transcript) -> Option<String> {
    let numbers = |transcript: &Transcript| {
        let lines = transcript.lines.iter().filter(|line| line.kind == Kind::Descriptors).cloned();
        let split = |line: Line| {
            let (number, what) = line.text.strip_prefix("fd ")?.split_once(' ')?;
            Some((number.to_owned(), what.to_owned()))
        };
        lines.filter_map(split).collect::<Vec<_>>()
    };
    let (theirs, ours) = (numbers(reference), numbers(candidate));
    // Of what only one of them has, nothing can be said.
    let moved = theirs.iter().filter(|(_, what)| what.contains(' ')).find_map(|(number, what)| {
        let same: Vec<&String> = ours.iter().filter(|(_, other)| other == what).map(|(number, _)| number).collect();
        let is_moved = !same.is_empty() && !same.contains(&number);
        is_moved.then(|| (same[0].clone(), number.clone()))
    });
    moved.map(|(is, should_be)| format!("the first descriptor of a worker that is elsewhere is {is}, not {should_be}"))
}

const MASKS: &str = "signals ignored=";

/// The text with the lines of workers that tell what they ignore and block in words.
pub fn with_names_of_signals(text: &str) -> Cow<'_, str> {
    if !text.contains(MASKS) {
        return text.into();
    }
    let named = text.split_inclusive('\n').map(|line| {
        let masks = line.split_once(MASKS).and_then(|(mark, rest)| Some((mark, masks(rest.trim_end_matches('\n'))?)));
        masks.map_or(line.into(), |(mark, (ignored, blocked))| {
            let names = |set| if set == 0 { "none".to_owned() } else { signal_names(set).join(" ") };
            let end = if line.ends_with('\n') { "\n" } else { "" };
            Cow::from(format!("{mark}signals ignored: {}; blocked: {}{end}", names(ignored), names(blocked)))
        })
    });
    named.collect::<String>().into()
}

/// `0000000000001000 blocked=0000000000000000`
fn masks(text: &str) -> Option<(u64, u64)> {
    let (ignored, blocked) = text.split_once(" blocked=")?;
    Some((u64::from_str_radix(ignored, 16).ok()?, u64::from_str_radix(blocked, 16).ok()?))
}

/// What workers find about signals.
fn signals(reference: &Transcript, candidate: &Transcript) -> Option<String> {
    let first = |transcript: &Transcript| {
        let mut lines = transcript.lines.iter().filter(|line| line.kind == Kind::Signals);
        lines.find_map(|line| masks(line.text.strip_prefix(MASKS)?))
    };
    let (theirs, ours) = (first(reference)?, first(candidate)?);
    let parts = [
        ("doesn't ignore", theirs.0 & !ours.0),
        ("ignores", ours.0 & !theirs.0),
        ("doesn't block", theirs.1 & !ours.1),
        ("blocks", ours.1 & !theirs.1),
    ];
    let told: Vec<String> = parts
        .into_iter()
        .filter(|(_, set)| *set != 0)
        .map(|(does, set)| format!("{does} {}", signal_names(set).join(", ")))
        .collect();
    (!told.is_empty()).then(|| format!("a worker {}", told.join(" and ")))
}

fn signal_names(set: u64) -> Vec<String> {
    let name = |number: i32| {
        let signal = nix::sys::signal::Signal::try_from(number).ok();
        signal.map_or_else(|| format!("signal {number}"), |signal| signal.as_str()[3..].to_owned())
    };
    (1..=64).filter(|number| set & (1 << (number - 1)) != 0).map(name).collect()
}
