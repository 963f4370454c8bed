//! Finds what got worse since an earlier report in JSON. Only scenarios that both runs have count.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::grades::{Aspect, per_cent};
use crate::run::{Finding, State};

pub struct Baseline {
    scenarios: BTreeMap<String, Before>,
}

struct Before {
    is_different: bool,
    grades: BTreeMap<String, f64>,
}

impl Baseline {
    pub fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let text = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
        let report = serde_json::from_str(&text).ok().as_ref().and_then(Self::of);
        report.ok_or_else(|| format!("{shown} is no report in JSON"))
    }

    fn of(report: &Value) -> Option<Self> {
        let scenario = |scenario: &Value| {
            let verdict = scenario["verdict"].as_str()?;
            let is_told = verdict != State::NotComparable.name() && verdict != State::Unsteady.name();
            let grades = scenario["grades"].as_object().into_iter().flatten();
            let grades = grades.filter_map(|(aspect, grade)| Some((aspect.clone(), grade.as_f64()?))).collect();
            let before = Before { is_different: verdict == State::Different.name(), grades };
            Some(is_told.then(|| (scenario["name"].as_str().unwrap_or_default().to_owned(), before)))
        };
        let scenarios = report["scenarios"].as_array()?.iter().map(scenario).collect::<Option<Vec<_>>>()?;
        Some(Self { scenarios: scenarios.into_iter().flatten().collect() })
    }

    /// A sentence for each thing that got worse.
    pub fn worse(&self, findings: &[Finding]) -> Vec<String> {
        let told = findings.iter().filter(|finding| !matches!(finding.state, State::Unsteady | State::NotComparable));
        let mut worse = Vec::new();
        for finding in told {
            let Some(before) = self.scenarios.get(&finding.name) else { continue };
            let name = &finding.name;
            if finding.state == State::Different && !before.is_different {
                worse.push(format!("{name} is different now"));
                continue;
            }
            for aspect in Aspect::ALL {
                let (id, grade) = (aspect.id(), finding.grades.get(&aspect));
                let was = before.grades.get(id).copied().unwrap_or(100.0);
                let is = grade.map_or(was, |grade| per_cent(grade.masked));
                // A difference in the last digit doesn't count.
                if is < was - 0.15 {
                    worse.push(format!("{name}: {id}: {is:.1}, was {was:.1}"));
                }
            }
        }
        worse
    }
}
