//! Lives with one failing system call each, or with one signal at a system call. Over all lives, strace(1) makes each
//! call of the superdaemon fail at each of its occurrences. The superdaemon has to keep its promises all the same.
//!
//! The test runs a sample; `scripts/faults` runs all lives, with either program. docs/faults.md has the results.

mod clients;
mod succession;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::iter;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Outcome, Scenario, is_dead, one};
use crate::random::setting;

/// For each step of a life. Some faults cost the superdaemon a second or two.
const DEADLINE: Duration = Duration::from_secs(60);

/// With one set of options, at most this many occurrences of a call fail: `--ready=accepting` reads thousands of files.
const MOST_OCCURRENCES: usize = 40;

/// The superdaemon is at rest if this many looks in a row find it asleep.
const LOOKS_AT_REST: usize = 20;

/// Sets of options: a name, and the options that are added to the listeners.
const SETS: [(&str, &[&str]); 6] = [
    ("files", &["--pid-file=pid", "--status-file=st"]),
    ("notify", &["--status-file=st", "--ready=notify", "--kill-timeout=20", "--envdir=env", "--max-start-failures=50"]),
    ("log", &["--status-file=st", "--pid-file=pid", "--log-file=| exec cat >>log"]),
    ("accepting", &["--status-file=st", "--ready=accepting", "--log-file=log"]),
    ("approve", &["--status-file=st", "--approve=true", "--process-group", "--kill-timeout=20"]),
    ("store", &["--status-file=st", "--pid-file=pid", "--sd-notify", "--from-systemd"]),
];

/// Calls that no life makes fail: those of the C library and the loader, and those that can't fail. If strace makes a
/// close(2) fail, nothing is closed, which no kernel does.
const NEVER: [&str; 20] = [
    "close",
    "execve",
    "brk",
    "mmap",
    "mprotect",
    "munmap",
    "arch_prctl",
    "set_tid_address",
    "set_robust_list",
    "rseq",
    "prlimit64",
    "getrandom",
    "exit_group",
    "exit",
    "rt_sigreturn",
    "rt_sigaction",
    "rt_sigprocmask",
    "getpid",
    "umask",
    "restart_syscall",
];

/// The error with which a call fails. Others fail with EIO.
const ERRORS: [(&str, &str); 29] = [
    ("openat", "EMFILE"),
    ("socket", "EMFILE"),
    ("pipe2", "EMFILE"),
    ("dup2", "EMFILE"),
    ("dup3", "EMFILE"),
    ("fcntl", "EMFILE"),
    ("clone", "EAGAIN"),
    ("clone3", "EAGAIN"),
    ("fork", "EAGAIN"),
    ("vfork", "EAGAIN"),
    ("bind", "EADDRINUSE"),
    ("listen", "EADDRINUSE"),
    ("write", "ENOSPC"),
    ("pwritev2", "ENOSPC"),
    ("sendto", "ENOBUFS"),
    ("poll", "ENOMEM"),
    ("ppoll", "ENOMEM"),
    ("wait4", "ENOMEM"),
    ("waitid", "ENOMEM"),
    ("kill", "EPERM"),
    ("fchmod", "EPERM"),
    ("fchmodat", "EPERM"),
    ("mkdir", "EACCES"),
    ("unlink", "EACCES"),
    ("unlinkat", "EACCES"),
    ("rmdir", "EACCES"),
    ("flock", "ENOLCK"),
    ("newfstatat", "ENOMEM"),
    // The only error that a kernel returns here; the standard library treats any other as a bug.
    ("clock_nanosleep", "EINTR"),
];

/// What happens once to a superdaemon.
#[derive(Clone)]
struct Fault {
    set: usize,
    call: String,
    /// Which occurrence of the call, from 1 on.
    occurrence: usize,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Error,
    Term,
    Hup,
}

impl Fault {
    fn injection(&self) -> String {
        let known = ERRORS.iter().find(|(call, _)| *call == self.call);
        let what = match self.what {
            What::Error => format!("error={}", known.map_or("EIO", |(_, error)| error)),
            What::Term => "signal=TERM".to_owned(),
            What::Hup => "signal=HUP".to_owned(),
        };
        let Self { call, occurrence, .. } = self;
        format!("-e trace={call} -e inject={call}:{what}:when={occurrence}")
    }

    fn name(&self) -> String {
        format!("{} {} ", SETS[self.set].0, self.injection())
    }
}

/// A service manager that receives messages until it is dropped.
struct Manager {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<String>>>,
}

impl Manager {
    /// Programs that are started from now on know of it. Its socket is abstract, as a file would be left at the end.
    fn start(s: &mut Scenario) -> Self {
        let name = s.path("manager").display().to_string();
        s.env("NOTIFY_SOCKET", &format!("@{name}"));
        let address = SocketAddr::from_abstract_name(name).expect("a name that isn't too long");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        let is_over = Arc::new(AtomicBool::new(false));
        let sees_end = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
            loop {
                // ORDER: before the look at the queue, which is empty for good after that.
                let is_last = sees_end.load(Ordering::Relaxed);
                match socket.recv(&mut buffer) {
                    Ok(length) => heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned()),
                    Err(_) if is_last => return heard,
                    Err(_) => {}
                }
            }
        });
        Self { is_over, thread: Some(thread) }
    }

    /// Returns all messages.
    fn end(&mut self) -> Vec<String> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().map(|thread| thread.join().expect("no panic")).unwrap_or_default()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.end();
    }
}

fn start(s: &mut Scenario, set: usize, strace: &str) -> Option<Manager> {
    let manager = (SETS[set].0 == "store").then(|| Manager::start(s));
    s.mkdir("env");
    s.write("env/NAME", "value\n");
    s.env("TMPDIR", "$DIR");
    s.strace(strace);
    let listeners = ["--port=127.0.0.1:$PORT", "--path=sock", "--interval=0"];
    let worker = ["--", "$PROBE", "accept", "now"];
    let notify: &[&str] = if SETS[set].0 == "notify" { &["notify=READY=1"] } else { &[] };
    s.start(&[&listeners[..], SETS[set].1, &worker, notify].concat());
    manager
}

/// How a step of a superdaemon's life went.
enum Step {
    Done,
    Ended(String),
}

/// Waits until `is_there`, unless the superdaemon ends.
fn until(s: &mut Scenario, what: &str, mut is_there: impl FnMut(&mut Scenario) -> bool) -> Result<Step, String> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if is_there(s) {
            return Ok(Step::Done);
        }
        if let Some(end) = s.end_of_superdaemon() {
            return Ok(Step::Ended(end));
        }
        if Instant::now() > deadline {
            return Err(format!("in vain: {what}"));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal to a process that may have ended.
fn send(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

/// The newest generation that answers, and its worker.
fn answering(s: &Scenario) -> Option<(u64, i32)> {
    let body = s.body("$PORT")?;
    let generation: u64 = body.trim().rsplit(' ').next()?.parse().ok()?;
    let of_it = |(its, pid): (String, i32)| (its == generation.to_string()).then_some((generation, pid));
    s.reported().into_iter().rev().find_map(of_it)
}

/// Start, ask, HUP, ask, KILL of the worker, ask, HUP, ask, status, rest, TERM. An error says which promise was broken.
fn live(s: &mut Scenario, fault: &Fault, trace: &Path) -> Result<(), String> {
    let mut manager = start(s, fault.set, &format!("-o {} {}", trace.display(), fault.injection()));
    live_on(s, fault)?;
    let heard = manager.as_mut().map(Manager::end).unwrap_or_default();
    let is_kept = |name: &str| {
        let begin = format!("FDSTORE=1\nFDNAME=start_server-{name}");
        heard.iter().any(|message| message.starts_with(&begin))
    };
    let said = everything_said(s);
    // A superdaemon that has started a worker has told the manager what to keep, or has logged that it couldn't.
    let is_short = manager.is_some()
        && said.contains("starting new worker")
        && !said.contains("can't be told what to keep")
        && !(is_kept("127.0.0.1_") && is_kept("sock"));
    if is_short { Err(format!("the manager has only heard {heard:?}")) } else { Ok(()) }
}

fn live_on(s: &mut Scenario, fault: &Fault) -> Result<(), String> {
    let mut newest = 0;
    let mut given_up = 0;
    let mut worker = 0;
    for step in ["start", "HUP", "KILL of the worker", "another HUP"] {
        match step {
            "start" => {}
            "KILL of the worker" => send(worker, Signal::SIGKILL),
            _ => send(s.superdaemon(), Signal::SIGHUP),
        }
        let outcome = until(s, &format!("an answer after {step}"), |s| match answering(s) {
            Some((generation, pid)) if generation > newest => {
                (newest, worker) = (generation, pid);
                true
            }
            _ => {
                // If the command of --approve can't be run, nothing is approved.
                if s.said().matches("giving up the restart").count() > given_up {
                    given_up += 1;
                    send(s.superdaemon(), Signal::SIGHUP);
                }
                false
            }
        })?;
        if let Step::Ended(end) = outcome {
            return ended_early(s, fault, step, &end);
        }
    }
    // Signals and retries may still lead to another worker.
    if let Step::Ended(end) = until(s, "a true status file", status_is_true)? {
        return ended_early(s, fault, "status", &end);
    }
    if let Step::Ended(end) = until(s, "rest", is_at_rest)? {
        return ended_early(s, fault, "rest", &end);
    }
    send(s.superdaemon(), Signal::SIGTERM);
    match until(s, "the end", |_| false) {
        Ok(Step::Ended(end)) if end == "exit 0" => after_the_end(s),
        Ok(Step::Ended(end)) => Err(format!("{end} after TERM")),
        Ok(Step::Done) => Err("no end".into()),
        Err(error) => Err(error),
    }
}

/// An early end is right if nothing has served yet and a message says why, or if the injected signal asked for it.
fn ended_early(s: &mut Scenario, fault: &Fault, step: &str, end: &str) -> Result<(), String> {
    let is_right = match (fault.what, step) {
        (What::Term, "start") => ["exit 0", "signal 15", "exit 4"].contains(&end),
        (What::Hup, "start") => ["signal 1", "exit 4"].contains(&end),
        (What::Term, _) => end == "exit 0",
        (What::Error, "start") => end.starts_with("exit ") && end != "exit 0" && gives_a_reason(s),
        _ => false,
    };
    if !is_right {
        return Err(format!("{end} at {step}"));
    }
    after_the_end(s)
}

/// Waits for the reason, as a log command may write it a moment later.
fn gives_a_reason(s: &mut Scenario) -> bool {
    let is_reason = |line: &str| !line.ends_with("starting now...") && !line.starts_with("starting new worker");
    let deadline = Instant::now() + DEADLINE;
    while !everything_said(s).lines().any(is_reason) {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

fn everything_said(s: &Scenario) -> String {
    s.said() + &s.with_symbols(&fs::read_to_string(s.path("log")).unwrap_or_default())
}

/// No process is left, and no file but the log and those that a message names.
fn after_the_end(s: &mut Scenario) -> Result<(), String> {
    let deadline = Instant::now() + DEADLINE;
    let alive = |s: &Scenario| s.reported().into_iter().filter(|&(_, pid)| !is_dead(pid)).count();
    while alive(s) > 0 {
        if Instant::now() > deadline {
            return Err("a worker is left".into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    let said = everything_said(s);
    let entries = fs::read_dir(s.path("")).expect("the directory of the scenario").flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let left = names.filter(|name| !["log", "env"].contains(&name.as_str()));
    let left: Vec<String> = left.map(|name| s.with_symbols(&name)).collect();
    let is_named = |name: &String| said.lines().any(|line| line.starts_with("failed to ") && line.contains(&**name));
    match left.iter().find(|name| !is_named(name)) {
        Some(name) => Err(format!("{name} is left")),
        None => Ok(()),
    }
}

fn children(s: &Scenario) -> Vec<i32> {
    let pid = s.superdaemon();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Whether the status file lists the living worker, and no child waits to be reaped.
fn status_is_true(s: &mut Scenario) -> bool {
    let children: BTreeSet<i32> = children(s).into_iter().collect();
    let workers = s.reported().into_iter().filter(|(_, pid)| children.contains(pid));
    let mut expected: Vec<String> = workers.map(|(generation, pid)| format!("{generation}:{pid}\n")).collect();
    expected.sort();
    expected.len() == 1
        && fs::read_to_string(s.path("st")).is_ok_and(|status| status == expected.concat())
        && !children.iter().any(|&child| is_dead(child))
}

/// Whether the superdaemon sleeps at each of the looks.
fn is_at_rest(s: &mut Scenario) -> bool {
    let stat = format!("/proc/{}/stat", s.superdaemon());
    let sleeps = || {
        thread::sleep(Duration::from_millis(5));
        fs::read_to_string(&stat)
            .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S')))
    };
    iter::repeat_with(sleeps).take(LOOKS_AT_REST).all(|sleeps| sleeps)
}

/// All faults that are possible with a set of options, found in a life without any.
fn faults(of_original: bool, set: usize) -> Vec<Fault> {
    let trace = tempfile::NamedTempFile::new().expect("a temporary file");
    let strace = format!("-o {}", trace.path().display());
    let Outcome { result, transcript, .. } = one(of_original, |s| {
        let _manager = start(s, set, &strace);
        let mut newest = 0;
        for signal in [None, Some("HUP"), Some("KILL"), Some("HUP")] {
            match signal {
                Some("KILL") => s.signal_worker(usize::try_from(newest).expect("a generation"), "KILL"),
                Some(name) => s.signal(name),
                None => {}
            }
            let newer = |(generation, _): (u64, i32)| (generation > newest).then_some(generation);
            let mut found = None;
            until(s, "an answer", |s| {
                found = answering(s).and_then(newer);
                found.is_some()
            })?;
            newest = found.ok_or("it has ended")?;
        }
        until(s, "a true status file", status_is_true)?;
        s.signal("TERM");
        until(s, "the end", |_| false)?;
        Ok::<_, String>(())
    });
    assert_eq!(result, Ok(Ok(())), "{}", transcript.text());
    let trace = fs::read_to_string(trace.path()).expect("a trace");
    let calls: Vec<&str> = trace.lines().filter_map(|line| line.split_once('(')).map(|(call, _)| call).collect();
    // Skip the calls before the program begins: the loader's last one unmaps its cache; perl makes thousands before the
    // script logs its start.
    let own = if of_original {
        trace.lines().position(|line| line.contains("starting now...")).unwrap_or(0)
    } else {
        trace.lines().filter(|line| line.contains('(')).position(|line| line.starts_with("munmap(")).unwrap_or(0)
    };
    let (mut before, mut all): (BTreeMap<&str, usize>, BTreeMap<&str, usize>) = Default::default();
    for (index, call) in calls.into_iter().enumerate() {
        if index <= own {
            *before.entry(call).or_default() += 1;
        }
        *all.entry(call).or_default() += 1;
    }
    let is_name = |call: &str| call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    all.retain(|call, _| is_name(call) && !NEVER.contains(call));
    let mut faults = Vec::new();
    for (call, count) in all {
        let first = before.get(call).copied().unwrap_or(0) + 1;
        let step = (count + 1).saturating_sub(first).div_ceil(MOST_OCCURRENCES).max(1);
        for what in [What::Error, What::Term, What::Hup] {
            let occurrences = (first..=count).step_by(step);
            faults.extend(occurrences.map(|occurrence| Fault { set, call: call.to_owned(), occurrence, what }));
        }
    }
    faults
}

fn run(of_original: bool, faults: &[Fault]) -> Lives {
    Lives::run(faults, Fault::name, |fault, trace| {
        let outcome = one(of_original, |s| live(s, fault, trace));
        (outcome, fault.what != What::Error || is_injected(trace))
    })
}

/// Whether strace(1) has made a call fail. It doesn't say so of a signal.
fn is_injected(trace: &Path) -> bool {
    fs::read_to_string(trace).expect("a trace").contains(" (INJECTED)")
}

/// What became of some lives.
#[derive(Default)]
pub struct Lives {
    count: usize,
    /// In how many of them the fault happened, as far as that can be seen. A life with another number of calls than the
    /// one in which they were counted may end before it.
    faults: usize,
    /// A line for each that broke a promise.
    broken: Vec<String>,
}

impl Lives {
    /// `outcome_of` also tells whether the fault happened. It is given the name of a file for a trace.
    fn run<F: Sync>(
        faults: &[F],
        name: impl Fn(&F) -> String + Sync,
        outcome_of: impl Fn(&F, &Path) -> (Outcome<Result<(), String>>, bool) + Sync,
    ) -> Self {
        let happened = AtomicUsize::new(0);
        let broken = run_all(faults, name, |fault| {
            let trace = tempfile::NamedTempFile::new().expect("a temporary file");
            let (outcome, has_happened) = outcome_of(fault, trace.path());
            happened.fetch_add(usize::from(has_happened), Ordering::Relaxed);
            outcome
        });
        Self { count: faults.len(), faults: happened.into_inner(), broken }
    }

    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.faults += other.faults;
        self.broken.extend(other.broken);
    }

    fn report(&self, name: &str, begin: Instant) {
        let (lives, without, broken) = (self.count, self.count - self.faults, self.broken.len());
        let seconds = begin.elapsed().as_secs();
        println!("{name}: {lives} lives, {broken} with a broken promise, {without} without the fault, {seconds} s");
    }

    fn check(&self, may_break: bool) {
        println!("{} lives, {} faults", self.count, self.faults);
        assert!(may_break || self.broken.is_empty(), "{}", self.broken.join("\n"));
        assert!(self.faults * 2 >= self.count, "only {} of {} lives had their fault", self.faults, self.count);
    }
}

/// Runs the lives, several at a time, and returns a line for each that broke a promise.
pub fn run_all<F: Sync>(
    faults: &[F],
    name: impl Fn(&F) -> String + Sync,
    outcome_of: impl Fn(&F) -> Outcome<Result<(), String>> + Sync,
) -> Vec<String> {
    let jobs = usize::try_from(setting("FAULTS_JOBS", 4)).expect("a number of jobs");
    let next = Mutex::new(faults.iter());
    let broken = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(fault) = { next.lock().expect("no panic").next() } {
                    let Outcome { result, transcript, .. } = outcome_of(fault);
                    let failure = match result {
                        Ok(Ok(())) => continue,
                        Ok(Err(failure)) | Err(failure) => failure,
                    };
                    let mut line = format!("{}: {failure}", name(fault));
                    if std::env::var_os("FAULTS_VERBOSE").is_some() {
                        let _ = write!(line, "\n{}", transcript.text());
                    }
                    println!("{line}");
                    broken.lock().expect("no panic").push(line);
                }
            });
        }
    });
    broken.into_inner().expect("no panic")
}

/// By default, this many lives of each set run, spread evenly over all.
const SAMPLE: usize = 8;

/// `scripts/faults` sets the variables.
#[test]
fn no_fault_breaks_a_promise() {
    assert!(Command::new("strace").arg("-V").output().is_ok(), "strace is missing: run scripts/install-oracle");
    let of = std::env::var("FAULTS_OF").ok();
    let of_original = of.as_deref() == Some("original");
    let only = std::env::var("FAULTS_SET").ok();
    let only_call = std::env::var("FAULTS_CALL").ok();
    // The original knows none of our options.
    let is_wanted = |set: &usize| {
        only.as_deref().is_none_or(|only| only == SETS[*set].0)
            && !(of_original
                && ["--ready", "--approve", "--sd-notify"].iter().any(|ours| SETS[*set].1.concat().contains(ours)))
    };
    let mut lives = Lives::default();
    for set in (0..SETS.len()).filter(is_wanted) {
        let mut all = faults(of_original, set);
        all.retain(|fault| only_call.as_deref().is_none_or(|call| call == fault.call));
        if of.is_none() {
            let step = (all.len() / SAMPLE).max(1);
            let sample: Vec<Fault> = all.into_iter().skip(step / 2).step_by(step).take(SAMPLE).collect();
            lives.add(run(of_original, &sample));
            continue;
        }
        for (what, name) in [(What::Error, "errors"), (What::Term, "TERM"), (What::Hup, "HUP")] {
            let faults: Vec<Fault> = all.iter().filter(|fault| fault.what == what).cloned().collect();
            let begin = Instant::now();
            let of_kind = run(of_original, &faults);
            of_kind.report(&format!("{}, {name}", SETS[set].0), begin);
            lives.add(of_kind);
        }
    }
    lives.check(of_original);
}
