//! What the kernel shows of processes and sockets: /proc, which nothing else opens, and `sock_diag(7)` for the queues
//! of sockets. Without /proc, nothing is found.

pub(crate) mod cgroup;
pub(crate) mod descendants;
mod descriptor;
pub(crate) mod lock_holder;
#[cfg_attr(target_os = "linux", path = "proc/linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "proc/elsewhere.rs")]
mod os;
mod process;
pub(crate) mod sock_diag;
mod tables;

pub(crate) use descriptor::{Descriptor, Target};
pub(crate) use os::{DUMP, diagnosis_socket, memory_file, program_path};
pub(crate) use process::{Kinship, Process, is_own_proc, own_threads};
pub(crate) use tables::{UnixSocket, unix_sockets, uptime};

/// A process id.
pub(crate) type Pid = libc::pid_t;
