//! The file in memory: how a reader finds it, and never takes half of it for the whole.
//!
//! The text is written with one write(2), which may be in progress during a read. So it begins with its length and
//! checksum, which show a reader that it has exactly one text.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::proc::{Descriptor, memory_file};

/// The name by which the file is found.
const NAME: &CStr = c"start_server-status";

/// The version of the format. No other one is understood.
const MAGIC: &str = "start_server status 1 ";

/// The first line has a fixed length, so it can be written with the rest.
const HEADER: usize = MAGIC.len() + 16 + 1 + 16 + 1;

/// In bytes. No superdaemon has that much to say.
const LONGEST_TEXT: usize = 1 << 20;

/// How long a reader tries to get a whole text. Each write takes microseconds, and there are only some changes per
/// second.
const PATIENCE: Duration = Duration::from_millis(500);

/// What this superdaemon publishes.
pub(crate) struct Board(File);

impl Board {
    /// None if the system has no such files, or no descriptor is left.
    pub(crate) fn new() -> Option<Self> {
        memory_file(NAME).ok().map(|file| Self(file.into()))
    }

    /// Replaces the whole text. If that fails it publishes nothing, as the old text is no longer true.
    pub(crate) fn write(&self, text: &str) {
        let whole = format!("{MAGIC}{:016x} {:016x}\n{text}", text.len(), sum(text.as_bytes()));
        if self.0.write_all_at(whole.as_bytes(), 0).is_err() {
            let _ = self.0.set_len(0);
        }
    }
}

impl AsFd for Board {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The text, if this is the descriptor of such a file.
///
/// # Errors
/// If it is, and no whole text can be read.
pub(super) fn read(descriptor: Descriptor) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = descriptor.memory_file(NAME)? else { return Ok(None) };
    let begin = Instant::now();
    loop {
        match read_once(&file) {
            Ok(text) => return Ok(Some(text)),
            Err(error) if error.kind() != io::ErrorKind::InvalidData || begin.elapsed() >= PATIENCE => {
                return Err(error);
            }
            Err(_) => sleep(begin.elapsed() / 4),
        }
    }
}

/// `InvalidData` for half a text.
fn read_once(file: &File) -> io::Result<Vec<u8>> {
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => io::ErrorKind::InvalidData.into(),
        _ => error,
    })?;
    let (length, expected) = parse_header(&header).ok_or(io::ErrorKind::InvalidData)?;
    let mut text = vec![0; length];
    file.read_exact_at(&mut text, HEADER as u64).map_err(|_| io::ErrorKind::InvalidData)?;
    if sum(&text) == expected { Ok(text) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn parse_header(header: &[u8]) -> Option<(usize, u64)> {
    let numbers = str::from_utf8(header).ok()?.strip_prefix(MAGIC)?.strip_suffix('\n')?;
    let (length, sum) = numbers.split_once(' ')?;
    let length = usize::from_str_radix(length, 16).ok().filter(|&length| length <= LONGEST_TEXT)?;
    Some((length, u64::from_str_radix(sum, 16).ok()?))
}

/// FNV-1a: short, and two consecutive texts are unlikely to have the same sum.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::fd::AsRawFd;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::proc::Process;

    fn seen(board: &Board) -> io::Result<Option<Vec<u8>>> {
        read(Process::Own.descriptor(board.0.as_raw_fd()))
    }

    #[test]
    fn what_was_written_last_is_read() {
        let board = Board::new().unwrap();
        assert!(seen(&board).is_err(), "nothing was written");
        for text in ["a long text\n", "short\n", "", "x"] {
            board.write(text);
            assert_eq!(seen(&board).unwrap().as_deref(), Some(text.as_bytes()));
        }
    }

    #[test]
    fn other_files_are_passed_over() {
        let other = memory_file(c"start_server-status2").map(File::from).unwrap();
        let regular = tempfile::tempfile().unwrap();
        for file in [&other, &regular] {
            assert_eq!(read(Process::Own.descriptor(file.as_raw_fd())).unwrap(), None);
        }
    }

    #[test]
    fn what_is_no_such_text_is_an_error() {
        let board = Board::new().unwrap();
        for content in [
            "start_server status 2 0000000000000000 cbf29ce484222325\n".to_owned(),
            format!("{MAGIC}ffffffffffffffff 0000000000000000\n"),
            format!("{MAGIC}0000000000000005 0000000000000000\n12345"),
            format!("{MAGIC}0000000000000005 0000000000000000\n1234"),
            "\0".repeat(HEADER),
        ] {
            board.0.set_len(0).unwrap();
            board.0.write_all_at(content.as_bytes(), 0).unwrap();
            assert_eq!(seen(&board).unwrap_err().kind(), io::ErrorKind::InvalidData, "{content}");
        }
    }

    /// Each text is one letter, so a mix of two would show.
    #[test]
    fn no_reader_sees_parts_of_two_texts() {
        const WRITES: usize = 200_000;
        let board = Board::new().unwrap();
        board.write("a");
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut reads = 0;
                while !is_over.load(Ordering::Relaxed) {
                    // A writer that never rests may leave no reader a whole text.
                    let Ok(Some(text)) = seen(&board) else { continue };
                    assert!(text.iter().all(|byte| *byte == text[0]), "{}", String::from_utf8_lossy(&text));
                    reads += 1;
                }
                reads
            });
            for number in 0..WRITES {
                let letter = ["a", "b", "c", "d", "e"][number % 5];
                board.write(&letter.repeat(1 + number * 7919 % 9000));
            }
            is_over.store(true, Ordering::Relaxed);
            assert!(reader.join().unwrap() > 0);
        });
    }
}
