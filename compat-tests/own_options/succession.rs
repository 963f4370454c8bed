//! The state that one program hands to the next, as text. Later versions must read the states of each version, and the
//! rehearsal must refuse a broken one. `STATES=write` writes the states of this version to `compat-tests/states`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, Flock, FlockArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::pipe2;

use super::stop;
use super::upgrade::{binary, pass_on};
use crate::harness::{Scenario, original_alone, ours_alone};

const VERSION: &str = "1.3";

/// The descriptors at which the program finds the state, and writes its answer.
const STATE_AND_ANSWER: [RawFd; 2] = [400, 401];

/// A key's lines: whether there may be only one, which field is a descriptor, and fields that can't be read.
#[derive(Clone, Copy)]
struct Key {
    name: &'static str,
    is_single: bool,
    descriptor: Option<usize>,
    broken: &'static str,
}

const fn many(name: &'static str, broken: &'static str) -> Key {
    Key { name, is_single: false, descriptor: None, broken }
}

const fn single(name: &'static str, broken: &'static str) -> Key {
    Key { name, is_single: true, descriptor: None, broken }
}

const fn at(descriptor: usize, key: Key) -> Key {
    Key { descriptor: Some(descriptor), ..key }
}

/// All keys. If one is missing here, a test fails.
const KEYS: [Key; 33] = [
    single("generation", "x"),
    single("last-restart", "x"),
    single("current", "x 1 1"),
    many("old", "1 x 1 - -"),
    many("told", "1 x TERM"),
    many("request", "-"),
    single("envdir-unread", "7"),
    single("may-look", "7"),
    many("variable", "-"),
    many("launch-blocked", "x"),
    many("launch-ignored", "x"),
    at(0, many("listener", "x name 4 -")),
    many("socket-file", "name x 5"),
    at(0, single("pid-file", "x")),
    at(0, single("status-file", "- content 7 -")),
    at(0, single("failure-file", "- content 7 -")),
    single("log-file", "7"),
    single("ticking", "7"),
    at(0, single("signal-pipe", "x 5")),
    single("program", "-"),
    single("token", "-"),
    many("unsent", "x 15"),
    many("shut", "x"),
    single("manager-waits", "- -"),
    at(0, single("notify-directory", "x /tmp /tmp 1")),
    at(1, many("notify-socket", "1 x name true")),
    many("kin-worker", "x"),
    many("family-worker", "1 x"),
    many("family-generation", "1 x"),
    many("family-orphan", "1 x"),
    many("family-held", "1 x"),
    many("family-killed", "x"),
    many("family-foreign", "x"),
];

/// The states of a version, each with the options of its superdaemon.
const STATES: [(&str, &[&str]); 3] = [
    (
        "everything",
        &[
            "--port=127.0.0.1:0",
            "--path=/srv/app/sock",
            "--port=127.0.0.1:u0",
            "--pid-file=/srv/app/pid",
            "--status-file=/srv/app/st",
            "--log-file=/srv/app/log",
            "--ready=notify",
            "--kill-timeout=600",
            "--max-start-failures=1",
            "--envdir=/srv/app/env",
            "--enable-auto-restart",
            "--auto-restart-interval=3600",
            "--listen-fds",
            "--interval=0",
        ],
    ),
    (
        "accepting",
        &[
            "--port=127.0.0.1:0",
            "--path=/srv/app/sock",
            "--status-file=/srv/app/st",
            "--ready=accepting",
            "--log-file=| exec cat >>log",
            "--interval=0",
        ],
    ),
    (
        "take-over",
        &["--port=127.0.0.1:0", "--path=/srv/app/sock", "--pid-file=/srv/app/pid", "--status-file=/srv/app/st"],
    ),
];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compat-tests/states")
}

fn key_of(line: &str) -> &str {
    line.split(' ').next().expect("a key")
}

fn known(name: &str) -> &'static Key {
    KEYS.iter().find(|key| key.name == name).unwrap_or_else(|| panic!("KEYS has no {name}"))
}

fn field(line: &str, index: usize) -> &str {
    line.split(' ').nth(index + 1).unwrap_or("-")
}

/// The descriptor that a line names.
fn descriptor_of(line: &str) -> Option<RawFd> {
    let index = KEYS.iter().find(|key| key.name == key_of(line))?.descriptor?;
    field(line, index).parse().ok()
}

/// Real descriptors for all that a state names: the sockets listen, the files are locked.
struct Opened {
    top: tempfile::TempDir,
    all: Vec<(RawFd, OwnedFd)>,
}

impl Opened {
    fn of(state: &str) -> Self {
        let top = tempfile::tempdir().unwrap();
        let mut all = Vec::new();
        for line in state.lines().skip(1) {
            let Some(number) = descriptor_of(line) else { continue };
            let path = top.path().join(number.to_string());
            let locked = |file| Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
            // The duplicate keeps the lock; dropping the Flock would release it.
            let copy = |lock: Flock<File>| {
                let copy = lock.try_clone().unwrap().into();
                std::mem::forget(lock);
                copy
            };
            let fd: OwnedFd = match key_of(line) {
                "listener" if field(line, 1).contains('/') => UnixListener::bind(&path).unwrap().into(),
                "listener" => TcpListener::bind("127.0.0.1:0").unwrap().into(),
                "notify-socket" => UnixDatagram::bind(&path).unwrap().into(),
                "notify-directory" => {
                    fs::create_dir(&path).unwrap();
                    copy(locked(File::open(&path).unwrap()))
                }
                "pid-file" => copy(locked(File::create(&path).unwrap())),
                _ => File::create(&path).unwrap().into(),
            };
            all.push((number, fd));
        }
        Self { top, all }
    }
}

fn sealed(text: &str) -> OwnedFd {
    let memory = File::from(memfd_create(c"state", MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC).unwrap());
    (&memory).write_all(text.as_bytes()).unwrap();
    fcntl(&memory, FcntlArg::F_ADD_SEALS(SealFlag::all())).unwrap();
    memory.into()
}

/// The answer of our program to a state, with the state's descriptors open at their numbers.
fn rehearse(opened: &Opened, text: &str, options: &[&str]) -> String {
    let (answer, to_us) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let state = sealed(text);
    let mut command = Command::new(binary());
    command.arg(format!("--rehearse-state={},{}", STATE_AND_ANSWER[0], STATE_AND_ANSWER[1])).args(options);
    command.args(["--", "worker"]).current_dir(opened.top.path()).env("TMPDIR", opened.top.path());
    let named = opened.all.iter().map(|(number, fd)| (*number, fd.as_fd()));
    let ours = STATE_AND_ANSWER.into_iter().zip([state.as_fd(), to_us.as_fd()]);
    pass_on(&mut command, named.chain(ours));
    drop(to_us);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program");
    // The command has copies of all descriptors that are passed on.
    drop(command);
    let mut answered = String::new();
    File::from(answer).read_to_string(&mut answered).unwrap();
    child.wait().unwrap();
    answered
}

const TOKEN: &str = "sesame";

/// A state as the rehearsal gets it.
fn with_token(state: &str) -> String {
    format!("{state}token {TOKEN}\n")
}

/// The states of all versions, with the options of each.
fn golden() -> Vec<(String, String, &'static [&'static str])> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory()).unwrap().flatten().map(|entry| entry.path()).collect();
    files.sort();
    let state = |path: &PathBuf| {
        let name = path.file_stem()?.to_str()?.to_owned();
        let (_, options) = STATES.iter().find(|(its, _)| name.split_once('-').is_some_and(|(_, rest)| rest == *its))?;
        Some((name, fs::read_to_string(path).ok()?, *options))
    };
    let states: Vec<_> = files.iter().filter_map(state).collect();
    assert!(states.len() >= STATES.len() && states.len() == files.len(), "{files:?}");
    states
}

/// The state of a superdaemon of any version can be read by each later one.
#[test]
fn states_of_each_version_are_read() {
    for (name, text, options) in golden() {
        assert_eq!(rehearse(&Opened::of(&text), &with_token(&text), options), TOKEN, "{name}");
    }
}

/// Unknown lines, and further fields at the end of lines, don't matter.
#[test]
fn states_of_a_newer_minor_version_are_read() {
    for (name, text, options) in golden().into_iter().filter(|(name, ..)| name.starts_with(VERSION)) {
        let newer = format!("start_server state 1.999\nwhat-is-new 1 - 3\n{}", text.split_once('\n').unwrap().1);
        let longer: String = newer.lines().enumerate().fold(String::new(), |all, (index, line)| {
            let more = if index > 1 { " what-is-new" } else { "" };
            all + line + more + "\n"
        });
        for text in [newer, longer] {
            assert_eq!(rehearse(&Opened::of(&text), &with_token(&text), options), TOKEN, "{name}");
        }
    }
}

/// Without the lines of a key.
fn without(text: &str, key: &str) -> String {
    text.lines().filter(|line| key_of(line) != key).fold(String::new(), |all, line| all + line + "\n")
}

fn refused(answer: &str) -> bool {
    answer.starts_with("the state can't be read: ")
}

#[test]
fn a_broken_line_of_any_key_is_refused() {
    let mut passed = Vec::new();
    for (name, text, options) in golden() {
        let opened = Opened::of(&text);
        for key in &KEYS {
            // The key's valid lines are removed, as they might be read first.
            let broken = format!("{}{} {}\n", without(&with_token(&text), key.name), key.name, key.broken);
            if !refused(&rehearse(&opened, &broken, options)) {
                passed.push(format!("{name}: {} {}", key.name, key.broken));
            }
        }
        // Each key of the state once more, as a line without fields.
        for key in text.lines().skip(1).map(key_of).collect::<BTreeSet<_>>() {
            let broken = with_token(&without(&text, key)) + key + "\n";
            if !["status-file", "failure-file"].contains(&key) && !refused(&rehearse(&opened, &broken, options)) {
                passed.push(format!("{name}: {key} without a field"));
            }
        }
    }
    assert!(passed.is_empty(), "not refused:\n{}", passed.join("\n"));
}

#[test]
fn a_second_line_of_what_there_is_once_is_refused() {
    let mut passed = Vec::new();
    for (name, text, options) in golden() {
        let opened = Opened::of(&text);
        for line in text.lines().skip(1).filter(|line| known(key_of(line)).is_single) {
            let twice = with_token(&text) + line + "\n";
            if !refused(&rehearse(&opened, &twice, options)) {
                passed.push(format!("{name}: {line}"));
            }
        }
    }
    assert!(passed.is_empty(), "not refused:\n{}", passed.join("\n"));
}

/// Two owners of a descriptor would close it twice, and the second close may hit another file.
#[test]
fn a_descriptor_that_is_named_twice_is_refused() {
    let mut passed = Vec::new();
    for (name, text, options) in golden() {
        let opened = Opened::of(&text);
        let lines: Vec<(&str, RawFd)> =
            text.lines().skip(1).filter_map(|line| Some((line, descriptor_of(line)?))).collect();
        for &(line, number) in &lines {
            for &(other, _) in lines.iter().filter(|&&(_, other)| other != number) {
                let index = known(key_of(other)).descriptor.expect("it names a descriptor");
                let mut words: Vec<String> = other.split(' ').map(str::to_owned).collect();
                words[index + 1] = number.to_string();
                let twice = with_token(&text).replace(&format!("{other}\n"), &format!("{}\n", words.join(" ")));
                if !refused(&rehearse(&opened, &twice, options)) {
                    passed.push(format!("{name}: {line} and {}", words.join(" ")));
                }
            }
        }
    }
    assert!(passed.is_empty(), "not refused:\n{}", passed.join("\n"));
}

/// Installs a program that saves the state that it gets before it executes ours.
fn install_recorder(s: &mut Scenario, path: &Path) {
    let program = format!(
        "#!/bin/sh\ncase \"$1\" in --rehearse-state=*) ;; *) cat /proc/self/fd/${{START_SERVER_STATE%%,*}} >recorded ;; esac\n\
         exec {} \"$@\"\n",
        binary()
    );
    s.write("recorder", &program);
    let status = Command::new("install").args(["-m", "755"]).arg(s.path("recorder")).arg(path).status();
    assert!(status.expect("install(1)").success());
    s.remove("recorder");
}

/// The state with fixed paths for those that differ from run to run and from machine to machine.
fn anonymous(s: &Scenario, text: &str) -> String {
    let dir = s.path("").display().to_string();
    let dir = dir.trim_end_matches('/');
    let top = Path::new(dir).parent().expect("a directory above").display().to_string();
    text.replace(dir, "/srv/app").replace(&top, "/srv").replace(binary(), "/usr/bin/start_server")
}

/// Fails if the state has another version or an unknown key, and writes it if `STATES` asks for it.
fn record(name: &str, text: &str) {
    let version = text.lines().next().expect("a version");
    assert_eq!(version, format!("start_server state {VERSION}"));
    text.lines().skip(1).for_each(|line| {
        known(key_of(line));
    });
    // The token differs in each rehearsal.
    let lines: Vec<&str> = text.lines().filter(|line| key_of(line) != "token").collect();
    let text = lines.join("\n") + "\n";
    if std::env::var("STATES").is_ok_and(|what| what == "write") {
        fs::write(directory().join(format!("{VERSION}-{name}.txt")), text).unwrap();
    }
}

/// Upgrades to a recorder, and returns the recorded state. After that, the superdaemon is ours, from another file.
fn recorded(s: &mut Scenario, args: &[&str]) -> String {
    let installed = s.path("../start_server");
    install_recorder(s, &installed);
    let output = s.run(args);
    assert_eq!((output.end.as_str(), output.stderr.as_str()), ("exit 0", ""), "{}", s.said());
    let text = fs::read_to_string(s.path("recorded")).unwrap();
    s.remove("recorded");
    anonymous(s, &text)
}

fn start(s: &mut Scenario, options: &[&str], worker: &[&str]) {
    let installed = s.path("../start_server");
    assert!(Command::new("cp").arg(binary()).arg(&installed).status().unwrap().success());
    s.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    s.env("TMPDIR", "$DIR");
    s.prelude("exec \"$DIR/../start_server\" \"$@\"");
    s.start(&[options, &["--"], worker].concat());
    s.prelude("");
}

fn options_of(name: &str) -> Vec<String> {
    let (_, options) = STATES.iter().find(|(its, _)| *its == name).expect("a state of this name");
    options
        .iter()
        .map(|option| option.replace("/srv/app/", "$DIR/").replace(":0", ":$PORT").replace(":u0", ":u$PORT"))
        .collect()
}

fn strings(strings: &[String]) -> Vec<&str> {
    strings.iter().map(String::as_str).collect()
}

/// With a worker that doesn't end, one that has failed, the directory of sockets, an alarm, and a note.
#[test]
fn the_state_of_everything() {
    ours_alone(|s| {
        s.mkdir("env");
        s.write("env/NAME", "a value\n");
        let options = options_of("everything");
        start(s, &strings(&options), &["$PROBE", "notify=READY=1", "ign=TERM", "G1=now", "G2=now", "G3=exit=1"]);
        s.wait_file("st", "1:<W1>\n");
        let restart = ["--restart", "--pid-file=pid", "--status-file=st"];
        let waiting = s.begin(&restart);
        s.wait_worker(2);
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        s.wait_report(1, "got TERM");
        s.signal("HUP");
        s.wait_line_in("log", "giving up the restart");
        s.wait_rest();
        let text = recorded(s, &["--upgrade", "--pid-file=pid"]);
        for key in
            ["old", "notify-directory", "notify-socket", "family-worker", "failure-file", "socket-file", "pid-file"]
        {
            assert!(text.lines().any(|line| key_of(line) == key), "{key}: {text}");
        }
        record("everything", &text);
        s.signal_command(&waiting, "TERM");
        s.end(waiting);
        s.signal_worker(1, "KILL");
        s.signal_worker(2, "KILL");
        s.signal("TERM");
        s.wait("the end", |s| {
            s.reported().iter().for_each(|&(_, pid)| crate::harness::send(pid, "KILL"));
            s.end_of_superdaemon().is_some()
        });
    });
}

#[test]
fn the_state_of_a_superdaemon_with_a_log_command() {
    ours_alone(|s| {
        let options = options_of("accepting");
        start(s, &[&strings(&options)[..], &["--pid-file=pid"]].concat(), &["$PROBE", "accept", "now"]);
        s.wait_file("st", "1:<W1>\n");
        s.wait_rest();
        let text = recorded(s, &["--upgrade", "--pid-file=pid"]);
        record("accepting", &text);
        stop(s);
    });
}

/// The state that the command writes into the memory of the original, as strace(1) shows it.
#[test]
fn the_state_of_the_original() {
    original_alone(|s| {
        s.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        let options = options_of("take-over");
        s.start(&[&strings(&options)[..], &["--interval=0", "--", "perl", "$FIXTURES/three_ways.pl"]].concat());
        s.wait_http("$PORT", "version 1");
        s.wait("the status file", |s| fs::read_to_string(s.path("st")).is_ok_and(|status| status.starts_with("1:")));
        s.wait_rest();
        let trace = s.path("../trace");
        let output = Command::new("strace")
            .args(["-qq", "-e", "trace=pwrite64", "-s", "100000", "-o"])
            .arg(&trace)
            .arg(s.other())
            .args(["--take-over", "--pid-file=pid"])
            .current_dir(s.path("."))
            .output()
            .expect("strace");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let trace = fs::read_to_string(trace).unwrap();
        let begin = format!("\"start_server state {VERSION}\\n");
        let line = trace.lines().find_map(|line| line.split_once(&begin)).expect("a state").1;
        let rest = line.rsplit_once('"').expect("its end").0.replace("\\n", "\n").replace("\\\\", "\\");
        let text = anonymous(s, &format!("start_server state {VERSION}\n{rest}"));
        assert!(text.ends_with('\n'), "{text}");
        record("take-over", &text);
        stop(s);
    });
}
