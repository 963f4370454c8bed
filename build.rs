//! What the linker leaves out of a release.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program that aborts unwinds nothing: the tables for that, a seventh of it, are of no use. A backtrace would need them, but
/// could name nothing in a program without symbols.
const NO_TABLES: &str =
    "SECTIONS { /DISCARD/ : { *(.eh_frame) *(.gcc_except_table .gcc_except_table.*) } } INSERT AFTER .rodata;\n";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if variable("PROFILE") != "release" || variable("CARGO_CFG_TARGET_OS") != "linux" {
        return;
    }
    let directory = PathBuf::from(variable("OUT_DIR"));
    let script = directory.join("no_tables.ld");
    fs::write(&script, NO_TABLES).expect("OUT_DIR is there to be written to");
    let mut wanted = vec![vec!["-Wl,--no-eh-frame-hdr".into(), format!("-Wl,-T,{}", script.display())]];
    // They shrink the relocations to a fiftieth. A dynamic program could not run any more where the C library is older than 2.36.
    if variable("CARGO_CFG_TARGET_FEATURE").to_string_lossy().split(',').any(|feature| feature == "crt-static") {
        wanted.push(vec!["-Wl,-z,pack-relative-relocs".into()]);
    }
    for arguments in wanted.iter().filter(|arguments| links(&directory, arguments)) {
        for argument in arguments {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}

/// Whether the linker in use knows these arguments, and makes a program with them that runs, where that can be tried.
fn links(directory: &Path, arguments: &[String]) -> bool {
    let (source, program) = (directory.join("probe.rs"), directory.join("probe"));
    fs::write(&source, "fn main() {}").expect("OUT_DIR is there to be written to");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(["--edition=2024", "-Cpanic=abort", "--target"]).arg(variable("TARGET"));
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        rustc.arg("-Clinker").arg(linker);
    }
    rustc.args(variable("CARGO_ENCODED_RUSTFLAGS").to_string_lossy().split('\x1f').filter(|flag| !flag.is_empty()));
    rustc.args(arguments.iter().map(|argument| format!("-Clink-arg={argument}")));
    rustc.arg("-o").arg(&program).arg(&source);
    succeeds(&mut rustc) && (variable("TARGET") != variable("HOST") || succeeds(&mut Command::new(&program)))
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// What cargo tells.
fn variable(name: impl AsRef<OsStr>) -> OsString {
    env::var_os(name).unwrap_or_default()
}
