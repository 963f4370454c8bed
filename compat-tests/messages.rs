//! MESSAGES of the manual has every message of ours, that is, every sentence in the source that the original doesn't
//! have.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::Programs;

/// Sources whose sentences aren't messages: the declaration of the help, assembler, hints after a mistake, the reports
/// of `--show-status` and `--restart`, errors of the library, the simulated world for tests.
const OTHER_ROOMS: [&str; 12] = [
    "cli/declaration.rs",
    "cli/generated.rs",
    "cli/hint.rs",
    "control/delay.rs",
    "control/progress.rs",
    "control/status.rs",
    "random_texts.rs",
    "server_ports.rs",
    "supervisor/simulation.rs",
    "supervisor/tests.rs",
    "take_over/routine.rs",
    "words.rs",
];

/// Perl's own messages, which its libraries put together from parts.
const OF_PERL: [&str; 4] = [
    "(number expected)",
    "Can't kill a non-numeric process ID",
    "Unable to flush stdout:",
    "Unrecognized signal name \"",
];

/// Texts that are searched for or used as names, never printed. The last one is part of a message to systemd.
const NAMES: [&str; 11] = [
    "Max file size",
    "ddress already in use",
    "files dns",
    "goes on",
    "received INT, sending",
    "received QUIT, sending",
    "received TERM, sending",
    "start_server answer",
    "start_server state",
    "start_server status 1",
    "workers, as GENERATION:PID:",
];

/// With one blank between words, and with one kind of quotes.
fn normal(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace("``", "\"").replace("''", "\"")
}

/// With `--NAME` for each option, as the manual writes messages that can be about any option.
fn of_any_option(text: &str) -> String {
    let name = |word: &str| if word.starts_with("--") { "--NAME".to_owned() } else { word.to_owned() };
    let text = text.split(' ').map(name).collect::<Vec<_>>().join(" ");
    ["--NAME or --NAME", "--NAME and --NAME", "--NAME --NAME"]
        .iter()
        .fold(text, |text, list| text.replace(list, "--NAME"))
}

/// The string literals of a source up to its tests. Those in `expect(`, `reason =` or `assert!(` are left out: they are
/// for readers of the source.
fn literals(source: &str) -> Vec<String> {
    let source = source.split("mod tests {").next().unwrap_or(source);
    let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let source = lines.collect::<Vec<_>>().join("\n").replace("'\"'", "").replace("'\\\"'", "");
    let mut found = vec![];
    let mut rest = source.as_str();
    while let Some((before, inside)) = rest.split_once('"') {
        let end = inside.char_indices().scan(false, |is_escaped, (index, c)| {
            let is_end = c == '"' && !*is_escaped;
            *is_escaped = c == '\\' && !*is_escaped;
            Some(is_end.then_some(index))
        });
        let end = end.flatten().next().expect("an end");
        let statement = before.rsplit([';', '{', '}']).next().unwrap_or(before);
        let is_for_readers = ["expect(", "reason =", "assert!("].iter().any(|begin| statement.contains(begin));
        if !is_for_readers {
            found.push(inside[..end].replace("\\n", "\n").replace("\\\n", " ").replace("\\\"", "\""));
        }
        rest = &inside[end + 1..];
    }
    found
}

/// The parts of a literal between its placeholders, if they consist of words.
fn sentences(literal: &str) -> Vec<String> {
    let parts = literal.split(['{', '\n']).map(|part| part.split_once('}').map_or(part, |(_, text)| text));
    let is_a_word = |word: &&str| word.chars().filter(char::is_ascii_alphabetic).count() > 1;
    parts
        .map(normal)
        .filter(|part| part.split([' ', '_']).filter(is_a_word).count() > 1 && part.contains(' '))
        .collect()
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// The original's script, its module, and `Getopt::Long`.
fn original() -> String {
    let getopt = ["-MGetopt::Long", "-e", "print $INC{'Getopt/Long.pm'}"];
    let getopt = Command::new("perl").args(getopt).output().expect("perl").stdout;
    let getopt = PathBuf::from(String::from_utf8(getopt).expect("a path"));
    let files = [Programs::find().original, Programs::module(), getopt].into_iter();
    files.map(|file| String::from_utf8_lossy(&fs::read(file).expect("a source")).into_owned()).collect()
}

#[test]
fn the_manual_has_every_message() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manual = fs::read_to_string(root.join("docs/start_server.1.md")).expect("the manual");
    let section = manual.split("\n## MESSAGES\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("MESSAGES");
    // The messages themselves, without their explanations.
    let explained = normal(section).split('`').skip(1).step_by(2).collect::<Vec<_>>().join("\n");
    let original = normal(&original());

    let mut count = 0;
    let mut missing = BTreeSet::new();
    for path in sources(&root.join("src")) {
        let name = path.strip_prefix(root.join("src")).expect("below src").display().to_string();
        if OTHER_ROOMS.contains(&name.as_str()) {
            continue;
        }
        let literals = literals(&fs::read_to_string(&path).expect("a source"));
        for sentence in literals.iter().flat_map(|literal| sentences(literal)) {
            let known = [OF_PERL.as_slice(), &NAMES].concat();
            if original.contains(&sentence) || known.contains(&sentence.as_str()) {
                continue;
            }
            count += 1;
            if !explained.contains(&sentence) && !explained.contains(&of_any_option(&sentence)) {
                missing.insert(format!("src/{name}: {sentence}"));
            }
        }
    }
    assert!(count > 150, "only {count} are found");
    assert!(missing.is_empty(), "not in MESSAGES of docs/start_server.1.md:\n{missing:#?}");
}

/// Each message is followed by an explanation.
#[test]
fn every_message_is_explained() {
    let manual = include_str!("../docs/start_server.1.md");
    let section = manual.split("\n## MESSAGES\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("MESSAGES");
    let items: Vec<_> = section.split("\n- ").skip(1).map(normal).collect();
    assert!(items.len() > 30, "{items:#?}");
    for item in items {
        let explanation = item.split("` - ").nth(1).unwrap_or_default();
        assert!(explanation.len() > 8, "{item}");
    }
}
