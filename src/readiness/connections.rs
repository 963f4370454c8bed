//! Finds out from the kernel which sockets are connections to the listeners.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd};

use libc::{c_int, ino_t};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::listeners::Address;
use crate::proc::{DUMP, UnixSocket, diagnosis_socket, unix_sockets};

/// Where the listeners take connections.
pub(super) struct Connections {
    /// TCP ports, and the listeners there.
    ports: BTreeMap<u16, Vec<ino_t>>,
    /// Names of unix sockets. A connection has its listener's.
    names: BTreeMap<Vec<u8>, Vec<ino_t>>,
}

impl Connections {
    /// `inodes` are those of the listeners' sockets.
    pub(super) fn to(listeners: &[impl AsFd], inodes: &[ino_t]) -> Self {
        let mut connections = Self { ports: BTreeMap::new(), names: BTreeMap::new() };
        for (fd, &inode) in listeners.iter().zip(inodes) {
            if let Some(port) = Address::of_listener(fd).ok().flatten().and_then(|address| address.tcp_port()) {
                connections.ports.entry(port).or_default().push(inode);
            }
        }
        let named = unix_sockets().filter(|socket| inodes.contains(&socket.inode) && !socket.name.is_empty());
        named.for_each(|socket| connections.names.entry(socket.name).or_default().push(socket.inode));
        connections
    }

    /// Adds to `found` the listeners to which one of the sockets is a connection, until that `is_enough`. If several
    /// listeners have the same port, each may be meant. The search is incomplete when there is something more urgent.
    pub(super) fn find(
        &self,
        sockets: &BTreeSet<ino_t>,
        is_interrupted: fn() -> bool,
        found: &mut BTreeSet<ino_t>,
        is_enough: impl Fn(&BTreeSet<ino_t>) -> bool,
    ) {
        let families = [libc::AF_INET, libc::AF_INET6].into_iter().filter(|_| !self.ports.is_empty());
        for family in families {
            let _ = self.ask_for_connections(family, is_interrupted, |(port, inode)| {
                if sockets.contains(&inode) {
                    found.extend(self.ports.get(&port).into_iter().flatten());
                }
                is_enough(found)
            });
            if is_enough(found) {
                return;
            }
        }
        if self.names.is_empty() {
            return;
        }
        for UnixSocket { inode, name, .. } in unix_sockets().take_while(|_| !is_interrupted()) {
            if sockets.contains(&inode) {
                found.extend(self.names.get(&name).into_iter().flatten());
            }
            if is_enough(found) {
                return;
            }
        }
    }

    /// Asks the kernel by `sock_diag(7)` once for the sockets of all processes that have a peer, and passes on each
    /// one's port and inode (0 for those that have not been accepted), until that `is_enough`. A request for each
    /// single port would walk through the whole table each time. /proc/net/tcp has the same answer, but also lists all
    /// connections that have just ended, which takes a tenth of a second on a busy system.
    fn ask_for_connections(
        &self,
        family: c_int,
        is_interrupted: fn() -> bool,
        mut is_enough: impl FnMut((u16, ino_t)) -> bool,
    ) -> Result<(), Errno> {
        // If there is only one, the kernel leaves out the others.
        let only_port = self.ports.first_key_value().filter(|_| self.ports.len() == 1).map_or(0, |(&port, _)| port);
        let kernel = diagnosis_socket()?;
        send(kernel.as_raw_fd(), &request_for_connections(family, only_port), MsgFlags::empty())?;
        let mut answer = vec![0; 1 << 16];
        let mut is_over = false;
        while !is_over && !is_interrupted() {
            let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
            if !read_answer(&answer[..length], |found| is_over |= is_enough(found)) {
                break;
            }
        }
        Ok(())
    }
}

/// `SOCK_DIAG_BY_FAMILY`, the type of the messages in both directions.
const SOCK_DIAG: u16 = 20;

/// An `nlmsghdr` and an `inet_diag_req_v2`. Port 0 stands for all.
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

/// Reads messages, each an `nlmsghdr` and an `inet_diag_msg`, and passes on local ports and inodes. False at the end of the
/// answer, or at an error.
fn read_answer(mut messages: &[u8], mut found: impl FnMut((u16, ino_t))) -> bool {
    while let Some((header, message)) = messages.split_first_chunk::<16>() {
        let &[a, b, c, d, type_0, type_1, ..] = header;
        if u16::from_ne_bytes([type_0, type_1]) != SOCK_DIAG {
            return false;
        }
        if let (Some(&port), Some(&inode)) =
            (message.get(4..6).and_then(<[u8]>::first_chunk), message.get(68..72).and_then(<[u8]>::first_chunk))
        {
            found((u16::from_be_bytes(port), u32::from_ne_bytes(inode).into()));
        }
        let length = usize::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or(0).max(header.len());
        messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    true
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use nix::sys::stat::fstat;

    use super::*;

    #[test]
    fn answers_about_connections() {
        let message = |kind: u16, inode: u32| {
            let mut bytes = [0; 88];
            bytes[..4].copy_from_slice(&88_u32.to_ne_bytes());
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[20..22].copy_from_slice(&80_u16.to_be_bytes());
            bytes[84..].copy_from_slice(&inode.to_ne_bytes());
            bytes
        };
        let mut all = Vec::new();
        assert!(read_answer(&[message(SOCK_DIAG, 1), message(SOCK_DIAG, 2)].concat(), |found| all.push(found)));
        assert!(!read_answer(&[message(SOCK_DIAG, 3), message(3, 4)].concat(), |found| all.push(found)));
        assert!(read_answer(&[0; 15], |found| all.push(found)));
        assert_eq!(all, [(80, 1), (80, 2), (80, 3)]);
    }

    /// Among many listeners, unless there is something more urgent.
    #[test]
    fn one_question_for_all_ports() {
        let listeners: Vec<_> = (0..20).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let inode = |fd: &TcpStream| fstat(fd).unwrap().st_ino;
        let inodes: Vec<_> = listeners.iter().map(|listener| fstat(listener).unwrap().st_ino).collect();
        let found = |listeners: &[TcpListener], inodes: &[ino_t], socket, is_interrupted| {
            let mut found = BTreeSet::new();
            let sockets = BTreeSet::from([socket]);
            Connections::to(listeners, inodes).find(&sockets, is_interrupted, &mut found, |found| !found.is_empty());
            found.into_iter().collect::<Vec<_>>()
        };
        let client = TcpStream::connect(listeners[13].local_addr().unwrap()).unwrap();
        assert!(found(&listeners, &inodes, inode(&client), || false).is_empty());
        let (accepted, _) = listeners[13].accept().unwrap();
        let accepted = inode(&accepted);
        assert_eq!(found(&listeners, &inodes, accepted, || false), [inodes[13]]);
        assert!(found(&listeners, &inodes, accepted, || true).is_empty());
        assert_eq!(found(&listeners[13..14], &inodes[13..14], accepted, || false), [inodes[13]]);
        assert!(found(&listeners[14..], &inodes[14..], accepted, || false).is_empty());
    }

    #[test]
    fn whatever_the_text_is() {
        crate::random_texts::each_damaged(
            &[&[88, 0, 0, 0, 20, 0], &[88; 88], &[&[88, 0, 0, 0, 20, 0, 0, 0][..], &[1; 80]].concat()],
            |text| {
                read_answer(text, drop);
            },
        );
    }
}
