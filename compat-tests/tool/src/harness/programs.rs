//! The two programs that are compared.

use std::env;
use std::fs;
use std::path::{self, Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program to compare if `START_SERVER_RUST` names no other.
static OURS: OnceLock<PathBuf> = OnceLock::new();

#[derive(Clone)]
pub struct Programs {
    pub original: PathBuf,
    pub ours: PathBuf,
}

impl Programs {
    /// Sets the program to compare if no variable names another one. Only the caller knows where it was built.
    pub fn ours_is(path: &Path) {
        OURS.get_or_init(|| path.to_owned());
    }

    /// A missing original is a failure, never a skipped test.
    pub fn find() -> Self {
        let original = program_of("START_SERVER_PERL").or_else(perl_script_in_path);
        let ours = program_of("START_SERVER_RUST").or_else(|| OURS.get().cloned());
        Self {
            original: original.expect(
                "the original start_server is missing: run scripts/install-oracle, install Debian's \
                 libserver-starter-perl or CPAN's Server::Starter, or set START_SERVER_PERL to its path",
            ),
            ours: ours.expect("Programs::ours_is comes first"),
        }
    }

    /// The module that the original is a front end of.
    pub fn module() -> PathBuf {
        let perl = Command::new("perl").args(["-MServer::Starter", "-e", "print $INC{'Server/Starter.pm'}"]).output();
        String::from_utf8(perl.expect("perl").stdout).expect("a path in UTF-8").into()
    }
}

/// The program that a variable names. The path is made absolute, as scenarios run in other directories.
fn program_of(variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os(variable)?);
    assert!(path.is_file(), "{variable}: there is no program {}", path.display());
    Some(path::absolute(path).expect("a path that isn't empty"))
}

/// A script named `start_server`: ours, which may be installed, too, isn't a script. Our Debian package renames the
/// original to `start_server.perl`.
pub fn perl_script_in_path() -> Option<PathBuf> {
    let found = ["start_server", "start_server.perl"].into_iter().flat_map(which::which_all).flatten();
    found.into_iter().find(|path| fs::read(path).is_ok_and(|content| content.starts_with(b"#!")))
}
