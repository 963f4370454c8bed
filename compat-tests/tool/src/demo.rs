//! README's picture: what clients see of a good deploy, a broken one and a repair, with four ways to restart a server.

mod picture;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::{Port, Programs, directory, end_all_in, send};
use crate::load::Address;

/// The time between two requests to a row.
const PERIOD: Duration = Duration::from_micros(12_500);
const LENGTH: Duration = Duration::from_secs(16);
/// Clients treat a slower answer as a failure.
const PATIENCE: Duration = Duration::from_secs(3);
const LATE: Duration = Duration::from_millis(500);
/// The first version answers within this time, however busy the machine is.
const START: Duration = Duration::from_secs(60);

const APP: &str = include_str!("../../../perl-fixtures/demo_app.pl");

struct Deploy {
    at: Duration,
    version: &'static str,
    title: &'static str,
}

/// The application needs 1.5 seconds to load.
const DEPLOYS: [Deploy; 3] = [
    Deploy { at: Duration::from_secs(2), version: "2", title: "deploy of version 2" },
    Deploy { at: Duration::from_millis(5500), version: "broken", title: "deploy of a broken version" },
    Deploy { at: Duration::from_millis(11_500), version: "3", title: "deploy of version 3" },
];

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Answered { version: u64, is_late: bool },
    Failed,
}

struct Request {
    /// The picture shows a request when it was due, as a busy machine is late with some.
    due: Duration,
    outcome: Outcome,
}

/// The outcome of the requests to each row.
pub struct Demo {
    rows: Vec<Seen>,
}

struct Seen {
    name: &'static str,
    requests: Vec<Request>,
    /// Exit codes of `--restart`.
    codes: Vec<Option<i32>>,
}

/// A claim of README, and whether it is true.
pub struct Claim {
    pub text: &'static str,
    pub is_true: bool,
}

/// One way to restart a server.
struct Row {
    name: &'static str,
    directory: PathBuf,
    port: Port,
    running: Running,
    restarts: Vec<Child>,
}

enum Running {
    /// The server itself. The next one starts when this one has ended.
    Server(Option<JoinHandle<Child>>),
    /// The superdaemon.
    Hup(Child),
    /// The superdaemon, and the program to run with `--restart`.
    Restart(Child, PathBuf),
}

impl Demo {
    /// Takes 20 seconds, times `slowness`. The application's own time doesn't change, so that even on a busy machine, a
    /// request that waits can be told from one that is lost.
    pub fn run(programs: &Programs, slowness: u32) -> Self {
        let top = directory().expect("a temporary directory");
        fs::write(top.path().join("app.pl"), APP).expect("the application");
        let mut rows = rows(programs, &top);
        for row in &rows {
            row.wait_until_it_answers();
        }
        let (sender, receiver) = mpsc::channel();
        ask_and_deploy(&mut rows, &sender, slowness);
        drop(sender);
        let mut seen: Vec<Seen> = rows.into_iter().map(Row::end).collect();
        for (row, request) in receiver {
            seen[row].requests.push(request);
        }
        Self { rows: seen }
    }

    pub fn claims(&self) -> Vec<Claim> {
        let [kill, original, same, ready] = &*self.rows else { panic!("there are four rows") };
        // Including requests from just before, which are still in the queue.
        let broken = DEPLOYS[1].at.saturating_sub(Duration::from_millis(100));
        let end = LENGTH * 2;
        let is_served = |row: &Seen| row.requests.iter().any(|request| request.outcome.version() == Some(3));
        let claim = |text, is_true| Claim { text, is_true };
        vec![
            claim("kill and start fails requests in a good deploy", kill.fails(Duration::ZERO, broken)),
            claim("kill and start fails requests in a broken deploy", kill.fails(broken, end)),
            claim("the original fails none in a good deploy", !original.fails(Duration::ZERO, broken)),
            claim("the original fails requests in a broken deploy", original.fails(broken, end)),
            claim(
                "with the original's options, this program fails none in a good deploy",
                !same.fails(Duration::ZERO, broken),
            ),
            claim(
                "with the original's options, this program fails requests in a broken deploy",
                same.fails(broken, end),
            ),
            claim("with --ready=accepting, no request fails", !ready.fails(Duration::ZERO, end)),
            claim("--restart exits with 0, 125 and 0", ready.codes == [Some(0), Some(125), Some(0)]),
            claim("all serve version 3 in the end", self.rows.iter().all(is_served)),
        ]
    }

    /// As SVG.
    pub fn picture(&self) -> String {
        picture::of(&self.rows)
    }
}

impl Outcome {
    fn version(self) -> Option<u64> {
        match self {
            Self::Answered { version, .. } => Some(version),
            Self::Failed => None,
        }
    }
}

impl Seen {
    fn fails(&self, from: Duration, to: Duration) -> bool {
        self.requests.iter().any(|request| request.outcome == Outcome::Failed && (from..to).contains(&request.due))
    }
}

fn rows(programs: &Programs, top: &TempDir) -> Vec<Row> {
    let Programs { original, ours } = programs;
    let with = |program: &Path, options: &[&str]| {
        let mut command = Command::new(program);
        command.args(options).args(["--pid-file=pid", "--status-file=status"]);
        command
    };
    let ways: [(&str, Option<Command>); 4] = [
        ("kill and start", None),
        ("the original start_server", Some(with(original, &[]))),
        ("this start_server, original's options", Some(with(ours, &[]))),
        ("this start_server, --ready=accepting", Some(with(ours, &["--ready=accepting", "--max-start-failures=1"]))),
    ];
    let row = |(index, (name, command)): (usize, (&'static str, Option<Command>))| {
        let directory = top.path().join(index.to_string());
        fs::create_dir(&directory).expect("the directory of a row");
        set_version(&directory, "1");
        let port = Port::claim();
        let running = match command {
            None => {
                let server = spawn(&mut server(&directory, port.number), &directory);
                Running::Server(Some(thread::spawn(|| server)))
            }
            Some(mut command) => {
                command.arg(format!("--port=127.0.0.1:{}", port.number)).args(["--", "perl", "../app.pl", "."]);
                let superdaemon = spawn(&mut command, &directory);
                if index == 3 { Running::Restart(superdaemon, ours.clone()) } else { Running::Hup(superdaemon) }
            }
        };
        Row { name, directory, port, running, restarts: Vec::new() }
    };
    ways.into_iter().enumerate().map(row).collect()
}

/// The application without a superdaemon.
fn server(directory: &Path, port: u16) -> Command {
    let mut command = Command::new("perl");
    command.args(["../app.pl", ".", &port.to_string()]).current_dir(directory);
    command
}

fn spawn(command: &mut Command, directory: &Path) -> Child {
    let log = || File::options().create(true).append(true).open(directory.join("log")).expect("a log");
    command.current_dir(directory).stdin(Stdio::null()).stdout(log()).stderr(log()).spawn().expect("a program to run")
}

fn pid_of(child: &Child) -> i32 {
    child.id().try_into().expect("a pid is positive")
}

fn set_version(directory: &Path, version: &str) {
    let new = directory.join("version.new");
    fs::write(&new, format!("{version}\n")).expect("a version");
    fs::rename(new, directory.join("version")).expect("to rename a file");
}

fn ask_and_deploy(rows: &mut [Row], sender: &Sender<(usize, Request)>, slowness: u32) {
    let begin = Instant::now();
    let mut deploys = DEPLOYS.iter().peekable();
    let mut clients = Vec::new();
    for due in (0..).map(|number| PERIOD * number).take_while(|due| *due < LENGTH) {
        thread::sleep((begin + due * slowness).saturating_duration_since(Instant::now()));
        if let Some(deploy) = deploys.next_if(|deploy| deploy.at <= due) {
            for row in &mut *rows {
                row.deploy(deploy.version);
            }
        }
        for (index, row) in rows.iter().enumerate() {
            let (address, sender) = (Address::Port(row.port.number), sender.clone());
            let client = move || {
                let request = Request { due, outcome: ask(&address, PATIENCE * slowness) };
                sender.send((index, request)).expect("somebody receives it");
            };
            let client = thread::Builder::new().stack_size(1 << 16).spawn(client);
            clients.push(client.expect("a thread"));
        }
    }
    for client in clients {
        client.join().expect("a client doesn't panic");
    }
}

fn ask(address: &Address, patience: Duration) -> Outcome {
    let begin = Instant::now();
    let answer = address.ask(patience);
    let took = begin.elapsed();
    match answer {
        Ok(version) if took < patience => Outcome::Answered { version, is_late: took > LATE },
        _ => Outcome::Failed,
    }
}

impl Row {
    fn wait_until_it_answers(&self) {
        let begin = Instant::now();
        while Address::Port(self.port.number).ask(PATIENCE).is_err() {
            assert!(begin.elapsed() < START, "{} doesn't answer", self.name);
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn deploy(&mut self, version: &str) {
        set_version(&self.directory, version);
        match &mut self.running {
            // As a script of two lines would: wait for the end, then start.
            Running::Server(server_before) => {
                let mut old = server_before.take().and_then(|thread| thread.join().ok()).expect("a server");
                let (directory, mut next) = (self.directory.clone(), server(&self.directory, self.port.number));
                *server_before = Some(thread::spawn(move || {
                    if old.try_wait().is_ok_and(|end| end.is_none()) {
                        send(pid_of(&old), "TERM");
                    }
                    old.wait().expect("the end of the old server");
                    spawn(&mut next, &directory)
                }));
            }
            Running::Hup(superdaemon) => send(pid_of(superdaemon), "HUP"),
            Running::Restart(_, program) => {
                let mut restart = Command::new(program);
                restart.args(["--restart", "--pid-file=pid", "--status-file=status"]);
                self.restarts.push(spawn(&mut restart, &self.directory));
            }
        }
    }

    /// Ends all processes of the row.
    fn end(self) -> Seen {
        let code = |mut restart: Child| restart.wait().ok().and_then(|status| status.code());
        let codes = self.restarts.into_iter().map(code).collect();
        let last = match self.running {
            Running::Server(server) => server.and_then(|thread| thread.join().ok()),
            Running::Hup(superdaemon) | Running::Restart(superdaemon, _) => Some(superdaemon),
        };
        end_all_in(&self.directory);
        last.map(|mut process| process.wait());
        Seen { name: self.name, requests: Vec::new(), codes }
    }
}
