//! The queues of sockets, read with `sock_diag(7)`, which needs no rights.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use libc::{c_int, ino_t};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::proc::{DUMP, diagnosis_socket};

/// What waits at a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Queue {
    /// Where the socket was bound.
    pub(crate) name: Name,
    /// TCP and unix: connections; UDP: bytes.
    pub(crate) waiting: u32,
    /// How many connections may wait.
    pub(crate) limit: Option<u32>,
    /// Connections or datagrams that a full queue has refused since the socket was opened. Not reported for unix
    /// sockets.
    pub(crate) refused: Option<u32>,
}

/// Where a socket was bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Internet(SocketAddr),
    /// A path; an abstract name begins with a NUL.
    Unix(Vec<u8>),
}

/// `SOCK_DIAG_BY_FAMILY`, the type of the messages in both directions.
const SOCK_DIAG: u16 = 20;
const HEADER: usize = 16;
/// `INET_DIAG_SKMEMINFO`, and where in it the refused ones are counted (`SK_MEMINFO_DROPS`).
const MEMORY: u16 = 7;
const DROPS: usize = 8;
/// `UNIX_DIAG_RQLEN`.
const LENGTHS: u16 = 4;
/// `UDIAG_SHOW_RQLEN`.
const SHOW_LENGTHS: u32 = 1 << 4;
/// `UNIX_DIAG_NAME` and `UDIAG_SHOW_NAME`.
const NAME: u16 = 0;
const SHOW_NAMES: u32 = 1;
/// `UNIX_DIAG_VFS` and `UDIAG_SHOW_VFS`.
const FILE: u16 = 1;
const SHOW_FILES: u32 = 1 << 1;
/// Listening TCP and unix sockets; in TCP's terms, those of UDP are closed.
const LISTENING: u32 = 1 << 10;
const CLOSED: u32 = 1 << 7;

/// The queues of all listeners, by inode.
pub(crate) fn queues() -> BTreeMap<ino_t, Queue> {
    let mut queues = BTreeMap::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (protocol, states) in [(libc::IPPROTO_TCP, LISTENING), (libc::IPPROTO_UDP, CLOSED)] {
            let _ = ask(&inet_request(family, protocol, states), |message| {
                queues.extend(inet_queue(message, protocol == libc::IPPROTO_TCP));
            });
        }
    }
    let _ = ask(&unix_request(SHOW_LENGTHS | SHOW_NAMES), |message| queues.extend(unix_queue(message)));
    // A socket with TCP_DEFER_ACCEPT, which Starlet sets, counts each connection that waits for data; the kernel's sum
    // of what full queues have refused does not.
    if let Some(most) = listen_drops() {
        for queue in queues.values_mut().filter(|queue| queue.limit.is_some()) {
            queue.refused = queue.refused.map(|refused| refused.min(most));
        }
    }
    queues
}

/// The inode of the file that each listening unix socket was bound to, in the 32 bits that the kernel reports, whatever
/// has that name now. By the inode of the socket.
pub(crate) fn bound_files() -> BTreeMap<ino_t, u32> {
    let mut files = BTreeMap::new();
    let _ = ask(&unix_request(SHOW_FILES), |message| {
        let file = || Some((u32_at(message, 4)?.into(), u32_at(attribute(message.get(16..)?, FILE)?, 0)?));
        files.extend(file());
    });
    files
}

/// Where each listening TCP socket listens.
pub(crate) fn listening() -> BTreeMap<ino_t, SocketAddr> {
    let mut addresses = BTreeMap::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let _ = ask(&inet_request(family, libc::IPPROTO_TCP, LISTENING), |message| {
            let inode = u32_at(message, 68).map(ino_t::from);
            addresses.extend(inode.zip(inet_address(message, family == libc::AF_INET)));
        });
    }
    addresses
}

/// From an `inet_diag_msg`.
fn inet_address(message: &[u8], is_v4: bool) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(*message.get(4..)?.first_chunk()?);
    let ip = if is_v4 {
        IpAddr::from(*message.get(8..)?.first_chunk::<4>()?)
    } else {
        IpAddr::from(*message.get(8..)?.first_chunk::<16>()?)
    };
    Some(SocketAddr::new(ip, port))
}

/// What all full queues of TCP have refused (`ListenDrops` of /proc/net/netstat: a line of names, and one of values).
fn listen_drops() -> Option<u32> {
    let text = std::fs::read_to_string("/proc/net/netstat").ok()?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:")).map(|line| line.split(' '));
    let (names, mut values) = (lines.next()?, lines.next()?);
    let index = names.into_iter().position(|name| name == "ListenDrops")?;
    // A counter of 64 bits, while a socket's has 32.
    values.nth(index)?.parse::<u64>().ok().map(|drops| u32::try_from(drops).unwrap_or(u32::MAX))
}

fn ask(request: &[u8], mut read: impl FnMut(&[u8])) -> Result<(), Errno> {
    let kernel = diagnosis_socket()?;
    send(kernel.as_raw_fd(), request, MsgFlags::empty())?;
    let mut answer = vec![0; 1 << 16];
    loop {
        let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let mut messages = &answer[..length];
        while let Some(header) = messages.get(..HEADER) {
            if u16_at(header, 4) != Some(SOCK_DIAG) {
                return Ok(());
            }
            let size = usize::try_from(u32_at(header, 0).unwrap_or(0)).unwrap_or(0).clamp(HEADER, messages.len());
            read(&messages[HEADER..size]);
            messages = messages.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn header(size: usize) -> Vec<u8> {
    let mut request = vec![0; size];
    request[..4].copy_from_slice(&u32::try_from(size).unwrap_or(0).to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG.to_ne_bytes());
    request[6..8].copy_from_slice(&DUMP.to_ne_bytes());
    request
}

/// An `nlmsghdr` and an `inet_diag_req_v2`.
fn inet_request(family: c_int, protocol: c_int, states: u32) -> Vec<u8> {
    let mut request = header(HEADER + 56);
    request[16] = family.to_le_bytes()[0];
    request[17] = protocol.to_le_bytes()[0];
    request[18] = 1 << (MEMORY - 1);
    request[20..24].copy_from_slice(&states.to_ne_bytes());
    request
}

/// An `nlmsghdr` and a `unix_diag_req`.
fn unix_request(shown: u32) -> Vec<u8> {
    let mut request = header(HEADER + 24);
    request[16] = libc::AF_UNIX.to_le_bytes()[0];
    request[20..24].copy_from_slice(&LISTENING.to_ne_bytes());
    request[28..32].copy_from_slice(&shown.to_ne_bytes());
    request
}

/// From an `inet_diag_msg`.
fn inet_queue(message: &[u8], is_tcp: bool) -> Option<(ino_t, Queue)> {
    let inode = u32_at(message, 68)?;
    let refused = attribute(message.get(72..)?, MEMORY).and_then(|memory| u32_at(memory, 4 * DROPS));
    let limit = if is_tcp { u32_at(message, 60) } else { None };
    let queue = Queue { name: Name::Internet(inet_name(message)?), waiting: u32_at(message, 56)?, limit, refused };
    Some((inode.into(), queue))
}

/// The source in an `inet_diag_sockid`, which is in network byte order.
fn inet_name(message: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(message.get(4..6)?.try_into().ok()?);
    let bytes: [u8; 16] = message.get(8..24)?.try_into().ok()?;
    let ip = match c_int::from(*message.first()?) {
        libc::AF_INET => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
        _ => IpAddr::from(bytes),
    };
    Some(SocketAddr::new(ip, port))
}

/// From a `unix_diag_msg`.
fn unix_queue(message: &[u8]) -> Option<(ino_t, Queue)> {
    let inode = u32_at(message, 4)?;
    let lengths = attribute(message.get(16..)?, LENGTHS)?;
    let name = attribute(message.get(16..)?, NAME).unwrap_or_default();
    let end = name.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let name = Name::Unix(name[..end].to_vec());
    Some((inode.into(), Queue { name, waiting: u32_at(lengths, 0)?, limit: u32_at(lengths, 4), refused: None }))
}

/// The value of an `rtattr` of a kind.
fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        if u16_at(attributes, 2)? == kind {
            return attributes.get(4..length);
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], index: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(index..index + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], index: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(index..index + 4)?.try_into().ok()?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    use nix::sys::stat::fstat;

    use super::*;

    #[test]
    fn where_sockets_listen() {
        for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let listening = listening();
            assert_eq!(listening.get(&fstat(&listener).unwrap().st_ino), Some(&listener.local_addr().unwrap()));
        }
    }

    #[test]
    fn what_waits_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let (tcp, unix) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
        let _clients = [TcpStream::connect(tcp.local_addr().unwrap()), TcpStream::connect(tcp.local_addr().unwrap())];
        let _client = UnixStream::connect(&path).unwrap();
        let queues = queues();
        let of_tcp = &queues[&fstat(&tcp).unwrap().st_ino];
        assert_eq!(of_tcp.name, Name::Internet(tcp.local_addr().unwrap()));
        assert_eq!((of_tcp.waiting, of_tcp.refused), (2, Some(0)));
        assert!(of_tcp.limit.is_some_and(|limit| limit > 0));
        let of_unix = &queues[&fstat(&unix).unwrap().st_ino];
        assert_eq!(of_unix.name, Name::Unix(path.as_os_str().as_bytes().to_vec()));
        assert_eq!((of_unix.waiting, of_unix.refused), (1, None));
    }

    #[test]
    fn whatever_the_text_is() {
        crate::random_texts::each_damaged(
            &[&[2; 72], &[&[1, 1, 1, 0][..], &[7; 12], &[8, 0, 0, 0, 47, 98, 0, 0], &[12, 0, 4, 0], &[3; 8]].concat()],
            |text| {
                let _ = (inet_queue(text, true), inet_queue(text, false), unix_queue(text), inet_address(text, true));
                let _ = (0..6).map(|kind| attribute(text, kind)).collect::<Vec<_>>();
            },
        );
    }
}
