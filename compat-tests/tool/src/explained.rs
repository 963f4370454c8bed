//! The lines that differ because of a row of docs/differences.md, for each scenario that shows one. `explained.txt` has
//! them as `start_server-compat --explain` prints them.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::grades::without_numbers;
use crate::harness::{Kind, diff};
use crate::run::{Finding, State};

const TEXT: &str = include_str!("explained.txt");

/// Longer lines differ before this length.
const LONGEST: usize = 200;

#[derive(Default)]
pub struct Explained {
    missing: BTreeSet<&'static str>,
    there_instead: BTreeSet<&'static str>,
}

impl Explained {
    /// The explained lines of a scenario.
    pub fn of(scenario: &str) -> Self {
        let mut explained = Self::default();
        let lines = TEXT.lines().skip_while(|line| line.strip_prefix("# ") != Some(scenario)).skip(1);
        for line in lines.take_while(|line| !line.starts_with("# ")) {
            if let Some(line) = line.strip_prefix('-') {
                explained.missing.insert(line);
            } else if let Some(line) = line.strip_prefix('+') {
                explained.there_instead.insert(line);
            }
        }
        explained
    }

    /// Whether it is explained that the candidate doesn't have this line of the reference.
    pub fn is_missing(&self, line: &str) -> bool {
        self.missing.contains(&*general(line))
    }

    /// Whether it is explained that the candidate has this line.
    pub fn is_there_instead(&self, line: &str) -> bool {
        self.there_instead.contains(&*general(line))
    }
}

/// The line without parts that differ from run to run: numbers, and which worker it is about.
pub fn general(line: &str) -> String {
    let mut general = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let length = rest[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - start);
        let is_of_symbol = ["<W", "<S", "<C"].iter().any(|symbol| rest[..start].ends_with(symbol));
        general.push_str(&rest[..start]);
        if !is_of_symbol {
            general.push_str(if length > 1 { "N" } else { &rest[start..=start] });
        }
        rest = &rest[start + length..];
    }
    (general + rest).replace('\n', "\\n").chars().take(LONGEST).collect()
}

/// The text of `explained.txt` that follows from these findings.
pub fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings.iter().filter(|finding| finding.state == State::OnPurpose) {
        let _ = writeln!(text, "# {}", finding.name);
        let changes = diff(&finding.reference.lines, &finding.candidate.lines);
        let graded = changes.iter().filter(|(mark, line)| *mark != ' ' && line.kind != Kind::Step);
        // A descriptor is graded with and without its number.
        let lines: BTreeSet<String> = graded
            .flat_map(|(mark, line)| {
                [without_numbers(line), line.text.clone()].map(|text| format!("{mark}{}\n", general(&text)))
            })
            .collect();
        text.extend(lines);
    }
    text
}
