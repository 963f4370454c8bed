//! The results in docs/conformance.md: written from reports in JSON, and compared with what a run of the tests came to.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::grades::{Aspect, Grade, per_cent, shown};
use crate::run::State;

pub const PAGE: &str = include_str!("../../../docs/conformance.md");
const BEGIN: &str = "<!-- results: written by `scripts/docs --results` -->\n";
const END: &str = "<!-- end of results -->\n";

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

impl Reports {
    /// The page with these results. What differs by chance must not be published.
    pub fn page(&self) -> Result<String, String> {
        let count = |report: &Value, state: State| report["summary"][state.name()].as_u64().unwrap_or(u64::MAX);
        for (name, report) in [("the original", &self.original), ("this program", &self.ours)] {
            for state in [State::Different, State::Unsteady, State::NotComparable] {
                let scenarios = count(report, state);
                if scenarios > 0 {
                    return Err(format!("{name}: {scenarios} {}", state.name()));
                }
            }
        }
        let (before, rest) = PAGE.split_once(BEGIN).ok_or("the page doesn't say where the results begin")?;
        let (_, after) = rest.split_once(END).ok_or("the page doesn't say where the results end")?;
        let on_purpose = count(&self.ours, State::OnPurpose);
        let all = State::ALL.into_iter().map(|state| count(&self.ours, state)).sum::<u64>();
        Ok(format!("{before}{BEGIN}{}\n{}\n{END}{after}", self.table()?, sentence(all, on_purpose)))
    }

    fn table(&self) -> Result<String, String> {
        let columns =
            [(&self.original, "strict"), (&self.ours, "percent"), (&self.ours, "strict"), (&self.small, "percent")];
        let mut table = String::from(HEAD);
        for aspect in Aspect::ALL {
            let _ = write!(table, "| {} |", aspect.title());
            for (report, key) in columns {
                let grade = report["grades"][aspect.id()][key].as_f64();
                let grade = grade.ok_or_else(|| format!("a report has no grade {key} of {}", aspect.id()))?;
                let _ = write!(table, " {} |", shown(grade / 100.0));
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
}
