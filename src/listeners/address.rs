//! What a listener is: family, type, and where it listens. Every difference between kinds of listeners is a match in
//! this file: how one is opened, found, named, kept and made to listen again.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{self, UnixListener};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage, bind, getpeername,
    getsockname, getsockopt, setsockopt, socket, sockopt,
};

use crate::error::Error;
use crate::listeners::port_spec::{Host, PortSpec};
use crate::sys;

/// For a socket that is of no kind below, or not open to clients.
pub(super) const IS_NO_LISTENER: &[u8] = b" is neither a listening TCP or unix stream socket nor a bound UDP socket";

/// The address of a listener: of an open one, or of one that an option requests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    /// A stream socket, by its path. An abstract name begins with a NUL, as no path does; no option requests one.
    Unix(Vec<u8>),
}

/// What an option requests.
impl Address {
    /// The address that a `--port` requests. Looks up the host name.
    pub(super) fn of_port(spec: &PortSpec) -> Result<Self, Error> {
        let ip = match &spec.host {
            Host::Any => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Host::V6(ip) => IpAddr::V6(*ip),
            Host::Named(name) => IpAddr::V4(resolve(name)?),
        };
        let address = SocketAddr::new(ip, spec.port);
        Ok(if spec.is_udp { Self::Udp(address) } else { Self::Tcp(address) })
    }

    /// The address that a `--path` requests.
    pub(super) fn of_path(path: &Path) -> Self {
        Self::Unix(path.as_os_str().as_bytes().to_vec())
    }

    /// Whether this, which an option requests, is the address of an open socket. Port 0 is whatever the system has
    /// chosen.
    pub(super) fn asks_for(&self, open: &Self) -> bool {
        match (self, open) {
            (Self::Tcp(wanted), Self::Tcp(open)) | (Self::Udp(wanted), Self::Udp(open)) => {
                wanted.ip() == open.ip() && (wanted.port() == 0 || wanted.port() == open.port())
            }
            _ => self == open,
        }
    }

    /// socket(2), and the options that come before bind(2): `SO_REUSEADDR`, for IPv6 `IPV6_V6ONLY` (S10). The options
    /// cannot fail the start (S8).
    pub(super) fn socket(&self) -> Result<OwnedFd, Errno> {
        let (family, kind) = match self {
            Self::Tcp(address) => (family(address), SockType::Stream),
            Self::Udp(address) => (family(address), SockType::Datagram),
            Self::Unix(_) => (AddressFamily::Unix, SockType::Stream),
        };
        // No close-on-exec: `open` says why.
        let fd = socket(family, kind, SockFlag::empty(), None)?;
        if family != AddressFamily::Unix {
            let _ = setsockopt(&fd, sockopt::ReuseAddr, &true);
        }
        if family == AddressFamily::Inet6 {
            let _ = setsockopt(&fd, sockopt::Ipv6V6Only, &true);
        }
        Ok(fd)
    }

    /// bind(2).
    pub(super) fn bind(&self, fd: &OwnedFd) -> Result<(), Errno> {
        match self {
            // Not as a `SockaddrStorage`, which is longer than some systems take.
            Self::Tcp(SocketAddr::V4(address)) | Self::Udp(SocketAddr::V4(address)) => {
                bind(fd.as_raw_fd(), &SockaddrIn::from(*address))
            }
            Self::Tcp(SocketAddr::V6(address)) | Self::Udp(SocketAddr::V6(address)) => {
                bind(fd.as_raw_fd(), &SockaddrIn6::from(*address))
            }
            Self::Unix(path) => sys::bind_unix(fd, path),
        }
    }
}

/// What a socket is.
impl Address {
    /// The address of a socket, whatever its state. None if it is not of a listener's kind.
    ///
    /// # Errors
    /// If it is not a socket.
    pub(super) fn of(fd: impl AsFd) -> io::Result<Option<Self>> {
        let fd = fd.as_fd();
        let kind = getsockopt(&fd, sockopt::SockType)?;
        let Ok(address) = getsockname::<SockaddrStorage>(fd.as_raw_fd()) else { return Ok(None) };
        Ok(match kind {
            SockType::Stream if address.family() == Some(AddressFamily::Unix) => unix_name(fd)?.map(Self::Unix),
            SockType::Stream => internet_address(&address).map(Self::Tcp),
            SockType::Datagram => internet_address(&address).map(Self::Udp),
            _ => None,
        })
    }

    /// The address of a socket that is open to clients: it listens, or is bound to a UDP port. For sockets that were
    /// handed over on purpose: a connected UDP socket and an abstract name are taken, too.
    ///
    /// # Errors
    /// If it is not a socket.
    pub(crate) fn of_listener(fd: impl AsFd) -> io::Result<Option<Self>> {
        let Some(address) = Self::of(&fd)? else { return Ok(None) };
        let is_open = match &address {
            Self::Udp(address) => address.port() != 0,
            Self::Tcp(_) | Self::Unix(_) => getsockopt(&fd, sockopt::AcceptConn)?,
        };
        Ok(is_open.then_some(address))
    }

    /// The address of a socket that an option may have opened, for sockets among which listeners are searched: open to
    /// clients, but without an abstract name, and for UDP without a peer. A connected UDP socket is a client's, or no
    /// longer useful as a listener: it receives only from its peer.
    pub(super) fn of_opened(fd: impl AsFd) -> Option<Self> {
        let address = Self::of_listener(&fd).ok()??;
        let is_opened = match &address {
            Self::Tcp(_) => true,
            Self::Udp(_) => getpeername::<SockaddrStorage>(fd.as_fd().as_raw_fd()).is_err(),
            Self::Unix(name) => name.first() != Some(&0),
        };
        is_opened.then_some(address)
    }

    /// The name that `--port` or `--path` would have given it. An abstract one is written `@NAME`, as everywhere; a NUL
    /// in the name becomes another `@`, as in /proc/net/unix.
    pub(crate) fn name(&self) -> Vec<u8> {
        match self {
            Self::Tcp(address) | Self::Udp(address) => internet_name(address).into(),
            Self::Unix(name) => name.iter().map(|&byte| if byte == 0 { b'@' } else { byte }).collect(),
        }
    }

    /// Precedes its name where names of all kinds stand side by side: a TCP and a UDP port may have the same.
    pub(super) fn prefix(&self) -> &'static [u8] {
        if matches!(self, Self::Udp(_)) { b"udp-" } else { b"" }
    }

    /// Whether clients connect to it, so that it needs listen(2).
    pub(super) fn takes_connections(&self) -> bool {
        !matches!(self, Self::Udp(_))
    }

    /// Whether it can be made to listen again after a shutdown(2). A unix socket stays shut, and one for UDP never
    /// listened.
    pub(super) fn can_listen_again(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// The port at which the kernel knows its connections, if it is one for TCP.
    pub(crate) fn tcp_port(&self) -> Option<u16> {
        if let Self::Tcp(address) = self { Some(address.port()) } else { None }
    }
}

fn resolve(name: &[u8]) -> Result<Ipv4Addr, Error> {
    // A plain address needs no resolver, which would first read its files. The resolver has other forms (S7).
    if let Some(address) = str::from_utf8(name).ok().and_then(|text| text.parse().ok()) {
        return Ok(address);
    }
    sys::gethostbyname(&sys::c_string(name))
        .map_err(|errno| Error::System { sentence: [b"failed to resolve host:", name, b":"].concat(), errno })
}

fn family(address: &SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn internet_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|&address| SocketAddr::V4(address.into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|&address| SocketAddr::V6(address.into())))
}

fn internet_name(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) if address.ip().is_unspecified() => address.port().to_string(),
        SocketAddr::V4(address) => address.to_string(),
        // Without the scope, which --port doesn't support.
        SocketAddr::V6(address) => format!("[{}]:{}", address.ip(), address.port()),
    }
}

/// The path or abstract name of a unix socket. From the standard library, with a duplicate, since it wants ownership:
/// nix doesn't accept a path of maximal length (U5).
fn unix_name(fd: BorrowedFd) -> io::Result<Option<Vec<u8>>> {
    let address = UnixListener::from(fd.try_clone_to_owned()?).local_addr()?;
    let path = address.as_pathname().map(|path| path.as_os_str().as_bytes().to_vec());
    Ok(path.or_else(|| abstract_name(&address)))
}

fn abstract_name(address: &net::SocketAddr) -> Option<Vec<u8>> {
    sys::abstract_name(address).map(|name| [b"\0", name].concat())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{Shutdown, shutdown};

    use super::*;

    fn address(fd: impl AsFd) -> Option<Address> {
        Address::of(fd).unwrap()
    }

    fn listener(fd: impl AsFd) -> Option<Address> {
        Address::of_listener(fd).unwrap()
    }

    #[test]
    fn a_listener_has_an_address_in_every_state() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("[::1]:0").unwrap());
        let unix = UnixListener::bind(&path).unwrap();
        let expected =
            [Address::Tcp(tcp.local_addr().unwrap()), Address::Udp(udp.local_addr().unwrap()), Address::of_path(&path)];
        let sockets: [OwnedFd; 3] = [tcp.into(), udp.into(), unix.into()];
        for (fd, expected) in sockets.into_iter().zip(expected) {
            assert_eq!(address(&fd).as_ref(), Some(&expected));
            assert_eq!(listener(&fd).as_ref(), Some(&expected));
            assert_eq!(Address::of_opened(&fd).as_ref(), Some(&expected));
            assert!(expected.asks_for(&expected));
            if expected.takes_connections() {
                shutdown(fd.as_raw_fd(), Shutdown::Both).unwrap();
            }
            let is_the_same_kind = |is: &Address| std::mem::discriminant(is) == std::mem::discriminant(&expected);
            assert!(address(&fd).as_ref().is_some_and(is_the_same_kind));
            assert_eq!(expected.can_listen_again(), matches!(expected, Address::Tcp(_)));
        }
    }

    #[test]
    fn what_is_handed_over_counts_where_what_is_found_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
        connected.connect(connected.local_addr().unwrap()).unwrap();
        assert_eq!(listener(&connected), Some(Address::Udp(connected.local_addr().unwrap())));
        assert_eq!(Address::of_opened(&connected), None);

        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        assert!(address(&client).is_some() && listener(&client).is_none() && Address::of_opened(&client).is_none());
        assert_eq!(address(UnixStream::pair().unwrap().0), None);
        let file = std::fs::File::open(dir.path()).unwrap();
        assert!(Address::of(&file).is_err() && Address::of_listener(&file).is_err());
        assert_eq!(Address::of_opened(&file), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn no_option_asks_for_an_abstract_name() {
        use std::os::linux::net::SocketAddrExt;

        let name = format!("start_server of address {}", std::process::id());
        let socket = UnixListener::bind_addr(&net::SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let address = listener(&socket).unwrap();
        assert_eq!(address.name(), format!("@{name}").into_bytes());
        assert!(!Address::of_path(Path::new(&format!("@{name}"))).asks_for(&address));
        assert_eq!(Address::of_opened(&socket), None);
    }

    #[test]
    fn what_a_port_asks_for() {
        let asked = |text: &str| Address::of_port(&PortSpec::parse(text.as_bytes()).unwrap()).unwrap();
        let tcp = |address: &str| Address::Tcp(address.parse().unwrap());
        assert_eq!(asked("80"), tcp("0.0.0.0:80"));
        assert_eq!(asked("127.0.0.1:80"), tcp("127.0.0.1:80"));
        assert_eq!(asked("[::1]:u80"), Address::Udp("[::1]:80".parse().unwrap()));
        assert!(asked("0").asks_for(&tcp("0.0.0.0:80")) && asked("80").asks_for(&tcp("0.0.0.0:80")));
        for other in ["81", "u80", "127.0.0.1:80", "[::]:80"] {
            assert!(!asked(other).asks_for(&tcp("0.0.0.0:80")), "{other}");
        }
    }
}
