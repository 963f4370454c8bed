//! How Perl executes a command line (L3): that of `--log-file`, and by the same rule that of `--approve`.

use std::ffi::CString;
use std::io;

use nix::errno::Errno;
use nix::unistd::dup2_stderr;

use crate::perl::is_space;
use crate::sys::{self, CStringArray, c_string};

/// How Perl executes a command line (L3).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Exec {
    Shell(CString),
    /// The words; the flag says whether standard error goes where standard output goes.
    Direct(Vec<CString>, bool),
}

impl Exec {
    /// Without shell metacharacters, the words are executed as they are. None if there are no words.
    pub(crate) fn of(command: &[u8]) -> Option<Self> {
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
                // The only redirection that is done without a shell, and only at the end.
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
    pub(crate) fn run(self, environment: &CStringArray) -> Errno {
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
