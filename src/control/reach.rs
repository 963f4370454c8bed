//! Whether clients reach the unix sockets of a superdaemon: from inside, a socket whose file is gone looks as healthy
//! as ever.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use libc::ino_t;

use crate::proc::sock_diag::bound_files;
use crate::proc::{Descriptor, Process, unix_sockets};
use crate::sys::Pid;

/// The path of a listening unix socket that no client reaches, because its file is gone or another process's. What
/// can't be seen counts as reached.
pub(super) fn lost_socket(superdaemon: Pid) -> Option<PathBuf> {
    let process = Process::Pid(superdaemon);
    let own: BTreeSet<ino_t> = process.descriptors().ok()?.filter_map(Descriptor::socket).collect();
    // Nothing is looked up that the process's own rights don't allow to see.
    fs::metadata(process.seen(Path::new("/"))).ok()?;
    let files = bound_files();
    let (ours, theirs): (Vec<_>, Vec<_>) = files.iter().partition(|(socket, _)| own.contains(socket));
    let is_lost = |path: &Path| match fs::metadata(process.seen(path)) {
        Ok(there) => {
            // As much of the number as the kernel reports for a socket's file.
            let is_there = |bound: &(&ino_t, &u32)| u64::from(*bound.1) == there.ino() & u64::from(u32::MAX);
            !ours.iter().any(is_there) && theirs.iter().any(is_there)
        }
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    let listening = unix_sockets().filter(|socket| socket.is_listening && own.contains(&socket.inode));
    let paths = listening.map(|socket| PathBuf::from(OsStr::from_bytes(&socket.name)));
    paths
        .filter(|path| !path.as_os_str().is_empty() && !path.as_os_str().as_bytes().starts_with(b"@"))
        .find(|path| is_lost(path))
}
