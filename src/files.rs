//! The files that belong to a superdaemon.

pub(crate) mod failure_note;
pub(crate) mod file_id;
pub(crate) mod log_file;
pub(crate) mod log_tail;
pub(crate) mod names;
pub(crate) mod own_file;
pub(crate) mod pid_file;
pub(crate) mod request_file;
pub(crate) mod status_file;
