//! What to listen to, checked as far as that goes before anything is opened.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::vec::IntoIter;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::listeners::bind::{bind_port, cannot_create, cannot_listen, check_not_live, listen_to_path};
use crate::listeners::handover::check_length;
use crate::listeners::port_spec::PortSpec;
use crate::listeners::{Listener, Listeners, Place, SocketFile, Stored, inherited};
use crate::stderr::say;
use crate::sys::{self, CloseOnExec};

/// What `--backlog=0` stands for: Linux's `SOMAXCONN`, whatever the C library at hand was built with (S16).
const DEFAULT_BACKLOG: i32 = 4096;

/// The number for listen(2) that a `--backlog` stands for.
pub(super) fn for_listen(backlog: i32) -> i32 {
    if backlog == 0 { DEFAULT_BACKLOG } else { backlog }
}

/// What to listen to, checked as far as that goes without opening anything.
pub(crate) struct ListenPlan<'a> {
    ports: Vec<PortSpec>,
    paths: &'a [PathBuf],
    backlog: i32,
    /// The descriptors that ports are wanted at, and those of inherited listeners.
    targets: BTreeSet<RawFd>,
    /// The descriptor behind those of inherited listeners.
    next: RawFd,
    /// Whether the listeners have to be side by side.
    is_in_row: bool,
}

impl<'a> ListenPlan<'a> {
    /// Parses all ports, so that a mistake in the last one is found before the first one is bound. What is planned
    /// comes behind what was inherited.
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

    /// The plan to put all listeners side by side, as `LISTEN_FDS` tells no more than how many there are.
    pub(crate) fn for_listen_fds(mut self) -> Result<Self, Error> {
        if self.next == inherited::FIRST && self.count() == 0 {
            return Err(Error::rule(&[b"--listen-fds: there is nothing to listen to"]));
        }
        for (port, fd) in self.ports.iter().zip(self.next..) {
            if let Some(target) = port.target.as_ref().filter(|target| target.number != fd) {
                let place = format!("--listen-fds: the file descriptor of this port has to be {fd}, not ");
                return Err(Error::rule(&[place.as_bytes(), &target.text, b":", &port.name]));
            }
        }
        self.is_in_row = true;
        Ok(self)
    }

    /// How many listeners there will be beside the inherited ones.
    fn count(&self) -> usize {
        self.ports.len() + self.paths.len()
    }

    /// Each descriptor can hold one socket (`fd-clash`).
    fn collect_targets(&mut self) -> Result<(), Error> {
        for target in self.ports.iter().filter_map(|port| port.target.as_ref()) {
            if !self.targets.insert(target.number) {
                return Err(Error::rule(&[b"file descriptor ", &target.text, b" is wanted more than once"]));
            }
        }
        Ok(())
    }

    /// The file of an inherited socket would be removed, as a stale one.
    fn check_files(&self, inherited: &Listeners) -> Result<(), Error> {
        let files: Vec<FileId> = inherited.entries.iter().filter_map(Listener::file).collect();
        let is_inherited = |path: &&PathBuf| FileId::of(path).is_some_and(|id| files.contains(&id));
        match self.paths.iter().find(|path| !files.is_empty() && is_inherited(path)) {
            Some(path) => Err(Error::rule(&[b"there is a listener already at ", path.as_os_str().as_bytes()])),
            None => Ok(()),
        }
    }

    /// The variable that names the listeners must fit (`env-too-big`). Counted with the descriptors they get if none
    /// but the standard ones are open.
    fn check_variable(&self, inherited: &Listeners) -> Result<(), Error> {
        let names = inherited.entries.iter().map(|listener| listener.name.len());
        let names = names.chain(self.ports.iter().map(|port| port.name.len()));
        let names = names.chain(self.paths.iter().map(|path| path.as_os_str().len()));
        // Each with its `=` and the `;` in front of it, which the first one does not have.
        let entries: usize = names.zip(3..).map(|(name, fd): (usize, usize)| name + 2 + fd.to_string().len()).sum();
        check_length(entries.saturating_sub(1))
    }

    /// Moves the log, which is `fd`, to where it stands in no listener's way: to the lowest free number, as the
    /// original has it (S11); or, if a port is wanted there or all have to be side by side, behind all listeners.
    pub(crate) fn keep_clear(&self, fd: OwnedFd) -> Result<OwnedFd, Errno> {
        let own = fd.as_raw_fd();
        let lowest = (3..=own).find(|&number| number == own || !sys::is_open(number)).unwrap_or(own);
        if !self.is_in_row && !self.targets.contains(&lowest) {
            return if lowest == own { Ok(fd) } else { sys::move_above(fd, lowest, CloseOnExec::Yes) };
        }
        let is_free = |fd: RawFd| (fd == own || !sys::is_open(fd)) && !self.targets.contains(&fd);
        let mut numbers = (3..).filter(|&fd| is_free(fd)).skip(self.count());
        let clear = numbers.next().unwrap_or(own);
        if clear == own { Ok(fd) } else { sys::move_above(fd, clear, CloseOnExec::Yes) }
    }

    /// Binds the ports in their order, up to the first error, and then come the paths (S5). What was inherited comes
    /// first. From here on, programs that are executed get the listeners. `script` gives way to a port that is wanted
    /// there. What is kept free for the paths is the result.
    pub(crate) fn listen_to_ports(
        &self,
        listeners: &mut Listeners,
        script: &mut Place,
        stored: &mut Stored,
    ) -> Result<IntoIter<OwnedFd>, Error> {
        for inherited in &listeners.entries {
            fcntl(&inherited.fd, FcntlArg::F_SETFD(FdFlag::empty()))
                .map_err(|errno| Error::system(&[b"failed to pass on ", &inherited.name, b":"], errno))?;
        }
        listeners.backlog = self.backlog;
        let row = self.next..self.next.saturating_add(RawFd::try_from(self.count()).unwrap_or(RawFd::MAX));
        stored.keep_clear(|fd| self.targets.contains(&fd) || self.is_in_row && row.contains(&fd))?;
        let mut places = self.reserve_places()?.into_iter();
        for port in &self.ports {
            listeners.entries.push(self.listen_to_port(port, places.next(), script, stored)?);
        }
        Ok(places)
    }

    /// Binds the paths in their order, up to the first error.
    pub(crate) fn listen_to_paths(
        &self,
        listeners: &mut Listeners,
        mut places: IntoIter<OwnedFd>,
        stored: &mut Stored,
    ) -> Result<(), Error> {
        let mut kept = Vec::new();
        // Of all, before the first is touched.
        for path in self.paths {
            kept.push(stored.take_path(path)?);
            if kept.last().is_some_and(Option::is_none) {
                check_not_live(path)?;
            }
        }
        for (path, kept) in self.paths.iter().zip(kept) {
            let is_own = FileId::of(path).is_some_and(|id| listeners.files.iter().any(|file| file.id == id));
            let open = || kept.map_or_else(|| listen_to_path(path, is_own, self.backlog), Ok);
            let fd = self.open_at(open, None, places.next())?;
            // One that can't be known again could not be removed at the end.
            listeners.files.push(SocketFile::of(path).map_err(|error| {
                let _ = fs::remove_file(path);
                cannot_listen(path, error)
            })?);
            listeners.entries.push(Listener::new(path.as_os_str().as_bytes(), fd));
        }
        check_length(listeners.variable().len())
    }

    /// Something that keeps the place of each listener, if they have to be side by side: looking up the name of a host
    /// may open files and leave them open.
    fn reserve_places(&self) -> Result<Vec<OwnedFd>, Error> {
        let count = if self.is_in_row { self.count() } else { 0 };
        let reserve = |fd| {
            if sys::is_open(fd) {
                let rule = format!("--listen-fds: file descriptor {fd} is needed for a listener, but is open already");
                return Err(Error::rule(&[rule.as_bytes()]));
            }
            let place =
                File::open("/dev/null").map_err(|error| Error::system(&[b"failed to open /dev/null:"], error))?;
            // SAFETY: it is not open.
            #[expect(unsafe_code)]
            unsafe { sys::move_to(place.into(), fd) }.map_err(cannot_create)
        };
        (self.next..).take(count).map(reserve).collect()
    }

    fn listen_to_port(
        &self,
        port: &PortSpec,
        place: Option<OwnedFd>,
        script: &mut Place,
        stored: &mut Stored,
    ) -> Result<Listener, Error> {
        let target = port.target.as_ref();
        let open = || stored.take_port(port)?.map_or_else(|| bind_port(port, self.backlog), Ok);
        let fd = self.open_at(open, target.map(|target| target.number), place)?;
        let Some(target) = target else {
            return Ok(Listener::new(&port.name, fd));
        };
        script.leave(target.number);
        // SAFETY: none of our own descriptors is there: listeners avoid the targets of others (`open_at`), each of
        // which is wanted once (`collect_targets`), and so do the log and what the manager has kept (`keep_clear`). Nothing
        // else is open yet.
        #[expect(unsafe_code)]
        let moved = unsafe { sys::move_to(fd, target.number) };
        let fd = moved.map_err(|errno| Error::system(&[b"dup2(2) failed(", &target.text, b"): "], errno))?;
        say([b"socket is duplicated to file descriptor ", target.text.as_slice()].concat());
        Ok(Listener { fd_text: target.text.clone(), ..Listener::new(&port.name, fd) })
    }

    /// Opens a socket, and puts it in its place if that was reserved. Otherwise, where it lands on a descriptor that
    /// another port is wanted at, it goes to the next one free.
    fn open_at(
        &self,
        open: impl FnOnce() -> Result<OwnedFd, Error>,
        own: Option<RawFd>,
        place: Option<OwnedFd>,
    ) -> Result<OwnedFd, Error> {
        let mut fd = open()?;
        if let Some(place) = place {
            return sys::replace(place, fd).map_err(cannot_create);
        }
        while self.targets.contains(&fd.as_raw_fd()) && own != Some(fd.as_raw_fd()) {
            let above = fd.as_raw_fd() + 1;
            fd = sys::move_above(fd, above, CloseOnExec::No).map_err(cannot_create)?;
        }
        Ok(fd)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use nix::fcntl::fcntl;

    use super::*;
    use crate::listeners::inherited::tests::{hand_over, take_from};

    /// A TCP and a unix listener of the manager, and the number of the first.
    fn inherited(path: &Path) -> (RawFd, Listeners) {
        let tcp = OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let first = hand_over([tcp, UnixListener::bind(path).unwrap().into()]);
        (first, take_from(first, 2, Some(b"web:app")).unwrap().into())
    }

    fn plan<'a>(ports: &[&str], paths: &'a [PathBuf], inherited: &Listeners) -> Result<ListenPlan<'a>, Error> {
        ListenPlan::new(&ports.iter().map(Into::into).collect::<Vec<_>>(), paths, 0, inherited)
    }

    fn listen(plan: &ListenPlan, listeners: &mut Listeners) -> Result<(), Error> {
        let places = plan.listen_to_ports(listeners, &mut Place::default(), &mut Stored::default())?;
        plan.listen_to_paths(listeners, places, &mut Stored::default())
    }

    fn message<T>(result: Result<T, Error>) -> String {
        result.map(drop).unwrap_err().to_string()
    }

    #[test]
    fn inherited_listeners_come_first_and_stay_the_managers() {
        let dir = tempfile::tempdir().unwrap();
        let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
        let (first, mut listeners) = inherited(&theirs);
        let is_closed_on_exec = |listener: &Listener| {
            FdFlag::from_bits_truncate(fcntl(&listener.fd, FcntlArg::F_GETFD).unwrap()).contains(FdFlag::FD_CLOEXEC)
        };
        assert!(listeners.entries.iter().all(is_closed_on_exec));

        let paths = [ours.clone()];
        let plan = plan(&["127.0.0.1:0"], &paths, &listeners).unwrap();
        listen(&plan, &mut listeners).unwrap();
        assert!(!listeners.entries.iter().any(is_closed_on_exec));
        let variable = String::from_utf8(listeners.variable()).unwrap();
        let entries: Vec<_> = variable.split(';').collect();
        assert_eq!(entries.len(), 4);
        assert!(entries[0].starts_with("127.0.0.1:") && entries[0].ends_with(&format!("={first}")), "{variable}");
        assert_eq!(entries[1], format!("{}={}", theirs.display(), first + 1));
        assert!(entries[2].starts_with("127.0.0.1:0=") && entries[3].starts_with(ours.to_str().unwrap()));

        assert!(ours.exists());
        drop(listeners);
        assert!(!ours.exists() && theirs.exists());
        assert!(!sys::is_open(first));
    }

    #[test]
    fn no_port_is_wanted_where_an_inherited_listener_is() {
        let dir = tempfile::tempdir().unwrap();
        let (first, listeners) = inherited(&dir.path().join("socket"));
        let second = format!("0{}", first + 1);
        let error = message(plan(&[&format!("0={second}")], &[], &listeners));
        assert_eq!(error, format!("file descriptor {second} is wanted more than once"));
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
    fn for_listen_fds_all_listeners_are_side_by_side() {
        let dir = tempfile::tempdir().unwrap();
        let (first, mut listeners) = inherited(&dir.path().join("theirs"));
        let paths = [dir.path().join("ours")];
        let ports = ["127.0.0.1:0", &format!("0=0{}", first + 3), "localhost:u0"];
        let plan = plan(&ports, &paths, &listeners).unwrap().for_listen_fds().unwrap();
        listen(&plan, &mut listeners).unwrap();
        let is_next = |(listener, fd): (&Listener, _)| listener.fd.as_raw_fd() == fd;
        assert!(listeners.entries.iter().zip(first..).all(is_next));
        let variable = String::from_utf8(listeners.variable()).unwrap();
        assert!(variable.ends_with(&format!(
            ";127.0.0.1:0={};0=0{};localhost:0={};{}={}",
            first + 2,
            first + 3,
            first + 4,
            paths[0].display(),
            first + 5
        )));
        assert_eq!(listeners.listen_fds(), b"6");
        let names = format!("web:app:127.0.0.1_0:0:localhost_0:{}", paths[0].display());
        assert_eq!(String::from_utf8(listeners.listen_fdnames()).unwrap(), names);
        let close_on_exec = |listener: &Listener| fcntl(&listener.fd, FcntlArg::F_GETFD).unwrap() != 0;
        assert!(!listeners.entries.iter().any(close_on_exec));
    }

    #[test]
    fn for_listen_fds_nothing_else_may_be_in_between() {
        let dir = tempfile::tempdir().unwrap();
        let (first, mut listeners) = inherited(&dir.path().join("theirs"));
        // SAFETY: the test has reserved the number (`hand_over`).
        #[expect(unsafe_code)]
        let _other = unsafe { sys::move_to(File::open("/dev/null").unwrap().into(), first + 4) }.unwrap();
        let paths = [dir.path().join("ours")];
        let in_row = |ports: &[&str], listeners: &_| plan(ports, &paths, listeners).unwrap().for_listen_fds();
        let error = message(listen(&in_row(&["0", "0"], &listeners).unwrap(), &mut listeners));
        let number = first + 4;
        assert_eq!(
            error,
            format!("--listen-fds: file descriptor {number} is needed for a listener, but is open already")
        );
        assert!(!paths[0].exists() && !sys::is_open(first + 2) && listeners.entries.len() == 2);
        listen(&in_row(&["0"], &listeners).unwrap(), &mut listeners).unwrap();
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
        assert_eq!(error, "--listen-fds: the file descriptor of this port has to be 4, not 3:127.0.0.1:80");
        plan(&["0=3", "0", "0=05"], &[], &none).unwrap().for_listen_fds().unwrap();
        assert_eq!(
            message(plan(&[], &[], &none).unwrap().for_listen_fds()),
            "--listen-fds: there is nothing to listen to"
        );
        plan(&[], &[], &listeners).unwrap().for_listen_fds().unwrap();
    }
}
