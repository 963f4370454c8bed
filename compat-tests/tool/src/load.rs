//! The load: a few clients that ask with short pauses, and note each request that was not answered properly.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The pause between two requests of a client: short enough to meet every moment of a restart, and long enough not to
/// overload the machine.
const PAUSE: Duration = Duration::from_millis(10);
/// How often a client uses a connection. Starman never closes one that is constantly used, not even when it was told to
/// leave.
const REQUESTS_OF_A_CONNECTION: u64 = 50;
/// An answer that takes longer is lost. Only a server that hangs is that slow.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub enum Address {
    Port(u16),
    Path(PathBuf),
}

impl Address {
    /// Makes one request on a new connection, and returns the version that answered. Neither the connection nor any
    /// part of the answer may take longer than `patience`.
    pub fn ask(&self, patience: Duration) -> io::Result<u64> {
        let mut connection = Connection { stream: self.connect(patience)?, oldest: 0, requests: 0 };
        connection.ask("/", false).map(|answer| answer.version).map_err(|failure| failure.error)
    }

    fn connect(&self, patience: Duration) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Port(port) => {
                let stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, *port).into(), patience)?;
                stream.set_read_timeout(Some(patience))?;
                Box::new(stream)
            }
            Self::Path(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(patience))?;
                Box::new(stream)
            }
        })
    }
}

/// How a client asks.
#[derive(Clone, Copy, PartialEq)]
pub enum Client {
    /// Each request on a new connection.
    New,
    /// Many requests on one connection, as long as the worker keeps it open.
    KeepAlive,
    /// As `New`, with requests that take the worker two seconds.
    Slow,
}

/// The outcome of all requests.
#[derive(Clone, Default)]
pub struct Figures {
    pub answered: u64,
    /// Those of them on a kept connection.
    pub on_kept: u64,
    /// Requests on a kept connection that was closed before a byte of the answer came. Kept connections end like that,
    /// and a client asks again on a new one (RFC 9112, 9.3.1). Such a request is only lost if the second try is.
    pub asked_again: u64,
    /// The reason for each request without a complete answer, except for those in `dropped`.
    pub lost: Vec<String>,
    /// The reason for each first request on a connection that the worker closed without a byte of the answer.
    pub dropped: Vec<String>,
    /// Answers of a version that was retired before the connection was made.
    pub stale: Vec<String>,
    pub versions: BTreeSet<u64>,
    /// The time from a request's first attempt to connect to the end of its answer.
    pub longest_wait: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answers of {} versions, {} of them ", self.answered, self.versions.len(), self.on_kept)?;
        write!(f, "on kept connections, {} asked again, {} lost, ", self.asked_again, self.lost.len())?;
        write!(f, "{} dropped, {} stale, ", self.dropped.len(), self.stale.len())?;
        write!(f, "longest wait {:.2} s", self.longest_wait.as_secs_f64())?;
        let bad = self.lost.iter().chain(&self.dropped).chain(&self.stale);
        bad.take(5).try_for_each(|what| write!(f, "\n    {what}"))
    }
}

/// The clients, which ask until `end`.
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    address: Address,
    is_over: AtomicBool,
    /// All versions before this one are retired.
    oldest: AtomicU64,
    figures: Mutex<Figures>,
}

impl Load {
    pub fn begin(address: Address, clients: &[Client]) -> Self {
        let shared = Shared {
            address,
            is_over: AtomicBool::new(false),
            oldest: AtomicU64::new(0),
            figures: Mutex::new(Figures::default()),
        };
        let shared = Arc::new(shared);
        let begin = |&client: &Client| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.ask(client))
        };
        Self { clients: clients.iter().map(begin).collect(), shared }
    }

    /// No worker of a version before this one is left.
    pub fn retire_before(&self, version: u64) {
        self.shared.oldest.store(version, SeqCst);
    }

    pub fn figures(&self) -> Figures {
        self.shared.figures.lock().expect("no client panics with the figures").clone()
    }

    pub fn has_seen(&self, version: u64) -> bool {
        self.figures().versions.contains(&version)
    }

    /// Waits until every client has finished its request.
    pub fn end(mut self) -> Figures {
        self.shared.is_over.store(true, SeqCst);
        for client in self.clients.drain(..) {
            client.join().expect("a client does not panic");
        }
        self.figures()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.is_over.store(true, SeqCst);
    }
}

/// The clients of a UDP port. They ask again and again, and panic if a question isn't answered.
pub struct Questions {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<thread::JoinHandle<()>>,
}

impl Questions {
    pub fn begin(port: u16) -> Self {
        let (is_over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let client = || {
            let (is_over, answered) = (is_over.clone(), answered.clone());
            thread::spawn(move || {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
                while !is_over.load(SeqCst) {
                    socket.send(b"?").unwrap();
                    let mut answer = [0; 100];
                    let length = socket.recv(&mut answer).expect("an answer to each question");
                    assert!(answer[..length].starts_with(b"version "));
                    answered.fetch_add(1, SeqCst);
                    thread::sleep(Duration::from_millis(5));
                }
            })
        };
        let clients = vec![client(), client()];
        Self { is_over, answered, clients }
    }

    pub fn end(self) -> u64 {
        self.is_over.store(true, SeqCst);
        self.clients.into_iter().for_each(|client| client.join().unwrap());
        self.answered.load(SeqCst)
    }
}

impl Shared {
    fn ask(&self, client: Client) {
        let path = if client == Client::Slow { "/slow" } else { "/" };
        let keep = client == Client::KeepAlive;
        let mut kept: Option<Connection> = None;
        while !self.is_over.load(SeqCst) {
            let mut is_again = false;
            let begin = Instant::now();
            let outcome = loop {
                let mut connection = match kept.take().map_or_else(|| self.connect(), Ok) {
                    Ok(connection) => connection,
                    Err(error) => break Err(Failure { was_silent: false, error }),
                };
                match connection.ask(path, keep) {
                    Ok(answer) => break Ok((connection, answer)),
                    Err(Failure { was_silent: true, .. }) if connection.requests > 1 => is_again = true,
                    Err(failure) => break Err(failure),
                }
            };
            let waited = begin.elapsed();
            let mut figures = self.figures.lock().expect("no client panics with the figures");
            figures.asked_again += u64::from(is_again);
            match outcome {
                Ok((connection, answer)) => {
                    figures.answered += 1;
                    figures.on_kept += u64::from(connection.requests > 1);
                    figures.versions.insert(answer.version);
                    figures.longest_wait = figures.longest_wait.max(waited);
                    if answer.version < connection.oldest {
                        figures.stale.push(format!("version {} after {}", answer.version, connection.oldest));
                    }
                    let is_kept = keep && answer.is_kept && connection.requests < REQUESTS_OF_A_CONNECTION;
                    kept = Some(connection).filter(|_| is_kept);
                }
                Err(failure) if failure.was_silent => figures.dropped.push(failure.error.to_string()),
                Err(failure) => figures.lost.push(failure.error.to_string()),
            }
            drop(figures);
            thread::sleep(PAUSE);
        }
    }

    fn connect(&self) -> io::Result<Connection> {
        // ORDER: a version that is retired after this may still answer.
        let oldest = self.oldest.load(SeqCst);
        let stream = self.address.connect(PATIENCE)?;
        Ok(Connection { stream, oldest, requests: 0 })
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

struct Connection {
    stream: Box<dyn Stream>,
    /// The oldest version that may answer.
    oldest: u64,
    requests: u64,
}

struct Answer {
    version: u64,
    is_kept: bool,
}

struct Failure {
    /// The worker closed the connection without a byte of the answer.
    was_silent: bool,
    error: io::Error,
}

impl Connection {
    fn ask(&mut self, path: &str, keep: bool) -> Result<Answer, Failure> {
        self.requests += 1;
        let mut answer = Vec::new();
        self.exchange(path, keep, &mut answer).map_err(|error| {
            // A timeout doesn't mean that the connection was closed.
            let is_closed = !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            Failure { was_silent: answer.is_empty() && is_closed, error }
        })
    }

    fn exchange(&mut self, path: &str, keep: bool, answer: &mut Vec<u8>) -> io::Result<Answer> {
        let connection = if keep { "keep-alive" } else { "close" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n");
        self.stream.write_all(request.as_bytes())?;
        let mut buffer = [0; 1024];
        loop {
            if let Some(answer) = parse(answer)? {
                return Ok(answer);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    let what = format!("closed after {:?}", String::from_utf8_lossy(answer));
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, what));
                }
                Ok(length) => answer.extend(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
    }
}

/// None if there is more to come.
fn parse(answer: &[u8]) -> io::Result<Option<Answer>> {
    let wrong = |text: &str| io::Error::new(ErrorKind::InvalidData, format!("not an answer: {text:?}"));
    let text = str::from_utf8(answer).map_err(|_| wrong("no UTF-8"))?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let head = head.to_ascii_lowercase();
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(wrong(text));
    }
    let headers: Vec<(&str, &str)> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim())).collect();
    let header = |wanted: &str| headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    let length: usize = header("content-length").and_then(|length| length.parse().ok()).ok_or_else(|| wrong(text))?;
    if body.len() < length {
        return Ok(None);
    }
    let version = body.strip_prefix("version ").and_then(|version| version.trim_end().parse().ok());
    let is_kept = match header("connection") {
        Some(connection) => connection == "keep-alive",
        None => status.starts_with("http/1.1"),
    };
    Ok(Some(Answer { version: version.ok_or_else(|| wrong(text))?, is_kept }))
}
