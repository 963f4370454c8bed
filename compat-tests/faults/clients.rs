//! Lives of the clients of a superdaemon (`--restart`, `--stop` and `--show-status`): in each, one system call of the
//! client fails, or the client is killed at it. (`succession` has `--upgrade`.)

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use super::{
    ERRORS, Lives, MOST_OCCURRENCES, NEVER, Signal, Step, after_the_end, answering, is_at_rest, is_injected, send,
    status_is_true, until,
};
use crate::harness::{Outcome, Output, Scenario, one};

const CLIENTS: [(&str, &[&str]); 3] = [
    ("restart", &["--restart", "--pid-file=pid", "--status-file=st", "--restart-timeout=30"]),
    ("stop", &["--stop", "--pid-file=pid"]),
    ("show-status", &["--show-status", "--pid-file=pid", "--status-file=st"]),
];

/// What happens once to a client.
#[derive(Clone)]
struct Fault {
    client: usize,
    call: String,
    occurrence: usize,
    is_kill: bool,
}

impl Fault {
    fn injection(&self) -> String {
        let Self { call, occurrence, .. } = self;
        let known = ERRORS.iter().find(|(known, _)| known == call);
        let error = format!("error={}", known.map_or("EIO", |(_, error)| error));
        let what = if self.is_kill { "signal=KILL" } else { &error };
        format!("-e trace={call} -e inject={call}:{what}:when={occurrence}")
    }

    fn name(&self) -> String {
        format!("{} {} ", CLIENTS[self.client].0, self.injection())
    }
}

/// Waits until a newer worker answers, and everything has come to rest.
fn newer(s: &mut Scenario, newest: &mut u64) -> Result<(), String> {
    let is_newer =
        |s: &mut Scenario| answering(s).is_some_and(|(generation, _)| generation > *newest) && status_is_true(s);
    for step in [until(s, "a newer worker", is_newer)?, until(s, "rest", is_at_rest)?] {
        if let Step::Ended(end) = step {
            return Err(format!("{end} of the superdaemon"));
        }
    }
    *newest = answering(s).ok_or("no answer")?.0;
    Ok(())
}

fn start(s: &mut Scenario, newest: &mut u64) -> Result<(), String> {
    s.env("TMPDIR", "$DIR");
    let options = ["--port=127.0.0.1:$PORT", "--interval=0", "--pid-file=pid", "--status-file=st", "--kill-timeout=60"];
    s.start(&[&options[..], &["--", "$PROBE", "accept", "now"]].concat());
    newer(s, newest)
}

fn run(s: &mut Scenario, client: usize, output: &Path, injection: &str) -> Output {
    s.strace(&format!("-o {} {injection}", output.display()));
    let output = s.run(CLIENTS[client].1);
    s.prelude("");
    output
}

/// Start, the client with its fault, HUP, TERM. If the client ends with 0, its work is done; otherwise it gives a
/// reason. The superdaemon obeys signals, whatever happened to the client.
fn live(s: &mut Scenario, fault: &Fault, trace: &Path) -> Result<(), String> {
    let mut newest = 0;
    start(s, &mut newest)?;
    let Output { end, stdout, stderr } = run(s, fault.client, trace, &fault.injection());
    let failed = |what: &str| Err(format!("{what}: {end}, {stdout}{stderr}"));
    match end.as_str() {
        "signal 9" if fault.is_kill => {}
        "exit 0" => {}
        _ if !end.starts_with("exit ") => return failed("a signal"),
        _ if stderr.trim().is_empty() && !stdout.starts_with("unknown: ") => return failed("without a word"),
        _ => {}
    }
    let is_done = end == "exit 0";
    match CLIENTS[fault.client].0 {
        "restart" if is_done && answering(s).is_none_or(|(generation, _)| generation <= newest) => {
            return failed("no newer worker");
        }
        "show-status" if stdout.contains("dead") || stdout.contains("not running") => return failed("it runs"),
        "stop" if is_done => return end_of(s),
        _ => {}
    }
    // The client may have asked for a restart or a stop before its fault.
    send(s.superdaemon(), Signal::SIGHUP);
    let begun = newer(s, &mut newest);
    if begun.is_err() && CLIENTS[fault.client].0 == "stop" {
        return end_of(s);
    }
    begun?;
    send(s.superdaemon(), Signal::SIGTERM);
    end_of(s)
}

fn end_of(s: &mut Scenario) -> Result<(), String> {
    match until(s, "the end", |_| false)? {
        Step::Ended(end) if end == "exit 0" => after_the_end(s),
        Step::Ended(end) => Err(format!("{end} of the superdaemon")),
        Step::Done => Err("no end".into()),
    }
}

/// All faults that are possible with a client, found in a life without any. Calls up to the first munmap(2) are the
/// loader's.
fn faults(client: usize) -> Vec<Fault> {
    let trace = tempfile::NamedTempFile::new().expect("a temporary file");
    let Outcome { result, transcript, .. } = one(false, |s| {
        start(s, &mut 0)?;
        let Output { end, stderr, .. } = run(s, client, trace.path(), "");
        send(s.superdaemon(), Signal::SIGTERM);
        end_of(s)?;
        if end == "exit 0" { Ok(()) } else { Err(format!("{end}: {stderr}")) }
    });
    assert_eq!(result, Ok(Ok(())), "{}", transcript.text());
    let trace = fs::read_to_string(trace.path()).expect("a trace");
    let mut all: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut is_loading = true;
    for call in trace.lines().filter_map(|line| line.split_once('(')).map(|(call, _)| call) {
        let count = counts.entry(call).or_default();
        *count += 1;
        if is_loading {
            is_loading = call != "munmap";
        } else if call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            // No kernel lets clock_nanosleep(2) fail, so the standard library panics if it does.
            && !(NEVER.contains(&call) || call == "clock_nanosleep")
        {
            all.entry(call).or_default().push(*count);
        }
    }
    let mut faults = Vec::new();
    for (call, found) in all {
        for is_kill in [false, true] {
            let occurrences = found.iter().step_by(found.len().div_ceil(MOST_OCCURRENCES).max(1));
            faults.extend(occurrences.map(|&occurrence| Fault { client, call: call.to_owned(), occurrence, is_kill }));
        }
    }
    faults
}

/// By default, this many lives of each client run, spread evenly over all.
const SAMPLE: usize = 4;

/// `scripts/faults` sets the variables.
#[test]
fn no_fault_of_a_client_harms_anybody() {
    let of = std::env::var("FAULTS_OF").ok();
    if of.as_deref() == Some("original") {
        return;
    }
    let (only, only_call) = (std::env::var("FAULTS_SET").ok(), std::env::var("FAULTS_CALL").ok());
    let mut lives = Lives::default();
    for client in (0..CLIENTS.len()).filter(|&client| only.as_deref().is_none_or(|only| only == CLIENTS[client].0)) {
        let mut all = faults(client);
        all.retain(|fault| only_call.as_deref().is_none_or(|call| call == fault.call));
        if of.is_none() {
            let step = (all.len() / SAMPLE).max(1);
            all = all.into_iter().skip(step / 2).step_by(step).take(SAMPLE).collect();
        }
        let begin = Instant::now();
        let of_client = Lives::run(&all, Fault::name, |fault, trace| {
            let outcome = one(false, |s| live(s, fault, trace));
            (outcome, fault.is_kill || is_injected(trace))
        });
        of_client.report(CLIENTS[client].0, begin);
        lives.add(of_client);
    }
    lives.check(false);
}
