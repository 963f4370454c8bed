//! How a worker's process is made: fork, then exec of its program with the listeners.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io::PipeWriter;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::unistd::{self, setpgid};

use crate::error::Error;
use crate::listeners::{Listeners, ListenersPart, Shut};
use crate::options::Options;
use crate::stderr::say;
use crate::sys::{self, CStringArray, Fork, Pid, c_string};
use crate::system::explanation::tell_exec;
use crate::system::signals::LaunchState;

/// Makes workers.
pub(super) struct Spawner<'a> {
    program: Vec<CString>,
    arguments: CStringArray,
    directory: Option<CString>,
    /// Whether workers get their pid as `LISTEN_PID`.
    tells_pid: bool,
    /// Whether each worker leads a process group.
    leads_group: bool,
    pub(super) listeners: &'a Listeners,
    /// Whether somebody may have shut one down: not before the first worker, if we have opened all of them.
    may_be_shut: bool,
    /// Those that stay shut, which has been reported.
    shut: BTreeSet<RawFd>,
    launch: &'a LaunchState,
}

impl<'a> Spawner<'a> {
    pub(super) fn of(options: &Options, listeners: &'a Listeners, launch: &'a LaunchState) -> Self {
        let program: Vec<_> = options.program.iter().map(|argument| c_string(argument.as_bytes())).collect();
        Self {
            arguments: program.iter().cloned().collect(),
            program,
            directory: options.dir.as_ref().map(|path| c_string(path.as_os_str().as_bytes())),
            tells_pid: options.listen_fds,
            leads_group: options.process_group,
            listeners,
            may_be_shut: options.from_systemd,
            shut: BTreeSet::new(),
            launch,
        }
    }

    /// Starts a worker. `report`: what it writes to if it can't execute its program.
    pub(super) fn spawn(&mut self, mut environment: CStringArray, report: Option<&PipeWriter>) -> Result<Pid, Error> {
        // ORDER: everything that allocates happens before the fork.
        if self.tells_pid {
            environment.reserve_pid("LISTEN_PID");
        }
        match self.launch.fork().map_err(|errno| Error::system(&[b"fork(2) failed:"], errno))? {
            Fork::Parent(pid) => {
                // In both processes, since either may come first.
                if self.leads_group {
                    let _ = setpgid(unistd::Pid::from_raw(pid), unistd::Pid::from_raw(pid));
                }
                Ok(pid)
            }
            Fork::Child => {
                if self.leads_group {
                    let _ = setpgid(unistd::Pid::from_raw(0), unistd::Pid::from_raw(0));
                }
                environment.put_pid();
                self.exec(&environment, report)
            }
        }
    }

    /// A listener that a worker has shut down would make every start fail or be useless (`shut-listener`).
    pub(super) fn revive_listeners(&mut self) {
        if !std::mem::replace(&mut self.may_be_shut, true) {
            return;
        }
        for Shut { fd, listens_again, line } in self.listeners.revive() {
            if listens_again || self.shut.insert(fd) {
                say(line);
            }
        }
    }

    /// Of the listeners, and which of them stay shut.
    pub(super) fn part(&self) -> ListenersPart {
        self.listeners.part(self.shut.iter().copied())
    }

    pub(super) fn take_over(&mut self, part: &ListenersPart) {
        self.may_be_shut = true;
        self.shut.extend(&part.shut);
    }

    /// The child's way to the worker's program. If that fails, the child exits without touching what belongs to the
    /// superdaemon (`failed-child`): only a message and the status remain.
    fn exec(&self, environment: &CStringArray, report: Option<&PipeWriter>) -> ! {
        if let Some(directory) = &self.directory
            && let Err(errno) = unistd::chdir(directory.as_c_str())
        {
            sys::say_errno([b"failed to chdir:", directory.as_bytes(), b":"], errno);
            sys::exit_now((errno as i32).to_le_bytes()[0]);
        }
        let errno: Errno = sys::exec(&self.arguments, environment);
        if let Some(report) = report {
            tell_exec(report, errno);
        }
        sys::say_errno([b"failed to exec ", self.program[0].as_bytes(), b":"], errno);
        sys::exit_now(255)
    }
}
