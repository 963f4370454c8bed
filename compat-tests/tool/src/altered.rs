//! Mutants, which test the tests: copies of the original with another text in its module or script.
//! perl-fixtures/mutants.txt lists them.

use std::fs::{self, Permissions};
use std::mem;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::harness::Programs;

const MUTANTS: &str = include_str!("../../../perl-fixtures/mutants.txt");

/// A change of the original, and the scenarios that have to notice it.
#[derive(Default)]
pub struct Mutant {
    pub name: String,
    /// The rules that it breaks. For each, a scenario that names it has to differ.
    pub rules: Vec<String>,
    /// The scenarios to run, if not all those that name one of its rules.
    pub scenarios: Vec<String>,
    /// The beginning of a line that the difference must have.
    pub notices: Option<String>,
    substitutions: Vec<Substitution>,
}

#[derive(Default)]
struct Substitution {
    in_script: bool,
    text: String,
    replacement: String,
}

/// All mutants of the list.
pub fn mutants() -> Vec<Mutant> {
    let blocks = MUTANTS.split("\n\n").filter(|block| block.starts_with("mutant "));
    blocks.map(Mutant::parse).collect()
}

/// The rules that no mutant can break, with the reasons.
pub fn unbreakable() -> Vec<(&'static str, &'static str)> {
    let lines = MUTANTS.lines().filter_map(|line| line.strip_prefix("no mutant of "));
    lines.filter_map(|line| line.split_once(": ")).collect()
}

impl Mutant {
    /// The mutant of this name.
    pub fn of(name: &str) -> Self {
        mutants().into_iter().find(|mutant| mutant.name == name).expect("a mutant of this name")
    }

    fn parse(block: &str) -> Self {
        let mut mutant = Self::default();
        let mut substitution = Substitution::default();
        let mut is_complete = false;
        for line in block.trim_end_matches('\n').lines() {
            let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
            let words = || rest.split(' ').map(str::to_owned).collect();
            // The first key after the `+` lines begins a new pair.
            if is_complete && key != "+" {
                mutant.substitutions.push(mem::take(&mut substitution));
                is_complete = false;
            }
            match key {
                "mutant" => rest.clone_into(&mut mutant.name),
                "rules" => mutant.rules = words(),
                "by" => mutant.scenarios = words(),
                "notices" => mutant.notices = Some(rest.to_owned()),
                "script" => substitution.in_script = true,
                "-" => add(&mut substitution.text, rest),
                "+" => {
                    is_complete = true;
                    add(&mut substitution.replacement, rest);
                }
                _ => panic!("mutants.txt: {line:?} means nothing"),
            }
        }
        mutant.substitutions.push(substitution);
        assert!(mutant.substitutions.iter().all(|it| !it.text.is_empty()), "{} replaces nothing", mutant.name);
        mutant
    }
}

fn add(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}

pub struct Altered {
    directory: TempDir,
}

impl Altered {
    /// Makes a copy of the original script and of the installed module, with `text` replaced in the module, which must
    /// contain it.
    pub fn of(original: &Path, text: &str, replacement: &str) -> Self {
        let substitution = Substitution { in_script: false, text: text.into(), replacement: replacement.into() };
        Self::by(original, &[substitution])
    }

    pub fn as_mutant(original: &Path, mutant: &Mutant) -> Self {
        Self::by(original, &mutant.substitutions)
    }

    fn by(original: &Path, substitutions: &[Substitution]) -> Self {
        let mut module = fs::read_to_string(Programs::module()).expect("the installed module");
        let mut script = fs::read_to_string(original).expect("the original is a script");
        for Substitution { in_script, text, replacement } in substitutions {
            let (file, name) = if *in_script { (&mut script, "script") } else { (&mut module, "module") };
            assert!(file.contains(text), "the installed {name} doesn't contain {text:?}");
            *file = file.replace(text, replacement);
        }
        let altered = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        let path = altered.directory.path();
        fs::create_dir(path.join("Server")).expect("the directory of a module");
        fs::write(path.join("Server/Starter.pm"), module).expect("the module");
        // Below the `#!` line, which differs between installations.
        let script = script.replacen('\n', &format!("\nuse lib '{}';\n", path.display()), 1);
        fs::write(altered.program(), script).expect("the script");
        fs::set_permissions(altered.program(), Permissions::from_mode(0o755)).expect("its mode");
        altered
    }

    pub fn program(&self) -> PathBuf {
        self.directory.path().join("start_server")
    }
}
