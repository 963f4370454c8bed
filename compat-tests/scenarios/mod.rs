//! What must be equal on both programs, a module for each subject.

mod auto_restart;
mod command_line;
mod control;
mod daemons;
mod envdir;
mod files;
pub mod launch;
mod lifecycle;
mod logs;
mod plack;
mod signals;
mod sockets;
