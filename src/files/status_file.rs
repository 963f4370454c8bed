//! The status file: a line `GENERATION:PID` for each worker that is alive or has not been reaped.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::error::Error;
use crate::files::own_file::cannot_open;
use crate::sets::set_of;
use crate::sys::Pid;

pub(crate) use crate::files::own_file::StatusFile;

/// The generations in the status file at `path`, ascending. Lines that do not start with `DIGITS:` don't count.
pub(crate) fn generations(path: &Path) -> Result<Vec<u64>, Error> {
    let mut file = File::open(path).map_err(|error| cannot_open(path, error))?;
    let mut content = Vec::new();
    // QUIRK: what can be opened but not read, a directory, is like an empty file.
    let _ = file.read_to_end(&mut content);
    // The same generation twice counts once, but `7` and `007` are two.
    let texts = set_of(content.split(|&byte| byte == b'\n').filter_map(generation));
    let numbers = texts.into_iter().map(|text| str::from_utf8(text).ok().and_then(|digits| digits.parse().ok()));
    let mut generations: Vec<u64> = numbers.map(|number| number.unwrap_or(u64::MAX)).collect();
    generations.sort_unstable();
    Ok(generations)
}

/// The workers in the status file at `path`, as far as they can be read.
pub(crate) fn workers(path: &Path) -> BTreeMap<u64, Pid> {
    let status = fs::read_to_string(path).unwrap_or_default();
    let worker = |line: &str| {
        let (generation, pid) = line.split_once(':')?;
        Some((generation.parse().ok()?, pid.parse().ok()?))
    };
    status.lines().filter_map(worker).collect()
}

fn generation(line: &[u8]) -> Option<&[u8]> {
    let digits = &line[..line.iter().position(|&byte| byte == b':')?];
    (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit)).then_some(digits)
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
}
