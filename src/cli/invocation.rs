//! Which words of a process's command line are those of a `start_server`, the original or ours.

/// The words after the program, or after the script that perl runs.
pub(crate) fn arguments_behind_the_program(command: &[Vec<u8>]) -> Option<&[Vec<u8>]> {
    let (first, rest) = command.split_first()?;
    if is_start_server(first) {
        return Some(rest);
    }
    if !name_of(first).starts_with(b"perl") {
        return None;
    }
    let mut words = rest.iter().enumerate();
    while let Some((index, word)) = words.next() {
        match word.as_slice() {
            // The directory is the next word.
            b"-I" => drop(words.next()),
            // Text instead of a script.
            [b'-', b'e' | b'E', ..] => return None,
            [b'-', ..] => {}
            _ => return Some(&rest[index + 1..]),
        }
    }
    None
}

pub(crate) fn is_start_server(path: &[u8]) -> bool {
    name_of(path).starts_with(b"start_server")
}

fn name_of(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}
