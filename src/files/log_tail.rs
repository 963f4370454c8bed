//! What has been written to a log since a given moment, to explain why a worker has failed.

use std::fs::{Metadata, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::files::file_id::FileId;
use crate::words::is_about_new_worker;

/// The lines that are shown.
const MOST_LINES: usize = 5;

/// How much is read.
const LONGEST_LOOK: u64 = 16 * 1024;

/// Where a log ended.
pub(crate) struct LogTail {
    path: PathBuf,
    file: FileId,
    end: u64,
}

impl LogTail {
    /// None if there is no regular file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = path.metadata().ok().filter(Metadata::is_file)?;
        Some(Self { path: path.to_owned(), file: FileId::from(&metadata), end: metadata.len() })
    }

    /// What has been written since, or its end if that is much. All of another file of that name is new.
    pub(crate) fn read(&self) -> Vec<u8> {
        self.try_to_read().unwrap_or_default()
    }

    fn try_to_read(&self) -> Option<Vec<u8>> {
        // It may have become the name of something that would block.
        let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&self.path).ok()?;
        let metadata = file.metadata().ok().filter(Metadata::is_file)?;
        let begin = if FileId::from(&metadata) == self.file { self.end } else { 0 };
        file.seek(SeekFrom::Start(begin.max(metadata.len().saturating_sub(LONGEST_LOOK)))).ok()?;
        let mut text = Vec::new();
        file.take(LONGEST_LOOK).read_to_end(&mut text).ok()?;
        Some(text)
    }
}

/// The last lines, each with its newline, without the superdaemon's own lines about a worker.
pub(crate) fn last_lines(text: &[u8]) -> Vec<u8> {
    let is_of_worker = |line: &&[u8]| !line.is_empty() && !is_about_new_worker(line);
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').filter(is_of_worker).collect();
    let last = &lines[lines.len().saturating_sub(MOST_LINES)..];
    last.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect()
}
