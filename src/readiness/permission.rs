//! Whether this process may examine its workers.

use std::fs::OpenOptions;
use std::io::Read;
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow};

use crate::error::Error;
use crate::proc::Process;
use crate::sys::{self, Fork, OneThread, Pid};

/// How often to check whether the process has exited after KILL: a second in all.
const LOOKS: u32 = 1000;

/// Forks a process that does nothing, and reads what will be read about workers. On return it has got KILL. If it has
/// not exited yet, because it sleeps in the kernel, it is returned: a child to be reaped when it dies.
pub(super) fn try_to_look(one_thread: OneThread) -> Result<Option<Pid>, Error> {
    let (mut ours, theirs) = UnixStream::pair().map_err(|error| Error::system(&[b"socketpair failed:"], error))?;
    // In the child they stay blocked: a TERM for the process group would end it, and nothing can be read about a dead
    // process.
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let forked = sys::fork(one_thread);
    if let Ok(mask) = mask
        && !matches!(forked, Ok(Fork::Child))
    {
        let _ = mask.thread_set_mask();
    }
    match forked.map_err(|errno| Error::system(&[b"fork failed:"], errno))? {
        Fork::Child => {
            drop(ours);
            stand_still(theirs)
        }
        Fork::Parent(pid) => {
            drop(theirs);
            let _ = ours.read_exact(&mut [0]);
            let readable = is_readable(pid);
            // A child that isn't reaped keeps its number.
            let _ = sys::kill(pid, libc::SIGKILL);
            // If that is forbidden, this makes it exit.
            drop(ours);
            let is_reaped = (0..LOOKS).any(|look| {
                // It nearly always exits at once.
                thread::sleep(Duration::from_micros(if look < 20 { 50 } else { 1000 }));
                !matches!(sys::reap(pid), Ok(None))
            });
            readable.map(|()| (!is_reaped).then_some(pid))
        }
    }
}

/// The child: lasts until it is killed or the parent is gone. Async-signal-safe.
fn stand_still(mut parent: UnixStream) -> ! {
    // A superdaemon with capabilities (setcap) may not be examined, and neither may its forks; but its workers may,
    // since they have executed another program.
    let _ = sys::allow_looks();
    // The parent waits for this. A byte would need kernel memory, and without that both would wait for ever.
    if parent.shutdown(Shutdown::Write).is_ok() {
        let _ = parent.read(&mut [0]);
    }
    sys::exit_now(0)
}

/// Whether the kernel shows what only a debugger may see. Everything else that is read needs less.
fn is_readable(pid: Pid) -> Result<(), Error> {
    let process = Process::Pid(pid);
    let memory = process.memory(OpenOptions::new().read(true));
    // The right to the first is checked on reading, that to the other on opening.
    for (name, outcome) in [("syscall", process.system_call().map(drop)), ("mem", memory.map(drop))] {
        let path = process.path(name);
        let sentence =
            b"--ready=accepting can't look at workers (is kernel.yama.ptrace_scope above 1?): failed to read ";
        outcome.map_err(|error| Error::system(&[sentence, path.as_os_str().as_bytes(), b":"], error))?;
    }
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn process_that_is_gone() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::try_from(child.id()).unwrap();
        child.wait().unwrap();
        let error = is_readable(pid).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(
            error.to_string(),
            format!(
                "--ready=accepting can't look at workers (is kernel.yama.ptrace_scope above 1?): \
                 failed to read /proc/{pid}/syscall:No such file or directory"
            )
        );
    }

    #[test]
    fn trial_leaves_the_signals_as_they_were() {
        let mask = SigSet::thread_get_mask().unwrap();
        assert_eq!(try_to_look(OneThread::assume()).unwrap(), None);
        assert_eq!(SigSet::thread_get_mask().unwrap(), mask);
    }
}
