//! Which two programs are compared.

use std::env;
use std::fs;
use std::path::{self, Path, PathBuf};
use std::process::Command;

pub struct Programs {
    pub original: PathBuf,
    pub ours: PathBuf,
}

impl Programs {
    /// Without the original there is nothing to compare with: that is a failure, never a skipped test.
    pub fn find() -> Self {
        let original = program_of("START_SERVER_PERL").or_else(perl_script_in_path);
        let ours = program_of("START_SERVER_RUST");
        Self {
            original: original.expect(
                "the original start_server is missing: run scripts/install-oracle, install Debian's \
                 libserver-starter-perl or CPAN's Server::Starter, or set START_SERVER_PERL to its path",
            ),
            ours: ours.unwrap_or_else(|| env!("CARGO_BIN_EXE_start_server").into()),
        }
    }

    /// The module that the original is a front end of.
    pub fn module() -> PathBuf {
        let perl = Command::new("perl").args(["-MServer::Starter", "-e", "print $INC{'Server/Starter.pm'}"]).output();
        String::from_utf8(perl.expect("perl").stdout).expect("a path in UTF-8").into()
    }
}

/// Where cargo builds for this profile: the program is there, and the examples are below.
pub fn profile_directory() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_start_server")).parent().expect("the profile's directory")
}

/// The name of the processor and system that is built for, if cargo was told one: it has a directory of its own then.
pub fn named_target() -> Option<&'static str> {
    let above = profile_directory().parent()?;
    (!above.join(".rustc_info.json").exists()).then(|| above.file_name()?.to_str())?
}

/// `target`, unless `CARGO_TARGET_DIR` says otherwise.
pub fn target_directory() -> &'static Path {
    let levels = if named_target().is_some() { 2 } else { 1 };
    profile_directory().ancestors().nth(levels).expect("the target directory")
}

/// The program that a variable names, by an absolute path: scenarios run elsewhere.
fn program_of(variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os(variable)?);
    assert!(path.is_file(), "{variable}: there is no program {}", path.display());
    Some(path::absolute(path).expect("a path that isn't empty"))
}

/// Not just any `start_server`: ours may be installed, too, and equals itself. Our Debian package moves the original
/// away.
fn perl_script_in_path() -> Option<PathBuf> {
    let found = ["start_server", "start_server.perl"].into_iter().flat_map(which::which_all).flatten();
    found.into_iter().find(|path| fs::read(path).is_ok_and(|content| content.starts_with(b"#!")))
}
