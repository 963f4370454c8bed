//! For a terminal.

use std::fmt::Write;

use super::{LEGEND, LINES, Report, printable, rule_of, shortened, so_many_scenarios};
use crate::catalogue;
use crate::grades::shown;
use crate::run::State;

/// Longer lines are cut off.
const WIDTH: usize = 150;

pub fn report(report: &Report) -> String {
    let mut text = String::new();
    for (name, value) in report.facts() {
        let _ = writeln!(text, "{name}: {value}");
    }
    let _ = write!(text, "\n{LEGEND}");
    if report.verbose {
        let _ = writeln!(text);
        for finding in report.findings {
            let _ = writeln!(text, "{:<14}  {}", finding.state.name(), finding.name);
            if matches!(finding.state, State::Different | State::Unsteady) {
                text += &indented(&printable(&finding.difference));
            }
        }
    }
    let _ = writeln!(text, "\n{:<36} {:>6} {:>7}  scenarios", "", "grade", "strict");
    for (aspect, (grade, count)) in report.grades() {
        let (title, masked, strict) = (aspect.title(), shown(grade.masked), shown(grade.strict));
        let _ = writeln!(text, "{title:<36} {masked:>6} {strict:>7}  {count:>9}");
    }
    let rules = catalogue::rules();
    for cause in report.causes() {
        let mut lines = cause.text.lines();
        let times = so_many_scenarios(cause.scenarios);
        let _ = writeln!(text, "\n{times}: {}", printable(lines.next().unwrap_or_default()));
        for line in lines {
            let _ = writeln!(text, "{:width$}{}", "", printable(line), width = times.len() + 2);
        }
        let _ = writeln!(text, "  as in {}: {}", cause.example.name, cause.example.sentence);
        if let Some(rule) = rule_of(cause.example, &rules) {
            let _ = writeln!(text, "  rule {rule}");
        }
        text += &indented(&shortened(&printable(&cause.example.difference), LINES));
        let _ = writeln!(text, "  {}", report.command_for(cause.example));
    }
    for finding in report.of_state(State::Unsteady) {
        let _ = writeln!(text, "\nunsteady, different only once: {}", finding.name);
    }
    for (reason, names) in report.reasons() {
        let _ =
            writeln!(text, "\nnot comparable, as the reference itself did not come to the end: {}", printable(reason));
        text += &indented(&(names.join("\n") + "\n"));
    }
    let _ = writeln!(text, "\n{}", report.summary());
    text
}

fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |mut indented, line| {
        let cut: String = line.chars().take(WIDTH).collect();
        let _ = writeln!(indented, "    {cut}{}", if cut.len() < line.len() { "..." } else { "" });
        indented
    })
}
