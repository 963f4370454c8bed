//! A simulated world with a virtual clock: a [`Kernel`] that follows a script and writes down all that can be observed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::time::Duration;

use nix::errno::Errno;

use crate::environment::{Environment, Variables};
use crate::error::Error;
use crate::kernel::Kernel;
use crate::signals::Received;
use crate::stop_signal::StopSignal;
use crate::sys::{Pid, WaitStatus};

/// How the worker of a generation behaves.
#[derive(Clone, Copy, Default)]
pub struct Worker {
    /// Ends by itself after so many seconds, with this status.
    pub dies: Option<(f64, WaitStatus)>,
    /// Does not stop when it is told to.
    pub is_deaf: bool,
    /// How many seconds it takes to stop.
    pub slow: f64,
}

/// What happens at a moment.
enum Event {
    Signal(Received),
    Death(Pid, WaitStatus),
    Envdir(Variables),
}

pub struct World {
    now: Duration,
    events: BTreeMap<(Duration, usize), Event>,
    received: VecDeque<Received>,
    dead: VecDeque<(Pid, WaitStatus)>,
    alive: BTreeMap<Pid, Worker>,
    workers: BTreeMap<u64, Worker>,
    envdir: Variables,
    last_pid: Pid,
    /// The generations for which fork fails.
    pub unforkable: BTreeSet<u64>,
    /// Whether the status file can't be written.
    pub is_full: bool,
    /// A line for each thing that can be observed, with its time in seconds.
    pub trace: String,
}

impl World {
    /// The first worker gets the pid after `last_pid`.
    pub fn new(last_pid: Pid) -> Self {
        Self {
            now: Duration::ZERO,
            events: BTreeMap::new(),
            received: VecDeque::new(),
            dead: VecDeque::new(),
            alive: BTreeMap::new(),
            workers: BTreeMap::new(),
            envdir: Variables::new(),
            last_pid,
            unforkable: BTreeSet::new(),
            is_full: false,
            trace: String::new(),
        }
    }

    pub fn signal(mut self, at: f64, signal: Received) -> Self {
        self.schedule(Duration::from_secs_f64(at), Event::Signal(signal));
        self
    }

    /// A child that the supervisor knows nothing of dies.
    pub fn stranger(mut self, at: f64, pid: Pid, status: WaitStatus) -> Self {
        self.alive.insert(pid, Worker::default());
        self.schedule(Duration::from_secs_f64(at), Event::Death(pid, status));
        self
    }

    pub fn worker(mut self, generation: u64, worker: Worker) -> Self {
        self.workers.insert(generation, worker);
        self
    }

    pub fn envdir(mut self, at: f64, pairs: &[(&str, &str)]) -> Self {
        let variables = pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        self.schedule(Duration::from_secs_f64(at), Event::Envdir(variables));
        self
    }

    fn schedule(&mut self, at: Duration, event: Event) {
        self.events.insert((at, self.events.len() + self.trace.len()), event);
    }

    fn note(&mut self, line: &str) {
        writeln!(self.trace, "{:5.1} {line}", self.now.as_secs_f64()).unwrap();
    }

    /// Lets everything happen that is due by `end`, up to the moment of the first signal.
    fn advance(&mut self, end: Duration) {
        let known = self.received.len();
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= if self.received.len() == known { end } else { self.now }
        {
            let ((at, _), event) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(event);
        }
        if self.received.len() == known {
            self.now = self.now.max(end);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Signal(signal) => self.received.push_back(signal),
            Event::Envdir(variables) => self.envdir = variables,
            Event::Death(pid, status) => {
                if self.alive.remove(&pid).is_some() {
                    self.dead.push_back((pid, status));
                }
            }
        }
    }
}

impl Kernel for World {
    fn spawn(&mut self, environment: &Environment) -> Result<Pid, Errno> {
        let generation: u64 =
            str::from_utf8(environment.get("SERVER_STARTER_GENERATION").unwrap()).unwrap().parse().unwrap();
        if self.unforkable.contains(&generation) {
            return Err(Errno::EAGAIN);
        }
        self.last_pid += 1;
        let (pid, worker) = (self.last_pid, self.workers.get(&generation).copied().unwrap_or_default());
        self.alive.insert(pid, worker);
        if let Some((after, status)) = worker.dies {
            self.schedule(self.now + Duration::from_secs_f64(after), Event::Death(pid, status));
        }
        Ok(pid)
    }

    fn kill(&mut self, pid: Pid, signal: &StopSignal) {
        self.note(&format!("kill {} {pid}", String::from_utf8_lossy(signal.text())));
        if let Some(worker) = self.alive.get(&pid).filter(|worker| !worker.is_deaf) {
            let at = self.now + Duration::from_secs_f64(worker.slow);
            self.schedule(at, Event::Death(pid, signal.number()));
        }
    }

    fn wait(&mut self, tick: bool) {
        self.advance(self.now);
        let alarm = self.now + Duration::from_secs(1);
        while self.received.is_empty() && self.dead.is_empty() {
            match self.events.first_key_value() {
                Some((&(at, _), _)) if !tick || at <= alarm => self.advance(at),
                _ if tick => {
                    self.now = alarm;
                    self.received.push_back(Received::Alrm);
                }
                _ => panic!("waits for ever:\n{}", self.trace),
            }
        }
    }

    fn reap(&mut self) -> Option<(Pid, WaitStatus)> {
        self.dead.pop_front()
    }

    fn reap_worker(&mut self, worker: Pid) -> Option<WaitStatus> {
        let index = self.dead.iter().position(|&(pid, _)| pid == worker)?;
        self.dead.remove(index).map(|(_, status)| status)
    }

    fn sleep(&mut self, time: Duration) {
        self.advance(self.now + time);
    }

    fn clock(&self) -> Duration {
        self.now
    }

    fn received(&mut self) -> &mut VecDeque<Received> {
        &mut self.received
    }

    fn read_envdir(&mut self, _path: &[u8]) -> Variables {
        self.envdir.clone()
    }

    fn write_status(&mut self, content: &[u8]) -> Result<(), Error> {
        if self.is_full {
            return Err(Error::system(&[b"failed to write temporary file:st:"], Errno::ENOSPC));
        }
        let content = String::from_utf8_lossy(content).replace('\n', " ");
        self.note(format!("status: {content}").trim_end());
        Ok(())
    }

    fn say(&mut self, line: &[u8]) {
        self.note(&String::from_utf8_lossy(line));
    }
}
