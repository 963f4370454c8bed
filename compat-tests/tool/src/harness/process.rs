//! A process that the harness started, its output, and the end of all processes that a scenario leaves behind.

use std::fs::{self, File};
use std::io::Read;
use std::iter;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;

use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::transcript::{announced_first, text_of};

/// No more than this is read of an output. No program that works writes as much.
const LONGEST_OUTPUT: usize = 1 << 18;
/// Nor of a file that it writes into.
const LONGEST_FILE: usize = 1 << 22;

pub struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command` in a process group of its own, with its output in two files below `records`.
    ///
    /// Files need no thread that reads them, and an orphan that still holds them keeps nobody waiting.
    pub fn start(command: &mut Command, records: &Path, name: &str) -> Self {
        let stdout = records.join(format!("{name}.stdout"));
        let stderr = records.join(format!("{name}.stderr"));
        let append = |path: &Path| File::options().create(true).append(true).open(path).expect("a record file");
        command.stdin(Stdio::null()).stdout(append(&stdout)).stderr(append(&stderr)).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, stdout, stderr }
    }

    pub fn pid(&self) -> i32 {
        self.child.id().try_into().expect("a pid is positive")
    }

    pub fn stdout(&self) -> String {
        text_of(&beginning(&self.stdout, LONGEST_OUTPUT))
    }

    pub fn stderr(&self) -> String {
        announced_first(&text_of(&beginning(&self.stderr, LONGEST_OUTPUT)))
    }

    /// Whether it has written more than is read.
    pub fn floods(&self) -> bool {
        [&self.stdout, &self.stderr].iter().any(|path| has(path, LONGEST_OUTPUT))
    }

    /// How it ended: `exit N` or `signal N`; None while it runs.
    pub fn end(&mut self) -> Option<String> {
        let status = self.child.try_wait().expect("our own process can be waited for")?;
        Some(match status.code() {
            Some(code) => format!("exit {code}"),
            None => format!("signal {}", status.signal().unwrap_or_default()),
        })
    }
}

/// What a file holds, as far as anybody reads it. Nothing if it can't be read.
pub fn read(path: &Path) -> Vec<u8> {
    beginning(path, LONGEST_FILE)
}

/// Whether a file holds more than anybody reads. Nobody writes into a copy of a program.
pub fn is_flooded(path: &Path) -> bool {
    has(path, LONGEST_FILE) && fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o111 == 0)
}

fn beginning(path: &Path, most: usize) -> Vec<u8> {
    let mut content = Vec::new();
    let _ = File::open(path).map(|file| file.take(most as u64).read_to_end(&mut content));
    content
}

fn has(path: &Path, length: usize) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() >= length as u64)
}

/// `name` is without `SIG`. A process that is gone already is none of the harness's business.
pub fn send(pid: i32, name: &str) {
    let signal = Signal::from_str(&format!("SIG{name}")).expect("a signal's name");
    match signal::kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => (),
        Err(error) => panic!("kill -{name} {pid}: {error}"),
    }
}

/// Whether a process is asleep, or stopped by a signal.
pub fn is_at_rest(pid: i32) -> bool {
    matches!(state(pid), Some('S' | 'T'))
}

/// Whether a process has ended, even if its parent has not reaped it.
pub fn is_dead(pid: i32) -> bool {
    matches!(state(pid), None | Some('Z' | 'X'))
}

fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// How many of the processes in `dir` or below it sleep in flock(2) because another process has the file's lock. The
/// inode number alone doesn't identify the file, as another file system may have the same.
pub fn wanting_lock(dir: &Path, path: &Path) -> usize {
    let Ok(metadata) = fs::metadata(path) else {
        return 0;
    };
    let file = format!(":{} ", metadata.ino());
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let wanted = locks.lines().filter(|line| line.contains("-> FLOCK") && line.contains(&file));
    // `1: -> FLOCK  ADVISORY  WRITE 4711 fe:00:10026331 0 EOF`
    let wanting = wanted.filter_map(|line| line.split_whitespace().nth(5)?.parse().ok());
    wanting.filter(|&pid| runs_in(dir, pid)).count()
}

/// The processes whose working directory is `dir` or below it. `dir` is a scenario's own temporary directory, so they
/// belong to the scenario, including daemons and workers of workers, whose pids the harness doesn't know.
pub fn running_in(dir: &Path) -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| runs_in(dir, pid)).collect()
}

/// Kills all of them. It takes more than one look, as one may just be starting another.
pub fn end_all_in(dir: &Path) {
    for pid in iter::repeat_with(|| running_in(dir)).take(1000).take_while(|pids| !pids.is_empty()).flatten() {
        send(pid, "KILL");
    }
}

fn runs_in(dir: &Path, pid: i32) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir))
}
