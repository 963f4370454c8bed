//! Which two programs are compared.

use std::env;
use std::fs;
use std::path::PathBuf;

pub struct Programs {
    pub original: PathBuf,
    pub ours: PathBuf,
}

impl Programs {
    /// Without the original there is nothing to compare with: that is a failure, never a skipped test.
    pub fn find() -> Self {
        let original = env::var_os("START_SERVER_PERL").map(PathBuf::from).or_else(perl_script_in_path);
        let ours = env::var_os("START_SERVER_RUST").map(PathBuf::from);
        Self {
            original: original.expect(
                "the original start_server is missing: run scripts/install-oracle, install Debian's \
                 libserver-starter-perl or CPAN's Server::Starter, or set START_SERVER_PERL to its path",
            ),
            ours: ours.unwrap_or_else(|| env!("CARGO_BIN_EXE_start_server").into()),
        }
    }
}

/// Not just any `start_server`: ours may be installed, too, and equals itself.
fn perl_script_in_path() -> Option<PathBuf> {
    let mut found = which::which_all("start_server").ok()?;
    found.find(|path| fs::read(path).is_ok_and(|content| content.starts_with(b"#!")))
}
