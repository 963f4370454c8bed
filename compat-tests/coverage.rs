//! Each rule of the original in `docs/original.md` has a scenario: the doc comments of scenarios and of their tables
//! name the ids that they show. No comment cites a rule that doesn't exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use start_server_compat::catalogue::{self, is_rule, words};

/// Each id, and whether a scenario has to show it, which it doesn't if the page gives a reason.
type Rules = BTreeMap<String, bool>;

#[test]
fn every_rule_has_a_scenario() {
    let named = named_in_scenarios();
    let missing: Vec<_> = read_rules().into_iter().filter(|(id, is_shown)| *is_shown && !named.contains(id)).collect();
    assert!(missing.is_empty(), "no scenario names {missing:?}");
}

#[test]
fn every_cited_rule_is_there() {
    let rules = read_rules();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut unknown = Vec::new();
    for file in ["src", "compat-tests"].into_iter().flat_map(|directory| sources(&root.join(directory))) {
        let source = fs::read_to_string(&file).expect("a source file");
        let comments = source.lines().filter_map(|line| line.split_once("//")).map(|(_, comment)| comment);
        let words = comments.flat_map(|comment| comment.split(|c: char| !c.is_ascii_alphanumeric() && c != '-'));
        unknown.extend(
            words
                .filter(|word| is_rule(word) && !rules.contains_key(*word))
                .map(|id| format!("{}: {id}", file.display())),
        );
    }
    assert!(unknown.is_empty(), "not in docs/original.md:\n{}", unknown.join("\n"));
}

/// `(No scenario` begins the reason why a rule has none.
fn read_rules() -> Rules {
    let mut rules = Rules::new();
    for (id, text) in catalogue::rules() {
        assert!(is_rule(id), "docs/original.md: {id:?} isn't an id");
        let is_shown = !text.contains("(No scenario");
        assert!(rules.insert(id.to_owned(), is_shown).is_none(), "docs/original.md: {id} is there twice");
    }
    rules
}

/// The ids in the doc comments of scenarios, of tests, and of tables.
fn named_in_scenarios() -> BTreeSet<String> {
    let mut named: BTreeSet<String> = catalogue::all().into_iter().flat_map(|entry| entry.rules).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in sources(&root.join("compat-tests")) {
        let source = fs::read_to_string(&file).expect("a source file");
        let mut comment = Vec::new();
        for line in source.lines() {
            if let Some(text) = line.strip_prefix("///") {
                comment.extend(words(text));
                continue;
            }
            if line.starts_with("#[test]") || line.starts_with("const ") {
                named.extend(comment.iter().filter(|word| is_rule(word)).map(|&id| id.to_owned()));
            }
            comment.clear();
        }
    }
    named
}

/// All sources but those of the harness, whose comments cite rules without showing them.
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

/// `TABLE` has the rows of docs/differences.md, in their order.
#[cfg(target_os = "linux")]
#[test]
fn every_row_of_the_table_has_a_scenario() {
    use start_server_compat::divergences::TABLE;

    let first_cells =
        include_str!("../docs/differences.md").lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    assert_eq!(first_cells.skip(1).collect::<Vec<_>>(), TABLE);
    let scenarios = catalogue::all();
    for id in TABLE {
        let name = format!("divergences::{}", id.replace('-', "_"));
        assert!(scenarios.iter().any(|scenario| scenario.name == name), "no scenario shows {id}");
    }
}

/// In a module with a table of scenarios, a `#[test]` would be run by libtest alone; it belongs in the table.
#[test]
fn every_scenario_is_in_a_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat-tests/tool/src");
    for file in sources(&root) {
        let source = fs::read_to_string(&file).expect("a source file");
        let has_table = source.contains("scenarios! {");
        assert!(!has_table || !source.contains("#[test]\n"), "{}: a test that no comparison runs", file.display());
    }
}
