//! A superdaemon for hot-deploying server programs: Perl's `Server::Starter` 0.35 in Rust.
//!
//! `start_server` opens listening sockets and runs a worker that inherits them. On HUP it starts the next worker, and stops
//! the old one only when the new one has started. The other functions are clients of a running superdaemon, ours or the
//! original: `restart_server` and `stop_server`, as in the original, and our own `is_running`, `show_status` and
//! `upgrade_server`. [`server_ports`] is for the worker: it gives a Rust server the sockets it was started with.
//!
//! | feature | what the crate has |
//! |---|---|
//! | `cli` (default) | the program `start_server`, and everything below |
//! | `static-unwinder` (default) | the program takes the unwinder from gcc's static archive |
//! | `declaration` | for the documents: the command line, declared with clap |
//! | `superdaemon` | `start_server`; `restart_server`, `stop_server`, `is_running`, `show_status`, `upgrade_server` |
//! | `simulation` | for the tests: the life cycle in a simulated world |
//! | none | `server_ports`, without any dependency |
//!
//! A worker:
//!
//! ```no_run
//! use std::io::Write;
//! use server_starter::{ServerSocket, server_ports};
//!
//! let Some(ServerSocket::Tcp(listener)) = server_ports()?.into_iter().map(|port| port.socket).next() else {
//!     return Err("start me with --port".into());
//! };
//! for connection in listener.incoming() {
//!     connection?.write_all(b"hello\n")?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod server_ports;

// Not part of the public interface.
#[cfg(feature = "superdaemon")]
#[doc(hidden)]
pub mod program;

#[cfg(feature = "cli")]
mod cli;

#[cfg(feature = "superdaemon")]
mod control;
#[cfg(feature = "superdaemon")]
mod environment;
#[cfg(feature = "superdaemon")]
mod error;
#[cfg(feature = "superdaemon")]
mod files;
#[cfg(feature = "superdaemon")]
mod listeners;
#[cfg(feature = "superdaemon")]
mod options;
#[cfg(feature = "superdaemon")]
mod perl;
#[cfg(feature = "superdaemon")]
mod proc;
#[cfg(test)]
mod random_texts;
#[cfg(feature = "superdaemon")]
mod readiness;
#[cfg(feature = "superdaemon")]
mod report;
#[cfg(feature = "superdaemon")]
mod start;
#[cfg(feature = "superdaemon")]
mod stderr;
#[cfg(feature = "superdaemon")]
mod stop_request;
#[cfg(feature = "superdaemon")]
mod stop_signal;
#[cfg(feature = "superdaemon")]
mod succession;
#[cfg(feature = "superdaemon")]
mod supervisor;
#[cfg(feature = "superdaemon")]
mod sys;
#[cfg(feature = "superdaemon")]
mod system;
#[cfg(feature = "cli")]
mod take_over;
#[cfg(feature = "superdaemon")]
mod wait_status;
#[cfg(feature = "superdaemon")]
mod words;
#[cfg(feature = "superdaemon")]
mod world;

pub use server_ports::{ServerPort, ServerPortsError, ServerSocket, server_ports};

#[cfg(feature = "superdaemon")]
pub use {
    control::{
        FailureStatus, ListenerStatus, ProgramStatus, Status, SuperdaemonStatus, WorkerState, WorkerStatus, is_running,
        restart_server, show_status, stop_server, upgrade_server,
    },
    error::Error,
    options::{Options, Readiness},
    start::start_server,
    stop_signal::StopSignal,
};

#[cfg(all(feature = "superdaemon", any(test, feature = "simulation")))]
pub use supervisor::simulation;

/// For the tests that compare the parsing of `--port` with the original's.
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub use listeners::{Host, PortSpec, TargetFd};

/// The examples of README.md are tests, too.
#[cfg(all(doctest, feature = "superdaemon"))]
#[doc = include_str!("../README.md")]
struct Readme;
