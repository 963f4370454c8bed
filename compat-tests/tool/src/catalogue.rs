//! All scenarios, with the sentences and rules from their comments, and the texts of the rules.

use std::collections::BTreeMap;

use crate::{connections, scenarios};

/// A module's scenarios, from the macro `scenarios!`.
pub struct Module {
    pub(crate) path: &'static str,
    pub(crate) source: &'static str,
    pub(crate) scenarios: &'static [(&'static str, fn())],
}

pub struct Entry {
    /// `sockets::a_port_is_tcp`
    pub name: String,
    pub run: fn(),
    /// A sentence that says what it shows.
    pub sentence: String,
    /// The rules that it shows.
    pub rules: Vec<String>,
}

fn modules() -> impl Iterator<Item = &'static Module> {
    #[cfg(target_os = "linux")]
    const DIVERGENCES: &[&Module] = &[&crate::divergences::SCENARIOS];
    #[cfg(not(target_os = "linux"))]
    const DIVERGENCES: &[&Module] = &[];
    [&connections::SCENARIOS].into_iter().chain(scenarios::MODULES.iter().chain(DIVERGENCES).copied())
}

pub fn all() -> Vec<Entry> {
    modules().flat_map(entries).collect()
}

fn entries(module: &'static Module) -> impl Iterator<Item = Entry> {
    let comments = comments(module.source);
    let name_of_module = module.path.rsplit("::").next().unwrap_or_default();
    module.scenarios.iter().map(move |&(name, run)| {
        let comment = comments.get(name).map_or("", String::as_str);
        Entry {
            name: format!("{name_of_module}::{name}"),
            run,
            sentence: sentence(name, comment),
            rules: words(comment).filter(|word| is_rule(word)).map(str::to_owned).collect(),
        }
    })
}

/// The comment above each function.
fn comments(source: &str) -> BTreeMap<&str, String> {
    let (mut comments, mut comment) = (BTreeMap::new(), String::new());
    for line in source.lines() {
        if let Some(text) = line.strip_prefix("///") {
            comment.push_str(text);
        } else {
            let name = line.strip_prefix("fn ").and_then(|line| line.split('(').next());
            let comment = std::mem::take(&mut comment);
            comments.extend(name.map(|name| (name, comment)));
        }
    }
    comments
}

/// The comment without the rules before it. If nothing is left, the name is used.
fn sentence(name: &str, comment: &str) -> String {
    let comment = comment.trim();
    let without_rules =
        comment.trim_start_matches(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "- ".contains(c));
    let text = match without_rules.strip_prefix(':') {
        Some(text) => text.trim(),
        None if without_rules.is_empty() => "",
        None => comment,
    };
    let text = if text.is_empty() { name.replace('_', " ") } else { text.to_owned() };
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

/// The words of a comment, without the punctuation around them.
pub fn words(comment: &str) -> impl Iterator<Item = &str> {
    comment.split_whitespace().map(|word| word.trim_matches([',', ':', '.', ';', '(', ')']))
}

/// `LIFE-001`, `S10`.
pub fn is_rule(word: &str) -> bool {
    let long = word.strip_prefix("LIFE-").or_else(|| word.strip_prefix("CLI-")).filter(|digits| digits.len() == 3);
    let short = word.strip_prefix(|letter| "DEFGLPSUX".contains(letter)).filter(|digits| digits.len() < 3);
    long.or(short).is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The rules of docs/original.md, with their texts.
pub fn rules() -> Vec<(&'static str, String)> {
    let paragraphs = include_str!("../../../docs/original.md").split("\n- **").skip(1);
    let rule = |paragraph: &'static str| {
        let (id, text) = paragraph.split_once("** ").expect("a text after the id");
        let text = text.split("\n\n").next().unwrap_or_default();
        (id, text.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    paragraphs.map(rule).collect()
}
