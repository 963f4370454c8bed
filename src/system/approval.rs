//! `--approve`: a command that decides whether a new worker that has started takes over.

use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::unistd::{self, setpgid};

use crate::environment::Environment;
use crate::error::Error;
use crate::listeners::Listeners;
use crate::options::Options;
use crate::perl::Exec;
use crate::sys::{self, CloseOnExec, Fork, Pid};
use crate::system::abandoned::Abandoned;
use crate::system::signals::LaunchState;
use crate::wait_status::in_words;
use crate::world::Candidate;

/// The command, and its process while it runs.
pub(super) struct Approval<'a> {
    command: Vec<u8>,
    launch: &'a LaunchState,
    listeners: &'a Listeners,
    /// The newest worker's.
    environment: Environment,
    /// The worker that it was asked about.
    asked: Option<Pid>,
    running: Option<Pid>,
}

impl<'a> Approval<'a> {
    pub(super) fn of(options: &Options, listeners: &'a Listeners, launch: &'a LaunchState) -> Option<Self> {
        let command = options.approve.as_ref()?.as_encoded_bytes().to_vec();
        let environment = Environment::default();
        Some(Self { command, launch, listeners, environment, asked: None, running: None })
    }

    /// For the worker that is about to be started.
    pub(super) fn prepare(&mut self, environment: &Environment) {
        self.environment = environment.clone();
    }

    /// Runs the command, unless it was asked about this worker, with the worker's environment and variables about it.
    /// It leads a process group, and gets none of the listeners, as it is not a worker. Returns its process if it is a
    /// new one.
    pub(super) fn ask(&mut self, candidate: Candidate) -> Result<Option<Pid>, Error> {
        let (generation, pid) = candidate.new;
        if self.asked.replace(pid) == Some(pid) {
            return Ok(None);
        }
        let failed = |errno| Error::system(&[b"failed to run ", &self.command, b":"], errno);
        let exec = Exec::of(&self.command).ok_or_else(|| failed(Errno::ENOENT))?;
        let mut environment = self.environment.to_c();
        let mut set = |name: &str, number: String| environment.set(name, number.as_bytes());
        set("APPROVE_NEW_PID", pid.to_string());
        set("APPROVE_NEW_GENERATION", generation.to_string());
        if let Some((generation, pid)) = candidate.old {
            set("APPROVE_OLD_PID", pid.to_string());
            set("APPROVE_OLD_GENERATION", generation.to_string());
        }
        match self.launch.fork().map_err(failed)? {
            Fork::Parent(pid) => {
                // In both processes, since either may come first.
                let _ = setpgid(unistd::Pid::from_raw(pid), unistd::Pid::from_raw(pid));
                self.running = Some(pid);
                Ok(self.running)
            }
            Fork::Child => {
                let _ = setpgid(unistd::Pid::from_raw(0), unistd::Pid::from_raw(0));
                for fd in self.listeners.fds() {
                    let _ = sys::set_close_on_exec(fd.as_raw_fd(), CloseOnExec::Yes);
                }
                let errno = exec.run(&environment);
                sys::say_errno([b"failed to exec ", &self.command, b":"], errno);
                sys::exit_now(127)
            }
        }
    }

    /// The command's process, until it is reaped.
    pub(super) fn process(&self) -> Option<Pid> {
        self.running
    }

    /// Whether the command has exited.
    pub(super) fn is_over(&self) -> Result<bool, Errno> {
        self.running.map_or(Ok(true), sys::is_dead)
    }

    /// The result: the reason, if the worker is not approved. Kills the command, if it still runs, and what it has left
    /// in its group.
    pub(super) fn end(&mut self, abandoned: &mut Abandoned) -> Result<(), String> {
        self.asked = None;
        let Some(pid) = self.running.take() else { return Err("the command can't be run".into()) };
        let is_over = sys::is_dead(pid) == Ok(true);
        // ORDER: before it is reaped, as its pid names its group, and might name another one afterwards.
        let _ = sys::kill(-pid, libc::SIGKILL);
        if !is_over {
            abandoned.add(pid);
            return Err("no answer in time".into());
        }
        match sys::reap(pid) {
            Ok(Some((_, 0))) => Ok(()),
            Ok(Some((_, status))) => Err(in_words(status)),
            _ => Err("no answer".into()),
        }
    }
}

impl Drop for Approval<'_> {
    fn drop(&mut self) {
        if let Some(pid) = self.running {
            // It isn't reaped while it is noted here, so the number is still its own.
            let _ = sys::kill(-pid, libc::SIGKILL);
        }
    }
}
