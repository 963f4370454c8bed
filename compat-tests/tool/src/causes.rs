//! What explains most: of each scenario the first thing that differs, since what follows may be its consequence. Two things
//! are looked at apart from it, as they would show everywhere: the numbers of descriptors, and the signals of workers. Nor may
//! a message that is other words almost everywhere hide what else differs.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::explained::general;
use crate::grades::without_numbers;
use crate::harness::{Kind, LEFT_RUNNING, Line, Transcript, diff};
use crate::run::{Finding, State};

pub struct Cause<'a> {
    /// A line that is missing and what is there instead, or a sentence.
    pub text: String,
    pub scenarios: usize,
    /// The scenario whose difference is smallest.
    pub example: &'a Finding,
}

/// So many lines are shown before the place that matters.
const BEFORE: usize = 3;

impl Cause<'_> {
    /// So many lines of the example's difference, among them the one that shows the cause.
    pub fn excerpt(&self, most: usize) -> String {
        let lines: Vec<&str> = self.example.difference.lines().collect();
        let ends = lines.iter().take_while(|line| line.contains("!!! ")).count().min(most);
        let (ends, rest) = lines.split_at(ends);
        let most = most - ends.len();
        let place = rest.iter().position(|line| self.is_shown_by(line)).unwrap_or(0);
        let begin = if place < most { 0 } else { place - BEFORE };
        let end = rest.len().min(begin + most);
        let before: &[&str] = if begin > 0 { &[" ..."] } else { &[] };
        let after: &[&str] = if end < rest.len() { &["..."] } else { &[] };
        [ends, before, &rest[begin..end], after].concat().iter().flat_map(|line| [*line, "\n"]).collect()
    }

    fn is_shown_by(&self, line: &str) -> bool {
        let Some(mark) = line.chars().next().filter(|mark| "-+".contains(*mark)) else {
            return false;
        };
        let text = &line[1..];
        let first = self.text.lines().next().unwrap_or_default();
        match first.strip_prefix(mark) {
            Some(first) => [Kind::Messages, Kind::Worker, Kind::Descriptors].into_iter().any(|kind| {
                let line = Line { kind, text: text.to_owned() };
                first == without_numbers(&line)
            }),
            // A sentence.
            None => text.starts_with(if first.starts_with("a worker ") { MASKS } else { "fd " }),
        }
    }
}

/// The causes of most scenarios, those first.
pub fn of<'a>(findings: &'a [Finding], most: usize) -> Vec<Cause<'a>> {
    let different = || findings.iter().filter(|finding| finding.state == State::Different);
    let mut found: BTreeMap<String, BTreeMap<&str, (String, &Finding)>> = BTreeMap::new();
    let mut add = |key: String, text: String, finding: &'a Finding| {
        found.entry(key).or_default().entry(&finding.name).or_insert((text, finding));
    };
    for finding in different() {
        sentences(finding).for_each(|sentence| add(sentence.clone(), sentence, finding));
    }
    let differing: Vec<Differing> = different().map(Differing::of).collect();
    let mut words = BTreeSet::new();
    loop {
        let firsts: Vec<(Difference, &Differing)> =
            differing.iter().filter_map(|differing| Some((differing.first(&words)?, differing))).collect();
        let other_words = of_words(&firsts, differing.len());
        for (first, differing) in firsts {
            add(first.key, first.text, differing.finding);
        }
        if other_words.is_subset(&words) {
            break;
        }
        words.extend(other_words);
    }
    let mut causes: Vec<Cause> = found
        .into_values()
        .filter_map(|scenarios| {
            let count = scenarios.len();
            let mut alike: BTreeMap<String, Vec<(String, &Finding)>> = BTreeMap::new();
            for (text, finding) in scenarios.into_values() {
                alike.entry(general(&text)).or_default().push((text, finding));
            }
            // What it is mostly like.
            let most = alike.into_values().max_by_key(Vec::len)?;
            let (text, example) =
                most.into_iter().min_by_key(|(_, finding)| (finding.difference.len(), &finding.name))?;
            Some(Cause { text, scenarios: count, example })
        })
        .collect();
    // Stable: of as many scenarios, in the order of the texts.
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.scenarios));
    causes.truncate(most);
    causes
}

/// The lines of messages that are worded otherwise all over the place: whoever does so comes to the end all the same.
fn of_words(firsts: &[(Difference, &Differing)], all: usize) -> BTreeSet<String> {
    let mut of_keys: BTreeMap<&str, Vec<&(Difference, &Differing)>> = BTreeMap::new();
    for first in firsts.iter().filter(|(first, _)| first.is_message) {
        of_keys.entry(&first.0.key).or_default().push(first);
    }
    let harmless = |scenarios: &[&(Difference, &Differing)]| {
        let ended = scenarios.iter().filter(|(_, differing)| !differing.is_cut_off).count();
        scenarios.len() * ONE_OF > all && ended * 2 > scenarios.len()
    };
    let lines = of_keys.into_values().filter(|scenarios| harmless(scenarios)).flatten();
    lines.flat_map(|(first, _)| first.lines.iter().cloned()).collect()
}

/// In more than one of so many scenarios is all over the place.
const ONE_OF: usize = 5;

fn sentences(finding: &Finding) -> impl Iterator<Item = String> {
    let (reference, candidate) = (&finding.reference, &finding.candidate);
    [shifted(reference, candidate), signals(reference, candidate)].into_iter().flatten()
}

/// What a scenario showed, without what the sentences tell.
struct Differing<'a> {
    finding: &'a Finding,
    reference: Vec<Line>,
    candidate: Vec<Line>,
    is_cut_off: bool,
}

struct Difference {
    /// The same wherever the cause is the same.
    key: String,
    /// As it is in this scenario.
    text: String,
    lines: Vec<String>,
    is_message: bool,
}

impl<'a> Differing<'a> {
    fn of(finding: &'a Finding) -> Self {
        let is_cut_off = finding.difference.lines().any(|line| line.starts_with("+!!! "));
        let (mut reference, candidate) = (without_known(&finding.reference), without_known(&finding.candidate));
        if is_cut_off {
            remove_later_steps(&mut reference, &candidate);
        }
        Self { finding, reference, candidate, is_cut_off }
    }

    /// The first difference, but for these words.
    fn first(&self, words: &BTreeSet<String>) -> Option<Difference> {
        let first = first_difference(&self.reference, &self.candidate, self.is_cut_off, words);
        first.or_else(|| {
            // Both did the same for as long as it went.
            let is_known = words.is_empty() && sentences(self.finding).next().is_some();
            let end = self.finding.difference.lines().find(|line| line.contains("!!! ")).filter(|_| !is_known)?;
            Some(Difference { key: general(end), text: end.to_owned(), lines: Vec::new(), is_message: false })
        })
    }
}

/// Without what `shifted` and `signals` tell.
fn without_known(transcript: &Transcript) -> Vec<Line> {
    let lines = transcript.lines.iter().filter(|line| line.kind != Kind::Signals || line.text.starts_with("umask"));
    lines.map(|line| Line { kind: line.kind, text: without_numbers(line) }).collect()
}

/// Without the steps of the reference that the candidate never came to, and what was seen in them.
fn remove_later_steps(reference: &mut Vec<Line>, candidate: &[Line]) {
    let is_wait = |line: &&Line| line.text.starts_with("wait for ");
    let is_end = |line: &Line| line.text == LEFT_RUNNING;
    let waits = candidate.iter().take_while(|line| !is_end(line)).filter(is_wait).count();
    let Some(end) = reference.iter().position(is_end) else { return };
    let Some((last, _)) = reference[..end].iter().enumerate().filter(|(_, line)| is_wait(line)).nth(waits.max(1) - 1)
    else {
        return;
    };
    // What a command said whose end was waited for.
    let said = reference[last + 1..end].iter().take_while(|line| line.kind == Kind::Messages).count();
    reference.drain(last + 1 + said..end);
}

/// The first line that is missing or there instead, of those that are no consequence by their nature. If the candidate did
/// not come to the end, what it said may be a cause, and what else is missing isn't.
fn first_difference(left: &[Line], right: &[Line], is_cut_off: bool, words: &BTreeSet<String>) -> Option<Difference> {
    let counts = |mark: char, line: &Line| {
        let is_message = line.kind == Kind::Messages;
        tells(line) && (!is_cut_off || is_message) && !(is_message && words.contains(&marked(mark, line)))
    };
    let changes = diff(left, right);
    let hunks: Vec<&[(char, &Line)]> =
        changes.chunk_by(|(before, _), (mark, _)| (*before == ' ') == (*mark == ' ')).collect();
    hunks.iter().enumerate().find_map(|(number, hunk)| {
        // What it would have said later.
        let next = hunks.get(number + 1).and_then(|next| next.first());
        let is_last_word = next.is_none_or(|(_, line)| line.kind != Kind::Messages);
        if is_cut_off && is_last_word && hunk.iter().all(|(mark, _)| *mark == '-') {
            return None;
        }
        let of = |wanted: char| {
            let mut lines = hunk.iter().filter(|(mark, line)| *mark == wanted && counts(*mark, line));
            lines.next().map(|(mark, line)| (*mark, *line))
        };
        let is_exit = |line: Option<(char, &Line)>| line.is_some_and(|(_, line)| line.kind == Kind::Exit);
        match (of('-'), of('+')) {
            (Some(missing), Some(instead)) if missing.1.kind == instead.1.kind => {
                Some(Difference::of(&[missing, instead]))
            }
            // A program that has not come so far has not ended, either.
            (missing, None) if is_exit(missing) => None,
            (Some(missing), _) => Some(Difference::of(&[missing])),
            (None, instead) => Some(Difference::of(&[instead?])),
        }
    })
}

impl Difference {
    fn of(changes: &[(char, &Line)]) -> Self {
        let lines: Vec<String> = changes.iter().map(|(mark, line)| marked(*mark, line)).collect();
        let texts: Vec<String> = changes.iter().map(|(mark, line)| format!("{mark}{}", line.text)).collect();
        let kind = changes[0].1.kind;
        let key = if kind == Kind::Exit { lines.concat() } else { lines[0].clone() };
        Self { key, text: texts.join("\n"), lines, is_message: kind == Kind::Messages }
    }
}

/// A line that is the same whichever process says it.
fn marked(mark: char, line: &Line) -> String {
    format!("{mark}{}", general(&line.text).replace("<C>", "<S>").replace("<D>", "<S>"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grades::Grades;
    use crate::harness::whole;

    fn transcript(steps: &[&str], said: &[&str], masks: &str) -> Transcript {
        let mut transcript = Transcript::default();
        for step in steps {
            transcript.push(Kind::Life, *step);
        }
        transcript.push(Kind::Step, LEFT_RUNNING);
        transcript.push(Kind::Step, "===== stderr");
        for line in said {
            transcript.push(Kind::Messages, *line);
        }
        transcript.push(Kind::Step, "===== stdout");
        transcript.push(Kind::Worker, "cwd $DIR");
        transcript.push(Kind::Signals, format!("{MASKS}{masks} blocked=0000000000000000"));
        transcript
    }

    fn finding(name: &str, end: &str, reference: Transcript, candidate: Transcript) -> Finding {
        Finding {
            name: name.to_owned(),
            sentence: String::new(),
            rules: Vec::new(),
            state: State::Different,
            reason: String::new(),
            difference: end.to_owned() + &whole(&reference, &candidate),
            reference,
            candidate,
            grades: Grades::default(),
        }
    }

    const NONE: &str = "0000000000000000";

    fn texts(findings: &[Finding]) -> Vec<(String, usize)> {
        of(findings, 10).into_iter().map(|cause| (cause.text, cause.scenarios)).collect()
    }

    #[test]
    fn a_message_that_is_missing_everywhere_hides_nothing() {
        let steps = ["wait for st"];
        let both = |name: &str, theirs: &str, ours: &str| {
            let theirs = transcript(&steps, &["begins", "serves", theirs, "ends"], NONE);
            finding(name, "", theirs, transcript(&steps, &["serves", ours, "ends"], NONE))
        };
        let findings = [both("a", "x", "x"), both("b", "x", "x"), both("c", "status:9", "status -9")];
        let expected = [("-begins", 3), ("-status:9\n+status -9", 1)];
        assert_eq!(texts(&findings), expected.map(|(text, count)| (text.to_owned(), count)));
    }

    #[test]
    fn what_would_have_come_later_is_no_cause() {
        let theirs = transcript(&["wait for pid", "wait for the end"], &["begins", "ends"], NONE);
        let mut later = theirs.clone();
        later.lines.insert(1, Line { kind: Kind::Messages, text: "said by a command".to_owned() });
        let ours = transcript(&["wait for pid"], &["begins"], NONE);
        let end = "+!!! deadline passed in the wait for pid, and it is \"1\"";
        let findings = [finding("a", &format!("{end}\n"), later, ours)];
        assert_eq!(texts(&findings), [(end.to_owned(), 1)]);
    }

    #[test]
    fn an_excerpt_shows_the_cause() {
        let said: Vec<String> = (0..30).map(|number| format!("line {number}")).collect();
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        let pipe = "0000000000001000";
        let findings = [finding("a", "", transcript(&[], &said, pipe), transcript(&[], &said, NONE))];
        let causes = of(&findings, 10);
        assert_eq!(causes[0].text, "a worker doesn't ignore PIPE");
        let excerpt = causes[0].excerpt(12);
        assert!(excerpt.starts_with(" ...\n") && excerpt.contains(&format!("\n-{MASKS}{pipe}")), "{excerpt}");
    }
}
