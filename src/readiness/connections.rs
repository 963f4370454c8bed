//! Finds out from the kernel which sockets are connections to the listeners.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd};

use libc::{c_int, ino_t};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::listeners::Address;
use crate::proc::{DUMP, UnixSocket, diagnosis_socket, unix_sockets};

/// Where the listeners take connections.
pub(super) struct Connections {
    /// TCP ports.
    ports: Vec<u16>,
    /// Names of unix sockets. A connection has that of its listener.
    names: Vec<Vec<u8>>,
}

impl Connections {
    /// `inodes` are those of the listeners' sockets.
    pub(super) fn to(listeners: &[impl AsFd], inodes: &[ino_t]) -> Self {
        Self {
            ports: listeners.iter().filter_map(|fd| Address::of_listener(fd).ok()??.tcp_port()).collect(),
            names: unix_sockets()
                .filter(|socket| inodes.contains(&socket.inode) && !socket.name.is_empty())
                .map(|socket| socket.name)
                .collect(),
        }
    }

    /// Whether one of the sockets is a connection.
    pub(super) fn have_one_of(&self, sockets: &BTreeSet<ino_t>) -> bool {
        let is_unix_connection =
            |socket: UnixSocket| sockets.contains(&socket.inode) && self.names.contains(&socket.name);
        self.ports.iter().flat_map(|&port| tcp_connections(port)).any(|inode| sockets.contains(&inode))
            || !self.names.is_empty() && unix_sockets().any(is_unix_connection)
    }
}

/// The sockets of all processes that have this port and a peer, by inode; 0 for those that have not been accepted.
fn tcp_connections(port: u16) -> impl Iterator<Item = ino_t> {
    [libc::AF_INET, libc::AF_INET6]
        .into_iter()
        .flat_map(move |family| ask_for_connections(family, port).unwrap_or_default())
}

/// Asks the kernel by `sock_diag(7)`. /proc/net/tcp has the same answer, but also lists all connections that have just
/// ended, which takes a tenth of a second on a busy system.
fn ask_for_connections(family: c_int, port: u16) -> Result<Vec<ino_t>, Errno> {
    let kernel = diagnosis_socket()?;
    send(kernel.as_raw_fd(), &request_for_connections(family, port), MsgFlags::empty())?;
    let mut answer = vec![0; 1 << 16];
    let mut inodes = Vec::new();
    loop {
        let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
        if !read_answer(&answer[..length], &mut inodes) {
            return Ok(inodes);
        }
    }
}

/// `SOCK_DIAG_BY_FAMILY`, the type of the messages in both directions.
const SOCK_DIAG: u16 = 20;

/// An `nlmsghdr` and an `inet_diag_req_v2`.
fn request_for_connections(family: c_int, port: u16) -> [u8; 72] {
    // TCP_ESTABLISHED and TCP_CLOSE_WAIT.
    let states: u32 = 1 << 1 | 1 << 8;
    let mut request = [0; 72];
    request[..4].copy_from_slice(&72_u32.to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG.to_ne_bytes());
    request[6..8].copy_from_slice(&DUMP.to_ne_bytes());
    request[16] = family.to_le_bytes()[0];
    request[17] = libc::IPPROTO_TCP.to_le_bytes()[0];
    request[20..24].copy_from_slice(&states.to_ne_bytes());
    request[24..26].copy_from_slice(&port.to_be_bytes());
    request
}

/// Reads messages, each an `nlmsghdr` and an `inet_diag_msg`. False at the end of the answer, or at an error.
fn read_answer(mut messages: &[u8], inodes: &mut Vec<ino_t>) -> bool {
    while let Some((header, message)) = messages.split_first_chunk::<16>() {
        let &[a, b, c, d, type_0, type_1, ..] = header;
        if u16::from_ne_bytes([type_0, type_1]) != SOCK_DIAG {
            return false;
        }
        let inode = message.get(68..72).and_then(|inode| inode.try_into().ok());
        inodes.extend(inode.map(|inode| ino_t::from(u32::from_ne_bytes(inode))));
        let length = usize::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or(0).max(header.len());
        messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_about_connections() {
        let message = |kind: u16, inode: u32| {
            let mut bytes = [0; 88];
            bytes[..4].copy_from_slice(&88_u32.to_ne_bytes());
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[84..].copy_from_slice(&inode.to_ne_bytes());
            bytes
        };
        let mut inodes = Vec::new();
        assert!(read_answer(&[message(SOCK_DIAG, 1), message(SOCK_DIAG, 2)].concat(), &mut inodes));
        assert!(!read_answer(&[message(SOCK_DIAG, 3), message(3, 4)].concat(), &mut inodes));
        assert!(read_answer(&[0; 15], &mut inodes));
        assert_eq!(inodes, [1, 2, 3]);
    }
}
