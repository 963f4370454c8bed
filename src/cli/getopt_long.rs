//! The grammar of Perl's `Getopt::Long` (G1-G17): turns the arguments as typed into ones where every option is spelled
//! out as `--name` or `--name=value`, and everything else follows a `--`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::cli::failure::Failure;

/// What is wrong with an argument.
#[derive(Debug)]
pub(super) enum Mistake {
    /// No option has this name.
    Unknown(Vec<u8>),
    /// What this line says.
    Other(Vec<u8>),
}

impl Mistake {
    fn line(&self) -> Vec<u8> {
        match self {
            Self::Unknown(name) => [b"Unknown option: ", name.as_slice()].concat(),
            Self::Other(line) => line.clone(),
        }
    }
}

/// A line for each mistake, in the order of the arguments (G17), followed by `hints`.
pub(super) fn usage(mistakes: &[Mistake], hints: Vec<String>) -> Failure {
    let lines = mistakes.iter().map(Mistake::line).chain(hints.into_iter().map(String::into_bytes));
    Failure::Usage(lines.collect::<Vec<_>>().join(b"\n".as_slice()))
}

/// An option that can be given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec<'a> {
    /// Its full name, in lower case.
    pub(super) name: &'a str,
    /// What it takes.
    pub(super) kind: Kind,
    /// Whether it is one of our own, which the original doesn't know. Such an option is recognised only when it is
    /// spelled in full with two dashes: no abbreviation means it, and no message names it.
    pub(super) is_own: bool,
}

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Flag,
    /// Any text.
    Text,
    /// A decimal number of 32 bits.
    Integer,
}

/// Spells out `arguments`. With `posixly_correct` (the variable `POSIXLY_CORRECT` exists), the first word that is not
/// an option ends the options, and names must be given in full (G15).
///
/// # Errors
/// All mistakes.
pub(super) fn canonical(
    arguments: Vec<OsString>,
    specs: &[Spec],
    posixly_correct: bool,
) -> Result<Vec<OsString>, Vec<Mistake>> {
    let mut arguments = arguments.into_iter().map(OsString::into_vec);
    let grammar = Grammar { specs, posixly_correct };
    let (mut options, mut words, mut mistakes) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(argument) = arguments.next() {
        if argument == b"--" {
            break;
        }
        let Some(option) = grammar.split(&argument) else {
            words.push(argument);
            if posixly_correct {
                break;
            }
            continue;
        };
        match grammar.spell_out(&option, &mut arguments) {
            Ok(option) => options.push(OsString::from_vec(option)),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    options.push("--".into());
    options.extend(words.into_iter().chain(arguments).map(OsString::from_vec));
    Ok(options)
}

struct Grammar<'a> {
    specs: &'a [Spec<'a>],
    posixly_correct: bool,
}

/// An argument that is meant as an option.
struct Candidate<'a> {
    starter: &'a [u8],
    name: &'a [u8],
    value: Option<&'a [u8]>,
}

impl Grammar<'_> {
    /// None if the argument is a word (G14).
    fn split<'a>(&self, argument: &'a [u8]) -> Option<Candidate<'a>> {
        let length = match argument {
            b"-" => return None,
            [b'-', b'-', ..] => 2,
            [b'-', ..] => 1,
            [b'+', ..] if !self.posixly_correct => 1,
            _ => return None,
        };
        let (starter, name) = argument.split_at(length);
        // The first character belongs to the name, even if it is a `=`.
        let equals = name.iter().skip(1).position(|&byte| byte == b'=').map(|index| index + 1);
        Some(match equals.filter(|_| !self.posixly_correct || starter == b"--") {
            Some(equals) => Candidate { starter, name: &name[..equals], value: Some(&name[equals + 1..]) },
            None => Candidate { starter, name, value: None },
        })
    }

    /// The option as it is spelled in full; it may take the next argument.
    fn spell_out(&self, option: &Candidate, rest: &mut impl Iterator<Item = Vec<u8>>) -> Result<Vec<u8>, Mistake> {
        let wrong = |parts: &[&[u8]]| Mistake::Other(parts.concat());
        let spec = self.find(option)?;
        let name = spec.name.as_bytes();
        if spec.kind == Kind::Flag {
            return match option.value {
                None => Ok([b"--", name].concat()),
                Some(_) => Err(wrong(&[b"Option ", name, b" does not take an argument"])),
            };
        }
        let value = match option.value {
            Some(b"") => None,
            Some(value) => Some(value.to_vec()),
            // Whatever it is: `--`, an option, nothing (G8).
            None => rest.next(),
        };
        let value = value.ok_or_else(|| wrong(&[b"Option ", name, b" requires an argument"]))?;
        let value = match spec.kind {
            Kind::Integer => integer(&value)
                .ok_or_else(|| wrong(&[b"Value \"", &value, b"\" invalid for option ", name, b" (number expected)"]))?,
            _ => value,
        };
        Ok([b"--", name, b"=", &value].concat())
    }

    fn find(&self, option: &Candidate) -> Result<Spec<'_>, Mistake> {
        let lower = option.name.to_ascii_lowercase();
        let is_exact = |spec: &&Spec| {
            let is_in_full = option.starter == b"--" && spec.name.as_bytes() == option.name;
            is_in_full || !spec.is_own && spec.name.as_bytes() == lower
        };
        if let Some(&spec) = self.specs.iter().find(is_exact) {
            return Ok(spec);
        }
        if self.posixly_correct {
            return Err(unknown(option, option.name));
        }
        let is_meant = |spec: &&Spec| !spec.is_own && spec.name.as_bytes().starts_with(&lower);
        let mut hits: Vec<&Spec> = self.specs.iter().filter(is_meant).collect();
        match hits[..] {
            [&spec] => Ok(spec),
            [_, ..] if !lower.is_empty() => {
                hits.sort_unstable_by_key(|spec| spec.name);
                let names: Vec<&str> = hits.iter().map(|spec| spec.name).collect();
                let names = names.join(", ");
                Err(Mistake::Other([b"Option ", lower.as_slice(), b" is ambiguous (", names.as_bytes(), b")"].concat()))
            }
            _ => Err(unknown(option, &lower)),
        }
    }
}

fn unknown(option: &Candidate, name: &[u8]) -> Mistake {
    if name.is_empty() {
        Mistake::Other([b"Missing option after ", option.starter].concat())
    } else {
        Mistake::Unknown(name.to_vec())
    }
}

/// `/^[-+]?_*[0-9][0-9_]*$/`, where `$` allows for a newline at the end (G9), without the underscores. Only what fits
/// 32 bits: the original miscounts beyond that (`big-integers`).
fn integer(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if !digits.iter().all(|&byte| byte.is_ascii_digit() || byte == b'_') {
        return None;
    }
    let text: Vec<u8> = text.iter().copied().filter(|&byte| byte != b'_').collect();
    let number: i32 = str::from_utf8(&text).ok()?.parse().ok()?;
    Some(number.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[Spec] = &[
        Spec { name: "port", kind: Kind::Text, is_own: false },
        Spec { name: "path", kind: Kind::Text, is_own: false },
        Spec { name: "pid-file", kind: Kind::Text, is_own: false },
        Spec { name: "interval", kind: Kind::Integer, is_own: false },
        Spec { name: "stop", kind: Kind::Flag, is_own: false },
        Spec { name: "ready", kind: Kind::Text, is_own: true },
        Spec { name: "stop-timeout", kind: Kind::Integer, is_own: true },
    ];

    fn parse(words: &[&str], posixly_correct: bool) -> Result<Vec<OsString>, Failure> {
        canonical(words.iter().map(OsString::from).collect(), SPECS, posixly_correct)
            .map_err(|mistakes| usage(&mistakes, Vec::new()))
    }

    #[track_caller]
    fn accepts(words: &[&str], canonical: &[&str]) {
        assert_eq!(parse(words, false).unwrap(), canonical);
    }

    #[track_caller]
    fn refuses(words: &[&str], message: &str) {
        assert_eq!(parse(words, false).unwrap_err(), Failure::Usage(message.into()));
    }

    #[test]
    fn options_are_recognised_among_words() {
        accepts(&["prog", "--port=80", "arg", "--stop"], &["--port=80", "--stop", "--", "prog", "arg"]);
        accepts(&["prog", "a", "--", "-x", "--", "b"], &["--", "prog", "a", "-x", "--", "b"]);
        accepts(&["-", "=", ""], &["--", "-", "=", ""]);
    }

    #[test]
    fn spellings() {
        for words in [["--port", "80"], ["-port", "80"], ["+PORT", "80"], ["--po", "80"]] {
            accepts(&words, &["--port=80", "--"]);
        }
        accepts(&["-i=5", "+i", "6"], &["--interval=5", "--interval=6", "--"]);
    }

    #[test]
    fn a_text_may_be_anything() {
        accepts(&["--port", "--"], &["--port=--", "--"]);
        accepts(&["--port", "--path", "x"], &["--port=--path", "--", "x"]);
        accepts(&["--port", "", "--path=a=b"], &["--port=", "--path=a=b", "--"]);
    }

    #[test]
    fn integers() {
        let table =
            [("+5", 5), ("-5", -5), ("1_000", 1000), ("__5__", 5), ("+_5", 5), ("-0", 0), ("08", 8), ("5\n", 5)];
        for (text, number) in table.into_iter().chain([("2147483647", i32::MAX), ("-2147483648", i32::MIN)]) {
            accepts(&["-i", text], &[&format!("--interval={number}"), "--"]);
        }
        let table =
            ["", "abc", "1.5", "1e3", "0x10", " 5", "5 ", "_+5", "+", "-", "_", "5\n\n", "\n5", "Inf", "٣", "--"];
        for text in table.into_iter().chain(["2147483648", "-2147483649", "18446744073709551616"]) {
            refuses(&["-i", text], &format!("Value \"{text}\" invalid for option interval (number expected)"));
        }
    }

    #[test]
    fn mistakes_are_reported_together() {
        refuses(
            &["--p=80", "--Bogus", "--port=", "+", "--=x", "--stop=", "-5", "--po\nrt", "--port"],
            "Option p is ambiguous (path, pid-file, port)\nUnknown option: bogus\nOption port requires an argument\n\
             Missing option after +\nUnknown option: =x\nOption stop does not take an argument\nUnknown option: 5\n\
             Unknown option: po\nrt\nOption port requires an argument",
        );
        let not_utf8 = canonical(vec![OsString::from_vec(b"--\xff\xc3\x89".to_vec())], SPECS, false);
        assert_eq!(usage(&not_utf8.unwrap_err(), Vec::new()).message(), b"Unknown option: \xff\xc3\x89");
    }

    #[test]
    fn options_of_our_own_are_spelled_in_full() {
        accepts(
            &["--ready", "x", "--ready=y", "--stop-timeout=5"],
            &["--ready=x", "--ready=y", "--stop-timeout=5", "--"],
        );
        accepts(&["--sto"], &["--stop", "--"]);
        refuses(
            &["-ready=x", "--read=x", "--READY=x", "+ready", "--stop-=5", "--r"],
            "Unknown option: ready\nUnknown option: read\nUnknown option: ready\nUnknown option: ready\n\
             Unknown option: stop-\nUnknown option: r",
        );
        assert_eq!(parse(&["--ready", "x"], true).unwrap(), ["--ready=x", "--"]);
    }

    #[test]
    fn posixly_correct() {
        let accepts = |words: &[&str], canonical: &[&str]| assert_eq!(parse(words, true).unwrap(), canonical);
        accepts(&["--PORT=80", "prog", "--stop"], &["--port=80", "--", "prog", "--stop"]);
        accepts(&["prog", "--", "x"], &["--", "prog", "--", "x"]);
        accepts(&["-port", "80", "--", "-x"], &["--port=80", "--", "-x"]);
        accepts(&["+port=80"], &["--", "+port=80"]);
        assert_eq!(
            parse(&["-port=80", "--Po=80"], true).unwrap_err().message(),
            b"Unknown option: port=80\nUnknown option: Po"
        );
    }
}
