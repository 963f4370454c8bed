//! Every relative link in the documents leads to a file, and to a heading of it if it names one.

use std::fs;
use std::path::{Path, PathBuf};

/// In bytes. README is a front door, not a manual.
const LONGEST_README: usize = 9_000;

#[test]
fn every_link_leads_somewhere() {
    let broken = broken_links(&documents());
    assert!(broken.is_empty(), "lead nowhere:\n{}", broken.join("\n"));
}

/// The links that lead nowhere, each with its document.
pub fn broken_links(documents: &[PathBuf]) -> Vec<String> {
    let mut broken = Vec::new();
    for document in documents {
        let text = fs::read_to_string(document).expect("a document");
        for link in links(&text) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let parent = document.parent().expect("a directory");
            let target = if path.is_empty() { document.clone() } else { parent.join(path) };
            let is_there = target.exists() && (heading.is_empty() || has_heading(&target, heading));
            if !is_there {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    broken
}

#[test]
fn readme_is_short() {
    assert!(include_str!("../README.md").len() <= LONGEST_README);
}

/// The Markdown files that are written for people.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let in_directory = |name: &str| fs::read_dir(root.join(name)).into_iter().flatten().flatten();
    let all = ["", "docs", "examples", "compat-tests"].into_iter().flat_map(in_directory).map(|entry| entry.path());
    let documents: Vec<_> = all.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    assert!(documents.len() > 8, "{documents:?}");
    documents
}

/// The relative targets of `[text](target)`. Code in backquotes is skipped.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("```").step_by(2).flat_map(|part| part.split('`').step_by(2));
    let targets = prose.flat_map(|part| part.split("](").skip(1)).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://"))
}

fn has_heading(document: &Path, anchor: &str) -> bool {
    let text = fs::read_to_string(document).unwrap_or_default();
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings.map(anchor_of).any(|heading| heading == anchor)
}

/// The anchor that GitHub makes of a heading.
fn anchor_of(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
