//! What was found by trying to break `--upgrade`: what the way back leaves behind, and where it ended before.

use std::process::Command;

use nix::fcntl::SealFlag;

use super::stop;
use super::upgrade::{
    FILES, STATE, UPGRADE, WORKER, binary, install_ours, install_text, start, status_line, with_state,
};
use crate::harness::ours_alone;

/// Our program can't read its command line, and goes back to a shell, which can: it says what it finds.
fn what_comes_back_finds(script: &str, more: &[String]) -> String {
    let mut command = Command::new(binary());
    let command = command.args(["-c", script]).args(more).env("START_SERVER_STATE", "100,102");
    with_state(STATE, SealFlag::all(), "/bin/sh", command).2
}

/// Each way back would leave one more descriptor to the superdaemon and its workers.
#[test]
fn the_way_back_leaves_no_descriptor() {
    let said = what_comes_back_finds("cd /proc/self/fd && for fd in 100 102; do [ ! -e $fd ] || echo $fd; done", &[]);
    assert_eq!(said, "100\nUnknown option: c\n");
}

/// The kernel executes nothing with a variable of more than 128 KiB.
#[test]
fn the_way_back_with_a_long_reason() {
    let options: Vec<String> = (0..40).map(|_| format!("--{}", "x".repeat(5000))).collect();
    let said = what_comes_back_finds("echo ${#START_SERVER_NOT_UPGRADED}", &options);
    assert!(said.starts_with("1024\n"), "{said}");
}
