//! For pages of code hosts.

use std::fmt::Write;

use super::{LEGEND, LINES, Report, printable, rule_of, shortened, so_many_scenarios};
use crate::catalogue;
use crate::grades::shown;
use crate::run::State;

pub fn report(report: &Report) -> String {
    let mut text = format!("**{}**\n\n", report.summary());
    for (name, value) in report.facts() {
        let _ = writeln!(text, "- {name}: `{}`", value.replace('`', "'"));
    }
    text += "\n| | grade | strict | scenarios |\n|---|--:|--:|--:|\n";
    for (aspect, (grade, count)) in report.grades() {
        let (masked, strict) = (shown(grade.masked), shown(grade.strict));
        let _ = writeln!(text, "| {} | {masked} | {strict} | {count} |", aspect.title());
    }
    let _ = write!(text, "\n<details><summary>How to read this</summary>\n\n```text\n{LEGEND}```\n</details>\n");
    let rules = catalogue::rules();
    for cause in report.causes() {
        let times = so_many_scenarios(cause.scenarios);
        let difference = fenced(&shortened(&printable(&cause.example.difference), LINES));
        let line = fenced(&(printable(&cause.text) + "\n"));
        let (name, sentence) = (&cause.example.name, &cause.example.sentence);
        let rule = rule_of(cause.example, &rules).map_or(String::new(), |rule| format!(" Rule {rule}"));
        let _ = write!(text, "\n### {times}\n\n{line}\nAs in `{name}`: {sentence}{rule}\n\n{difference}");
        let _ = writeln!(text, "\n`{}`", report.command_for(cause.example));
    }
    let unsteady: Vec<String> = report.of_state(State::Unsteady).map(|finding| format!("`{}`", finding.name)).collect();
    if !unsteady.is_empty() {
        let _ = writeln!(text, "\nUnsteady, different only once: {}.", unsteady.join(", "));
    }
    for (reason, names) in report.reasons() {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(
            text,
            "\nNot comparable, as the reference itself did not come to the end ({}): {}.",
            printable(reason),
            names.join(", ")
        );
    }
    if report.verbose {
        text += "\n| scenario | verdict |\n|---|---|\n";
        for finding in report.findings {
            let _ = writeln!(text, "| `{}` | {} |", finding.name, finding.state.name());
        }
        for finding in report.of_state(State::Different) {
            let _ = write!(text, "\n### `{}`\n\n{}", finding.name, fenced(&printable(&finding.difference)));
        }
    }
    text
}

fn fenced(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(3.max(longest + 1));
    format!("{fence}diff\n{text}{fence}\n")
}
