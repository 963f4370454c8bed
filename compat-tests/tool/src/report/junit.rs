//! For programs that show test results.

use std::fmt::Write;

use super::{Report, escaped};
use crate::run::State;

pub fn report(report: &Report) -> String {
    let skipped = report.findings.len() - report.count(State::Equal) - report.count(State::Different);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (tests, failures) = (report.findings.len(), report.count(State::Different));
    let _ = writeln!(
        text,
        "<testsuite name=\"compat\" tests=\"{tests}\" failures=\"{failures}\" skipped=\"{skipped}\">\n<properties>"
    );
    for (name, value) in report.facts() {
        let _ = writeln!(text, "<property name=\"{name}\" value=\"{}\"/>", escaped(&value));
    }
    text += "</properties>\n";
    for finding in report.findings {
        let (class, name) = finding.name.rsplit_once("::").unwrap_or(("", &finding.name));
        let inside = match finding.state {
            State::Equal => String::new(),
            State::OnPurpose => "<skipped message=\"differs on purpose\"/>".to_owned(),
            State::Unsteady => "<skipped message=\"unsteady\"/>".to_owned(),
            State::NotComparable => format!("<skipped message=\"not comparable: {}\"/>", escaped(&finding.reason)),
            State::Different => format!("<failure message=\"differs\">\n{}</failure>", escaped(&finding.difference)),
        };
        let _ = writeln!(text, "<testcase classname=\"{class}\" name=\"{name}\">{inside}</testcase>");
    }
    text + "</testsuite>\n"
}
