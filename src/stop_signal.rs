//! What `--signal-on-hup` and `--signal-on-term` name: the signal that stops a worker (F2).

use std::str::FromStr;

use nix::sys::signal::Signal;

use crate::error::Error;
use crate::perl;
use crate::sys;

/// The highest number of a signal that is not a real-time signal.
const LAST_STANDARD_SIGNAL: i32 = 31;

/// The signal that asks a worker to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopSignal {
    text: Vec<u8>,
    number: i32,
    process_group: bool,
}

impl StopSignal {
    /// Parses a name or a number, as Perl's `kill` would: any case, with or without `SIG`; with a leading `-`, the
    /// signal goes to the worker's process group. An empty text and `0` are `TERM`.
    ///
    /// # Errors
    /// `Unrecognized signal name "X"` for a text that is not a signal of this system. The original notices that when it
    /// first needs the signal, and then dies or sends nothing (`signal-names`).
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        if !perl::is_true(text) {
            return Ok(Self::default());
        }
        let text = text.to_ascii_uppercase();
        let text = text.strip_prefix(b"SIG").unwrap_or(&text);
        let (name, minus) = match text {
            [b'-', name @ ..] if name.first().is_some_and(u8::is_ascii_alphabetic) => (name, true),
            name => (name, false),
        };
        let number = if name.first().is_some_and(u8::is_ascii_alphabetic) {
            // QUIRK: kill() removes a second SIG.
            by_name(name.strip_prefix(b"SIG").filter(|rest| !rest.is_empty()).unwrap_or(name))
        } else {
            #[expect(clippy::cast_possible_truncation, reason = "a float is cast with saturation")]
            Some(perl::number(name) as i32)
        };
        let last = (*sys::real_time_signals().end()).max(LAST_STANDARD_SIGNAL);
        match number.filter(|number| (1..=last).contains(&number.saturating_abs())) {
            Some(number) => Ok(Self { text: text.to_vec(), number: number.abs(), process_group: minus || number < 0 }),
            None => Err(Error::rule(&[b"Unrecognized signal name \"", text, b"\""])),
        }
    }

    /// KILL, to the same processes.
    pub(crate) fn to_kill(&self) -> Self {
        Self { text: b"KILL".to_vec(), number: libc::SIGKILL, process_group: self.process_group }
    }

    /// As messages show it: upper case, without `SIG`.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The signal's number.
    pub(crate) fn number(&self) -> i32 {
        self.number
    }

    /// Whether it goes to the worker's process group instead of the worker alone.
    pub(crate) fn is_for_process_group(&self) -> bool {
        self.process_group
    }
}

impl Default for StopSignal {
    /// `TERM`.
    fn default() -> Self {
        Self { text: b"TERM".to_vec(), number: libc::SIGTERM, process_group: false }
    }
}

fn by_name(name: &[u8]) -> Option<i32> {
    let name = str::from_utf8(name).ok()?;
    match name {
        "IOT" => Some(libc::SIGABRT),
        "CLD" => Some(libc::SIGCHLD),
        "POLL" => Some(libc::SIGIO),
        _ => real_time_by_name(name).or_else(|| Some(Signal::from_str(&format!("SIG{name}")).ok()? as i32)),
    }
}

/// Perl's names: `RTMIN`, `RTMAX`, and `NUM32` and the like for those without a name.
fn real_time_by_name(name: &str) -> Option<i32> {
    let (first, last) = sys::real_time_signals().into_inner();
    match name {
        "RTMIN" => Some(first),
        "RTMAX" => Some(last),
        _ => (LAST_STANDARD_SIGNAL + 1..last).find(|&number| number != first && name == format!("NUM{number}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let (first, last) = sys::real_time_signals().into_inner();
        let table: [(&str, &str, i32, bool); 20] = [
            ("", "TERM", 15, false),
            ("0", "TERM", 15, false),
            ("hup", "HUP", 1, false),
            ("SigUsr1", "USR1", 10, false),
            ("SIGSIGTERM", "SIGTERM", 15, false),
            ("9", "9", 9, false),
            ("010", "010", 10, false),
            ("1.5", "1.5", 1, false),
            ("1e1", "1E1", 10, false),
            ("9x", "9X", 9, false),
            (" 9", " 9", 9, false),
            ("+9", "+9", 9, false),
            ("-9", "-9", 9, true),
            ("-TERM", "-TERM", 15, true),
            ("IOT", "IOT", 6, false),
            ("CLD", "CLD", 17, false),
            ("POLL", "POLL", 29, false),
            ("NUM32", "NUM32", 32, false),
            ("SIGRTMIN", "RTMIN", first, false),
            ("RTMAX", "RTMAX", last, false),
        ];
        for (text, shown, number, process_group) in table {
            let expected = StopSignal { text: shown.into(), number, process_group };
            assert_eq!(StopSignal::parse(text.as_bytes()), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn texts_that_stop_no_worker_are_refused() {
        // 34, or 35 where the C library keeps three for itself: Perl knows it only by its other name.
        let first = format!("NUM{}", sys::real_time_signals().start());
        let table = [
            "BOGUS", "SIG", "SIGBOGUS", "TERM ", " TERM", "TERM\n", "00", "65", "999999", "0x9", "UNUSED", "ZERO", "é",
            &first, "NUM9", "NUM", "inf",
        ];
        for text in table {
            assert!(StopSignal::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        let error = StopSignal::parse(b"sigbogus").unwrap_err();
        assert_eq!((error.to_string().as_str(), error.exit_code()), ("Unrecognized signal name \"BOGUS\"", 255));
    }
}
