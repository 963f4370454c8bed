//! `--envdir`: a directory where each file names a variable and its first line is the value.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;

use nix::dir::{Dir, Type};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::environment::{LONGEST_VARIABLE, Variables};

/// Reads an envdir again and again.
#[derive(Default)]
pub(crate) struct Reader {
    /// What has been reported as left out.
    reported: BTreeSet<Vec<u8>>,
}

impl Reader {
    /// Reads the directory `path`. Anything that is not a directory is like an empty one. Names that start with a dot,
    /// empty files (LIFE-138), directories, and files that can't be opened (LIFE-146) are skipped silently. A file that
    /// can't be a variable's, or is too long, goes to `report`, one line for each, once (`envdir-files`).
    pub(crate) fn read(&mut self, path: &[u8], mut report: impl FnMut(&[u8])) -> Variables {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(mut dir) = Dir::open(path, flags, Mode::empty()) else {
            return Variables::new();
        };
        let entries = dir.iter().map_while(Result::ok).map(|entry| (entry.file_name().to_owned(), entry.file_type()));
        let entries: Vec<_> = entries.filter(|(name, _)| !name.as_bytes().starts_with(b".")).collect();
        let mut variables = Variables::new();
        // One buffer for all: there may be thousands of files.
        let mut buffer = [0; 8192];
        for (name, kind) in entries {
            match first_line(&dir, &name, kind, &mut buffer) {
                Ok(line) => variables.extend(line.map(|line| (name.into_bytes(), line))),
                Err(why) => {
                    let line = [b"envdir: ", name.as_bytes(), b" is left out: it ", why.as_bytes()].concat();
                    if !self.reported.contains(&line) {
                        report(&line);
                        self.reported.insert(line);
                    }
                }
            }
        }
        variables
    }
}

/// None for an empty file; or why the file is left out. Never waits for anything, as a read of a fifo or a terminal
/// would.
fn first_line(dir: &Dir, name: &CStr, kind: Option<Type>, buffer: &mut [u8]) -> Result<Option<Vec<u8>>, &'static str> {
    const NO_FILE: &str = "is not a regular file";
    // A device may do something when it is opened. The target of a link isn't known yet.
    if matches!(kind, Some(Type::Fifo | Type::CharacterDevice | Type::BlockDevice)) {
        return Err(NO_FILE);
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let Ok(file) = openat(dir, name, flags, Mode::empty()) else { return Ok(None) };
    let mut file = File::from(file);
    let Ok(metadata) = file.metadata() else { return Ok(None) };
    if metadata.is_dir() || is_null(&metadata) {
        return Ok(None);
    }
    if !metadata.is_file() {
        return Err(NO_FILE);
    }
    let mut line = Vec::new();
    loop {
        let read = match file.read(buffer) {
            Ok(0) => return Ok((!line.is_empty()).then_some(line)),
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return Ok(None),
        };
        let end = read.iter().position(|&byte| byte == b'\n');
        line.extend_from_slice(&read[..end.unwrap_or(read.len())]);
        if name.count_bytes() + line.len() + "=\0".len() > LONGEST_VARIABLE {
            return Err("is longer than the system allows for a variable");
        }
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

/// Whether it is /dev/null, which is an empty file to everybody.
fn is_null(metadata: &Metadata) -> bool {
    metadata.rdev() != 0 && fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == metadata.rdev())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

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
        assert_eq!(read(dir.path()), (expected, vec![]));
    }

    fn read(path: &Path) -> (Variables, Vec<String>) {
        let mut said = Vec::new();
        let report = |line: &[u8]| said.push(String::from_utf8(line.to_vec()).unwrap());
        (Reader::default().read(path.as_os_str().as_bytes(), report), said)
    }

    #[test]
    fn what_is_left_out_is_said_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        nix::unistd::mkfifo(&path("FIFO"), Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("ZERO")).unwrap();
        std::os::unix::fs::symlink("/dev/null", path("NULL")).unwrap();
        fs::write(path("LONG"), "x".repeat(LONGEST_VARIABLE - "LONG=".len())).unwrap();
        fs::write(path("LONGEST"), "x".repeat(LONGEST_VARIABLE - "LONGEST=".len() - 1)).unwrap();
        let mut reader = Reader::default();
        let mut said = Vec::new();
        for _ in 0..2 {
            let variables = reader.read(dir.path().as_os_str().as_bytes(), |line| {
                said.push(String::from_utf8(line.to_vec()).unwrap());
            });
            assert_eq!(variables.keys().map(Vec::as_slice).collect::<Vec<_>>(), [b"LONGEST"]);
        }
        said.sort_unstable();
        assert_eq!(
            said,
            [
                "envdir: FIFO is left out: it is not a regular file",
                "envdir: LONG is left out: it is longer than the system allows for a variable",
                "envdir: ZERO is left out: it is not a regular file",
            ]
        );
    }

    #[test]
    fn no_directory_is_like_an_empty_one() {
        for path in ["/nonexistent", "", "/dev/null"] {
            assert_eq!(read(Path::new(path)), Default::default(), "{path:?}");
        }
    }
}
