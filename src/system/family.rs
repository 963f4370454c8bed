//! What workers have started: with `--kill-timeout` it ends with them, and with any option of ours a line tells what is
//! left of a worker that has ended. Looks at /proc only when a worker has died or is overdue.

use std::collections::{BTreeMap, BTreeSet};

use libc::ino_t;
use nix::sys::stat::fstat;

use crate::error::Error;
use crate::listeners::Listeners;
use crate::options::Options;
use crate::proc::descendants::{self, children_of, with_descendants};
use crate::proc::{Descriptor, Process};
use crate::stop_signal::StopSignal;
use crate::succession::{Lines, Part};
use crate::sys::{self, Pid, WaitStatus};

/// A line names no more processes than this.
const MOST_NAMED: usize = 10;

/// What workers have started, as far as options of ours make it of interest.
pub(super) struct Kin {
    /// With `--kill-timeout`.
    families: Option<Families>,
    left: Option<LeftBehind>,
    workers: Vec<Pid>,
    /// Children that are no workers, and that others look after: a rehearsal, the command of `--approve`.
    spared: Vec<Pid>,
    /// What stops the remains of a start that has failed, with `--max-start-failures`.
    stop: Option<StopSignal>,
}

impl Kin {
    pub(super) fn of(options: &Options, listeners: &Listeners) -> Self {
        let inodes = listeners.fds().filter_map(|fd| fstat(fd).ok()).map(|stat| stat.st_ino).collect();
        Self {
            families: options.kill_timeout.map(|_| Families::new()),
            left: options.uses_our_own().then(|| LeftBehind::of(inodes)),
            workers: Vec::new(),
            spared: Vec::new(),
            stop: options.max_start_failures.map(|_| options.signal_on_term.clone()),
        }
    }

    pub(super) fn add(&mut self, worker: Pid, generation: &[u8]) {
        self.workers.push(worker);
        if let Some(families) = &mut self.families {
            families.add(worker, generation);
        }
    }

    /// A child that is no worker, and belongs to none, until it is reaped.
    pub(super) fn spare(&mut self, pid: Pid) {
        self.spared.push(pid);
        if let Some(families) = &mut self.families {
            families.foreign.insert(pid);
        }
    }

    /// It has been reaped.
    pub(super) fn release(&mut self, pid: Pid) {
        self.spared.retain(|&spared| spared != pid);
        if let Some(families) = &mut self.families {
            families.foreign.remove(&pid);
        }
    }

    pub(super) fn stop(&mut self, worker: Pid, signal: &StopSignal) {
        if let Some(families) = &mut self.families {
            families.stop(worker, signal.number() == libc::SIGKILL);
        }
    }

    /// Whether the death is to be told now, and a line about what is left.
    pub(super) fn bury(&mut self, pid: Pid, status: WaitStatus, is_wanted: bool) -> (bool, Option<Vec<u8>>) {
        let is_worker = self.workers.contains(&pid);
        self.workers.retain(|&worker| worker != pid);
        let left = match &mut self.left {
            Some(left) if is_worker => left.look(self.workers.iter().chain(&self.spared)),
            _ => Vec::new(),
        };
        for &pid in left.iter().filter(|_| is_wanted) {
            if let Some(signal) = &self.stop {
                let _ = sys::kill(pid, signal.number());
            }
        }
        let line = (!left.is_empty()).then(|| {
            let pids: Vec<_> = left.iter().take(MOST_NAMED).map(ToString::to_string).collect();
            let more = left.len().saturating_sub(MOST_NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let pids = pids.join(" ");
            format!("worker {pid} has ended, but {pids}{more}, which it started, still hold its listeners").into()
        });
        let is_told = self.families.as_mut().is_none_or(|families| matches!(families.bury(pid, status), Death::Told));
        (is_told, line)
    }

    /// Who they are.
    pub(super) fn part(&self) -> KinPart {
        let families = self.families.as_ref();
        KinPart {
            workers: self.workers.clone(),
            left: self.left.as_ref().map(|left| left.known.clone()).unwrap_or_default(),
            ..families.map(Families::part).unwrap_or_default()
        }
    }

    /// Continues from it.
    pub(super) fn take_over(&mut self, part: KinPart) {
        self.workers.clone_from(&part.workers);
        if let Some(left) = &mut self.left {
            left.known.clone_from(&part.left);
        }
        if let Some(families) = &mut self.families {
            families.take_over(part);
        }
    }

    pub(super) fn take_ended(&mut self, wanted: Option<Pid>) -> Option<(Pid, WaitStatus)> {
        self.families.as_mut()?.take_ended(wanted)
    }
}

/// What the next program has to know of what workers have started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KinPart {
    /// Those that live.
    pub(crate) workers: Vec<Pid>,
    /// Processes with a listener that have been told.
    pub(crate) left: BTreeSet<Pid>,
    /// With `--kill-timeout`, as the rest: workers, and whether each was asked to stop.
    pub(crate) family_workers: BTreeMap<Pid, bool>,
    pub(crate) generations: BTreeMap<Vec<u8>, Pid>,
    /// Orphans, and whose family they are of.
    pub(crate) orphans: BTreeMap<Pid, Pid>,
    /// Workers whose death is told when their family has ended.
    pub(crate) held: BTreeMap<Pid, WaitStatus>,
    pub(crate) killed: BTreeSet<Pid>,
    /// Children that are no worker's.
    pub(crate) foreign: BTreeSet<Pid>,
}

impl Part for KinPart {
    fn write(&self, lines: &mut Lines) {
        lines.add_all("kin-worker", self.workers.iter().map(|&pid| (pid,)));
        lines.add_all("kin-left", self.left.iter().map(|&pid| (pid,)));
        lines.add_all("family-worker", self.family_workers.iter().map(|(&pid, &is_stopped)| (pid, is_stopped)));
        lines.add_all("family-generation", self.generations.iter().map(|(name, &pid)| (name.clone(), pid)));
        lines.add_all("family-orphan", self.orphans.iter().map(|(&pid, &worker)| (pid, worker)));
        lines.add_all("family-held", self.held.iter().map(|(&pid, &status)| (pid, status)));
        lines.add_all("family-killed", self.killed.iter().map(|&pid| (pid,)));
        lines.add_all("family-foreign", self.foreign.iter().map(|&pid| (pid,)));
    }

    fn read(lines: &Lines) -> Result<Self, Error> {
        Ok(Self {
            workers: lines.values("kin-worker")?,
            left: lines.set("kin-left")?,
            family_workers: lines.map("family-worker")?,
            generations: lines.map("family-generation")?,
            orphans: lines.map("family-orphan")?,
            held: lines.map("family-held")?,
            killed: lines.set("family-killed")?,
            foreign: lines.set("family-foreign")?,
        })
    }
}

/// The families of all workers. The superdaemon becomes a child subreaper, so that nothing escapes by daemonizing: what
/// has lost its parent becomes a child of it.
struct Families {
    own_pid: Pid,
    /// Children that belong to no worker: a log command and others that were there before the first one, and those that are
    /// spared.
    foreign: BTreeSet<Pid>,
    /// Workers whose first process has not been reaped, and whether it was asked to stop.
    workers: BTreeMap<Pid, bool>,
    generations: BTreeMap<Vec<u8>, Pid>,
    /// Of which worker's family a child is that has lost its parent.
    orphans: BTreeMap<Pid, Pid>,
    /// Workers that were asked to stop, and whose family lives on after the first process: their deaths have not been
    /// told.
    held: BTreeMap<Pid, WaitStatus>,
    /// Those whose time is over. Whatever is found of them is killed.
    killed: BTreeSet<Pid>,
    /// Whether a child has been reaped since the last look at those.
    has_changed: bool,
}

/// What the death of a child means.
enum Death {
    /// It is to be told: of a worker, or of a child that is none of ours.
    Told,
    /// It is told when its family has ended, or never.
    Untold,
}

impl Families {
    fn new() -> Self {
        let own_pid = Pid::try_from(std::process::id()).unwrap_or(0);
        // Where that isn't possible, only descendants are seen.
        let _ = sys::become_subreaper();
        let mut foreign = BTreeSet::new();
        foreign.extend(children_of(own_pid));
        Self {
            own_pid,
            foreign,
            workers: BTreeMap::new(),
            generations: BTreeMap::new(),
            orphans: BTreeMap::new(),
            held: BTreeMap::new(),
            killed: BTreeSet::new(),
            has_changed: false,
        }
    }

    fn part(&self) -> KinPart {
        KinPart {
            family_workers: self.workers.clone(),
            generations: self.generations.clone(),
            orphans: self.orphans.clone(),
            held: self.held.clone(),
            killed: self.killed.clone(),
            foreign: self.foreign.clone(),
            ..KinPart::default()
        }
    }

    fn take_over(&mut self, part: KinPart) {
        let KinPart { workers: _, left: _, family_workers, generations, orphans, held, killed, foreign } = part;
        (self.workers, self.generations, self.orphans) = (family_workers, generations, orphans);
        (self.held, self.killed, self.foreign) = (held, killed, foreign);
        self.has_changed = true;
    }

    fn add(&mut self, worker: Pid, generation: &[u8]) {
        self.workers.insert(worker, false);
        self.generations.insert(generation.to_vec(), worker);
    }

    /// The worker is asked to stop, or with `is_kill` its time is over.
    fn stop(&mut self, worker: Pid, is_kill: bool) {
        if let Some(is_stopped) = self.workers.get_mut(&worker) {
            *is_stopped = true;
        }
        if is_kill {
            self.killed.insert(worker);
            self.kill(worker);
        }
    }

    /// A child has been reaped.
    fn bury(&mut self, pid: Pid, status: WaitStatus) -> Death {
        self.has_changed = true;
        if let Some(is_stopped) = self.workers.remove(&pid) {
            if !self.outlives(pid) {
                self.forget(pid);
            } else if is_stopped {
                self.held.insert(pid, status);
                return Death::Untold;
            }
            return Death::Told;
        }
        self.orphans.remove(&pid);
        if self.foreign.remove(&pid) { Death::Told } else { Death::Untold }
    }

    /// A worker whose family has ended, after its first process did: of `wanted`, or of all.
    fn take_ended(&mut self, wanted: Option<Pid>) -> Option<(Pid, WaitStatus)> {
        if wanted.is_none() && !std::mem::take(&mut self.has_changed) {
            return None;
        }
        let candidates: Vec<Pid> = self.held.keys().copied().filter(|&pid| wanted.is_none_or(|it| it == pid)).collect();
        let ended = candidates.into_iter().find(|&pid| !self.outlives(pid))?;
        // There may be others.
        self.has_changed = true;
        self.forget(ended);
        Some((ended, self.held.remove(&ended)?))
    }

    fn forget(&mut self, worker: Pid) {
        self.killed.remove(&worker);
        self.generations.retain(|_, pid| *pid != worker);
    }

    /// Whether the family of `worker`, whose first process has ended, lives on. As long as a known child of ours is of
    /// it, nobody looks for others.
    fn outlives(&mut self, worker: Pid) -> bool {
        let mut known = self.orphans.iter().filter(|&(_, &family)| family == worker);
        known.any(|(&pid, _)| !Process::Pid(pid).is_zombie()) || self.find_orphans(worker)
    }

    /// Assigns children of ours that are new to a family: by the generation in their environment, or where a process has
    /// written over that, to this worker. Whether there are such of this worker, who is dead.
    fn find_orphans(&mut self, worker: Pid) -> bool {
        let mut new = Vec::new();
        for pid in children_of(self.own_pid) {
            let is_known =
                self.foreign.contains(&pid) || self.workers.contains_key(&pid) || self.orphans.contains_key(&pid);
            if !is_known {
                let family = Process::Pid(pid)
                    .variable("SERVER_STARTER_GENERATION")
                    .and_then(|generation| self.generations.get(&generation).copied());
                let family = family.unwrap_or(worker);
                self.orphans.insert(pid, family);
                new.extend((family == worker && !Process::Pid(pid).is_zombie()).then_some(pid));
            }
        }
        if self.killed.contains(&worker) {
            kill_all(&new);
        }
        !new.is_empty()
    }

    fn kill(&mut self, worker: Pid) {
        self.find_orphans(worker);
        let family = self.orphans.iter().filter(|&(_, &family)| family == worker).map(|(&pid, _)| pid);
        kill_all(&family.chain(self.workers.contains_key(&worker).then_some(worker)).collect::<Vec<_>>());
    }
}

impl Drop for Families {
    /// What is left of workers that died without being asked to.
    fn drop(&mut self) {
        let mut children = children_of(self.own_pid);
        children.retain(|pid| !self.foreign.contains(pid) && !self.workers.contains_key(pid));
        kill_all(&children);
    }
}

/// KILL to processes and all their descendants.
fn kill_all(roots: &[Pid]) {
    for pid in with_descendants(roots) {
        let _ = sys::kill(pid, libc::SIGKILL);
    }
}

/// Processes that hold one of the listeners, and belong to no worker that lives.
struct LeftBehind {
    inodes: Vec<ino_t>,
    /// Those that have been told.
    known: BTreeSet<Pid>,
}

impl LeftBehind {
    fn of(inodes: Vec<ino_t>) -> Self {
        Self { inodes, known: BTreeSet::new() }
    }

    /// Those that were not there at the last look. Whoever is older than the superdaemon was started by no worker: the service
    /// manager has listeners, too, of which it passes some and keeps others. `owners`: whose families have them by right.
    fn look<'a>(&mut self, owners: impl Iterator<Item = &'a Pid>) -> Vec<Pid> {
        let own_pid = Pid::try_from(std::process::id()).unwrap_or(0);
        let mut excluded = BTreeSet::new();
        excluded.extend(with_descendants(&owners.copied().collect::<Vec<_>>()));
        excluded.insert(own_pid);
        let own_start = Process::Own.started();
        let all = descendants::all().into_iter().filter(|pid| !excluded.contains(pid));
        let all = all.filter(|&pid| Process::Pid(pid).started() >= own_start);
        let new: Vec<Pid> = all.filter(|&pid| !self.known.contains(&pid) && self.holds_listener(pid)).collect();
        self.known.extend(&new);
        new
    }

    fn holds_listener(&self, pid: Pid) -> bool {
        let mut sockets = Process::Pid(pid).descriptors().into_iter().flatten().filter_map(Descriptor::socket);
        sockets.any(|inode| self.inodes.contains(&inode))
    }
}
