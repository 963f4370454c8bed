//! A rehearsal: a copy of this process executes the program that is to replace it, which has to answer that it can read
//! the state. execve(2) succeeds for many a program that can't even start.
//!
//! It runs beside everything else, and nobody waits for it: the loop checks for its result.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{self, dup2_stderr, setpgid};

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::proc::Process;
use crate::proc::descendants::{children_of, with_descendants};
use crate::stderr::{say, visible, visible_lines};
use crate::succession::{Lines, Part, REHEARSAL};
use crate::sys::{self, CStringArray, CloseOnExec, Fork, OneThread, Pid, WaitStatus, c_string};
use crate::system::State;
use crate::system::arrival::read_sealed;
use crate::system::member::{Member, kill_all};
use crate::wait_status::in_short;

/// The line that only the state of a rehearsal has.
const TOKEN: &str = "token";

/// The line with the pid of the process that has started the program.
const PARENT: &str = "parent";

/// How long a rehearsal may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The longest answer. Escaped for display, it may be six times as long.
const LONGEST_ANSWER: usize = 1024;

/// How much of the program's standard error is kept.
const MOST_COMPLAINTS: usize = 4096;

/// How much of its first line goes into the reason.
const LONGEST_LINE: usize = 200;

/// What to execute, and how.
pub(super) struct Program<'a> {
    pub(super) path: &'a Path,
    pub(super) id: FileId,
    pub(super) arguments: &'a [CString],
    pub(super) environment: &'a CStringArray,
}

/// The rehearsal, if there is one, and its result.
#[derive(Default)]
pub(super) enum Stage {
    #[default]
    None,
    Running(Rehearsal),
    /// This program can continue, and its process has exited.
    Passed(FileId),
    /// The program can't continue, and this process has got KILL. Nothing else begins before it has exited.
    Killed(Pid),
}

/// A copy of this process that executes the program.
pub(super) struct Rehearsal {
    pid: Pid,
    program: FileId,
    /// None when it has reached its end.
    answer: Option<PipeReader>,
    said: Vec<u8>,
    /// Its standard error, which is read at the end: what doesn't fit into the pipe is lost.
    complaints: PipeReader,
    token: String,
    end: Instant,
    /// When it has been reaped.
    status: Option<WaitStatus>,
}

impl Stage {
    /// The process, until it is reaped.
    pub(super) fn process(&self) -> Option<Pid> {
        match self {
            Self::Running(rehearsal) if rehearsal.status.is_none() => Some(rehearsal.pid),
            Self::Killed(pid) => Some(*pid),
            _ => None,
        }
    }

    /// Where the answer comes from, if it is incomplete.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        let Self::Running(rehearsal) = self else { return None };
        rehearsal.answer.as_ref().map(AsFd::as_fd)
    }

    /// The time left.
    pub(super) fn pause(&self) -> Option<Duration> {
        let Self::Running(rehearsal) = self else { return None };
        Some(rehearsal.end.saturating_duration_since(Instant::now()))
    }

    /// Reaps the process if it has exited, and kills what it has started. Returns its pid.
    pub(super) fn bury(&mut self) -> Option<Pid> {
        let pid = self.process()?;
        if sys::is_dead(pid) != Ok(true) {
            return None;
        }
        // ORDER: before it is reaped, as its pid names its group, and may name another one then.
        let _ = sys::kill(-pid, libc::SIGKILL);
        let (_, status) = sys::reap(pid).ok().flatten()?;
        match self {
            Self::Running(rehearsal) => rehearsal.status = Some(status),
            _ => *self = Self::None,
        }
        Some(pid)
    }

    /// Why the program can't continue, as soon as that is known: it has then exited or got KILL.
    pub(super) fn look(&mut self, path: &Path) -> Option<Vec<u8>> {
        let Self::Running(rehearsal) = self else { return None };
        let verdict = rehearsal.look()?;
        let complaints = rehearsal.complaints();
        if !complaints.is_empty() {
            say(visible_lines(&complaints));
        }
        if verdict.is_ok() {
            *self = Self::Passed(rehearsal.program);
            return None;
        }
        self.kill();
        let first = complaints.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let first = &first[..first.len().min(LONGEST_LINE)];
        verdict.err().map(|reason| {
            let parts = match reason {
                Reason::Said(said) => vec![said],
                Reason::Found(found) if first.is_empty() => vec![found.into_bytes()],
                Reason::Found(found) => vec![found.into_bytes(), b": ".to_vec(), visible(first)],
            };
            [path.as_os_str().as_bytes(), b": ", &parts.concat()].concat()
        })
    }

    /// Kills the process, if there is one.
    pub(super) fn kill(&mut self) {
        let running = self.process();
        if let Some(pid) = running {
            kill_family(pid);
        }
        *self = running.map_or(Self::None, Self::Killed);
    }

    /// The program that can continue. Taken only once.
    pub(super) fn take_passed(&mut self) -> Option<FileId> {
        let Self::Passed(program) = *self else { return None };
        *self = Self::None;
        Some(program)
    }
}

/// Why a program can't continue.
enum Reason {
    /// Its own words.
    Said(Vec<u8>),
    Found(String),
}

impl Rehearsal {
    /// Forks the copy.
    pub(super) fn begin(program: &Program, state: &State, one_thread: OneThread) -> Result<Self, Error> {
        let token = token().map_err(|error| Error::system(&[b"no token:"], error))?;
        let no_pipe = |error: std::io::Error| Error::system(&[b"pipe failed:"], error);
        let (answer, to_us) = pipe().map_err(no_pipe)?;
        let (complaints, stderr) = pipe().map_err(no_pipe)?;
        // Neither side waits for the other, neither in writing nor in reading.
        for end in [answer.as_fd(), complaints.as_fd(), stderr.as_fd()] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|errno| no_pipe(errno.into()))?;
        }
        let blocked = sys::block_all();
        match sys::fork(one_thread).map_err(|errno| Error::system(&[b"fork(2) failed:"], errno))? {
            Fork::Parent(pid) => {
                // In both processes, since either may come first.
                let _ = setpgid(unistd::Pid::from_raw(pid), unistd::Pid::from_raw(pid));
                Ok(Self {
                    pid,
                    program: program.id,
                    answer: Some(answer),
                    said: Vec::new(),
                    complaints,
                    token,
                    end: Instant::now() + LIMIT,
                    status: None,
                })
            }
            Fork::Child => {
                // All signals stay blocked, and it doesn't outlive its parent.
                std::mem::forget(blocked);
                let _ = setpgid(unistd::Pid::from_raw(0), unistd::Pid::from_raw(0));
                let _ = sys::end_with_parent();
                let status = keep(program, state, &token, one_thread, to_us, stderr);
                sys::end_like(status)
            }
        }
    }

    /// Whether the program can continue, if that is known.
    fn look(&mut self) -> Option<Result<(), Reason>> {
        let is_too_long = self.read_answer();
        let said = self.said.trim_ascii();
        let is_token = said == self.token.as_bytes();
        let is_out_of_time = Instant::now() >= self.end;
        let found = match self.status {
            _ if is_too_long => "its answer is too long".into(),
            Some(_) if is_token => return Some(Ok(())),
            // Only its end can follow, or more output.
            None if (is_token || self.answer.is_some() || said.is_empty()) && !is_out_of_time => return None,
            None if is_token => format!("it has answered, but not ended within {} seconds", LIMIT.as_secs()),
            _ if !said.is_empty() => return Some(Err(Reason::Said(visible_lines(said)))),
            Some(status) => format!("it has ended without an answer ({})", in_short(status)),
            None => format!("it has not answered within {} seconds", LIMIT.as_secs()),
        };
        Some(Err(Reason::Found(found)))
    }

    /// The answer so far. Whether it is too long.
    fn read_answer(&mut self) -> bool {
        while let Some(answer) = &mut self.answer
            && self.said.len() <= LONGEST_ANSWER
        {
            let mut bytes = [0; 512];
            match answer.read(&mut bytes) {
                Ok(count) if count > 0 => self.said.extend(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                _ => self.answer = None,
            }
        }
        self.said.len() > LONGEST_ANSWER
    }

    /// Its standard error, as far as that is kept.
    fn complaints(&mut self) -> Vec<u8> {
        let mut complaints = vec![0; MOST_COMPLAINTS];
        let mut length = 0;
        while let Ok(count) = self.complaints.read(&mut complaints[length..])
            && count > 0
        {
            length += count;
        }
        complaints[..length].trim_ascii().to_vec()
    }
}

/// In the copy: starts another one, which executes the program, and waits for its end. Whatever that has started stays
/// a descendant of this process, and is killed with it. Returns the status of the program.
fn keep(
    program: &Program,
    state: &State,
    token: &str,
    one_thread: OneThread,
    mut answer: PipeWriter,
    stderr: PipeWriter,
) -> WaitStatus {
    const FAILED: WaitStatus = 127 << 8;
    let _ = sys::become_subreaper();
    // If the program hangs, it holds no listener.
    for fd in state.listeners.descriptors() {
        let _ = sys::set_close_on_exec(fd, CloseOnExec::Yes);
    }
    let mut lines = lines_of(state, token.as_bytes());
    lines.add(PARENT, &(unistd::getpid().as_raw(),));
    let forked = sys::sealed_file(c"start_server state", lines.to_text().as_bytes())
        .map_err(|error| Error::system(&[b"memfd_create(2) failed:"], error))
        .and_then(|state| {
            let forked = sys::fork(one_thread).map_err(|errno| Error::system(&[b"fork(2) failed:"], errno));
            forked.map(|forked| (forked, state))
        });
    match forked {
        Ok((Fork::Parent(pid), _)) => {
            // They end when the program has closed them.
            drop((answer, stderr));
            let status = sys::wait_for(pid);
            end_all_children();
            status.unwrap_or(FAILED)
        }
        Ok((Fork::Child, state)) => {
            let _ = sys::end_with_parent();
            for fd in [state.as_raw_fd(), answer.as_raw_fd()] {
                let _ = sys::set_close_on_exec(fd, CloseOnExec::No);
            }
            let _ = dup2_stderr(&stderr);
            let first = format!("{REHEARSAL}{},{}", state.as_raw_fd(), answer.as_raw_fd());
            let mut arguments = program.arguments.to_vec();
            arguments.insert(1, c_string(first.as_bytes()));
            let path = c_string(program.path.as_os_str().as_bytes());
            let errno = sys::exec_file(&path, &arguments.into_iter().collect(), program.environment);
            let _ = answer.write_all(sys::strerror(errno).as_bytes());
            FAILED
        }
        Err(error) => {
            let _ = answer.write_all(&error.message());
            FAILED
        }
    }
}

/// Kills all children of this process, and those that they leave to it.
fn end_all_children() {
    const ANY: Pid = -1;
    loop {
        for child in children_of(unistd::getpid().as_raw()) {
            let _ = sys::kill(child, libc::SIGKILL);
        }
        if sys::wait_for(ANY).is_none() {
            return;
        }
    }
}

/// Kills a rehearsal and whatever it has started that is in its process group, or descends from it.
fn kill_family(rehearsal: Pid) {
    kill_all(|| with_descendants(&[rehearsal]).into_iter().filter_map(Member::of).collect());
    // It isn't reaped, so its number is still its group's; without /proc, no others are found.
    let _ = sys::kill(-rehearsal, libc::SIGKILL);
    let _ = sys::kill(rehearsal, libc::SIGKILL);
}

/// The state for a rehearsal, and the token for the answer.
#[allow(dead_code, reason = "for --take-over alone, which executes no script")]
pub(crate) fn text_of(state: &State, token: &[u8]) -> String {
    lines_of(state, token).to_text()
}

fn lines_of(state: &State, token: &[u8]) -> Lines {
    let mut lines = state.to_lines();
    lines.add(TOKEN, &(token.to_vec(),));
    lines
}

/// In the program that rehearses: answers with the token of the state, if that can be read and `check` has no
/// objection. Returns the exit code.
pub(crate) fn answer_rehearsal(state: RawFd, answer: RawFd, check: impl FnOnce() -> Result<(), Error>) -> u8 {
    let length = Process::Own.descriptor(state).metadata().map_or(0, |metadata| metadata.len());
    let token = spare_memory(length).and_then(|_spare| {
        let lines = read_sealed(state)?;
        check()?;
        State::read(&lines)?;
        check_parent(&lines)?;
        lines.require::<(Vec<u8>,)>(TOKEN).map(|(token,)| token)
    });
    let said = token.as_ref().map_or_else(Error::message, Clone::clone);
    let file = OpenOptions::new().write(true).open(Process::Own.descriptor(answer).path());
    let is_said = file.and_then(|mut file| file.write_all(&said)).is_ok();
    u8::from(token.is_err() || !is_said)
}

/// A script that starts this program as a child, instead of executing it, would itself become the superdaemon: the pid
/// and the workers are its process's.
fn check_parent(lines: &Lines) -> Result<(), Error> {
    match lines.get::<(Pid,)>(PARENT)? {
        Some((parent,)) if parent != unistd::getppid().as_raw() => {
            Err(Error::rule(&[b"another program has started it, and must replace itself by it (exec)"]))
        }
        _ => Ok(()),
    }
}

/// Allocates more memory than this program needs to hand over a state, or, after a rehearsal, to turn a state of
/// `length` bytes into what it uses from then on. Running out of memory then would kill it.
pub(super) fn spare_memory(length: u64) -> Result<Vec<u8>, Error> {
    const FOR_ANY: u64 = 1 << 20;
    /// Per byte of the state.
    const FACTOR: u64 = 16;
    let mut spare = Vec::new();
    let is_had = spare.try_reserve_exact(usize::try_from(FOR_ANY + FACTOR * length).unwrap_or(usize::MAX));
    is_had.map_err(|_| Error::rule(&[b"not enough memory"]))?;
    // Otherwise the compiler removes what is never used.
    Ok(black_box(spare))
}

/// Something that no program prints by chance.
fn token() -> Result<String, Errno> {
    Ok(format!("{:032x}", u128::from_ne_bytes(sys::random()?)))
}
