//! The listeners of another process, as far as its options tell what they are: `--take-over`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::socket::{SockType, getsockopt, sockopt};

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::listeners::bind::resolve;
use crate::listeners::port_spec::{Host, PortSpec};
use crate::listeners::{Listener, Listeners};
use crate::options::Options;
use crate::state::State;

/// A socket of another process: its number there, and a descriptor of it here.
pub(crate) struct Foreign {
    pub(crate) number: RawFd,
    pub(crate) fd: OwnedFd,
}

/// Where a socket listens, or is bound.
#[derive(PartialEq, Eq)]
enum Address {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Unix(Vec<u8>),
}

/// Finds for each listener of `options` the one among `sockets` that is it, and adds them to `state`. `file`: of a path, as
/// the other process sees it. Those that are no listeners are left alone.
///
/// # Errors
/// If there is one without the other.
pub(crate) fn adopt(
    options: &Options,
    sockets: Vec<Foreign>,
    file: impl Fn(&Path) -> Option<FileId>,
    state: &mut State,
) -> Result<Listeners, Error> {
    let mut left: Vec<(Address, Foreign)> =
        sockets.into_iter().filter_map(|socket| Some((address_of(&socket.fd)?, socket))).collect();
    left.sort_by_key(|(_, socket)| socket.number);
    let mut listeners = Listeners::default();
    let mut take = |name: &[u8], fd_text: Option<&[u8]>, state: &mut State, is_it: &dyn Fn(&Address) -> bool| {
        let Some(index) = left.iter().position(|(address, _)| is_it(address)) else {
            return Err(Error::rule(&[b"it has no listener for ", name]));
        };
        let (_, socket) = left.remove(index);
        let number = socket.number.to_string().into_bytes();
        let listener = Listener { fd_text: fd_text.map_or(number, <[u8]>::to_vec), ..Listener::new(name, socket.fd) };
        state.add("listener", &(socket.number, listener.name.clone(), listener.fd_text.clone(), None::<Vec<u8>>));
        listeners.entries.push(listener);
        Ok(())
    };
    for port in &options.ports {
        let spec = PortSpec::parse(port.as_bytes())?;
        let ip = match &spec.host {
            Host::Any => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Host::V6(ip) => IpAddr::V6(*ip),
            Host::Named(name) => IpAddr::V4(resolve(name)?),
        };
        let text = spec.target.as_ref().map(|target| target.text.as_slice());
        take(&spec.name, text, state, &|address| match address {
            Address::Tcp(there) => !spec.is_udp && is_at(there, ip, spec.port),
            Address::Udp(there) => spec.is_udp && is_at(there, ip, spec.port),
            Address::Unix(_) => false,
        })?;
    }
    for path in &options.paths {
        let name = path.as_os_str().as_bytes();
        take(name, None, state, &|address| *address == Address::Unix(name.to_vec()))?;
        // A file that is gone, or somebody else's, is not to be removed.
        if let Some((device, inode)) = file(path).map(FileId::numbers) {
            state.add("socket-file", &(name.to_vec(), device, inode));
        }
    }
    match left.first() {
        None => Ok(listeners),
        Some((_, socket)) => {
            let sentence = format!("file descriptor {} listens, and no option tells of it", socket.number);
            Err(Error::Rule(sentence.into()))
        }
    }
}

/// Port 0 is whatever the system has chosen.
fn is_at(address: &SocketAddr, ip: IpAddr, port: u16) -> bool {
    address.ip() == ip && (port == 0 || address.port() == port)
}

/// None of what neither listens nor is bound to a UDP port.
fn address_of(fd: &OwnedFd) -> Option<Address> {
    let kind = getsockopt(fd, sockopt::SockType).ok()?;
    let listens = kind == SockType::Stream && getsockopt(fd, sockopt::AcceptConn).ok()?;
    // The standard library asks only what it owns.
    let socket = UdpSocket::from(fd.try_clone().ok()?);
    if let Ok(address) = socket.local_addr() {
        return match kind {
            SockType::Stream if listens => Some(Address::Tcp(address)),
            SockType::Datagram if address.port() != 0 && socket.peer_addr().is_err() => Some(Address::Udp(address)),
            _ => None,
        };
    }
    let address = UnixListener::from(OwnedFd::from(socket)).local_addr().ok()?;
    let path = address.as_pathname().map(|path| path.as_os_str().as_bytes().to_vec());
    path.filter(|_| listens).map(Address::Unix)
}
