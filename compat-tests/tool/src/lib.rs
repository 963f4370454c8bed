//! Runs every scenario on the original `start_server` and on another one, side by side, and compares what can be
//! observed.
//!
//! Scenarios need Linux: the harness and the probe worker look at processes through /proc. Tests that run no scenarios
//! also run elsewhere, so everything that can compile there does.

#[macro_use]
mod table;

pub mod altered;
pub mod baseline;
pub mod catalogue;
pub mod causes;
pub mod connections;
pub mod demo;
#[cfg(target_os = "linux")]
pub mod divergences;
pub mod explained;
pub mod grades;
pub mod harness;
pub mod load;
pub mod report;
pub mod results;
pub mod run;
pub mod scenarios;
pub mod subject;
