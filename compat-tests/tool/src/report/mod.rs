//! The results of a run, in several formats.

mod badge;
mod html;
mod json;
mod junit;
mod markdown;
mod text;

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::causes::{self, Cause};
use crate::grades::{self, Aspect, Grade};
use crate::run::{Finding, State};
use crate::subject::Subject;

pub struct Report<'a> {
    pub reference: &'a Subject,
    pub candidate: &'a Subject,
    pub machine: String,
    pub date: String,
    /// The command line that made the report.
    pub command: String,
    pub verbose: bool,
    pub findings: &'a [Finding],
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Markdown,
    Html,
    Json,
    Junit,
    Badge,
}

impl Format {
    pub fn of(name: &str) -> Result<Self, String> {
        Ok(match name {
            "text" => Self::Text,
            "markdown" => Self::Markdown,
            "html" => Self::Html,
            "json" => Self::Json,
            "junit" => Self::Junit,
            "badge" => Self::Badge,
            _ => return Err(format!("there is no format {name}")),
        })
    }
}

/// An explanation for readers who have never seen a report.
const LEGEND: &str = "\
A scenario runs the same steps on both programs. A grade says how much of what the reference shows the candidate shows, too, in
per cent. It leaves out what is known to be different on purpose in the program that this tool comes with; strict counts it.
  -  a line that only the reference has       +  a line that only the candidate has
  !!!  why a scenario did not come to its end
  <S>  the pid of the superdaemon             <W2>  of the worker of generation 2        <C>  of another command
  $DIR  the working directory                 $PORT  a free port                         N  any number
  $PROBE  a worker that writes down what it finds around itself (fd, env, signals), and what happens to it (ready, got TERM)
";

/// How many causes a report shows, as the first ones to work on.
const CAUSES: usize = 10;
/// How many lines of a difference a report shows.
const LINES: usize = 12;

impl Report<'_> {
    pub fn in_format(&self, format: Format) -> String {
        match format {
            Format::Text => text::report(self),
            Format::Markdown => markdown::report(self),
            Format::Html => html::report(self),
            Format::Json => json::report(self),
            Format::Junit => junit::report(self),
            Format::Badge => badge::report(self),
        }
    }

    fn grades(&self) -> BTreeMap<Aspect, (Grade, usize)> {
        grades::of_all(&self.findings.iter().map(|finding| &finding.grades))
    }

    fn causes(&self) -> Vec<Cause<'_>> {
        causes::of(self.findings, CAUSES)
    }

    fn of_state(&self, state: State) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.state == state)
    }

    fn count(&self, state: State) -> usize {
        self.of_state(state).count()
    }

    /// `3 equal, 1 on purpose, 0 different`, and other states if there are any.
    fn summary(&self) -> String {
        let is_told =
            |state: &State| !matches!(state, State::Unsteady | State::NotComparable) || self.count(*state) > 0;
        let told = State::ALL.into_iter().filter(is_told);
        told.map(|state| format!("{} {}", self.count(state), state.name())).collect::<Vec<_>>().join(", ")
    }

    /// The scenarios that can't be compared, by reason.
    fn reasons(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for finding in self.of_state(State::NotComparable) {
            reasons.entry(&finding.reason).or_default().push(&finding.name);
        }
        reasons
    }

    /// The command that shows this scenario alone.
    fn command_for(&self, finding: &Finding) -> String {
        format!("start_server-compat --candidate={} --verbose {}", self.candidate.path.display(), finding.name)
    }

    /// Names and values that every format shows.
    fn facts(&self) -> [(&'static str, String); 5] {
        [
            ("reference", self.reference.describe()),
            ("candidate", self.candidate.describe()),
            ("machine", self.machine.clone()),
            ("date", self.date.clone()),
            ("command", self.command.clone()),
        ]
    }
}

/// The first rule that a scenario shows, with its text.
fn rule_of(finding: &Finding, rules: &[(&str, String)]) -> Option<String> {
    let id = finding.rules.first()?;
    let (_, text) = rules.iter().find(|(rule, _)| rule == id)?;
    Some(format!("{id}: {}", text.replace('`', "")))
}

/// At most so many lines.
fn shortened(text: &str, most: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= most {
        return text.to_owned();
    }
    lines[..most].join("\n") + "\n...\n"
}

fn so_many_scenarios(count: usize) -> String {
    if count == 1 { "1 scenario".to_owned() } else { format!("{count} scenarios") }
}

/// XML can't contain control characters, and a terminal obeys them. Masks of signals become names.
fn printable(text: &str) -> String {
    let text = &*causes::with_names_of_signals(text);
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        let is_invisible = (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{fdd0}'..='\u{fdef}')
            || u32::from(c) & 0xfffe == 0xfffe;
        if is_invisible {
            let _ = write!(printable, "\\x{:02x}", u32::from(c));
        } else {
            printable.push(c);
        }
    }
    printable
}

/// Text for XML and HTML.
fn escaped(text: &str) -> String {
    printable(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
