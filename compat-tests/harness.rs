//! The harness, with the program of this build as ours.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use start_server_compat::harness;
pub use start_server_compat::harness::{Begun, Outcome, Output, Scenario, failure, is_at_rest, is_dead, send};

/// Each function that needs our program calls this first.
fn know_ours() {
    harness::Programs::ours_is(Path::new(env!("CARGO_BIN_EXE_start_server")));
}

pub struct Programs {
    pub original: PathBuf,
    pub ours: PathBuf,
}

impl Programs {
    pub fn find() -> Self {
        know_ours();
        let harness::Programs { original, ours } = harness::Programs::find();
        Self { original, ours }
    }

    pub fn module() -> PathBuf {
        harness::Programs::module()
    }
}

pub fn compare(scenario: impl Fn(&mut Scenario) + Sync) {
    know_ours();
    harness::compare(scenario);
}

pub fn ours_alone(scenario: impl Fn(&mut Scenario)) {
    know_ours();
    harness::ours_alone(scenario);
}

pub fn original_alone(scenario: impl Fn(&mut Scenario)) {
    know_ours();
    harness::original_alone(scenario);
}

pub fn one<T>(of_original: bool, scenario: impl Fn(&mut Scenario) -> T) -> Outcome<T> {
    know_ours();
    harness::one(of_original, scenario)
}

pub fn both<T: Send>(scenario: impl Fn(&mut Scenario) -> T + Sync) -> (Outcome<T>, Outcome<T>) {
    know_ours();
    harness::both(scenario)
}

/// The processes in the scenario's directory that have this argument.
pub fn with_argument(s: &Scenario, argument: &str) -> Vec<i32> {
    let arguments = |pid: i32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let has_it = |pid: i32| arguments(pid).split(|&byte| byte == 0).any(|it| it == argument.as_bytes());
    harness::running_in(&s.path(".")).into_iter().filter(|&pid| has_it(pid)).collect()
}

/// Repeats `meanwhile` on a thread of its own until `main` has returned, or has panicked.
pub fn beside<T>(meanwhile: impl Fn() + Sync, main: impl FnOnce() -> T) -> T {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                meanwhile();
            }
        });
        let _over = Over(&is_over);
        main()
    })
}

/// Where cargo builds for this profile. It contains the program, and the examples below `examples`.
pub fn profile_directory() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_start_server")).parent().expect("the profile's directory")
}

/// The target triple that was given to cargo, if any: cargo then builds in a directory of that name.
pub fn named_target() -> Option<&'static str> {
    let above = profile_directory().parent()?;
    (!above.join(".rustc_info.json").exists()).then(|| above.file_name()?.to_str())?
}

/// `target`, unless `CARGO_TARGET_DIR` says otherwise.
pub fn target_directory() -> &'static Path {
    let levels = if named_target().is_some() { 2 } else { 1 };
    profile_directory().ancestors().nth(levels).expect("the target directory")
}
