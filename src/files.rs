//! The files that belong to a superdaemon.

pub(crate) mod file_id;
pub(crate) mod log_file;
pub(crate) mod log_tail;
pub(crate) mod pid_file;
pub(crate) mod request_file;
pub(crate) mod status_file;
