//! What workers have started. With `--kill-timeout` it ends with them, and with any option of ours a line reports what
//! is left of a worker that has exited. A process belongs to a worker's family only by evidence; others are neither
//! waited for nor signalled. Looks at /proc only when a worker has died, is told to stop, or is overdue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use libc::{c_int, ino_t};
use nix::errno::Errno;

use crate::error::Error;
use crate::listeners::Listeners;
use crate::options::Options;
use crate::proc::descendants::{children_of, with_descendants};
use crate::proc::{self, Descriptor, Kinship, Process};
use crate::stop_signal::StopSignal;
use crate::succession::{Lines, Part};
use crate::sys::{self, Pid, WaitStatus};
use crate::system::member::{MOST_LOOKS, Member, kill_all};
use crate::system::signals::find_dead_child;
use crate::system::strangers;

/// A line names at most this many processes.
const MOST_NAMED: usize = 10;

const GENERATION: &[u8] = b"SERVER_STARTER_GENERATION=";
/// The command of `--approve` has the environment of a worker, and this.
const APPROVAL: &[u8] = b"APPROVE_NEW_PID=";

/// What workers have started, if options of ours need it.
pub(super) struct Kin(Option<Families>);

impl Kin {
    pub(super) fn of(options: &Options, listeners: &Listeners) -> Self {
        Self(options.uses_our_own().then(|| Families::of(options, listeners)))
    }

    pub(super) fn add(&mut self, worker: Pid, generation: &[u8]) {
        if let Some(families) = &mut self.0 {
            families.workers.insert(worker, false);
            families.generations.insert(generation.to_vec(), worker);
        }
    }

    /// Those that have not been reaped.
    pub(super) fn workers(&self) -> Vec<Pid> {
        self.0.iter().flat_map(|families| families.workers.keys().copied()).collect()
    }

    /// Some listeners have new sockets. The old ones, which old workers have, are remembered.
    pub(super) fn follow(&mut self, listeners: &Listeners) {
        if let Some(families) = &mut self.0 {
            families.follow(listeners);
        }
    }

    /// A child that is not a worker and belongs to none, until it is reaped: a rehearsal, the command of `--approve`.
    pub(super) fn spare(&mut self, pid: Pid) {
        if let Some(families) = &mut self.0 {
            families.foreign.insert(pid);
        }
    }

    /// It has been reaped.
    pub(super) fn release(&mut self, pid: Pid) {
        if let Some(families) = &mut self.0 {
            families.foreign.remove(&pid);
        }
    }

    /// The worker, or with `is_for_group` its process group, gets a signal. Whether it still exists: if it has been
    /// reaped and its family lives on, only the rest of the group gets the signal, from here.
    pub(super) fn stop(&mut self, worker: Pid, signal: &StopSignal, is_for_group: bool) -> bool {
        let Some(families) = &mut self.0 else { return true };
        families.stop(worker, signal.number() == libc::SIGKILL);
        let is_held = families.held.contains_key(&worker);
        if is_held && is_for_group {
            families.signal_group(worker, signal.number());
        }
        !is_held
    }

    /// A child has been reaped. Whether to report its death now, and a line about what is left. `is_wanted`: it is a
    /// worker that is waited for by pid.
    pub(super) fn bury(&mut self, pid: Pid, status: WaitStatus, is_wanted: bool) -> (bool, Option<Vec<u8>>) {
        let Some(families) = &mut self.0 else { return (true, None) };
        let (death, left) = families.bury(pid, status);
        if is_wanted && let Some(signal) = &families.stop {
            for member in &left {
                member.kill(signal.number());
            }
        }
        let line = (!left.is_empty()).then(|| {
            let pids: Vec<_> = left.iter().take(MOST_NAMED).map(|member| member.pid.to_string()).collect();
            let more = left.len().saturating_sub(MOST_NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let pids = pids.join(" ");
            format!("worker {pid} has ended, but {pids}{more}, which it started, still hold its listeners").into()
        });
        (matches!(death, Death::Told), line)
    }

    /// A worker whose family has died after its first process: `wanted`, or any.
    pub(super) fn take_ended(&mut self, wanted: Option<Pid>) -> Option<(Pid, WaitStatus)> {
        self.0.as_mut()?.take_ended(wanted)
    }

    /// Whether there is one to take without waiting for a further death.
    pub(super) fn has_ended(&self) -> bool {
        self.0.as_ref().is_some_and(|families| families.more_ended > 0)
    }

    /// Reaps the dead that aren't reported: in a long wait they would fill the process table.
    pub(super) fn bury_untold(&mut self) {
        if let Some(families) = &mut self.0
            && !matches!(find_dead_child(sys::dead_child), Ok(None))
        {
            families.bury_untold();
        }
    }

    /// At the end: who else holds a listener without belonging to a family. A line for each.
    pub(super) fn strangers(&self) -> Vec<Vec<u8>> {
        self.0.as_ref().map(Families::strangers).unwrap_or_default()
    }

    /// Who they are.
    pub(super) fn part(&self) -> KinPart {
        self.0.as_ref().map(Families::part).unwrap_or_default()
    }

    /// Continues from it.
    pub(super) fn take_over(&mut self, part: KinPart) {
        if let Some(families) = &mut self.0 {
            families.take_over(part);
        }
    }
}

/// What the next program has to know about what workers have started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KinPart {
    /// Those that live.
    pub(crate) workers: Vec<Pid>,
    /// With options of ours, like the rest: workers, and whether each was asked to stop.
    pub(crate) family_workers: BTreeMap<Pid, bool>,
    pub(crate) generations: BTreeMap<Vec<u8>, Pid>,
    /// Orphans, and the worker whose family they belong to.
    pub(crate) orphans: BTreeMap<Pid, Pid>,
    /// Workers whose death is reported when their family has died.
    pub(crate) held: BTreeMap<Pid, WaitStatus>,
    pub(crate) killed: BTreeSet<Pid>,
    /// Children that are no worker's.
    pub(crate) foreign: BTreeSet<Pid>,
}

impl Part for KinPart {
    fn write(&self, lines: &mut Lines) {
        lines.add_all("kin-worker", self.workers.iter().map(|&pid| (pid,)));
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
            family_workers: lines.map("family-worker")?,
            generations: lines.map("family-generation")?,
            orphans: lines.map("family-orphan")?,
            held: lines.map("family-held")?,
            killed: lines.set("family-killed")?,
            foreign: lines.set("family-foreign")?,
        })
    }
}

/// The families of all workers. The superdaemon becomes a child subreaper, so nothing escapes by daemonizing: an orphan
/// becomes a child of it. But so may processes that others have started: as PID 1 of a container, or if a start script
/// with children has executed the superdaemon.
struct Families {
    own_pid: Pid,
    /// Whether /proc shows our processes. If not, nobody is found.
    sees: bool,
    /// Whether families are killed with their workers: with `--kill-timeout`.
    ends: bool,
    /// What stops the remains of a failed start, with `--max-start-failures`.
    stop: Option<StopSignal>,
    /// The listeners'.
    inodes: BTreeSet<ino_t>,
    /// The names, by inode, of those that nobody else holds. A service manager holds what it has passed and what it
    /// keeps, and may pass it to others.
    exclusive: Option<BTreeMap<ino_t, Vec<u8>>>,
    /// Children that belong to no worker: a log command and others from before the first worker, and those that are
    /// spared.
    foreign: BTreeSet<Pid>,
    /// Children of ours without evidence that they belong to a family, or that were dead when they were found.
    strangers: BTreeSet<Pid>,
    /// Workers whose first process has not been reaped, and whether it was asked to stop.
    workers: BTreeMap<Pid, bool>,
    generations: BTreeMap<Vec<u8>, Pid>,
    /// The worker whose family each orphan belongs to.
    orphans: BTreeMap<Pid, Pid>,
    /// Processes that descended from a worker when it was told to stop, and those that have led a process group or
    /// session of its family: the worker, and when they were started.
    seen: BTreeMap<Pid, (Pid, Duration)>,
    /// Workers that were asked to stop and whose family outlives the first process: their deaths have not been
    /// reported.
    held: BTreeMap<Pid, WaitStatus>,
    /// The overdue ones. Whatever is found of their families is killed.
    killed: BTreeSet<Pid>,
    /// Workers, not reaped, that had died before a look that has found everything they left behind.
    dead: BTreeSet<Pid>,
    /// Whether a child has been reaped since the last look at those.
    has_changed: bool,
    /// How many others with a dead family the last look has found, besides the one that was taken.
    more_ended: usize,
}

/// How to treat the death of a child.
enum Death {
    /// Report it: a worker's, or a foreign child's.
    Told,
    /// Report it when its family has died, or never.
    Untold,
}

/// What a look at our children has found.
struct Found {
    /// The workers whose family has grown.
    grown: BTreeSet<Pid>,
    /// Whether no child needs another look.
    is_settled: bool,
}

/// What is known about a child of ours at the first look.
enum Evidence {
    Of {
        worker: Pid,
        kinship: Kinship,
    },
    None,
    /// It shows no environment, as in the middle of execve(2). Another look may show it.
    NotYet,
}

impl Families {
    fn of(options: &Options, listeners: &Listeners) -> Self {
        let own_pid = Pid::try_from(std::process::id()).unwrap_or(0);
        // If that isn't possible, only descendants are seen.
        let _ = sys::become_subreaper();
        let sees = proc::is_own_proc().unwrap_or(false);
        let mut families = Self {
            own_pid,
            sees,
            ends: options.kill_timeout.is_some(),
            stop: options.max_start_failures.map(|_| options.signal_on_term.clone()),
            exclusive: (!options.from_systemd).then(BTreeMap::new),
            inodes: BTreeSet::new(),
            foreign: if sees { children_of(own_pid).into_iter().collect() } else { BTreeSet::new() },
            strangers: BTreeSet::new(),
            workers: BTreeMap::new(),
            generations: BTreeMap::new(),
            orphans: BTreeMap::new(),
            seen: BTreeMap::new(),
            held: BTreeMap::new(),
            killed: BTreeSet::new(),
            dead: BTreeSet::new(),
            has_changed: false,
            more_ended: 0,
        };
        families.follow(listeners);
        families
    }

    /// New sockets among the listeners.
    fn follow(&mut self, listeners: &Listeners) {
        self.inodes.extend(listeners.inodes().map(|(inode, _)| inode));
        if let Some(exclusive) = &mut self.exclusive {
            exclusive.extend(listeners.inodes().map(|(inode, name)| (inode, name.to_vec())));
        }
    }

    fn part(&self) -> KinPart {
        KinPart {
            workers: self.workers.keys().copied().collect(),
            family_workers: self.workers.clone(),
            generations: self.generations.clone(),
            orphans: self.orphans.clone(),
            held: self.held.clone(),
            killed: self.killed.clone(),
            foreign: self.foreign.clone(),
        }
    }

    fn take_over(&mut self, part: KinPart) {
        let KinPart { workers, family_workers, generations, orphans, held, killed, foreign } = part;
        (self.workers, self.generations, self.orphans) = (family_workers, generations, orphans);
        (self.held, self.killed, self.foreign) = (held, killed, foreign);
        for worker in workers {
            // An earlier version handed over no more without `--kill-timeout`.
            self.workers.entry(worker).or_insert_with(|| {
                let generation = Process::Pid(worker).variable("SERVER_STARTER_GENERATION");
                self.generations.extend(generation.map(|generation| (generation, worker)));
                false
            });
        }
        let stopped: Vec<Pid> =
            self.workers.iter().filter(|&(_, &is_stopped)| is_stopped).map(|(&pid, _)| pid).collect();
        for worker in stopped {
            self.see(worker);
        }
        self.has_changed = true;
    }

    /// The worker is asked to stop, or with `is_kill` it is overdue.
    fn stop(&mut self, worker: Pid, is_kill: bool) {
        if let Some(is_stopped) = self.workers.get_mut(&worker) {
            *is_stopped = true;
        }
        if is_kill && self.ends {
            self.killed.insert(worker);
            self.kill(worker);
        } else if self.ends || self.stop.is_some() {
            self.see(worker);
        }
    }

    /// Signals the members of a family in the process group that its worker has led.
    fn signal_group(&self, worker: Pid, number: c_int) {
        let is_in_group =
            |member: &Member| Process::Pid(member.pid).kinship().is_some_and(|kinship| kinship.group == worker);
        for member in self.members(worker).into_iter().filter(is_in_group) {
            member.kill(number);
        }
    }

    /// Notes a worker's descendants: some of them may lose their parents when it exits.
    fn see(&mut self, worker: Pid) {
        for Member { pid, started } in self.members(worker) {
            self.seen.insert(pid, (worker, started));
        }
    }

    /// A child has been reaped: how to treat that, and which of its family hold a listener if it was a worker.
    fn bury(&mut self, pid: Pid, status: WaitStatus) -> (Death, Vec<Member>) {
        self.has_changed = true;
        let Some(is_stopped) = self.workers.remove(&pid) else {
            self.orphans.remove(&pid);
            // While the group that it has led exists, that is evidence for others.
            if self.seen.contains_key(&pid) && sys::kill(-pid, 0) == Err(Errno::ESRCH) {
                self.seen.remove(&pid);
            }
            self.strangers.remove(&pid);
            return (if self.foreign.remove(&pid) { Death::Told } else { Death::Untold }, Vec::new());
        };
        let has_found_all = self.look_after_death(pid);
        let left = self.members(pid).into_iter().filter(|member| self.holds_listener(member.pid)).collect();
        let has_left_nobody = has_found_all && self.orphans_of(pid).next().is_none();
        if has_left_nobody || !self.outlives(pid) {
            self.forget(pid);
        } else if is_stopped && self.ends {
            self.held.insert(pid, status);
            return (Death::Untold, left);
        }
        (Death::Told, left)
    }

    /// Finds what a reaped worker has left behind; false if another look may find more. Many simultaneous deaths cost
    /// one look at our children, which include all of them until they are reaped.
    fn look_after_death(&mut self, worker: Pid) -> bool {
        if self.dead.remove(&worker) {
            return true;
        }
        // ORDER: before the look, which finds only what those that are already dead have left.
        let dead = self.workers.keys().copied().filter(|&pid| sys::is_dead(pid) == Ok(true)).collect();
        let is_settled = self.look().is_settled;
        self.dead = if is_settled { dead } else { BTreeSet::new() };
        is_settled
    }

    fn bury_untold(&mut self) {
        // ORDER: before they are reaped, as even the dead may be evidence for others.
        self.look();
        for pid in self.orphans.keys().chain(&self.strangers).copied().collect::<Vec<_>>() {
            if let Ok(Some((pid, status))) = sys::reap(pid) {
                self.bury(pid, status);
            }
        }
    }

    fn take_ended(&mut self, wanted: Option<Pid>) -> Option<(Pid, WaitStatus)> {
        self.more_ended = 0;
        if wanted.is_none() {
            if !std::mem::take(&mut self.has_changed) {
                return None;
            }
            let is_gone = |worker: &Pid| !self.workers.contains_key(worker) && !self.held.contains_key(worker);
            let gone: Vec<Pid> = self.generations.values().copied().filter(is_gone).collect();
            for worker in gone {
                if !self.outlives(worker) {
                    self.forget(worker);
                }
            }
        }
        let candidates: Vec<Pid> = self.held.keys().copied().filter(|&pid| wanted.is_none_or(|it| it == pid)).collect();
        let mut all_ended = candidates.into_iter().filter(|&pid| !self.outlives(pid)).collect::<Vec<_>>().into_iter();
        let ended = all_ended.next()?;
        self.more_ended = all_ended.len();
        self.has_changed |= self.more_ended > 0;
        self.forget(ended);
        Some((ended, self.held.remove(&ended)?))
    }

    fn forget(&mut self, worker: Pid) {
        self.killed.remove(&worker);
        self.generations.retain(|_, pid| *pid != worker);
        self.seen.retain(|_, (family, _)| *family != worker);
    }

    /// Whether the family of `worker`, whose first process has exited, lives on. While a known child of ours belongs to
    /// it, there is no search for others.
    fn outlives(&mut self, worker: Pid) -> bool {
        for _ in 0..MOST_LOOKS {
            // ORDER: before the look, as one that forks and exits between the two has left a new one behind.
            if self.orphans_of(worker).any(|pid| !Process::Pid(pid).is_zombie()) {
                return true;
            }
            if self.look().grown.is_empty() {
                return false;
            }
        }
        true
    }

    fn orphans_of(&self, worker: Pid) -> impl Iterator<Item = Pid> {
        self.orphans.iter().filter(move |&(_, &family)| family == worker).map(|(&pid, _)| pid)
    }

    /// The current members of a worker's family, including the worker unless it has been reaped.
    fn members(&self, worker: Pid) -> Vec<Member> {
        if !self.sees {
            return Vec::new();
        }
        let first = self.workers.contains_key(&worker).then_some(worker);
        let roots: Vec<Pid> = self.orphans_of(worker).chain(first).collect();
        with_descendants(&roots).into_iter().filter_map(Member::of).collect()
    }

    /// Assigns new children of ours, and kills overdue ones.
    fn look(&mut self) -> Found {
        let found = self.find_orphans();
        for &worker in found.grown.intersection(&self.killed.clone()) {
            self.kill(worker);
        }
        found
    }

    /// Assigns children of ours that are new.
    fn find_orphans(&mut self) -> Found {
        let mut grown = BTreeSet::new();
        if !self.sees {
            return Found { grown, is_settled: true };
        }
        // One that was found may have exited since, and left another new one behind.
        for _ in 0..MOST_LOOKS {
            let mut is_quiet = true;
            let mut is_settled = true;
            for pid in children_of(self.own_pid).into_iter().filter(|&pid| !self.knows(pid)).collect::<Vec<_>>() {
                match self.evidence_of(pid) {
                    Evidence::Of { worker, kinship } => {
                        if kinship.group == pid || kinship.session == pid {
                            self.seen.insert(pid, (worker, kinship.started));
                        }
                        // A dead one has no descendants, and nobody waits for it.
                        if kinship.is_zombie {
                            self.strangers.insert(pid);
                        } else {
                            self.orphans.insert(pid, worker);
                            grown.insert(worker);
                        }
                    }
                    Evidence::None => {
                        self.strangers.insert(pid);
                    }
                    Evidence::NotYet => {
                        is_settled = false;
                        continue;
                    }
                }
                is_quiet = false;
            }
            if is_quiet {
                return Found { grown, is_settled };
            }
        }
        Found { grown, is_settled: false }
    }

    fn knows(&self, pid: Pid) -> bool {
        self.orphans.contains_key(&pid)
            || self.workers.contains_key(&pid)
            || self.foreign.contains(&pid)
            || self.strangers.contains(&pid)
    }

    /// Whose family a child of ours belongs to. Only children of ours are examined, so an environment, which anybody
    /// can forge, proves nothing for others.
    fn evidence_of(&self, pid: Pid) -> Evidence {
        let process = Process::Pid(pid);
        let Some(kinship) = process.kinship() else { return Evidence::None };
        let seen = self.seen.get(&pid).filter(|&&(_, started)| started == kinship.started).map(|&(worker, _)| worker);
        let by_group =
            || [kinship.group, kinship.session].into_iter().filter(|&id| id != pid).find_map(|id| self.led_by(id));
        if let Some(worker) = seen.or_else(by_group) {
            return Evidence::Of { worker, kinship };
        }
        let environment = process.environment().unwrap_or_default();
        if environment.is_empty() {
            return if kinship.is_zombie { Evidence::None } else { Evidence::NotYet };
        }
        if environment.iter().any(|entry| entry.starts_with(APPROVAL)) {
            return Evidence::None;
        }
        let mut generations = environment.iter().filter_map(|entry| entry.strip_prefix(GENERATION));
        let worker = generations.find_map(|generation| self.generations.get(generation));
        worker.map_or(Evidence::None, |&worker| Evidence::Of { worker, kinship })
    }

    /// Whose family the leader of a process group or session belongs or belonged to. While there is such a group, a
    /// dead leader's number is nobody else's, unless another process had it before.
    fn led_by(&self, leader: Pid) -> Option<Pid> {
        if self.workers.contains_key(&leader) {
            return Some(leader);
        }
        if let Some(&worker) = self.orphans.get(&leader) {
            return Some(worker);
        }
        let now = Process::Pid(leader).started();
        if let Some(&(worker, started)) = self.seen.get(&leader)
            && now.is_none_or(|now| now == started)
        {
            return Some(worker);
        }
        (now.is_none() && self.generations.values().any(|&worker| worker == leader)).then_some(leader)
    }

    fn holds_listener(&self, pid: Pid) -> bool {
        let mut sockets = Process::Pid(pid).descriptors().into_iter().flatten().filter_map(Descriptor::socket);
        sockets.any(|inode| self.inodes.contains(&inode))
    }

    fn strangers(&self) -> Vec<Vec<u8>> {
        let Some(exclusive) = self.exclusive.as_ref().filter(|exclusive| self.sees && !exclusive.is_empty()) else {
            return Vec::new();
        };
        let known: Vec<Pid> = self.orphans.keys().chain(&self.foreign).copied().collect();
        strangers::lines(exclusive, self.own_pid, &with_descendants(&known).into_iter().collect())
    }

    /// KILL to a family.
    fn kill(&mut self, worker: Pid) {
        kill_all(|| {
            self.find_orphans();
            self.members(worker)
        });
    }
}

impl Drop for Families {
    /// Kills what is left of workers that died without being asked to.
    fn drop(&mut self) {
        if self.ends {
            self.find_orphans();
            for worker in self.orphans.values().copied().collect::<BTreeSet<_>>() {
                self.kill(worker);
            }
        }
    }
}
