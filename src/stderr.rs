//! The program's voice: lines on fd 2, unbuffered. A failing write is ignored for ever (LIFE-169, LIFE-179).

use std::io::{self, Write};

/// Writes `line` with one write(2).
pub(crate) fn say(line: impl Into<Vec<u8>>) {
    let mut line = line.into();
    // QUIRK: a name that ends in a newline ends the line (CLI-721).
    if !line.ends_with(b"\n") {
        line.push(b'\n');
    }
    // The standard library's stderr has no buffer and goes on after EINTR.
    let _ = io::stderr().write_all(&line);
}

/// What others have written, for a terminal: control characters are shown, not sent.
pub(crate) fn visible(text: &[u8]) -> Vec<u8> {
    let mut visible = Vec::new();
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            let text = if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
            visible.extend_from_slice(text.as_bytes());
        }
        visible.extend(chunk.invalid().escape_ascii());
    }
    visible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        for (text, expected) in [
            ("12 \\ \"é\"".as_bytes(), "12 \\ \"é\"".as_bytes()),
            (b"\x1b]0;title\x07\r", b"\\u{1b}]0;title\\u{7}\\r"),
            (b"\x9b1m \xc2\x9b1m \xff", b"\\x9b1m \\u{9b}1m \\xff"),
        ] {
            assert_eq!(visible(text), expected);
        }
    }
}
