//! How long to wait for another process: not as long for one that sleeps as for one that a busy or slow machine holds up.

use std::time::{Duration, Instant};

/// So many times as long for a process that is at work.
const SLOWER: u32 = 12;

#[derive(Clone, Copy)]
pub(super) struct Patience {
    begin: Instant,
    limit: Duration,
}

impl Patience {
    /// From now on, for a process that sleeps where it has no reason to.
    pub(super) fn of(limit: Duration) -> Self {
        Self { begin: Instant::now(), limit }
    }

    /// `is_at_work` is asked when the shorter time is over.
    pub(super) fn is_over(self, is_at_work: impl FnOnce() -> bool) -> bool {
        self.is_over_at(Instant::now(), is_at_work)
    }

    fn is_over_at(self, now: Instant, is_at_work: impl FnOnce() -> bool) -> bool {
        let passed = now.saturating_duration_since(self.begin);
        passed >= self.limit && (passed >= SLOWER * self.limit || !is_at_work())
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::proc::Process;
    use crate::sys::Pid;

    #[test]
    fn a_process_that_is_at_work_gets_longer() {
        let patience = Patience::of(Duration::from_secs(5));
        for (is_at_work, end) in [(false, 5_000), (true, 60_000)] {
            let is_over_at = |time| patience.is_over_at(patience.begin + Duration::from_millis(time), || is_at_work);
            assert!(!is_over_at(end - 1));
            assert!(is_over_at(end));
        }
    }

    #[test]
    fn who_is_at_work() {
        assert!(Process::OwnThread.is_at_work());
        for (command, is_at_work) in [("read line", false), ("while :; do :; done", true)] {
            let mut child = Command::new("sh").args(["-c", command]).stdin(Stdio::piped()).spawn().unwrap();
            let process = Process::Pid(Pid::try_from(child.id()).unwrap());
            // At first it loads its program, at last it is only what it is.
            let deadline = Instant::now() + Duration::from_secs(60);
            let is_seen = std::iter::repeat_with(|| process.is_at_work())
                .take_while(|_| Instant::now() < deadline)
                .any(|seen| seen == is_at_work);
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(is_seen, "{command}");
            assert!(!process.is_at_work());
        }
    }
}
