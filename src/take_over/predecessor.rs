//! What can be seen from outside of a superdaemon that is to be taken over: its options, and where it is.

#![allow(unsafe_code, reason = "pidfd_open(2) and pidfd_getfd(2)")]

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::{SysconfVar, sysconf};

use crate::cli::{self, Action};
use crate::environment::{Environment, envdir};
use crate::error::Error;
use crate::files::file_id::FileId;
use crate::files::status_file;
use crate::listeners::adopted::{Foreign, adopt};
use crate::options::{Options, Readiness};
use crate::readiness::look_for_waits;
use crate::state::{State, VARIABLE};
use crate::sys::descendants::{self, children_of, is_zombie};
use crate::sys::{OneThread, Pid};

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
        let strings = |name: &str| -> Result<Vec<Vec<u8>>, Error> {
            let text = read(pid, name)?;
            let text = text.strip_suffix(b"\0").unwrap_or(&text);
            Ok(if text.is_empty() { Vec::new() } else { text.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect() })
        };
        let arguments = arguments_of(&strings("cmdline")?, &read(pid, "comm")?)?;
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
        let is_read = fs::File::open(format!("/proc/{pid}/exe"))
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut program));
        if is_read.is_ok() && program != *b"\x7fELF\x02" {
            return Err(Error::rule(&[b"it is no program of 64 bits"]));
        }
        if children(&format!("/proc/{pid}/task")) > 1 {
            return Err(Error::rule(&[b"it has more than one thread"]));
        }
        let tracer = status_line(pid, "TracerPid:")?;
        if tracer != "0" {
            return Err(Error::rule(&[b"it is traced by process ", tracer.as_bytes()]));
        }
        let lock = lock_of(pid, pid_file)?;
        let environment = strings("environ")?;
        let environment = environment.into_iter().filter(|entry| !entry.starts_with(VARIABLE.as_bytes())).collect();
        Ok(Self { pid, options, arguments, environment, lock })
    }

    /// The state that it is in, now that it is stopped, and the generation of its current worker. `blocked`: the signals
    /// that it blocks.
    pub(super) fn state(&self, blocked: u64, one_thread: OneThread) -> Result<(State, u64), Error> {
        let mut state = State::default();
        let listeners = adopt(&self.options, self.sockets()?, |path| FileId::of(&self.seen(path)), &mut state)?;
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

        state.add("generation", &(generation,));
        let started = start_of(current)? + self.options.interval;
        state.add("last-restart", &(started,));
        state.add("current", &(current, generation, Some(started)));
        for &(generation, pid) in &workers {
            state.add("old", &(pid, generation, None::<Duration>, None::<Duration>, None::<Vec<u8>>));
        }
        self.add_environment(&listeners, &mut state);
        self.add_signals(blocked, &mut state)?;
        self.add_files(&mut state);
        self.add_kin(&workers, (generation, current), &mut state);
        Ok((state, generation))
    }

    /// What its workers get that was not there at its launch. The envdir as it was at the start is not to be known any
    /// more, so it is as it is now.
    fn add_environment(&self, listeners: &crate::listeners::Listeners, state: &mut State) {
        let mut environment = Environment::of_options(&self.options);
        if let Some(path) = environment.envdir().map(<[u8]>::to_vec) {
            let path = self.seen(Path::new(std::ffi::OsStr::from_bytes(&path)));
            let variables = envdir::Reader::default().read(path.as_os_str().as_bytes(), |_| ());
            environment.keep_envdir(variables);
        }
        listeners.export(self.options.listen_fds, &mut environment);
        environment.save(state);
    }

    /// FPE is ignored by perl and XFSZ by ours, hardly ever by who has started it.
    fn add_signals(&self, blocked: u64, state: &mut State) -> Result<(), Error> {
        let ignored = status_line(self.pid, "SigIgn:")?;
        let ignored = u64::from_str_radix(&ignored, 16).unwrap_or(0);
        let bit = |signal: i32| 1_u64 << (signal - 1);
        (1..=64)
            .filter(|&signal| blocked & bit(signal) != 0)
            .for_each(|signal| state.add("launch-blocked", &(signal,)));
        for signal in [libc::SIGUSR1, libc::SIGUSR2, libc::SIGQUIT] {
            if ignored & bit(signal) != 0 {
                state.add("launch-ignored", &(signal,));
            }
        }
        Ok(())
    }

    fn add_files(&self, state: &mut State) {
        state.add("pid-file", &(self.lock,));
        let is_file = self.options.log_file.as_ref().is_some_and(|name| {
            !name.as_bytes().trim_ascii_start().starts_with(b"|")
                && fs::metadata(format!("/proc/{}/fd/2", self.pid)).is_ok_and(|metadata| metadata.is_file())
        });
        state.add("log-file", &(is_file,));
        if let Some(path) = &self.options.status_file {
            let content = fs::read(self.seen(path)).ok();
            state.add("status-file", &(None::<RawFd>, content, false, None::<Vec<u8>>));
        }
    }

    /// Of a predecessor that is ours, which looks after what workers have started.
    fn add_kin(&self, old: &[(u64, Pid)], current: (u64, Pid), state: &mut State) {
        let workers: Vec<(u64, Pid)> = old.iter().copied().chain([current]).collect();
        for &(generation, pid) in &workers {
            state.add("kin-worker", &(pid,));
            state.add("family-worker", &(pid, pid != current.1));
            state.add("family-generation", &(generation.to_string().into_bytes(), pid));
        }
        let foreign = children_of(self.pid).into_iter().filter(|child| !workers.iter().any(|(_, pid)| pid == child));
        foreign.for_each(|pid| state.add("family-foreign", &(pid,)));
    }

    /// A path as the process sees it.
    fn seen(&self, path: &Path) -> PathBuf {
        let process = Path::new("/proc").join(self.pid.to_string());
        match path.strip_prefix("/") {
            Ok(path) => process.join("root").join(path),
            Err(_) => process.join("cwd").join(path),
        }
    }

    /// Its sockets that its children inherit, as listeners do.
    fn sockets(&self) -> Result<Vec<Foreign>, Error> {
        let failed = |errno| Error::system(&[b"its descriptors can't be fetched:"], errno);
        // SAFETY: the call touches no memory of ours, and gives a new descriptor.
        let process = unsafe {
            let fd = Errno::result(libc::syscall(libc::SYS_pidfd_open, self.pid, 0)).map_err(failed)?;
            OwnedFd::from_raw_fd(RawFd::try_from(fd).unwrap_or(-1))
        };
        let links = fs::read_dir(format!("/proc/{}/fd", self.pid))
            .map_err(|error| Error::system(&[b"its descriptors can't be read:"], error))?;
        let numbers = links.flatten().filter_map(|link| {
            let is_socket =
                fs::read_link(link.path()).is_ok_and(|to| to.as_os_str().as_bytes().starts_with(b"socket:"));
            link.file_name().to_str()?.parse::<RawFd>().ok().filter(|_| is_socket)
        });
        let mut sockets = Vec::new();
        for number in numbers.filter(|number| !self.is_closed_on_exec(*number)) {
            // SAFETY: as above.
            let fd = unsafe {
                let fd = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0);
                OwnedFd::from_raw_fd(RawFd::try_from(Errno::result(fd).map_err(failed)?).unwrap_or(-1))
            };
            sockets.push(Foreign { number, fd });
        }
        Ok(sockets)
    }

    fn is_closed_on_exec(&self, number: RawFd) -> bool {
        let info = fs::read_to_string(format!("/proc/{}/fdinfo/{number}", self.pid)).unwrap_or_default();
        let flags = info.lines().find_map(|line| i32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
        flags.is_none_or(|flags| flags & libc::O_CLOEXEC != 0)
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
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                // Many servers write over it, so that no variable is left.
                let is_there = environment.split(|&byte| byte == 0).any(|entry| entry.contains(&b'='));
                if !is_there && !is_zombie(pid) {
                    let sentence =
                        format!("the generation of process {pid} is not to be known: there is no status file");
                    return Err(Error::Rule(sentence.into()));
                }
                let mut variables = environment.split(|&byte| byte == 0);
                let generation = variables.find_map(|entry| entry.strip_prefix(b"SERVER_STARTER_GENERATION="));
                let generation = generation.and_then(|text| str::from_utf8(text).ok()?.parse().ok());
                workers.extend(generation.map(|generation| (generation, pid)));
            }
        }
        workers.sort_unstable();
        match workers.last() {
            Some(&(_, pid)) if is_zombie(pid) => Err(Error::rule(&[b"its current worker is dead"])),
            _ => Ok(workers),
        }
    }
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

fn read(pid: Pid, name: &str) -> Result<Vec<u8>, Error> {
    let path = format!("/proc/{pid}/{name}");
    fs::read(&path).map_err(|error| Error::system(&[path.as_bytes(), b":"], error))
}

fn status_line(pid: Pid, name: &str) -> Result<String, Error> {
    let status = String::from_utf8_lossy(&read(pid, "status")?).into_owned();
    Ok(status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned())
}

fn children(directory: &str) -> usize {
    fs::read_dir(directory).map_or(0, Iterator::count)
}

/// The descriptor of the pid file that the process has locked.
fn lock_of(pid: Pid, pid_file: &Path) -> Result<RawFd, Error> {
    let wanted = FileId::of(pid_file);
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut numbers = links.filter_map(|link| link.file_name().to_str()?.parse::<RawFd>().ok());
    let found = numbers.find(|number| {
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
        let is_locked =
            info.lines().any(|line| line.starts_with("lock:") && line.contains("FLOCK") && line.contains("WRITE"));
        is_locked && FileId::of(Path::new(&format!("/proc/{pid}/fd/{number}"))) == wanted
    });
    found.ok_or_else(|| Error::rule(&[b"it has not locked the pid file"]))
}

/// When a process was started, on the clock of the life cycle. That of /proc goes on while the machine sleeps, which is
/// left out of account.
fn start_of(pid: Pid) -> Result<Duration, Error> {
    let ticks = descendants::start_of(pid).ok_or_else(|| Error::rule(&[b"its worker is gone"]))?;
    let per_second =
        sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(100);
    Ok(Duration::from_millis(ticks * 1000 / per_second))
}
