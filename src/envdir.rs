//! `--envdir`: a directory where each file names a variable and its first line is the value.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::environment::Variables;

/// Reads the directory `path`. What is no directory is like an empty one, and what is no readable file is passed over,
/// without a word (LIFE-146); so are names that start with a point, and empty files (LIFE-138).
pub(crate) fn read(path: &[u8]) -> Variables {
    let path = Path::new(OsStr::from_bytes(path));
    let Ok(entries) = fs::read_dir(path) else {
        return Variables::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name()).filter(|name| !name.as_bytes().starts_with(b"."));
    names.filter_map(|name| Some((name.clone().into_vec(), first_line(&path.join(name))?))).collect()
}

/// None for an empty file. May block: a fifo is waited for until a signal comes (LIFE-148), so the standard library,
/// which would go on waiting, isn't asked to open it.
fn first_line(path: &Path) -> Option<Vec<u8>> {
    let file = File::from(open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()?);
    let mut line = Vec::new();
    let length = BufReader::new(file).read_until(b'\n', &mut line).ok()?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    (length > 0).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_variable() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| fs::write(dir.path().join(name), content).unwrap();
        write("PLAIN", "value\n");
        write("UNTERMINATED", "value");
        write("LINES", "one\ntwo\n");
        write("BLANK", "\n");
        write("CR", "value\r\n");
        write("EMPTY", "");
        write(".hidden", "value\n");
        fs::create_dir(dir.path().join("DIRECTORY")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("DANGLING")).unwrap();

        let pairs = [("BLANK", ""), ("CR", "value\r"), ("LINES", "one"), ("PLAIN", "value"), ("UNTERMINATED", "value")];
        let expected: Variables = pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        assert_eq!(read(dir.path().as_os_str().as_bytes()), expected);
    }

    #[test]
    fn no_directory_is_like_an_empty_one() {
        assert!(read(b"/nonexistent").is_empty() && read(b"").is_empty() && read(b"/dev/null").is_empty());
    }
}
