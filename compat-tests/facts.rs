//! Facts that are stated in more than one place: each kind is compared with the source code, or with the page that is
//! its source (`docs/design.md`, "Which page is the source of what").

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use server_starter::program::{self, Action};

/// The pages for operators. The pages on the original, on tests and on decisions are about other programs, too.
const PAGES: [&str; 7] = [
    "README.md",
    "docs/operation.md",
    "docs/deploy.md",
    "docs/switching.md",
    "docs/servers.md",
    "docs/differences.md",
    "examples/README.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn help() -> String {
    program::command().render_help().to_string()
}

/// The man page without its escapes. Control lines keep their leading dot.
fn man_page() -> String {
    let page = read("examples/packaging/start_server.1");
    [
        ("\\fB", ""),
        ("\\fR", ""),
        ("\\-", "-"),
        ("\\(aq", "'"),
        ("\\(ga", "`"),
        ("\\(ha", "^"),
        ("\\(ti", "~"),
        ("\\e", "\\"),
    ]
    .iter()
    .fold(page, |page, (escape, text)| page.replace(escape, text))
}

/// A section of the man page.
fn section(title: &str) -> String {
    let page = man_page();
    // A title of several words is quoted.
    let sections = page.split("\n.SH ").map(|section| section.replacen('"', "", 2));
    let text =
        sections.into_iter().find_map(|section| Some(section.strip_prefix(title)?.strip_prefix('\n')?.to_owned()));
    text.unwrap_or_else(|| panic!("there is no section {title}"))
}

/// The items that a section explains, as (name, explanation).
fn items(section: &str) -> Vec<(String, String)> {
    let items = section.split(".TP\n").skip(1).filter_map(|item| item.split_once('\n'));
    items.map(|(name, text)| (name.to_owned(), text.replace('\n', " "))).collect()
}

/// The pages, the man page and the help, each with its name.
fn everything() -> Vec<(&'static str, String)> {
    let pages = PAGES.iter().map(|&page| (page, read(page)));
    pages.chain([("the man page", man_page()), ("--help", help())]).collect()
}

fn is_of_a_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// The words of a text, without blanks and punctuation.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !is_of_a_word(c)).filter(|word| !word.is_empty())
}

// --- signals

/// The signals that the source says are caught.
fn caught_signals() -> BTreeSet<String> {
    let source = read("src/system/signals.rs");
    let list = source.split("const CAUGHT").nth(1).and_then(|rest| rest.split("];").next()).expect("a list of signals");
    let names = list.split("Signal::SIG").skip(1);
    // The kernel sends CHLD, users don't.
    let names = names.map(|rest| words(rest).next().expect("a name").to_owned()).filter(|name| name != "CHLD");
    names.collect()
}

#[test]
fn every_signal_that_is_caught_is_explained() {
    let signals = caught_signals();
    assert!(signals.len() > 5, "{signals:?}");
    let explained: BTreeSet<_> =
        items(&section("SIGNALS")).iter().flat_map(|(names, _)| names.split(", ")).map(str::to_owned).collect();
    assert_eq!(explained, signals, "SIGNALS of the man page");

    let help = help();
    let of_help = help.split("Signals:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("signals");
    let of_help: BTreeSet<_> = words(of_help).filter(|word| signals.contains(*word)).map(str::to_owned).collect();
    // ALRM, which only makes the superdaemon check the time early, is left to the manual.
    let expected: BTreeSet<_> = signals.into_iter().filter(|name| name != "ALRM").collect();
    assert_eq!(of_help, expected, "--help");
}

/// QUIT shuts down just as TERM and INT do (`quit-stops`), and is easily forgotten in a list.
#[test]
fn a_shutdown_is_by_three_signals_everywhere() {
    for (page, text) in everything() {
        for (number, line) in text.lines().enumerate() {
            let lists_two =
                ["TERM or INT", "TERM and INT", "INT or TERM", "INT and TERM"].iter().any(|two| line.contains(two));
            let is_of_the_original = page == "docs/differences.md";
            assert!(!lists_two || is_of_the_original || line.contains("QUIT"), "{page}:{}: {line}", number + 1);
        }
    }
}

/// Each mention of USR1 as a signal to send says that it reopens the log, and no page claims that the log stays open
/// for ever.
#[test]
fn usr1_opens_the_log_again_everywhere() {
    let mut mentions = 0;
    let examples = [("examples/logrotate/app", read("examples/logrotate/app"))];
    for (page, text) in everything().into_iter().chain(examples) {
        let text = text.replace("\n#", "\n").split_whitespace().collect::<Vec<_>>().join(" ");
        for sentence in text.split(". ").filter(|sentence| words(sentence).any(|word| word == "USR1")) {
            let is_a_command = sentence.contains("kill -USR1") || sentence.contains("By USR1");
            let is_of_the_original = sentence.contains("USR1 or USR2");
            assert!(is_a_command || is_of_the_original || sentence.contains("again"), "{page}: {sentence}");
            mentions += 1;
        }
        for denial in ["never opened again", "opened once", "for appending once"] {
            assert!(!text.contains(denial), "{page}: {denial}");
        }
    }
    assert!(mentions > 6, "{mentions}");
}

// --- files

/// Files of ours whose names are made by appending a suffix to one that an option gives.
#[test]
fn every_file_of_ours_is_explained() {
    let sources = files_below(&root().join("src/files"));
    let sources = sources.iter().map(|path| fs::read_to_string(path).expect("a source")).collect::<String>();
    let calls = sources.split("beside(").skip(1).filter_map(|rest| rest.split(')').next());
    let suffixes: BTreeSet<_> =
        calls.filter_map(|call| Some(call.split_once(", \"")?.1.trim_end_matches('"').to_owned())).collect();
    assert!(suffixes.contains(".upgrade"), "{suffixes:?}");
    let files = section("FILES");
    for suffix in &suffixes {
        let is_there = items(&files).iter().any(|(name, _)| name.ends_with(&format!("{suffix} appended")));
        assert!(is_there, "FILES of the man page has nothing of {suffix}");
    }
    // And no suffix that is no longer in use.
    for (name, _) in items(&files).iter().filter(|(name, _)| name.ends_with(" appended")) {
        let suffix = name.split_whitespace().rev().nth(1).expect("a suffix");
        assert!(suffixes.contains(suffix), "FILES of the man page has {suffix}, which nothing writes");
    }
}

/// Paths of the repository lead nowhere on an installed system.
#[test]
fn the_man_page_names_installed_files() {
    let page = man_page().replace('\n', " ");
    assert!(page.contains(".md lists (in /usr/share/doc/start-server/docs)"));
    for sentence in page.split(". ").filter(|sentence| sentence.contains(".md")) {
        assert!(!sentence.replace("/usr/share/doc/start-server/docs", "").contains("docs/"), "{sentence}");
    }
}

// --- unsafe code

/// SECURITY.md lists exactly the files that a search finds.
#[test]
fn security_names_every_file_with_unsafe_code() {
    let is_unsafe = |path: &PathBuf| {
        let source = fs::read_to_string(path).expect("a source");
        let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        let begins = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
        lines.into_iter().any(|line| begins.iter().any(|begin| line.contains(begin)))
    };
    let found = files_below(&root().join("src")).into_iter().filter(is_unsafe);
    let found: BTreeSet<_> =
        found.map(|path| path.strip_prefix(root().join("src")).expect("below src").display().to_string()).collect();
    let page = read("SECURITY.md");
    let list = page.split("\n`unsafe` is in").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("a list");
    let listed: BTreeSet<_> = list.split('`').filter(|word| is_a_source(word)).map(str::to_owned).collect();
    assert!(found.len() > 5, "{found:?}");
    assert_eq!(listed, found, "SECURITY.md");
}

fn is_a_source(word: &str) -> bool {
    Path::new(word).extension().is_some_and(|extension| extension == "rs")
}

// --- workflows

/// A tag can be moved to another commit, so it only stands in a comment, which dependabot keeps up to date.
#[test]
fn every_action_is_pinned_to_a_commit() {
    let mut count = 0;
    for path in files_below(&root().join(".github")) {
        let text = fs::read_to_string(&path).expect("a workflow");
        for action in text.lines().filter_map(|line| line.split_once("uses: ").map(|(_, action)| action)) {
            let is_ours = action.strip_prefix("./").is_some_and(|directory| root().join(directory).is_dir());
            let pinned = action.split_once('@').and_then(|(_, version)| version.split_once(" # "));
            let is_pinned =
                pinned.is_some_and(|(commit, _)| commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit()));
            assert!(is_ours || is_pinned, "{}: {action}", path.display());
            count += 1;
        }
    }
    assert!(count > 15, "{count}");
}

// --- exit codes

/// The numbers in the `exit_code` functions of a source.
fn exit_codes(source: &str) -> BTreeSet<u8> {
    let source = read(source);
    let bodies = source.split("fn exit_code").skip(1).map(|rest| rest.split("\n    }\n").next().unwrap_or(rest));
    let arms = bodies.flat_map(|body| body.split("=> ").skip(1));
    arms.filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()).collect()
}

#[test]
fn every_exit_code_is_explained() {
    let explained = section("EXIT STATUS");
    // Those of --restart and the other commands have an item each; lower numbers are the system's errno.
    let of_errors: BTreeSet<u8> = exit_codes("src/error.rs").into_iter().filter(|&code| code > 100).collect();
    assert!(of_errors.is_superset(&[124, 125].into()), "{of_errors:?}");
    for code in &of_errors {
        let is_there = items(&explained).iter().any(|(name, _)| words(name).any(|word| word == code.to_string()));
        assert!(is_there, "EXIT STATUS of the man page has nothing of {code}");
    }
    let of_status = exit_codes("src/control/status.rs");
    assert!(of_status.len() > 2, "{of_status:?}");
    for (page, text) in [("the man page", explained), ("docs/operation.md", read("docs/operation.md"))] {
        for code in &of_status {
            assert!(words(&text).any(|word| word == code.to_string()), "{page} has nothing of {code} of --show-status");
        }
    }
    // Those of --restart are on each page that explains how a restart went.
    for code in of_errors.iter().filter(|&&code| code < 126) {
        for page in ["README.md", "docs/deploy.md", "docs/operation.md"] {
            assert!(words(&read(page)).any(|word| word == code.to_string()), "{page} has nothing of {code}");
        }
    }
}

/// The labels of the `case $? in` of a page.
fn cases(page: &str) -> Vec<String> {
    let text = read(page);
    let case = text.split("case $? in\n").nth(1).and_then(|rest| rest.split("\nesac").next()).expect("a case");
    let labels = case.lines().filter_map(|line| line.split_once(')')).flat_map(|(labels, _)| labels.split('|'));
    labels.map(|label| label.trim().to_owned()).collect()
}

#[test]
fn scripts_know_every_exit_code_of_a_restart() {
    let of_errors = exit_codes("src/error.rs").into_iter().filter(|code| (100..126).contains(code));
    let codes: Vec<_> = of_errors.map(|code| code.to_string()).chain(["0".to_owned(), "*".to_owned()]).collect();
    for page in ["README.md", "docs/deploy.md"] {
        let cases = cases(page);
        for code in &codes {
            assert!(cases.contains(code), "{page} doesn't say what {code} means: {cases:?}");
        }
        let text = read(page);
        let other = text.split("\n*)").nth(1).and_then(|rest| rest.lines().next()).expect("all others");
        assert!(
            ["keeps", "goes on", "serves"].iter().all(|word| !other.contains(word)),
            "{page}: nobody may run then: {other}"
        );
    }
}

// --- defaults and actions

/// The number behind `before` in a text.
fn number_behind(text: &str, before: &str) -> Option<u64> {
    let rest = text.split(before).nth(1)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[test]
fn defaults_are_the_same_in_help_and_manual() {
    let mut count = 0;
    let manual = items(&section("OPTIONS"));
    for option in program::command().get_arguments() {
        let (Some(name), Some(short)) = (option.get_long(), option.get_help()) else { continue };
        let is_the_option = |item: &&(String, String)| item.0.split('=').next() == Some(&format!("--{name}"));
        let (_, long) = manual.iter().find(is_the_option).unwrap_or_else(|| panic!("the manual has no --{name}"));
        let short = short.to_string().replace('\n', " ");
        if let Some(default) = number_behind(&short, "[default: ") {
            // For 0, the manual may say in words what it means.
            let of_manual = number_behind(long, "Default: ").or(long.contains("Default: ").then_some(0));
            assert_eq!(of_manual, Some(default), "--{name}");
            count += 1;
        } else if short.contains("[default: ") {
            let default = short.split("[default: ").nth(1).and_then(|rest| rest.split(']').next()).expect("a default");
            let is_same = match default {
                "never" => ["Default: never", "Default: try for ever"].iter().any(|words| long.contains(words)),
                other => long.contains(&format!("Default: {other}")),
            };
            assert!(is_same, "--{name}: {default}, and in the manual: {long}");
            count += 1;
        }
    }
    assert!(count > 8, "{count}");
}

/// Without any option, the program has the defaults that the help states.
#[test]
fn defaults_are_those_of_the_program() {
    let Ok(Action::Start(options)) = program::parse(vec!["--".into(), "true".into()]) else { panic!("no start") };
    let help = help();
    let of_help = |option: &str| {
        let rest = help.split(&format!("\n      --{option} ")).nth(1).expect(option);
        let paragraph = rest.split("\n      --").next().expect("a paragraph");
        number_behind(&paragraph.split_whitespace().collect::<Vec<_>>().join(" "), "[default: ").expect(option)
    };
    assert_eq!(of_help("interval"), options.interval.as_secs());
    // The defaults of the original's options are compared with it in `help.rs`.
    let source = read("src/supervisor/life_cycle.rs");
    let default = number_behind(&source, "const READY_TIMEOUT: Duration = Duration::from_secs(").expect("a default");
    assert_eq!(of_help("ready-timeout"), default);
    for (page, text) in everything() {
        let text = text.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ");
        for rest in text.split("--ready-timeout seconds (").skip(1) {
            assert!(rest.starts_with(&format!("{default})")), "{page}: --ready-timeout seconds ({rest:.10}");
        }
    }
}

#[test]
fn the_synopsis_has_every_action() {
    let synopsis = section("SYNOPSIS");
    let help = help();
    let usage = help.split("Usage: ").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("a usage");
    for action in ["--restart", "--restart-or-start", "--stop", "--show-status", "--take-over", "--upgrade"] {
        for (page, text) in [("the man page", synopsis.as_str()), ("--help", usage)] {
            assert!(words(text).any(|word| word == action), "{page} has no {action} in its synopsis");
        }
    }
}

// --- options and command lines

/// Options of other programs that these pages mention.
const OF_OTHERS: [&str; 25] = [
    "dynamic",
    "examples",
    "exec",
    "fail",
    "fd",
    "features",
    // An example of a typing mistake.
    "killtimeout",
    "line-regexp",
    "locked",
    "mode",
    "no-default-features",
    "nproc",
    "only",
    "pid",
    "pidfile",
    "preload",
    "quiet",
    // The program passes it to itself.
    "rehearse-state",
    "remove",
    "root",
    "silent",
    "startas",
    "strip-components",
    "unix-socket",
    "workers",
];

#[test]
fn every_option_that_is_named_exists() {
    let command = program::command();
    let known: BTreeSet<_> = command.get_arguments().filter_map(|option| option.get_long()).collect();
    let mut unknown = BTreeSet::new();
    for (page, text) in everything() {
        let options = words(&text)
            .filter_map(|word| word.trim_end_matches('-').strip_prefix("--"))
            .filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
        let strangers =
            options.filter(|name| *name != "signal-on" && !known.contains(name) && !OF_OTHERS.contains(name));
        unknown.extend(strangers.map(|name| format!("{page}: --{name}")));
    }
    assert!(unknown.is_empty(), "neither ours nor in OF_OTHERS:\n{unknown:#?}");
}

/// The words of a command line as a shell reads it, operators included.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![];
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, ';' | '&' | '|' | '>') => {
                words.extend(word.take());
                words.push(c.to_string());
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The arguments of each `start_server` in lines of shell, if the first one is an option.
fn command_lines(text: &str) -> Vec<Vec<String>> {
    let mut found = vec![];
    for line in text.replace("\\\n", " ").lines() {
        let words = shell_words(line);
        for (index, _) in words.iter().enumerate().filter(|(_, word)| *word == "start_server") {
            let rest = words[index + 1..].iter();
            let arguments: Vec<_> =
                rest.take_while(|word| !["&", "|", ";", ">"].contains(&word.as_str())).cloned().collect();
            let is_whole = !arguments.iter().any(|word| ["...", "[OPTIONS]"].contains(&word.as_str()));
            if is_whole && arguments.first().is_some_and(|word| word.starts_with('-')) {
                found.push(arguments);
            }
        }
    }
    found
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Texts to paste from, page by page: blocks of shell, the heads of the examples, the man page and the help.
fn to_be_pasted() -> Vec<(String, String)> {
    let blocks = |page: &str| {
        read(page)
            .split("```sh\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap_or(rest).to_owned())
            .collect::<String>()
    };
    let pages = PAGES.iter().map(|page| ((*page).to_owned(), blocks(page)));
    let heads = files_below(&root().join("examples")).into_iter().filter(|path| !is_generated(path));
    let heads = heads.map(|path| {
        let text = fs::read_to_string(&path).expect("an example");
        let lines =
            text.lines().map(|line| line.trim_start_matches(['#', '/', '!']).trim()).collect::<Vec<_>>().join("\n");
        (path.display().to_string(), lines)
    });
    pages.chain(heads).chain([("the man page".to_owned(), man_page()), ("--help".to_owned(), help())]).collect()
}

fn is_generated(path: &Path) -> bool {
    path.starts_with(root().join("examples/packaging")) || path.ends_with("generate_docs.rs")
}

#[test]
fn every_command_that_is_to_be_pasted_is_accepted() {
    let mut count = 0;
    for (page, text) in to_be_pasted() {
        for arguments in command_lines(&text) {
            let parsed = program::parse(arguments.iter().map(OsString::from).collect());
            if let Err(failure) = parsed {
                panic!("{page}: start_server {}\n{}", arguments.join(" "), String::from_utf8_lossy(&failure.message()));
            }
            count += 1;
        }
    }
    assert!(count > 40, "only {count} are found");
}
