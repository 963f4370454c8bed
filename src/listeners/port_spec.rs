//! The grammar of `--port` (S1-S4): `PORT`, `HOST:PORT`, `[IPV6]:PORT`, each with an optional `u` (UDP) before the port
//! and `=FD` after it. It only parses; nothing is resolved or opened.

use std::net::Ipv6Addr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::error::Error;
use crate::perl::{is_space, trim_end, trim_start};

/// One `--port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// Its key in `SERVER_STARTER_PORT`: host and port as typed, but trimmed, and with brackets only around IPv6
    /// addresses.
    pub name: Vec<u8>,
    /// Where to bind.
    pub host: Host,
    /// The number of the port; with 0 the system chooses.
    pub port: u16,
    /// Whether it is a UDP port rather than a TCP port.
    pub is_udp: bool,
    /// The descriptor at which workers expect the socket.
    pub target: Option<TargetFd>,
}

/// Where to bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// No host was given: 0.0.0.0.
    Any,
    /// An IPv6 address; never also IPv4.
    V6(Ipv6Addr),
    /// A name or an IPv4 address in any of the forms of gethostbyname(3).
    Named(Vec<u8>),
}

/// The `=FD` of a port: the descriptor at which workers expect the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFd {
    /// The descriptor.
    pub number: RawFd,
    /// As typed; `SERVER_STARTER_PORT` keeps leading zeros.
    pub text: Vec<u8>,
}

impl PortSpec {
    /// Parses the value of a `--port`.
    ///
    /// # Errors
    /// The original's messages for a text that is not a port, for a host with a colon that is not an IPv6 address, and
    /// for a number that can't be a descriptor's.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let invalid = || Error::rule(&[b"invalid ``port'' value:", text]);
        if let Some(bare) = Tail::parse(text) {
            return Ok(Self {
                name: bare.port.to_vec(),
                host: Host::Any,
                port: bare.port_number().ok_or_else(invalid)?,
                is_udp: bare.is_udp,
                target: bare.target()?,
            });
        }
        // A tail has no colon, so the host ends at the last colon.
        let colon = text.iter().rposition(|&byte| byte == b':').ok_or_else(invalid)?;
        let tail = Tail::parse(&text[colon + 1..]).ok_or_else(invalid)?;
        let host = parse_host(&text[..colon]).ok_or_else(invalid)?;
        let port = tail.port_number().ok_or_else(invalid)?;
        let (host, name) = if host.contains(&b':') {
            let address = str::from_utf8(host).ok().and_then(|literal| literal.parse().ok());
            // The original says this about every host with a colon that inet_pton(3) rejects (S6).
            let address =
                address.ok_or_else(|| Error::rule(&[b"No support for IPv6. Please update Perl (or Perl modules)"]))?;
            (Host::V6(address), [b"[", host, b"]:", tail.port].concat())
        } else {
            (Host::Named(host.to_vec()), [host, b":", tail.port].concat())
        };
        Ok(Self { name, host, port, is_udp: tail.is_udp, target: tail.target()? })
    }
}

/// `/^\s*(?:\[\s*|)([^\]]*)\s*(?:\]\s*|)$/`: the brackets need not match.
fn parse_host(text: &[u8]) -> Option<&[u8]> {
    let text = trim_start(text);
    let text = text.strip_prefix(b"[").map_or(text, trim_start);
    match text.iter().position(|&byte| byte == b']') {
        // QUIRK: white space before the bracket stays part of the host (S2).
        Some(bracket) => text[bracket + 1..].iter().all(|&byte| is_space(byte)).then_some(&text[..bracket]),
        None => Some(text),
    }
}

/// `/^\s*(u?)(\d+)(?:\s*=(\d+))?\s*$/`: what follows the host, or everything if there is no host.
struct Tail<'a> {
    is_udp: bool,
    port: &'a [u8],
    fd: Option<&'a [u8]>,
}

impl<'a> Tail<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let text = trim_end(trim_start(text));
        let (is_udp, text) = match text.strip_prefix(b"u") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let (port, fd) = match text.iter().position(|&byte| byte == b'=') {
            Some(equals) => (trim_end(&text[..equals]), Some(&text[equals + 1..])),
            None => (text, None),
        };
        (is_number(port) && fd.is_none_or(is_number)).then_some(Self { is_udp, port, fd })
    }

    /// None for a port above 65535, which the original truncates (`port-range`).
    fn port_number(&self) -> Option<u16> {
        str::from_utf8(self.port).ok()?.parse().ok()
    }

    fn target(&self) -> Result<Option<TargetFd>, Error> {
        let Some(text) = self.fd else { return Ok(None) };
        let number = str::from_utf8(text).ok().and_then(|digits| digits.parse().ok());
        // A number that doesn't fit a C int can't be a descriptor: this is dup2(2)'s error (S13).
        let number = number.ok_or_else(|| Error::system(&[b"dup2(2) failed(", text, b"): "], Errno::EBADF))?;
        Ok(Some(TargetFd { number, text: text.to_vec() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PortSpec, Error> {
        PortSpec::parse(text.as_bytes())
    }

    #[test]
    fn without_a_host() {
        // text, name, port, UDP, target
        let table = [
            ("21080", "21080", 21080, false, None),
            (" 21080 ", "21080", 21080, false, None),
            ("\n\t21080\n\n", "21080", 21080, false, None),
            ("21080\x0b", "21080", 21080, false, None),
            ("021080", "021080", 21080, false, None),
            ("0", "0", 0, false, None),
            ("65535", "65535", 65535, false, None),
            ("u21080", "21080", 21080, true, None),
            ("21080=5", "21080", 21080, false, Some(("5", 5))),
            ("21080 =5", "21080", 21080, false, Some(("5", 5))),
            ("21080=007", "21080", 21080, false, Some(("007", 7))),
            (" u21080=7 ", "21080", 21080, true, Some(("7", 7))),
        ];
        for (text, name, port, is_udp, target) in table {
            let target = target.map(|(text, number): (&str, _)| TargetFd { number, text: text.into() });
            let expected = PortSpec { name: name.into(), host: Host::Any, port, is_udp, target };
            assert_eq!(parse(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn with_a_host() {
        let localhost = || Host::V6(Ipv6Addr::LOCALHOST);
        let named = |host: &str| Host::Named(host.into());
        let table = [
            ("127.0.0.1:21080", "127.0.0.1:21080", named("127.0.0.1")),
            ("127.0.0.1: 21080", "127.0.0.1:21080", named("127.0.0.1")),
            ("127.0.0.1 :21080", "127.0.0.1 :21080", named("127.0.0.1 ")),
            ("localhost:021080", "localhost:021080", named("localhost")),
            (":21080", ":21080", named("")),
            ("[ ]:21080", ":21080", named("")),
            ("*:21080", "*:21080", named("*")),
            ("foo=bar:21080", "foo=bar:21080", named("foo=bar")),
            ("[127.0.0.1]:21080", "127.0.0.1:21080", named("127.0.0.1")),
            ("[::1]:21080", "[::1]:21080", localhost()),
            ("::1:21080", "[::1]:21080", localhost()),
            ("[::1:21080", "[::1]:21080", localhost()),
            ("::1]:21080", "[::1]:21080", localhost()),
            ("\t [ ::1] :\n 21080 ", "[::1]:21080", localhost()),
            (":::21080", "[::]:21080", Host::V6(Ipv6Addr::UNSPECIFIED)),
        ];
        for (text, name, host) in table {
            let expected = PortSpec { name: name.into(), host, port: 21080, is_udp: false, target: None };
            assert_eq!(parse(text), Ok(expected), "{text:?}");
        }
        let spec = parse("[::1]:u8080=5").unwrap();
        assert_eq!(spec.name, b"[::1]:8080");
        assert!(spec.is_udp && matches!(spec.host, Host::V6(_)));
        let spec = parse("\t [ ::1] : u21080 =9 \n").unwrap();
        assert!(spec.is_udp && spec.target.is_some_and(|target| target.number == 9));
    }

    #[test]
    fn what_is_no_port() {
        let table = [
            "",
            "-",
            "abc",
            "http",
            "=5",
            "21080=",
            "21080=x",
            "21080= 7",
            "U21080",
            "u 21080",
            "+21080",
            "-1",
            "0x50",
            "65536",
            "70000",
            "99999999999999999999",
            "21080,21081",
            "21080 21081",
            "21080;",
            "127.0.0.1:",
            "127.0.0.1:=7",
            "127.0.0.1:-1",
            "127.0.0.1:u 21080",
            "127.0.0.1:65536",
            "[::1]21080",
            "a]b:21080",
            "[::1]]:21080",
            "unix:/tmp/x",
            "２１０８０",
            "21080\u{a0}",
        ];
        for text in table {
            assert_eq!(parse(text), Err(Error::rule(&[b"invalid ``port'' value:", text.as_bytes()])), "{text:?}");
        }
    }

    #[test]
    fn a_colon_in_the_host_makes_it_ipv6() {
        for host in
            ["[ ::1 ]", "[::1%lo]", "[g::1]", "[:]", "127.0.0.1:21080", "http://127.0.0.1", "[00001::]", "[::01.2.3.4]"]
        {
            let error = parse(&format!("{host}:80")).unwrap_err();
            assert_eq!(error.to_string(), "No support for IPv6. Please update Perl (or Perl modules)", "{host:?}");
        }
    }

    #[test]
    fn a_target_that_is_no_int_is_no_descriptor() {
        let error = parse("80=2147483648").unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.exit_code()),
            ("dup2(2) failed(2147483648): Bad file descriptor", 9)
        );
    }
}
