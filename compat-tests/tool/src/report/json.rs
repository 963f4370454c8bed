//! For programs, and as a baseline: a line for each scenario, with digests of both transcripts. Transcripts are only
//! included on request.

use serde_json::{Map, Value, json};

use super::{Report, printable};
use crate::grades::{Grade, Grades, per_cent};
use crate::run::State;

pub fn report(report: &Report) -> String {
    let mut summary = Map::new();
    for state in State::ALL {
        summary.insert(state.name().to_owned(), json!(report.count(state)));
    }
    let mut grades = Map::new();
    for (aspect, (Grade { masked, strict }, scenarios)) in report.grades() {
        let (percent, strict) = (per_cent(masked), per_cent(strict));
        let value = json!({ "name": aspect.title(), "percent": percent, "strict": strict, "scenarios": scenarios });
        grades.insert(aspect.id().to_owned(), value);
    }
    let program = |subject: &crate::subject::Subject| json!({ "path": subject.path.to_string_lossy(), "version": subject.version, "sha256": subject.digest });
    let scenarios: Vec<String> =
        report.findings.iter().map(|finding| scenario(finding, report.verbose).to_string()).collect();
    format!(
        "{{\n\"reference\": {},\n\"candidate\": {},\n\"machine\": {},\n\"date\": {},\n\"command\": {},\n\"summary\": {},\n\
         \"grades\": {},\n\"scenarios\": [\n{}\n]\n}}\n",
        program(report.reference),
        program(report.candidate),
        json!(report.machine),
        json!(report.date),
        json!(report.command),
        Value::Object(summary),
        Value::Object(grades),
        scenarios.join(",\n")
    )
}

fn scenario(finding: &crate::run::Finding, verbose: bool) -> Value {
    let digests = [finding.reference.digest(), finding.candidate.digest()];
    let mut value = json!({ "name": finding.name, "verdict": finding.state.name(), "digests": digests });
    if !finding.rules.is_empty() {
        value["rules"] = json!(finding.rules);
    }
    let less = less_than_all(&finding.grades, |grade| grade.masked);
    if !less.is_empty() {
        value["grades"] = Value::Object(less);
    }
    if finding.state == State::NotComparable {
        value["reason"] = json!(printable(&finding.reason));
    }
    if verbose {
        value["strict"] = Value::Object(less_than_all(&finding.grades, |grade| grade.strict));
        value["difference"] = json!(printable(&finding.difference));
        value["reference"] = json!(printable(&finding.reference.text()));
        value["candidate"] = json!(printable(&finding.candidate.text()));
    }
    value
}

/// The grades below 100.
fn less_than_all(grades: &Grades, part: fn(&Grade) -> f64) -> Map<String, Value> {
    let less = grades.iter().filter(|(_, grade)| part(grade) < 1.0);
    less.map(|(aspect, grade)| (aspect.id().to_owned(), json!(per_cent(part(grade))))).collect()
}
