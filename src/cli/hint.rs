//! Lines of ours after a mistake on the command line: only if an option of ours is used or was meant. Users of the
//! original's options see only the original's lines.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::cli::getopt_long::{Mistake, Spec};

const FORGOTTEN_DASHES: &str =
    "Put the program's options after \"--\": start_server [OPTION]... -- PROGRAM [ARGUMENT]...";
const HELP: &str = "start_server --help shows every option.";

/// What a command line looks like at first sight.
pub(super) struct Sight {
    uses_our_own: bool,
    lacks_dashes: bool,
}

impl Sight {
    pub(super) fn of(arguments: &[OsString], specs: &[Spec]) -> Self {
        Self { uses_our_own: uses_our_own(arguments, specs), lacks_dashes: lacks_dashes(arguments) }
    }

    /// The lines for mistakes in it.
    pub(super) fn hints(&self, mistakes: &[Mistake], specs: &[Spec]) -> Vec<String> {
        let names = mistakes.iter().filter_map(|mistake| match mistake {
            Mistake::Unknown(name) => Some(meant(name, specs)),
            Mistake::Other(_) => None,
        });
        let (nothing, meant): (Vec<_>, Vec<_>) = names.partition(Vec::is_empty);
        let mut lines: Vec<String> = meant.into_iter().map(|names| question(&names)).collect();
        lines.dedup();
        if self.uses_our_own && self.lacks_dashes {
            lines.push(FORGOTTEN_DASHES.to_owned());
        } else if self.uses_our_own && !nothing.is_empty() {
            lines.push(HELP.to_owned());
        }
        lines
    }
}

fn question(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("--{name}")).collect();
    format!("Did you mean {}? Options that Server::Starter doesn't have are spelled in full.", names.join(" or "))
}

/// Whether there is one before the program.
fn uses_our_own(arguments: &[OsString], specs: &[Spec]) -> bool {
    arguments.iter().take_while(|&argument| argument != "--").any(|argument| {
        let name = argument.as_bytes().strip_prefix(b"--").unwrap_or_default();
        let name = name.split(|&byte| byte == b'=').next().unwrap_or_default();
        specs.iter().any(|spec| spec.is_own && spec.name.as_bytes() == name)
    })
}

/// Whether words of the program may have been read as options: there is no `--`, but a word.
fn lacks_dashes(arguments: &[OsString]) -> bool {
    let is_word = |argument: &OsString| !argument.as_bytes().starts_with(b"-");
    !arguments.iter().any(|argument| argument == "--") && arguments.iter().any(is_word)
}

/// The options of ours that an unknown one may be an abbreviation or a misspelling of. None if it may also be one of
/// the original's.
fn meant<'a>(name: &[u8], specs: &[Spec<'a>]) -> Vec<&'a str> {
    // Shorter ones are close to anything.
    const SHORTEST: usize = 4;
    let name = letters(name);
    let is_near = |distance| name.len() >= SHORTEST && distance <= Distance::Slips(name.len() / SHORTEST);
    let distances = specs.iter().map(|spec| (Distance::new(&name, &letters(spec.name.as_bytes())), spec));
    let near: Vec<_> = distances.filter(|&(distance, _)| is_near(distance)).collect();
    if near.iter().any(|(_, spec)| !spec.is_own) {
        return Vec::new();
    }
    let nearest = near.iter().map(|&(distance, _)| distance).min();
    near.into_iter().filter(|&(distance, _)| Some(distance) == nearest).map(|(_, spec)| spec.name).collect()
}

/// Without what is typed in different ways.
fn letters(name: &[u8]) -> Vec<u8> {
    name.to_ascii_lowercase().into_iter().filter(|byte| !b"-_".contains(byte)).collect()
}

/// How far a typed word is from a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Distance {
    None,
    /// It is a beginning of the name.
    Beginning,
    /// This many letters have to be changed, inserted or removed.
    Slips(usize),
}

impl Distance {
    fn new(typed: &[u8], name: &[u8]) -> Self {
        if typed == name {
            return Self::None;
        }
        if name.starts_with(typed) {
            return Self::Beginning;
        }
        if typed.len() > 2 * name.len() {
            return Self::Slips(typed.len() - name.len());
        }
        // Levenshtein's, of which only one row is kept.
        let mut row: Vec<usize> = (0..=name.len()).collect();
        for (index, letter) in typed.iter().enumerate() {
            let mut diagonal = index;
            row[0] = index + 1;
            for (column, of_name) in name.iter().enumerate() {
                let changed = diagonal + usize::from(letter != of_name);
                diagonal = row[column + 1];
                row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
            }
        }
        Self::Slips(row[name.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::generated::SPECS;

    #[track_caller]
    fn means(name: &str, expected: &[&str]) {
        assert_eq!(meant(name.as_bytes(), &SPECS), expected, "{name}");
    }

    #[test]
    fn beginnings_and_slips_of_our_options() {
        means("show", &["show-status"]);
        means("takeover", &["take-over"]);
        means("ready-time", &["ready-timeout"]);
        means("max-start-failure", &["max-start-failures"]);
        means("max_start_failures", &["max-start-failures"]);
        means("kill-timout", &["kill-timeout"]);
        means("READY", &["ready"]);
        means("restart-or-s", &["restart-or-start"]);
        means("read", &["ready", "ready-timeout"]);
        means("upgrad", &["upgrade"]);
        means("upgrate", &["upgrade"]);
        means("restart-time", &["restart-timeout"]);
        means("listen-fd", &["listen-fds"]);
    }

    #[test]
    fn others_mean_nothing() {
        for name in ["user", "workers", "reload", "prot", "5", "no", "s", "sho", "", "\u{e9}", "stopp", "timeout"] {
            means(name, &[]);
        }
        // This must not take time.
        means(&"ready".repeat(100_000), &[]);
    }

    /// A misspelt option of the original never leads to a hint about ours.
    #[test]
    fn slips_of_the_originals_options_mean_nothing() {
        for name in SPECS.iter().filter(|spec| !spec.is_own).map(|spec| spec.name) {
            for index in 0..name.len() {
                let (front, back) = (&name[..index], &name[index + 1..]);
                let mut slips = vec![
                    front.replace('-', ""),
                    front.replace('-', "_"),
                    format!("{front}{back}"),
                    format!("{front}{}", &name[index..].to_uppercase()),
                ];
                for letter in ('a'..='z').chain(['-']) {
                    slips.extend([format!("{front}{letter}{back}"), format!("{front}{letter}{}", &name[index..])]);
                }
                for slip in slips {
                    means(&slip, &[]);
                }
            }
        }
    }
}
