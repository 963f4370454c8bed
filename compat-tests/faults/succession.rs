//! Lives in which one program hands over to the next (`--upgrade`, `--take-over`) while one system call fails: of the
//! command, of the superdaemon before or after its exec, or of the rehearsal. An original that is being taken over
//! can't be traced by strace(1) at the same time, so a seccomp filter makes the call fail each time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;

use super::{ERRORS, Lives, MOST_OCCURRENCES, NEVER, Signal, Step, after_the_end, children, is_at_rest, send, until};
use crate::harness::{Outcome, Scenario, is_dead, one};

/// Whose calls fail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// Those of the old program, and of the new one in the same process.
    Superdaemon,
    /// Those of the processes that the superdaemon forks meanwhile, and also its own: strace(1) counts for each process
    /// separately.
    Children,
    Command,
    /// Those of a process that begins as the original; they fail each time.
    Filtered,
}

struct Set {
    name: &'static str,
    options: &'static [&'static str],
    worker: &'static [&'static str],
    command: &'static str,
    whose: Whose,
}

const FILES: &[&str] = &["--pid-file=pid", "--status-file=st", "--path=sock"];
const NOTIFY: &[&str] = &["--pid-file=pid", "--status-file=st", "--path=sock", "--ready=notify", "--kill-timeout=60"];
const ACCEPTING: &[&str] =
    &["--pid-file=pid", "--status-file=st", "--path=sock", "--ready=accepting", "--log-file=| exec cat >>log"];

const fn set(name: &'static str, options: &'static [&'static str], command: &'static str, whose: Whose) -> Set {
    Set { name, options, worker: &["$PROBE", "accept", "now"], command, whose }
}

const SETS: [Set; 7] = [
    Set {
        worker: &["$PROBE", "accept", "now", "notify=READY=1"],
        ..set("upgrade-notify", NOTIFY, "--upgrade", Whose::Superdaemon)
    },
    set("upgrade-accepting", ACCEPTING, "--upgrade", Whose::Superdaemon),
    set("upgrade-children", ACCEPTING, "--upgrade", Whose::Children),
    set("upgrade-command", FILES, "--upgrade", Whose::Command),
    set("take-over-command", FILES, "--take-over", Whose::Command),
    Set {
        worker: &["perl", "$FIXTURES/three_ways.pl"],
        ..set("take-over-filtered", FILES, "--take-over", Whose::Filtered)
    },
    set("upgrade-files", FILES, "--upgrade", Whose::Superdaemon),
];

/// Calls that our program makes after its exec, and the original and its worker don't. If there is an argument, the
/// others don't make the call with this second argument.
const FILTERED: [(&str, libc::c_long, Option<libc::c_int>, Errno); 11] = [
    ("memfd_create", libc::SYS_memfd_create, None, Errno::EMFILE),
    ("pipe2", libc::SYS_pipe2, None, Errno::EMFILE),
    ("socketpair", libc::SYS_socketpair, None, Errno::EMFILE),
    ("flock", libc::SYS_flock, Some(libc::LOCK_EX | libc::LOCK_NB), Errno::ENOLCK),
    ("getsockname", libc::SYS_getsockname, None, Errno::ENOBUFS),
    ("statx", libc::SYS_statx, None, Errno::ENOMEM),
    ("getdents64", libc::SYS_getdents64, None, Errno::ENOMEM),
    ("readlinkat", libc::SYS_readlinkat, None, Errno::ENOMEM),
    ("sendto", libc::SYS_sendto, None, Errno::ENOBUFS),
    ("prctl", libc::SYS_prctl, None, Errno::EPERM),
    ("sigaltstack", libc::SYS_sigaltstack, None, Errno::ENOMEM),
];

/// What happens once (with a filter: each time).
#[derive(Clone)]
struct Fault {
    set: usize,
    call: String,
    occurrence: usize,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Error,
    /// The command is killed.
    Kill,
}

impl Fault {
    fn injection(&self) -> Vec<String> {
        let Self { call, occurrence, .. } = self;
        let what = match self.what {
            What::Kill => "signal=KILL".to_owned(),
            What::Error => {
                let known = ERRORS.iter().find(|(known, _)| known == call);
                format!("error={}", known.map_or("EIO", |(_, error)| error))
            }
        };
        let inject = format!("inject={call}:{what}:when={occurrence}");
        // execve and munmap show which calls are the loader's.
        ["-e".into(), format!("trace={call},execve,munmap"), "-e".into(), inject].into()
    }

    fn name(&self) -> String {
        let set = &SETS[self.set];
        match set.whose {
            Whose::Filtered => format!("{} {} ", set.name, self.call),
            _ => format!("{} {} ", set.name, self.injection().join(" ")),
        }
    }
}

impl Set {
    /// Whether the superdaemon begins as the original.
    fn is_take_over(&self) -> bool {
        self.command == "--take-over"
    }
}

fn ours(s: &Scenario, set: &Set) -> PathBuf {
    if set.is_take_over() { s.other().to_owned() } else { s.path("../start_server") }
}

/// Installs by a rename, as a package manager does. Another process writes the file: if this one did, a fork of another
/// test could hold it open for writing, too, and it could not be executed.
fn install(s: &Scenario, program: &Path) {
    let new = s.path("../new");
    assert!(Command::new("cp").arg(program).arg(&new).status().expect("cp(1)").success());
    fs::rename(new, s.path("../start_server")).expect("a program to replace");
}

fn start(s: &mut Scenario, set: &Set, filter: Option<&str>) {
    s.env("TMPDIR", "$DIR");
    match filter {
        Some(call) => s.prelude(&filter_of(call)),
        None if set.is_take_over() => {}
        None => {
            install(s, s.program());
            s.prelude("exec \"$DIR/../start_server\" \"$@\"");
        }
    }
    s.start(&[&["--port=127.0.0.1:$PORT", "--interval=0"], set.options, &["--"], set.worker].concat());
    s.prelude("");
}

/// A prelude that makes a call fail in everything that is executed after it.
fn filter_of(call: &str) -> String {
    let (_, number, argument, errno) = FILTERED.iter().find(|(name, ..)| *name == call).expect("a call of the list");
    let prctl = libc::SYS_prctl;
    let failure = 0x0005_0000 | *errno as i32;
    // What the second comparison loads, and its value: the call's number once more, or the second argument.
    let (offset, value) = argument.map_or((0, *number), |argument| (24, argument.into()));
    // Load the call's number; if it matches, load the second value; if that matches, fail; otherwise allow the call.
    format!(
        "exec perl -e 'my $f = pack \"SCCL\" x 6, 32, 0, 0, 0, 21, 0, 3, {number}, 32, 0, 0, {offset}, 21, 0, 1, {value}, \
         6, 0, 0, {failure}, 6, 0, 0, 0x7fff0000; \
         syscall {prctl}, 38, 1, 0, 0, 0; \
         my $p = pack \"S x![J] P\", 6, $f; \
         syscall({prctl}, 22, 2, $p, 0, 0) == 0 or die \"no filter: $!\"; \
         exec @ARGV' \"$0\" \"$@\""
    )
}

/// strace(1), attached to the superdaemon until it is detached.
struct Tracer(Child);

impl Tracer {
    fn attach(s: &mut Scenario, follow: bool, output: &Path, injection: &[String]) -> Self {
        let pid = s.superdaemon();
        let mut command = Command::new("strace");
        command.args(["-qq", "-o"]).arg(output).args(injection).args(follow.then_some("-f"));
        let child = command.args(["-p", &pid.to_string()]).stderr(Stdio::null()).spawn().expect("strace");
        let tracer = format!("TracerPid:\t{}\n", child.id());
        s.wait("the tracer", |_| {
            fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains(&tracer))
        });
        Self(child)
    }

    fn detach(mut self) {
        send(self.0.id().try_into().expect("a pid"), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// Runs the command, with strace if there is a `trace`. Returns how it ended, and its standard error.
fn command(s: &mut Scenario, set: &Set, trace: Option<(&Path, &[String])>) -> (String, String) {
    if let Some((output, injection)) = trace {
        s.strace(&format!("-o {} {}", output.display(), injection.join(" ")));
    }
    let args = [set.command, "--pid-file=pid"];
    let output = if set.is_take_over() { s.run_other(&args) } else { s.run(&args) };
    s.prelude("");
    (output.end, output.stderr)
}

/// Waits for a step that the superdaemon has to reach without ending.
fn reach(s: &mut Scenario, what: &str, is_there: impl FnMut(&mut Scenario) -> bool) -> Result<(), String> {
    match until(s, what, is_there)? {
        Step::Done => Ok(()),
        Step::Ended(end) => Err(format!("{end}, in vain: {what}")),
    }
}

/// The worker in the status file, if it is the only one.
fn current(s: &Scenario) -> Option<(u64, i32)> {
    let status = fs::read_to_string(s.path("st")).ok()?;
    let (generation, pid) = status.strip_suffix('\n')?.split_once(':')?;
    Some((generation.parse().ok()?, pid.parse().ok()?))
}

/// The same, if that worker answers.
fn answering(s: &Scenario) -> Option<(u64, i32)> {
    let generation: u64 = s.body("$PORT")?.trim().rsplit(' ').next()?.parse().ok()?;
    current(s).filter(|&(its, _)| its == generation)
}

/// Whether the status file lists the living worker alone, and no child waits to be reaped.
fn status_is_true(s: &mut Scenario) -> bool {
    let children = children(s);
    current(s).is_some_and(|(_, pid)| children.contains(&pid)) && !children.iter().any(|&child| is_dead(child))
}

fn newer(s: &mut Scenario, what: &str, newest: &mut (u64, i32)) -> Result<(), String> {
    reach(s, &format!("an answer after {what}"), |s| match answering(s) {
        Some(found) if found.0 > newest.0 => {
            *newest = found;
            true
        }
        _ => false,
    })
}

fn is_ours_now(s: &Scenario, set: &Set) -> bool {
    let there = fs::read_link(format!("/proc/{}/exe", s.superdaemon())).ok();
    there.is_some() && there == fs::canonicalize(ours(s, set)).ok()
}

/// Start, the command with its fault, checks, HUP, KILL of the worker, the command once more, TERM.
fn live(s: &mut Scenario, fault: &Fault, trace: &Path) -> Result<(), String> {
    let set = &SETS[fault.set];
    start(s, set, (set.whose == Whose::Filtered).then_some(&fault.call));
    let mut newest = (0, 0);
    newer(s, "the start", &mut newest)?;
    reach(s, "a true status file", status_is_true)?;
    reach(s, "rest", is_at_rest)?;
    let before = descriptors(s);
    if !set.is_take_over() {
        install(s, s.program());
    }
    let injection = fault.injection();
    let (end, said) = match set.whose {
        Whose::Command => command(s, set, Some((trace, &injection))),
        Whose::Filtered => command(s, set, None),
        Whose::Superdaemon | Whose::Children => {
            let tracer = Tracer::attach(s, set.whose == Whose::Children, trace, &injection);
            let outcome = command(s, set, None);
            tracer.detach();
            outcome
        }
    };
    // If the command was killed, the superdaemon may still be at work.
    reach(s, "rest after the command", is_at_rest)?;
    check_exit(s, set, fault, &end, &said)?;
    check_files(s, set)?;
    if fault.what == What::Kill {
        check_traces(s, set, &before)?;
    }
    send(s.superdaemon(), Signal::SIGHUP);
    newer(s, "HUP", &mut newest)?;
    send(newest.1, Signal::SIGKILL);
    newer(s, "KILL of the worker", &mut newest)?;
    reach(s, "a true status file at the end", status_is_true)?;
    reach(s, "rest at the end", is_at_rest)?;
    if set.whose != Whose::Filtered {
        // Nothing that the first one left is in the way of a second one.
        let (end, said) = command(s, set, None);
        if end != "exit 0" || !is_ours_now(s, set) {
            return Err(format!("{end} of the second command: {said}"));
        }
        reach(s, "rest after the second command", is_at_rest)?;
    }
    check_files(s, set)?;
    send(s.superdaemon(), Signal::SIGTERM);
    match until(s, "the end", |_| false)? {
        Step::Ended(end) if end == "exit 0" && !is_dead(newest.1) => Err("a worker is left".into()),
        Step::Ended(end) if end == "exit 0" => after_the_end(s),
        Step::Ended(end) => Err(format!("{end} after TERM")),
        Step::Done => Err("no end".into()),
    }
}

/// If the command ends with 0, the new program runs; otherwise it gives a reason, and the old one runs. A command that
/// fails itself, or waits in vain for the answer, may not know which one runs.
fn check_exit(s: &Scenario, set: &Set, fault: &Fault, end: &str, said: &str) -> Result<(), String> {
    let is_done = is_ours_now(s, set);
    let may_not_know = set.whose == Whose::Command || end == "exit 124";
    match end {
        "signal 9" if fault.what == What::Kill => Ok(()),
        "exit 0" if is_done => Ok(()),
        "exit 0" => Err("exit 0 of the command, and the old program runs".into()),
        _ if !end.starts_with("exit ") => Err(format!("{end} of the command")),
        _ if said.trim().is_empty() => Err(format!("{end} of the command without a word")),
        _ if is_done && !may_not_know => Err(format!("{end} of the command, and the new program runs: {said}")),
        _ => Ok(()),
    }
}

/// Both listeners answer, and all files are as they should be.
fn check_files(s: &mut Scenario, set: &Set) -> Result<(), String> {
    reach(s, "an answer of both listeners", |s| s.body("$PORT").is_some() && s.body("sock").is_some())?;
    reach(s, "a true status file after the command", status_is_true)?;
    let pid = fs::read_to_string(s.path("pid")).unwrap_or_default();
    if pid != format!("{}\n", s.superdaemon()) && pid != s.superdaemon().to_string() {
        return Err(format!("the pid file has {pid:?}"));
    }
    let file = File::open(s.path("pid")).map_err(|error| error.to_string())?;
    if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok() {
        return Err("the lock is free".into());
    }
    if set.options.contains(&"--path=sock") && !s.path("sock").exists() {
        return Err("the socket is gone".into());
    }
    Ok(())
}

/// What the superdaemon's descriptors lead to.
fn descriptors(s: &Scenario) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{}/fd", s.superdaemon())).into_iter().flatten().flatten();
    let mut all: Vec<String> =
        entries.filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string())).collect();
    all.sort_unstable();
    all
}

/// A killed command leaves nothing open in the superdaemon, and no signal blocked. If the take-over was complete, the
/// superdaemon is our program now, which has descriptors of its own.
fn check_traces(s: &mut Scenario, set: &Set, before: &[String]) -> Result<(), String> {
    let is_clean = |s: &mut Scenario| {
        let now = descriptors(s);
        let is_closed = if set.is_take_over() && !is_ours_now(s, set) {
            now == before
        } else {
            !now.iter().any(|to| to.contains("memfd:") && !to.contains("memfd:start_server-status "))
        };
        let status = fs::read_to_string(format!("/proc/{}/status", s.superdaemon())).unwrap_or_default();
        is_closed && status.contains("\nSigBlk:\t0000000000000000\n")
    };
    let end = reach(s, "nothing left of a killed command", is_clean);
    end.map_err(|error| format!("{error}: {:?}, and before {before:?}", descriptors(s)))
}

/// A call in a trace.
struct Traced<'a> {
    /// Empty if only one process is traced.
    pid: &'a str,
    name: &'a str,
    /// Whether the loader makes it, which it does between an exec and its first munmap(2).
    is_of_loader: bool,
    is_made_to_fail: bool,
}

/// The calls in a trace. With `from_start`, it begins with the loader's.
fn calls(trace: &str, has_pids: bool, from_start: bool) -> Vec<Traced<'_>> {
    let mut loading: BTreeMap<&str, bool> = BTreeMap::new();
    let call = |line| {
        let (pid, line): (&str, &str) = if has_pids { str::split_once(line, ' ')? } else { ("", line) };
        let (name, rest) = line.trim_start().split_once('(')?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return None;
        }
        let is_loading = loading.entry(pid).or_insert(from_start);
        let is_of_loader = *is_loading;
        *is_loading = if is_of_loader { name != "munmap" } else { name == "execve" && !rest.contains(" = -1 ") };
        Some(Traced { pid, name, is_of_loader, is_made_to_fail: rest.ends_with(" (INJECTED)") })
    };
    trace.lines().filter_map(call).collect()
}

/// The calls in a trace that may fail, each with its occurrences.
fn occurrences(trace: &str, has_pids: bool, superdaemon: &str, from_start: bool) -> BTreeMap<String, Vec<usize>> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut all: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for Traced { pid, name, is_of_loader, .. } in calls(trace, has_pids, from_start) {
        let count = counts.entry((pid, name)).or_default();
        *count += 1;
        let is_fault = name == "execve" || !NEVER.contains(&name);
        let is_wanted = !is_of_loader && (!has_pids || pid != superdaemon);
        if is_fault && is_wanted {
            let of_call = all.entry(name.to_owned()).or_default();
            if !of_call.contains(count) {
                of_call.push(*count);
            }
        }
    }
    all
}

/// Runs a life. If the program made a call more or less than before, the fault may have hit the loader, which can't
/// survive it: such a life doesn't count.
fn life_of(fault: &Fault, trace: &Path) -> (Outcome<Result<(), String>>, bool) {
    let set = &SETS[fault.set];
    let mut outcome = one(set.is_take_over(), |s| live(s, fault, trace));
    let text = fs::read_to_string(trace).expect("a trace");
    let calls = calls(&text, set.whose == Whose::Children, set.whose == Whose::Command);
    if calls.iter().any(|call| call.is_made_to_fail && call.is_of_loader) {
        println!("{}: of the loader", fault.name());
        outcome.result = Ok(Ok(()));
        return (outcome, false);
    }
    // A trace shows neither a filter nor a KILL.
    let is_seen = set.whose != Whose::Filtered && fault.what == What::Error;
    (outcome, !is_seen || calls.iter().any(|call| call.is_made_to_fail))
}

/// All faults that are possible with a set, found in a life without any.
fn faults(index: usize) -> Vec<Fault> {
    let set = &SETS[index];
    let fault = |call: &str, occurrence, what| Fault { set: index, call: call.to_owned(), occurrence, what };
    if set.whose == Whose::Filtered {
        return FILTERED.iter().map(|(call, ..)| fault(call, 1, What::Error)).collect();
    }
    let trace = tempfile::NamedTempFile::new().expect("a temporary file");
    let Outcome { result, transcript, .. } = one(set.is_take_over(), |s| {
        start(s, set, None);
        newer(s, "the start", &mut (0, 0))?;
        reach(s, "a true status file", status_is_true)?;
        reach(s, "rest", is_at_rest)?;
        if !set.is_take_over() {
            install(s, s.program());
        }
        let (end, said) = if set.whose == Whose::Command {
            command(s, set, Some((trace.path(), &[])))
        } else {
            let tracer = Tracer::attach(s, set.whose == Whose::Children, trace.path(), &[]);
            let outcome = command(s, set, None);
            reach(s, "rest", is_at_rest)?;
            tracer.detach();
            outcome
        };
        if end != "exit 0" {
            return Err(format!("{end}: {said}"));
        }
        let superdaemon = s.superdaemon().to_string();
        send(s.superdaemon(), Signal::SIGTERM);
        until(s, "the end", |_| false)?;
        Ok::<_, String>(superdaemon)
    });
    let superdaemon = match result {
        Ok(Ok(pid)) => pid,
        Ok(Err(error)) | Err(error) => panic!("{}: {error}\n{}", set.name, transcript.text()),
    };
    let trace = fs::read_to_string(trace.path()).expect("a trace");
    let is_command = set.whose == Whose::Command;
    let mut all = Vec::new();
    for (call, found) in occurrences(&trace, set.whose == Whose::Children, &superdaemon, is_command) {
        let step = found.len().div_ceil(MOST_OCCURRENCES).max(1);
        for what in iter::once(What::Error).chain(is_command.then_some(What::Kill)) {
            all.extend(found.iter().step_by(step).map(|&occurrence| fault(&call, occurrence, what)));
        }
    }
    all
}

/// By default, this many lives of each set run, spread evenly over all.
const SAMPLE: usize = 9;

/// `scripts/faults` sets the variables.
#[test]
fn no_fault_ends_a_succession() {
    assert!(Command::new("strace").arg("-V").output().is_ok(), "strace is missing: run scripts/install-oracle");
    let of = std::env::var("FAULTS_OF").ok();
    // The original hands nothing over.
    if of.as_deref() == Some("original") {
        return;
    }
    let only = std::env::var("FAULTS_SET").ok();
    let only_call = std::env::var("FAULTS_CALL").ok();
    let sets = (0..SETS.len()).filter(|&set| only.as_deref().is_none_or(|only| only == SETS[set].name));
    let mut lives = Lives::default();
    for set in sets {
        let mut all = faults(set);
        all.retain(|fault| only_call.as_deref().is_none_or(|call| call == fault.call));
        if of.is_none() {
            let step = (all.len() / SAMPLE).max(1);
            let sample: Vec<Fault> = all.into_iter().skip(step / 2).step_by(step).take(SAMPLE).collect();
            lives.add(run(&sample));
            continue;
        }
        for (what, name) in [(What::Error, "errors"), (What::Kill, "KILL")] {
            let faults: Vec<Fault> = all.iter().filter(|fault| fault.what == what).cloned().collect();
            if faults.is_empty() {
                continue;
            }
            let begin = Instant::now();
            let of_kind = run(&faults);
            of_kind.report(&format!("{}, {name}", SETS[set].name), begin);
            lives.add(of_kind);
        }
    }
    lives.check(false);
}

fn run(faults: &[Fault]) -> Lives {
    Lives::run(faults, Fault::name, life_of)
}
