//! How each running superdaemon becomes this program: what the package prints when it has been installed.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::cli::invocation::{arguments_behind_the_program, is_start_server};
use crate::cli::{self, Action};
use crate::options::Options;
use crate::proc::Process;
use crate::stderr::visible;
use crate::sys::Pid;

/// The first argument of this program, instead of options. It is not documented, as it is for packages.
pub(crate) const LIST_UPDATES: &str = "--list-updates";

/// A line for each superdaemon of the original, or of another version of this program at the same path, in this pid namespace:
/// a command that can be pasted, if there is one.
#[must_use]
pub fn list_updates() -> Vec<u8> {
    Process::all().into_iter().filter_map(line_about).flat_map(|line| [line, b"\n".to_vec()].concat()).collect()
}

fn line_about(pid: Pid) -> Option<Vec<u8>> {
    let process = Process::Pid(pid);
    let of_namespace = |process: Process| fs::read_link(process.path("ns/pid")).ok();
    if of_namespace(process) != of_namespace(Process::OwnThread) {
        return None;
    }
    let command = process.arguments().ok()?;
    let option = option_for(process, &command)?;
    let arguments = arguments_behind_the_program(&command)?.iter().cloned().map(OsString::from_vec).collect();
    let number = pid.to_string().into_bytes();
    let said = match cli::parse(arguments) {
        Ok(Action::Start(options) | Action::RestartOrStart { options, .. }) => {
            let Options { pid_file: Some(file), .. } = *options else {
                return Some(
                    [b"start_server: process ", &number[..], b" has no --pid-file: stop and start it to update it"]
                        .concat(),
                );
            };
            let file = quoted(as_path_of(process, &file).as_os_str().as_bytes());
            [b"start_server ".as_slice(), option, b" --pid-file=", &file].concat()
        }
        // It is a client.
        Ok(_) => return None,
        Err(_) => b"its command line can't be parsed: stop and start it to update it".to_vec(),
    };
    Some([b"start_server: to update process ", &number[..], b": ", &said].concat())
}

/// The option by which it becomes this program. None if it can't.
fn option_for(process: Process, command: &[Vec<u8>]) -> Option<&'static [u8]> {
    let executable = fs::read_link(process.executable()).ok()?;
    let mut replaced = env::current_exe().ok()?.into_os_string();
    replaced.push(" (deleted)");
    if executable.as_os_str() == replaced {
        return Some(b"--upgrade");
    }
    let runs_perl = executable.file_name()?.as_bytes().starts_with(b"perl");
    let arguments = arguments_behind_the_program(command)?;
    let script = command.get(command.len().checked_sub(arguments.len() + 1)?)?;
    (runs_perl && is_start_server(script)).then_some(b"--take-over")
}

/// A path of the process, made to lead to the same file from anywhere.
fn as_path_of(process: Process, path: &Path) -> PathBuf {
    let directory = fs::read_link(process.path("cwd")).unwrap_or_default().join(path);
    match fs::read_link(process.path("root")) {
        Ok(root) if root != Path::new("/") => root.join(path.strip_prefix("/").unwrap_or(&directory)),
        _ => directory,
    }
}

/// For a shell. Control characters are escaped, so no line of an installer obeys them.
fn quoted(text: &[u8]) -> Vec<u8> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_./@%+=:,-".contains(byte);
    if text.iter().all(is_plain) {
        return text.to_vec();
    }
    let text: Vec<u8> =
        text.iter().flat_map(|&byte| if byte == b'\'' { b"'\\''".to_vec() } else { vec![byte] }).collect();
    visible(&[b"'".as_slice(), &text, b"'"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_shell() {
        for (word, expected) in [
            ("/run/app.pid", "/run/app.pid"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("$(x)`;*", "'$(x)`;*'"),
            ("\x1b[2J", "'\\u{1b}[2J'"),
            ("~", "'~'"),
        ] {
            assert_eq!(String::from_utf8(quoted(word.as_bytes())).unwrap(), expected);
        }
    }
}
