//! What to listen on: everything that can be checked before anything is opened.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::listeners::bind::cannot_listen;
use crate::listeners::export::check_length;
use crate::listeners::port_spec::PortSpec;
use crate::listeners::{Listener, Listeners, inherited};
use crate::sys;

/// What `--backlog=0` stands for: Linux's `SOMAXCONN`, whatever the C library at hand was built with (S16).
const DEFAULT_BACKLOG: i32 = 4096;

/// The number for listen(2) that a `--backlog` stands for.
pub(super) fn for_listen(backlog: i32) -> i32 {
    if backlog == 0 { DEFAULT_BACKLOG } else { backlog }
}

/// What to listen on, checked as far as possible without opening anything.
pub(crate) struct ListenPlan<'a> {
    pub(super) ports: Vec<PortSpec>,
    pub(super) paths: &'a [PathBuf],
    pub(super) backlog: i32,
    /// The descriptors at which ports are wanted, and those of inherited listeners.
    pub(super) targets: BTreeSet<RawFd>,
    /// The number after the last inherited listener.
    pub(super) next: RawFd,
    /// Whether the listeners need consecutive numbers.
    pub(super) is_in_row: bool,
}

impl<'a> ListenPlan<'a> {
    /// Parses all ports, so a mistake in the last one is found before the first one is bound. Planned listeners come
    /// after the inherited ones.
    pub(crate) fn new(
        ports: &[OsString],
        paths: &'a [PathBuf],
        backlog: i32,
        inherited: &Listeners,
    ) -> Result<Self, Error> {
        let ports = ports.iter().map(|port| PortSpec::parse(port.as_bytes())).collect::<Result<Vec<_>, _>>()?;
        for path in paths {
            match path.as_os_str().len() {
                1..=sys::LONGEST_SOCKET_PATH => {}
                0 => return Err(cannot_listen(path, Errno::ENOENT)),
                _ => return Err(cannot_listen(path, Errno::ENAMETOOLONG)),
            }
        }
        let mut targets = BTreeSet::new();
        targets.extend(inherited.fds().map(|fd| fd.as_raw_fd()));
        let mut plan = Self {
            ports,
            paths,
            backlog: for_listen(backlog),
            next: targets.last().map_or(inherited::FIRST, |last| last + 1),
            targets,
            is_in_row: false,
        };
        plan.collect_targets()?;
        plan.check_variable(inherited)?;
        plan.check_files(inherited)?;
        Ok(plan)
    }

    /// The same plan with consecutive numbers for all listeners, as `LISTEN_FDS` says only how many there are.
    ///
    /// # Errors
    /// If there is nothing to listen on, or if a port is wanted at a number other than the one it would get.
    pub(crate) fn for_listen_fds(mut self) -> Result<Self, Error> {
        if self.next == inherited::FIRST && self.count() == 0 {
            return Err(Error::rule(&[b"--listen-fds: there is nothing to listen to"]));
        }
        for (port, fd) in self.ports.iter().zip(self.next..) {
            if let Some(target) = port.target.as_ref().filter(|target| target.number != fd) {
                let place = format!("--listen-fds: the file descriptor of this port must be {fd}, not ");
                return Err(Error::rule(&[place.as_bytes(), &target.text, b":", &port.name]));
            }
        }
        self.is_in_row = true;
        Ok(self)
    }

    /// How many listeners there will be besides the inherited ones.
    pub(super) fn count(&self) -> usize {
        self.ports.len() + self.paths.len()
    }

    /// A descriptor can hold only one socket (`fd-clash`).
    fn collect_targets(&mut self) -> Result<(), Error> {
        for target in self.ports.iter().filter_map(|port| port.target.as_ref()) {
            if !self.targets.insert(target.number) {
                return Err(Error::rule(&[b"file descriptor ", &target.text, b" is requested more than once"]));
            }
        }
        Ok(())
    }

    /// No path may name the file of an inherited socket: it would be removed as a stale one.
    fn check_files(&self, inherited: &Listeners) -> Result<(), Error> {
        let files: Vec<FileId> = inherited.entries.iter().filter_map(Listener::file).collect();
        let is_inherited = |path: &&PathBuf| FileId::of(path).is_some_and(|id| files.contains(&id));
        match self.paths.iter().find(|path| !files.is_empty() && is_inherited(path)) {
            Some(path) => Err(Error::rule(&[b"there is a listener already at ", path.as_os_str().as_bytes()])),
            None => Ok(()),
        }
    }

    /// The variable that names the listeners must not be too long (`env-too-big`). This assumes the numbers that the
    /// listeners get if only the standard descriptors are open.
    fn check_variable(&self, inherited: &Listeners) -> Result<(), Error> {
        let names = inherited.entries.iter().map(|listener| listener.name.len());
        let names = names.chain(self.ports.iter().map(|port| port.name.len()));
        let names = names.chain(self.paths.iter().map(|path| path.as_os_str().len()));
        // Each with its `=` and a preceding `;`, which the first one doesn't have.
        let entries: usize = names.zip(3..).map(|(name, fd): (usize, usize)| name + 2 + fd.to_string().len()).sum();
        check_length(entries.saturating_sub(1))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::TcpListener;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::*;
    use crate::listeners::inherited::tests::{hand_over, take_from};

    /// A TCP and a unix listener of the manager, and the number of the first.
    pub(crate) fn inherited(path: &Path) -> (RawFd, Listeners) {
        let tcp = OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let first = hand_over([tcp, UnixListener::bind(path).unwrap().into()]);
        (first, take_from(first, 2, Some(b"web:app")).unwrap().into())
    }

    pub(crate) fn plan<'a>(
        ports: &[&str],
        paths: &'a [PathBuf],
        inherited: &Listeners,
    ) -> Result<ListenPlan<'a>, Error> {
        ListenPlan::new(&ports.iter().map(Into::into).collect::<Vec<_>>(), paths, 0, inherited)
    }

    pub(crate) fn message<T>(result: Result<T, Error>) -> String {
        result.map(drop).unwrap_err().to_string()
    }

    #[test]
    fn no_port_is_wanted_where_an_inherited_listener_is() {
        let dir = tempfile::tempdir().unwrap();
        let (first, listeners) = inherited(&dir.path().join("socket"));
        let second = format!("0{}", first + 1);
        let error = message(plan(&[&format!("0={second}")], &[], &listeners));
        assert_eq!(error, format!("file descriptor {second} is requested more than once"));
        plan(&[&format!("0={}", first + 2)], &[], &listeners).unwrap();
    }

    #[test]
    fn the_socket_file_of_an_inherited_listener_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("socket"), dir.path().join("link"));
        let (_, listeners) = inherited(&path);
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let same = [link.join("socket")];
        let error = message(plan(&[], &same, &listeners));
        assert_eq!(error, format!("there is a listener already at {}", same[0].display()));
        let other = [dir.path().join("other")];
        plan(&[], &other, &listeners).unwrap();
    }

    #[test]
    fn inherited_listeners_count_for_the_length_of_the_variable() {
        let dir = tempfile::tempdir().unwrap();
        let (_, listeners) = inherited(&dir.path().join("socket"));
        let mut paths = vec![PathBuf::from("x".repeat(100)); 1242];
        let fits = |paths: &[PathBuf], listeners: &_| plan(&[], paths, listeners).map(drop);
        while fits(&paths, &Listeners::default()).is_ok() {
            paths.push("x".repeat(20).into());
        }
        paths.pop();
        let error = message(fits(&paths, &listeners));
        assert!(error.starts_with("too many listeners: SERVER_STARTER_PORT"), "{error}");
    }

    #[test]
    fn for_listen_fds_a_port_is_wanted_in_its_place_or_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (first, listeners) = inherited(&dir.path().join("theirs"));
        let (own, none) = (format!("0={}", first + 3), Listeners::default());
        for (ports, is_right) in [(["0", &own], true), ([&own, "0"], false)] {
            let plan = plan(&ports, &[], &listeners).unwrap().for_listen_fds();
            assert_eq!(plan.is_ok(), is_right);
        }
        let error = message(plan(&["0", "127.0.0.1:80=3"], &[], &none).unwrap().for_listen_fds());
        assert_eq!(error, "--listen-fds: the file descriptor of this port must be 4, not 3:127.0.0.1:80");
        plan(&["0=3", "0", "0=05"], &[], &none).unwrap().for_listen_fds().unwrap();
        assert_eq!(
            message(plan(&[], &[], &none).unwrap().for_listen_fds()),
            "--listen-fds: there is nothing to listen to"
        );
        plan(&[], &[], &listeners).unwrap().for_listen_fds().unwrap();
    }
}
