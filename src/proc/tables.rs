//! System-wide tables.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::time::Duration;

use libc::ino_t;

/// The flag of a socket that listens (`__SO_ACCEPTCON`).
const LISTENS: u64 = 1 << 16;

/// A unix socket of any process in this network namespace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnixSocket {
    pub(crate) inode: ino_t,
    /// Whether it waits for connections.
    pub(crate) is_listening: bool,
    /// `SOCK_STREAM` and so on.
    pub(crate) kind: u64,
    /// As it was bound: a path, or `@NAME` for an abstract one. An accepted connection has its listener's; others may
    /// have none.
    pub(crate) name: Vec<u8>,
}

/// The sockets in /proc/net/unix, line by line.
pub(crate) fn unix_sockets() -> impl Iterator<Item = UnixSocket> {
    let lines = File::open("/proc/net/unix").into_iter().flat_map(|table| BufReader::new(table).split(b'\n'));
    lines.map_while(Result::ok).filter_map(|line| UnixSocket::parse(&line))
}

impl UnixSocket {
    /// `ADDRESS: COUNT PROTOCOL FLAGS TYPE STATE INODE NAME`; blanks may precede the inode, and the name may contain
    /// blanks. None for the heading.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.splitn(7, |&byte| byte == b' ').skip(3);
        let mut number = || u64::from_str_radix(str::from_utf8(fields.next()?).ok()?, 16).ok();
        let (flags, kind) = (number()?, number()?);
        let rest = fields.nth(1)?.trim_ascii_start();
        let inode_end = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
        let inode = str::from_utf8(&rest[..inode_end]).ok()?.parse().ok()?;
        let name = rest.get(inode_end + 1..).unwrap_or_default().to_vec();
        Some(Self { inode, is_listening: flags & LISTENS != 0, kind, name })
    }
}

/// How long the machine has been up.
pub(crate) fn uptime() -> Option<Duration> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    Duration::try_from_secs_f64(text.split_whitespace().next()?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_unix_sockets() {
        let socket =
            |is_listening, name: &str| Some(UnixSocket { inode: 4711, is_listening, kind: 1, name: name.into() });
        let table = [
            ("00000000f1: 00000002 00000000 00010000 0001 01  4711 /run/a socket", socket(true, "/run/a socket")),
            ("00000000f1: 00000003 00000000 00000000 0001 03  4711", socket(false, "")),
            ("00000000f1: 00000003 00000000 00000000 0001 03 4711 @a  b", socket(false, "@a  b")),
            ("Num       RefCount Protocol Flags    Type St Inode Path", None),
        ];
        for (line, expected) in table {
            assert_eq!(UnixSocket::parse(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn whatever_the_text_is() {
        crate::random_texts::each_damaged(&[b"ffff: 00000002 00000000 00010000 0001 01 4711 /run/a b"], |text| {
            UnixSocket::parse(text);
        });
    }
}
