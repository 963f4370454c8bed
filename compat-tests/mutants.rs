//! Tests of the tests: scenarios find the original equal to itself, and notice each of its mutants, which differ from
//! it in one thing. perl-fixtures/mutants.txt lists the mutants, with the rules of docs/original.md that they break.
//!
//! The date chooses a few mutants. `MUTANTS_SEED` chooses others; `MUTANTS` is `all`, a part of their names, or a rule.

use std::collections::BTreeSet;
use std::env;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use start_server_compat::altered::{Altered, Mutant, mutants, unbreakable};
use start_server_compat::catalogue;
use start_server_compat::harness::{self as on, Verdict};

use crate::harness::Programs;
use crate::random::seeded;

/// As many as take a few seconds.
const SAMPLE: usize = 12;

/// Scenarios wait much more than they compute.
const AT_A_TIME: usize = 6;

/// How much longer than for the original to wait for something that a mutant may never do.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn each_mutant_is_noticed() {
    let chosen = chosen();
    assert!(!chosen.is_empty(), "no such mutant");
    let original = Programs::find().original;
    let missed = of_all(&chosen, |mutant| is_missed_again(mutant, &original));
    assert!(missed.is_empty(), "{}", missed.concat());
}

#[test]
fn the_original_equals_itself() {
    let original = Programs::find().original;
    let scenarios: BTreeSet<String> = chosen().iter().flat_map(scenarios_of).collect();
    let scenarios: Vec<String> = scenarios.into_iter().filter(|name| !name.starts_with("divergences::")).collect();
    let unequal = of_all(&scenarios, |scenario| {
        let (verdict, difference) = judged(&original, scenario, None);
        (verdict != Verdict::Equal).then(|| format!("{scenario}: {difference}\n"))
    });
    assert!(unequal.is_empty(), "{}", unequal.concat());
}

/// A scenario shows a rule if it fails on a program that breaks the rule.
#[test]
fn every_rule_has_a_mutant() {
    let broken: BTreeSet<String> = mutants().into_iter().flat_map(|mutant| mutant.rules).collect();
    let unbreakable: BTreeSet<String> = unbreakable().into_iter().map(|(rule, _)| rule.to_owned()).collect();
    let rules = catalogue::rules().into_iter();
    let shown: BTreeSet<String> =
        rules.filter(|(_, text)| !text.contains("(No scenario")).map(|(id, _)| id.to_owned()).collect();
    let known: BTreeSet<String> = broken.union(&unbreakable).cloned().collect();
    assert_eq!(shown.difference(&known).collect::<Vec<_>>(), [""; 0], "no mutant breaks these, and no reason is given");
    assert_eq!(known.difference(&shown).collect::<Vec<_>>(), [""; 0], "not rules that scenarios show");
    assert_eq!(broken.intersection(&unbreakable).collect::<Vec<_>>(), [""; 0], "these can be broken, says a mutant");
}

fn chosen() -> Vec<Mutant> {
    let mut all = mutants();
    match env::var("MUTANTS") {
        Ok(wanted) if wanted == "all" => all,
        Ok(wanted) => {
            all.retain(|mutant| mutant.name.contains(&wanted) || mutant.rules.contains(&wanted));
            all
        }
        Err(_) => {
            let mut random = seeded("MUTANTS_SEED");
            let sample = (0..SAMPLE).map(|_| all.swap_remove(random.below(all.len())));
            sample.collect()
        }
    }
}

/// Runs several at a time, and returns what `run` finds.
fn of_all<T: Sync>(all: &[T], run: impl Fn(&T) -> Option<String> + Sync) -> Vec<String> {
    let (queue, found) = (Mutex::new(all.iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let Some(next) = queue.lock().expect("nobody panics with it").next() else { break };
                    let text = run(next);
                    found.lock().expect("nobody panics with it").extend(text);
                }
            });
        }
    });
    found.into_inner().expect("nobody panics with it")
}

/// The scenarios that a mutant names, or else those that name its rules.
fn scenarios_of(mutant: &Mutant) -> Vec<String> {
    if !mutant.scenarios.is_empty() {
        return mutant.scenarios.clone();
    }
    let is_of_rule = |entry: &catalogue::Entry| mutant.rules.iter().any(|rule| entry.rules.contains(rule));
    catalogue::all().into_iter().filter(is_of_rule).map(|entry| entry.name).collect()
}

/// Tries three times, because a busy machine can hide a difference of about a second.
fn is_missed_again(mutant: &Mutant, original: &Path) -> Option<String> {
    let mut missed = is_missed(mutant, original);
    for _ in 0..2 {
        missed = missed.and_then(|_| is_missed(mutant, original));
    }
    missed
}

/// What the mutant's scenarios said, if they have not noticed all rules that it breaks.
fn is_missed(mutant: &Mutant, original: &Path) -> Option<String> {
    let altered = Altered::as_mutant(original, mutant);
    let mut unnoticed: BTreeSet<&str> = mutant.rules.iter().map(String::as_str).collect();
    let mut is_noticed = false;
    let mut said = String::new();
    for scenario in scenarios_of(mutant) {
        let entry = catalogue::all().into_iter().find(|entry| entry.name == scenario).expect("a scenario of this name");
        let is_needed = !is_noticed || entry.rules.iter().any(|rule| unnoticed.contains(rule.as_str()));
        if !is_needed {
            continue;
        }
        let (verdict, difference) = judged(&altered.program(), &scenario, Some(PATIENCE));
        let is_as_expected =
            mutant.notices.as_ref().is_none_or(|begin| difference.lines().any(|line| line.starts_with(begin.as_str())));
        if matches!(verdict, Verdict::Different | Verdict::OnPurpose) && is_as_expected {
            is_noticed = true;
            unnoticed.retain(|rule| !entry.rules.iter().any(|shown| shown == rule));
        } else {
            said.extend([&scenario, " says ", &format!("{verdict:?}"), "\n", &difference, "\n"]);
        }
    }
    (!is_noticed || !unnoticed.is_empty()).then(|| format!("{} is not noticed {unnoticed:?}: {said}", mutant.name))
}

/// The verdict of a scenario, and the difference, with `candidate` in place of ours.
fn judged(candidate: &Path, scenario: &str, patience: Option<Duration>) -> (Verdict, String) {
    let programs = on::Programs { original: Programs::find().original, ours: candidate.to_owned() };
    let entry = catalogue::all().into_iter().find(|entry| entry.name == scenario).expect("a scenario of this name");
    let (comparisons, end) = on::judge(&programs, patience, entry.run);
    assert_eq!(end, Ok(()), "{scenario}");
    let differing = comparisons.iter().find(|comparison| comparison.verdict != Verdict::Equal);
    let comparison = differing.or(comparisons.first()).expect("a comparison");
    (comparison.verdict, on::difference(&comparison.reference, &comparison.candidate))
}
