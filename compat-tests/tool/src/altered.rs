//! Copies of the original with another text in its module: the tests of the tests.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::harness::Programs;

/// In the place of the message about a HUP: whoever waits in the queue of a listener is lost.
pub const LISTENERS_OPENED_ANEW: &str = r#"print STDERR "received HUP, spawning a new worker\n";
        for my $sock (grep { ref eq "GLOB" } @sock) {
            my ($fd, $name) = (fileno $sock, getsockname $sock);
            shutdown $sock, 2;
            POSIX::close($fd);
            socket my $new, Socket::AF_INET(), Socket::SOCK_STREAM(), 0 or die;
            push @main::kept, $new;
            setsockopt $new, Socket::SOL_SOCKET(), Socket::SO_REUSEADDR(), 1;
            bind $new, $name or die "bind: $!";
            listen $new, 4096 or die;
            POSIX::dup2(fileno $new, $fd);
            fcntl $sock, F_SETFD, my $flags = "";
        }"#;

pub struct Altered {
    directory: TempDir,
}

impl Altered {
    /// Makes a copy of the original, a script, and of the installed module. Every `text` has to be in it.
    pub fn of(original: &Path, text: &str, replacement: &str) -> Self {
        let module = fs::read_to_string(Programs::module()).expect("the installed module");
        assert!(module.contains(text), "the installed module doesn't contain {text:?}");
        let altered = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        let path = altered.directory.path();
        fs::create_dir(path.join("Server")).expect("the directory of a module");
        fs::write(path.join("Server/Starter.pm"), module.replace(text, replacement)).expect("the module");
        // Below the `#!` line, which differs between installations.
        let script = fs::read_to_string(original).expect("the original is a script");
        let script = script.replacen('\n', &format!("\nuse lib '{}';\n", path.display()), 1);
        fs::write(altered.program(), script).expect("the script");
        fs::set_permissions(altered.program(), Permissions::from_mode(0o755)).expect("its mode");
        altered
    }

    pub fn program(&self) -> PathBuf {
        self.directory.path().join("start_server")
    }
}
