//! The two programs and the machine, as every report describes them.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::harness::{digest, send};

pub struct Subject {
    pub path: PathBuf,
    /// The first line that `--version` prints.
    pub version: String,
    /// SHA-256.
    pub digest: String,
}

/// How long `--version` may take to print its line.
const PATIENCE: Duration = Duration::from_secs(5);

impl Subject {
    /// Tries the program. An error says why it can't be compared.
    pub fn of(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let path = std::path::absolute(path).map_err(|error| format!("{shown}: {error}"))?;
        let metadata = fs::metadata(&path).map_err(|error| format!("there is no program {shown}: {error}"))?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
            return Err(format!("there is no program {shown}"));
        }
        let version = version(&path).map_err(|error| format!("{shown} cannot be executed: {error}"))?;
        let digest = digest(&path).ok_or_else(|| format!("{shown} cannot be read"))?;
        Ok(Self { path, version, digest })
    }

    pub fn is_same_as(&self, other: &Self) -> bool {
        let file = |subject: &Self| fs::metadata(&subject.path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        self.digest == other.digest || file(self) == file(other)
    }

    pub fn describe(&self) -> String {
        let version = if self.version.is_empty() { "says no version" } else { &self.version };
        format!("{} ({version}, sha256 {})", self.path.display(), &self.digest[..12])
    }
}

fn version(path: &Path) -> io::Result<String> {
    let directory = tempfile::tempdir()?;
    let mut command = Command::new(path);
    command.arg("--version").env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
    command.current_dir(&directory).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.process_group(0).spawn()?;
    let output = child.stdout.take().expect("it is a pipe");
    let (sender, receiver) = mpsc::channel();
    // Nobody waits for this thread, as a process with the other end of the pipe may keep it open.
    thread::spawn(move || {
        let mut line = String::new();
        let _ = BufReader::new(output.take(4096)).read_line(&mut line);
        sender.send(line)
    });
    let line = receiver.recv_timeout(PATIENCE).unwrap_or_default();
    send(-i32::try_from(child.id()).expect("a pid is positive"), "KILL");
    child.wait()?;
    Ok(line.chars().filter(|c| !c.is_control()).take(100).collect())
}

/// The machine, and how busy it is.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let load = read("/proc/loadavg");
    format!(
        "Linux {} on {}, {cores} cores, load {}",
        read("/proc/sys/kernel/osrelease"),
        env::consts::ARCH,
        load.split(' ').next().unwrap_or_default()
    )
}

pub fn date() -> String {
    let output = Command::new("date").args(["--utc", "+%Y-%m-%d %H:%M UTC"]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
