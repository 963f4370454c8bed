//! What Perl says about itself, and no other language could: the divergences `perl-tail` and `perl-warnings`.

/// Warnings of the interpreter; each takes a line of its own.
const WARNINGS: [&str; 5] = [
    "Use of uninitialized value",
    "sleep() with negative argument",
    "Can't exec \"",
    "isn't numeric in ",
    "perl: warning: ",
];

/// Removes the interpreter's warnings, and the ` at FILE line N.` of messages.
pub fn remove(text: &str) -> String {
    let lines = text.lines().filter(|line| !WARNINGS.iter().any(|warning| line.contains(warning)));
    lines
        .filter_map(|line| match message_without_tail(line) {
            // The tail of a message that ends in a newline of its own stands on the next line.
            Some("") => None,
            Some(message) => Some(format!("{message}\n")),
            None => Some(format!("{line}\n")),
        })
        .collect()
}

/// The message, if `line` has a tail: ` at FILE line N.` or ` at FILE line N, <$fh> line N.`.
fn message_without_tail(line: &str) -> Option<&str> {
    let (message, tail) = line.strip_suffix('.')?.rsplit_once(" at ")?;
    let (file, place) = tail.split_once(" line ")?;
    let (number, handle) = place.split_once(", <").unwrap_or((place, "$fh> line 1"));
    let is_tail = file.starts_with('/') && number.bytes().all(|b| b.is_ascii_digit()) && handle.contains("> line ");
    is_tail.then_some(message)
}
