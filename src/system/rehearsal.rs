//! A rehearsal: a copy of this process executes the program that is to replace it, and that has to answer that it can read
//! the state. execve(2) succeeds for many a program that can't even start.

use std::ffi::CString;
use std::fs::File;
use std::io::{PipeReader, Read, Write, pipe};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::state::REHEARSAL;
use crate::sys::{self, CStringArray, CloseOnExec, Fork, OneThread, Pid, c_string};

/// How long a rehearsal may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What is said of a rehearsal, at most.
const LONGEST_ANSWER: u64 = 4096;

/// What is executed, and how.
pub(super) struct Program<'a> {
    pub(super) path: &'a Path,
    pub(super) id: FileId,
    pub(super) arguments: &'a [CString],
    pub(super) environment: &'a CStringArray,
}

/// A copy of this process that executes the program.
pub(super) struct Rehearsal {
    pid: Pid,
    program: FileId,
    answer: PipeReader,
    said: Vec<u8>,
    token: String,
    end: Instant,
    is_over: bool,
}

impl Rehearsal {
    /// Forks the copy, to which `state` is open, and none of `listeners`.
    pub(super) fn begin(
        program: &Program,
        state: &OwnedFd,
        token: String,
        one_thread: OneThread,
        listeners: &[RawFd],
    ) -> Result<Self, Error> {
        let no_pipe = |error: std::io::Error| Error::system(&[b"pipe failed:"], error);
        let (answer, to_us) = pipe().map_err(no_pipe)?;
        fcntl(&answer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|errno| no_pipe(errno.into()))?;
        let first = format!("{REHEARSAL}{},{}", state.as_raw_fd(), to_us.as_raw_fd());
        let path = c_string(program.path.as_os_str().as_bytes());
        let not_known = || Error::rule(&[b"its arguments are not to be known"]);
        let (name, rest) = program.arguments.split_first().ok_or_else(not_known)?;
        let arguments: CStringArray =
            [name.clone(), c_string(first.as_bytes())].into_iter().chain(rest.iter().cloned()).collect();
        let blocked = sys::block_all();
        match sys::fork(one_thread).map_err(|errno| Error::system(&[b"fork(2) failed:"], errno))? {
            Fork::Parent(pid) => Ok(Self {
                pid,
                program: program.id,
                answer,
                said: Vec::new(),
                token,
                end: Instant::now() + LIMIT,
                is_over: false,
            }),
            Fork::Child => {
                // All signals stay blocked. If it hangs, it holds no listener, and it doesn't outlive its parent.
                std::mem::forget(blocked);
                let _ = sys::end_with_parent();
                for &fd in listeners {
                    sys::set_close_on_exec(fd, CloseOnExec::Yes);
                }
                for fd in [state.as_raw_fd(), to_us.as_raw_fd()] {
                    sys::set_close_on_exec(fd, CloseOnExec::No);
                }
                let errno = sys::exec_file(&path, &arguments, program.environment);
                let _ = (&to_us).write_all(sys::strerror(errno).as_bytes());
                sys::exit_now(127)
            }
        }
    }

    /// Where the answer comes from.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.answer.as_fd()
    }

    /// How long to wait for its end.
    pub(super) fn pause(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    pub(super) fn look(&mut self) -> bool {
        while !self.is_over {
            let mut bytes = [0; 512];
            match self.answer.read(&mut bytes) {
                Ok(0) => self.is_over = true,
                Ok(count) if self.said.len() as u64 <= LONGEST_ANSWER => self.said.extend(&bytes[..count]),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => self.is_over = true,
            }
        }
        self.is_over || Instant::now() >= self.end
    }

    pub(super) fn end(mut self, path: &Path) -> Result<FileId, Vec<u8>> {
        self.look();
        let in_time = self.is_over;
        let _ = sys::kill(self.pid, libc::SIGKILL);
        let status = sys::wait_for(self.pid);
        let path = path.as_os_str().as_bytes();
        let said = self.said.trim_ascii();
        let reason = if said == self.token.as_bytes() {
            return Ok(self.program);
        } else if !said.is_empty() {
            said.to_vec()
        } else if !in_time {
            format!("it has not answered within {} seconds", LIMIT.as_secs()).into()
        } else {
            let how = status.map(|status| match (status >> 8, status & 127) {
                (code, 0) => format!("exit {code}"),
                (_, signal) => format!("signal {signal}"),
            });
            format!("it has ended without an answer ({})", how.as_deref().unwrap_or("unknown")).into()
        };
        Err([path, b": ", &reason].concat())
    }
}

/// Something that no program says by chance.
pub(super) fn token() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}
