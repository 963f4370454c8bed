//! A page that needs no other files, and works without scripts. With its script, differences can be filtered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::{LINES, Report, escaped, shortened, so_many_scenarios};
use crate::catalogue;
use crate::causes::Cause;
use crate::grades::{Aspect, Grade, shown};
use crate::harness::{Transcript, diff};
use crate::run::{Finding, State};

/// Longer transcripts are cut off.
const LONGEST: usize = 400;

const LEGEND: &str = "<p>Each scenario does the same with both programs, side by side, and notes what can be observed. \
A <b>grade</b> says how much of what the reference shows of a kind the candidate shows, too: 100 means that all of it is equal. \
What differs as a documented difference of the program that this tool comes with is not counted there; <b>strict</b> counts it. \
In differences, <del>- a line</del> is the reference's alone and <ins>+ a line</ins> the candidate's alone. \
<code>&lt;S&gt;</code> stands for the superdaemon's pid, <code>&lt;W2&gt;</code> for that of the worker of generation 2, \
<code>&lt;C&gt;</code> for a command's, <code>$PORT</code> for a port and <code>$DIR</code> for the scenario's directory. \
A line that begins with <code>!!!</code> says why a scenario did not come to its end.</p>";

pub fn report(report: &Report) -> String {
    let candidate = escaped(&report.candidate.path.to_string_lossy());
    let summary = report.summary();
    let facts: String = report.facts().iter().fold(String::new(), |mut text, (name, value)| {
        let _ = write!(text, "<dt>{name}</dt><dd>{}</dd>", escaped(value));
        text
    });
    let grades: String = report.grades().iter().map(|(aspect, (of, count))| grade(*aspect, *of, *count)).collect();
    let causes: String = report.causes().iter().map(|each| cause(report, each)).collect();
    let causes = if causes.is_empty() { "<p>Nothing differs, except on purpose.</p>".to_owned() } else { causes };
    let rules = catalogue::rules().into_iter().collect();
    let different: String = report.of_state(State::Different).map(|finding| scenario(finding, &rules)).collect();
    let filter = if different.is_empty() { String::new() } else { filter(report) };
    let others = others(report);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Conformance of {candidate}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Conformance of <code>{candidate}</code></h1>\n\
         <p class=\"summary\">{summary}</p>\n<dl>{facts}</dl>\n<details class=\"legend\"><summary>How to read this</summary>\
         {LEGEND}</details>\n<h2>Grades</h2>\n<table class=\"grades\"><thead><tr><th scope=\"col\">Observed</th>\
         <th scope=\"col\">Per cent</th><th scope=\"col\">Strict</th><th scope=\"col\"><span class=\"hidden\">Bar</span></th>\
         <th scope=\"col\">Scenarios</th></tr></thead><tbody>\n{grades}</tbody></table>\n<h2>What explains most</h2>\n{causes}\
         <h2>All differences</h2>\n{filter}{different}{others}</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
}

fn grade(aspect: Aspect, grade: Grade, scenarios: usize) -> String {
    let (percent, strict) = (shown(grade.masked), shown(grade.strict));
    let is = match grade.masked {
        0.9995.. => "full",
        0.8.. => "most",
        _ => "less",
    };
    format!(
        "<tr><th scope=\"row\">{}</th><td>{percent}</td><td>{strict}</td><td class=\"bar\"><span class=\"{is}\" \
         style=\"width:{percent}%\"></span></td><td>{scenarios}</td></tr>\n",
        aspect.title()
    )
}

fn cause(report: &Report, cause: &Cause) -> String {
    let (times, name) = (so_many_scenarios(cause.scenarios), escaped(&cause.example.name));
    let whole = coloured(&shortened(&cause.example.difference, LINES + 1));
    let command = escaped(&report.command_for(cause.example));
    format!(
        "<section><h3>{times}</h3><pre tabindex=\"0\">{}</pre><details class=\"of-cause\"><summary>as in {name}</summary>\
         <p>{}</p><pre tabindex=\"0\">{whole}</pre><p><a href=\"#{name}\">both transcripts</a>, or <code>{command}</code></p>\
         </details></section>\n",
        coloured(&cause.text),
        escaped(&cause.example.sentence)
    )
}

fn coloured(text: &str) -> String {
    let line = |line: &str| match line.chars().next() {
        Some('-') => format!("<del>{}</del>", escaped(line)),
        Some('+') => format!("<ins>{}</ins>", escaped(line)),
        _ => escaped(line),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn scenario(finding: &Finding, rules: &BTreeMap<&str, String>) -> String {
    let name = escaped(&finding.name);
    let less = finding.grades.iter().filter(|(_, grade)| grade.masked < 1.0);
    let kinds = less.map(|(aspect, _)| aspect.id()).collect::<Vec<_>>().join(" ");
    let ids = finding.rules.join(" ");
    let text = |id: &String| rules.get(&**id).map(|text| format!("<li><b>{id}</b> {}</li>", prose(text)));
    let texts: String = finding.rules.iter().filter_map(text).collect();
    let texts = if texts.is_empty() { texts } else { format!("<ul>{texts}</ul>") };
    let (of_reference, of_candidate) = sides(&finding.reference, &finding.candidate);
    let ends: Vec<&str> =
        finding.difference.lines().filter(|line| line.get(1..).is_some_and(|end| end.starts_with("!!! "))).collect();
    let ends = if ends.is_empty() { String::new() } else { format!("<pre>{}</pre>", coloured(&ends.join("\n"))) };
    format!(
        "<details id=\"{name}\" data-kinds=\"{kinds}\" data-rules=\"{ids}\"><summary>{name} <small>{ids}</small><br>\
         <span class=\"says\">{}</span></summary>{texts}{ends}<div class=\"sides\"><section><h4>reference</h4>\
         <pre tabindex=\"0\">{of_reference}</pre></section><section><h4>candidate</h4><pre tabindex=\"0\">{of_candidate}</pre>\
         </section></div></details>\n",
        escaped(&finding.sentence)
    )
}

/// The text of a rule, with its code marked up.
fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(i, part)| if i % 2 == 1 { format!("<code>{}</code>", escaped(part)) } else { escaped(part) }).collect()
}

/// Both sides, each with the lines marked that the other one doesn't have.
fn sides(reference: &Transcript, candidate: &Transcript) -> (String, String) {
    let changes = diff(&reference.lines, &candidate.lines);
    let side = |mark: char, tag: &str| {
        let lines = changes.iter().filter(|(of, _)| *of == ' ' || *of == mark);
        let shown = lines.clone().take(LONGEST).map(|(of, line)| match of {
            ' ' => escaped(&line.text),
            _ => format!("<{tag}>{}</{tag}>", escaped(&line.text)),
        });
        let end = if lines.clone().count() > LONGEST { "\n..." } else { "" };
        shown.collect::<Vec<_>>().join("\n") + end
    };
    (side('-', "del"), side('+', "ins"))
}

fn filter(report: &Report) -> String {
    let kinds =
        Aspect::ALL.map(|aspect| format!("<option value=\"{}\">{}</option>", aspect.id(), aspect.title())).concat();
    let ids: BTreeSet<&String> = report.of_state(State::Different).flat_map(|finding| &finding.rules).collect();
    let ids: Vec<String> = ids.iter().map(|id| format!("<option>{id}</option>")).collect();
    let ids = ids.concat();
    format!(
        "<form role=\"search\" aria-label=\"Filter\" hidden>\n<label>What differs <select id=\"kind\"><option value=\"\">anything\
         </option>{kinds}</select></label>\n<label>Rule <select id=\"rule\"><option value=\"\">any</option>{ids}</select>\
         </label>\n<output id=\"shown\" aria-live=\"polite\"></output>\n</form>\n"
    )
}

/// Scenarios that are neither equal nor different.
fn others(report: &Report) -> String {
    let list = |title: &str, items: Vec<String>| {
        let items = items.concat();
        if items.is_empty() { items } else { format!("<h2>{title}</h2>\n<ul class=\"others\">{items}</ul>\n") }
    };
    let item =
        |finding: &Finding| format!("<li><code>{}</code> {}</li>", escaped(&finding.name), escaped(&finding.sentence));
    let reasons = report.reasons();
    let reason = |(reason, names): (&&str, &Vec<&str>)| {
        format!("<li>{}: <code>{}</code></li>", escaped(reason), escaped(&names.join(" ")))
    };
    list("Unsteady: different only once", report.of_state(State::Unsteady).map(item).collect())
        + &list("Not comparable: so it was with the reference", reasons.iter().map(reason).collect())
        + &list("Different on purpose", report.of_state(State::OnPurpose).map(item).collect())
}

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
