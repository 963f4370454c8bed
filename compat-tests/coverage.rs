//! That no rule of the original is without a scenario: `catalogue.txt` lists what is known of it, and the doc comments of
//! scenarios and of their tables name the ids they show.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// An id, and why no scenario can show it: None if one has to.
type Catalogue = BTreeMap<String, Option<String>>;

#[test]
fn every_rule_has_a_scenario() {
    let catalogue = read_catalogue();
    let named = named_in_scenarios();
    let mut problems = Vec::new();
    for (id, exemption) in &catalogue {
        match exemption {
            Some(reason) if reason.is_empty() => problems.push(format!("{id}: exempt without a reason")),
            None if !named.contains(id) => problems.push(format!("{id}: no scenario names it")),
            _ => {}
        }
    }
    let unknown = named.iter().filter(|id| !catalogue.contains_key(*id));
    problems.extend(unknown.map(|id| format!("{id}: named by a scenario, but not in catalogue.txt")));
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Lines `ID  TITLE` or `ID  TITLE ~ REASON`.
fn read_catalogue() -> Catalogue {
    let lines = include_str!("catalogue.txt").lines();
    let entries = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut catalogue = Catalogue::new();
    for (id, title) in entries.map(|line| line.split_once("  ").unwrap_or((line, ""))) {
        assert!(is_id(id) && !title.is_empty(), "catalogue.txt: {id:?} {title:?} is no entry");
        let exemption = title.split_once('~').map(|(_, reason)| reason.trim().to_owned());
        assert!(catalogue.insert(id.to_owned(), exemption).is_none(), "catalogue.txt: {id} is there twice");
    }
    catalogue
}

/// The ids in the doc comments of tests and of tables.
fn named_in_scenarios() -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("compat-tests")) {
        let source = fs::read_to_string(&file).expect("a source file");
        let mut comment = Vec::new();
        for line in source.lines() {
            if let Some(text) = line.strip_prefix("///") {
                comment.extend(text.split_whitespace().map(|word| word.trim_matches([',', ':', '.', ';', '(', ')'])));
                continue;
            }
            if line.starts_with("#[test]") || line.starts_with("const ") {
                named.extend(comment.iter().filter(|word| is_id(word)).map(|&id| id.to_owned()));
            }
            comment.clear();
        }
    }
    named
}

/// All but the harness, whose comments cite rules without showing them.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("the directory of the tests").flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("harness") {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// `LIFE-001`, `S10`.
fn is_id(word: &str) -> bool {
    let digits = word.strip_prefix("LIFE-").or_else(|| word.strip_prefix(|letter| "DEFGLPSUX".contains(letter)));
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}
