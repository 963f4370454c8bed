//! A process that ends what scenarios have started, and removes their directories, if this one ends before it can do
//! so, usually by a signal.

use std::collections::hash_map::RandomState;
use std::env;
use std::hash::BuildHasher;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{self, Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use tempfile::TempDir;

/// A new temporary directory. When this process ends, the directory is removed, and processes that run in it are ended.
pub fn directory() -> io::Result<TempDir> {
    // ORDER: the guard gets the name before the directory exists, as this process may be killed between the two.
    let name = format!(".tmp{:08x}", RandomState::new().hash_one(process::id()) >> 32);
    watch(&env::temp_dir().join(&name));
    tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir()
}

fn watch(dir: &Path) {
    static GUARD: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let guard = GUARD.get_or_init(|| Mutex::new(start().stdin.expect("a pipe")));
    tell(&mut guard.lock().unwrap_or_else(PoisonError::into_inner), dir);
}

fn start() -> Child {
    let mut command = Command::new("perl");
    command.args(["-e", include_str!("../../../../perl-fixtures/guard.pl")]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.current_dir("/").spawn().expect("perl")
}

fn tell(guard: &mut ChildStdin, dir: &Path) {
    guard.write_all(&[dir.as_os_str().as_bytes(), b"\n"].concat()).expect("the guard reads");
}

#[cfg(test)]
mod tests {
    use std::iter;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::harness::process::running_in;

    /// One process forks the next one and exits, again and again; another starts children that die at once.
    #[test]
    fn what_forks_for_ever_ends_with_the_tests() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let lifetime = "$SIG{TERM} = 'IGNORE'; setpgrp; my $end = time + 60;";
        let chain = format!("{lifetime} while (time < $end) {{ exit if fork; select undef, undef, undef, 0.01 }}");
        let starter =
            format!("{lifetime} while (time < $end) {{ fork or exit; wait; select undef, undef, undef, 0.01 }}");
        for script in [chain, starter] {
            let mut first = Command::new("perl").args(["-e", &script]).current_dir(dir.path()).spawn().expect("perl");
            thread::spawn(move || first.wait());
        }
        let ends = |is_over: &dyn Fn(usize) -> bool| {
            let begin = Instant::now();
            let counts = iter::repeat_with(|| running_in(dir.path()).len());
            counts.take_while(|_| begin.elapsed() < Duration::from_secs(30)).any(is_over)
        };
        assert!(ends(&|count| count >= 2));
        let mut guard = start();
        tell(guard.stdin.as_mut().expect("a pipe"), dir.path());
        drop(guard.stdin.take());
        assert!(guard.wait().expect("the guard").success());
        assert!(ends(&|count| count == 0));
    }
}
