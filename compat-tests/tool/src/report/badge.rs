//! The mean of all grades, for an endpoint badge of shields.io.

use serde_json::json;

use super::Report;
use crate::grades::shown;

pub fn report(report: &Report) -> String {
    let grades: Vec<f64> = report.grades().values().map(|(grade, _)| grade.masked).collect();
    let mean = grades.iter().sum::<f64>() / f64::from(u32::try_from(grades.len()).unwrap_or(u32::MAX));
    let color = match mean {
        0.9995.. => "brightgreen",
        0.95.. => "green",
        0.8.. => "yellow",
        _ => "orange",
    };
    let message = format!("{} %", shown(mean));
    json!({ "schemaVersion": 1, "label": "start_server conformance", "message": message, "color": color }).to_string()
        + "\n"
}
