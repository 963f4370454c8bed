//! What `--restart` shows on a terminal: one line that says what it waits for, and finally the result. If standard
//! error is not a terminal, it shows nothing.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::control::delay::{Delay, Standstill};
use crate::control::show_status::listeners_of;
use crate::control::status::ListenerStatus;
use crate::sys::{Interrupts, Pid};

/// How often the line is written again.
const INTERVAL: Duration = Duration::from_millis(100);

/// A restart that is watched on a terminal.
pub(super) struct Progress<'a> {
    superdaemon: Pid,
    status_file: &'a Path,
    begin: Instant,
    /// When the new worker had started.
    started: Option<Duration>,
    shown: Option<Instant>,
    /// The listeners, with what full queues had refused before.
    before: Vec<ListenerStatus>,
    interrupts: Interrupts,
}

impl<'a> Progress<'a> {
    /// None if nobody watches.
    pub(super) fn of(superdaemon: Option<Pid>, status_file: &'a Path, begin: Instant) -> Option<Self> {
        let superdaemon = superdaemon.filter(|_| io::stderr().is_terminal())?;
        let before = listeners_of(superdaemon, status_file);
        let interrupts = Interrupts::hold();
        Some(Self { superdaemon, status_file, begin, started: None, shown: None, before, interrupts })
    }

    /// What the restart is waiting for.
    pub(super) fn show(&mut self, standstill: &mut Standstill, delay: &Delay) {
        if self.interrupts.has_come() {
            let _ = writeln!(io::stderr(), "\nthe restart continues");
            self.interrupts.let_through();
        }
        let elapsed = self.begin.elapsed();
        if self.started.is_none() && standstill.started.is_some() {
            self.started = Some(elapsed);
        }
        if self.shown.is_some_and(|shown| shown.elapsed() < INTERVAL) {
            return;
        }
        self.shown = Some(Instant::now());
        delay.add_what_is_seen(standstill);
        // What doesn't fit is cut off: a line that wraps could not be overwritten.
        let line = format!("{}: {standstill}", seconds(elapsed));
        let _ = write!(io::stderr(), "\r\x1b[K\x1b[?7l{line}\x1b[?7h");
    }

    /// Removes the line, to make room for a message.
    pub(super) fn clear() {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }

    /// Prints the result: `generation` is the only one left.
    pub(super) fn tell(&self, generation: u64) {
        let all = self.begin.elapsed();
        let started = self.started.unwrap_or(all);
        let times = format!(
            "generation {generation} serves: it started after {}, the old one ended {} later",
            seconds(started),
            seconds(all.saturating_sub(started))
        );
        Self::clear();
        let _ = writeln!(io::stderr(), "{times}");
        for ListenerStatus { name, waiting, refused, .. } in listeners_of(self.superdaemon, self.status_file) {
            let before = self.before.iter().find(|before| before.name == name).and_then(|before| before.refused);
            let line = match (before, refused) {
                // A counter of the kernel's, which wraps at 2^32.
                (Some(before), Some(now)) => format!("{} refused by a full queue", now.wrapping_sub(before)),
                _ => format!("{} waiting", waiting.unwrap_or(0)),
            };
            let _ = writeln!(io::stderr(), "{name}: {line}");
        }
    }
}

/// With tenths. A float would bring 15 kB of formatting into the program.
fn seconds(time: Duration) -> String {
    let tenths = (time + Duration::from_millis(50)).as_millis() / 100;
    format!("{}.{} s", tenths / 10, tenths % 10)
}
