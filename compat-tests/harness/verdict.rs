//! What a comparison came to, and its record: `scripts/compat` makes its report from these files.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::thread;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Equal,
    Different,
    /// Different, and as the table in docs/differences.md says.
    OnPurpose,
}

impl Verdict {
    /// Writes the verdict on the running test, and on the next lines what differs, to a file of the test's name in the
    /// directory that `COMPAT_REPORT` names; without the variable, nowhere.
    pub fn record(self, difference: &str) {
        let Some(directory) = env::var_os("COMPAT_REPORT") else { return };
        let verdict = match self {
            Self::Equal => "equal",
            Self::Different => "different",
            Self::OnPurpose => "on purpose",
        };
        let thread = thread::current();
        let test = thread.name().expect("libtest names a test's thread after the test");
        fs::write(PathBuf::from(directory).join(test), format!("{verdict}\n{difference}")).expect("a record");
    }
}
