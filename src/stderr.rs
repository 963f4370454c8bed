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
