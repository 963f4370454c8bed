//! TCP and UDP ports that no other scenario uses.

use std::fs;
use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of the scenario that holds this.
pub struct Port {
    pub number: u16,
    /// An abstract unix socket. Like a port, its name is unique in a network namespace, so this also keeps scenarios of
    /// other test processes away.
    _claim: UnixDatagram,
}

impl Port {
    /// A free port, outside the range from which the kernel picks ports for outgoing connections, and away from the
    /// pids of this run, as a transcript can't tell a pid from an equal port. Many machines have no pids above 32768.
    pub fn claim() -> Self {
        let near_our_pids = (40_000..66_000).contains(&process::id());
        let base = if near_our_pids { 10_000 } else { 61_000 };
        let mut candidates = (0..4_500).map(|_| base + NEXT.fetch_add(1, Ordering::Relaxed) % 4_500);
        candidates.find_map(Self::claim_this).expect("a free port")
    }

    fn claim_this(number: u16) -> Option<Self> {
        let name = abstract_address(&format!("start_server-compat-{number}")).ok()?;
        let claim = UnixDatagram::bind_addr(&name).ok()?;
        (!is_in_use(number)).then_some(Self { number, _claim: claim })
    }
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &str) -> io::Result<SocketAddr> {
    <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
}

/// Scenarios run on Linux alone.
#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &str) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether a socket has this port. This opens none to find out, as a process that another thread has just forked would
/// hold it a moment longer.
fn is_in_use(number: u16) -> bool {
    ["tcp", "tcp6", "udp", "udp6"].iter().any(|table| {
        let sockets = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        let mut addresses = sockets.lines().filter_map(|line| line.split_whitespace().nth(1));
        addresses.any(|address| address.ends_with(&format!(":{number:04X}")))
    })
}
