//! The signals of the superdaemon: a handler that notes them and ends the wait of the loop, and what workers get
//! instead.
//!
//! No signal is blocked, except where a fork takes two steps: so even slow work sees at once that a stop is requested.

#![allow(unsafe_code)]

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use libc::{c_int, c_void};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::error::Error;
use crate::stderr;
use crate::stop_request;
use crate::succession::{Lines, Part};
use crate::sys::{self, Blocked, Fork, OneThread};
use crate::world::Request;

/// The signals that are caught: those of the original (X5), QUIT (`quit-stops`), and the one for a dead child. USR1 and
/// USR2 would kill the superdaemon, but not its workers (`stray-signals`).
const CAUGHT: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGCHLD,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// The signals that have arrived and were not read: a bit for each number.
static CAME: AtomicU32 = AtomicU32::new(0);

/// Set by CHLD, cleared when a look finds no dead child. Starts as true: a child may have died before the handler was
/// installed.
static MAY_HAVE_DEAD_CHILD: AtomicBool = AtomicBool::new(true);

/// Those that do nothing (LIFE-006, `file-size`). They are caught for that, not ignored, as exec resets a handler by
/// itself.
const WITHOUT_EFFECT: [Signal; 2] = [Signal::SIGFPE, Signal::SIGXFSZ];

/// The signal dispositions at launch, which the started programs inherit.
pub(crate) struct LaunchState {
    /// Known when the handlers are installed.
    mask: SigSet,
    /// Those that were ignored, and will be ignored again. Among the caught ones, these are USR1 and USR2, which are
    /// known when the handlers are installed; so is QUIT, which stays ignored.
    ignored: Vec<Signal>,
    /// What a fork needs. It is available wherever a program is started.
    pub(crate) one_thread: OneThread,
}

impl LaunchState {
    /// Takes note of the launch state, and does what perl does at its start (LIFE-005, LIFE-006): FPE has no effect,
    /// and a CHLD that was ignored, which would prevent waiting for children, is default. XFSZ has no effect, either: a
    /// write that would make a file too large is then an error, as on a full disk (`file-size`).
    pub(crate) fn take_over(one_thread: OneThread) -> Self {
        let mut launch = Self { mask: SigSet::empty(), ignored: Vec::new(), one_thread };
        for signal in WITHOUT_EFFECT {
            let before = set_action(signal, SigHandler::SigAction(pass));
            launch.note(signal, before);
        }
        set_action(Signal::SIGCHLD, SigHandler::SigDfl);
        launch
    }

    /// Notes the disposition of a signal that is caught from now on.
    fn note(&mut self, signal: Signal, before: SigAction) {
        if !matches!(before.handler(), SigHandler::SigIgn) {
            return;
        }
        match signal {
            Signal::SIGFPE | Signal::SIGXFSZ | Signal::SIGQUIT => {
                set_action(signal, SigHandler::SigIgn);
            }
            Signal::SIGUSR1 | Signal::SIGUSR2 => {}
            // Workers get them as default (LIFE-005).
            _ => return,
        }
        if !self.ignored.contains(&signal) {
            self.ignored.push(signal);
        }
    }

    /// For the next program, which has no launch of its own.
    pub(super) fn part(&self) -> LaunchPart {
        let blocked = Signal::iterator().filter(|&signal| self.mask.contains(signal)).map(|signal| signal as c_int);
        let ignored = self.ignored.iter().map(|&signal| signal as c_int);
        LaunchPart { blocked: blocked.collect(), ignored: ignored.collect() }
    }

    /// Continues from it. The previous program has blocked everything, until there are handlers again.
    pub(crate) fn resume(one_thread: OneThread, saved: &LaunchPart) -> (Self, Blocked) {
        let mask = Signal::iterator().filter(|&signal| saved.blocked.contains(&(signal as c_int))).collect();
        let ignored: Vec<_> = Signal::iterator().filter(|&signal| saved.ignored.contains(&(signal as c_int))).collect();
        for signal in WITHOUT_EFFECT {
            let is_ignored = ignored.contains(&signal);
            set_action(signal, if is_ignored { SigHandler::SigIgn } else { SigHandler::SigAction(pass) });
        }
        (Self { mask, ignored, one_thread }, Blocked::inherited(mask))
    }

    /// Forks a process that executes a program next. It has the launch state, except that the caught signals are
    /// default even if they were ignored (LIFE-005), as exec makes them. A signal that arrives after the fork takes
    /// effect.
    pub(super) fn fork(&self) -> Result<Fork, Errno> {
        let forked = match sys::fork_without_handlers(self.one_thread)? {
            Some(forked) => forked,
            None => self.fork_and_remove_handlers()?,
        };
        if matches!(forked, Fork::Child) {
            self.restore_actions();
            // It differs only by CHLD.
            if self.mask.contains(Signal::SIGCHLD) {
                let _ = self.mask.thread_set_mask();
            }
        }
        Ok(forked)
    }

    /// The same in steps, all signals blocked meanwhile.
    fn fork_and_remove_handlers(&self) -> Result<Fork, Errno> {
        let _blocked = sys::block_all();
        let forked = sys::fork(self.one_thread)?;
        if matches!(forked, Fork::Child) {
            for signal in CAUGHT.into_iter().chain(WITHOUT_EFFECT) {
                if !self.ignored.contains(&signal) {
                    set_action(signal, SigHandler::SigDfl);
                }
            }
        }
        Ok(forked)
    }

    /// In a child: ignores what was ignored at launch. Async-signal-safe.
    pub(crate) fn restore_actions(&self) {
        for &signal in &self.ignored {
            set_action(signal, SigHandler::SigIgn);
        }
    }
}

/// The signals that were blocked and ignored at launch, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaunchPart {
    pub(crate) blocked: Vec<c_int>,
    pub(crate) ignored: Vec<c_int>,
}

impl Part for LaunchPart {
    fn write(&self, lines: &mut Lines) {
        lines.add_all("launch-blocked", self.blocked.iter().map(|&signal| (signal,)));
        lines.add_all("launch-ignored", self.ignored.iter().map(|&signal| (signal,)));
    }

    fn read(lines: &Lines) -> Result<Self, Error> {
        Ok(Self { blocked: lines.values("launch-blocked")?, ignored: lines.values("launch-ignored")? })
    }
}

/// Ignores PIPE from now on. Workers inherit that (LIFE-004).
pub(crate) fn ignore_broken_pipes() {
    set_action(Signal::SIGPIPE, SigHandler::SigIgn);
}

/// The caught signals.
pub(crate) struct Signals {
    /// Whether USR1 has arrived.
    is_log_to_be_opened: bool,
    /// Whether USR2 has arrived.
    is_to_be_replaced: bool,
}

impl Signals {
    /// Installs the handlers, whatever the signals did at launch (LIFE-005: `nohup` has no effect). But an ignored
    /// QUIT, with which a shell starts programs in the background, stays ignored. Signals that arrived while they were
    /// `blocked` are handled then.
    pub(crate) fn install(launch: &mut LaunchState, blocked: Blocked) -> Self {
        launch.mask = blocked.mask();
        for signal in CAUGHT {
            let before = set_action(signal, SigHandler::Handler(note));
            launch.note(signal, before);
        }
        stderr::stop_waiting_for_ever();
        drop(blocked);
        // The mask stays as it was at launch (LIFE-007), but without CHLD a death would never be noticed: the original
        // waits in wait(2), which needs no CHLD.
        if launch.mask.contains(Signal::SIGCHLD) {
            let mut child = SigSet::empty();
            child.add(Signal::SIGCHLD);
            let _ = child.thread_unblock();
        }
        Self { is_log_to_be_opened: false, is_to_be_replaced: false }
    }

    /// Waits until a signal arrives or one of `others` can be read, at most `timeout`. Not at all if one has arrived
    /// since the last call of [`Self::read`].
    pub(super) fn wait(others: &[BorrowedFd], timeout: Option<Duration>) {
        let mut others: Vec<_> = others.iter().map(|&fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        sys::wait(&mut others, timeout, || CAME.load(Ordering::Relaxed) != 0);
    }

    /// The signals that have arrived since the last call, in ascending number as in perl (LIFE-068), without CHLD.
    /// Doesn't block.
    pub(crate) fn read(&mut self) -> Vec<Request> {
        // Called very often.
        if CAME.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        stop_request::set_waiting(false);
        let came = CAME.swap(0, Ordering::Relaxed);
        self.is_log_to_be_opened |= came & bit_of(libc::SIGUSR1) != 0;
        self.is_to_be_replaced |= came & bit_of(libc::SIGUSR2) != 0;
        let mut came: Vec<_> =
            CAUGHT.map(|signal| signal as c_int).into_iter().filter(|&it| came & bit_of(it) != 0).collect();
        came.sort_unstable();
        came.into_iter().filter_map(request).collect()
    }

    /// Whether USR2 has arrived since the last call.
    pub(super) fn take_to_be_replaced(&mut self) -> bool {
        std::mem::take(&mut self.is_to_be_replaced)
    }

    /// Whether USR1 has arrived since the last call.
    pub(super) fn take_log_to_be_opened(&mut self) -> bool {
        std::mem::take(&mut self.is_log_to_be_opened)
    }
}

/// What a signal requests from the life cycle. None for those that only wake it.
fn request(signal: c_int) -> Option<Request> {
    match signal {
        libc::SIGHUP => Some(Request::Hup),
        libc::SIGINT => Some(Request::Int),
        libc::SIGTERM => Some(Request::Term),
        libc::SIGALRM => Some(Request::Alrm),
        libc::SIGQUIT => Some(Request::Quit),
        _ => None,
    }
}

/// All signals that are caught have numbers below 32.
fn bit_of(signal: c_int) -> u32 {
    1 << signal
}

/// Whether a child may be dead.
pub(super) fn may_have_dead_child() -> bool {
    MAY_HAVE_DEAD_CHILD.load(Ordering::Relaxed)
}

/// The dead children that `look` finds, if there can be any: it calls the system only after a CHLD.
pub(super) fn find_dead_child<T>(look: impl FnOnce() -> Result<Option<T>, Errno>) -> Result<Option<T>, Errno> {
    // ORDER: cleared before the look, as one may die right after it.
    if !MAY_HAVE_DEAD_CHILD.swap(false, Ordering::Relaxed) {
        return Ok(None);
    }
    let found = look();
    // If one is dead, others may be; and after an error, nothing is known.
    MAY_HAVE_DEAD_CHILD.fetch_or(!matches!(found, Ok(None)), Ordering::Relaxed);
    found
}

/// The handler.
extern "C" fn note(signal: c_int) {
    if signal == libc::SIGCHLD {
        MAY_HAVE_DEAD_CHILD.store(true, Ordering::Relaxed);
    }
    // ORDER: before the signal can be read, which clears this.
    if matches!(signal, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT) {
        stop_request::set_waiting(true);
    }
    CAME.fetch_or(bit_of(signal), Ordering::Relaxed);
    sys::end_wait();
}

/// The handler of signals without effect. One that the processor has raised would repeat for ever, so it gets its
/// default effect.
extern "C" fn pass(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel gives a valid structure.
    if signal == libc::SIGFPE && unsafe { (*info).si_code } > 0 {
        set_action(Signal::SIGFPE, SigHandler::SigDfl);
    }
}

fn set_action(signal: Signal, handler: SigHandler) -> SigAction {
    // All signals are blocked in a handler, so none interrupts another's. No SA_RESTART: a signal ends the wait for the
    // lock of the pid file (LIFE-097), unless it has no effect.
    let restart = if matches!(handler, SigHandler::SigAction(_)) { SaFlags::SA_RESTART } else { SaFlags::empty() };
    let action = SigAction::new(handler, SaFlags::SA_NOCLDSTOP | restart, SigSet::all());
    // SAFETY: the two handlers do nothing but async-signal-safe calls.
    unsafe { sigaction(signal, &action) }.unwrap_or(action)
}
