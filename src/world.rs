//! The seam between the life cycle and the rest: everything that a supervisor does to the world and learns from it, in
//! its own words. [`System`](crate::system::System) is the real world; tests replace it with one that has a virtual
//! clock.

mod life_part;

use std::fmt;
use std::time::Duration;

pub(crate) use life_part::{LifePart, WorkerPart};

use crate::environment::{Environment, Variables};
use crate::error::Error;
use crate::report::Member;
use crate::stop_signal::StopSignal;
use crate::sys::{Pid, WaitStatus};
use crate::words::HAS_ENDED;

/// What a supervisor does to the world, and learns from it.
pub(crate) trait World {
    /// Starts a worker with `environment`. A worker that cannot run its program is a worker that dies.
    fn spawn(&mut self, environment: &Environment) -> Result<Pid, Error>;

    /// Sends a signal. A worker that no longer exists is not an error; any other failure is reported and tried again.
    fn kill(&mut self, worker: Pid, signal: &StopSignal);

    /// Waits until there is a request that has not been taken, or what is awaited has happened, but not after `end`, a
    /// time of the clock.
    fn wait(&mut self, awaited: Awaited, end: Option<Duration>) -> Woken;

    /// Takes the requests that have arrived since the last call, oldest first; never waits.
    fn take_requests(&mut self) -> Vec<Request>;

    /// Reaps `worker` if it is dead, or any dead child; never waits.
    fn reap(&mut self, worker: Option<Pid>) -> Option<(Pid, WaitStatus)>;

    /// The answer of the command of `--approve` about a worker ([`Awaited::Approval`]): the reason if it isn't
    /// approved. Kills a command that is still running.
    fn take_verdict(&mut self) -> Result<(), String>;

    /// The time since some moment in the past, from a clock that nobody can set.
    fn clock(&self) -> Duration;

    /// What the envdir holds now.
    fn read_envdir(&mut self, path: &[u8]) -> Variables;

    /// Reports to others: readers of the status file, `--restart`, the service manager.
    fn tell(&mut self, news: News);

    /// Gives the program that is to replace this one what it needs next ([`Woken::HandOver`]): first a rehearsal with
    /// `life`, then, when that has succeeded, the process. Returns only on failure, which has been reported, with what
    /// to continue from.
    fn hand_over(&mut self, life: LifePart) -> LifePart;

    /// Writes one line to standard error.
    fn say(&mut self, line: &[u8]);
}

/// A signal that the life cycle acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Start a new worker, then stop the old ones.
    Hup,
    /// Stop all workers with TERM.
    Int,
    /// Stop all workers.
    Term,
    /// The same (`quit-stops`).
    Quit,
    /// Wake up: read the envdir again, and check whether it is time for an automatic restart.
    Alrm,
}

impl Request {
    const NAMED: [(Self, &str); 5] =
        [(Self::Hup, "HUP"), (Self::Int, "INT"), (Self::Term, "TERM"), (Self::Quit, "QUIT"), (Self::Alrm, "ALRM")];

    /// The signal's name.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMED.iter().find(|(request, _)| *request == self).map_or("", |(_, name)| name)
    }

    /// None for an unknown one.
    pub(crate) fn of_name(name: &[u8]) -> Option<Self> {
        Self::NAMED.iter().find(|(_, known)| known.as_bytes() == name).map(|&(request, _)| request)
    }

    /// Whether it requests a shutdown.
    pub(crate) fn is_stop(self) -> bool {
        matches!(self, Self::Term | Self::Int | Self::Quit)
    }
}

/// What happens, for others.
pub(crate) enum News<'a> {
    /// These workers run, one `GENERATION:PID` per line.
    Workers(&'a [u8]),
    /// The same, with one that is being started, and the state of each.
    Family(Family),
    /// About the superdaemon as a whole.
    Standing(Standing),
    /// An attempt to start a worker, of this generation and pid (if it has got one), has failed.
    Failed { worker: (u64, Pid), failure: &'a Failure },
    /// The current worker has died.
    Died { worker: Pid, status: WaitStatus },
    /// A worker has started.
    Started,
    /// A restart has been given up, whose last attempt was this generation.
    GivenUp { generation: u64 },
}

/// All workers, and their states.
pub(crate) struct Family {
    /// Counts the attempts to start a worker.
    pub(crate) attempts: u64,
    pub(crate) members: Vec<Member>,
    /// When the running restart began.
    pub(crate) restart: Option<Duration>,
}

/// How a new worker has failed to start, and the words for it.
pub(crate) enum Failure {
    /// It has no process, which has been reported.
    NoProcess,
    /// It has exited.
    Ended(WaitStatus),
    /// It was not ready in time.
    NotReady,
    /// It is not approved, for this reason.
    NotApproved(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProcess => f.write_str(" has no process"),
            Self::Ended(status) => write!(f, "{HAS_ENDED}{status}"),
            Self::NotReady => f.write_str(" is not ready in time"),
            Self::NotApproved(reason) => write!(f, " is not approved ({reason})"),
        }
    }
}

/// A worker that has started, and is to take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its generation and pid.
    pub(crate) new: (u64, Pid),
    /// Those of the worker that it will replace, if there is one.
    pub(crate) old: Option<(u64, Pid)>,
}

/// What a supervisor waits for, besides requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// Nothing else: workers may die meanwhile.
    Request,
    /// A dead child.
    Death,
    /// The same, or that something is to be handed over. With `tick`, ALRM is received after one second.
    Anything { tick: bool },
    /// That this worker is dead.
    End(Pid),
    /// That this worker is ready, or dead.
    Ready(Pid),
    /// That the command of `--approve`, or this worker, has exited. The command is run when this is first awaited.
    Approval(Candidate),
}

/// What has ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// What was awaited has happened.
    Happened,
    /// There is a request that has not been taken.
    Requested,
    /// The program that will replace this one needs something ([`World::hand_over`]).
    HandOver,
    /// The time is over.
    OutOfTime,
}

/// What a service manager should know about the superdaemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The first worker has started, or a reload is over.
    Ready,
    /// A restart of the workers has begun. [`Standing::Ready`] has to follow.
    Reloading,
    /// A shutdown is requested, but the workers keep serving for a while.
    Leaving,
    /// The superdaemon is shutting down.
    Stopping,
}
