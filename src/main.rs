//! The program `start_server`.

// Rust's own start-up would open /dev/null on closed standard descriptors and ignore PIPE, and so hide the launch state
// that workers and loggers inherit. So the program starts where a C program does.
#![no_main]

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::write;
use server_starter::program::{
    Action, Failure, Rehearsal, asks_for_updates, go_back, is_handed_over, list_updates, parse, start_program,
    superdaemon_options, take_over,
};
use server_starter::{Error, Options, is_running, restart_server, show_status, stop_server, upgrade_server};

/// The exit code, or an error that has not been reported yet.
fn run(mut arguments: Vec<OsString>) -> Result<u8, Failure> {
    if let Some(rehearsal) = Rehearsal::of(&arguments)? {
        let options = superdaemon_options(arguments.split_off(1));
        return Ok(rehearsal.answer(options.map_err(|failure| Error::Rule(failure.message()))));
    }
    if asks_for_updates(&arguments) {
        let lines = list_updates();
        print(&lines)?;
        return Ok(0);
    }
    // A program that continues a superdaemon would find that one alive: itself.
    let is_alive = |pid_file: &Path| !is_handed_over() && is_running(pid_file);
    match parse(arguments).inspect_err(|failure| go_back(&failure.message()))? {
        Action::Help(text) => print_help(text),
        Action::Version => print_version()?,
        Action::Restart { pid_file, status_file, timeout } => restart_server(&pid_file, &status_file, timeout)?,
        Action::Stop { pid_file } => stop_server(&pid_file)?,
        Action::RestartOrStart { pid_file, status_file, timeout, .. } if is_alive(&pid_file) => {
            restart_server(&pid_file, &status_file, timeout)?;
        }
        Action::ShowStatus { pid_file, status_file, as_json, is_quiet } => {
            let status = show_status(&pid_file, status_file.as_deref());
            if !is_quiet {
                print(if as_json { status.to_json() } else { status.to_string() })?;
            }
            return Ok(status.exit_code());
        }
        Action::TakeOver { pid_file } => take_over(&pid_file)?,
        Action::Upgrade { pid_file } => upgrade_server(&pid_file)?,
        Action::Start(options) | Action::RestartOrStart { options, .. } => return Ok(start(&options)),
    }
    Ok(0)
}

/// Errors have been reported.
fn start(options: &Options) -> u8 {
    start_program(options).map_or_else(|error| error.exit_code(), |()| 0)
}

/// What the program is compatible with; its own version is in the help.
fn print_version() -> Result<(), Failure> {
    print("0.35\n")
}

/// A failure to write it is not an error (P3).
fn print_help(text: &str) {
    let _ = print(text);
}

/// The standard library's stdout would report success on a closed descriptor.
fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut rest = text.as_ref();
    while !rest.is_empty() {
        match write(io::stdout(), rest) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Failure::Stdout { errno: errno as i32 }),
        }
    }
    Ok(())
}

fn end(result: Result<u8, Failure>) -> u8 {
    result.unwrap_or_else(|failure| {
        let mut message = failure.message();
        message.push(b'\n');
        let _ = io::stderr().write_all(&message);
        failure.exit_code()
    })
}

mod entry {
    #![allow(unsafe_code, clippy::similar_names)]

    use std::ffi::{CStr, OsStr, c_char, c_int};
    use std::os::unix::ffi::OsStrExt;

    // Rust's standard library requires libgcc's unwinder, which nothing here uses. From its archive, only used parts
    // become part of the program; loading the shared library would take a tenth of the whole start.
    #[cfg(all(feature = "static-unwinder", target_os = "linux", target_env = "gnu"))]
    #[link(name = "gcc_eh")]
    unsafe extern "C" {}

    /// What the C library calls.
    #[unsafe(no_mangle)]
    extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
        let argument = |index| {
            // SAFETY: argv holds argc C strings, which are not changed.
            let argument = unsafe { CStr::from_ptr(*argv.add(index)) };
            OsStr::from_bytes(argument.to_bytes()).to_owned()
        };
        let arguments = (1..usize::try_from(argc).unwrap_or(0)).map(argument).collect();
        c_int::from(super::end(super::run(arguments)))
    }
}
