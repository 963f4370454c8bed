//! Perl's words about itself, which no other language could say: the rows `perl-tail` and `perl-warnings`. They are
//! removed from the output of a Perl script, but only if they name one of the files of a `start_server` in Perl: a
//! worker may be written in Perl, too.

use std::fs;
use std::io::Read;
use std::path::Path;

use super::transcript::Line;

/// Warnings of the interpreter, each on a line of its own.
const WARNINGS: [&str; 4] =
    ["Use of uninitialized value", "sleep() with negative argument", "Can't exec \"", "isn't numeric in "];

/// The modules of the original, besides the script.
const MODULES: [&str; 4] = ["/Server/Starter.pm", "/Getopt/Long.pm", "/Pod/Usage.pm", "/Socket.pm"];

/// For the output of one program.
pub struct Noise {
    /// The script's name; None if the program isn't a Perl script.
    script: Option<String>,
}

impl Noise {
    pub fn of(program: &Path) -> Self {
        let mut beginning = [0; 128];
        let length = fs::File::open(program).and_then(|mut file| file.read(&mut beginning)).unwrap_or(0);
        let first_line = beginning[..length].split(|&byte| byte == b'\n').next().unwrap_or_default();
        let is_perl = first_line.starts_with(b"#!") && first_line.windows(4).any(|word| word == b"perl");
        let name = || program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { script: is_perl.then(name) }
    }

    /// The line without the interpreter's ` at FILE line N.`; None if it had nothing else.
    pub fn removed_from(&self, line: Line) -> Option<Line> {
        let Some((message, file)) = message_and_file(&line.text) else {
            return Some(line);
        };
        if !self.is_of_the_program(file) {
            return Some(line);
        }
        // If a message ends in a newline, its tail is on the next line.
        let is_noise = message.is_empty() || WARNINGS.iter().any(|warning| message.contains(warning));
        let text = message.to_owned();
        (!is_noise).then_some(Line { text, ..line })
    }

    fn is_of_the_program(&self, file: &str) -> bool {
        let is_script = |script: &str| {
            let name = file.rsplit('/').next().unwrap_or_default();
            name == script || name == "start_server" || name == "start_server.perl"
        };
        self.script.as_deref().is_some_and(is_script)
            || self.script.is_some() && MODULES.iter().any(|module| file.ends_with(module))
    }
}

/// The message and the file of a line with a tail, ` at FILE line N.` or ` at FILE line N, <$fh> line N.`.
fn message_and_file(line: &str) -> Option<(&str, &str)> {
    let (message, tail) = line.strip_suffix('.')?.rsplit_once(" at ")?;
    let (file, place) = tail.split_once(" line ")?;
    let (number, handle) = place.split_once(", <").unwrap_or((place, "$fh> line 1"));
    let is_tail = file.starts_with('/') && number.bytes().all(|b| b.is_ascii_digit()) && handle.contains("> line ");
    is_tail.then_some((message, file))
}
