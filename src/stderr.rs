//! Lines on fd 2, unbuffered. A failing write is always ignored (LIFE-169, LIFE-179).
//!
//! A log that nobody reads must not stop a superdaemon (`blocked-log`). `O_NONBLOCK` can't be set on fd 2, as workers
//! share it; so a line is written only if that doesn't block, and is lost if it would have to wait too long.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd;

use crate::{stop_request, sys};

/// How long a line may wait. After that, lines don't wait at all until one can be written.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How much a writable pipe takes without blocking (`PIPE_BUF` of Linux).
const LONGEST_PART: usize = 4096;

/// One of the ways to write below.
static WAY: AtomicU8 = AtomicU8::new(SIMPLY);

/// Lines wait for ever: before there are handlers, when a signal ends the waiting program, and for a regular file,
/// which never blocks.
const SIMPLY: u8 = 0;

/// The kernel can write without blocking.
const WITHOUT_WAITING: u8 = 1;

/// The kernel can say whether a line would block.
const IF_WRITABLE: u8 = 2;

/// Whether the last line that waited did so in vain.
static IS_BLOCKED: AtomicBool = AtomicBool::new(false);

/// How many lines have been lost since the last one was written.
static LOST: AtomicUsize = AtomicUsize::new(0);

/// From now on, no line waits for long.
pub(crate) fn stop_waiting_for_ever() {
    let kind = fstat(io::stderr()).map_or(SFlag::empty(), |stat| SFlag::from_bits_truncate(stat.st_mode));
    let way = match kind & SFlag::S_IFMT {
        SFlag::S_IFREG => SIMPLY,
        SFlag::S_IFIFO | SFlag::S_IFSOCK => WITHOUT_WAITING,
        _ => IF_WRITABLE,
    };
    WAY.store(way, Ordering::Relaxed);
}

/// Writes `line`, with one write(2) if it isn't longer than a page.
pub(crate) fn say(line: impl Into<Vec<u8>>) {
    let mut line = line.into();
    // QUIRK: a name that ends in a newline ends the line (CLI-721).
    if !line.ends_with(b"\n") {
        line.push(b'\n');
    }
    if WAY.load(Ordering::Relaxed) == SIMPLY {
        // The standard library's stderr has no buffer and continues after EINTR.
        let _ = io::stderr().write_all(&line);
        return;
    }
    let lost = LOST.load(Ordering::Relaxed);
    if lost > 0 {
        let lines = if lost == 1 { "line is" } else { "lines are" };
        line = [format!("{lost} {lines} lost, as nobody was reading this log\n").as_bytes(), &line].concat();
    }
    let is_written = write(&line);
    LOST.store(if is_written { 0 } else { lost + 1 }, Ordering::Relaxed);
}

/// False if `text` had to wait too long. A part of it may have been written.
fn write(mut text: &[u8]) -> bool {
    let begin = Instant::now();
    while !text.is_empty() {
        match write_part(&text[..text.len().min(LONGEST_PART)]) {
            Ok(count) => text = &text[count..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let time = if IS_BLOCKED.load(Ordering::Relaxed) { Duration::ZERO } else { LONGEST_WAIT };
                if !wait_until_writable(begin + time) {
                    return false;
                }
            }
            Err(_) => break,
        }
    }
    IS_BLOCKED.store(false, Ordering::Relaxed);
    true
}

/// `EAGAIN` if it would block.
fn write_part(part: &[u8]) -> Result<usize, Errno> {
    if WAY.load(Ordering::Relaxed) == WITHOUT_WAITING {
        match sys::write_nowait(io::stderr(), part) {
            // An older kernel.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => WAY.store(IF_WRITABLE, Ordering::Relaxed),
            written => return written,
        }
    }
    if sys::is_writable(io::stderr()) { unistd::write(io::stderr(), part) } else { Err(Errno::EAGAIN) }
}

/// False if a shutdown is requested, or if `end` comes before.
fn wait_until_writable(end: Instant) -> bool {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            IS_BLOCKED.store(true, Ordering::Relaxed);
            return false;
        }
        let stderr = io::stderr();
        let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        if sys::wait(&mut fds, Some(left), stop_request::is_waiting) {
            return true;
        }
        if stop_request::is_waiting() {
            return false;
        }
    }
}

/// Text from others, for a terminal: control characters are escaped.
pub(crate) fn visible(text: &[u8]) -> Vec<u8> {
    let mut visible = Vec::new();
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            let text = if c.is_control() || turns_text(c) { c.escape_default().to_string() } else { c.to_string() };
            visible.extend_from_slice(text.as_bytes());
        }
        visible.extend(chunk.invalid().escape_ascii());
    }
    visible
}

/// Whether it changes the order in which the following text is shown, so it reads as something else.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The same for lines.
pub(crate) fn visible_lines(text: &[u8]) -> Vec<u8> {
    text.split(|&byte| byte == b'\n').map(visible).collect::<Vec<_>>().join(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        for (text, expected) in [
            ("12 \\ \"é\"".as_bytes(), "12 \\ \"é\"".as_bytes()),
            ("a\u{202e}b".as_bytes(), b"a\\u{202e}b"),
            (b"\x1b]0;title\x07\r", b"\\u{1b}]0;title\\u{7}\\r"),
            (b"\x9b1m \xc2\x9b1m \xff", b"\\x9b1m \\u{9b}1m \\xff"),
        ] {
            assert_eq!(visible(text), expected);
        }
    }
}
