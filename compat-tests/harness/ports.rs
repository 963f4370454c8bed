//! TCP and UDP ports that no other scenario uses.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of the scenario that holds this.
pub struct Port {
    pub number: u16,
    /// An abstract unix socket: like ports, its name is unique in a network namespace, so this also keeps off scenarios
    /// of other test processes.
    _claim: UnixDatagram,
}

impl Port {
    /// A free port, below the range from which the kernel picks ports of outgoing connections, and away from the pids
    /// of this run: a pid that equals a port could not be told from it in a transcript.
    pub fn claim() -> Self {
        let near_our_pids = (5_000..22_000).contains(&process::id());
        let base = if near_our_pids { 22_000 } else { 10_000 };
        let mut candidates = (0..10_000).map(|_| base + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000);
        candidates.find_map(Self::claim_this).expect("a free port")
    }

    fn claim_this(number: u16) -> Option<Self> {
        let name = SocketAddr::from_abstract_name(format!("start_server-compat-{number}")).ok()?;
        let claim = UnixDatagram::bind_addr(&name).ok()?;
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).ok()?;
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, number)).ok()?;
        TcpListener::bind((Ipv6Addr::LOCALHOST, number)).ok()?;
        Some(Self { number, _claim: claim })
    }
}
