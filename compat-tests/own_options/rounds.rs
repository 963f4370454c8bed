//! Rounds are short lives with a signal or a death at a random moment around a `--take-over` or an `--upgrade`, after
//! which everything has to be as it would be without the command. Each test run has a few; `scripts/soak rounds N` runs
//! N of each kind, and as many without a command, as the original by itself loses signals, too.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::faults::run_all;
use crate::harness::{Outcome, Scenario, is_dead, one, send};
use crate::own_options::take_over::signals_of;
use crate::random::{Random, setting};

/// Rounds in every test run, of both commands together.
const FEW: u64 = 20;

/// In microseconds: the signal may come after the end of the command, too.
const LATEST: usize = 20_000;

/// Between two signals, in microseconds.
const LONGEST_GAP: usize = 15_000;

const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Hup,
    Death,
    Term,
    Int,
    /// Two events, one of which the original may lose by itself.
    DeathAndHup,
    HupAndTerm,
}

const KINDS: [Kind; 6] = [Kind::Hup, Kind::Death, Kind::Term, Kind::Int, Kind::DeathAndHup, Kind::HupAndTerm];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    TakeOver,
    Upgrade,
    /// The original without a command.
    Control,
}

struct Round {
    kind: Kind,
    mode: Mode,
    seed: u64,
}

impl Round {
    fn name(&self) -> String {
        format!("{:?}, {:?}, seed {}", self.mode, self.kind, self.seed)
    }
}

impl Kind {
    fn is_end(self) -> bool {
        matches!(self, Self::Term | Self::Int | Self::HupAndTerm)
    }

    /// KILL is sent to the worker, the others to the superdaemon.
    fn signals(self) -> &'static [&'static str] {
        match self {
            Self::Hup => &["HUP"],
            Self::Death => &["KILL"],
            Self::Term => &["TERM"],
            Self::Int => &["INT"],
            Self::DeathAndHup => &["KILL", "HUP"],
            Self::HupAndTerm => &["HUP", "TERM"],
        }
    }
}

/// The workers in the status file.
fn workers(s: &Scenario) -> Vec<(u64, i32)> {
    let status = fs::read_to_string(s.path("st")).unwrap_or_default();
    let pair = |line: &str| {
        let (generation, pid) = line.split_once(':')?;
        Some((generation.parse().ok()?, pid.parse().ok()?))
    };
    status.lines().filter_map(pair).collect()
}

fn until(s: &mut Scenario, what: &str, is_there: impl Fn(&mut Scenario) -> bool) -> Result<(), String> {
    let end = Instant::now() + DEADLINE;
    while !is_there(s) {
        if Instant::now() > end {
            let status = fs::read_to_string(s.path("st")).unwrap_or_default();
            let signals = signals_of(s.superdaemon());
            return Err(format!("in vain: {what}; status {status:?}, said {:?}, {signals:?}", s.said()));
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Installs by a rename. Another process writes the file, as a file that this process has open for writing can't be
/// executed.
fn install(s: &Scenario) {
    let new = s.path("../new");
    let program = env!("CARGO_BIN_EXE_start_server");
    assert!(Command::new("cp").arg(program).arg(&new).status().expect("cp(1)").success());
    fs::rename(new, s.path("../start_server")).unwrap();
}

fn live(s: &mut Scenario, round: &Round) -> Result<(), String> {
    let Round { kind, mode, seed } = *round;
    let mut random = Random::new(seed);
    if mode == Mode::Upgrade {
        install(s);
        s.prelude("exec \"$DIR/../start_server\" \"$@\"");
    }
    let options = ["--port=127.0.0.1:$PORT", "--pid-file=pid", "--status-file=st", "--interval=0"];
    s.start(&[&options[..], &["--", "perl", "$FIXTURES/three_ways.pl"]].concat());
    s.prelude("");
    s.wait_http("$PORT", "version 1");
    s.wait("the status file", |s| workers(s).len() == 1);
    s.wait_rest();
    if mode == Mode::Upgrade {
        install(s);
    }
    let (superdaemon, first) = (s.superdaemon(), workers(s)[0].1);
    let pauses: Vec<Duration> = (0..kind.signals().len())
        .map(|index| Duration::from_micros(random.below(if index == 0 { LATEST } else { LONGEST_GAP }) as u64))
        .collect();
    let sender = thread::spawn(move || {
        for (pause, signal) in pauses.into_iter().zip(kind.signals()) {
            thread::sleep(pause);
            send(if *signal == "KILL" { first } else { superdaemon }, signal);
        }
    });
    let output = match mode {
        Mode::TakeOver => Some(s.run_other(&["--take-over", "--pid-file=pid"])),
        Mode::Upgrade => Some(s.run(&["--upgrade", "--pid-file=pid"])),
        Mode::Control => None,
    };
    sender.join().expect("the sender");
    if let Some(output) = &output {
        let is_told = output.end == "exit 0" || output.end.starts_with("exit ") && !output.stderr.trim().is_empty();
        if !is_told {
            return Err(format!("{} of the command, without a reason", output.end));
        }
    }
    if kind.is_end() {
        until(s, "the end", |s| s.end_of_superdaemon().is_some())?;
    } else {
        if kind == Kind::DeathAndHup {
            // ORDER: a worker that answers before the HUP is acted on is not the last one.
            until(s, "the HUP", |s| s.said().matches("received HUP").count() == 1)?;
        }
        until(s, "one newer worker that answers", |s| match workers(s)[..] {
            [(generation, pid)] if generation > 1 && !is_dead(pid) => {
                s.body("$PORT").is_some_and(|body| body == format!("version {generation}\n"))
            }
            _ => false,
        })?;
        until(s, "the end of the first worker", |_| is_dead(first))?;
        if kind != Kind::DeathAndHup && workers(s)[0].0 != 2 {
            return Err(format!("{} generations for one event", workers(s)[0].0));
        }
        s.wait_rest();
        send(superdaemon, "TERM");
        until(s, "the end after TERM", |s| s.end_of_superdaemon().is_some())?;
    }
    match s.end_of_superdaemon() {
        Some(end) if end == "exit 0" => {}
        end => return Err(format!("it has ended with {end:?}, said {:?}", s.said())),
    }
    match s.ls() {
        left if left.is_empty() => Ok(()),
        left => Err(format!("left: {left}")),
    }
}

fn run(rounds: &[Round]) -> Vec<String> {
    run_all(rounds, Round::name, |round| {
        let outcome: Outcome<Result<(), String>> = one(round.mode != Mode::Upgrade, |s| live(s, round));
        outcome
    })
}

/// The seed differs in each run, so that `scripts/soak` tries as many moments as possible.
fn random() -> Random {
    let seed = setting("ROUNDS_SEED", u64::from(std::process::id()));
    println!("ROUNDS_SEED={seed}");
    Random::new(seed)
}

/// Only of the kinds that the original by itself doesn't lose.
#[test]
fn a_few_rounds() {
    let mut random = random();
    let rounds: Vec<Round> = (0..FEW)
        .map(|number| Round {
            kind: KINDS[random.below(4)],
            mode: if number % 2 == 0 { Mode::TakeOver } else { Mode::Upgrade },
            seed: random.next(),
        })
        .collect();
    let broken = run(&rounds);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// As many as the variable says, none without it. Rounds that also go wrong without a command are the original's own
/// fault; if more of them do with one, that is ours.
#[test]
fn many_rounds() {
    let count = usize::try_from(setting("ROUNDS", 0)).expect("a number of rounds");
    let mut random = random();
    let mut too_many = Vec::new();
    for kind in KINDS.into_iter().filter(|_| count > 0) {
        let mut lost = [Mode::Control, Mode::TakeOver, Mode::Upgrade].map(|mode| {
            let rounds: Vec<Round> = (0..count).map(|_| Round { kind, mode, seed: random.next() }).collect();
            let broken = run(&rounds);
            println!("{kind:?}, {mode:?}: {count} rounds, {} wrong", broken.len());
            broken
        });
        let of_original = lost[0].len();
        // Chance may add twice the square root. If none is lost without a command, a single loss is too many.
        let tolerated = if of_original == 0 { 0 } else { of_original + 2 * of_original.isqrt() + 1 };
        if lost[1].len() > tolerated {
            too_many.append(&mut lost[1]);
        }
        // Upgrades may lose none, as the original has no part in them.
        too_many.append(&mut lost[2]);
    }
    assert!(too_many.is_empty(), "{}", too_many.join("\n"));
}
