//! Writes the results into docs/conformance.md. `scripts/docs --results` runs this with three reports in JSON, or with reports of
//! other implementations as `NAME=REPORT`.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use serde_json::Value;
use start_server_compat::results::{Others, PAGE, Reports};

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
    let named: Vec<(&str, &str)> = files.iter().filter_map(|file| file.split_once('=')).collect();
    let text = match files {
        _ if !named.is_empty() && named.len() == files.len() => {
            let others = named.into_iter().map(|(name, file)| Ok((name.to_owned(), read(file)?)));
            Others(others.collect::<Result<Vec<_>, String>>()?).page(PAGE)?
        }
        [original, ours, small] if named.is_empty() => {
            Reports { original: read(original)?, ours: read(ours)?, small: read(small)? }.page()?
        }
        _ => {
            return Err(
                "the reports of the original, of this program and of the small one, or NAME=REPORT ...".to_owned()
            );
        }
    };
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    fs::write(&page, text).map_err(|error| format!("{}: {error}", page.display()))
}

fn read(file: &str) -> Result<Value, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("{file}: {error}"))
}
