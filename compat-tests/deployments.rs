//! Real servers, deployed again and again under constant load. Each deployment runs under both programs at once. Under
//! ours no request may be lost, and no version may answer that was retired before the client connected.
//!
//! `DEPLOY_HUPS=20` makes every deployment as long as the longest ones. `--nocapture` shows the figures of both
//! programs.

mod container;
mod own_options;

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::harness::{Output, Scenario, both, failure, named_target, ours_alone, profile_directory, target_directory};
use crate::scenarios::launch::{as_pid_1, pid_outside};
pub use start_server_compat::load;

use load::{Address, Client, Figures, Load};

/// For each wait. No result depends on it, but a test that hangs has to end.
const DEADLINE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(10);

/// Two clients that connect for each request, and two that keep their connection.
const CLIENTS: [Client; 4] = [Client::New, Client::KeepAlive, Client::New, Client::KeepAlive];
/// For servers that answer one request a connection.
const NEW_CLIENTS: [Client; 4] = [Client::New; 4];

const APP: &str = "$FIXTURES/versioned.psgi";
/// With more workers than clients, as each keep-alive connection occupies one.
const STARLET: [&str; 9] =
    ["plackup", "-E", "deployment", "-s", "Starlet", "--max-workers=6", "--max-keepalive-reqs=1000", "-a", APP];

/// A server under load, and the version that was deployed last.
struct Deployment<'a> {
    s: &'a mut Scenario,
    load: Load,
    version: u64,
}

impl<'a> Deployment<'a> {
    /// Starts version 1 and the load, and waits for the first answer.
    fn begin(s: &'a mut Scenario, listener: &str, clients: &[Client], options: &[&str], program: &[&str]) -> Self {
        s.mkdir("env");
        publish(s, "1");
        let files = ["--pid-file=pid", "--status-file=st", "--envdir=env"];
        let listening = if listener == "$PORT" { "--port=$PORT".to_owned() } else { format!("--path={listener}") };
        s.start(&[&[&*listening], &files[..], options, &["--"], program].concat());
        Self::begin_load(s, listener, clients)
    }

    fn begin_load(s: &'a mut Scenario, listener: &str, clients: &[Client]) -> Self {
        wait(s, "the first worker", |s| generations(s).len() == 1);
        let address = if listener == "$PORT" { Address::Port(s.port()) } else { Address::Path(s.path(listener)) };
        let mut deployment = Self { load: Load::begin(address, clients), s, version: 1 };
        deployment.wait_seen(1);
        deployment
    }

    /// Deploys the next version, and waits until the one before is gone and the new one has answered.
    fn hup(&mut self) {
        let before = self.begin_hup();
        self.end_hup(before);
    }

    /// Returns the generation that answers until the new one has started.
    fn begin_hup(&mut self) -> u64 {
        self.publish_next();
        wait(self.s, "the superdaemon to rest", |s| generations(s).len() == 1 && is_at_rest(superdaemon(s)));
        let before = generations(self.s)[0];
        send(superdaemon(self.s), Signal::SIGHUP);
        before
    }

    fn end_hup(&mut self, before: u64) {
        wait(self.s, "the end of the old worker", |s| generations(s).len() == 1 && generations(s)[0] > before);
        self.load.retire_before(self.version);
        self.wait_seen(self.version);
    }

    fn publish_next(&mut self) {
        self.version += 1;
        publish(self.s, &self.version.to_string());
    }

    fn wait_seen(&mut self, version: u64) {
        let load = &self.load;
        wait(self.s, &format!("an answer of version {version}; so far {}", load.figures()), |_| load.has_seen(version));
    }

    /// Ends the load, then the superdaemon. Each version must have answered.
    fn end(self) -> Figures {
        let version = self.version;
        let figures = self.stop();
        assert_eq!(figures.versions.len() as u64, version, "versions that have answered: {:?}", figures.versions);
        figures
    }

    /// Ends the load, then the superdaemon. By the kernel's counters, no connection may have met a full queue.
    fn stop(self) -> Figures {
        let figures = self.load.end();
        let superdaemon = superdaemon(self.s);
        let report = server_starter::show_status(&self.s.path("pid"), Some(&self.s.path("st"))).to_json();
        assert_none_refused(&report, superdaemon);
        wait(self.s, "the superdaemon to rest", |_| is_at_rest(superdaemon));
        send(superdaemon, Signal::SIGTERM);
        wait(self.s, "the superdaemon's end", |_| matches!(state(superdaemon), None | Some('Z')));
        assert_eq!(self.s.wait_exit(), "exit 0");
        figures
    }
}

/// By the `report` of --show-status.
fn assert_none_refused(report: &str, superdaemon: i32) {
    let refused: Vec<&str> =
        report.split("\"refused\":").skip(1).map(|rest| &rest[..rest.find('}').unwrap_or(0)]).collect();
    let are_none = refused.iter().all(|count| ["0", "null"].contains(count));
    // With TCP_DEFER_ACCEPT, which Starlet sets, the kernel also counts each connection that waits for its first data.
    // Its sum of full queues, which limits that count, includes those of other programs.
    assert!(!refused.is_empty() && (are_none || defers_accept(superdaemon)), "{report}");
}

/// Whether a listener of the superdaemon keeps connections waiting until there is something to read.
fn defers_accept(superdaemon: i32) -> bool {
    let listing = Command::new("python3")
        .arg("-c")
        .arg(concat!(
            "import ctypes, os, socket, sys\n",
            "libc = ctypes.CDLL(None, use_errno=True)\n",
            "process = libc.syscall(434, int(sys.argv[1]), 0)\n",
            "def value(number):\n",
            "    fd = libc.syscall(438, process, number, 0)\n",
            "    try: return socket.socket(fileno=fd).getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT)\n",
            "    except OSError: return 0\n",
            "print(max(value(int(number)) for number in os.listdir('/proc/%s/fd' % sys.argv[1])))",
        ))
        .arg(superdaemon.to_string())
        .output()
        .expect("python3");
    String::from_utf8_lossy(&listing.stdout).trim().parse::<i32>().is_ok_and(|seconds| seconds > 0)
}

// --- what a deployment consists of

/// Both in the envdir of the superdaemon, and as a file for workers that read it themselves.
fn publish(s: &mut Scenario, version: &str) {
    s.write("env/VERSION", &format!("{version}\n"));
    s.write("version", &format!("{version}\n"));
}

/// The generations of the running workers: from the status file, or from the log if there is none.
fn generations(s: &Scenario) -> Vec<u64> {
    if let Ok(status) = fs::read_to_string(s.path("st")) {
        return status.lines().filter_map(|line| line.split_once(':')?.0.parse().ok()).collect();
    }
    let log = fs::read_to_string(s.path("log")).unwrap_or_default();
    let count = |text: &str| log.lines().filter(|line| line.starts_with(text)).count() as u64;
    (count("old worker ") + 1..=count("starting new worker ")).collect()
}

fn superdaemon(s: &Scenario) -> i32 {
    let pid = fs::read_to_string(s.path("pid")).expect("the pid file");
    pid.trim().parse().expect("a pid")
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("the superdaemon runs");
}

/// To be waited for before a signal: the original loses one that arrives just before it starts to wait.
fn is_at_rest(pid: i32) -> bool {
    state(pid) == Some('S')
}

fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Has a longer deadline than the scenario's own wait, as a restart under load takes longer.
fn wait(s: &mut Scenario, what: &str, mut is_there: impl FnMut(&mut Scenario) -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_there(s) {
        assert!(Instant::now() < deadline, "deadline passed in the wait for {what}");
        thread::sleep(POLL);
    }
}

fn hups(usually: u64) -> u64 {
    env::var("DEPLOY_HUPS").map_or(usually, |hups| hups.parse().expect("DEPLOY_HUPS is a number"))
}

/// Runs a deployment under both programs, shows the figures of both, and fails if ours lost a request.
fn zero_loss(deploy: impl Fn(&mut Scenario) -> Figures + Sync) {
    no_loss_but(0, deploy);
}

/// As `zero_loss`, for a server that may drop that many connections by itself.
fn no_loss_but(dropped: usize, deploy: impl Fn(&mut Scenario) -> Figures + Sync) {
    let (original, ours) = both(deploy);
    let name = thread::current().name().unwrap_or_default().to_owned();
    for (program, outcome) in [("original", &original), ("ours", &ours)] {
        match &outcome.result {
            Ok(figures) => println!("{name}: {program}: {figures}"),
            Err(message) => println!("{name}: {program}: {message}"),
        }
    }
    let is_lossless =
        |figures: &Figures| figures.lost.is_empty() && figures.stale.is_empty() && figures.dropped.len() <= dropped;
    assert!(ours.result.as_ref().is_ok_and(is_lossless), "{}", failure(&original, &ours));
}

fn deploy_often(listener: &str, clients: &[Client], usually: u64, options: &[&str], program: &[&str]) {
    zero_loss(|s| hups_under_load(s, listener, clients, hups(usually), options, program));
}

fn hups_under_load(
    s: &mut Scenario,
    listener: &str,
    clients: &[Client],
    hups: u64,
    options: &[&str],
    program: &[&str],
) -> Figures {
    let mut deployment = Deployment::begin(s, listener, clients, options, program);
    for _ in 0..hups {
        deployment.hup();
    }
    deployment.end()
}

/// As docs/deploy.md has it: a version is a directory, and a deploy is a link and `--restart`. When a version fails,
/// the one before it keeps serving. `run` runs a command line of ours where the superdaemon is; `pid` returns the
/// superdaemon's pid as it is seen from outside.
fn day_of_deploys(
    s: &mut Scenario,
    more: &[&str],
    run: impl Fn(&mut Scenario, &[&str]) -> Output,
    pid: impl Fn(&Scenario) -> i32,
) {
    s.mkdir("releases");
    let app = |version: u32| {
        format!(
            "my $body = \"version {version}\\n\"; \
             sub {{ [200, ['Content-Type', 'text/plain', 'Content-Length', length $body], [$body]] }}"
        )
    };
    let versions = [
        (1, app(1)),
        (2, app(2)),
        (3, "die \"it is broken\\n\"".into()),
        (4, "sleep 1000 while 1".into()),
        (5, app(5)),
    ];
    for (version, code) in versions {
        s.mkdir(&format!("releases/{version}"));
        s.write(&format!("releases/{version}/app.psgi"), &code);
    }
    s.write("releases/5/held-back", "");
    let link = |s: &Scenario, version: u32| {
        std::os::unix::fs::symlink(format!("releases/{version}"), s.path("new")).expect("a link");
        fs::rename(s.path("new"), s.path("current")).expect("the link in its place");
    };
    link(s, 1);
    let options = ["--port=127.0.0.1:$PORT", "--dir=$DIR/current", "--ready=accepting", "--ready-timeout=10"];
    let limits = ["--max-start-failures=1", "--kill-timeout=60", "--approve=test ! -e $DIR/current/held-back"];
    let files = ["--log-file=log", "--pid-file=pid", "--status-file=st"];
    let program = ["--", "plackup", "-s", "Starlet", "-E", "production", "app.psgi"];
    s.start(&[&options[..], &limits, &files, more, &program].concat());
    wait(s, "the first worker", |s| s.path("st").exists());
    let load = Load::begin(Address::Port(s.port()), &NEW_CLIENTS);
    wait(s, "an answer of version 1", |_| load.has_seen(1));
    for (version, expected, reason) in [
        (2, "exit 0", ""),
        (3, "exit 125", "it is broken"),
        (4, "exit 125", "is not ready in time"),
        (5, "exit 125", "is not approved (exit 1)"),
        (1, "exit 0", ""),
    ] {
        link(s, version);
        let Output { end, stderr, .. } = run(s, &["--restart", "--restart-timeout=120", files[1], files[2]]);
        assert_eq!(end, expected, "version {version}: {stderr}");
        assert!(stderr.contains(reason), "version {version}: {stderr}");
    }
    let figures = load.end();
    assert_none_refused(&run(s, &["--show-status", "--json", files[1], files[2]]).stdout, pid(s));
    println!("a_day_of_deploys: {figures}");
    assert!(figures.lost.is_empty() && figures.dropped.is_empty(), "{figures}");
    assert!([1, 2].iter().all(|version| figures.versions.contains(version)), "{figures}");
    assert!(![3, 4].iter().any(|version| figures.versions.contains(version)), "{figures}");
}

/// As an init script would run it.
#[test]
fn a_day_of_deploys() {
    ours_alone(|s| {
        day_of_deploys(s, &["--daemonize"], Scenario::run_unrecorded, superdaemon);
        assert_eq!(s.run_unrecorded(&["--stop", "--pid-file=pid"]).end, "exit 0");
        assert!(!s.path("pid").exists() && !s.path("st").exists());
    });
}

/// In a container. Each deploy enters it by nsenter(1), as `docker exec` does, and a TERM to PID 1 ends it.
#[test]
fn a_day_of_deploys_as_pid_1() {
    ours_alone(|s| {
        as_pid_1(s, "exec \"$0\" \"$@\"");
        day_of_deploys(s, &[], run_beside_pid_1, pid_outside);
        assert_eq!(fs::read_to_string(s.path("pid")).expect("the pid file"), "1\n");
        send(pid_outside(s), Signal::SIGTERM);
        assert_eq!(s.wait_exit(), "exit 0");
        assert!(!s.path("pid").exists() && !s.path("st").exists());
    });
}

fn run_beside_pid_1(s: &mut Scenario, options: &[&str]) -> Output {
    run_beside(pid_outside(s), s, options)
}

/// Runs a command line of ours in the namespaces of a process.
fn run_beside(pid: i32, s: &Scenario, options: &[&str]) -> Output {
    let user: &[&str] = if Uid::effective().is_root() { &[] } else { &["--user", "--preserve-credentials"] };
    let target = format!("--target={pid}");
    let command = format!("cd '{}' && exec '{}' \"$@\"", s.path(".").display(), s.program().display());
    let output = Command::new("nsenter")
        .args([&target, "--pid", "--mount"])
        .args(user)
        .args(["--", "sh", "-c", &command, "sh"])
        .args(options)
        .output()
        .expect("nsenter");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let end = output.status.code().map_or_else(|| output.status.to_string(), |code| format!("exit {code}"));
    Output { end, stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

// --- Perl servers

#[test]
fn starlet() {
    deploy_often("$PORT", &CLIENTS, 20, &[], &STARLET);
}

#[test]
fn starlet_on_a_unix_socket() {
    deploy_often("app.sock", &CLIENTS, 5, &[], &STARLET);
}

#[test]
fn starlet_with_a_kill_old_delay() {
    deploy_often("$PORT", &CLIENTS, 5, &["--kill-old-delay=1"], &STARLET);
}

/// An old worker takes seconds to finish, and is left alone until it has.
#[test]
fn starlet_with_slow_requests() {
    let clients = [Client::Slow, Client::New, Client::Slow, Client::KeepAlive];
    deploy_often("$PORT", &clients, 5, &[], &STARLET);
}

// The others get QUIT, as TERM makes them drop the requests that they are working on. None of them can serve a unix
// socket under either program: Net::Server takes every peer for a TCP one, and Twiggy every listener.

/// When a `Net::Server` leaves, its processes get a HUP and end at once, unless they have noted a connection, which
/// happens only after `accept` has returned (`connected` in `Net::Server::PreFork::run_child`). If the HUP arrives in
/// between, the process drops the connection that it has just accepted, under either program: at most one per process
/// and restart. (Seen with a HUP handler that lists its sockets: for each dropped connection, one handler, within
/// `IO::Socket::accept`, had the listener and a second socket.)
fn deploy_net_server(clients: &[Client], processes: u64, program: &[&str]) {
    let hups = hups(5);
    let dropped = usize::try_from(processes * hups).expect("a small number");
    no_loss_but(dropped, |s| hups_under_load(s, "$PORT", clients, hups, &["--signal-on-hup=QUIT"], program));
}

#[test]
fn starman() {
    // Not /dev/null: Net::Server changes the owner of its log, and only root may change that one's.
    let program = ["starman", "-E", "deployment", "--workers=6", "--error-log=error_log", APP];
    deploy_net_server(&CLIENTS, 6, &program);
}

#[test]
fn net_server() {
    deploy_net_server(&NEW_CLIENTS, 8, &["perl", "$FIXTURES/versioned_prefork.pl"]);
}

#[test]
fn twiggy() {
    let program = ["plackup", "-E", "deployment", "-s", "Twiggy", "-a", APP];
    deploy_often("$PORT", &CLIENTS, 5, &["--signal-on-hup=QUIT"], &program);
}

// --- Rust servers

#[test]
fn rust_on_std() {
    deploy_often("$PORT", &NEW_CLIENTS, 5, &[], &[example("hello_std")]);
}

#[test]
fn rust_on_hyper() {
    deploy_often("$PORT", &CLIENTS, 20, &[], &[example("hello_hyper")]);
}

#[test]
fn rust_with_slow_requests() {
    let clients = [Client::Slow, Client::New, Client::Slow, Client::KeepAlive];
    deploy_often("$PORT", &clients, 5, &[], &[example("hello_hyper")]);
}

/// A client that connected to the old worker in time is answered by it, even if it sends its request only after the
/// worker was told to leave.
fn deploy_before_a_late_request(program: &str) {
    zero_loss(|s| {
        let mut deployment = Deployment::begin(s, "$PORT", &NEW_CLIENTS, &[], &[program]);
        let mut late = TcpStream::connect((Ipv4Addr::LOCALHOST, deployment.s.port())).expect("a connection");
        late.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let accepted = deployment.load.figures().answered;
        let load = &deployment.load;
        // These are more than the requests under way, so one of them connected after `late`, which must have been
        // accepted before.
        wait(deployment.s, "later answers", |_| load.figures().answered > accepted + NEW_CLIENTS.len() as u64);
        let before = deployment.begin_hup();
        deployment.wait_seen(2);
        wait(deployment.s, "two generations", |s| generations(s) == [before, before + 1]);
        late.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("an open connection");
        let mut answer = String::new();
        late.read_to_string(&mut answer).expect("an answer");
        assert!(answer.ends_with("version 1\n"), "{answer:?}");
        deployment.end_hup(before);
        deployment.end()
    });
}

#[test]
fn rust_on_std_and_a_late_request() {
    deploy_before_a_late_request(example("hello_std"));
}

#[test]
fn rust_on_hyper_and_a_late_request() {
    deploy_before_a_late_request(example("hello_hyper"));
}

/// The path of an example. They are built here, as `cargo test --test compat` builds none.
fn example(name: &str) -> &'static str {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let is_debug = profile_directory().ends_with("debug");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--examples", "--all-features"]);
        cargo.args(["--profile", if is_debug { "dev" } else { "release" }, "--target-dir"]);
        cargo
            .arg(target_directory())
            .args(named_target().map(|name| format!("--target={name}")))
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(cargo.status().expect("cargo").success(), "{cargo:?}");
        profile_directory().join("examples")
    });
    directory.join(name).into_os_string().into_string().expect("a path in UTF-8").leak()
}

// --- other ways to deploy

/// Automatic restarts every two seconds pick up each new version.
#[test]
fn automatic_restarts() {
    zero_loss(|s| {
        let options = ["--enable-auto-restart", "--auto-restart-interval=2", "--kill-old-delay=1"];
        let mut deployment = Deployment::begin(s, "$PORT", &CLIENTS, &options, &STARLET);
        for _ in 0..hups(4) {
            let before = *generations(deployment.s).last().expect("a generation");
            deployment.publish_next();
            let version = deployment.version;
            deployment.wait_seen(version);
            // The next generation may have read the previous version.
            wait(deployment.s, "the end of the old workers", |s| {
                generations(s).len() == 1 && generations(s)[0] > before + 1
            });
            deployment.load.retire_before(version);
        }
        deployment.end()
    });
}

/// The new version ends at once, again and again, until a working one is published. The old one keeps answering.
#[test]
fn version_that_crashes_at_start() {
    // The shell reads the version, because the superdaemon reads its envdir only once per restart.
    let shell = "read VERSION <version; export VERSION; [ $VERSION != crash ] || exit 1; exec ";
    let program = format!("{shell} {}", STARLET.join(" "));
    zero_loss(|s| {
        // `--interval=5`: long enough for a shell to end on any machine.
        let program = ["sh", "-c", &program];
        let mut deployment = Deployment::begin(s, "$PORT", &CLIENTS, &["--interval=5"], &program);
        let before = generations(deployment.s)[0];
        publish(deployment.s, "crash");
        wait(deployment.s, "the superdaemon to rest", |s| is_at_rest(superdaemon(s)));
        send(superdaemon(deployment.s), Signal::SIGHUP);
        wait(deployment.s, "two failed starts", |s| s.said().matches("seems to have failed to start").count() >= 2);
        assert_eq!(generations(deployment.s), [before], "the old worker keeps running");
        deployment.publish_next();
        deployment.end_hup(before);
        deployment.end()
    });
}

// --- h2o

/// h2o starts the superdaemon, by its path below `H2O_ROOT`, and is also its worker.
#[test]
fn h2o() {
    zero_loss(|s| {
        s.mkdir("env");
        configure_h2o(s, "1");
        s.prelude(
            "mkdir -p h2o/share && cp -r /usr/share/h2o h2o/share/ && ln -sf \"$0\" h2o/share/h2o/start_server; \
             exec env H2O_ROOT=$PWD/h2o h2o --mode=master --conf=h2o.conf",
        );
        s.start(&[]);
        let mut deployment = Deployment::begin_load(s, "$PORT", &CLIENTS);
        for _ in 0..hups(5) {
            let next = (deployment.version + 1).to_string();
            configure_h2o(deployment.s, &next);
            deployment.hup();
        }
        let arguments = fs::read(format!("/proc/{}/cmdline", superdaemon(deployment.s))).expect("the superdaemon runs");
        assert!(String::from_utf8_lossy(&arguments).contains("h2o/share/h2o/start_server"), "h2o has started ours");
        deployment.end()
    });
}

fn configure_h2o(s: &mut Scenario, version: &str) {
    // Started as root, h2o would become `nobody`, who can't read the directory. Other users must not name a user.
    let user = if Uid::effective().is_root() { "user: root\n" } else { "" };
    s.mkdir(&format!("version-{version}"));
    s.write(&format!("version-{version}/index.html"), &format!("version {version}\n"));
    s.write(
        "h2o.conf",
        &format!(
            "{user}listen:\n  host: 127.0.0.1\n  port: $PORT\npid-file: pid\nerror-log: log\n\
             hosts:\n  default:\n    paths:\n      /:\n        file.dir: $DIR/version-{version}\n"
        ),
    );
}

// --- scripts

/// An init script and the log command below run unchanged with either program.
const INIT: &str = r"
case $1 in
start)
    start_server --daemonize --port=$PORT --pid-file=pid --status-file=st --envdir=env --log-file='| sh rotate' \
        -- plackup -E deployment -s Starlet --max-workers=6 --max-keepalive-reqs=1000 -a $FIXTURES/versioned.psgi
    ;;
deploy) start_server --restart --pid-file=pid --status-file=st ;;
stop) start_server --stop --pid-file=pid ;;
esac
";
/// Appends each line to the log of the day, which a file names.
const ROTATE: &str = "while read -r line; do read -r day <day; echo \"$line\" >>log.$day; done\n";

#[test]
fn init_script() {
    zero_loss(|s| {
        s.mkdir("env");
        publish(s, "1");
        s.write("init", INIT);
        s.write("rotate", ROTATE);
        s.write("day", "1\n");
        s.prelude("mkdir -p bin; ln -sf \"$0\" bin/start_server; export PATH=\"$PWD/bin:$PATH\"; exec sh init \"$@\"");
        run_script(s, "start");
        let mut deployment = Deployment::begin_load(s, "$PORT", &CLIENTS);
        for day in 2..=3 {
            deployment.publish_next();
            deployment.s.write("day", &format!("{day}\n"));
            run_script(deployment.s, "deploy");
            assert_eq!(
                generations(deployment.s),
                [day],
                "--restart waits for the new worker, and for the old one's end"
            );
            deployment.load.retire_before(deployment.version);
            deployment.wait_seen(day);
        }
        let figures = deployment.load.end();
        run_script(s, "stop");
        for (day, text) in [(1, "starting new worker"), (2, "received HUP"), (3, "received HUP"), (3, "exiting")] {
            // The last lines may still be on their way to the log.
            wait(s, &format!("{text:?} in the log of day {day}"), |s| {
                fs::read_to_string(s.path(&format!("log.{day}"))).is_ok_and(|log| log.contains(text))
            });
        }
        figures
    });
}

fn run_script(s: &mut Scenario, what: &str) {
    let command = s.begin(&[what]);
    wait(s, &format!("the end of {what}"), |s| !s.is_running(&command));
    assert_eq!(s.end(command).end, "exit 0", "{what}");
}
