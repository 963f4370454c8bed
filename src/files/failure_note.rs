//! The note beside the status file that tells `--restart` about failed starts, and about a restart that was given up.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::files::names::beside;
use crate::files::own_file::{OwnFile, OwnFilePart, read_regular};
use crate::stderr::visible_lines;
use crate::succession::Descriptors;

/// After the generation in a note: there is another attempt.
const GOES_ON: &str = " goes on";

/// In bytes: more than a note takes.
const LONGEST_NOTE: usize = 8192;

/// The note beside the status file that tells `--restart` about failed attempts to start a worker, and whether the
/// restart was given up. It is removed when a worker has started.
pub(crate) struct FailureFile {
    pub(crate) file: OwnFile,
}

impl FailureFile {
    /// Like [`OwnFile::new`].
    pub(crate) fn new(status_file: &Path) -> Result<Self, Error> {
        Ok(Self { file: OwnFile::new(&path(status_file))? })
    }

    /// Like [`OwnFile::take_over`].
    pub(crate) fn take_over(status_file: &Path, part: OwnFilePart, descriptors: &mut Descriptors) -> Self {
        Self { file: OwnFile::take_over(&path(status_file), part, descriptors) }
    }

    /// Removes what a killed superdaemon has left behind.
    pub(crate) fn remove_left_over(&self) {
        let _ = fs::remove_file(self.file.path());
    }

    /// Notes that the attempt of a generation has failed, with lines about the reason; `is_last`: there is no further
    /// attempt. If it can't be written, as on a full disk, a `--restart` that waits for this waits until
    /// [`OwnFile::retry`] succeeds.
    pub(crate) fn note(&mut self, generation: u64, is_last: bool, reason: &[u8]) {
        let tail = if is_last { "" } else { GOES_ON };
        let _ = self.file.write(&[format!("{generation}{tail}\n").as_bytes(), reason].concat());
    }

    /// A worker has started.
    pub(crate) fn remove(&mut self) {
        self.file.remove();
    }
}

/// Where the note of a status file is.
fn path(status_file: &Path) -> PathBuf {
    beside(status_file, ".failed")
}

/// A note that a start has failed. A later one differs from it.
#[derive(PartialEq, Eq)]
pub(crate) struct FailureNote {
    id: FileId,
    generation: u64,
    is_last: bool,
    /// The lines after that of the generation.
    reason: Vec<u8>,
}

impl FailureNote {
    /// The current note. A file of this name without a generation is not ours.
    pub(crate) fn of(status_file: &Path) -> Option<Self> {
        let path = path(status_file);
        let mut content = read_regular(&path, LONGEST_NOTE)?;
        let line = content.iter().position(|&byte| byte == b'\n')?;
        let text = str::from_utf8(&content[..line]).ok()?;
        let (digits, is_last) = text.strip_suffix(GOES_ON).map_or((text, true), |digits| (digits, false));
        let generation = digits.parse().ok()?;
        Some(Self { id: FileId::of(&path)?, generation, is_last, reason: content.split_off(line + 1) })
    }

    /// The generation of the attempt.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the restart was given up.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Why it has failed, as lines to append to another one.
    pub(crate) fn reason(&self) -> Vec<u8> {
        let reason = self.reason.trim_ascii_end();
        if reason.is_empty() { Vec::new() } else { [b"\n", &visible_lines(reason)[..]].concat() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_failure_has_another_note() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        let mut file = FailureFile::new(&path).unwrap();
        assert!(FailureNote::of(&path).is_none());
        file.note(4, false, b"");
        assert_eq!(FailureNote::of(&path).map(|note| (note.generation(), note.is_last())), Some((4, false)));
        file.note(4, true, b"");
        assert_eq!(FailureNote::of(&path).map(|note| (note.generation(), note.is_last())), Some((4, true)));
        let first = FailureNote::of(&path);
        assert!(first.is_some());
        file.note(4, true, b"it has failed: exit 1\n\x1b[31mred\n");
        let reason = FailureNote::of(&path).map(|note| note.reason());
        assert_eq!(reason, Some(b"\nit has failed: exit 1\n\\u{1b}[31mred".to_vec()));
        assert!(FailureNote::of(&path) != first);
        file.remove();
        assert!(FailureNote::of(&path).is_none());
        for content in ["", "4", "x\n", "-1\n"] {
            fs::write(super::path(&path), content).unwrap();
            assert!(FailureNote::of(&path).is_none(), "{content:?}");
        }
    }

    #[test]
    fn a_note_that_is_a_fifo_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        nix::unistd::mkfifo(&super::path(&path), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(FailureNote::of(&path).is_none());
    }
}
