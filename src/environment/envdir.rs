//! `--envdir`: a directory where each file names a variable and its first line is the value.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{ErrorKind, Read};

use nix::dir::Dir;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::environment::Variables;

/// Reads the directory `path`. Anything that is not a directory is like an empty one, and anything that is not a
/// readable file is passed over, without a word (LIFE-146); so are names that start with a point, and empty files
/// (LIFE-138).
pub(crate) fn read(path: &[u8]) -> Variables {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let Ok(mut dir) = Dir::open(path, flags, Mode::empty()) else {
        return Variables::new();
    };
    let entries = dir.iter().map_while(Result::ok).map(|entry| entry.file_name().to_owned());
    let names: Vec<CString> = entries.filter(|name| !name.as_bytes().starts_with(b".")).collect();
    // One buffer for all: there may be thousands of files.
    let mut buffer = [0; 8192];
    let variable = |name: CString| first_line(&dir, &name, &mut buffer).map(|value| (name.into_bytes(), value));
    names.into_iter().filter_map(variable).collect()
}

/// None for an empty file. May block: a fifo is waited for until a signal comes (LIFE-148), so the standard library,
/// which would go on waiting, isn't asked to open it.
fn first_line(dir: &Dir, name: &CStr, buffer: &mut [u8]) -> Option<Vec<u8>> {
    let mut file = File::from(openat(dir, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()?);
    let mut line = Vec::new();
    loop {
        let read = match file.read(buffer) {
            Ok(0) => return (!line.is_empty()).then_some(line),
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return None,
        };
        let end = read.iter().position(|&byte| byte == b'\n');
        line.extend_from_slice(&read[..end.unwrap_or(read.len())]);
        if end.is_some() {
            return Some(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

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
        let long = "x".repeat(20_000);
        write("LONG", &format!("{long}\n"));
        write("EMPTY", "");
        write(".hidden", "value\n");
        fs::create_dir(dir.path().join("DIRECTORY")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("DANGLING")).unwrap();

        let pairs = [
            ("BLANK", ""),
            ("CR", "value\r"),
            ("LINES", "one"),
            ("LONG", &long),
            ("PLAIN", "value"),
            ("UNTERMINATED", "value"),
        ];
        let expected: Variables = pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        assert_eq!(read(dir.path().as_os_str().as_bytes()), expected);
    }

    #[test]
    fn no_directory_is_like_an_empty_one() {
        assert!(read(b"/nonexistent").is_empty() && read(b"").is_empty() && read(b"/dev/null").is_empty());
    }
}
