//! A server that knows nothing about `start_server`: the `listenfd` crate takes the listener that `--listen-fds` passes, as it
//! takes that of a systemd socket unit. On TERM it stops accepting, answers accepted connections, and exits.
//!
//! ```sh
//! cargo build --examples
//! start_server --port=8000 --listen-fds --ready=accepting -- target/debug/examples/hello_listenfd
//! ```

use std::time::Duration;
use std::{env, error::Error, io};

use listenfd::ListenFd;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let version = env::var("VERSION").unwrap_or_else(|_| "unknown".to_owned());
    let mut term = signal(SignalKind::terminate())?;
    let Some(listener) = ListenFd::from_env().take_tcp_listener(0)? else {
        return Err("start me with --listen-fds and --port".into());
    };
    // All workers share the listener, so this is set for all of them: don't mix with workers that block in accept().
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;

    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A silent client must not keep an old worker for ever.
                connections.spawn(timeout(Duration::from_secs(60), answer(accepted?.0, version.clone())));
            }
            Some(_) = connections.join_next() => (),
            _ = term.recv() => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn answer(stream: TcpStream, version: String) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        if line.trim_end().is_empty() {
            let body = format!("version {version}\n");
            let answer = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            return stream.write_all(answer.as_bytes()).await;
        }
        line.clear();
    }
    Ok(())
}
