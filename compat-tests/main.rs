//! Runs every scenario on the original `start_server` and on ours, side by side, and compares what could be observed.
//!
//! `START_SERVER_PERL` and `START_SERVER_RUST` put any other program in either place. With the original in both, all
//! of `scenarios` must pass: that is how the harness itself is tested.
//!
//! Scenarios need Linux: the harness and the probe worker look at processes through /proc. What needs none (`lives`, `volume`
//! without its real processes, and the tests of documents) runs elsewhere, too; the modules that wouldn't compile are left out.

mod coverage;
mod deployments;
#[cfg(target_os = "linux")]
mod divergences;
mod documents;
#[cfg(target_os = "linux")]
mod examples;
mod facts;
mod faults;
mod harness;
mod help;
mod lives;
mod messages;
mod mutants;
#[cfg(target_os = "linux")]
mod own_options;
mod packaging;
mod random;
mod report;
mod scenarios;
mod security;
mod volume;
