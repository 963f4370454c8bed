//! How Perl reads values: which texts are false, and which number a text is. Both rules are visible in the environment
//! variables and in `--signal-on-*` (F2, F4, LIFE-157, LIFE-162). `exec` has the rule for command lines.

mod exec;

pub(crate) use exec::Exec;

/// Perl's truth: everything but the empty text and `0`. So `00`, `0.0` and `false` are true.
#[must_use]
pub fn is_true(text: &[u8]) -> bool {
    !matches!(text, b"" | b"0")
}

/// The number at the beginning of `text`, after white space; 0 if there is none.
pub(crate) fn number(text: &[u8]) -> f64 {
    numeric_prefix(text).map_or(0.0, |(number, _)| number)
}

/// Whether `text` is just a number, with optional white space around it.
pub(crate) fn looks_like_number(text: &[u8]) -> bool {
    numeric_prefix(text).is_some_and(|(_, rest)| trim_start(rest).is_empty())
}

/// The number that `text` begins with, and what follows it.
fn numeric_prefix(text: &[u8]) -> Option<(f64, &[u8])> {
    let text = trim_start(text);
    let sign = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    if let Some((special, length)) = infinite_or_nan(&text[sign..]) {
        return Some((if text[0] == b'-' { -special } else { special }, &text[sign + length..]));
    }
    let mut end = sign + digits(&text[sign..]);
    if text.get(end) == Some(&b'.') {
        end += 1 + digits(&text[end + 1..]);
    }
    if let Some(b'e' | b'E') = text.get(end) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        match digits(&text[end + 1 + sign..]) {
            0 => {}
            exponent => end += 1 + sign + exponent,
        }
    }
    let (literal, rest) = text.split_at(end);
    // A lone sign or point is not a number, to Rust as to Perl.
    Some((str::from_utf8(literal).ok()?.parse().ok()?, rest))
}

/// The value, and the length of its name.
fn infinite_or_nan(text: &[u8]) -> Option<(f64, usize)> {
    let names = [("infinity", f64::INFINITY), ("inf", f64::INFINITY), ("nan", f64::NAN)];
    let begins = |name: &str| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()));
    names.into_iter().find(|(name, _)| begins(name)).map(|(name, value)| (value, name.len()))
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Perl's `\s` for bytes: ASCII white space with the vertical tab.
pub(crate) fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'\x0b'
}

pub(crate) fn trim_start(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|&&byte| is_space(byte)).count()..]
}

pub(crate) fn trim_end(text: &[u8]) -> &[u8] {
    &text[..text.len() - text.iter().rev().take_while(|&&byte| is_space(byte)).count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth() {
        for text in ["00", "0.0", "false", " ", "1"] {
            assert!(is_true(text.as_bytes()), "{text:?}");
        }
        assert!(!is_true(b"") && !is_true(b"0"));
    }

    #[test]
    fn numbers() {
        let table: &[(&str, f64)] = &[
            ("", 0.0),
            ("abc", 0.0),
            ("-", 0.0),
            (".", 0.0),
            ("0x2", 0.0),
            ("3x", 3.0),
            (" 2", 2.0),
            ("1\r", 1.0),
            ("2.5", 2.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e0", 1.0),
            ("1e", 1.0),
            ("1E+2x", 100.0),
            ("+9", 9.0),
            ("-0.5", -0.5),
            ("-inf", f64::NEG_INFINITY),
        ];
        for &(text, value) in table {
            assert_eq!(number(text.as_bytes()).to_bits(), value.to_bits(), "{text:?}");
        }
        assert!(number(b"nan").is_nan());
    }

    #[test]
    fn what_looks_like_a_number() {
        for text in ["12", " 12 ", "+12", "-12", "1e3", "32700.7", "\x0b12\x0b", "12\r", "Inf", "-infinity", "NaN"] {
            assert!(looks_like_number(text.as_bytes()), "{text:?}");
        }
        for text in ["", " ", "abc", "12x", "0x10", "1_000", "\0", "-", "info"] {
            assert!(!looks_like_number(text.as_bytes()), "{text:?}");
        }
    }
}
