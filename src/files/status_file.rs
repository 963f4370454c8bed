//! The status file: a line `GENERATION:PID` for each worker that is alive or has not been reaped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use crate::error::Error;
use crate::files::own_file::OwnFile;
use crate::sys::Pid;

/// The writer. The lines come through the seam as text.
pub(crate) type StatusFile = OwnFile;

/// The generations in the status file at `path`, ascending. What follows `DIGITS:` is ignored, and a number that is too
/// big counts as the biggest: each line is a worker that `--restart` has to wait for.
pub(crate) fn generations(path: &Path) -> Result<Vec<u64>, Error> {
    let mut file = File::open(path).map_err(|error| Error::cannot_open(path, error))?;
    let mut content = Vec::new();
    // QUIRK: what can be opened but not read, a directory, is like an empty file.
    let _ = file.read_to_end(&mut content);
    // The same generation twice counts once, but `7` and `007` are two.
    let mut texts = BTreeSet::new();
    texts.extend(lines(&content).map(|(digits, _)| digits));
    let mut generations: Vec<u64> = texts.into_iter().map(|digits| parse(digits).unwrap_or(u64::MAX)).collect();
    generations.sort_unstable();
    Ok(generations)
}

/// The workers in the status file at `path`. A line without a pid is left out, and a file that can't be read has no
/// workers: this is for display, and for look-ups in /proc.
pub(crate) fn workers(path: &Path) -> BTreeMap<u64, Pid> {
    workers_in(&fs::read(path).unwrap_or_default())
}

/// The workers in the content of a status file.
pub(crate) fn workers_in(content: &[u8]) -> BTreeMap<u64, Pid> {
    let mut workers = BTreeMap::new();
    workers.extend(lines(content).filter_map(|(digits, pid)| Some((parse::<u64>(digits)?, parse::<Pid>(pid)?))));
    workers
}

/// The lines that begin with `DIGITS:`, which is all that makes a line one of a worker: the digits, and what follows.
fn lines(content: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    content.split(|&byte| byte == b'\n').filter_map(|line| {
        let (digits, rest) = line.split_at(line.iter().position(|&byte| byte == b':')?);
        (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit)).then_some((digits, &rest[1..]))
    })
}

fn parse<T: FromStr>(text: &[u8]) -> Option<T> {
    str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_begin_with_a_number_and_a_colon_count() {
        let table: &[(&str, &[u64])] = &[
            ("", &[]),
            ("1:100\n", &[1]),
            ("10:3\n9:4\n", &[9, 10]),
            ("foo\n007:1\n3:2\n", &[3, 7]),
            (":1\n 3:4\n5\n", &[]),
            ("2:1\n2:3", &[2]),
            ("7:1\n007:3", &[7, 7]),
        ];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        for &(content, expected) in table {
            fs::write(&path, content).unwrap();
            assert_eq!(generations(&path), Ok(expected.to_vec()), "{content:?}");
        }
    }

    #[test]
    fn whatever_the_text_is() {
        crate::random_texts::each_damaged(&[b"1:100\n10:3\n9:4\n"], |text| {
            workers_in(text);
            let _ = lines(text).map(|(digits, _)| parse::<u64>(digits)).collect::<Vec<_>>();
        });
    }
}
