//! The promises of SECURITY.md: a service of an unprivileged user tries to make a command of root read, signal or write
//! something for it. Most tests need root, and pass without trying anything if they aren't run as root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use nix::unistd::{Gid, Uid, chown, geteuid};

use crate::harness::{Scenario, original_alone, ours_alone, send};

/// The beginning of each row and paragraph of SECURITY.md that a scenario can show, the file with that scenario, and a
/// text in it.
const SHOWN: [(&str, &str, &str); 11] = [
    ("| the envdir |", "tool/src/scenarios/envdir.rs", "fn the_envdir_is_read_at_each_wake_up()"),
    ("| ptrace(2) of `--take-over` |", "security.rs", "fn an_envdir_that_only_root_can_read()"),
    ("| files that are written over or removed |", "tool/src/divergences.rs", "fn own_files_only()"),
    ("| the pid in a pid file", "security.rs", "fn a_pid_that_is_used_again()"),
    ("| `PIDFILE.upgrade` |", "security.rs", "fn a_request_that_leads_elsewhere()"),
    ("| `START_SERVER_STATE` |", "own_options/shortage.rs", "fn the_way_back_has_an_end()"),
    ("| systemd's descriptor store |", "security.rs", "fn a_kept_listener_whose_file_is_another_socket()"),
    ("| `STATUSFILE.failed` ", "security.rs", "fn control_characters()"),
    ("Workers get the listeners and", "own_options/take_over.rs", "fn what_workers_get()"),
    ("| `SERVER_STARTER_PORT` |", "tool/src/scenarios/sockets.rs", "fn odd_names_of_sockets()"),
    (
        "| /proc of `--ready=accepting` |",
        "own_options/readiness.rs",
        "fn a_worker_that_does_not_accept_is_no_successor()",
    ),
];

const SECRET: &str = "s3cr3t-of-root";

#[test]
fn what_is_shown_is_said() {
    let text = include_str!("../SECURITY.md");
    for (begin, file, test) in SHOWN {
        assert!(text.contains(&format!("\n{begin}")), "SECURITY.md has no line that begins with `{begin}`");
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("compat-tests").join(file);
        assert!(fs::read_to_string(path).unwrap().contains(test), "{file} has no {test}");
    }
}

fn user(s: &Scenario) -> u32 {
    300_000 + u32::from(s.port())
}

/// Gives the scenario's directory to an unprivileged user, and makes files beside it that only root can read: a secret,
/// and a status file with `worker` as generation 1.
fn set_the_stage(s: &mut Scenario, worker: i32) {
    for path in [s.path(".."), s.path(".")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    chown(&s.path("."), Some(Uid::from_raw(user(s))), Some(Gid::from_raw(user(s)))).unwrap();
    let secrets = s.path("../secrets");
    let _ = fs::create_dir(&secrets);
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(secrets.join("API_KEY"), format!("{SECRET}\n")).unwrap();
    fs::write(secrets.join("status"), format!("1:{worker}\n{SECRET}\n")).unwrap();
    fs::set_permissions(secrets.join("API_KEY"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(secrets.join("status"), fs::Permissions::from_mode(0o600)).unwrap();
}

fn as_user(s: &Scenario) -> String {
    let user = user(s);
    format!("exec setpriv --reuid={user} --regid={user} --clear-groups -- ")
}

/// Runs a Perl program as that user in the scenario's directory, and waits for its file `ready`.
fn run_as_user(s: &mut Scenario, perl: &str) -> std::process::Child {
    let user = user(s);
    let child = Command::new("setpriv")
        .args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups", "perl", "-e"])
        .arg(format!(
            "use Fcntl ':flock'; use IO::Handle; $SIG{{TERM}} = sub {{ exit }}; {perl}; open my $r, '>', 'ready'; sleep 1 while 1"
        ))
        .current_dir(s.path("."))
        .stdin(Stdio::null())
        .spawn()
        .expect("setpriv(1)");
    s.wait("the user's program", |s| s.path("ready").exists());
    s.remove("ready");
    child
}

/// Runs ours as root, with its output byte for byte.
fn command(s: &Scenario, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_start_server")).args(args).current_dir(s.path(".")).output().unwrap()
}

fn is_as_before(path: &PathBuf, content: &str) {
    let metadata = fs::metadata(path).unwrap();
    assert_eq!((metadata.uid(), metadata.mode() & 0o777), (0, 0o600));
    assert_eq!(fs::read_to_string(path).unwrap(), content);
}

fn start_the_original(s: &mut Scenario, options: &[&str]) -> i32 {
    let fixture = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("perl-fixtures/three_ways.pl");
    assert!(Command::new("cp").arg(fixture).arg(s.path("../worker.pl")).status().unwrap().success());
    set_the_stage(s, 0);
    s.prelude(&(as_user(s) + "\"$0\" \"$@\""));
    let worker = ["--", "sh", "-c", "env >environment-$SERVER_STARTER_GENERATION; exec perl $DIR/../worker.pl"];
    s.start(
        &[&["--pid-file=pid", "--status-file=st", "--port=127.0.0.1:$PORT", "--interval=0"], options, &worker].concat(),
    );
    s.prelude("");
    s.wait_http("$PORT", "version 1");
    s.wait("the status file", |s| fs::read_to_string(s.path("st")).is_ok_and(|status| status.starts_with("1:")));
    s.wait_rest();
    let status = fs::read_to_string(s.path("st")).unwrap();
    let worker = status.trim().split_once(':').unwrap().1.parse().unwrap();
    set_the_stage(s, worker);
    worker
}

/// Runs a take-over, and returns its output and a trace of all that it has read and written.
fn traced_take_over(s: &mut Scenario) -> (Output, String) {
    let trace = s.path("../trace");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-s", "1000000", "-o"])
        .arg(&trace)
        .args(["-e", "trace=read,pread64,readv,write,pwrite64,pwritev,process_vm_writev,sendto"])
        .arg(s.other())
        .args(["--take-over", "--pid-file=pid"])
        .current_dir(s.path("."))
        .output()
        .expect("strace");
    (output, fs::read_to_string(trace).unwrap())
}

/// Whether the take-over succeeds or not, the secret is neither read by root nor given to the user.
fn nothing_is_given_away(s: &mut Scenario, worker: i32) {
    let (output, trace) = traced_take_over(s);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = trace.lines().find(|line| line.contains(SECRET));
    assert!(line.is_none(), "{said}: {}", line.unwrap_or_default().chars().take(300).collect::<String>());
    s.wait_rest();
    send(s.superdaemon(), "HUP");
    s.wait_http("$PORT", "version 2");
    let environment = fs::read_to_string(s.path("environment-2")).unwrap();
    assert!(!environment.contains(SECRET), "{said}");
    s.wait("the old worker's end", |_| crate::harness::is_dead(worker));
    s.wait_rest();
    s.signal("TERM");
    assert_eq!(s.wait_exit(), "exit 0");
}

#[test]
fn an_envdir_that_only_root_can_read() {
    if !geteuid().is_root() {
        return;
    }
    original_alone(|s| {
        s.mkdir("env");
        let worker = start_the_original(s, &["--envdir=env"]);
        fs::remove_dir(s.path("env")).unwrap();
        symlink("../secrets", s.path("env")).unwrap();
        nothing_is_given_away(s, worker);
    });
}

#[test]
fn a_status_file_that_only_root_can_read() {
    if !geteuid().is_root() {
        return;
    }
    original_alone(|s| {
        let worker = start_the_original(s, &[]);
        s.remove("st");
        symlink("../secrets/status", s.path("st")).unwrap();
        let content = fs::read_to_string(s.path("../secrets/status")).unwrap();
        nothing_is_given_away(s, worker);
        is_as_before(&s.path("../secrets/status"), &content);
    });
}

/// If a program that only root may execute were not refused at once, the copy of the superdaemon would end without a
/// reason.
#[test]
fn a_program_that_its_user_cannot_execute() {
    if !geteuid().is_root() {
        return;
    }
    original_alone(|s| {
        start_the_original(s, &[]);
        for (directory, file) in [(0o700, 0o755), (0o755, 0o700)] {
            let program = s.path("../secrets/start_server");
            let copied = Command::new("cp").arg(s.other()).arg(&program).status().unwrap();
            assert!(copied.success());
            fs::set_permissions(s.path("../secrets"), fs::Permissions::from_mode(directory)).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(file)).unwrap();
            let output = Command::new(&program)
                .args(["--take-over", "--pid-file=pid"])
                .current_dir(s.path("."))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(125), "{said}");
            let reason = format!("not taken over: its user can't execute {}:Permission denied", program.display());
            assert!(said.contains(&reason), "{said}");
            fs::remove_file(program).unwrap();
        }
        send(s.superdaemon(), "HUP");
        s.wait_http("$PORT", "version 2");
        s.signal("TERM");
        assert_eq!(s.wait_exit(), "exit 0");
    });
}

/// If a pid file that is locked by a process of the user names a process of root, no process gets a signal or is
/// traced.
#[test]
fn a_pid_of_somebody_else() {
    if !geteuid().is_root() {
        return;
    }
    ours_alone(|s| {
        set_the_stage(s, 0);
        let mut innocent = Command::new("sleep").arg("1000").current_dir(s.path(".")).spawn().unwrap();
        let mut holder = run_as_user(
            s,
            &format!("open my $f, '>', 'pid'; $f->autoflush; print $f \"{}\\n\"; flock $f, LOCK_EX", innocent.id()),
        );
        for args in [
            &["--stop", "--pid-file=pid"][..],
            &["--restart", "--pid-file=pid", "--status-file=st"],
            &["--upgrade", "--pid-file=pid"],
            &["--take-over", "--pid-file=pid"],
        ] {
            let output = command(s, args);
            assert!(!output.status.success(), "{args:?}");
            assert!(innocent.try_wait().unwrap().is_none(), "{args:?} has ended a process of root");
        }
        for child in [&mut innocent, &mut holder] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        s.remove("pid");
    });
}

/// The same if the process that took the lock is dead and its pid now belongs to a process of root: a child keeps the
/// lock, and /proc/locks names the dead process.
#[test]
fn a_pid_that_is_used_again() {
    if !geteuid().is_root() {
        return;
    }
    ours_alone(|s| {
        set_the_stage(s, 0);
        let user = user(s);
        let script = format!(
            "set -e\n\
             setpriv --reuid={user} --regid={user} --clear-groups perl -e '\
             use Fcntl qw(:flock); use IO::Handle; open my $f, \">\", \"pid\"; $f->autoflush; print $f \"$$\\n\"; \
             flock $f, LOCK_EX; $^F = 1000; my $p = fork; exit if $p; sleep 1000'\n\
             pid=$(cat pid)\n\
             echo $((pid - 1)) >/proc/sys/kernel/ns_last_pid\n\
             sleep 1000 & innocent=$!\n\
             test $innocent = $pid\n\
             for command in --stop '--restart --status-file=st' --upgrade --take-over; do\n\
             if {program} $command --pid-file=pid; then echo \"$command: done\"; fi\n\
             kill -0 $innocent || echo \"$command: the process of root is dead\"\n\
             done\n\
             echo tried\n",
            program = env!("CARGO_BIN_EXE_start_server")
        );
        let output = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &script])
            .current_dir(s.path("."))
            .output()
            .expect("unshare(1)");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said, "tried\n", "{}", String::from_utf8_lossy(&output.stderr));
        s.remove("pid");
    });
}

/// The file through which `--upgrade` asks is a link to a file of root.
#[test]
fn a_request_that_leads_elsewhere() {
    if !geteuid().is_root() {
        return;
    }
    ours_alone(|s| {
        let program = s.path("../start_server");
        assert!(Command::new("cp").arg(s.program()).arg(&program).status().unwrap().success());
        set_the_stage(s, 0);
        s.prelude(&(as_user(s) + "\"$DIR/../start_server\" \"$@\""));
        s.start(&["--pid-file=pid", "--status-file=st", "--", "sleep", "1000"]);
        s.prelude("");
        s.wait("the status file", |s| fs::read_to_string(s.path("st")).is_ok_and(|status| status.starts_with("1:")));
        for target in ["API_KEY", "none"] {
            symlink(format!("../secrets/{target}"), s.path("pid.upgrade")).unwrap();
            let output = command(s, &["--upgrade", "--pid-file=pid"]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            is_as_before(&s.path("../secrets/API_KEY"), &format!("{SECRET}\n"));
            assert!(!s.path("../secrets/none").exists());
            assert!(fs::symlink_metadata(s.path("pid.upgrade")).is_err());
        }
        s.signal("TERM");
        assert_eq!(s.wait_exit(), "exit 0");
        assert_eq!(s.ls(), "");
    });
}

fn says_nothing_raw(output: &Output) {
    let raw = |bytes: &[u8]| bytes.iter().any(|byte| byte.is_ascii_control() && *byte != b'\n');
    assert!(!raw(&output.stderr) && !raw(&output.stdout), "{:?}", String::from_utf8_lossy(&output.stderr));
    assert!(!output.stderr.is_empty());
}

/// In a pid file, in an answer, and in the name of a process.
#[test]
fn control_characters() {
    if !geteuid().is_root() {
        return;
    }
    ours_alone(|s| {
        set_the_stage(s, 0);
        fs::write(s.path("pid"), "\u{1b}]0;pwned\u{7}\n").unwrap();
        says_nothing_raw(&command(s, &["--stop", "--pid-file=pid"]));
        s.remove("pid");
        let lock = "open my $f, '>', 'pid'; $f->autoflush; print $f \"$$\\n\"; flock $f, LOCK_EX";
        let answer = "$SIG{USR2} = sub { open my $a, '>', 'pid.upgrade'; syswrite $a, \"refused \\e]0;pwned\\a\\n\" }";
        for (perl, arg) in [
            (format!("$0 = 'start_server'; {answer}; {lock}"), "--upgrade"),
            (format!("$0 = \"x\\e[31mred\"; {lock}"), "--take-over"),
        ] {
            let mut child = run_as_user(s, &perl);
            let output = command(s, &[arg, "--pid-file=pid"]);
            assert_eq!(output.status.code(), Some(125), "{}", String::from_utf8_lossy(&output.stderr));
            child.kill().unwrap();
            child.wait().unwrap();
            s.remove("pid");
            says_nothing_raw(&output);
        }
        assert_eq!(s.ls(), "");
    });
}

/// A listener that the service manager keeps is useless if its file is now another socket: nobody could connect to it.
#[test]
fn a_kept_listener_whose_file_is_another_socket() {
    ours_alone(|s| {
        s.prelude(
            "exec perl -MIO::Socket::UNIX -MPOSIX -e '\
             $^F = 10; my $l = IO::Socket::UNIX->new(Local => \"sock\", Listen => 5) or die; \
             POSIX::dup2(fileno $l, 3) or die; \
             unlink \"sock\"; \
             { my $other = IO::Socket::UNIX->new(Local => \"sock\", Listen => 5) or die; } \
             $ENV{LISTEN_PID} = $$; $ENV{LISTEN_FDS} = 1; $ENV{LISTEN_FDNAMES} = \"start_server-sock\"; \
             exec @ARGV' \"$0\" \"$@\"",
        );
        s.start(&[
            "--from-systemd",
            "--path=sock",
            "--status-file=st",
            "--interval=0",
            "--",
            "perl",
            "$FIXTURES/three_ways.pl",
        ]);
        s.prelude("");
        s.wait("the status file", |s| fs::read_to_string(s.path("st")).is_ok_and(|status| status.starts_with("1:")));
        s.wait_http("sock", "version 1");
        s.signal("TERM");
        assert_eq!(s.wait_exit(), "exit 0");
        assert_eq!(s.ls(), "");
    });
}

/// Workers share their listeners with the superdaemon: socket options that a worker of another user sets are still
/// there for the next worker. The other listener is untouched.
#[test]
fn what_a_worker_sets_at_its_listener_stays() {
    if !geteuid().is_root() {
        return;
    }
    ours_alone(|s| {
        set_the_stage(s, 0);
        s.write(
            "worker.pl",
            "my ($first, $second) = map { /=(\\d+)$/; $1 } split /;/, $ENV{SERVER_STARTER_PORT};\n\
             open my $one, '+<&=', $first or die; open my $other, '+<&=', $second or die;\n\
             my @options = ([6, 9], [0, 21]);\n\
             sub seen { join ' ', map { unpack 'i', getsockopt $_[0], $_->[0], $_->[1] } @options }\n\
             my $generation = $ENV{SERVER_STARTER_GENERATION};\n\
             open my $said, '>', \"seen-$generation.new\" or die; print $said seen($one), ', ', seen($other), \"\\n\"; close $said;\n\
             setsockopt $one, 6, 9, pack 'i', 60 or die if $generation == 1;\n\
             setsockopt $one, 0, 21, pack 'i', 255 or die if $generation == 1;\n\
             rename \"seen-$generation.new\", \"seen-$generation\"; sleep 1 while 1;\n",
        );
        let worker = format!("{}perl worker.pl", as_user(s));
        s.start(&["--interval=0", "--port=127.0.0.1:$PORT", "--port=127.0.0.1:$PORT2", "--", "sh", "-c", &worker]);
        s.wait_file("seen-1", "0 0, 0 0\n");
        s.signal("HUP");
        s.wait("another worker", |s| s.path("seen-2").exists());
        let seen = fs::read_to_string(s.path("seen-2")).unwrap();
        let (one, other) = seen.trim_end().split_once(", ").unwrap();
        assert!(!one.starts_with("0 ") && one.ends_with(" 255"), "{seen}");
        assert_eq!(other, "0 0");
        assert_eq!(s.term(), "exit 0");
    });
}
