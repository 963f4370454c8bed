//! What must be equal on both programs, a module for each subject.

mod command_line;
mod control;
mod files;
mod lifecycle;
mod plack;
mod sockets;
