//! A server on tokio and hyper. On TERM it stops accepting, answers on the connections it has, closes idle ones, and
//! exits. `/slow` takes two seconds, to show that.
//!
//! ```sh
//! cargo build --examples
//! start_server --port=8000 -- target/debug/examples/hello_hyper
//! ```

use std::time::Duration;
use std::{env, error::Error, pin::pin};

use hyper::server::conn::http1;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use server_starter::{ServerSocket, server_ports};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let version = env::var("VERSION").unwrap_or_else(|_| "unknown".to_owned());
    let mut term = signal(SignalKind::terminate())?;
    let Some(ServerSocket::Tcp(listener)) = server_ports()?.into_iter().map(|port| port.socket).next() else {
        return Err("start me with --port".into());
    };
    // All workers share the listener, so this is set for all of them: don't mix with workers that block in accept().
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;

    // Each connection holds a receiver: the sender tells them to leave, and learns when all have left.
    let (leave, leaving) = watch::channel(());
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                tokio::spawn(serve(accepted?.0, version.clone(), leaving.clone()));
            }
            _ = term.recv() => break,
        }
    }
    drop((listener, leaving));
    let _ = leave.send(());
    leave.closed().await;
    Ok(())
}

async fn serve(stream: TcpStream, version: String, mut leaving: watch::Receiver<()>) {
    // graceful_shutdown() closes a connection from which nothing was read yet, even with a request on its way. So hyper
    // gets it when the first byte has arrived. (axum::serve() loses such requests.)
    let mut stream = BufReader::new(stream);
    if !matches!(timeout(Duration::from_secs(60), stream.fill_buf()).await, Ok(Ok([_, ..]))) {
        return;
    }
    let service = service_fn(|request: Request<Incoming>| {
        let answer = format!("version {version}\n");
        async move {
            if request.uri().path() == "/slow" {
                sleep(Duration::from_secs(2)).await;
            }
            Ok::<_, hyper::Error>(Response::new(answer))
        }
    });
    let mut connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // ORDER: hyper looks at the first byte before it is told to leave.
        biased;
        _ = connection.as_mut() => return,
        _ = leaving.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
