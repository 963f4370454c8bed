//! What must be equal on both programs, a module for each subject.

use crate::catalogue::Module;

mod at_once;
mod auto_restart;
mod command_line;
mod control;
mod daemons;
mod envdir;
mod files;
pub mod injected;
pub mod launch;
mod lifecycle;
mod logs;
mod plack;
mod signals;
mod sockets;

pub const MODULES: &[&Module] = &[
    &command_line::SCENARIOS,
    &sockets::SCENARIOS,
    &files::SCENARIOS,
    &envdir::SCENARIOS,
    &launch::SCENARIOS,
    &lifecycle::SCENARIOS,
    &at_once::SCENARIOS,
    &auto_restart::SCENARIOS,
    &signals::SCENARIOS,
    &control::SCENARIOS,
    &logs::SCENARIOS,
    &daemons::SCENARIOS,
    &injected::SCENARIOS,
    &plack::SCENARIOS,
];
