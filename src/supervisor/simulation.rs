//! The life cycle in a simulated world with a virtual clock: a `World` that follows a schedule and writes a trace of
//! everything observable. The original runs in the same world (`perl-fixtures/simulated_kernel.pl`);
//! `compat-tests/schedules.md` describes the format of both texts.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Write;
use std::time::Duration;

use nix::errno::Errno;

use crate::environment::{Environment, Variables};
use crate::error::Error;
use crate::options::{Options, Readiness};
use crate::stop_signal::StopSignal;
use crate::succession::{Lines, Part};
use crate::supervisor::{LifeCycle, Supervisor};
use crate::sys::{Pid, WaitStatus};
use crate::world::{Awaited, Candidate, LifePart, News, Request, Standing, Woken, World};

/// The number of the signal that no worker can be deaf to.
const KILL: i32 = 9;

/// A life that doesn't end is cut short after this many workers.
const MOST_FORKS: usize = 300;

/// Runs the life that `schedule` describes, and returns its trace.
///
/// # Panics
/// If a line is not valid in a schedule.
#[must_use]
pub fn live(schedule: &str) -> String {
    let mut options = Options::new(vec!["worker".into()]);
    let mut world = Simulation { last_pid: 100, ..Simulation::default() };
    for line in schedule.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        world.read(line, &mut options).unwrap_or_else(|| panic!("no line of a schedule: {line}"));
    }
    let mut environment = Environment::of_options(&options);
    environment.keep_envdir(world.envdir.clone());
    environment.set("SERVER_STARTER_PORT", Vec::new());
    let life_cycle = LifeCycle::of(&options);
    let mut supervisor = Supervisor::new(world, &life_cycle, environment);
    let end = match supervisor.run() {
        Ok(()) => "exit 0".to_owned(),
        Err(error) => format!("{error}, exit {}", error.exit_code()),
    };
    let mut world = supervisor.into_world();
    world.note(&end);
    world.trace
}

/// How the worker of a generation behaves.
#[derive(Clone, Copy)]
struct Worker {
    /// The time after which it exits by itself, and its status.
    dies: Option<(u64, WaitStatus)>,
    is_deaf: bool,
    /// How long it takes to stop.
    slow: u64,
    /// When it is ready, counted from its start; never for None.
    ready: Option<u64>,
    /// How long the command of `--approve` takes for it, and whether that approves; None for one that never answers.
    approval: Option<(u64, bool)>,
}

impl Default for Worker {
    fn default() -> Self {
        Self { dies: None, is_deaf: false, slow: 0, ready: Some(0), approval: Some((0, true)) }
    }
}

enum Event {
    Signal(Request),
    Death(Pid, WaitStatus),
    Envdir(Variables),
    Disk { is_full: bool },
    Upgrade { rehearsal: u64 },
}

/// Times are in milliseconds.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each has a line of its own in the schedule or the trace")]
struct Simulation {
    now: u64,
    /// By time and by the order in which they were scheduled.
    events: BTreeMap<(u64, usize), Event>,
    scheduled: usize,
    /// When the tick is due.
    alarm: Option<u64>,
    received: Vec<Request>,
    dead: VecDeque<(Pid, WaitStatus)>,
    alive: BTreeMap<Pid, Worker>,
    /// When the newest worker is ready.
    ready_at: Option<u64>,
    /// When the command of `--approve` exits, and whether it approves; never for None.
    approval: Option<(u64, bool)>,
    /// The worker that it was asked about.
    asked: Option<Pid>,
    workers: HashMap<u64, Worker>,
    unforkable: BTreeSet<u64>,
    last_pid: Pid,
    forks: usize,
    has_status_file: bool,
    has_manager: bool,
    /// Whether a restart has been given up, and no worker has started since.
    is_given_up: bool,
    is_full: bool,
    /// How long the rehearsal of the program that will replace this one takes.
    upgrade: Option<u64>,
    /// When the one that has begun is over.
    rehearsed_at: Option<u64>,
    envdir: Variables,
    trace: String,
    is_over: bool,
}

impl Simulation {
    /// None if the line isn't one of a schedule.
    fn read(&mut self, line: &str, options: &mut Options) -> Option<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let signal = |text: &str| StopSignal::parse(text.as_bytes()).ok();
        let time = |seconds: &str| seconds.parse().ok().map(Duration::from_secs);
        match words[..] {
            ["interval", seconds] => options.interval = time(seconds)?,
            ["kill-old-delay", seconds] => options.kill_old_delay = Some(seconds.parse().ok()?),
            ["enable-auto-restart"] => options.enable_auto_restart = true,
            ["auto-restart-interval", seconds] => options.auto_restart_interval = Some(seconds.parse().ok()?),
            ["signal-on-hup", text] => options.signal_on_hup = signal(text)?,
            ["signal-on-term", text] => options.signal_on_term = signal(text)?,
            ["status-file"] => self.has_status_file = true,
            ["ready", text] => options.ready = Readiness::parse(text.as_bytes()).ok()?,
            ["ready-timeout", seconds] => options.ready_timeout = Some(time(seconds)?),
            ["end-without-worker"] => options.end_without_worker = true,
            ["max-start-failures", count] => options.max_start_failures = Some(count.parse().ok()?),
            ["kill-timeout", seconds] => options.kill_timeout = Some(time(seconds)?),
            ["stop-delay", seconds] => options.stop_delay = Some(time(seconds)?),
            ["approve"] => options.approve = Some("approve".into()),
            ["sd-notify"] => self.has_manager = true,
            ["envdir", ref pairs @ ..] => {
                options.envdir = Some("e".into());
                self.envdir = variables(pairs)?;
            }
            ["last-pid", pid] => self.last_pid = pid.parse().ok()?,
            ["worker", generation, ref behaviour @ ..] => {
                let worker = self.workers.entry(generation.parse().ok()?).or_default();
                match behaviour {
                    ["dies", after, status] => worker.dies = Some((milliseconds(after)?, status.parse().ok()?)),
                    ["deaf"] => worker.is_deaf = true,
                    ["slow", time] => worker.slow = milliseconds(time)?,
                    ["approved", after] => worker.approval = Some((milliseconds(after)?, true)),
                    ["unapproved", after] => worker.approval = Some((milliseconds(after)?, false)),
                    ["unanswered"] => worker.approval = None,
                    ["ready", "never"] => worker.ready = None,
                    ["ready", after] => worker.ready = Some(milliseconds(after)?),
                    _ => return None,
                }
            }
            ["no-fork", generation] => drop(self.unforkable.insert(generation.parse().ok()?)),
            ["at", time, ref what @ ..] => {
                let event = match what {
                    ["HUP"] => Event::Signal(Request::Hup),
                    ["INT"] => Event::Signal(Request::Int),
                    ["TERM"] => Event::Signal(Request::Term),
                    ["QUIT"] => Event::Signal(Request::Quit),
                    ["ALRM"] => Event::Signal(Request::Alrm),
                    ["envdir", pairs @ ..] => Event::Envdir(variables(pairs)?),
                    ["upgrade", time] => Event::Upgrade { rehearsal: milliseconds(time)? },
                    ["disk", state @ ("full" | "free")] => Event::Disk { is_full: *state == "full" },
                    ["child", pid, status] => {
                        let pid = pid.parse().ok()?;
                        self.alive.insert(pid, Worker::default());
                        Event::Death(pid, status.parse().ok()?)
                    }
                    _ => return None,
                };
                self.schedule(milliseconds(time).filter(|&time| time > 0)?, event);
            }
            _ => return None,
        }
        Some(())
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), event);
    }

    fn note(&mut self, line: &str) {
        if !self.is_over {
            writeln!(self.trace, "{} {line}", seconds(self.now)).expect("a String takes everything");
        }
    }

    /// Does what is due at the next moment, but not after `end`. False if there is nothing.
    fn step(&mut self, end: Option<u64>) -> bool {
        let event = self.events.first_key_value().map(|(&(at, _), _)| at);
        let Some(next) = event.into_iter().chain(self.alarm).min().filter(|&next| end.is_none_or(|end| next <= end))
        else {
            return false;
        };
        self.now = self.now.max(next);
        let mut signals = Vec::new();
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= self.now) {
            match entry.remove() {
                Event::Signal(signal) => signals.push(signal),
                Event::Envdir(variables) => self.envdir = variables,
                Event::Disk { is_full } => self.is_full = is_full,
                Event::Upgrade { rehearsal } => self.upgrade = Some(rehearsal),
                Event::Death(pid, status) => {
                    if self.alive.remove(&pid).is_some() {
                        self.dead.push_back((pid, status));
                    }
                }
            }
        }
        if self.alarm.is_some_and(|alarm| alarm <= self.now) {
            self.alarm = None;
            signals.push(Request::Alrm);
        }
        // As in the real world: ascending, and each signal only once at a moment.
        signals.sort_by_key(|signal| match signal {
            Request::Hup => 1,
            Request::Int => 2,
            Request::Quit => 3,
            Request::Alrm => 14,
            Request::Term => 15,
        });
        signals.dedup();
        self.received.extend(signals);
        true
    }

    /// Runs the command of `--approve`, unless it was asked about this worker.
    fn ask(&mut self, candidate: Candidate) {
        let (generation, pid) = candidate.new;
        if self.asked.replace(pid) == Some(pid) {
            return;
        }
        let old = candidate.old.map_or_else(|| "nobody".to_owned(), |(generation, pid)| format!("{generation}:{pid}"));
        self.note(&format!("approve {generation}:{pid} {old}"));
        let worker = self.workers.get(&generation).copied().unwrap_or_default();
        self.approval = worker.approval.map(|(after, is_approved)| (self.now + after, is_approved));
    }

    /// A rehearsal comes first, if it is not over.
    fn has_to_hand_over(&self) -> bool {
        self.rehearsed_at.map_or(self.upgrade.is_some(), |at| at <= self.now)
    }

    fn has_happened(&self, awaited: Awaited) -> bool {
        match awaited {
            Awaited::Request => false,
            Awaited::Death | Awaited::Anything { .. } => !self.dead.is_empty(),
            Awaited::End(worker) => self.dead.iter().any(|&(pid, _)| pid == worker),
            Awaited::Approval(candidate) => {
                self.dead.iter().any(|&(pid, _)| pid == candidate.new.1)
                    || self.approval.is_some_and(|(at, _)| at <= self.now)
            }
            Awaited::Ready(worker) => {
                self.dead.iter().any(|&(pid, _)| pid == worker) || self.ready_at.is_some_and(|at| at <= self.now)
            }
        }
    }

    /// Ends what doesn't end by itself, without a trace.
    fn end(&mut self, why: &str) {
        assert!(!self.is_over, "does not end, although all workers have ended:\n{}", self.trace);
        self.note(why);
        self.is_over = true;
        self.received.push(Request::Term);
        self.dead.extend(std::mem::take(&mut self.alive).into_keys().map(|pid| (pid, 0)));
    }
}

impl World for Simulation {
    fn spawn(&mut self, environment: &Environment) -> Result<Pid, Error> {
        self.forks += 1;
        if self.forks > MOST_FORKS {
            self.end("forks for ever");
        }
        let generation = environment.get("SERVER_STARTER_GENERATION").and_then(|text| str::from_utf8(text).ok());
        let generation = generation.and_then(|text| text.parse().ok()).expect("every worker has a generation");
        if self.is_over || self.unforkable.contains(&generation) {
            return Err(Error::system(&[b"fork(2) failed:"], Errno::EAGAIN));
        }
        self.last_pid += 1;
        let pid = self.last_pid;
        let worker = self.workers.get(&generation).copied().unwrap_or_default();
        self.alive.insert(pid, worker);
        let variables: BTreeSet<_> = environment.entries().collect();
        let variables: Vec<_> = variables.iter().map(|entry| entry.to_string_lossy()).collect();
        self.note(&format!("fork {pid} {}", variables.join(" ")));
        self.ready_at = worker.ready.map(|after| self.now + after);
        if let Some((after, status)) = worker.dies {
            self.schedule(self.now + after, Event::Death(pid, status));
        }
        Ok(pid)
    }

    fn kill(&mut self, pid: Pid, signal: &StopSignal) {
        self.note(&format!("kill {} {pid}", String::from_utf8_lossy(signal.text())));
        let Some(worker) = self.alive.get(&pid) else { return };
        if signal.number() == KILL {
            self.schedule(self.now, Event::Death(pid, KILL));
        } else if !worker.is_deaf {
            self.schedule(self.now + worker.slow, Event::Death(pid, signal.number()));
        }
    }

    fn wait(&mut self, awaited: Awaited, end: Option<Duration>) -> Woken {
        let end = end.map(whole_milliseconds);
        if let Awaited::Approval(candidate) = awaited {
            self.ask(candidate);
        }
        // A running alarm continues after a hand-over.
        let is_ticking = awaited == Awaited::Anything { tick: true };
        self.alarm = is_ticking.then(|| self.alarm.unwrap_or(self.now + 1000));
        let woken = loop {
            // Events that are due now have happened before the wait.
            self.step(Some(self.now));
            if self.has_happened(awaited) {
                break Woken::Happened;
            }
            if !self.received.is_empty() {
                break Woken::Requested;
            }
            if matches!(awaited, Awaited::Anything { .. }) && self.has_to_hand_over() {
                return Woken::HandOver;
            }
            if end.is_some_and(|end| self.now >= end) {
                break Woken::OutOfTime;
            }
            let ready_at = self.ready_at.filter(|_| matches!(awaited, Awaited::Ready(_)));
            let approved_at = self.approval.filter(|_| matches!(awaited, Awaited::Approval(_))).map(|(at, _)| at);
            let rehearsed_at = self.rehearsed_at.filter(|_| matches!(awaited, Awaited::Anything { .. }));
            let next = [ready_at, approved_at, rehearsed_at, end].into_iter().flatten().min();
            if !self.step(next) {
                match next {
                    Some(next) => self.now = self.now.max(next),
                    None => self.end("waits for ever"),
                }
            }
        };
        self.alarm = None;
        woken
    }

    fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.received)
    }

    fn reap(&mut self, worker: Option<Pid>) -> Option<(Pid, WaitStatus)> {
        self.step(Some(self.now));
        let index = self.dead.iter().position(|&(pid, _)| worker.is_none_or(|worker| worker == pid))?;
        self.dead.remove(index)
    }

    fn clock(&self) -> Duration {
        Duration::from_millis(self.now)
    }

    fn read_envdir(&mut self, _path: &[u8]) -> Variables {
        self.envdir.clone()
    }

    fn tell(&mut self, news: News) {
        match news {
            News::Workers(_) if self.has_status_file && self.is_full => {
                let error = Error::system(&[b"failed to rename st.S to st:"], Errno::ENOSPC);
                self.say(&error.message());
            }
            News::Workers(workers) if self.has_status_file => {
                self.note(["status", &String::from_utf8_lossy(workers).replace('\n', " ")].join(" ").trim_end());
            }
            News::Standing(standing) => {
                if matches!(standing, Standing::Leaving | Standing::Stopping) {
                    (self.upgrade, self.rehearsed_at) = (None, None);
                }
                if self.has_manager {
                    self.note(&format!("manager {standing:?}"));
                }
            }
            News::Started if std::mem::take(&mut self.is_given_up) => self.note("not given up any more"),
            News::GivenUp { generation } => {
                self.note(&format!("given up {generation}"));
                self.is_given_up = true;
            }
            News::Workers(_) | News::Family(_) | News::Died { .. } | News::Failed { .. } | News::Started => {}
        }
    }

    fn take_verdict(&mut self) -> Result<(), String> {
        self.asked = None;
        match self.approval.take() {
            Some((at, true)) if at <= self.now => Ok(()),
            Some((at, false)) if at <= self.now => Err("exit 1".into()),
            _ => Err("no answer in time".into()),
        }
    }

    /// What another program reads.
    fn hand_over(&mut self, life: LifePart) -> LifePart {
        if self.rehearsed_at.take().is_none() {
            self.rehearsed_at = self.upgrade.take().map(|time| self.now + time);
        }
        let mut lines = Lines::default();
        life.write(&mut lines);
        let lines = Lines::parse(lines.to_text().as_bytes()).expect("lines that were written can be parsed");
        LifePart::read(&lines).expect("a part that was written can be read")
    }

    fn say(&mut self, line: &[u8]) {
        self.note(&String::from_utf8_lossy(line));
    }
}

fn variables(pairs: &[&str]) -> Option<Variables> {
    pairs.iter().map(|pair| pair.split_once('=').map(|(name, value)| (name.into(), value.into()))).collect()
}

fn whole_milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2)
}

/// `2.5` is 2500.
fn milliseconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    Some(whole.parse::<u64>().ok()? * 1000 + format!("{fraction:0<3}").parse::<u64>().ok()?)
}

/// 2500 is `2.5`.
fn seconds(milliseconds: u64) -> String {
    let text = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
