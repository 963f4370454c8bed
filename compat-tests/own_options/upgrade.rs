//! `--upgrade`: another program replaces the superdaemon, in the same process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{dup2_raw, pipe2};

use super::stop;
use crate::deployments::load::{Address, Client, Load, Questions};
use crate::harness::{Scenario, original_alone, ours_alone};
use crate::random::Random;

pub const FILES: [&str; 2] = ["--pid-file=pid", "--status-file=st"];
pub const UPGRADE: [&str; 2] = ["--upgrade", "--pid-file=pid"];
const RESTART: [&str; 3] = ["--restart", "--pid-file=pid", "--status-file=st"];
pub const WORKER: [&str; 2] = ["--", "$PROBE"];

pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_start_server")
}

/// The installed program, beside the scenario's directory, whose listings it stays out of.
fn installed(s: &Scenario) -> std::path::PathBuf {
    s.path("../start_server")
}

/// Replaces the installed program, as a package manager does: by a rename.
fn install(s: &Scenario, write: impl FnOnce(&Path)) {
    let new = s.path("../new");
    write(&new);
    fs::rename(new, installed(s)).unwrap();
}

/// Another process writes the file: if this one did, a fork of another test could hold it open for writing, too, and it
/// could not be executed.
fn copy_file(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

fn copy(s: &Scenario, program: &Path) {
    install(s, |new| copy_file(program, new));
}

/// The same program, in another file.
pub fn install_ours(s: &Scenario) {
    copy(s, Path::new(binary()));
}

fn install_bytes(s: &Scenario, bytes: &[u8]) {
    let written = s.path("../written");
    fs::write(&written, bytes).unwrap();
    fs::set_permissions(&written, fs::Permissions::from_mode(0o755)).unwrap();
    copy(s, &written);
}

pub fn install_text(s: &Scenario, text: &str) {
    install_bytes(s, text.as_bytes());
}

/// Starts a superdaemon from an installed copy. Commands run the built program.
pub fn start(s: &mut Scenario, args: &[&str]) {
    install_ours(s);
    s.prelude("exec \"$DIR/../start_server\" \"$@\"");
    s.start(args);
    s.prelude("");
}

pub fn upgrade(s: &mut Scenario) {
    let output = s.run(&UPGRADE);
    assert_eq!((output.end.as_str(), output.stderr.as_str()), ("exit 0", ""), "{}", s.said());
}

/// The superdaemon's descriptors, by number. Pipes are only shown as such.
pub fn descriptors(s: &Scenario) -> BTreeMap<String, String> {
    let entries = fs::read_dir(format!("/proc/{}/fd", s.superdaemon())).unwrap().flatten();
    let link = |path: &Path| fs::read_link(path).map_or_else(|error| error.to_string(), |to| to.display().to_string());
    let kind = |link: String| if link.starts_with("pipe:") { "pipe".to_owned() } else { link };
    entries.map(|entry| (entry.file_name().into_string().unwrap(), kind(link(&entry.path())))).collect()
}

pub fn program_of(s: &Scenario) -> std::path::PathBuf {
    fs::read_link(format!("/proc/{}/exe", s.superdaemon())).unwrap()
}

/// A line of /proc/PID/status.
pub fn status_line(s: &Scenario, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", s.superdaemon())).unwrap();
    status.lines().find(|line| line.starts_with(name)).unwrap().to_owned()
}

#[test]
fn everything_continues() {
    ours_alone(|s| {
        let options = ["--port=127.0.0.1:$PORT", "--path=sock", "--log-file=log", "--kill-timeout=60", "--interval=0"];
        start(s, &[&FILES[..], &options, &WORKER].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.wait_rest();
        let (before, signals) = (descriptors(s), ["SigBlk", "SigIgn", "SigCgt"].map(|name| status_line(s, name)));
        let listing = s.ls();
        for _ in 0..3 {
            install_ours(s);
            upgrade(s);
            s.wait_rest();
            assert_eq!(program_of(s), fs::canonicalize(installed(s)).unwrap());
            assert_eq!(descriptors(s), before);
            assert_eq!(["SigBlk", "SigIgn", "SigCgt"].map(|name| status_line(s, name)), signals);
            assert_eq!((s.ls(), s.show("st")), (listing.clone(), "1:<W1>\n".into()));
        }
        let log = fs::read_to_string(s.path("log")).unwrap();
        assert_eq!(log.matches(&format!(") now runs version {}\n", env!("CARGO_PKG_VERSION"))).count(), 3, "{log}");
        // A worker finds the same surroundings as the first one.
        assert_eq!(s.run(&RESTART).end, "exit 0");
        s.wait_file("st", "2:<W2>\n");
        s.wait_worker(2);
        let report = |s: &Scenario, generation: usize| {
            let report = s.report_of(generation);
            let lines = report.lines().map(|line| line.replace("GENERATION=2", "GENERATION=1"));
            lines
                .filter(|line| ["start ", "got ", "exit "].iter().all(|word| !line.starts_with(word)))
                .collect::<Vec<_>>()
        };
        assert_eq!(report(s, 2), report(s, 1));
        s.signal_worker(2, "KILL");
        s.wait_file("st", "3:<W3>\n");
        stop(s);
        assert_eq!(s.ls(), "log file 0644\n");
    });
}

#[test]
fn the_same_program_is_no_news() {
    ours_alone(|s| {
        start(s, &[&FILES[..], &WORKER].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        upgrade(s);
        s.signal("USR2");
        s.wait_rest();
        assert!(!s.said().contains("now runs"), "{}", s.said());
        // The signal alone does what --upgrade does, and leaves no file.
        install_ours(s);
        s.signal("USR2");
        s.wait_line("now runs version");
        assert!(!s.ls().contains("upgrade"));
        stop(s);
        assert_eq!(s.ls(), "");
    });
}

/// The path is the one by which the superdaemon was started, not the target that its link had then.
#[test]
fn a_link_that_leads_elsewhere() {
    ours_alone(|s| {
        for version in ["one", "two"] {
            copy_file(Path::new(binary()), &s.path("..").join(version));
        }
        let link = |s: &Scenario, version: &str| install(s, |new| std::os::unix::fs::symlink(version, new).unwrap());
        link(s, "one");
        s.prelude("exec \"$DIR/../start_server\" \"$@\"");
        s.start(&[&FILES[..], &WORKER].concat());
        s.wait_file("st", "1:<W1>\n");
        for version in ["two", "one"] {
            link(s, version);
            upgrade(s);
            assert!(program_of(s).ends_with(version));
        }
        stop(s);
    });
}

/// Each is refused with its reason, and the old program keeps running: it restarts its worker, and is upgraded when
/// there is a program that works.
#[test]
fn programs_that_cannot_go_on() {
    ours_alone(|s| {
        s.may_take_longer(Duration::from_secs(60));
        start(s, &[&FILES[..], &["--interval=0"], &WORKER].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.wait_rest();
        let before = descriptors(s);
        let refused = |s: &mut Scenario, reason: &str| {
            let output = s.run(&UPGRADE);
            let expected = format!("not upgraded: {}: {reason}\n", s.path("../start_server").display());
            assert_eq!((output.end.as_str(), output.stderr), ("exit 125", s.with_symbols(&expected)));
            s.wait_line(&s.with_symbols(&format!(": {reason}")));
            s.wait_rest();
            assert_eq!(descriptors(s), before, "{reason}");
        };
        fs::remove_file(installed(s)).unwrap();
        let missing = format!("not upgraded: {}:No such file or directory\n", installed(s).display());
        let output = s.run(&UPGRADE);
        assert_eq!((output.end.as_str(), output.stderr), ("exit 125", s.with_symbols(&missing)));
        install(s, |new| fs::write(new, "text").unwrap());
        refused(s, "Permission denied");
        install_text(s, "no program");
        refused(s, "Exec format error");
        fs::remove_file(installed(s)).unwrap();
        fs::create_dir(installed(s)).unwrap();
        refused(s, "Permission denied");
        fs::remove_dir(installed(s)).unwrap();
        install_bytes(s, &fs::read(binary()).unwrap()[..60_000]);
        // The kernel notices this when it is too late to return from the exec.
        refused(s, "it has ended without an answer (signal 11)");
        install_text(s, "#!/no/interpreter\n");
        refused(s, "No such file or directory");
        // A loader that doesn't find a library ends like this.
        install_text(s, "#!/bin/sh\nexit 127\n");
        refused(s, "it has ended without an answer (exit 127)");
        install_text(s, "#!/usr/bin/perl\nuse POSIX; POSIX::abort();\n");
        refused(s, "it has ended without an answer (signal 6)");
        install_text(s, "#!/bin/sh\nexec /bin/true\n");
        refused(s, "it has ended without an answer (exit 0)");
        // Not `>&`: a shell may know no descriptor above 9.
        install_text(s, "#!/bin/sh\necho yes >/proc/self/fd/${1##*,}\n");
        refused(s, "yes");
        // Its child keeps the answer open.
        install_text(s, "#!/bin/sh\nsleep 1000 & echo $! >slept; wait\n");
        refused(s, "it has not answered within 10 seconds");
        s.wait_dead_process("slept");
        s.remove("slept");
        // The original refuses the first argument, before it touches anything.
        let original = s.other().to_owned();
        copy(s, &original);
        refused(s, "it has ended without an answer (exit 1): Unknown option: rehearse-state");

        assert_eq!(s.run(&RESTART).end, "exit 0");
        s.wait_file("st", "2:<W2>\n");
        install_ours(s);
        upgrade(s);
        stop(s);
        assert_eq!(s.ls(), "");
    });
}

/// Runs our program with a state at descriptor 100, its answer at 101, and a program to go back to at 102. Returns its
/// exit code, its answer and its output.
pub fn with_state(state: &str, seals: SealFlag, way_back: &str, mut command: Command) -> (Option<i32>, String, String) {
    let memory = File::from(memfd_create(c"state", MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC).unwrap());
    (&memory).write_all(state.as_bytes()).unwrap();
    fcntl(&memory, FcntlArg::F_ADD_SEALS(seals)).unwrap();
    let (answer, to_us) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let way_back = File::open(way_back).unwrap();
    pass_on(&mut command, (100..).zip([memory.as_fd(), to_us.as_fd(), way_back.as_fd()]));
    let output = command.output().unwrap();
    drop((to_us, command));
    let mut answered = String::new();
    std::io::Read::read_to_string(&mut File::from(answer), &mut answered).unwrap();
    (
        output.status.code(),
        answered,
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr),
    )
}

/// Gives the command descriptors at certain numbers. The command keeps copies of them, at higher numbers than any that
/// is asked for, as a copy in the way would be replaced before its turn.
pub fn pass_on<'a>(command: &mut Command, descriptors: impl Iterator<Item = (RawFd, BorrowedFd<'a>)>) {
    const COPIES: RawFd = 500;
    let copy = |(number, fd): (RawFd, BorrowedFd)| {
        assert!(number < COPIES, "{number}");
        let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(COPIES)).unwrap();
        // SAFETY: fcntl(2) has just opened it, so nothing else owns it.
        #[expect(unsafe_code)]
        let copy = unsafe { OwnedFd::from_raw_fd(copy) };
        (number, copy)
    };
    let copies: Vec<(RawFd, OwnedFd)> = descriptors.map(copy).collect();
    // SAFETY: dup2(2) and fcntl(2) are async-signal-safe, and the child doesn't need what this process has at these
    // numbers.
    #[expect(unsafe_code)]
    unsafe {
        command.pre_exec(move || {
            for (number, copy) in &copies {
                let fd = dup2_raw(copy, *number)?;
                fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
                std::mem::forget(fd);
            }
            Ok(())
        });
    }
}

pub const STATE: &str = "start_server state 1.0\ngeneration 3\nlast-restart 5\ntoken sesame\n";

#[test]
fn a_rehearsal_reads_the_state() {
    let rehearse = |state: &str, seals, args: &[&str]| {
        let mut command = Command::new(binary());
        command.arg("--rehearse-state=100,101").args(args);
        let (code, answered, said) = with_state(state, seals, "/bin/echo", command);
        assert_eq!(said, "");
        (code, answered)
    };
    let good = ["--", "worker"];
    assert_eq!(rehearse(STATE, SealFlag::all(), &good), (Some(0), "sesame".into()));
    // A newer minor version has lines that are unknown here.
    let newer = STATE.replace("1.0", "1.9").replace("token", "what-is-new 1 2 3\ngeneration-of-that 4\ntoken");
    assert_eq!(rehearse(&newer, SealFlag::all(), &good), (Some(0), "sesame".into()));
    for (state, seals, args, expected) in [
        (STATE.replace("1.0", "2.0"), SealFlag::all(), &good[..], "the state is of version 2.0, this program has 1.3"),
        (STATE.replace("1.0", "0.9"), SealFlag::all(), &good, "the state is of version 0.9, this program has 1.3"),
        (STATE.replace("generation 3\n", ""), SealFlag::all(), &good, "the state can't be read: generation is missing"),
        (
            STATE.replace("last-restart 5", "last-restart x"),
            SealFlag::all(),
            &good,
            "the state can't be read: last-restart x",
        ),
        (STATE.to_owned(), SealFlag::empty(), &good, "the state can't be read: it is not sealed"),
        (
            STATE.to_owned(),
            SealFlag::all(),
            &["--stop", "--pid-file=x"],
            "the command line doesn't start a superdaemon",
        ),
        (STATE.to_owned(), SealFlag::all(), &["--new-option", "--", "worker"], "Unknown option: new-option"),
    ] {
        assert_eq!(rehearse(&state, seals, args), (Some(1), expected.into()), "{state}");
    }
}

/// If the new program can't read the state after all, it executes the one before it, which is /bin/echo in this test.
#[test]
fn the_way_back() {
    let mut command = Command::new(binary());
    command.args(["--port=0", "--", "worker"]).env("START_SERVER_STATE", "100,102");
    let (code, _, said) = with_state(&STATE.replace("1.0", "2.0"), SealFlag::all(), "/bin/echo", command);
    let expected = "--port=0 -- worker\nthe state is of version 2.0, this program has 1.3\n";
    assert_eq!((code, said.as_str()), (Some(0), expected));
}

/// Only another start_server may set the variable.
#[test]
fn a_variable_that_means_nothing() {
    ours_alone(|s| {
        for (value, complaint) in [
            ("", "START_SERVER_STATE is not what another start_server sets:\n"),
            ("x", "START_SERVER_STATE is not what another start_server sets:x\n"),
            ("100", "the state can't be read:No such file or directory\n"),
            ("0", "the state can't be read: it is not sealed\n"),
        ] {
            s.env("START_SERVER_STATE", value);
            let output = s.run(&["--path=sock", "--pid-file=pid", "--", "$PROBE"]);
            assert_ne!(output.end, "exit 0");
            assert_eq!((output.stderr.as_str(), s.ls().as_str()), (complaint, ""), "{value}");
        }
    });
}

/// `--show-status` shows the same of each worker before and after.
#[test]
fn what_is_shown() {
    ours_alone(|s| {
        start(s, &[&FILES[..], &["--interval=0", "--kill-timeout=9999"], &WORKER, &["G1=ign=TERM"]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_report(1, "got TERM");
        s.wait_rest();
        let shown = |s: &mut Scenario| {
            let output = s.run_unrecorded(&["--show-status", "--pid-file=pid"]);
            assert_eq!(output.end, "exit 0", "{}", output.stdout);
            let lines = output.stdout.lines().filter(|line| line.starts_with("generation "));
            let known = |line: &str| line.replace(|c: char| c.is_ascii_digit(), "").replace("  ", " ");
            let heading = output.stdout.lines().next().unwrap_or_default().to_owned();
            (heading, lines.map(known).collect::<Vec<_>>())
        };
        let (_, before) = shown(s);
        assert!(before.len() == 2 && before[0].contains("stopping, ") && before[0].contains("KILL in "), "{before:?}");
        install_ours(s);
        let (heading, meanwhile) = shown(s);
        assert!(heading.ends_with(", another program is on disk"), "{heading}");
        assert_eq!(meanwhile, before);
        upgrade(s);
        let (heading, after) = shown(s);
        assert!(!heading.contains("on disk"), "{heading}");
        assert_eq!(after, before);
        s.signal_worker(1, "KILL");
        s.wait_file("st", "2:<W2>\n");
        stop(s);
    });
}

/// A KILL that was due before comes at the same time.
#[test]
fn a_kill_that_was_due() {
    ours_alone(|s| {
        start(s, &[&FILES[..], &["--interval=0", "--kill-timeout=3"], &WORKER, &["G1=ign=TERM"]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.signal("HUP");
        s.wait_report(1, "got TERM");
        let begin = Instant::now();
        install_ours(s);
        upgrade(s);
        s.wait_line("old worker <W1> has not ended in time, sending KILL");
        let waited = begin.elapsed();
        assert!(waited > Duration::from_secs(2), "{waited:?}");
        s.wait_line("old worker <W1> died, status:9");
        s.wait_file("st", "2:<W2>\n");
        stop(s);
    });
}

#[test]
fn a_worker_that_dies_meanwhile_and_requests_that_come_in() {
    ours_alone(|s| {
        s.may_take_longer(Duration::from_secs(120));
        start(s, &[&FILES[..], &["--interval=0"], &WORKER].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        let mut random = Random::new(u64::from(std::process::id()));
        let mut generation = 1;
        for round in 0..30 {
            install_ours(s);
            let what = if round % 2 == 0 { "HUP" } else { "KILL" };
            s.wait_rest();
            let (superdaemon, worker) = (s.superdaemon(), s.worker_pid(generation));
            let pause = Duration::from_micros(random.below(8000) as u64);
            let sender = thread::spawn(move || {
                thread::sleep(pause);
                let pid = if round % 2 == 0 { superdaemon } else { worker };
                let signal = if round % 2 == 0 { nix::libc::SIGHUP } else { nix::libc::SIGKILL };
                let signal = nix::sys::signal::Signal::try_from(signal).unwrap();
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
            });
            upgrade(s);
            sender.join().unwrap();
            generation += 1;
            s.wait_worker(generation);
            s.wait_file("st", &format!("{generation}:<W{generation}>\n"));
            if what == "KILL" {
                s.wait_line(&format!("worker <W{}> died unexpectedly with status:9, restarting", generation - 1));
            }
        }
        // There was exactly one restart for each HUP.
        assert_eq!(s.said().matches("received HUP").count(), 15, "{}", s.said());
        install_ours(s);
        let begun = s.begin(&UPGRADE);
        crate::harness::send(s.superdaemon(), "TERM");
        assert_eq!(s.wait_exit(), "exit 0");
        s.end(begun);
        assert_eq!(s.ls(), "");
    });
}

#[test]
fn sockets_for_readiness_go_on() {
    ours_alone(|s| {
        s.env("TMPDIR", "$DIR");
        let options = ["--ready=notify", "--max-start-failures=1", "--interval=0"];
        start(s, &[&FILES[..], &options, &WORKER, &["notify=READY=1", "G1=now", "G2=now", "G3=exit=1"]].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.wait_rest();
        let before = descriptors(s);
        for generation in 1..=2 {
            install_ours(s);
            upgrade(s);
            if generation == 1 {
                assert_eq!(descriptors(s), before);
                assert!(s.notify_socket(1).exists());
                assert_eq!(s.run(&RESTART).end, "exit 0");
            }
        }
        assert!(!s.notify_socket(1).exists() && s.notify_socket(2).exists());
        assert_eq!(s.run(&RESTART).end, "exit 125");
        install_ours(s);
        upgrade(s);
        assert_eq!(s.show("st.failed"), "3\nit has failed: exit 1\n");
        stop(s);
        assert_eq!(s.ls(), "");
    });
}

#[test]
fn the_command_of_a_log_continues() {
    ours_alone(|s| {
        start(s, &[&FILES[..], &["--log-file=| echo $$ >logger; exec cat >>log", "--interval=0"], &WORKER].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        let before = descriptors(s);
        install_ours(s);
        upgrade(s);
        // The answer comes before its file is closed.
        s.wait_rest();
        assert_eq!(descriptors(s), before);
        assert_eq!(s.run(&RESTART).end, "exit 0");
        stop(s);
        s.wait_dead_process("logger");
        let log = fs::read_to_string(s.path("log")).unwrap();
        assert!(log.contains(" now runs version ") && log.ends_with("exiting\n"), "{log}");
    });
}

/// Both the running interval of automatic restarts and later ones.
#[test]
fn automatic_restarts_go_on() {
    ours_alone(|s| {
        let options = ["--enable-auto-restart", "--auto-restart-interval=1", "--kill-old-delay=0", "--interval=0"];
        start(s, &[&FILES[..], &options, &WORKER].concat());
        // Not until workers have reported, as each is stopped after a second.
        for generation in 1..=3 {
            s.wait_line(&format!("starting new worker <W{generation}>"));
            install_ours(s);
            upgrade(s);
        }
        s.wait_line("starting new worker <W4>");
        stop(s);
    });
}

/// The original can't be upgraded; the message names `--take-over`.
#[test]
fn the_original_is_left_alone() {
    original_alone(|s| {
        s.start(&[&FILES[..], &WORKER].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        let output = s.run_other(&UPGRADE);
        let expected = "not upgraded: the running superdaemon can't upgrade itself; use --take-over\n";
        assert_eq!((output.end.as_str(), output.stderr.as_str()), ("exit 125", expected));
        stop(s);
        assert_eq!(s.run_other(&UPGRADE).end, "exit 2");
    });
}

/// Tries to lock the pid file again and again. Returns how often it could.
fn steal_lock(path: &Path, is_over: mpsc::Receiver<()>) -> thread::JoinHandle<usize> {
    let path = path.to_owned();
    thread::spawn(move || {
        let mut stolen = 0;
        while is_over.try_recv() == Err(mpsc::TryRecvError::Empty) {
            stolen += usize::from(Flock::lock(File::open(&path).unwrap(), FlockArg::LockSharedNonblock).is_ok());
            thread::yield_now();
        }
        stolen
    })
}

#[test]
fn a_hundred_upgrades_under_load() {
    ours_alone(|s| {
        s.may_take_longer(Duration::from_secs(240));
        let options = ["--port=127.0.0.1:$PORT", "--path=sock", "--port=127.0.0.1:u$PORT", "--interval=0"];
        let worker = ["--ready=accepting", "--", "perl", "$FIXTURES/three_ways.pl"];
        start(s, &[&FILES[..], &options, &worker].concat());
        s.wait("the first worker", |s| fs::read_to_string(s.path("st")).is_ok_and(|status| status.starts_with("1:")));
        let clients = [Client::New, Client::New];
        let port = Load::begin(Address::Port(s.port()), &clients);
        let path = Load::begin(Address::Path(s.path("sock")), &clients);
        let questions = Questions::begin(s.port());
        let (over, is_over) = mpsc::channel();
        let thief = steal_lock(&s.path("pid"), is_over);
        s.wait_rest();
        let before = descriptors(s);
        for round in 1..=100 {
            install_ours(s);
            let output = s.run_unrecorded(&UPGRADE);
            assert_eq!((output.end.as_str(), output.stderr.as_str()), ("exit 0", ""), "round {round}: {}", s.said());
            if round % 10 == 0 {
                let output = s.run_unrecorded(&RESTART);
                assert_eq!(
                    (output.end.as_str(), output.stderr.as_str()),
                    ("exit 0", ""),
                    "round {round}: {}",
                    s.said()
                );
            }
        }
        s.wait_rest();
        // The descriptor of the status file gets another number with each restart.
        let numbers = |all: &BTreeMap<String, String>| {
            all.values().filter(|to| !to.ends_with("/st")).cloned().collect::<Vec<_>>()
        };
        let after = descriptors(s);
        assert_eq!((numbers(&after), after.len()), (numbers(&before), before.len()));
        drop(over);
        assert_eq!(thief.join().unwrap(), 0, "the lock was free");
        s.wait("answers of the last version", |_| port.has_seen(11) && path.has_seen(11));
        let (port, path, answered) = (port.end(), path.end(), questions.end());
        println!("TCP: {port}\nunix: {path}\nUDP: {answered} answers");
        for figures in [port, path] {
            assert!(figures.lost.is_empty() && figures.dropped.is_empty(), "{figures}");
            assert_eq!(figures.versions.len(), 11, "{figures}");
        }
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", s.superdaemon())).unwrap();
        assert_eq!(children.split_whitespace().count(), 1, "zombies");
        stop(s);
        assert_eq!(s.ls(), "");
    });
}
