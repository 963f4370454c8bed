//! The steps, in their order.

use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::files::pid_file::ForeignPidFile;
use crate::proc::{Process, program_path};
use crate::stderr::say;
use crate::succession::VARIABLE;
use crate::sys::{self, OneThread, Pid};
use crate::take_over::predecessor::Predecessor;
use crate::take_over::tracee::{Tracee, word};

/// How long a superdaemon may be busy, as with a start of a worker.
const LIMIT: Duration = Duration::from_secs(10);

/// How long this program may take to be there.
const ARRIVAL: Duration = Duration::from_secs(10);

/// Lets this program go on in the place of the superdaemon that owns `pid_file`, and says so.
///
/// # Errors
/// If the pid file can't be read, the superdaemon isn't alive, or may not be traced; if it has no rest ([`Error::TimedOut`]);
/// or if this program can't go on from where it is ([`Error::GivenUp`]). It goes on as before then.
pub fn take_over(pid_file: &Path) -> Result<(), Error> {
    sys::open_standard_descriptors();
    let superdaemon = ForeignPidFile::open(pid_file, OpenOptions::new().read(true))?;
    let gone = || Error::system(&[b"failed to take over the server process:"], Errno::ESRCH);
    let pid = superdaemon.pid().filter(|_| superdaemon.is_alive()).ok_or_else(gone)?;
    let one_thread = OneThread::check().ok_or_else(|| Error::rule(&[b"--take-over needs a process of one thread"]))?;
    let untraceable = |errno| {
        Error::system(&[b"not taken over: process ", pid.to_string().as_bytes(), b" may not be traced:"], errno)
    };
    // Where this is refused, everything else is, in other words.
    fs::read_link(Process::Pid(pid).executable()).map_err(|_| untraceable(Errno::EPERM))?;
    let program = own_program(pid).map_err(refusal)?;
    let predecessor = Predecessor::look(pid, pid_file).map_err(refusal)?;

    // What stops this program now leaves the other one stopped.
    let _blocked = sys::block_all();
    let failed = |errno| match errno {
        Errno::ESRCH => gone(),
        errno => untraceable(errno),
    };
    let mut tracee = Tracee::seize(pid).map_err(failed)?;
    if !tracee.stop_while_waiting(Instant::now() + LIMIT).map_err(failed)? {
        return Err(Error::timed_out("start of a worker that the superdaemon is busy with", LIMIT));
    }
    // ORDER: from here on, nothing changes any more.
    let (state, generation) = predecessor.state(&program, tracee.blocked(), one_thread).map_err(refusal)?;
    let text = state.to_lines().to_text();
    execute(tracee, &predecessor, &program, text.as_bytes())
        .map_err(|errno| refusal(Error::system(&[program.as_os_str().as_bytes(), b":"], errno)))?;
    wait_for_arrival(pid).ok_or(Error::timed_out("take-over", ARRIVAL))?;
    say(format!("start_server (pid:{pid}) is this program now, generation {generation} goes on"));
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refusal(error: Error) -> Error {
    Error::GivenUp([b"not taken over: ".as_slice(), &error.message()].concat())
}

/// This program's file, by the path that it was executed by, which has to lead to it for the other process, too.
fn own_program(pid: Pid) -> Result<PathBuf, Error> {
    let path = program_path().unwrap_or_default();
    let path = std::path::absolute(Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()))).unwrap_or_default();
    let own = FileId::of(&Process::Own.executable());
    let there = FileId::of(&Process::Pid(pid).seen(&path));
    if own.is_none() || there != own {
        let name = path.as_os_str().as_bytes();
        return Err(Error::rule(&[
            b"this program is not at ",
            name,
            b" for the superdaemon, which has another root directory",
        ]));
    }
    Ok(path)
}

/// Writes the state to a sealed file in the memory of the other process, and lets that execute this program.
fn execute(mut tracee: Tracee, predecessor: &Predecessor, program: &Path, state: &[u8]) -> Result<(), Errno> {
    let strings = |strings: &[Vec<u8>]| strings.iter().map(|string| string.len() + 1 + size_of::<u64>()).sum::<usize>();
    let room =
        strings(&predecessor.arguments) + strings(&predecessor.environment) + program.as_os_str().len() + state.len();
    // For the variable, the nulls, and what is lost in between.
    let start = tracee.reserve(room + 4096)?;
    let name = b"start_server state\0";
    tracee.write(start, name)?;
    let memory = tracee.call(libc::SYS_memfd_create, [start, u64::from(libc::MFD_ALLOW_SEALING), 0, 0, 0, 0])?;
    let filled = fill(&mut tracee, memory, start, state).and_then(|()| {
        let mut room = Room { tracee: &tracee, next: start };
        let path = room.string(program.as_os_str().as_bytes())?;
        let variable = format!("{VARIABLE}={memory}").into_bytes();
        let arguments = room.array(
            [program.as_os_str().as_bytes()].into_iter().chain(predecessor.arguments.iter().map(Vec::as_slice)),
        )?;
        let environment = room.array(predecessor.environment.iter().map(Vec::as_slice).chain([variable.as_slice()]))?;
        let addresses = [path, arguments, environment];
        // The lock goes on with the descriptor of the pid file.
        tracee.call(libc::SYS_fcntl, [word(predecessor.lock), word(libc::F_SETFD), 0, 0, 0, 0])?;
        Ok(addresses)
    });
    match filled {
        Ok(addresses) => {
            let lock = predecessor.lock;
            tracee.execute(addresses, |tracee| {
                let close_on_exec = [word(lock), word(libc::F_SETFD), word(libc::FD_CLOEXEC), 0, 0, 0];
                let _ = tracee.call(libc::SYS_fcntl, close_on_exec);
                let _ = tracee.call(libc::SYS_close, [memory, 0, 0, 0, 0, 0]);
            })
        }
        Err(errno) => {
            let _ = tracee.call(libc::SYS_close, [memory, 0, 0, 0, 0, 0]);
            Err(errno)
        }
    }
}

fn fill(tracee: &mut Tracee, memory: u64, room: u64, state: &[u8]) -> Result<(), Errno> {
    tracee.write(room, state)?;
    let mut written = 0;
    while written < state.len() as u64 {
        let rest = [memory, room + written, state.len() as u64 - written, 0, 0, 0];
        match tracee.call(libc::SYS_write, rest)? {
            0 => return Err(Errno::EIO),
            count => written += count,
        }
    }
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    tracee.call(libc::SYS_fcntl, [memory, word(libc::F_ADD_SEALS), word(seals), 0, 0, 0]).map(drop)
}

/// Strings one behind the other.
struct Room<'a> {
    tracee: &'a Tracee,
    next: u64,
}

impl Room<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<u64, Errno> {
        let address = self.next;
        self.tracee.write(address, bytes)?;
        self.next += bytes.len() as u64;
        Ok(address)
    }

    fn string(&mut self, text: &[u8]) -> Result<u64, Errno> {
        self.put(&[text, b"\0"].concat())
    }

    /// An array of strings that ends in a null, as execve(2) wants it.
    fn array<'a>(&mut self, strings: impl Iterator<Item = &'a [u8]>) -> Result<u64, Errno> {
        let addresses: Result<Vec<u64>, _> = strings.map(|string| self.string(string)).collect();
        self.next = self.next.next_multiple_of(size_of::<u64>() as u64);
        let bytes: Vec<u8> = addresses?.into_iter().chain([0]).flat_map(u64::to_ne_bytes).collect();
        self.put(&bytes)
    }
}

/// Until this program has its handlers there, and the signals that it catches come through. CHLD is never blocked then.
fn wait_for_arrival(pid: Pid) -> Option<()> {
    let end = Instant::now() + ARRIVAL;
    while !Process::Pid(pid).catches(libc::SIGUSR2) || Process::Pid(pid).blocks(libc::SIGCHLD) {
        if Instant::now() >= end || sys::kill(pid, 0) == Err(Errno::ESRCH) {
            return None;
        }
        sleep(Duration::from_millis(1));
    }
    Some(())
}
