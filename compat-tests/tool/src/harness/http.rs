//! A minimal HTTP client, to see which worker answers.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::transcript::text_of;

/// For a read, before the scenario asks again. The scenario's own deadline would not end a read.
const PATIENCE: Duration = Duration::from_secs(10);

/// The body of the answer to `GET /` on a port of this machine.
pub fn body_from_port(port: u16) -> io::Result<String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    body(stream)
}

pub fn body_from_socket(path: &Path) -> io::Result<String> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    body(stream)
}

fn body(mut stream: impl Read + Write) -> io::Result<String> {
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = text_of(&answer).replace('\r', "");
    Ok(answer.split_once("\n\n").map_or(String::new(), |(_, body)| body.to_owned()))
}
