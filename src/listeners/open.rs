//! Opens what was planned: each listener at its descriptor, in the original's order.
//!
//! No listener is closed on exec. That is how workers inherit them, and how they survive an exec of the superdaemon
//! itself (`--upgrade`), which lists the other descriptors that it keeps, but not these. A child that is not a worker
//! (a rehearsal, the command of `--approve`) marks them close-on-exec for itself.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::vec::IntoIter;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::listeners::address::Address;
use crate::listeners::bind::{bind_port, cannot_create, cannot_listen, check_not_live, listen_to_path};
use crate::listeners::export::check_length;
use crate::listeners::plan::ListenPlan;
use crate::listeners::port_spec::PortSpec;
use crate::listeners::socket_file::SocketFile;
use crate::listeners::{Listener, Listeners, Place, Stored};
use crate::stderr::say;
use crate::sys::{self, CloseOnExec};

impl ListenPlan<'_> {
    /// Moves `fd`, the log, out of the way of the listeners: to the lowest free number, as in the original (S11), or,
    /// if a port is wanted there or the listeners need consecutive numbers, to one after all listeners.
    pub(crate) fn keep_clear(&self, fd: OwnedFd) -> Result<OwnedFd, Errno> {
        let own = fd.as_raw_fd();
        let is_free = |number: RawFd| number == own || !sys::is_open(number);
        let lowest = (3..=own).find(|&number| is_free(number)).unwrap_or(own);
        let clear = if self.is_in_row || self.targets.contains(&lowest) {
            let mut numbers = (3..).filter(|number| is_free(*number) && !self.targets.contains(number));
            numbers.nth(self.count()).unwrap_or(own)
        } else {
            lowest
        };
        let fd = if clear == own { fd } else { sys::move_above(fd, clear, CloseOnExec::Yes)? };
        debug_assert!(!self.targets.contains(&fd.as_raw_fd()), "a port is wanted where the log is");
        Ok(fd)
    }

    /// Binds the ports in order, up to the first error; the paths follow (S5). Inherited listeners come first. From
    /// here on, every executed program inherits the listeners. `script` makes room for a port that is wanted at its
    /// number. Returns the placeholder descriptors reserved for the paths.
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
            let listener = self.listen_to_port(port, listeners, &mut places, script, stored)?;
            listeners.entries.push(listener);
        }
        Ok(places)
    }

    /// Binds the paths in order, up to the first error.
    pub(crate) fn listen_to_paths(
        &self,
        listeners: &mut Listeners,
        mut places: IntoIter<OwnedFd>,
        stored: &mut Stored,
    ) -> Result<(), Error> {
        let mut kept = Vec::new();
        // All are checked before the first one is touched.
        for path in self.paths {
            kept.push(stored.take_path(path)?);
            if kept.last().is_some_and(Option::is_none) {
                check_not_live(path)?;
            }
        }
        for (path, kept) in self.paths.iter().zip(kept) {
            let is_own = FileId::of(path).is_some_and(|id| listeners.files.iter().any(|file| file.id() == id));
            let open = || kept.map_or_else(|| listen_to_path(path, is_own, self.backlog), Ok);
            let fd = self.open_at(open, None, places.next())?;
            // Without the identity of its file, the socket could not be removed at the end.
            listeners.files.push(SocketFile::of(path).map_err(|error| {
                let _ = fs::remove_file(path);
                cannot_listen(path, error)
            })?);
            listeners.entries.push(Listener::new(path.as_os_str().as_bytes(), fd));
        }
        check_length(listeners.variable().len())
    }

    /// A placeholder for each listener, if they need consecutive numbers: the look-up of a host name may open files and
    /// leave them open.
    fn reserve_places(&self) -> Result<Vec<OwnedFd>, Error> {
        let count = if self.is_in_row { self.count() } else { 0 };
        let reserve = |fd| {
            if sys::is_open(fd) {
                let rule = format!("--listen-fds: file descriptor {fd} is needed for a listener, but is open already");
                return Err(Error::rule(&[rule.as_bytes()]));
            }
            let place =
                File::open("/dev/null").map_err(|error| Error::system(&[b"failed to open /dev/null:"], error))?;
            // SAFETY: the number is not open, so nothing owns it.
            #[expect(unsafe_code)]
            unsafe { sys::move_to(place.into(), fd) }.map_err(cannot_create)
        };
        (self.next..).take(count).map(reserve).collect()
    }

    fn listen_to_port(
        &self,
        port: &PortSpec,
        earlier: &Listeners,
        places: &mut IntoIter<OwnedFd>,
        script: &mut Place,
        stored: &mut Stored,
    ) -> Result<Listener, Error> {
        let target = port.target.as_ref();
        let open = || {
            let address = Address::of_port(port)?;
            stored.take(&address)?.map_or_else(|| bind_port(&port.name, &address, self.backlog), Ok)
        };
        let fd = self.open_at(open, target.map(|target| target.number), places.next())?;
        let Some(target) = target else {
            return Ok(Listener::new(&port.name, fd));
        };
        script.leave(target.number);
        let mut owned = earlier.fds().chain(places.as_slice().iter().map(AsFd::as_fd)).chain(stored.fds());
        debug_assert!(
            !owned.any(|fd| fd.as_raw_fd() == target.number),
            "a descriptor of ours is where a port is wanted"
        );
        // SAFETY: nothing owns this number. It is wanted once (`collect_targets`); other listeners avoid it
        // (`open_at`), and so do the log and what the manager has kept (both `keep_clear`); `script` has just left it.
        // A placeholder is there only for this port, and has been replaced (`for_listen_fds`, `open_at`). Nothing else
        // is open yet.
        #[expect(unsafe_code)]
        let moved = unsafe { sys::move_to(fd, target.number) };
        let fd = moved.map_err(|errno| Error::system(&[b"dup2(2) failed(", &target.text, b"): "], errno))?;
        say([b"socket is duplicated to file descriptor ", target.text.as_slice()].concat());
        Ok(Listener { fd_text: target.text.clone(), ..Listener::new(&port.name, fd) })
    }

    /// Opens a socket and moves it to its placeholder, if there is one. Otherwise, if it lands on a number at which
    /// another port is wanted, it moves to the next free one. `own`: the number at which this one is wanted.
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
    use nix::fcntl::fcntl;

    use super::*;
    use crate::listeners::plan::tests::{inherited, message, plan};

    fn listen(plan: &ListenPlan, listeners: &mut Listeners) -> Result<(), Error> {
        let places = plan.listen_to_ports(listeners, &mut Place::default(), &mut Stored::default())?;
        plan.listen_to_paths(listeners, places, &mut Stored::default())
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
}
