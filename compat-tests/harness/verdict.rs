//! What a comparison came to, and its record: `scripts/compat` makes its report from these files.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Equal,
    Different,
    /// Different, and as the table in docs/differences.md says.
    OnPurpose,
}

impl Verdict {
    /// Writes the verdict on the running test, and on the next lines what differs, to a file of the test's name in the
    /// directory that `COMPAT_REPORT` names, and both transcripts beside it; without the variable, nowhere.
    pub fn record(self, difference: &str, reference: &str, candidate: &str) {
        let Some(directory) = env::var_os("COMPAT_REPORT") else { return };
        let verdict = match self {
            Self::Equal => "equal",
            Self::Different => "different",
            Self::OnPurpose => "on purpose",
        };
        let thread = thread::current();
        let test = thread.name().expect("libtest names a test's thread after the test");
        let write = |ending: &str, content: &str| {
            fs::write(PathBuf::from(&directory).join(format!("{test}{ending}")), content).expect("a record");
        };
        write("", &format!("{verdict}\n{difference}"));
        write(".reference", reference);
        write(".candidate", candidate);
    }
}

/// In a report: how much longer than the reference the candidate may take.
pub fn wait_for_candidate() -> Option<Duration> {
    let seconds = env::var("COMPAT_WAIT").ok()?;
    Some(Duration::from_secs_f64(seconds.parse().expect("COMPAT_WAIT is a number of seconds")))
}
