//! Faults that were found by attacking `--upgrade`: what the way back leaves behind, and where it ended too early.

use std::fs;
use std::io::Write as _;
use std::process::Command;

use nix::fcntl::SealFlag;
use nix::unistd::Uid;

use super::stop;
use super::upgrade::{
    FILES, STATE, UPGRADE, WORKER, binary, install_ours, install_text, start, status_line, with_state,
};
use crate::harness::ours_alone;

/// Our program can't read this command line and goes back to a shell, which can. Returns what the shell finds.
fn what_comes_back_finds(script: &str, more: &[String]) -> String {
    let mut command = Command::new(binary());
    command.args(["-c", script]).args(more).env("START_SERVER_STATE", "100,102");
    with_state(STATE, SealFlag::all(), "/bin/sh", command).2
}

/// Otherwise each way back would leave one more descriptor to the superdaemon and its workers.
#[test]
fn the_way_back_leaves_no_descriptor() {
    let said = what_comes_back_finds("cd /proc/self/fd && for fd in 100 102; do [ ! -e $fd ] || echo $fd; done", &[]);
    assert_eq!(said, "100\nUnknown option: c\n");
}

/// The reason is shortened, as the kernel executes nothing with a variable of more than 128 KiB.
#[test]
fn the_way_back_with_a_long_reason() {
    let options: Vec<String> = (0..40).map(|_| format!("--{}", "x".repeat(5000))).collect();
    let said = what_comes_back_finds("echo ${#START_SERVER_NOT_UPGRADED}", &options);
    assert!(said.starts_with("1024\n"), "{said}");
}

/// The process needs more memory than its rehearsal, as it does more than read the state. If there is too little, the
/// upgrade is refused, and nothing dies.
#[test]
fn a_limit_of_memory() {
    ours_alone(|s| {
        let paths: Vec<String> = (0..250).map(|number| format!("--path=s{number}{}", "x".repeat(60))).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        start(s, &[&FILES[..], &["--interval=0"], &paths, &WORKER].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        s.wait_rest();
        let limit = |s: &crate::harness::Scenario, limit: &str| {
            let mut prlimit = Command::new("prlimit");
            prlimit.args([format!("--pid={}", s.superdaemon()), format!("--as={limit}:unlimited")]);
            assert!(prlimit.status().unwrap().success());
        };
        let size = status_line(s, "VmSize").split_whitespace().nth(1).unwrap().parse::<usize>().unwrap();
        let mut ends = Vec::new();
        for more in (0..4096).step_by(256) {
            limit(s, &((size + more) * 1024).to_string());
            install_ours(s);
            let output = s.run_unrecorded(&UPGRADE);
            assert!(["exit 0", "exit 125"].contains(&output.end.as_str()), "{more}: {} {}", output.end, s.said());
            ends.push(output.end);
        }
        assert!(ends.first().unwrap() == "exit 125" && ends.last().unwrap() == "exit 0", "{ends:?}");
        limit(s, "unlimited");
        stop(s);
        assert_eq!(s.ls(), "");
    });
}

/// Otherwise the script would become the superdaemon without knowing it.
#[test]
fn a_script_that_starts_the_program_as_its_child() {
    ours_alone(|s| {
        start(s, &[&FILES[..], &["--interval=0"], &WORKER].concat());
        s.wait_worker(1);
        s.wait_file("st", "1:<W1>\n");
        for (end, expected) in [("\nexit $?", "exit 125"), ("", "exit 0")] {
            let exec = if end.is_empty() { "exec " } else { "" };
            install_text(s, &format!("#!/bin/sh\n{exec}{} \"$@\"{end}\n", binary()));
            let output = s.run(&UPGRADE);
            assert_eq!(output.end, expected, "{}", s.said());
            if expected == "exit 125" {
                let reason = ": another program has started it, and must replace itself by it (exec)\n";
                assert!(output.stderr.ends_with(reason), "{}", output.stderr);
            }
        }
        s.signal("HUP");
        s.wait_file("st", "2:<W2>\n");
        stop(s);
        assert_eq!(s.ls(), "");
    });
}

/// `--ready=accepting` starts a process to find out whether it may look at workers. If that process can't report, the
/// superdaemon doesn't wait for it.
#[test]
fn a_probe_that_can_say_nothing() {
    ours_alone(|s| {
        s.strace("-f -o /dev/null -e trace=sendto,shutdown -e inject=sendto,shutdown:error=ENOBUFS:when=1");
        let output = s.run(&["--port=127.0.0.1:$PORT", "--ready=accepting", "--", "$PROBE"]);
        assert_ne!(output.end, "exit 0");
        let reason = "--ready=accepting can't look at workers (is kernel.yama.ptrace_scope above 1?): failed to read ";
        assert!(output.stderr.contains(reason), "{}", output.stderr);
    });
}

/// If the file for the answer can't be written, the client reports that at once, and the old program keeps running.
#[test]
fn a_full_disk_has_no_room_for_an_answer() {
    ours_alone(|s| {
        if !Uid::effective().is_root() {
            return;
        }
        s.mkdir("disk");
        let mount = "mount -t tmpfs -o size=64k none disk";
        s.prelude(&format!("exec unshare --mount sh -c '{mount} && exec \"$0\" \"$@\"' \"$0\" \"$@\""));
        s.start(&["--pid-file=disk/pid", "--status-file=disk/st", "--", "$PROBE"]);
        s.wait_worker(1);
        let within = format!("/proc/{}/root{}/disk", s.superdaemon(), s.path(".").display());
        s.wait("the status file", |_| {
            fs::read_to_string(format!("{within}/st")).is_ok_and(|status| !status.is_empty())
        });
        let mut filler = fs::File::create(format!("{within}/filler")).unwrap();
        while filler.write_all(&[0; 512]).is_ok() {}
        // While it is open, its space would not be freed.
        drop(filler);
        let enter = format!("nsenter --mount --target={}", s.superdaemon());
        s.prelude(&format!("exec {enter} sh -c 'cd \"$1\" && shift && exec \"$0\" \"$@\"' \"$0\" \"$PWD\" \"$@\""));
        let output = s.run(&["--upgrade", "--pid-file=disk/pid"]);
        assert_eq!(output.end, "exit 28", "{}", output.stderr);
        assert!(output.stderr.ends_with("disk/pid.upgrade:No space left on device\n"), "{}", output.stderr);
        fs::remove_file(format!("{within}/filler")).unwrap();
        assert_eq!(s.run(&["--upgrade", "--pid-file=disk/pid"]).end, "exit 0");
        s.prelude("");
        stop(s);
    });
}
