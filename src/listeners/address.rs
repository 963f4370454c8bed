//! Where a socket listens or is bound, to tell whether it is the one that an option means.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::socket::{SockType, getsockopt, sockopt};

use crate::error::Error;
use crate::listeners::bind::resolve;
use crate::listeners::port_spec::{Host, PortSpec};

/// The address of a listener.
#[derive(PartialEq, Eq)]
pub(super) enum Address {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Unix(Vec<u8>),
}

impl Address {
    /// None of what neither listens nor is bound to a UDP port.
    pub(super) fn of(fd: &OwnedFd) -> Option<Self> {
        let kind = getsockopt(fd, sockopt::SockType).ok()?;
        let listens = kind == SockType::Stream && getsockopt(fd, sockopt::AcceptConn).ok()?;
        // The standard library asks only what it owns.
        let socket = UdpSocket::from(fd.try_clone().ok()?);
        if let Ok(address) = socket.local_addr() {
            return match kind {
                SockType::Stream if listens => Some(Self::Tcp(address)),
                SockType::Datagram if address.port() != 0 && socket.peer_addr().is_err() => Some(Self::Udp(address)),
                _ => None,
            };
        }
        let address = UnixListener::from(OwnedFd::from(socket)).local_addr().ok()?;
        let path = address.as_pathname().map(|path| path.as_os_str().as_bytes().to_vec());
        path.filter(|_| listens).map(Self::Unix)
    }

    pub(super) fn is_path(&self, path: &Path) -> bool {
        matches!(self, Self::Unix(name) if name == path.as_os_str().as_bytes())
    }
}

/// What a `--port` means.
pub(super) struct Wanted {
    ip: IpAddr,
    port: u16,
    is_udp: bool,
}

impl Wanted {
    /// Looks up the name of the host.
    pub(super) fn of(spec: &PortSpec) -> Result<Self, Error> {
        let ip = match &spec.host {
            Host::Any => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Host::V6(ip) => IpAddr::V6(*ip),
            Host::Named(name) => IpAddr::V4(resolve(name)?),
        };
        Ok(Self { ip, port: spec.port, is_udp: spec.is_udp })
    }

    /// Port 0 is whatever the system has chosen.
    pub(super) fn is(&self, address: &Address) -> bool {
        let (is_udp, there) = match address {
            Address::Tcp(there) => (false, there),
            Address::Udp(there) => (true, there),
            Address::Unix(_) => return false,
        };
        is_udp == self.is_udp && there.ip() == self.ip && (self.port == 0 || there.port() == self.port)
    }
}
