//! What can be seen from outside of a superdaemon that is to be taken over: its options, and where it is.

#![allow(unsafe_code, reason = "pidfd_open(2) and pidfd_getfd(2)")]

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libc::c_long;
use nix::errno::Errno;

use crate::cli::{self, Action};
use crate::environment::{Environment, envdir};
use crate::error::Error;
use crate::files::file_id::FileId;
use crate::files::own_file::OwnFilePart;
use crate::files::status_file;
use crate::listeners::adopted::{Foreign, adopt};
use crate::options::{Options, Readiness};
use crate::proc::Process;
use crate::proc::descendants::children_of;
use crate::readiness::{WatchPart, look_for_waits};
use crate::succession::VARIABLE;
use crate::sys::{OneThread, Pid};
use crate::system::{FilesPart, InboxPart, KinPart, LaunchPart, ManagerPart, ProgramPart, State, UnsentPart};
use crate::world::{LifePart, WorkerPart};

/// How long the current worker may take to be seen waiting: it may be busy with a request.
const PATIENCE: Duration = Duration::from_secs(2);

/// A superdaemon, the original or another version of ours.
pub(super) struct Predecessor {
    pid: Pid,
    options: Box<Options>,
    /// Behind the program's name.
    pub(super) arguments: Vec<Vec<u8>>,
    /// As at its launch.
    pub(super) environment: Vec<Vec<u8>>,
    /// The descriptor that holds the lock of the pid file.
    pub(super) lock: RawFd,
}

impl Predecessor {
    /// Looks at it, and refuses what can't be taken over, as far as that can be known before it is touched.
    pub(super) fn look(pid: Pid, pid_file: &Path) -> Result<Self, Error> {
        let process = Process::Pid(pid);
        let unreadable = |name: &'static str| move |error| unreadable(process, name, error);
        let command = process.arguments().map_err(unreadable("cmdline"))?;
        let arguments = arguments_of(&command, &process.name().map_err(unreadable("comm"))?)?;
        let parsed = cli::parse(arguments.iter().cloned().map(OsString::from_vec).collect());
        let options = match parsed {
            Ok(Action::Start(options) | Action::RestartOrStart { options, .. }) => options,
            Ok(_) => return Err(Error::rule(&[b"its command line is none that starts a superdaemon"])),
            Err(error) => return Err(Error::rule(&[b"its command line is refused: ", &error.message()])),
        };
        if options.from_systemd || options.ready == Readiness::Notify {
            return Err(Error::rule(&[
                b"it has sockets of --from-systemd or --ready=notify; --upgrade can hand these over",
            ]));
        }
        // Another word size, and other system calls.
        let mut program = [0; 5];
        let is_read = fs::File::open(process.executable())
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut program));
        if is_read.is_ok() && program != *b"\x7fELF\x02" {
            return Err(Error::rule(&[b"it is no program of 64 bits"]));
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
        let environment = environment.into_iter().filter(|entry| !entry.starts_with(VARIABLE.as_bytes())).collect();
        Ok(Self { pid, options, arguments, environment, lock })
    }

    /// The state that it is in, now that it is stopped, and the generation of its current worker. `blocked`: the signals
    /// that it blocks.
    pub(super) fn state(&self, program: &Path, blocked: u64, one_thread: OneThread) -> Result<(State, u64), Error> {
        let (listeners, part) = adopt(&self.options, self.sockets()?, |path| FileId::of(&self.seen(path)))?;
        let mut workers = self.workers()?;
        let Some((generation, current)) = workers.pop() else {
            return Err(Error::rule(&[b"it has no worker whose generation is known"]));
        };
        let waits = look_for_waits(&listeners, one_thread)?;
        let end = Instant::now() + PATIENCE;
        while !waits(current) {
            if Instant::now() >= end {
                let sentence =
                    format!("worker {current} is not seen waiting for connections, so the superdaemon may be stopping");
                return Err(Error::Rule(sentence.into()));
            }
            sleep(Duration::from_millis(1));
        }

        let started = start_of(current)? + self.options.interval;
        let worker = |generation, pid, started| WorkerPart { pid, generation, started };
        let state = State {
            life: LifePart {
                generation,
                last_restart: started,
                current: Some(worker(generation, current, Some(started))),
                old: workers.iter().map(|&(generation, pid)| (worker(generation, pid, None), None)).collect(),
                requests: Vec::new(),
                variables: self.environment_of_workers(&listeners).lasting().clone(),
            },
            launch: self.launch(blocked)?,
            // It sleeps in its wait: no alarm is to be known of. The next program makes its pipe itself.
            inbox: InboxPart::default(),
            listeners: part,
            files: self.files(),
            watch: WatchPart::default(),
            kin: self.kin(&workers, (generation, current)),
            unsent: UnsentPart::default(),
            manager: ManagerPart::default(),
            program: ProgramPart { path: Some(program.as_os_str().as_bytes().to_vec()) },
        };
        Ok((state, generation))
    }

    /// What its workers get that was not there at its launch. The envdir as it was at the start is not to be known any
    /// more, so it is as it is now.
    fn environment_of_workers(&self, listeners: &crate::listeners::Listeners) -> Environment {
        let mut environment = Environment::of_options(&self.options);
        if let Some(path) = environment.envdir().map(<[u8]>::to_vec) {
            let path = self.seen(Path::new(std::ffi::OsStr::from_bytes(&path)));
            let variables = envdir::Reader::default().read(path.as_os_str().as_bytes(), |_| ());
            environment.keep_envdir(variables);
        }
        listeners.export(self.options.listen_fds, &mut environment);
        environment
    }

    /// FPE is ignored by perl and XFSZ by ours, hardly ever by who has started it.
    fn launch(&self, blocked: u64) -> Result<LaunchPart, Error> {
        let process = Process::Pid(self.pid);
        let ignored = process.signals("SigIgn").map_err(|error| unreadable(process, "status", error))?;
        let bit = |signal: i32| 1_u64 << (signal - 1);
        let ours = [libc::SIGUSR1, libc::SIGUSR2, libc::SIGQUIT];
        Ok(LaunchPart {
            blocked: (1..=64).filter(|&signal| blocked & bit(signal) != 0).collect(),
            ignored: ours.into_iter().filter(|&signal| ignored & bit(signal) != 0).collect(),
        })
    }

    fn files(&self) -> FilesPart {
        let is_log_file = self.options.log_file.as_ref().is_some_and(|name| {
            !name.as_bytes().trim_ascii_start().starts_with(b"|")
                && Process::Pid(self.pid).descriptor(2).metadata().is_some_and(|metadata| metadata.is_file())
        });
        let status = self
            .options
            .status_file
            .as_ref()
            .map(|path| OwnFilePart { content: fs::read(self.seen(path)).ok(), ..OwnFilePart::default() });
        FilesPart { status, failure: None, is_log_file, lock: Some(self.lock) }
    }

    /// Of a predecessor that is ours, which looks after what workers have started.
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

    /// Its workers that live, by their generations: from the status file, otherwise from what they were started with.
    fn workers(&self) -> Result<Vec<(u64, Pid)>, Error> {
        let children: Vec<Pid> = children_of(self.pid);
        let mut workers = Vec::new();
        if let Some(path) = &self.options.status_file {
            let listed = status_file::workers(&self.seen(path)).into_iter();
            workers.extend(listed.filter(|(_, pid)| children.contains(pid)));
        } else {
            for pid in children {
                let environment = Process::Pid(pid).environment().unwrap_or_default();
                // Many servers write over it, so that no variable is left.
                let is_there = environment.iter().any(|entry| entry.contains(&b'='));
                if !is_there && !Process::Pid(pid).is_zombie() {
                    let sentence =
                        format!("the generation of process {pid} is not to be known: there is no status file");
                    return Err(Error::Rule(sentence.into()));
                }
                let mut variables = environment.iter();
                let generation = variables.find_map(|entry| entry.strip_prefix(b"SERVER_STARTER_GENERATION="));
                let generation = generation.and_then(|text| str::from_utf8(text).ok()?.parse().ok());
                workers.extend(generation.map(|generation| (generation, pid)));
            }
        }
        workers.sort_unstable();
        match workers.last() {
            Some(&(_, pid)) if Process::Pid(pid).is_zombie() => Err(Error::rule(&[b"its current worker is dead"])),
            _ => Ok(workers),
        }
    }
}

/// What a system call has opened.
///
/// # Safety
/// `result` is that of a call which gives a new descriptor, or -1.
unsafe fn new_descriptor(result: c_long) -> Result<OwnedFd, Errno> {
    let number = RawFd::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: as the caller has promised, nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The arguments behind the program: without perl, its options and the script.
fn arguments_of(command: &[Vec<u8>], comm: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let name = |path: &[u8]| path.rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec();
    let is_ours = |path: &[u8]| name(path).starts_with(b"start_server");
    let first = command.first().map(Vec::as_slice).unwrap_or_default();
    let strange = || Error::rule(&[b"process is no start_server, but ", comm.trim_ascii_end()]);
    if is_ours(first) {
        return Ok(command[1..].to_vec());
    }
    if !name(first).starts_with(b"perl") {
        return Err(strange());
    }
    let mut words = command.iter().enumerate().skip(1);
    while let Some((index, word)) = words.next() {
        match word.as_slice() {
            // The directory is the next word.
            b"-I" => drop(words.next()),
            [b'-', ..] => {}
            script if is_ours(script) => return Ok(command[index + 1..].to_vec()),
            _ => break,
        }
    }
    Err(strange())
}

fn unreadable(process: Process, name: &str, error: io::Error) -> Error {
    Error::system(&[process.path(name).as_os_str().as_bytes(), b":"], error)
}

/// The descriptor of the pid file that the process has locked.
fn lock_of(pid: Pid, pid_file: &Path) -> Result<RawFd, Error> {
    let wanted = FileId::of(pid_file);
    let mut descriptors = Process::Pid(pid).descriptors().into_iter().flatten();
    let found = descriptors.find(|fd| fd.has_lock() && FileId::of(&fd.path()) == wanted).map(|fd| fd.number);
    found.ok_or_else(|| Error::rule(&[b"it has not locked the pid file"]))
}

/// When a process was started, on the clock of the life cycle. That of /proc goes on while the machine sleeps, which is
/// left out of account.
fn start_of(pid: Pid) -> Result<Duration, Error> {
    Process::Pid(pid).started().ok_or_else(|| Error::rule(&[b"its worker is gone"]))
}
