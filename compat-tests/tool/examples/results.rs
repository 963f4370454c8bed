//! Writes the results into docs/conformance.md. `scripts/docs --results` runs this with three reports in JSON.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use serde_json::Value;
use start_server_compat::results::Reports;

fn main() -> ExitCode {
    let files: Vec<String> = env::args().skip(1).collect();
    match write(&files) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("results: {message}");
            ExitCode::FAILURE
        }
    }
}

fn write(files: &[String]) -> Result<(), String> {
    let [original, ours, small] = files else {
        return Err("the reports of the original, of this program, and of the small one".to_owned());
    };
    let reports = Reports { original: read(original)?, ours: read(ours)?, small: read(small)? };
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    fs::write(&page, reports.page()?).map_err(|error| format!("{}: {error}", page.display()))
}

fn read(file: &str) -> Result<Value, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("{file}: {error}"))
}
