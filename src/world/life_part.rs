//! What a supervisor knows and its options don't say, for the next program. It crosses the seam.

use std::time::Duration;

use crate::environment::Variables;
use crate::error::Error;
use crate::stop_signal::StopSignal;
use crate::succession::{Lines, Part};
use crate::sys::Pid;
use crate::world::Request;

/// See above. Times are those of the world's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LifePart {
    /// Counts the attempts to start a worker.
    pub(crate) generation: u64,
    pub(crate) last_restart: Duration,
    pub(crate) current: Option<WorkerPart>,
    /// Each with the time of its KILL, if it gets one.
    pub(crate) old: Vec<(WorkerPart, Option<(Duration, StopSignal)>)>,
    /// When old ones got their stop signal, and which one.
    pub(crate) told: Vec<(Pid, Duration, StopSignal)>,
    /// Requests that have not been acted on, oldest first.
    pub(crate) requests: Vec<Request>,
    /// The permanent ones of the environment.
    pub(crate) variables: Variables,
    /// Whether the envdir's are missing, as only the superdaemon's own user may read it.
    pub(crate) is_envdir_unread: bool,
}

/// A worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerPart {
    pub(crate) pid: Pid,
    pub(crate) generation: u64,
    /// When it had started, if it had.
    pub(crate) started: Option<Duration>,
}

impl Part for LifePart {
    fn write(&self, lines: &mut Lines) {
        lines.add("generation", &(self.generation,));
        lines.add("last-restart", &(self.last_restart,));
        if let Some(WorkerPart { pid, generation, started }) = self.current {
            lines.add("current", &(pid, generation, started));
        }
        for (WorkerPart { pid, generation, started }, kill) in &self.old {
            let (time, signal) = kill.clone().unzip();
            lines.add("old", &(*pid, *generation, *started, time, signal));
        }
        lines.add_all("told", self.told.iter().map(|(pid, at, signal)| (*pid, *at, signal.text().to_vec())));
        lines.add_all("request", self.requests.iter().map(|request| (request.name().as_bytes().to_vec(),)));
        if self.is_envdir_unread {
            lines.add("envdir-unread", &(true,));
        }
        lines.add_all("variable", self.variables.iter().map(|(name, value)| (name.clone(), value.clone())));
    }

    fn read(lines: &Lines) -> Result<Self, Error> {
        let (generation,) = lines.require("generation")?;
        let (last_restart,) = lines.require("last-restart")?;
        let worker = |(pid, generation, started)| WorkerPart { pid, generation, started };
        let old = |(pid, generation, started, time, signal): (_, _, _, Option<_>, Option<_>)| {
            (WorkerPart { pid, generation, started }, time.zip(signal))
        };
        let names: Vec<Vec<u8>> = lines.values("request")?;
        let told = |(pid, at, signal): (_, _, Vec<u8>)| Ok((pid, at, StopSignal::parse(&signal)?));
        Ok(Self {
            generation,
            last_restart,
            current: lines.get("current")?.map(worker),
            old: lines.all("old")?.into_iter().map(old).collect(),
            told: lines.all("told")?.into_iter().map(told).collect::<Result<_, Error>>()?,
            // An unknown one is from a later version; its sender gets no answer.
            requests: names.iter().filter_map(|name| Request::of_name(name)).collect(),
            variables: lines.map("variable")?,
            is_envdir_unread: lines.get("envdir-unread")?.is_some_and(|(is_unread,)| is_unread),
        })
    }
}
