//! What the kernel shows of processes and sockets: /proc, and for the queues of sockets `sock_diag(7)`.

pub(crate) mod descendants;
#[cfg(target_os = "linux")]
pub(crate) mod lock_holder;
#[cfg(target_os = "linux")]
pub(crate) mod sock_diag;
