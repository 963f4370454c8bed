//! `--log-file`: a file that is appended to, or a command that reads from a pipe. Opened first of all, and moved to fd
//! 1 and fd 2 when everything is bound (L4).

use std::ffi::{CString, OsStr};
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::unistd::{dup2_stderr, dup2_stdin};

use crate::environment::Environment;
use crate::error::Error;
use crate::files::log_file::{LogFile, redirect};
use crate::perl::{is_space, trim_start};
use crate::sys::{self, CStringArray, Fork, Pid, c_string};
use crate::system::signals::LaunchState;

/// The open log. If it is dropped before it was moved into place, its command is waited for (L7).
pub(super) struct LogTarget {
    fd: Option<OwnedFd>,
    command: Option<Pid>,
    file: Option<LogFile>,
}

impl LogTarget {
    /// Opens what `--log-file` names. A command gets `environment`, of which it uses PATH.
    pub(crate) fn open(option: &OsStr, environment: &Environment, launch: &LaunchState) -> Result<Self, Error> {
        if let Some(command) = trim_start(option.as_bytes()).strip_prefix(b"|") {
            let failed = |errno| Error::system(&[b"failed to open pipe:", option.as_bytes(), b": "], errno);
            return start(trim_start(command), environment, launch).map_err(failed);
        }
        let file = LogFile { path: option.into() };
        let fd = file.open(0)?;
        // Only a regular file is ever opened again.
        let file = fd.metadata().is_ok_and(|metadata| metadata.is_file()).then_some(file);
        Ok(Self { fd: Some(fd.into()), command: None, file })
    }

    /// Moves the log out of the way, by `keep_clear`.
    pub(super) fn relocate(&mut self, keep_clear: impl FnOnce(OwnedFd) -> Result<OwnedFd, Errno>) -> Result<(), Error> {
        if let Some(fd) = self.fd.take() {
            let moved = keep_clear(fd).map_err(|errno| Error::system(&[b"failed to create socket:"], errno))?;
            self.fd = Some(moved);
        }
        Ok(())
    }

    /// Moves standard output and standard error to the log. From here on, nothing waits for its command.
    pub(super) fn move_into_place(&mut self) -> Result<(), Error> {
        // ORDER: nothing waits for the command even if this fails half-way, as it would wait for us.
        self.command = None;
        match self.fd.take() {
            // QUIRK: also over a listener that was wanted there (`--port=80=1`).
            Some(fd) => redirect(fd),
            None => Ok(()),
        }
    }

    /// The file, to be opened again when it has been renamed.
    pub(super) fn file(&mut self) -> Option<LogFile> {
        self.file.take()
    }
}

impl Drop for LogTarget {
    fn drop(&mut self) {
        // ORDER: the command ends when the pipe does.
        self.fd = None;
        if let Some(pid) = self.command {
            sys::wait_for(pid);
        }
    }
}

/// Starts a command with a pipe to its standard input. It inherits everything else as it was at launch.
fn start(command: &[u8], environment: &Environment, launch: &LaunchState) -> Result<LogTarget, Errno> {
    let Some(exec) = Exec::of(command) else {
        return Err(Errno::EPIPE);
    };
    let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    let environment = environment.to_c();
    let (input, log) = io::pipe().map_err(errno)?;
    // Closed by a successful exec; tells of a failed one.
    let (mut outcome, report) = io::pipe().map_err(errno)?;
    match sys::fork(launch.one_thread)? {
        Fork::Child => {
            launch.restore_actions();
            let failure = match dup2_stdin(&input) {
                Ok(()) => exec.run(&environment),
                Err(errno) => errno,
            };
            tell(report, failure);
        }
        Fork::Parent(pid) => {
            drop((input, report));
            let mut failure = [0; 4];
            if outcome.read_exact(&mut failure).is_ok() {
                sys::wait_for(pid);
                return Err(Errno::from_raw(i32::from_ne_bytes(failure)));
            }
            Ok(LogTarget { fd: Some(log.into()), command: Some(pid), file: None })
        }
    }
}

/// Ends the child, whose exec has failed.
fn tell(mut report: PipeWriter, failure: Errno) -> ! {
    let _ = report.write_all(&(failure as i32).to_ne_bytes());
    sys::exit_now(1)
}

/// How Perl executes a command line (L3).
#[derive(Debug, PartialEq, Eq)]
enum Exec {
    Shell(CString),
    /// The words; the flag says whether standard error goes where standard output goes.
    Direct(Vec<CString>, bool),
}

impl Exec {
    /// Without a character that means something to the shell, the words are executed as they stand. None if there are
    /// no words.
    fn of(command: &[u8]) -> Option<Self> {
        let shell = || Some(Self::Shell(c_string(command)));
        let word = command.iter().take_while(|&&byte| byte.is_ascii_alphanumeric() || byte == b'_').count();
        let is_assignment = command.get(word) == Some(&b'=');
        let is_builtin =
            |name: &[u8]| command.starts_with(name) && command.get(name.len()).copied().is_some_and(is_space);
        if is_assignment || is_builtin(b".") || is_builtin(b"exec") {
            return shell();
        }
        let mut words = command;
        let mut merges_stderr = false;
        if let Some(index) = command.iter().position(|byte| b"$&*(){}[]'\";\\|?<>~`\n".contains(byte)) {
            let (before, rest) = command.split_at(index);
            match before {
                _ if rest == b"\n" => words = before,
                // The one redirection that is done without a shell, at the end only.
                [start @ .., blank, b'2'] if !start.is_empty() && is_space(*blank) && is_merge_at_end(rest) => {
                    (words, merges_stderr) = (start, true);
                }
                _ => return shell(),
            }
        }
        let words: Vec<_> = words.split(|&byte| is_space(byte)).filter(|word| !word.is_empty()).map(c_string).collect();
        (!words.is_empty()).then_some(Self::Direct(words, merges_stderr))
    }

    /// Returns only if it fails.
    fn run(self, environment: &CStringArray) -> Errno {
        match self {
            Self::Shell(command) => sys::exec_shell(&command, environment),
            Self::Direct(words, merges_stderr) => {
                if merges_stderr && let Err(errno) = dup2_stderr(io::stdout()) {
                    return errno;
                }
                sys::exec(&words.into_iter().collect(), environment)
            }
        }
    }
}

fn is_merge_at_end(rest: &[u8]) -> bool {
    rest.strip_prefix(b">&1").is_some_and(|rest| rest.iter().all(|&byte| is_space(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Exec {
        Exec::Direct(words.iter().map(|word| c_string(word.as_bytes())).collect(), false)
    }

    #[test]
    fn plain_words_need_no_shell() {
        assert_eq!(Exec::of(b"cat"), Some(words(&["cat"])));
        assert_eq!(Exec::of(b"cat\tx\n"), Some(words(&["cat", "x"])));
        assert_eq!(Exec::of(b"exec"), Some(words(&["exec"])));
        assert_eq!(Exec::of(b"execcat"), Some(words(&["execcat"])));
        assert_eq!(Exec::of(b"."), Some(words(&["."])));
        assert_eq!(Exec::of(b"a-b=c"), Some(words(&["a-b=c"])));
        for byte in b"!#%^=+-,:@/." {
            let argument = char::from(*byte).to_string();
            assert_eq!(Exec::of(format!("cat {argument}").as_bytes()), Some(words(&["cat", &argument])));
        }
    }

    #[test]
    fn what_means_something_to_the_shell_goes_there() {
        let lines =
            ["exec cat", ". ./f", "A=b", "=b", "FOO_1=bar tee out", "cat\nx", "cat 2>&1 x", "cat2>&1", "cat > out"];
        let metacharacters = "$&*(){}[]'\";\\|?<>~`".chars().map(|byte| format!("cat {byte}"));
        for line in lines.map(str::to_owned).into_iter().chain(metacharacters) {
            assert_eq!(Exec::of(line.as_bytes()), Some(Exec::Shell(c_string(line.as_bytes()))), "{line:?}");
        }
    }

    #[test]
    fn standard_error_is_merged_without_a_shell() {
        let expected = Some(Exec::Direct(vec![c_string(b"sh"), c_string(b"f")], true));
        assert_eq!(Exec::of(b"sh f 2>&1"), expected);
        assert_eq!(Exec::of(b"sh f 2>&1 \n"), expected);
    }

    #[test]
    fn no_command() {
        assert_eq!(Exec::of(b""), None);
        assert_eq!(Exec::of(b"\n"), None);
    }
}
