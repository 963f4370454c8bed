//! Runs every scenario on the original `start_server` and on ours, side by side, and compares what could be observed.
//!
//! `START_SERVER_PERL` and `START_SERVER_RUST` put any other program in either place. With the original in both, all
//! of `scenarios` must pass: that is how the harness itself is tested.

mod coverage;
mod deployments;
mod divergences;
mod documents;
mod faults;
mod harness;
mod help;
mod lives;
mod mutants;
mod own_options;
mod packaging;
mod random;
mod report;
mod scenarios;
mod volume;
