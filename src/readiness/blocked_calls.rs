//! Which descriptors a sleeping thread waits on, as the kernel shows its system call.

use std::fs::OpenOptions;
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;

use libc::{c_int, c_long, ino_t};

use crate::proc::Process;
use crate::sys::waits;

/// The limit for what is read of a poll or select set. Ten thousand descriptors take less.
const LONGEST_SET: usize = 1 << 20;

/// The descriptors on which a thread waits for input; None if it does something else, or runs.
pub(super) fn awaited(thread: Process) -> Option<Vec<RawFd>> {
    let call = thread.system_call().ok()?;
    let mut words = call.split_whitespace();
    let number: c_long = words.next()?.parse().ok()?;
    let mut argument = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let (first, second) = (argument()?, argument()?);
    if waits::ON_DESCRIPTOR.contains(&number) {
        Some(vec![int(first)])
    } else if waits::ON_POLL_SET.contains(&number) {
        Some(poll_set(&read_memory(thread, first, count(second), size_of::<libc::pollfd>())))
    } else if waits::ON_SELECT_SET.contains(&number) {
        let words = count(first).div_ceil(usize::BITS as usize);
        Some(select_set(&read_memory(thread, second, words, size_of::<usize>())))
    } else {
        None
    }
}

/// An argument that is an int: its register may hold anything in the upper half.
fn int(argument: u64) -> c_int {
    #[expect(clippy::cast_possible_truncation, reason = "as the kernel does it")]
    return argument as c_int;
}

/// An argument that is a number of descriptors.
fn count(argument: u64) -> usize {
    usize::try_from(int(argument)).unwrap_or(0)
}

/// `count` things of `size` from the memory of a process, or fewer: select may get a larger number of descriptors than
/// its set has room for, and the memory may end earlier.
fn read_memory(thread: Process, address: u64, count: usize, size: usize) -> Vec<u8> {
    let length = count.saturating_mul(size).min(LONGEST_SET);
    let mut bytes = vec![0; length];
    let memory = thread.memory(OpenOptions::new().read(true));
    let read = memory.and_then(|memory| memory.read_at(&mut bytes, address));
    bytes.truncate(read.unwrap_or(0));
    bytes
}

/// From the bytes of an array of `pollfd`: descriptor, wanted events, events that have come.
fn poll_set(bytes: &[u8]) -> Vec<RawFd> {
    let member = |bytes: &[u8]| {
        let events = i16::from_ne_bytes(bytes[4..6].try_into().ok()?);
        let is_for_input = events & (libc::POLLIN | libc::POLLRDNORM) != 0;
        is_for_input.then_some(RawFd::from_ne_bytes(bytes[..4].try_into().ok()?))
    };
    bytes.chunks_exact(size_of::<libc::pollfd>()).filter_map(member).collect()
}

/// From the bytes of an `fd_set`, which consists of words.
fn select_set(bytes: &[u8]) -> Vec<RawFd> {
    let words = bytes.as_chunks().0.iter().map(|&word| usize::from_ne_bytes(word));
    let bits = words.flat_map(|word| (0..usize::BITS).map(move |bit| word >> bit & 1 == 1));
    (0..).zip(bits).filter_map(|(fd, is_set)| is_set.then_some(fd)).collect()
}

/// A line about a member of an epoll set.
#[derive(Debug, PartialEq)]
pub(super) struct EpollMember {
    pub(super) fd: RawFd,
    pub(super) inode: Option<ino_t>,
    pub(super) is_for_input: bool,
}

impl EpollMember {
    /// `tfd: FD events: HEX data: HEX pos:N ino:HEX sdev:HEX`; None for other lines.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("tfd:")?.split_whitespace();
        let fd = words.next()?.parse().ok()?;
        let events = words.by_ref().skip_while(|&word| word != "events:").nth(1)?;
        let events = u32::from_str_radix(events, 16).ok()?;
        let inode = words.find_map(|word| ino_t::from_str_radix(word.strip_prefix("ino:")?, 16).ok());
        Some(Self { fd, inode, is_for_input: events & waits::EPOLL_INPUT != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_epoll_sets() {
        let member = |fd, inode, is_for_input| Some(EpollMember { fd, inode, is_for_input });
        let table = [
            ("tfd:        5 events:       19 data: 5  pos:0 ino:1a2b sdev:9", member(5, Some(0x1a2b), true)),
            (
                "tfd: 123456789 events: 80000004 data: ffffffffffffffff  pos:0 ino:7 sdev:9",
                member(123_456_789, Some(7), false),
            ),
            ("tfd:        5 events: 80000001 data: 5", member(5, None, true)),
            ("pos:\t0", None),
            ("tfd:", None),
        ];
        for (line, expected) in table {
            assert_eq!(EpollMember::parse(line), expected, "{line}");
        }
    }

    #[test]
    fn whatever_the_text_is() {
        crate::random_texts::each_damaged(
            &[b"tfd:        5 events:       19 data: 5  pos:0 ino:1a2b sdev:9"],
            |text| {
                EpollMember::parse(&String::from_utf8_lossy(text));
            },
        );
    }
}
