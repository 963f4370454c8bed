//! What a scenario can do to one program, and wait for. All steps go into the transcript. There are no fixed sleeps:
//! each wait ends when its condition is true, or fails at its deadline.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::net::{Ipv6Addr, UdpSocket};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, getsid};
use tempfile::TempDir;

use super::fixtures;
use super::guard;
use super::http;
use super::names::Names;
use super::pace::Pace;
use super::perl_noise::Noise;
use super::ports::Port;
use super::process::{Process, end_all_in, is_at_rest, is_dead, is_flooded, read, running_in, send, wanting_lock};
use super::transcript::{ANNOUNCEMENT, Kind, LEFT_FILES, LEFT_RUNNING, Transcript, announced_first, text_of};
use super::workers::Worker;

const POLL: Duration = Duration::from_millis(5);

/// Longer files go into a transcript as a digest.
const LONGEST_SHOWN: usize = 1 << 16;

/// What a command that has ended said, with symbols for values.
pub struct Output {
    pub end: String,
    pub stdout: String,
    pub stderr: String,
}

/// A command that `Scenario::begin` has started.
#[must_use = "a command that was begun has to be ended"]
pub struct Begun(usize);

pub struct Scenario {
    program: PathBuf,
    other: PathBuf,
    /// Holds `dir` and, beside it, the records: outputs and the probe's reports.
    top: TempDir,
    /// The working directory of everything, and the only place that arguments may name: as root, the original removes
    /// whatever is at the paths that it gets.
    dir: PathBuf,
    ports: [Port; 3],
    env: BTreeMap<OsString, OsString>,
    /// Shell commands run before the program, such as `umask 027`.
    prelude: String,
    superdaemons: Vec<Process>,
    commands: Vec<Process>,
    /// The command whose end is waited for.
    awaited: Option<usize>,
    /// What is there instead of what is waited for, in words.
    found: String,
    /// The daemon's pid and its session's.
    daemon: Option<(i32, i32)>,
    /// How many lines of a stream, and of a worker's report, have been waited for.
    lines_seen: HashMap<PathBuf, usize>,
    reports_seen: HashMap<i32, usize>,
    steps: Transcript,
    pace: Pace,
    /// How many waits there were.
    waits: usize,
    /// How much longer each wait may take.
    allowance: Duration,
    /// Whether a failure may be the fault of the other program.
    has_run_other: bool,
}

impl Scenario {
    pub fn new(program: &Path, other: &Path, pace: Pace) -> Self {
        // Scenarios expect the modes that follow from this umask; the user may have another.
        umask(Mode::from_bits_truncate(0o022));
        let top = guard::directory().expect("a temporary directory");
        let dir = top.path().join("dir");
        fs::create_dir(&dir).expect("the scenario's directory");
        fixtures::write(&top.path().join("fixtures"));
        Self {
            program: program.to_owned(),
            other: other.to_owned(),
            dir,
            top,
            ports: std::array::from_fn(|_| Port::claim()),
            env: std::env::var_os("PATH").into_iter().map(|path| ("PATH".into(), path)).collect(),
            prelude: String::new(),
            superdaemons: Vec::new(),
            commands: Vec::new(),
            awaited: None,
            found: String::new(),
            daemon: None,
            lines_seen: HashMap::new(),
            reports_seen: HashMap::new(),
            steps: Transcript::default(),
            pace,
            waits: 0,
            allowance: Duration::ZERO,
            has_run_other: false,
        }
    }

    // --- setting the stage

    /// For everything started from now on. Without it, the environment is only PATH.
    pub fn env(&mut self, name: &str, value: &str) {
        self.env.insert(name.into(), self.expand(value));
    }

    /// Shell commands for everything started from now on, such as `umask 077`. `$DIR` and so on are expanded.
    pub fn prelude(&mut self, shell: &str) {
        self.prelude = self.expand(shell).into_string().expect("shell commands in UTF-8");
    }

    /// For everything started from now on: strace(1) with these options, from the first call on. It is not the parent
    /// of the process that it traces, and may end later than that.
    pub fn strace(&mut self, options: &str) {
        // By ALRM, strace would end a process that it can't trace within 3 seconds.
        self.prelude(&format!("trap '' ALRM; exec strace -D -qq {options} \"$0\" \"$@\""));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn write(&mut self, name: &str, content: &str) {
        let (path, content) = (self.path(name), self.expand(content));
        if !fs::metadata(&path).is_ok_and(|metadata| metadata.file_type().is_fifo()) {
            fs::write(path, content.as_bytes()).expect("a file of the scenario");
            return;
        }
        // Whoever should read it may never come.
        let mut fifo = None;
        self.wait(&format!("a reader of {name}"), |_| {
            fifo = fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path).ok();
            fifo.is_some()
        });
        fifo.expect("it has a reader").write_all(content.as_bytes()).expect("a fifo that isn't full");
    }

    pub fn mkdir(&mut self, name: &str) {
        fs::create_dir(self.path(name)).expect("a directory of the scenario");
    }

    pub fn remove(&mut self, name: &str) {
        fs::remove_file(self.path(name)).expect("a file to remove");
    }

    /// Fails if a Perl module isn't installed, instead of waiting in vain for what it does.
    pub fn need_module(&self, module: &str) {
        let perl = Command::new("perl").arg(format!("-M{module}")).args(["-e", "1"]).stderr(Stdio::null()).status();
        assert!(perl.is_ok_and(|status| status.success()), "Perl's module {module} isn't installed");
    }

    /// Fails if a host name has no address, as on a system without /etc/hosts.
    pub fn need_host(&self, name: &str) {
        let perl = Command::new("perl").args(["-e", "exit !gethostbyname shift", name]).status();
        assert!(perl.is_ok_and(|status| status.success()), "the host {name} has no address");
    }

    /// Fails if the kernel, or the container, has no IPv6.
    pub fn need_ipv6(&self) {
        assert!(UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok(), "there is no IPv6");
    }

    /// Fails if processes can't be traced.
    pub fn need_tracing(&self) {
        let strace = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
        assert!(strace.is_ok_and(|status| status.success()), "nothing can be traced by strace");
    }

    /// The path of libfaketime, which shows programs another wall clock. Fails if it is missing.
    pub fn need_wall_clock(&self) -> PathBuf {
        libraries("faketime/libfaketime.so.1").next().expect("libfaketime is missing")
    }

    /// Creates a file that is locked until the lock is dropped.
    pub fn lock(&mut self, name: &str) -> Flock<fs::File> {
        let file = fs::File::create(self.path(name)).expect("a file of the scenario");
        Flock::lock(file, FlockArg::LockExclusiveNonblock).expect("a lock that nobody has")
    }

    /// Creates a socket file as a killed superdaemon leaves it behind.
    pub fn stale_socket(&mut self, name: &str) {
        let path = self.path(name);
        drop(UnixListener::bind(&path).expect("a unix socket"));
        // What another thread has just forked has it open, too, until it executes its program.
        let is_stale = (0..10_000).any(|_| {
            thread::sleep(POLL);
            UnixStream::connect(&path).is_err()
        });
        assert!(is_stale, "somebody listens at {name}");
    }

    // --- running programs

    /// Starts the superdaemon. `$DIR`, `$PORT`, `$PORT2`, `$PORT3`, `$FIXTURES` are expanded; `$PROBE` as a whole
    /// argument is the probe worker's command.
    pub fn start(&mut self, args: &[&str]) {
        self.step(&format!("$ start_server {}", args.join(" ")));
        let name = format!("superdaemon{}", self.superdaemons.len() + 1);
        let mut command = self.command(&self.program, args.iter().map(|arg| arg.as_bytes()));
        self.superdaemons.push(Process::start(&mut command, self.top.path(), &name));
    }

    /// Starts a superdaemon with the probe as its worker, and waits for the worker's report.
    pub fn probe(&mut self, options: &[&str], behaviours: &[&str]) {
        self.start(&[options, &["--", "$PROBE"], behaviours].concat());
        self.wait_worker(1);
    }

    /// As `probe`, with a status file, and waits until the worker has started.
    pub fn serve(&mut self, options: &[&str], behaviours: &[&str]) {
        self.probe(&[options, &["--status-file=st"]].concat(), behaviours);
        self.wait_file("st", "1:<W1>\n");
    }

    /// Sends TERM, and waits for the end.
    pub fn term(&mut self) -> String {
        self.signal("TERM");
        self.wait_exit()
    }

    /// Runs a command to its end.
    pub fn run(&mut self, args: &[&str]) -> Output {
        let command = self.begin(args);
        self.end(command)
    }

    /// Like `run`, with the other of the two programs.
    pub fn run_other(&mut self, args: &[&str]) -> Output {
        let command = self.begin_other(args);
        self.end(command)
    }

    /// Like `run`, with arguments that are any bytes.
    pub fn run_bytes(&mut self, args: &[Vec<u8>]) -> Output {
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let command = self.begin_program(&self.program.clone(), &args);
        self.end(command)
    }

    pub fn begin(&mut self, args: &[&str]) -> Begun {
        self.begin_program(&self.program.clone(), args)
    }

    pub fn begin_other(&mut self, args: &[&str]) -> Begun {
        self.has_run_other = true;
        self.begin_program(&self.other.clone(), args)
    }

    fn begin_program<A: AsRef<[u8]>>(&mut self, program: &Path, args: &[A]) -> Begun {
        let shown: Vec<String> = args.iter().map(|arg| text_of(arg.as_ref())).collect();
        self.step(&format!("$ start_server {}", shown.join(" ")));
        let name = format!("command{}", self.commands.len() + 1);
        let mut command = self.command(program, args.iter().map(AsRef::as_ref));
        self.commands.push(Process::start(&mut command, self.top.path(), &name));
        Begun(self.commands.len() - 1)
    }

    pub fn is_running(&mut self, Begun(index): &Begun) -> bool {
        self.commands[*index].end().is_none()
    }

    /// Like `run`, but nothing goes into the transcript.
    pub fn run_unrecorded(&mut self, args: &[&str]) -> Output {
        let length = self.steps.lines.len();
        let output = self.run(args);
        self.steps.lines.truncate(length);
        output
    }

    /// Waits for the end of a command.
    pub fn end(&mut self, Begun(index): Begun) -> Output {
        let mut ended = None;
        self.awaited = Some(index);
        self.wait("the end of the command", |s| {
            ended = s.commands[index].end();
            ended.is_some()
        });
        self.awaited = None;
        let (names, command) = (self.names(), &self.commands[index]);
        let (end, stdout, stderr) = (ended.unwrap_or_default(), command.stdout(), command.stderr());
        self.steps.push_text(Kind::Messages, &stdout);
        self.steps.push_text(Kind::Messages, &stderr);
        self.steps.push(Kind::Exit, format!("-> {end}"));
        Output { end, stdout: names.apply(&stdout), stderr: names.apply(&stderr) }
    }

    fn command<'a>(&self, program: &Path, args: impl Iterator<Item = &'a [u8]>) -> Command {
        // A job in the background may have been started with INT and QUIT ignored, which a shell can't change.
        let mut command = Command::new("/usr/bin/env");
        command
            .args(["--default-signal", "/bin/sh", "-c"])
            .arg(format!("{}\nexec \"$0\" \"$@\"", self.prelude))
            .arg(program);
        for arg in args {
            if arg == b"$PROBE" {
                command.arg("perl").arg(self.fixtures().join("probe.pl")).arg(self.reports());
            } else {
                command.arg(self.expand(OsStr::from_bytes(arg)));
            }
        }
        command.env_clear().envs(&self.env).current_dir(&self.dir);
        command
    }

    /// Sends a signal (a name without `SIG`) to the superdaemon when it is at rest: the original loses one that arrives
    /// just before it starts to wait (the divergence `never-drop-term`).
    pub fn signal(&mut self, name: &str) {
        self.wait_rest();
        self.steps.push(Kind::Life, format!("signal {name}"));
        send(self.superdaemon(), name);
    }

    /// Sends a signal to the worker of a generation.
    pub fn signal_worker(&mut self, generation: usize, name: &str) {
        self.steps.push(Kind::Life, format!("signal {name} to worker {generation}"));
        send(self.worker(generation).pid, name);
    }

    /// Sends a signal to a command that was begun.
    pub fn signal_command(&mut self, Begun(index): &Begun, name: &str) {
        self.steps.push(Kind::Life, format!("signal {name} to the command"));
        send(self.commands[*index].pid(), name);
    }

    /// From now on the process whose pid this file names is the superdaemon.
    pub fn adopt_daemon(&mut self, pid_file: &str) {
        self.wait("a pid file", |s| fs::read_to_string(s.path(pid_file)).is_ok_and(|pid| pid.ends_with('\n')));
        let pid = fs::read_to_string(self.path(pid_file)).expect("the pid file is there");
        let pid = pid.trim().parse().expect("a pid");
        let session = getsid(Some(Pid::from_raw(pid))).expect("the daemon runs");
        self.daemon = Some((pid, session.as_raw()));
    }

    // --- waiting

    /// Waits until the worker of this generation runs and has reported.
    pub fn wait_worker(&mut self, generation: usize) {
        self.wait_report(generation, "ready");
    }

    /// Waits for a line of a worker's report, such as `got TERM`, that comes after those already waited for.
    pub fn wait_report(&mut self, generation: usize, line: &str) {
        let mut found = None;
        self.wait(&format!("worker {generation}: {line}"), |s| {
            let worker = s.workers().into_iter().rfind(|worker| worker.generation == generation.to_string());
            found = worker.and_then(|worker| {
                let seen = s.reports_seen.get(&worker.pid).copied().unwrap_or(0);
                let position = worker.lines.iter().skip(seen).position(|said| said == line)?;
                Some((worker.pid, seen + position + 1))
            });
            found.is_some()
        });
        self.reports_seen.extend(found);
    }

    /// Waits for a line of the superdaemon's stderr that contains `text` and comes after those already waited for.
    pub fn wait_line(&mut self, text: &str) {
        let path = self.top.path().join(format!("superdaemon{}.stderr", self.superdaemons.len()));
        self.wait_line_of(&path, text);
    }

    /// Like `wait_line`, of a log file.
    pub fn wait_line_in(&mut self, file: &str, text: &str) {
        self.wait_line_of(&self.path(file), text);
    }

    /// Waits as `wait_line` does, or for the superdaemon's end. False if there is no such line.
    pub fn wait_line_or_exit(&mut self, text: &str) -> bool {
        let path = self.top.path().join(format!("superdaemon{}.stderr", self.superdaemons.len()));
        let mut ended = false;
        self.wait(&format!("line {text:?} or the end"), |s| {
            // ORDER: the end is checked first, as a last line may be written just before it.
            ended = s.superdaemons.last_mut().expect("a superdaemon was started").end().is_some();
            s.find_line(&path, text).is_some() || ended
        });
        let found = self.find_line(&path, text);
        self.lines_seen.extend(found.map(|line| (path, line + 1)));
        found.is_some()
    }

    /// Waits until the superdaemon sleeps, as it has acted on everything that was sent to it before.
    pub fn wait_rest(&mut self) {
        self.wait("the superdaemon to rest", |s| is_at_rest(s.superdaemon()));
    }

    /// Waits for the end of the process whose pid this file holds.
    pub fn wait_dead_process(&mut self, file: &str) {
        self.wait(&format!("the end of the process of {file}"), |s| {
            let pid = fs::read_to_string(s.path(file)).expect("a file with a pid");
            is_dead(pid.trim().parse().expect("a pid"))
        });
    }

    /// Waits until the worker of a generation has ended, whether or not it was reaped.
    pub fn wait_dead(&mut self, generation: usize) {
        self.wait(&format!("the end of worker {generation}"), |s| {
            let worker = s.workers().into_iter().rfind(|worker| worker.generation == generation.to_string());
            worker.is_some_and(|worker| is_dead(worker.pid))
        });
    }

    /// Waits for the end of the process that was announced as the worker of this number, even if it never became one.
    pub fn wait_announced_end(&mut self, number: usize) {
        self.wait(&format!("the end of what is announced as worker {number}"), |s| {
            let said = s.announcements();
            let pid = said.split(ANNOUNCEMENT).nth(number).and_then(|rest| rest.lines().next()?.parse().ok());
            pid.is_some_and(is_dead)
        });
    }

    /// Waits until this many processes wait for the lock of a file.
    pub fn wait_lock_is_wanted(&mut self, name: &str, by: usize) {
        self.wait(&format!("the lock of {name} to be wanted by {by}"), |s| wanting_lock(&s.dir, &s.path(name)) == by);
    }

    /// KILL to all that were announced as workers: also to those that will never report.
    pub fn kill_announced(&mut self) {
        let said = self.announcements();
        let pids = said.lines().filter_map(|line| line.strip_prefix(ANNOUNCEMENT)?.parse().ok());
        for pid in pids.filter(|&pid| !is_dead(pid)) {
            send(pid, "KILL");
        }
    }

    fn wait_line_of(&mut self, path: &Path, text: &str) {
        let mut found = None;
        self.wait(&format!("line {text:?}"), |s| {
            found = s.find_line(path, text);
            found.is_some()
        });
        self.lines_seen.extend(found.map(|line| (path.to_owned(), line + 1)));
    }

    /// The number of the first line with `text`, after those already waited for.
    fn find_line(&self, path: &Path, text: &str) -> Option<usize> {
        let seen = self.lines_seen.get(path).copied().unwrap_or(0);
        let content = self.names().apply(&announced_first(&text_of(&read(path))));
        let mut lines = content.split_inclusive('\n').skip(seen);
        Some(seen + lines.position(|line| line.ends_with('\n') && line.contains(text))?)
    }

    /// Waits until a file's content is `content`, with symbols for values.
    pub fn wait_file(&mut self, name: &str, content: &str) {
        self.wait(&format!("{name} = {content:?}"), |s| {
            let path = s.path(name);
            let is = path.exists().then(|| s.names().apply(&text_of(&read(&path))));
            let is_there = is.as_deref() == Some(content);
            s.found = is.map_or_else(|| ", and there is no such file".to_owned(), |is| format!(", and it is {is:?}"));
            is_there
        });
    }

    pub fn wait_no_file(&mut self, name: &str) {
        self.wait(&format!("no file {name}"), |s| fs::symlink_metadata(s.path(name)).is_err());
    }

    /// Waits for the superdaemon's end.
    pub fn wait_exit(&mut self) -> String {
        let mut ended = None;
        self.wait("the superdaemon's end", |s| {
            let process = s.superdaemons.last_mut().expect("a superdaemon was started");
            ended = process.end();
            ended.is_some() && s.daemon.is_none_or(|(daemon, _)| !running_in(&s.dir).contains(&daemon))
        });
        let end = ended.unwrap_or_default();
        self.steps.push(Kind::Exit, format!("-> {end}"));
        end
    }

    /// Waits for the answer to `GET /` of a listener: `$PORT` or the name of a unix socket.
    pub fn http_get(&mut self, listener: &str) -> String {
        let mut answer = String::new();
        self.wait(&format!("answer of {listener}"), |s| {
            answer = s.body(listener).unwrap_or_default();
            !answer.is_empty()
        });
        self.steps.push_text(Kind::Messages, &answer);
        self.names().apply(&answer)
    }

    /// Waits until the answer of a listener begins with `text`.
    pub fn wait_http(&mut self, listener: &str, text: &str) {
        self.wait(&format!("answer {text:?} of {listener}"), |s| {
            s.body(listener).is_some_and(|body| body.starts_with(text))
        });
    }

    /// Allows this much more time for each wait from now on.
    pub fn may_take_longer(&mut self, time: Duration) {
        self.allowance = time;
    }

    /// Waits for anything else.
    pub fn wait(&mut self, what: &str, mut is_there: impl FnMut(&mut Self) -> bool) {
        self.steps.push(kind_of_wait(what), format!("wait for {what}"));
        let (number, begin) = (self.waits, Instant::now());
        self.waits += 1;
        let what = if self.has_run_other { &format!("{what}, after a command of the other program") } else { what };
        self.found.clear();
        let mut rounds = 0;
        while !is_there(self) {
            rounds += 1;
            // Checked before the condition, so that the effects of the last process are still seen.
            let nothing_runs = rounds % 50 == 0 && self.nothing_runs();
            assert!(
                !nothing_runs || is_there(self),
                "everything has ended, and so nothing will come of the wait for {what}"
            );
            let is_over = rounds % 10 == 0 && begin.elapsed() > self.pace.patience(number) + self.allowance;
            assert!(!is_over, "deadline passed in the wait for {what}{}", self.found);
            assert!(rounds % 10 != 0 || !self.is_flooded(), "it writes without end");
            thread::sleep(POLL);
        }
        self.pace.has_waited(begin.elapsed());
    }

    /// A process that ends loses its working directory before it can be waited for, so both are checked.
    fn nothing_runs(&mut self) -> bool {
        let mut started = self.superdaemons.iter_mut().chain(&mut self.commands);
        started.all(|process| process.end().is_some()) && running_in(&self.dir).is_empty()
    }

    fn is_flooded(&self) -> bool {
        self.superdaemons.iter().chain(&self.commands).any(Process::floods)
            || is_flooded(&self.reports())
            || self.regular_files().iter().any(|name| is_flooded(&self.path(name)))
    }

    // --- looking

    /// Adds an observation to the transcript.
    pub fn observe(&mut self, kind: Kind, line: &str) {
        self.steps.push(kind, line);
    }

    /// The superdaemon's standard error so far, with symbols for values, and with Perl's words about itself.
    pub fn said(&self) -> String {
        self.names().apply(&self.superdaemons.last().map_or_else(String::new, Process::stderr))
    }

    /// A file's content, with symbols for values; it goes into the transcript.
    pub fn show(&mut self, name: &str) -> String {
        let path = self.path(name);
        let (content, length) = match fs::metadata(&path).and_then(|metadata| fs::File::open(&path).map(|_| metadata)) {
            Ok(metadata) => (read(&path), metadata.len()),
            Err(error) => (error.to_string().into_bytes(), 0),
        };
        let kind = kind_of_file(name);
        self.steps.push(kind, format!("--- {name}"));
        let is_binary = content.contains(&0);
        if is_flooded(&path) {
            self.steps.push(kind, format!("more than {} bytes", content.len()));
        } else if is_binary || content.len() > LONGEST_SHOWN {
            let digest = digest(&path).unwrap_or_default();
            self.steps.push(kind, format!("{length} bytes, sha256 {digest}"));
        } else {
            self.steps.push_text(kind, &announced_first(&text_of(&content)));
        }
        self.step("---");
        self.names().apply(&announced_first(&text_of(&content)))
    }

    /// The files of the scenario's directory, with type and mode; they go into the transcript.
    pub fn ls(&mut self) -> String {
        self.step("$ ls");
        let mut lines: Vec<String> = Vec::new();
        for entry in fs::read_dir(&self.dir).expect("the scenario's directory").flatten() {
            let metadata = entry.metadata().expect("metadata of a file");
            let kind = match metadata.file_type() {
                kind if kind.is_dir() => "dir",
                kind if kind.is_socket() => "socket",
                kind if kind.is_file() => "file",
                _ => "other",
            };
            let mode = metadata.permissions().mode() & 0o7777;
            lines.push(format!("{} {kind} {mode:04o}\n", text_of(entry.file_name().as_bytes())));
        }
        lines.sort();
        let listing = lines.concat();
        self.steps.push_text(Kind::Files, &listing);
        self.names().apply(&listing)
    }

    /// Kills the process whose pid a file holds.
    pub fn kill_process(&mut self, file: &str) {
        let pid = fs::read_to_string(self.path(file)).expect("a file with a pid");
        let pid = Pid::from_raw(pid.trim().parse().expect("a pid"));
        kill(pid, Signal::SIGKILL).expect("it runs");
    }

    /// The report of the worker of this generation.
    pub fn report_of(&self, generation: usize) -> String {
        let worker = self.workers().into_iter().find(|worker| worker.generation == generation.to_string());
        worker.map_or_else(String::new, |worker| worker.lines.join("\n"))
    }

    /// A variable of a worker's environment, with symbols for values (but not for descriptors).
    pub fn worker_env(&self, generation: usize, name: &str) -> Option<String> {
        self.worker(generation).env(name).map(|value| self.names().apply(value))
    }

    /// The socket at which a worker can say that it is ready.
    pub fn notify_socket(&self, generation: usize) -> PathBuf {
        self.worker(generation).env("NOTIFY_SOCKET").expect("a NOTIFY_SOCKET").into()
    }

    /// `text` with symbols for values.
    pub fn with_symbols(&self, text: &str) -> String {
        self.names().apply(text)
    }

    /// The first of the scenario's ports, `$PORT`.
    pub fn port(&self) -> u16 {
        self.ports[0].number
    }

    // --- the end

    /// Ends everything that still runs, and returns the transcript.
    pub fn finish(mut self) -> Transcript {
        // Nobody changes any more what is looked at. ORDER: before any of them is killed, as another one may wait for its lock.
        let daemon = self.daemon.map(|(daemon, _)| daemon);
        let started: Vec<i32> = self.superdaemons.iter().map(Process::pid).chain(daemon).collect();
        let running = running_in(&self.dir);
        for &pid in started.iter().filter(|pid| running.contains(pid)) {
            send(pid, "STOP");
        }
        if self.is_flooded() {
            // Whoever reads what grows comes to no end.
            end_all_in(&self.dir);
        }
        let left = self.workers().into_iter().filter(|worker| running.contains(&worker.pid));
        let left: Vec<String> = left.map(|worker| format!("worker {}", worker.generation)).collect();
        if let Some(index) = self.awaited {
            // It has not ended, but what it said counts.
            let (stdout, stderr) = (self.commands[index].stdout(), self.commands[index].stderr());
            self.steps.push_text(Kind::Messages, &stdout);
            self.steps.push_text(Kind::Messages, &stderr);
        }
        self.step(LEFT_RUNNING);
        for worker in left {
            self.steps.push(Kind::Liveness, worker);
        }
        self.step(LEFT_FILES);
        self.ls();
        for name in self.regular_files() {
            self.show(&name);
        }
        let names = self.names();
        // ORDER: superdaemons first, which would have a word to say on the end of their workers.
        for pid in started.into_iter().filter(|pid| running.contains(pid)) {
            send(pid, "KILL");
        }
        end_all_in(&self.dir);
        let mut observed = std::mem::take(&mut self.steps);
        for superdaemon in &mut self.superdaemons {
            superdaemon.end();
            observed.push(Kind::Step, "===== stderr");
            observed.push_text(Kind::Messages, &superdaemon.stderr());
            observed.push(Kind::Step, "===== stdout");
            observed.push_text(Kind::Messages, &superdaemon.stdout());
        }
        let mut workers = self.workers();
        // Workers that start at the same time may report in any order.
        workers.sort_by_key(|worker| worker.generation.parse::<u64>().ok());
        for worker in workers {
            observed.push(Kind::Life, format!("===== worker {}", worker.generation));
            for line in worker.describe() {
                observed.push(kind_of_report(line), line);
            }
        }
        observed.finish(&names, &Noise::of(&self.program))
    }

    // --- what is known

    /// The program under test.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// From now on, the other program is a copy, for users who can't enter the directory where it was built, such as
    /// root's home.
    pub fn copy_other(&mut self) {
        let copy = self.path("../program");
        assert!(Command::new("cp").arg(&self.other).arg(&copy).status().expect("cp(1)").success());
        self.other = copy;
    }

    pub fn other(&self) -> &Path {
        &self.other
    }

    pub fn has_run_other(&self) -> bool {
        self.has_run_other
    }

    pub fn worker_pid(&self, generation: usize) -> i32 {
        self.worker(generation).pid
    }

    pub fn superdaemon(&self) -> i32 {
        let started = || self.superdaemons.last().expect("a superdaemon was started").pid();
        self.daemon.map_or_else(started, |(daemon, _)| daemon)
    }

    fn regular_files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).expect("the scenario's directory").flatten();
        let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
        let mut names: Vec<String> = files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    fn step(&mut self, line: &str) {
        self.steps.push(Kind::Step, line);
    }

    fn fixtures(&self) -> PathBuf {
        self.top.path().join("fixtures")
    }

    fn reports(&self) -> PathBuf {
        self.top.path().join("reports")
    }

    fn workers(&self) -> Vec<Worker> {
        Worker::read_all(&self.reports())
    }

    fn worker(&self, generation: usize) -> Worker {
        let workers = self.workers().into_iter();
        let mut of_generation = workers.filter(|worker| worker.generation == generation.to_string());
        of_generation.next_back().expect("the worker has reported")
    }

    fn names(&self) -> Names {
        let mut names = Names::default();
        names.text(self.dir.to_str().expect("a temporary path is UTF-8"), "$DIR");
        names.text(self.top.path().to_str().expect("a temporary path is UTF-8"), "$TOP");
        // PATH differs from machine to machine.
        if let Some(path) = std::env::var("PATH").ok().filter(|path| path.contains('/')) {
            names.text(path, "$PATH");
        }
        names.number(&self.ports[0].number, "$PORT");
        names.number(&self.ports[1].number, "$PORT2");
        names.number(&self.ports[2].number, "$PORT3");
        let numbered = |letter: char, number: usize| {
            if number == 0 { format!("<{letter}>") } else { format!("<{letter}{}>", number + 1) }
        };
        for (number, process) in self.superdaemons.iter().enumerate() {
            names.pid(&process.pid(), numbered('S', number));
        }
        for (number, process) in self.commands.iter().enumerate() {
            names.pid(&process.pid(), numbered('C', number));
        }
        if let Some((daemon, session)) = self.daemon {
            names.pid(&daemon, "<D>");
            names.pid(&session, "<session of D>");
        }
        for worker in self.workers() {
            names.pid(&worker.pid, format!("<W{}>", worker.generation));
        }
        // A worker that isn't a probe, or has not reported, is known by its announcement.
        let announcements = self.announcements();
        let announced = announcements.lines().filter_map(|line| line.strip_prefix(ANNOUNCEMENT));
        for (generation, pid) in (1..).zip(announced) {
            if !names.knows(pid) {
                names.pid(&pid, format!("<W{generation}>"));
            }
        }
        names
    }

    fn announcements(&self) -> String {
        let log = announced_first(&text_of(&read(&self.path("log"))));
        self.superdaemons.iter().map(Process::stderr).chain([log]).collect()
    }

    /// How the superdaemon ended, if it has.
    pub fn end_of_superdaemon(&mut self) -> Option<String> {
        self.superdaemons.last_mut()?.end()
    }

    /// The generations and pids of all workers that have reported.
    pub fn reported(&self) -> Vec<(String, i32)> {
        self.workers().into_iter().map(|worker| (worker.generation, worker.pid)).collect()
    }

    /// The answer of a listener right now; None if it doesn't answer.
    pub fn body(&self, listener: &str) -> Option<String> {
        let body = match listener {
            "$PORT" => http::body_from_port(self.port()),
            path => http::body_from_socket(&self.path(path)),
        };
        body.ok()
    }

    fn expand(&self, text: impl AsRef<OsStr>) -> OsString {
        let text = text.as_ref();
        let Some(utf8) = text.to_str() else {
            return OsString::from_vec(text.as_bytes().to_vec());
        };
        let dir = self.dir.to_str().expect("a temporary path is UTF-8");
        // `$PORT` is a prefix of the other two, so it comes last.
        utf8.replace("$DIR", dir)
            .replace("$FIXTURES", self.fixtures().to_str().expect("a temporary path is UTF-8"))
            .replace("$PORT2", &self.ports[1].number.to_string())
            .replace("$PORT3", &self.ports[2].number.to_string())
            .replace("$PORT", &self.ports[0].number.to_string())
            .into()
    }
}

fn kind_of_file(name: &str) -> Kind {
    let name = name.rsplit('/').next().unwrap_or_default();
    let is_status = ["st", "status"].iter().any(|status| {
        name.strip_prefix(status).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    });
    if is_status { Kind::Status } else { Kind::Files }
}

/// `NAME = CONTENT` is a wait for a file.
fn kind_of_wait(what: &str) -> Kind {
    let is_name = |name: &&str| !name.contains(' ');
    what.split_once(" = ").map(|(name, _)| name).filter(is_name).map_or(Kind::Life, kind_of_file)
}

/// The kind of a line of a worker's report, by its beginning.
fn kind_of_report(line: &str) -> Kind {
    let begins = |with: &[&str]| with.iter().any(|word| line.starts_with(word));
    if begins(&["fd "]) {
        Kind::Descriptors
    } else if begins(&["argv", "env", "cwd", "start generation"]) {
        Kind::Worker
    } else if begins(&["signals", "umask"]) {
        Kind::Signals
    } else {
        Kind::Life
    }
}

/// The paths of a library: distributions have them in a directory for each processor.
fn libraries(name: &str) -> impl Iterator<Item = PathBuf> {
    let lib = Path::new("/usr/lib");
    let below = fs::read_dir(lib).into_iter().flatten().flatten().map(|entry| entry.path());
    let directories = [lib.to_owned(), "/usr/lib64".into(), "/usr/local/lib".into()].into_iter().chain(below);
    let name = name.to_owned();
    directories.map(move |directory| directory.join(&name)).filter(|path| path.is_file())
}

/// The SHA-256 of a file.
pub fn digest(path: &Path) -> Option<String> {
    let output = Command::new("sha256sum").arg("--").arg(path).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    // If the name has a backslash, the line begins with one.
    Some(text.trim_start_matches('\\').split(' ').next()?.to_owned()).filter(|digest| digest.len() == 64)
}
