//! What can be seen from outside of a superdaemon that is to be taken over: its options, and its state.

#![allow(unsafe_code, reason = "pidfd_open(2) and pidfd_getfd(2)")]

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use libc::c_long;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

use crate::cli::invocation::{arguments_behind_the_program, is_start_server};
use crate::cli::{self, Action};
use crate::environment::Environment;
use crate::error::Error;
use crate::files::file_id::FileId;
use crate::files::own_file::{OwnFilePart, read_regular};
use crate::files::status_file;
use crate::listeners::Listeners;
use crate::listeners::adopted::{Foreign, adopt};
use crate::options::Options;
use crate::proc::Process;
use crate::proc::descendants::children_of;
use crate::readiness::WatchPart;
use crate::stderr::visible;
use crate::succession::VARIABLE;
use crate::sys::Pid;
use crate::system::{FilesPart, InboxPart, KinPart, LaunchPart, ManagerPart, ProgramPart, State, UnsentPart};
use crate::take_over::rights::Rights;
use crate::world::{LifePart, WorkerPart};

/// The limit for what is read of a status file or a script.
const LONGEST_FILE: usize = 1 << 20;

/// A Perl original.
pub(super) struct Predecessor {
    pid: Pid,
    rights: Rights,
    options: Box<Options>,
    command: Vec<Vec<u8>>,
    /// After the program's name.
    pub(super) arguments: Vec<Vec<u8>>,
    /// As at its launch.
    pub(super) environment: Vec<Vec<u8>>,
    /// The descriptor that holds the lock of the pid file.
    pub(super) lock: RawFd,
}

/// A superdaemon's state, valid while it has the same children.
pub(super) struct Look {
    pub(super) state: State,
    pub(super) generation: u64,
    pub(super) worker: Pid,
    children: Vec<Pid>,
}

impl Predecessor {
    /// Examines it, and refuses what can't be taken over, as far as that can be known before touching it.
    pub(super) fn look(pid: Pid, pid_file: &Path) -> Result<Self, Error> {
        let process = Process::Pid(pid);
        if process.status("State").is_ok_and(|state| state.starts_with('T')) {
            return Err(held(pid));
        }
        let unreadable = |name: &'static str| move |error| unreadable(process, name, error);
        let command = process.arguments().map_err(unreadable("cmdline"))?;
        let rights = Rights::of(process).map_err(unreadable("status"))?;
        let arguments = arguments_of(process, &rights, &command)?;
        let parsed = cli::parse(arguments.iter().cloned().map(OsString::from_vec).collect());
        let options = match parsed {
            Ok(Action::Start(options) | Action::RestartOrStart { options, .. }) => options,
            Ok(_) => return Err(Error::rule(&[b"its command line doesn't start a superdaemon"])),
            Err(error) => return Err(Error::rule(&[b"its command line is refused: ", &error.message()])),
        };
        // The test whether it handles signals would kill another program.
        if ![libc::SIGHUP, libc::SIGTERM, libc::SIGALRM].into_iter().all(|signal| process.catches(signal)) {
            return Err(Error::rule(&[b"it doesn't catch the signals that the original does"]));
        }
        // Another word size, and other system calls.
        let mut program = [0; 5];
        let is_read = fs::File::open(process.executable())
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut program));
        if is_read.is_ok() && program != *b"\x7fELF\x02" {
            return Err(Error::rule(&[b"it is not a 64-bit program"]));
        }
        if Process::threads_of(pid).count() > 1 {
            return Err(Error::rule(&[b"it has more than one thread"]));
        }
        let tracer = process.status("TracerPid").map_err(unreadable("status"))?;
        if tracer != "0" {
            return Err(Error::rule(&[b"it is traced by process ", tracer.as_bytes()]));
        }
        let lock = lock_of(pid, pid_file)?;
        let environment = process.environment().map_err(unreadable("environ"))?;
        let environment = environment.into_iter().filter(|entry| !is_variable(entry)).collect();
        Ok(Self { pid, rights, options, command, arguments, environment, lock })
    }

    /// Refuses a program that its user can't execute: the copy would just exit, without a reason.
    pub(super) fn check_program(&self, program: &Path) -> Result<(), Error> {
        let check = |path| faccessat(AT_FDCWD, &self.seen(path), AccessFlags::X_OK, AtFlags::AT_EACCESS);
        // If only root may look into it, nothing is known.
        let check = || if check(Path::new("/")).is_ok() { check(program) } else { Ok(()) };
        self.rights
            .with(check)
            .map_err(no_rights)?
            .map_err(|errno| Error::system(&[b"its user can't execute ", program.as_os_str().as_bytes(), b":"], errno))
    }

    /// Its state, while it runs and has nothing to do, without its launch ([`Self::launch`]).
    pub(super) fn look_at_rest(&self) -> Result<Look, Error> {
        // ORDER: what is read after this is true while the children are the same.
        let children = self.children();
        let seen = |path: &Path| self.rights.with(|| FileId::of(&self.seen(path))).ok().flatten();
        let (listeners, part) = adopt(&self.options, self.sockets()?, seen)?;
        let status = self.status()?;
        let mut workers = self.workers(&children, status.as_deref())?;
        let Some((generation, current)) = workers.pop() else {
            return Err(Error::rule(&[b"it has no worker whose generation is known"]));
        };
        let started = start_of(current)? + self.options.interval;
        let worker = |generation, pid, started| WorkerPart { pid, generation, started };
        // The original loses a signal to a worker that has not executed its program yet, and believes that it was sent.
        let signals = workers.iter().map(|&(_, pid)| (pid, self.options.signal_on_hup.clone())).collect();
        let environment = self.environment_of_workers(&listeners);
        let state = State {
            life: LifePart {
                generation,
                last_restart: started,
                current: Some(worker(generation, current, Some(started))),
                old: workers
                    .iter()
                    .map(|&(generation, pid)| (worker(generation, pid, start_of(pid).ok()), None))
                    .collect(),
                told: Vec::new(),
                requests: Vec::new(),
                variables: environment.lasting().clone(),
                // The program itself reads it, as the right user.
                is_envdir_unread: environment.envdir().is_some(),
            },
            // Both are known when it is stopped.
            launch: LaunchPart::default(),
            inbox: InboxPart::default(),
            listeners: part,
            files: self.files(status),
            watch: WatchPart::default(),
            kin: self.kin(&workers, (generation, current)),
            unsent: UnsentPart { signals },
            manager: ManagerPart::default(),
            program: ProgramPart::default(),
        };
        Ok(Look { state, generation, worker: current, children })
    }

    /// Whether its state is unchanged, and all its workers have executed their program: an earlier signal to them would
    /// be lost.
    pub(super) fn is_still(&self, look: &Look) -> bool {
        let is_copy = |&child: &Pid| Process::Pid(child).arguments().is_ok_and(|command| command == self.command);
        let is_dead = Process::Pid(look.worker).is_zombie();
        !is_dead && self.children() == look.children && !look.children.iter().any(is_copy)
    }

    /// Its children, including dead ones.
    pub(super) fn children(&self) -> Vec<Pid> {
        let mut children = children_of(self.pid);
        children.sort_unstable();
        children
    }

    /// The content of the status file, if it has one.
    fn status(&self) -> Result<Option<Vec<u8>>, Error> {
        let read = |path| self.rights.with(|| read_regular(&self.seen(path), LONGEST_FILE));
        let content = self.options.status_file.as_deref().map(read).transpose();
        content.map(Option::flatten).map_err(no_rights)
    }

    /// The variables of its workers that were not there at its launch.
    fn environment_of_workers(&self, listeners: &Listeners) -> Environment {
        let mut environment = Environment::of_options(&self.options);
        listeners.export(self.options.listen_fds, &mut environment);
        environment
    }

    /// The signals at launch of a process that is stopped and blocks `blocked`. If FPE is ignored, that is perl's
    /// doing, hardly ever its parent's.
    pub(super) fn launch(&self, blocked: u64) -> Result<LaunchPart, Error> {
        let process = Process::Pid(self.pid);
        let ignored = process.signals("SigIgn").map_err(|error| unreadable(process, "status", error))?;
        let bit = |signal: i32| 1_u64 << (signal - 1);
        let ours = [libc::SIGUSR1, libc::SIGUSR2, libc::SIGQUIT];
        Ok(LaunchPart {
            blocked: (1..=64).filter(|&signal| blocked & bit(signal) != 0).collect(),
            ignored: ours.into_iter().filter(|&signal| ignored & bit(signal) != 0).collect(),
        })
    }

    fn files(&self, status: Option<Vec<u8>>) -> FilesPart {
        let is_log_file = self.options.log_file.as_ref().is_some_and(|name| {
            !name.as_bytes().trim_ascii_start().starts_with(b"|")
                && Process::Pid(self.pid).descriptor(2).metadata().is_some_and(|metadata| metadata.is_file())
        });
        let status =
            self.options.status_file.is_some().then(|| OwnFilePart { content: status, ..OwnFilePart::default() });
        FilesPart { status, failure: None, is_log_file, lock: Some(self.lock) }
    }

    /// Including what it has started besides its workers, such as a log command.
    fn kin(&self, old: &[(u64, Pid)], current: (u64, Pid)) -> KinPart {
        let workers: Vec<(u64, Pid)> = old.iter().copied().chain([current]).collect();
        let mut part = KinPart::default();
        for &(generation, pid) in &workers {
            part.workers.push(pid);
            part.family_workers.insert(pid, pid != current.1);
            part.generations.insert(generation.to_string().into_bytes(), pid);
        }
        let foreign = children_of(self.pid).into_iter().filter(|child| !part.workers.contains(child));
        part.foreign.extend(foreign);
        part
    }

    /// A path as the process sees it.
    fn seen(&self, path: &Path) -> PathBuf {
        Process::Pid(self.pid).seen(path)
    }

    /// Its sockets that its children inherit, as listeners do.
    fn sockets(&self) -> Result<Vec<Foreign>, Error> {
        let failed = |errno| Error::system(&[b"its descriptors can't be fetched:"], errno);
        // SAFETY: the call touches no memory of ours, and gives a new descriptor.
        let process = unsafe { new_descriptor(libc::syscall(libc::SYS_pidfd_open, self.pid, 0)) }.map_err(failed)?;
        let descriptors = Process::Pid(self.pid)
            .descriptors()
            .map_err(|error| Error::system(&[b"its descriptors can't be read:"], error))?;
        let mut sockets = Vec::new();
        for descriptor in descriptors.filter(|fd| fd.socket().is_some() && !fd.is_closed_on_exec()) {
            let number = descriptor.number;
            // SAFETY: as above.
            let fd = unsafe { new_descriptor(libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0)) };
            let fd = fd.map_err(failed)?;
            sockets.push(Foreign { number, fd });
        }
        Ok(sockets)
    }

    /// Its living workers, by generation: from the status file, otherwise from their environment.
    fn workers(&self, children: &[Pid], status: Option<&[u8]>) -> Result<Vec<(u64, Pid)>, Error> {
        let mut workers = Vec::new();
        if self.options.status_file.is_some() {
            let listed = status_file::workers_in(status.unwrap_or_default()).into_iter();
            workers.extend(listed.filter(|(_, pid)| children.contains(pid)));
        } else {
            for &pid in children {
                let environment = Process::Pid(pid).environment().unwrap_or_default();
                // Many servers overwrite it, so no variable is left.
                let is_there = environment.iter().any(|entry| entry.contains(&b'='));
                if !is_there && !Process::Pid(pid).is_zombie() {
                    let sentence = format!("can't tell the generation of process {pid}: there is no status file");
                    return Err(Error::Rule(sentence.into()));
                }
                let mut variables = environment.iter();
                let generation = variables.find_map(|entry| entry.strip_prefix(b"SERVER_STARTER_GENERATION="));
                let generation = generation.and_then(|text| str::from_utf8(text).ok()?.parse().ok());
                workers.extend(generation.map(|generation| (generation, pid)));
            }
        }
        // The next one could not be counted.
        workers.retain(|&(generation, _)| generation < u64::MAX);
        workers.sort_unstable();
        Ok(workers)
    }
}

/// The descriptor that a system call has opened.
///
/// # Safety
/// `result` is from a call that returns a new descriptor, or -1.
unsafe fn new_descriptor(result: c_long) -> Result<OwnedFd, Errno> {
    let number = RawFd::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: as the caller has promised, nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The arguments after the program: without perl, its options and the script, which has to be an original.
fn arguments_of(process: Process, rights: &Rights, command: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error> {
    let strange = || {
        let name = process.name().unwrap_or_default();
        Error::rule(&[b"process is not start_server, but ", &visible(name.trim_ascii_end())])
    };
    let arguments = arguments_behind_the_program(command).ok_or_else(strange)?;
    let script = &command[command.len() - arguments.len() - 1];
    if !is_start_server(script) {
        // A link, or a copy of another name.
        let path = process.seen(Path::new(std::ffi::OsStr::from_bytes(script)));
        let text = rights.with(|| fs::canonicalize(&path).ok().and_then(|path| read_regular(&path, LONGEST_FILE)));
        let text = text.map_err(no_rights)?.unwrap_or_default();
        let module = b"Server::Starter";
        if !text.windows(module.len()).any(|words| words == module) {
            return Err(strange());
        }
    }
    Ok(arguments.to_vec())
}

/// The hand-over to an earlier program; other variables may begin with the same letters.
fn is_variable(entry: &[u8]) -> bool {
    entry.strip_prefix(VARIABLE.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
}

/// One that is stopped by a signal.
pub(super) fn held(pid: Pid) -> Error {
    Error::Rule(format!("process {pid} is stopped by a signal: continue it with kill -CONT {pid}").into())
}

fn no_rights(errno: Errno) -> Error {
    Error::system(&[b"can't take the rights of its user:"], errno)
}

fn unreadable(process: Process, name: &str, error: io::Error) -> Error {
    Error::system(&[process.path(name).as_os_str().as_bytes(), b":"], error)
}

/// The descriptor of the pid file that the process has locked.
fn lock_of(pid: Pid, pid_file: &Path) -> Result<RawFd, Error> {
    let wanted = FileId::of(pid_file);
    let mut descriptors = Process::Pid(pid).descriptors().into_iter().flatten();
    let found =
        descriptors.find(|fd| fd.has_lock().unwrap_or(false) && FileId::of(&fd.path()) == wanted).map(|fd| fd.number);
    found.ok_or_else(|| Error::rule(&[b"it has not locked the pid file"]))
}

/// When a process was started, on the clock of the life cycle. /proc's clock continues while the machine sleeps, which
/// is ignored here.
fn start_of(pid: Pid) -> Result<Duration, Error> {
    Process::Pid(pid).started().ok_or_else(|| Error::rule(&[b"its worker is gone"]))
}
