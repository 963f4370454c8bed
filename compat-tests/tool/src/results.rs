//! The results in docs/conformance.md: written from reports in JSON, and compared with what a run of the tests came to.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::grades::{Aspect, Grade, per_cent, shown};
use crate::run::State;

pub const PAGE: &str = include_str!("../../../docs/conformance.md");
const BEGIN: &str = "<!-- results: written by `scripts/docs --results` -->\n";
const END: &str = "<!-- end of results -->\n";
const BEGIN_OTHERS: &str = "<!-- others: written by `scripts/docs --results NAME=REPORT ...` -->\n";
const END_OTHERS: &str = "<!-- end of others -->\n";

/// So far may a run be from the page.
const TOLERANCE: f64 = 0.5;

/// The reports that the page shows.
pub struct Reports {
    /// The original beside itself.
    pub original: Value,
    pub ours: Value,
    /// perl-fixtures/small_start_server.pl
    pub small: Value,
}

/// Other implementations, in the order of the columns: names and reports.
pub struct Others(pub Vec<(String, Value)>);

fn count(report: &Value, state: State) -> u64 {
    report["summary"][state.name()].as_u64().unwrap_or(u64::MAX)
}

fn grade(report: &Value, aspect: Aspect, key: &str) -> Result<String, String> {
    let grade = report["grades"][aspect.id()][key].as_f64();
    let grade = grade.ok_or_else(|| format!("a report has no grade {key} of {}", aspect.id()))?;
    Ok(shown(grade / 100.0))
}

/// The page with something else between two of its lines.
fn replaced(page: &str, begin: &str, end: &str, text: &str) -> Result<String, String> {
    let (before, rest) = page.split_once(begin).ok_or_else(|| format!("the page doesn't have {begin}"))?;
    let (_, after) = rest.split_once(end).ok_or_else(|| format!("the page doesn't have {end}"))?;
    Ok(format!("{before}{begin}{text}{end}{after}"))
}

impl Others {
    /// The page with these results.
    pub fn page(&self, page: &str) -> Result<String, String> {
        for (name, report) in &self.0 {
            let scenarios = count(report, State::Unsteady);
            if scenarios > 0 {
                return Err(format!("{name}: {scenarios} {}", State::Unsteady.name()));
            }
        }
        replaced(page, BEGIN_OTHERS, END_OTHERS, &self.table()?)
    }

    fn table(&self) -> Result<String, String> {
        let row = |title: &str, cell: &dyn Fn(&Value) -> Result<String, String>| {
            let cells = self.0.iter().map(|(_, report)| cell(report)).collect::<Result<Vec<_>, _>>()?;
            Ok::<_, String>(format!("| {title} | {} |\n", cells.join(" | ")))
        };
        let names: Vec<&str> = self.0.iter().map(|(name, _)| &**name).collect();
        let mut table = format!("| | {} |\n|---|{}\n", names.join(" | "), "--:|".repeat(names.len()));
        for aspect in Aspect::ALL {
            table += &row(aspect.title(), &|report| grade(report, aspect, "strict"))?;
        }
        for state in [State::Equal, State::OnPurpose, State::Different, State::NotComparable] {
            table += &row(&scenarios_that_are(state), &|report| Ok(count(report, state).to_string()))?;
        }
        let date = |report: &Value| report["date"].as_str().and_then(|date| date.get(..10)).unwrap_or("").to_owned();
        Ok(table + &row("Date", &|report| Ok(date(report)))?)
    }
}

fn scenarios_that_are(state: State) -> String {
    match state {
        State::OnPurpose => "Scenarios: different, as this program is on purpose".to_owned(),
        _ => format!("Scenarios: {}", state.name()),
    }
}

impl Reports {
    /// The page with these results. What differs by chance must not be published.
    pub fn page(&self) -> Result<String, String> {
        for (name, report) in [("the original", &self.original), ("this program", &self.ours)] {
            for state in [State::Different, State::Unsteady, State::NotComparable] {
                let scenarios = count(report, state);
                if scenarios > 0 {
                    return Err(format!("{name}: {scenarios} {}", state.name()));
                }
            }
        }
        let on_purpose = count(&self.ours, State::OnPurpose);
        let all = State::ALL.into_iter().map(|state| count(&self.ours, state)).sum::<u64>();
        replaced(PAGE, BEGIN, END, &format!("{}\n{}\n", self.table()?, sentence(all, on_purpose)))
    }

    fn table(&self) -> Result<String, String> {
        let columns =
            [(&self.original, "strict"), (&self.ours, "percent"), (&self.ours, "strict"), (&self.small, "percent")];
        let mut table = String::from(HEAD);
        for aspect in Aspect::ALL {
            let _ = write!(table, "| {} |", aspect.title());
            for (report, key) in columns {
                let _ = write!(table, " {} |", grade(report, aspect, key)?);
            }
            table.push('\n');
        }
        Ok(table)
    }
}

const HEAD: &str = "| | original | this program | strict | a small one |\n|---|--:|--:|--:|--:|\n";

fn sentence(all: u64, on_purpose: u64) -> String {
    format!("These are {all} scenarios. This program differs on purpose in {on_purpose} of them.")
}

/// What the page says otherwise than this run of our program beside the original.
pub fn contradictions(grades: &BTreeMap<Aspect, (Grade, usize)>, scenarios: usize, on_purpose: usize) -> Vec<String> {
    let mut contradictions = Vec::new();
    let sentence = sentence(scenarios as u64, on_purpose as u64);
    if !PAGE.contains(&sentence) {
        contradictions.push(format!("docs/conformance.md doesn't say: {sentence}"));
    }
    for (aspect, (grade, _)) in grades {
        let row = row(*aspect);
        for (column, part) in [(1, grade.masked), (2, grade.strict)] {
            // A row that isn't there contradicts.
            let says = row.get(column).copied().unwrap_or(f64::INFINITY);
            let is = per_cent(part);
            if (says - is).abs() > TOLERANCE {
                contradictions
                    .push(format!("docs/conformance.md: {}: {says:.1}, and this run: {is:.1}", aspect.title()));
            }
        }
    }
    contradictions
}

/// What the page says of an aspect.
fn row(aspect: Aspect) -> Vec<f64> {
    let begin = format!("| {} | ", aspect.title());
    let row = PAGE.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or_default();
    row.trim_end_matches(" |").split(" | ").filter_map(|grade| grade.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;

    /// Whatever is known without a run.
    #[test]
    fn the_page_has_a_result_of_each_kind_and_of_all_scenarios() {
        let all = catalogue::all();
        let on_purpose = all.iter().filter(|entry| entry.name.starts_with("divergences::")).count();
        assert_eq!(contradictions(&BTreeMap::new(), all.len(), on_purpose), [""; 0]);
        assert!(PAGE.contains(BEGIN) && PAGE.contains(END) && PAGE.contains(HEAD));
        for aspect in Aspect::ALL {
            let row = row(aspect);
            assert_eq!(row.len(), 4, "{}", aspect.title());
            assert!(row[0] >= 100.0 && row[1] >= 100.0, "{}: {row:?}", aspect.title());
        }
    }

    /// What can be known of the others without their programs.
    #[test]
    fn each_of_the_others_has_a_result_of_each_kind_and_is_told_of() {
        let (_, rest) = PAGE.split_once(BEGIN_OTHERS).unwrap();
        let (table, rest) = rest.split_once(END_OTHERS).unwrap();
        let cells = |row: &'static str| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
        let mut rows = table.lines().map(cells);
        let names = rows.next().unwrap();
        assert_eq!(rows.next().unwrap().len(), names.len());
        for name in &names[1..] {
            assert!(rest.contains(&format!("\n| {name} | ")), "nothing tells what {name} is");
        }
        let states = [State::Equal, State::OnPurpose, State::Different, State::NotComparable];
        let kinds = Aspect::ALL.into_iter().map(|aspect| aspect.title().to_owned());
        let titles: Vec<String> = kinds.chain(states.map(scenarios_that_are)).chain(["Date".to_owned()]).collect();
        let rows: Vec<Vec<&str>> = rows.collect();
        assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), titles);
        for row in &rows {
            assert_eq!(row.len(), names.len(), "{row:?}");
            assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        }
        let all = u64::try_from(catalogue::all().len()).unwrap();
        for column in 1..names.len() {
            let of_states = rows[Aspect::ALL.len()..].iter().take(states.len());
            let sum: u64 = of_states.map(|row| row[column].parse::<u64>().unwrap()).sum();
            assert_eq!(sum, all, "{}", names[column]);
        }
    }

    #[test]
    fn the_table_of_others_has_a_column_for_each() {
        let grades: serde_json::Map<String, Value> = Aspect::ALL
            .map(|aspect| (aspect.id().to_owned(), serde_json::json!({ "strict": 12.34 })))
            .into_iter()
            .collect();
        let report = |unsteady: u64| {
            serde_json::json!({ "date": "2026-11-28 10:05 UTC", "grades": grades, "summary": {
                "equal": 3, "on purpose": 1, "different": 2, "unsteady": unsteady, "not comparable": 0 } })
        };
        let page = format!("a\n{BEGIN_OTHERS}old\n{END_OTHERS}b\n");
        let others = Others(vec![("one".to_owned(), report(0)), ("two".to_owned(), report(0))]);
        let written = others.page(&page).unwrap();
        assert!(written.starts_with(&format!("a\n{BEGIN_OTHERS}| | one | two |\n|---|--:|--:|\n")), "{written}");
        assert!(written.contains("\n| Liveness | 12.3 | 12.3 |\n"), "{written}");
        assert!(written.contains("\n| Scenarios: different | 2 | 2 |\n"), "{written}");
        assert!(written.ends_with(&format!("| Date | 2026-11-28 | 2026-11-28 |\n{END_OTHERS}b\n")), "{written}");
        let unsteady = Others(vec![("one".to_owned(), report(1))]);
        assert_eq!(unsteady.page(&page).unwrap_err(), "one: 1 unsteady");
    }
}
