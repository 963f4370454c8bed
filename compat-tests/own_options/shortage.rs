//! One program hands over to the next while descriptors, processes or bytes are used up, or to one that can't read the
//! state: the superdaemon keeps running, whether the command succeeds or not.

use std::fs;
use std::iter;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::{Gid, Uid, chown, geteuid};

use super::stop;
use super::upgrade::program_of;
use crate::harness::{Begun, Scenario, original_alone, ours_alone, send};

const FILES: [&str; 3] = ["--pid-file=pid", "--status-file=st", "--interval=0"];
const LISTENERS: [&str; 2] = ["--port=127.0.0.1:$PORT", "--path=sock"];
const WORKER: [&str; 3] = ["--", "perl", "$DIR/../worker.pl"];
const UPGRADE: [&str; 2] = ["--upgrade", "--pid-file=pid"];
const TAKE_OVER: [&str; 2] = ["--take-over", "--pid-file=pid"];

/// A hand-over opens fewer descriptors, and forks fewer processes, than this at the same time.
const MOST_NEEDED: usize = 10;

fn installed(s: &Scenario) -> PathBuf {
    s.path("../start_server")
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().expect("cp(1)").success());
}

fn install(s: &Scenario) {
    let new = s.path("../new");
    copy(Path::new(env!("CARGO_BIN_EXE_start_server")), &new);
    fs::rename(new, installed(s)).unwrap();
}

/// A command that runs a program as the user who owns everything. As limits may count per user, it is one who runs
/// nothing else.
fn as_user(s: &Scenario) -> Vec<String> {
    if !geteuid().is_root() {
        return Vec::new();
    }
    let user = user_of(s);
    ["setpriv", &format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups", "--"]
        .map(str::to_owned)
        .into()
}

fn user_of(s: &Scenario) -> u32 {
    200_000 + u32::from(s.port())
}

fn start(s: &mut Scenario, program: &Path, options: &[&str]) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("perl-fixtures");
    copy(&fixtures.join("three_ways.pl"), &s.path("../worker.pl"));
    s.env("TMPDIR", "$DIR");
    if geteuid().is_root() {
        for path in [s.path(".."), s.path(".")] {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        chown(&s.path("."), Some(Uid::from_raw(user_of(s))), Some(Gid::from_raw(user_of(s)))).unwrap();
    }
    s.prelude(&format!("exec {} \"{}\" \"$@\"", as_user(s).join(" "), program.display()));
    s.start(&[&FILES[..], &LISTENERS, options, &WORKER].concat());
    s.prelude("");
    wait_generation(s, 1);
}

fn wait_generation(s: &mut Scenario, generation: u64) {
    let version = format!("version {generation}");
    s.wait_http("$PORT", &version);
    s.wait_http("sock", &version);
    s.wait(&format!("generation {generation}"), |s| {
        let status = fs::read_to_string(s.path("st")).unwrap_or_default();
        status.lines().count() == 1 && status.starts_with(&format!("{generation}:"))
    });
    s.wait_rest();
}

/// Sets a limit of the superdaemon, and returns the limit before.
fn limit(s: &Scenario, name: &str, soft: &str) -> String {
    let prlimit = |args: &[&str]| {
        let mut command = as_user(s);
        command.extend(["prlimit", "--pid", &s.superdaemon().to_string()].map(str::to_owned));
        // As that user: without a capability, not even root may do it for another user.
        let output = Command::new(&command[0]).args(&command[1..]).args(args).output().expect("prlimit(1)");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let before = prlimit(&[&format!("--{name}"), "--output=SOFT", "--noheadings"]);
    prlimit(&[&format!("--{name}={soft}:")]);
    before
}

/// Limits of descriptors: the first leaves a single free number (without any, the superdaemon couldn't even answer),
/// and each of the others leaves one more.
fn scarce_descriptors(s: &Scenario) -> Vec<u64> {
    let entries = fs::read_dir(format!("/proc/{}/fd", s.superdaemon())).unwrap().flatten();
    let numbers: Vec<u64> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let free = (0..).filter(|number| !numbers.contains(number));
    free.map(|number| number + 1).take(MOST_NEEDED).collect()
}

fn is_alive(s: &mut Scenario) {
    let end = s.end_of_superdaemon();
    assert_eq!(end, None, "{}", s.said());
}

/// Runs the command under each limit. It succeeds or is refused, and the superdaemon keeps running.
fn under_limits(s: &mut Scenario, name: &str, limits: impl Iterator<Item = u64>, command: &[&str]) {
    s.may_take_longer(Duration::from_secs(240));
    let is_upgrade = command[0] == "--upgrade";
    let mut generation = 1;
    let (mut done, mut refused) = (0, 0);
    for soft in limits {
        if is_upgrade {
            install(s);
        }
        let before = limit(s, name, &soft.to_string());
        let output = if is_upgrade { s.run(command) } else { s.run_other(command) };
        is_alive(s);
        limit(s, name, &before);
        let program = if is_upgrade { installed(s) } else { s.other().to_owned() };
        let is_new = program_of(s) == fs::canonicalize(program).unwrap();
        let what = format!("{name} {soft}: {}: {}{}", output.end, output.stderr, s.said());
        match output.end.as_str() {
            "exit 0" => done += usize::from(is_new),
            "exit 124" | "exit 125" => refused += 1,
            _ => panic!("{what}"),
        }
        assert_eq!(output.end == "exit 0", is_new, "{what}");
        assert!(is_new || !output.stderr.is_empty(), "{what}");
        generation += 1;
        s.wait_rest();
        send(s.superdaemon(), "HUP");
        wait_generation(s, generation);
        assert_eq!(fs::read_to_string(s.path("pid")).unwrap(), format!("{}\n", s.superdaemon()));
        if is_new && !is_upgrade {
            break;
        }
    }
    println!("{name}: {done} done, {refused} refused");
    assert!(done > 0, "{refused} refused");
    stop(s);
    assert_eq!(s.ls().replace("log file 0644\n", ""), "");
}

fn upgrades_without_descriptors(options: &[&str]) {
    ours_alone(|s| {
        install(s);
        start(s, &installed(s), options);
        let limits = scarce_descriptors(s);
        under_limits(s, "nofile", limits.into_iter(), &UPGRADE);
    });
}

#[test]
fn an_upgrade_without_descriptors() {
    upgrades_without_descriptors(&["--kill-timeout=60"]);
}

#[test]
fn an_upgrade_without_descriptors_that_waits_for_connections() {
    upgrades_without_descriptors(&["--ready=accepting"]);
}

/// Begins an upgrade and stops its rehearsal. None if the rehearsal was too quick.
fn stopped_rehearsal(s: &mut Scenario) -> Option<(Begun, i32)> {
    let superdaemon = s.superdaemon();
    let children =
        || fs::read_to_string(format!("/proc/{superdaemon}/task/{superdaemon}/children")).unwrap_or_default();
    let before = children();
    install(s);
    let mut begun = Some(s.begin(&UPGRADE));
    let mut found = None;
    while let Some(command) = begun.take() {
        let all = children();
        let new = all.split_whitespace().find(|child| !before.split_whitespace().any(|known| known == *child));
        if let Some(pid) = new.map(|pid| pid.parse().unwrap()) {
            send(pid, "STOP");
            found = Some((command, pid));
        } else if s.is_running(&command) {
            begun = Some(command);
        } else {
            s.end(command);
        }
    }
    // The rehearsal may have ended just before the signal.
    let (command, pid) = found?;
    let is_stopped = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T') && children().contains(&pid.to_string()))
    };
    let mut caught = false;
    s.wait("the rehearsal to be stopped", |s| {
        caught = is_stopped(pid);
        caught || !s.is_running(&command)
    });
    if !caught {
        s.end(command);
        return None;
    }
    Some((command, pid))
}

/// There are enough descriptors for the rehearsal, but not for the rest.
#[test]
fn an_upgrade_whose_descriptors_are_used_up_meanwhile() {
    ours_alone(|s| {
        s.may_take_longer(Duration::from_secs(240));
        install(s);
        start(s, &installed(s), &["--kill-timeout=60"]);
        let mut generation = 1;
        for more in 0..6 {
            let (command, rehearsal) =
                iter::repeat_with(|| stopped_rehearsal(s)).take(1000).flatten().next().expect("a rehearsal");
            // The numbers that the rehearsal uses now are free after it.
            let least = scarce_descriptors(s)[0];
            let before = limit(s, "nofile", &(least + more).to_string());
            send(rehearsal, "CONT");
            let output = s.end(command);
            is_alive(s);
            limit(s, "nofile", &before);
            let is_new = program_of(s) == fs::canonicalize(installed(s)).unwrap();
            assert!(["exit 0", "exit 124", "exit 125"].contains(&output.end.as_str()), "{}", output.end);
            assert_eq!(output.end == "exit 0", is_new, "{more}: {}: {}", output.end, output.stderr);
            generation += 1;
            s.wait_rest();
            send(s.superdaemon(), "HUP");
            wait_generation(s, generation);
        }
        stop(s);
        assert_eq!(s.ls(), "");
    });
}

/// This needs a user of its own, whose processes the limit counts, and so root.
#[test]
fn an_upgrade_without_processes() {
    if !geteuid().is_root() {
        return;
    }
    ours_alone(|s| {
        install(s);
        start(s, &installed(s), &["--ready=accepting"]);
        under_limits(s, "nproc", 1..=MOST_NEEDED as u64, &UPGRADE);
    });
}

#[test]
fn a_take_over_without_descriptors() {
    original_alone(|s| {
        let original = s.program().to_owned();
        s.copy_other();
        start(s, &original, &[]);
        let limits = scarce_descriptors(s);
        under_limits(s, "nofile", limits.into_iter(), &TAKE_OVER);
    });
}

#[test]
fn a_take_over_without_processes() {
    if !geteuid().is_root() {
        return;
    }
    original_alone(|s| {
        let original = s.program().to_owned();
        s.copy_other();
        start(s, &original, &[]);
        under_limits(s, "nproc", 1..=MOST_NEEDED as u64, &TAKE_OVER);
    });
}

/// No file has room for the state, and SIGXFSZ, which comes with the error, would end the original.
#[test]
fn a_take_over_with_a_limit_of_file_sizes() {
    original_alone(|s| {
        let original = s.program().to_owned();
        s.copy_other();
        start(s, &original, &[]);
        let before = limit(s, "fsize", "100");
        let output = s.run_other(&TAKE_OVER);
        is_alive(s);
        assert!(["exit 0", "exit 125"].contains(&output.end.as_str()), "{}: {}", output.end, output.stderr);
        limit(s, "fsize", &before);
        s.wait_rest();
        is_alive(s);
        send(s.superdaemon(), "HUP");
        wait_generation(s, 2);
        stop(s);
        assert_eq!(s.ls(), "");
    });
}

/// A program that can't read its state, and whose way back leads to itself, says so and ends. It removes nothing, as
/// another process may be using the files.
#[test]
fn the_way_back_has_an_end() {
    ours_alone(|s| {
        s.may_take_longer(Duration::from_secs(60));
        for name in ["pid", "st"] {
            s.write(name, "1:2\n");
        }
        s.stale_socket("sock");
        let before = s.ls();
        for state in ["99", "0", "6"] {
            // The state is valid, but not sealed.
            s.write("../state", "start_server state 1.0\ngeneration 1\nlast-restart 0\n");
            s.prelude(&format!(
                "exec 5<\"$0\" 6<../state\nexport START_SERVER_STATE={state},5\nexec timeout -s KILL 30 \"$0\" \"$@\""
            ));
            let output =
                s.run(&["--port=127.0.0.1:$PORT", "--path=sock", "--pid-file=pid", "--status-file=st", "--", "true"]);
            let lines = output.stderr.lines().count();
            assert!(
                output.end.starts_with("exit ") && !["exit 0", "exit 137"].contains(&output.end.as_str()),
                "{}",
                output.end
            );
            assert!((1..=4).contains(&lines), "{lines} lines, such as {:?}", output.stderr.lines().next());
            assert_eq!(s.ls(), before);
        }
        s.prelude("");
    });
}
