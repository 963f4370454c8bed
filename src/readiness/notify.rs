//! The superdaemon's side of `--ready=notify`: a socket for each worker, to which `sd_notify(3)` and its kin send. Only
//! `READY=1` means something here. The socket's name can't be guessed or found, so knowing it proves that a sender was
//! told it; the sender may have exited. Linux only, as no other system reports which user has sent a datagram.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::iter;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::path::{self, Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, fstat, stat};
use nix::unistd::{UnlinkatFlags, geteuid, getuid, mkdtemp, unlinkat};

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::proc::Process;
use crate::proc::descendants::with_descendants;
use crate::readiness::{Watch, WatchPart};
use crate::stderr::say;
use crate::succession::{Descriptors, Lines};
use crate::sys::{self, Lock, Locked, Pid};

/// The directory in the temporary directory, before mkdtemp(3) makes it unique.
const DIRECTORY: &str = "start_server.XXXXXX";

/// The letters of a socket's name.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// This many letters are 132 bits, which nobody guesses.
const NAME_LENGTH: usize = 22;

/// How long the path of the temporary directory may be, to leave room for the directory, the name of a socket, and a
/// NUL, which some clients need.
const LONGEST_PARENT: usize = sys::LONGEST_SOCKET_PATH - "/start_server.XXXXXX/".len() - NAME_LENGTH - "\0".len();

/// The longest message that is read. Longer ones are ignored, as by systemd.
const LONGEST_MESSAGE: usize = 4096;

/// At most this many messages are read from one worker at a time, so a worker that never stops sending can't starve the
/// rest.
const MESSAGES_AT_A_TIME: usize = 256;

/// The sockets of the workers. Dropping them removes all files.
pub(super) struct NotifySockets {
    parent: PathBuf,
    directory: Rc<Directory>,
    /// How many sockets there have been; names the last one until it gets the name that its worker learns.
    count: u32,
    /// For the worker that is about to be started.
    pending: Option<Socket>,
    workers: BTreeMap<Pid, WorkerSocket>,
}

/// What the next program has to know: it reads the sockets of workers even if it doesn't need them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotifyPart {
    directory: RawFd,
    path: PathBuf,
    /// Where other directories are made.
    parent: PathBuf,
    count: u32,
    sockets: Vec<NotifySocketPart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct NotifySocketPart {
    worker: Pid,
    fd: RawFd,
    name: String,
    is_ready: bool,
}

impl NotifyPart {
    pub(super) fn write(&self, lines: &mut Lines) {
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        lines.add("notify-directory", &(self.directory, bytes(&self.path), bytes(&self.parent), self.count));
        for NotifySocketPart { worker, fd, name, is_ready } in &self.sockets {
            lines.add("notify-socket", &(*worker, *fd, name.clone().into_bytes(), *is_ready));
        }
    }

    /// None from a program that had no directory.
    pub(super) fn read(lines: &Lines) -> Result<Option<Self>, Error> {
        let socket = |(worker, fd, name, is_ready)| NotifySocketPart {
            worker,
            fd,
            name: String::from_utf8(name).unwrap_or_default(),
            is_ready,
        };
        let sockets = lines.all("notify-socket")?.into_iter().map(socket).collect();
        let path = |bytes| OsString::from_vec(bytes).into();
        let directory = lines.get("notify-directory")?;
        Ok(directory.map(|(directory, own, parent, count)| Self {
            directory,
            path: path(own),
            parent: path(parent),
            count,
            sockets,
        }))
    }

    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        self.sockets.iter().map(|socket| socket.fd).chain([self.directory]).collect()
    }
}

struct WorkerSocket {
    socket: Socket,
    is_ready: bool,
}

impl NotifySockets {
    /// Makes the directory that holds the sockets, in `$TMPDIR`, or in /tmp if that is not set or too long for a
    /// socket's path. Binds nothing. Removes what a killed superdaemon has left there.
    pub(super) fn new() -> Result<Self, Error> {
        let wanted = path::absolute(env::temp_dir()).unwrap_or_default();
        let fits = (1..=LONGEST_PARENT).contains(&wanted.as_os_str().len());
        Self::within(if fits { wanted } else { "/tmp".into() })
    }

    /// Continues with the directory and the sockets of another program, in the same process.
    pub(super) fn take_over(part: NotifyPart, descriptors: &mut Descriptors) -> Self {
        let NotifyPart { directory, path, parent, count, sockets } = part;
        let directory = Rc::new(Directory::take_over(descriptors.take_own(directory), path));
        let socket = |NotifySocketPart { worker, fd, name, is_ready }| {
            let socket = Socket { fd: descriptors.take_own(fd), directory: Rc::clone(&directory), name };
            (worker, WorkerSocket { socket, is_ready })
        };
        let mut workers = BTreeMap::new();
        workers.extend(sockets.into_iter().map(socket));
        Self { parent, directory, count, pending: None, workers }
    }

    fn within(parent: PathBuf) -> Result<Self, Error> {
        let name = parent.as_os_str().as_bytes();
        remove_left_over(&parent);
        let directory = Directory::make(&parent).map_err(|errno| {
            Error::system(&[b"failed to make a directory for notify sockets in ", name, b":"], errno)
        })?;
        Ok(Self { parent, directory: directory.into(), count: 0, pending: None, workers: BTreeMap::new() })
    }
}

impl Watch for NotifySockets {
    /// Opens the socket of the worker that is about to be started, and drops one that no worker was started with.
    fn prepare(&mut self) -> Result<Option<PathBuf>, Errno> {
        self.pending = None;
        self.count = self.count.wrapping_add(1);
        if !self.directory.is_there()? {
            // /tmp has been cleaned up, and the name may be somebody else's now.
            self.directory = Directory::make(&self.parent)?.into();
        }
        let socket = Socket::bind(&self.directory, &self.count.to_string())?;
        let path = self.directory.path.join(&socket.name);
        self.pending = Some(socket);
        Ok(Some(path))
    }

    /// The socket that was opened last is the worker's.
    fn begin(&mut self, worker: Pid) {
        if let Some(socket) = self.pending.take() {
            self.workers.insert(worker, WorkerSocket { socket, is_ready: false });
        }
    }

    /// Removes the worker's socket.
    fn end(&mut self, worker: Pid) {
        self.workers.remove(&worker);
    }

    /// Whether `READY=1` has arrived from a process that knows the worker's socket.
    fn is_ready(&mut self, worker: Pid) -> bool {
        self.workers.get(&worker).is_some_and(|worker| worker.is_ready)
    }

    fn part(&self) -> WatchPart {
        // If a worker's socket was in a directory that is gone, the file is gone, too.
        let sockets = self.workers.iter().map(|(&worker, WorkerSocket { socket, is_ready })| NotifySocketPart {
            worker,
            fd: socket.fd.as_raw_fd(),
            name: socket.name.clone(),
            is_ready: *is_ready,
        });
        let notify = NotifyPart {
            directory: self.directory.lock.as_raw_fd(),
            path: self.directory.path.clone(),
            parent: self.parent.clone(),
            count: self.count,
            sockets: sockets.collect(),
        };
        WatchPart { notify: Some(notify), may_look: false }
    }

    fn lack(&self) -> String {
        "has not sent READY=1".into()
    }

    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.workers.values().map(|worker| worker.socket.fd.as_fd()).collect()
    }

    fn read(&mut self) {
        for (&worker, WorkerSocket { socket, is_ready }) in &mut self.workers {
            for message in iter::from_fn(|| socket.receive()).take(MESSAGES_AT_A_TIME) {
                *is_ready |= message.says_ready && message.user.is_some_and(|user| may_speak_for(worker, user));
            }
        }
    }
}

/// Whether `user` is root, ours, or the worker's. A worker may be a `su` that stays root's: then a descendant's user
/// counts. The sending process doesn't matter, as it may already have exited.
fn may_speak_for(worker: Pid, user: u32) -> bool {
    let is_users = |&pid: &Pid| {
        let users = Process::Pid(pid).status("Uid").unwrap_or_default();
        users.split_ascii_whitespace().any(|known| known.parse() == Ok(user))
    };
    [0, getuid().as_raw(), geteuid().as_raw()].contains(&user)
        || is_users(&worker)
        || with_descendants(&[worker]).iter().any(is_users)
}

/// The directory of the sockets: only its owner can list it, but a process that knows a path in it can use that. It is
/// used by its descriptor, as its name may lead elsewhere. Dropping it removes it, if it is empty. Its lock tells
/// others that its owner is alive.
struct Directory {
    path: PathBuf,
    lock: Locked<OwnedFd>,
    /// Whether it is this superdaemon's.
    is_own: bool,
}

impl Directory {
    fn make(parent: &Path) -> Result<Self, Errno> {
        loop {
            let path = mkdtemp(&parent.join(DIRECTORY))?;
            let opened = Self::open(path.clone()).and_then(|directory| Ok((directory.is_there()?, directory)));
            match opened {
                Ok((true, mut directory)) => {
                    directory.is_own = true;
                    fchmod(&*directory.lock, Mode::from_bits_truncate(0o711))?;
                    return Ok(directory);
                }
                // Another start took it for a left-over one.
                Ok(_) | Err(Errno::ENOENT | Errno::EWOULDBLOCK) => {}
                Err(errno) => {
                    let _ = fs::remove_dir(&path);
                    return Err(errno);
                }
            }
        }
    }

    /// The directory that the previous program has made and locked.
    fn take_over(fd: OwnedFd, path: PathBuf) -> Self {
        Self { path, lock: Locked::by_inheritance(fd), is_own: true }
    }

    /// A directory of our own that nobody has locked.
    fn open(path: PathBuf) -> Result<Self, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = open(&path, flags, Mode::empty())?;
        if fstat(&fd)?.st_uid != geteuid().as_raw() {
            return Err(Errno::EPERM);
        }
        let lock = Locked::lock(fd, Lock::Try).map_err(|(_, errno)| errno)?;
        Ok(Self { path, lock, is_own: false })
    }

    /// Whether it still has its name.
    fn is_there(&self) -> Result<bool, Errno> {
        match stat(&self.path) {
            Ok(there) => Ok(FileId::from(&there) == FileId::from(&fstat(&*self.lock)?)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Whether nobody uses it: versions from before the lock had sockets in it that a process receives from.
    fn is_left_over(&self) -> bool {
        let mut names = fs::read_dir(&self.path).into_iter().flatten().flatten().map(|entry| entry.path());
        !names.any(|path| UnixDatagram::unbound().is_ok_and(|socket| socket.connect(path).is_ok()))
    }

    fn remove_sockets(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_socket()) {
                let _ = unlinkat(&*self.lock, &*entry.file_name(), UnlinkatFlags::NoRemoveDir);
            }
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Look once more if the first look failed.
        let removed = self.is_there().or_else(|_| self.is_there()).map_err(io::Error::from).and_then(|is_there| {
            if is_there && self.is_own {
                self.remove_sockets();
            }
            if is_there { fs::remove_dir(&self.path) } else { Ok(()) }
        });
        if let Err(error) = removed
            && self.is_own
        {
            say(Error::cannot_unlink(&self.path, error).message());
        }
    }
}

/// Removes the directories of superdaemons that were killed.
fn remove_left_over(parent: &Path) {
    let prefix = DIRECTORY.trim_end_matches('X').as_bytes();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.len() == DIRECTORY.len()
            && name.as_bytes().starts_with(prefix)
            && let Ok(directory) = Directory::open(entry.path())
            && directory.is_left_over()
        {
            directory.remove_sockets();
        }
    }
}

/// A bound socket. Dropping it removes its file.
struct Socket {
    fd: OwnedFd,
    directory: Rc<Directory>,
    name: String,
}

impl Socket {
    fn bind(directory: &Rc<Directory>, first_name: &str) -> Result<Self, Errno> {
        let name = secret_name()?;
        let fd = sys::datagram_socket()?;
        let path = Process::Own.descriptor(directory.lock.as_raw_fd()).path().join(first_name);
        sys::bind_unix(&fd, path.as_os_str().as_bytes())?;
        let mut socket = Self { fd, directory: Rc::clone(directory), name: first_name.to_owned() };
        // ORDER: bound under another name, as /proc/net/unix shows that one to everybody, for ever.
        renameat(&*directory.lock, first_name, &*directory.lock, name.as_str())?;
        socket.name = name;
        // A worker may have changed its user by the time it is ready.
        let everybody = Mode::S_IRWXU | Mode::S_IRWXG | Mode::S_IRWXO;
        fchmodat(&*directory.lock, socket.name.as_str(), everybody, FchmodatFlags::FollowSymlink)?;
        Ok(socket)
    }

    fn receive(&self) -> Option<Message> {
        // One byte more, to see that a message is too long.
        let mut buffer = [0; LONGEST_MESSAGE + 1];
        let (length, user) = sys::receive(&self.fd, &mut buffer).ok()?;
        Some(Message { user, says_ready: says_ready(&buffer[..length]) })
    }
}

/// Whether that is a line of a message, which may end in a NUL.
fn says_ready(message: &[u8]) -> bool {
    let text = message.strip_suffix(b"\0").unwrap_or(message);
    message.len() <= LONGEST_MESSAGE && text.split(|&byte| byte == b'\n').any(|line| line == b"READY=1")
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = unlinkat(&*self.directory.lock, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}

struct Message {
    /// The sender's user, as the kernel reports it.
    user: Option<u32>,
    says_ready: bool,
}

fn secret_name() -> Result<String, Errno> {
    let bytes: [u8; NAME_LENGTH] = sys::random()?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 64)])).collect())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::collections::BTreeSet;
    use std::io::{IoSlice, Read};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    use nix::poll::{PollFd, PollFlags, poll};
    use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
    use tempfile::TempDir;

    use super::*;
    use crate::proc::unix_sockets;

    /// In most tests, this process plays a worker: it can send, and be sent for.
    fn this_process() -> Pid {
        Pid::try_from(std::process::id()).unwrap()
    }

    fn sockets() -> (TempDir, NotifySockets) {
        let dir = tempfile::tempdir().unwrap();
        let sockets = NotifySockets::within(dir.path().to_owned()).unwrap();
        (dir, sockets)
    }

    fn open_for(sockets: &mut NotifySockets, worker: Pid) -> PathBuf {
        let path = sockets.prepare().unwrap().unwrap();
        sockets.begin(worker);
        path
    }

    fn send(path: &Path, message: &[u8]) {
        UnixDatagram::unbound().unwrap().send_to(message, path).unwrap();
    }

    /// Reads until the worker is ready.
    fn wait_for_ready(sockets: &mut NotifySockets, worker: Pid) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !sockets.is_ready(worker) {
            assert!(Instant::now() < deadline, "no READY=1");
            let mut fds: Vec<_> = sockets.fds().into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            poll(&mut fds, 1000_u16).unwrap();
            sockets.read();
        }
    }

    #[test]
    fn a_worker_is_ready_when_it_says_so() {
        let (_dir, mut sockets) = sockets();
        let worker = this_process();
        for (message, is_ready) in [
            (&b"READY=1"[..], true),
            (b"READY=1\n", true),
            (b"READY=1\0", true),
            (b"STATUS=READY=0\nREADY=1\nMAINPID=1\n", true),
            (b"", false),
            (b"READY=0", false),
            (b"READY=11", false),
            (b"XREADY=1\nSTATUS=READY=1\nready=1", false),
            (&[b"STATUS=".as_slice(), &[b'x'; LONGEST_MESSAGE], b"\nREADY=1"].concat(), false),
            (&[&[b'x'; LONGEST_MESSAGE - 8], b"\nREADY=11".as_slice()].concat(), false),
            (&[b"READY=1\nSTATUS=".as_slice(), &[b'x'; LONGEST_MESSAGE]].concat(), false),
        ] {
            let path = open_for(&mut sockets, worker);
            send(&path, message);
            assert!(!sockets.is_ready(worker));
            sockets.read();
            assert_eq!(sockets.is_ready(worker), is_ready, "{}", message.escape_ascii());
            send(&path, b"STATUS=still here");
            sockets.read();
            assert_eq!(sockets.is_ready(worker), is_ready);
            sockets.end(worker);
            assert!(!sockets.is_ready(worker) && !path.exists());
        }
    }

    #[test]
    fn what_was_sent_before_the_worker_is_known_counts() {
        let (_dir, mut sockets) = sockets();
        let path = sockets.prepare().unwrap().unwrap();
        send(&path, b"READY=1");
        sockets.read();
        assert_eq!(sockets.fds().len(), 0);
        sockets.begin(this_process());
        sockets.read();
        assert!(sockets.is_ready(this_process()));
    }

    /// Each has a name of its own, which nothing world-readable shows.
    #[test]
    fn names_are_secret() {
        let (_dir, mut sockets) = sockets();
        let mut names = BTreeSet::new();
        for worker in 1..=100 {
            let path = open_for(&mut sockets, worker);
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert_eq!(name.len(), NAME_LENGTH);
            assert!(!unix_sockets().any(|socket| socket.name.ends_with(name.as_bytes())));
            names.insert(name);
        }
        assert_eq!(names.len(), 100);
    }

    #[test]
    fn users_who_may_speak_for_a_worker() {
        let mut child = Command::new("sh");
        child.args(["-c", "cat; :"]).stdin(Stdio::piped());
        let is_root = geteuid().is_root();
        if is_root {
            child.uid(12345).gid(12345);
        }
        let mut child = child.spawn().unwrap();
        let pid = Pid::try_from(child.id()).unwrap();
        for (user, may) in [(0, true), (geteuid().as_raw(), true), (12345, is_root), (12346, false)] {
            assert_eq!(may_speak_for(pid, user), may, "{user}");
        }
        // This process has another user than its child.
        assert_eq!(may_speak_for(this_process(), 12345), is_root);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!may_speak_for(pid, 12346));
    }

    /// The message of a one-shot sender, which exits before it is read.
    #[test]
    fn a_sender_may_be_gone() {
        let (_dir, mut sockets) = sockets();
        let path = open_for(&mut sockets, this_process());
        let code = "IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => $ARGV[0])->send('READY=1')";
        let sender = Command::new("perl").args(["-MIO::Socket::UNIX", "-e", code]).arg(&path).status();
        assert!(sender.unwrap().success());
        sockets.read();
        assert!(sockets.is_ready(this_process()));
    }

    #[test]
    fn descriptors_that_come_along_are_closed() {
        let (_dir, mut sockets) = sockets();
        let address = UnixAddr::new(&open_for(&mut sockets, this_process())).unwrap();
        let (mut barrier, writer) = io::pipe().unwrap();
        let descriptors = [writer.as_raw_fd(); 100];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let sender = UnixDatagram::unbound().unwrap();
        let data = [IoSlice::new(b"READY=1\nBARRIER=1")];
        sendmsg(sender.as_raw_fd(), &data, &rights, MsgFlags::empty(), Some(&address)).unwrap();
        drop(writer);
        sockets.read();
        assert!(sockets.is_ready(this_process()));
        assert_eq!(poll(&mut [PollFd::new(barrier.as_fd(), PollFlags::POLLIN)], 10_000_u16), Ok(1));
        assert_eq!(barrier.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_talkative_worker_is_never_blocked_for_ever() {
        let (_dir, mut sockets) = sockets();
        let path = open_for(&mut sockets, this_process());
        let sender = thread::spawn(move || {
            let socket = UnixDatagram::unbound().unwrap();
            for _ in 0..5 * MESSAGES_AT_A_TIME {
                socket.send_to(b"WATCHDOG=1", &path).unwrap();
            }
            socket.send_to(b"READY=1", &path).unwrap();
        });
        wait_for_ready(&mut sockets, this_process());
        sender.join().unwrap();
    }

    #[test]
    fn anybody_may_send_but_only_the_owner_may_look() {
        let mut sockets = NotifySockets::new().unwrap();
        let path = sockets.prepare().unwrap().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o711, 0o777));
        assert!(path.is_absolute() && fs::metadata(&path).unwrap().file_type().is_socket());
    }

    #[test]
    fn all_files_go() {
        let (dir, mut sockets) = sockets();
        let is_there = |path: &Path| path.exists();
        let never_used = sockets.prepare().unwrap().unwrap();
        let first = open_for(&mut sockets, 1);
        assert!(!is_there(&never_used) && is_there(&first));
        let second = open_for(&mut sockets, 2);
        sockets.end(1);
        sockets.end(3);
        assert!(!is_there(&first) && is_there(&second) && sockets.fds().len() == 1);
        sockets.prepare().unwrap().unwrap();
        drop(sockets);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_was_removed_comes_back() {
        let (dir, mut sockets) = sockets();
        let path = open_for(&mut sockets, 1);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        let path = open_for(&mut sockets, this_process());
        send(&path, b"READY=1");
        sockets.read();
        assert!(sockets.is_ready(this_process()));
        drop(sockets);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    /// Another user could put a directory there, and links into it.
    #[test]
    fn a_directory_that_has_taken_the_name_is_left_alone() {
        let (dir, mut sockets) = sockets();
        let path = open_for(&mut sockets, 1);
        let directory = path.parent().unwrap();
        let away = dir.path().join("away");
        fs::rename(directory, &away).unwrap();
        fs::create_dir(directory).unwrap();
        let next = open_for(&mut sockets, 2);
        assert!(next.parent() != Some(directory) && next.exists());
        drop(sockets);
        assert!(fs::read_dir(directory).unwrap().count() == 0 && fs::read_dir(&away).unwrap().count() == 0);
    }

    #[test]
    fn what_a_killed_superdaemon_has_left_is_removed() {
        let (dir, mut alive) = sockets();
        let path = open_for(&mut alive, 1);
        let left_over = dir.path().join("start_server.abcdef");
        let older = dir.path().join("start_server.ghijkl");
        let others = dir.path().join("start_server.with-a-longer-name");
        for directory in [&left_over, &older, &others] {
            fs::create_dir(directory).unwrap();
        }
        drop(UnixDatagram::bind(left_over.join("1")).unwrap());
        let _receives = UnixDatagram::bind(older.join("1")).unwrap();
        let _sockets = NotifySockets::within(dir.path().to_owned()).unwrap();
        assert_eq!([&left_over, &older, &others, &path].map(|path| path.exists()), [false, true, true, true]);
        send(&path, b"STATUS=still here");
    }

    #[test]
    fn the_next_program_knows_who_is_ready() {
        let (_dir, mut sockets) = sockets();
        for worker in [1, this_process()] {
            let path = open_for(&mut sockets, worker);
            send(&path, if worker == 1 { b"STATUS=READY=1" } else { b"READY=1" });
        }
        sockets.read();
        let part = sockets.part().notify.unwrap();
        let ready: Vec<Pid> = part.sockets.iter().filter(|it| it.is_ready).map(|it| it.worker).collect();
        assert_eq!((part.sockets.len(), ready), (2, vec![this_process()]));
    }

    #[test]
    fn a_directory_where_none_can_be_made() {
        let error = NotifySockets::within("/nonexistent".into()).map(drop).unwrap_err();
        let text = "failed to make a directory for notify sockets in /nonexistent:No such file or directory";
        assert_eq!((error.to_string().as_str(), error.exit_code()), (text, 2));
    }

    #[test]
    fn the_longest_path_leaves_room_for_a_nul() {
        let dir = tempfile::tempdir().unwrap();
        let filler = LONGEST_PARENT - dir.path().as_os_str().len() - 1;
        let parent = dir.path().join("x".repeat(filler));
        fs::create_dir(&parent).unwrap();
        let mut sockets = NotifySockets::within(parent).unwrap();
        let path = open_for(&mut sockets, this_process());
        assert_eq!(path.as_os_str().len() + 1, sys::LONGEST_SOCKET_PATH);
        send(&path, b"READY=1");
        sockets.read();
        assert!(sockets.is_ready(this_process()));
    }

    #[test]
    fn whatever_the_text_is() {
        crate::random_texts::each_damaged(&[b"READY=1", b"STATUS=READY=0\nREADY=1\nMAINPID=1\n"], |text| {
            let has_line =
                text.strip_suffix(b"\0").unwrap_or(text).split(|&byte| byte == b'\n').any(|line| line == b"READY=1");
            assert_eq!(says_ready(text), has_line && text.len() <= LONGEST_MESSAGE);
        });
    }
}
