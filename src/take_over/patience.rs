//! How long the rehearsal may take, during which the superdaemon stands still.

use std::time::{Duration, Instant};

/// For a copy that sleeps, which it has no reason for.
const HUNG: Duration = Duration::from_secs(5);

/// For one that is at work all the time: a busy or slow machine is no reason to refuse anything.
const SLOW: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
pub(super) struct Patience(Instant);

impl Patience {
    pub(super) fn from(begin: Instant) -> Self {
        Self(begin)
    }

    pub(super) fn is_over(self, now: Instant, is_at_work: impl FnOnce() -> bool) -> bool {
        let passed = now.saturating_duration_since(self.0);
        passed >= HUNG && (passed >= SLOW || !is_at_work())
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::proc::Process;
    use crate::sys::Pid;

    #[test]
    fn a_copy_that_is_at_work_gets_longer() {
        let begin = Instant::now();
        for (is_at_work, end) in [(false, 5_000), (true, 60_000)] {
            let is_over_at = |time| Patience::from(begin).is_over(begin + Duration::from_millis(time), || is_at_work);
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
