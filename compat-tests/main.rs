//! All tests but the scenarios, which are in `compat-tests/tool` and run by `scenarios.rs`: our own options, faults,
//! real servers under load, random lives, documents, and the tests themselves.
//!
//! `START_SERVER_PERL` and `START_SERVER_RUST` replace either program by any other.
//!
//! Tests that start a superdaemon need Linux: the harness and the probe worker look at processes through /proc. The
//! others (`lives`, `volume` without its real processes, and the tests of documents) run elsewhere, too; modules that
//! wouldn't compile there are left out.

mod coverage;
mod deployments;
mod documents;
#[cfg(target_os = "linux")]
mod examples;
mod facts;
#[cfg(target_os = "linux")]
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
mod security;
mod volume;

use start_server_compat::scenarios;
