//! A server with only `std::net`, and a thread for each connection. On TERM it answers accepted connections, then exits.
//!
//! ```sh
//! cargo build --examples
//! start_server --port=8000 -- target/debug/examples/hello_std
//! ```

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;
use std::{env, error::Error, io, thread};

use nix::sys::signal::{SigSet, Signal};
use server_starter::{ServerSocket, server_ports};

static LEAVING: AtomicBool = AtomicBool::new(false);

fn main() -> Result<(), Box<dyn Error>> {
    let version = env::var("VERSION").unwrap_or_else(|_| "unknown".to_owned());
    // std has no signals, so TERM is blocked and waited for. Threads inherit the mask, so this comes before them.
    let term = SigSet::from(Signal::SIGTERM);
    term.thread_block()?;
    let Some(ServerSocket::Tcp(listener)) = server_ports()?.into_iter().map(|port| port.socket).next() else {
        return Err("start me with --port".into());
    };
    let address = listener.local_addr()?;
    thread::spawn(move || {
        let _ = term.wait();
        LEAVING.store(true, SeqCst);
        // The accept() below looks at the flag after the next connection, so make one. The next worker may get it: a
        // client that sends nothing.
        loop {
            let _ = TcpStream::connect(address);
            thread::sleep(Duration::from_millis(100));
        }
    });
    // The scope waits for all its threads.
    thread::scope(|scope| {
        while !LEAVING.load(SeqCst) {
            let (stream, _) = listener.accept()?;
            scope.spawn(|| answer(stream, &version));
        }
        Ok(())
    })
}

fn answer(mut stream: TcpStream, version: &str) -> io::Result<()> {
    // A silent client must not keep an old worker for ever.
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    for line in BufReader::new(&stream).lines() {
        if line?.is_empty() {
            let body = format!("version {version}\n");
            return write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    }
    Ok(())
}
