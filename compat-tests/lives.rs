//! Random lives in virtual time: the trace of ours equals that of the original, which is patched only by the
//! differences on purpose. `schedules.md` describes schedules and traces.
//!
//! Each day has other lives. `SIM_CASES` and `SIM_SEED` choose others, and `SIM_SCHEDULE=FILE` the one in a file. A
//! failure prints the seed, and the shortest schedule found that still shows the difference.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use server_starter::simulation::live;

use crate::random::{Random, seed, setting};

/// The rows of the table of differences that concern the life cycle. Each is a patch of the original.
const PATCHES: [&str; 7] = [
    "never-drop-term",
    "term-first",
    "whole-interval",
    "envdir-retry",
    "alive-after-delay",
    "status-errors",
    "fork-failure",
];
const CASES: u64 = 10_000;
/// Within this many lives, each patch has to show.
const MOST_CASES: u64 = 20 * CASES;
const BATCH: usize = 500;

#[test]
fn random_lives_are_equal() {
    let (seed, cases) = (seed("SIM_SEED"), setting("SIM_CASES", CASES));
    // Two threads, each a batch at a time, so that a failure is seen early.
    thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                let mut random = Random::new(seed * 2 + half);
                let mut left = usize::try_from(cases / 2).expect("a number of cases");
                while left > 0 {
                    let count = left.min(BATCH);
                    left -= count;
                    let schedules: Vec<String> = (0..count).map(|_| random_schedule(&mut random)).collect();
                    if let Some(different) = first_difference(&schedules, &PATCHES) {
                        panic!("SIM_SEED={seed}\n{}", show(&shrink(&different, &PATCHES), &PATCHES));
                    }
                    for schedule in &schedules {
                        check_invariants(schedule);
                    }
                }
            });
        }
    });
}

/// Our own options can't be compared with the original, so the traces are checked against rules.
#[test]
fn random_lives_with_our_own_options_keep_the_rules() {
    let (seed, cases) = (seed("SIM_SEED"), setting("SIM_CASES", CASES));
    let mut random = Random::new(seed);
    (0..cases).for_each(|_| check_invariants(&random_schedule_of_our_own(&mut random)));
}

/// Neither an upgrade at any moment nor its rehearsal, whatever happens meanwhile, changes anything that can be
/// observed.
#[test]
fn upgrades_leave_no_trace() {
    let (seed, cases) = (seed("SIM_SEED"), setting("SIM_CASES", CASES));
    let mut random = Random::new(seed);
    for case in 0..cases {
        let random_schedule = if case % 2 == 0 { random_schedule } else { random_schedule_of_our_own };
        let schedule = random_schedule(&mut random);
        let moments: Vec<String> =
            schedule.lines().filter_map(|line| Some(line.strip_prefix("at ")?.split_once(' ')?.0.to_owned())).collect();
        let mut upgraded = schedule.clone();
        for _ in 0..=random.below(3) {
            // Some at a moment when something else happens, too.
            let at = match moments.len() {
                0 => text_of(1 + random.below(30_000)),
                count if random.once_in(3) => moments[random.below(count)].clone(),
                _ => text_of(1 + random.below(30_000)),
            };
            let time = text_of([0, 1, 300, 1000, 5000][random.below(5)]);
            upgraded.extend(["\nat ", &at, " upgrade ", &time]);
        }
        let (expected, found) = (live(&schedule), live(&upgraded));
        assert_eq!(found, expected, "{upgraded}");
    }
}

/// With `--stop-delay`, the first TERM acts as if it came later, and only wakes the superdaemon, as an ALRM would, when
/// it does come. Nothing else changes.
#[test]
fn a_delayed_stop_is_a_later_one() {
    let (seed, cases) = (seed("SIM_SEED"), setting("SIM_CASES", CASES));
    let mut random = Random::new(seed);
    let mut delayed = 0;
    for case in 0..cases {
        let random_schedule = if case % 2 == 0 { random_schedule } else { random_schedule_of_our_own };
        let schedule = random_schedule(&mut random);
        // Both lives get an option of ours, as with any of them a dead worker leaves the status file at once.
        let has_one = schedule.contains("kill-timeout ");
        let schedule = if has_one { schedule } else { format!("kill-timeout 1000000\n{schedule}") };
        let stops: Vec<&str> = schedule
            .lines()
            .filter(|line| [" TERM", " INT", " QUIT"].into_iter().any(|stop| line.ends_with(stop)))
            .collect();
        let [stop] = stops[..] else { continue };
        let (moment, signal) = stop.strip_prefix("at ").and_then(|rest| rest.split_once(' ')).expect("a signal");
        let seconds = 1 + random.below(4);
        let end = text_of(usize::try_from(milliseconds(moment)).expect("a time") + 1000 * seconds);
        let found = live(&format!("stop-delay {seconds}\n{schedule}"));
        let is_announcement = |line: &&str| line.contains(" the workers keep serving ") || line.ends_with(" Leaving");
        let expected = if found.lines().any(|line| is_announcement(&line)) {
            delayed += 1;
            live(&schedule.replace(stop, &format!("at {moment} ALRM\nat {end} {signal}")))
        } else {
            live(&schedule)
        };
        let found: Vec<&str> = found.lines().filter(|line| !is_announcement(line)).collect();
        assert_eq!(found, expected.lines().collect::<Vec<_>>(), "stop-delay {seconds}\n{schedule}");
    }
    assert!(delayed > cases / 10, "{delayed}");
}

/// Without any one of the patches, lives differ: each row of the table is true, and the random lives notice it.
#[test]
fn every_patch_is_needed() {
    let seed = seed("SIM_SEED");
    thread::scope(|scope| {
        for left_out in PATCHES {
            scope.spawn(move || {
                let patches: Vec<&str> = PATCHES.into_iter().filter(|&patch| patch != left_out).collect();
                let mut random = Random::new(seed);
                // Some patches show rarely.
                let batches = (0..usize::try_from(MOST_CASES).expect("a number of cases") / BATCH)
                    .map(|_| (0..BATCH).map(|_| random_schedule(&mut random)).collect::<Vec<_>>());
                let found = batches.into_iter().find_map(|schedules| first_difference(&schedules, &patches));
                assert!(found.is_some(), "{MOST_CASES} lives don't show {left_out}");
            });
        }
    });
}

/// The lives in `schedules/`, or the one that `SIM_SCHEDULE` names.
#[test]
fn written_lives_are_equal() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat-tests/schedules");
    let files = match std::env::var_os("SIM_SCHEDULE") {
        Some(file) => vec![file.into()],
        None => fs::read_dir(directory).expect("schedules").flatten().map(|entry| entry.path()).collect(),
    };
    for file in files {
        let schedule = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let shown = show(&schedule, &PATCHES);
        println!("{shown}");
        assert!(first_difference(&[schedule], &PATCHES).is_none(), "{}\n{shown}", file.display());
    }
}

// --- comparing

/// The traces of the original with these patches, one for each schedule.
fn of_original(schedules: &[String], patches: &[&str]) -> Vec<String> {
    let program = format!("{}/perl-fixtures/simulated_kernel.pl", env!("CARGO_MANIFEST_DIR"));
    let mut perl = Command::new("perl");
    let mut perl = perl.arg(program).args(patches).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("perl");
    // Empty lines are removed, as they would end the schedule.
    let paragraph = |schedule: &String| {
        schedule.lines().filter(|line| !line.trim().is_empty()).fold(String::new(), |text, line| text + line + "\n")
    };
    let text: String = schedules.iter().map(|schedule| paragraph(schedule) + "\n").collect();
    let mut input = perl.stdin.take().expect("it is a pipe");
    let writer = thread::spawn(move || input.write_all(text.as_bytes()));
    let output = perl.wait_with_output().expect("the traces");
    writer.join().expect("no panic").expect("perl reads all schedules");
    let traces = String::from_utf8(output.stdout).expect("a trace is ASCII");
    let traces: Vec<String> =
        traces.split_terminator("\n\n").map(|trace| format!("{}\n", trace.trim_start())).collect();
    assert_eq!(traces.len(), schedules.len(), "perl has not lived all lives");
    traces
}

fn first_difference(schedules: &[String], patches: &[&str]) -> Option<String> {
    let theirs = of_original(schedules, patches);
    schedules
        .iter()
        .zip(theirs)
        .find(|(schedule, theirs)| live(schedule) != *theirs)
        .map(|(schedule, _)| schedule.clone())
}

/// Removes line after line as long as the traces still differ.
fn shrink(schedule: &str, patches: &[&str]) -> String {
    let mut lines: Vec<String> = schedule.lines().map(str::to_owned).collect();
    loop {
        let without = |index: usize| {
            let kept = lines.iter().enumerate().filter(|&(other, _)| other != index);
            kept.map(|(_, line)| format!("{line}\n")).collect::<Vec<_>>().concat()
        };
        let shorter: Vec<String> = (0..lines.len()).map(without).collect();
        match first_difference(&shorter, patches) {
            Some(different) => lines = different.lines().map(str::to_owned).collect(),
            None => return lines.join("\n") + "\n",
        }
    }
}

/// The schedule, and both traces side by side.
fn show(schedule: &str, patches: &[&str]) -> String {
    let original = of_original(&[schedule.to_owned()], patches).concat();
    let ours = live(schedule);
    let width = original.lines().map(str::len).max().unwrap_or(0).max("original".len());
    let mut shown = vec![format!("{schedule}\n  {:width$}  ours\n", "original")];
    let (mut left, mut right) = (original.lines(), ours.lines());
    loop {
        let (theirs, ours) = match (left.next(), right.next()) {
            (None, None) => return shown.concat(),
            (theirs, ours) => (theirs.unwrap_or(""), ours.unwrap_or("")),
        };
        shown.push(format!("{} {theirs:width$}  {ours}\n", if theirs == ours { ' ' } else { '|' }));
    }
}

// --- schedules

/// Biased towards trouble: moments that coincide or nearly do, storms, workers that die at a boundary.
fn random_schedule(random: &mut Random) -> String {
    let interval = [0, 1, 1, 1, 2, 3][random.below(6)];
    let mut lines = vec![format!("interval {interval}")];
    let is_automatic = random.once_in(4);
    let has_envdir = random.once_in(5);
    if random.once_in(2) {
        lines.push(format!("kill-old-delay {}", random.below(5)));
    }
    if is_automatic {
        lines.push("enable-auto-restart".into());
        lines.push(format!("auto-restart-interval {}", 1 + random.below(5)));
    }
    if !random.once_in(5) {
        lines.push("status-file".into());
    }
    if random.once_in(5) {
        lines.push(format!("signal-on-hup {}", random.choose(&["USR1", "QUIT"])));
        lines.push(format!("signal-on-term {}", random.choose(&["USR1", "QUIT"])));
    }
    lines.push(format!("last-pid {}", random.choose(&["0", "7", "8", "96", "100", "997", "9998"])));
    if has_envdir {
        lines.push(format!("envdir{}", random_variables(random)));
    }
    for generation in 1..=9 {
        lines.extend(random_worker(random, generation, interval));
    }
    let moments = random_moments(random, interval);
    for &moment in &moments {
        let time = text_of(moment);
        match random.below(14) {
            0 => lines.push(format!("at {time} TERM")),
            1 => lines.push(format!("at {time} INT")),
            2 => lines.push(format!("at {time} ALRM")),
            3 => {
                lines.push(format!("at {time} child {} {}", 500_000 + lines.len(), random.choose(&["0", "9", "1792"])));
            }
            4 if has_envdir => lines.push(format!("at {time} envdir{}", random_variables(random))),
            5 if random.once_in(4) => lines.push(format!("at {time} disk {}", random.choose(&["full", "free"]))),
            6 => lines.extend(
                (0..2 + random.below(5)).map(|n| format!("at {} HUP", text_of(moment + n * [1, 50, 1000][n % 3]))),
            ),
            _ => lines.push(format!("at {time} HUP")),
        }
    }
    if random.once_in(100) {
        // Generations with two and three digits.
        lines.extend((0..10 + random.below(100)).map(|n| format!("at {} HUP", text_of(20_000 + 10 * n))));
    }
    // The last one leaves enough time for everything that is queued.
    lines.push(format!(
        "at {} {}",
        if is_automatic || has_envdir { "60" } else { "9999" },
        random.choose(&["TERM", "TERM", "INT"])
    ));
    lines.iter().map(|line| format!("{line}\n")).collect::<Vec<_>>().concat()
}

fn random_schedule_of_our_own(random: &mut Random) -> String {
    let mut lines = vec![random_schedule(random)];
    if !random.once_in(3) {
        lines.push(format!("ready {}\n", random.choose(&["notify", "accepting"])));
        lines.push(format!("ready-timeout {}\n", 1 + random.below(4)));
        lines.extend((1..=9).filter(|_| random.once_in(2)).collect::<Vec<_>>().into_iter().map(|generation: usize| {
            let time = text_of([1, 500, 999, 1000, 1001, 2000, 3000, 4000][random.below(8)]);
            format!("worker {generation} ready {}\n", if random.once_in(6) { "never" } else { &time })
        }));
    }
    if random.once_in(2) {
        lines.push("approve\n".into());
        // At the same instants as readiness, signals and KILLs.
        let asked: Vec<usize> = (1..=9).filter(|_| random.once_in(2)).collect();
        lines.extend(asked.into_iter().map(|generation| {
            let time = text_of([0, 1, 500, 1000, 1001, 2000, 3000, 60_000][random.below(8)]);
            match random.below(4) {
                0 => format!("worker {generation} unanswered\n"),
                1 => format!("worker {generation} approved {time}\n"),
                _ => format!("worker {generation} unapproved {time}\n"),
            }
        }));
    }
    if random.once_in(2) {
        lines.push(format!("max-start-failures {}\n", 1 + random.below(3)));
        if random.once_in(3) {
            lines.push("end-without-worker\n".into());
        }
    }
    if random.once_in(2) {
        lines.push(format!("kill-timeout {}\n", 1 + random.below(4)));
    }
    let schedule = lines.concat();
    if random.once_in(4) { schedule.replace(" TERM\n", " QUIT\n") } else { schedule }
}

fn random_variables(random: &mut Random) -> String {
    let choices = [
        "KILL_OLD_DELAY=0",
        "KILL_OLD_DELAY=1",
        "KILL_OLD_DELAY=2.5",
        "KILL_OLD_DELAY=0.5",
        "KILL_OLD_DELAY=-1",
        "ENABLE_AUTO_RESTART=1",
        "ENABLE_AUTO_RESTART=0",
        "AUTO_RESTART_INTERVAL=2",
        "AUTO_RESTART_INTERVAL=0",
        "FOO=1",
        "FOO=2",
    ];
    let chosen: BTreeMap<&str, &str> =
        (0..random.below(4)).filter_map(|_| random.choose(&choices).split_once('=')).collect();
    chosen.iter().map(|(name, value)| format!(" {name}={value}")).collect::<Vec<_>>().concat()
}

fn random_worker(random: &mut Random, generation: usize, interval: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if random.once_in(3) {
        let boundary = interval * 1000 + 1000 * random.below(3);
        let after = [0, 1, boundary.saturating_sub(1), boundary, boundary + 1, random.below(4000)][random.below(6)];
        let status = random.choose(&["0", "256", "9", "139", "65280"]);
        lines.push(format!("worker {generation} dies {} {status}", text_of(after)));
    }
    if random.once_in(12) {
        lines.push(format!("worker {generation} deaf"));
        lines.push(format!("worker {generation} dies {} 9", random.below(90)));
    } else if random.once_in(3) {
        lines.push(format!("worker {generation} slow {}", text_of([1, 500, 1000, 3000][random.below(4)])));
    }
    if random.once_in(25) {
        lines.push(format!("no-fork {generation}"));
    }
    lines
}

fn random_moments(random: &mut Random, interval: usize) -> Vec<usize> {
    let mut moments: Vec<usize> = Vec::new();
    for _ in 0..random.below(9) {
        let anchor = match moments.last() {
            Some(&last) if random.once_in(2) => last + interval * 1000 * random.below(3),
            _ => 500 * random.below(30),
        };
        let moment = (anchor + random.below(3)).saturating_sub(1);
        moments.push(moment.max(1));
    }
    moments
}

/// `2.5` are 2500 milliseconds.
fn milliseconds(text: &str) -> u64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<3}").parse().expect("a time")
}

/// 2500 milliseconds are `2.5`.
fn text_of(milliseconds: usize) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

// --- rules that ours must keep, whatever the original does

/// The state that follows from the lines of a trace so far.
#[derive(Default)]
struct Model<'a> {
    generations: HashMap<&'a str, &'a str>,
    newest: &'a str,
    /// When the newest worker ends by itself.
    newest_dies: Option<u64>,
    /// The accepted worker. There is none while the newest one is being started.
    current: Option<&'a str>,
    /// The current worker before the restart that is under way.
    previous: Option<&'a str>,
    /// Not ready in time, or not approved.
    unready: BTreeSet<&'a str>,
    /// Those that the command of `--approve` was asked about.
    asked: BTreeSet<&'a str>,
    /// Those that have got their stop signal.
    stopped: BTreeSet<&'a str>,
    old: BTreeSet<&'a str>,
    ended: BTreeSet<&'a str>,
    /// The kills in a row, as (signal, pid); a shutdown may follow with another signal.
    killed: Vec<(&'a str, &'a str)>,
    /// When a HUP was acted on.
    hups: Vec<u64>,
    /// Whether the last attempt was given up.
    is_given_up: bool,
    /// When the last attempt after a given-up one began. It answers all HUPs before it.
    retried: Option<u64>,
    is_shutting_down: bool,
}

/// The moments when a shutdown is asked for.
fn stops_of(schedule: &str) -> Vec<u64> {
    let stop =
        |line: &str| [" TERM", " INT", " QUIT"].into_iter().find_map(|stop| Some(line.strip_suffix(stop)?.to_owned()));
    schedule.lines().filter_map(stop).filter_map(|line| line.strip_prefix("at ").map(milliseconds)).collect()
}

#[expect(clippy::too_many_lines, reason = "a table of what each line of a trace means")]
fn check_invariants(schedule: &str) {
    let trace = live(schedule);
    let fail = |line: &str, what: &str| panic!("{what}: {line}\n{schedule}\n{trace}");
    let stops = stops_of(schedule);
    let first_stop = stops.iter().min().copied();
    let mut model = Model::default();
    let lines = [""].into_iter().chain(trace.lines()).zip(trace.lines());
    for (last, line) in lines {
        let (time, said) = line.split_once(' ').expect("a time");
        let now = milliseconds(time);
        let words: Vec<&str> = said.split(' ').collect();
        if !said.starts_with("kill ") {
            model.killed.clear();
        }
        if said.starts_with("fork") && std::mem::take(&mut model.is_given_up) {
            model.retried = Some(now);
        }
        match words[..] {
            ["fork", pid, ..] => {
                let generation = words.iter().find_map(|word| word.strip_prefix("SERVER_STARTER_GENERATION="));
                model.generations.insert(pid, generation.expect("a worker has a generation"));
                model.newest = pid;
                let dies = format!("worker {} dies ", model.generations[pid]);
                let after = schedule.lines().filter_map(|line| line.strip_prefix(&dies)?.split(' ').next()).next_back();
                model.newest_dies = after.map(|after| now + milliseconds(after));
            }
            ["received", "HUP,", ..] | ["autorestart", ..] => {
                model.hups.extend((words[0] == "received").then_some(now));
                model.previous = model.current.take().or(Some(model.newest)).filter(|pid| !model.ended.contains(pid));
                model.old.extend(model.previous);
            }
            ["approve", new, ..] => model.asked.extend(new.split_once(':').map(|(_, pid)| pid)),
            // The unready worker is the only one left, and becomes the current one.
            ["new", "worker", pid, "is", "not", ..] if said.contains(", but keeps running, ") => {
                model.current = Some(pid);
            }
            ["new", "worker", pid, "is", "not", ..] => {
                model.unready.insert(pid);
                model.is_given_up = true;
                model.old.insert(pid);
            }
            // This answers a HUP that came while no worker served.
            ["giving", "up", "the", "restart,", "no", ..] => model.hups.push(now),
            ["giving", "up", "the", ..] => {
                model.current = model.previous.filter(|pid| model.old.remove(pid));
                if model.current.is_none() {
                    fail(line, "nobody keeps running");
                }
            }
            ["kill", "KILL", pid] if model.stopped.contains(pid) && !model.ended.contains(pid) => {}
            ["old", "worker", _, "has", "not", ..] => {}
            ["received", _, "sending", ..] => {
                model.is_shutting_down = true;
                model.old.extend(model.current.take().or(Some(model.newest)).filter(|pid| !model.ended.contains(pid)));
            }
            ["new", "worker", pid, "seems", ..] | ["worker" | "old", pid, ..] if pid != "is" && pid != "worker" => {
                if !model.ended.insert(pid) {
                    fail(line, "reaped twice");
                }
                model.current = model.current.filter(|&current| current != pid);
                model.old.remove(pid);
            }
            ["old", "worker", pid, ..] => {
                model.ended.insert(pid);
                model.old.remove(pid);
            }
            ["kill", signal, pid] => {
                if model.killed.contains(&(signal, pid)) {
                    fail(line, "killed twice in one restart");
                }
                // A queued stop counts as acted on. If no worker has started, the remaining ones have to end, as that
                // message says.
                let is_end = format!("\n{time} no worker has started, waiting until these have exited:");
                let is_stopping = first_stop.is_some_and(|stop| stop <= now) || trace.contains(&is_end);
                let is_refused = model.unready.contains(model.newest) && signal != "KILL";
                let is_dead = is_refused
                    || model.newest_dies.is_some_and(|death| death < now)
                    || model.ended.contains(model.newest);
                if !is_stopping && !model.unready.contains(pid) && (pid == model.newest || is_dead) {
                    fail(line, "killed without a successor");
                }
                model.killed.push((signal, pid));
                model.stopped.insert(pid);
            }
            ["status", ..] | ["failed", "to", "rename", ..] => {
                // A death that is noticed during a start, because a KILL is due, doesn't mean that the new worker has
                // started.
                let is_accepted = !model.is_shutting_down && !last.contains(" died, ");
                let is_gone = model.ended.contains(model.newest) || model.unready.contains(model.newest);
                if is_accepted && model.current.is_none() && !is_gone {
                    let is_asked = model.asked.contains(model.newest) || !schedule.contains("\napprove\n");
                    if !is_asked && first_stop.is_none_or(|stop| stop > now) {
                        fail(line, "accepted without approval");
                    }
                    model.current = Some(model.newest);
                }
                let alive = model.old.iter().chain(&model.current).map(|pid| (model.generations[pid], *pid));
                let expected: BTreeSet<(&str, &str)> = alive.collect();
                let mut expected = expected.iter().map(|(generation, pid)| format!("{generation}:{pid}"));
                if words[0] == "status" && !words[1..].iter().copied().eq(expected.by_ref()) {
                    fail(line, "not what the status file should hold");
                }
            }
            _ => {}
        }
    }
    check_end(schedule, &trace, &model);
    let hups = schedule.lines().filter_map(|line| line.strip_prefix("at ")?.strip_suffix(" HUP"));
    let hups: BTreeSet<u64> = hups.map(milliseconds).collect();
    let is_patient = schedule.contains("\nat 9999 ");
    if stops.len() == 1 && is_patient && trace.contains(" exiting\n") {
        // Each HUP is answered by a restart or another attempt at that moment or later. There are no other restarts.
        if model.hups.last().max(model.retried.as_ref()) < hups.last() || model.hups.len() > hups.len() {
            fail(&format!("acted on at {:?}", model.hups), "a HUP is lost, or one too many");
        }
    }
}

fn check_end(schedule: &str, trace: &str, model: &Model) {
    match trace.lines().next_back().and_then(|line| line.split_once(' ')).map_or("", |(_, end)| end) {
        "exit 0" => {
            let left = model.generations.keys().find(|pid| !model.ended.contains(*pid));
            assert!(left.is_none(), "not reaped: {left:?}\n{schedule}\n{trace}");
        }
        "giving up, no worker has started, exit 125" if schedule.contains("max-start-failures") => {}
        "waits for ever" if schedule.contains(" deaf\n") && !schedule.contains("kill-timeout") => {}
        // Only an interval of 0 can spin without a pause.
        "forks for ever" if schedule.starts_with("interval 0\n") => {}
        _ => panic!("does not end:\n{schedule}\n{trace}"),
    }
}
