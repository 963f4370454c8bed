//! The worker's side of Perl's `Server::Starter`: [`server_ports`] gives a Rust server the sockets it was started with.

mod server_ports;

pub use server_ports::{ServerPort, ServerPortsError, ServerSocket, server_ports};
