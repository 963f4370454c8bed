//! A process that is not a child of ours, as it was found: before it gets a signal, its number may become another
//! process's.

use std::collections::BTreeSet;
use std::time::Duration;

use libc::c_int;

use crate::proc::Process;
use crate::sys::{self, Pid};

/// How often to look for processes that others have started meanwhile. Each that is found is stopped before the next
/// look, so this limit is for those that can't be stopped.
pub(super) const MOST_LOOKS: usize = 100;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Member {
    pub(super) pid: Pid,
    pub(super) started: Duration,
}

impl Member {
    pub(super) fn of(pid: Pid) -> Option<Self> {
        Some(Self { pid, started: Process::Pid(pid).started()? })
    }

    pub(super) fn kill(self, signal: c_int) {
        let _ = sys::kill_if(self.pid, signal, || Self::of(self.pid) == Some(self));
    }
}

/// KILL to everything that a look finds. They are stopped first, until no new one appears: otherwise, a process that
/// forks all the time would stay ahead of the looks.
pub(super) fn kill_all(mut look: impl FnMut() -> Vec<Member>) {
    let mut stopped = BTreeSet::new();
    for _ in 0..MOST_LOOKS {
        let new: Vec<Member> = look().into_iter().filter(|&member| stopped.insert(member)).collect();
        if new.is_empty() {
            break;
        }
        for member in new {
            member.kill(libc::SIGSTOP);
        }
    }
    for member in stopped {
        member.kill(libc::SIGKILL);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;

    use super::*;

    /// A process that gets the number again was started later.
    #[test]
    fn another_process_of_the_same_number_gets_no_signal() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let found = Member::of(Pid::try_from(child.id()).unwrap()).unwrap();
        Member { started: found.started.saturating_sub(Duration::from_millis(10)), ..found }.kill(libc::SIGKILL);
        kill_all(|| vec![Member { started: Duration::ZERO, ..found }]);
        assert_eq!(child.try_wait().unwrap(), None);
        kill_all(|| vec![found]);
        assert!(!child.wait().unwrap().success());
    }
}
