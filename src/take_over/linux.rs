//! The steps, in order.

use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::files::pid_file::ForeignPidFile;
use crate::proc::{Process, program_path};
use crate::stderr::{say, visible};
use crate::succession::{REHEARSAL, VARIABLE};
use crate::sys::{self, Pid};
use crate::system::{ProgramPart, State, rehearsal};
use crate::take_over::patience::Patience;
use crate::take_over::predecessor::{Predecessor, held};
use crate::take_over::stopping::{Told, is_told};
use crate::take_over::tracee::{Files, Tracee, word};

/// How long a superdaemon may be kept from being idle, for example by the start of a worker; longer if it works (`Patience`).
const LIMIT: Duration = Duration::from_secs(10);

/// The same for the rehearsal, during which the superdaemon stands still.
const REHEARSAL_LIMIT: Duration = Duration::from_secs(5);

/// How long this program may take to start. Nothing can be done but wait.
const ARRIVAL: Duration = Duration::from_secs(60);

/// How long to wait before another look at something that has just changed.
const PAUSE: Duration = Duration::from_millis(2);

/// Replaces the Perl original that owns `pid_file` with this program, and reports that. One of ours needs `--upgrade`;
/// if it already is this program, a line says so.
///
/// # Errors
/// If the pid file can't be read, the superdaemon isn't alive, or may not be traced; if it never becomes idle
/// ([`Error::TimedOut`]); if it has been told to stop, or this program can't run from where it is ([`Error::GivenUp`]).
/// It then keeps running as before.
pub fn take_over(pid_file: &Path) -> Result<(), Error> {
    sys::open_standard_descriptors();
    let superdaemon = ForeignPidFile::open(pid_file, OpenOptions::new().read(true))?;
    let gone = || Error::system(&[b"failed to take over the server process:"], Errno::ESRCH);
    let pid = superdaemon.pid().filter(|_| superdaemon.is_alive()).ok_or_else(gone)?;
    let result = take_over_process(pid, pid_file);
    // While it exits, one thing after another is missing, none of which is worth reporting.
    let is_gone = || Process::Pid(pid).is_zombie() || !superdaemon.is_alive();
    result.map_err(|error| if is_gone() { gone() } else { error })
}

fn take_over_process(pid: Pid, pid_file: &Path) -> Result<(), Error> {
    let untraceable = |errno| match errno {
        Errno::EBUSY => refusal(held(pid)),
        errno => {
            Error::system(&[b"not taken over: process ", pid.to_string().as_bytes(), b" may not be traced:"], errno)
        }
    };
    // If this is refused, everything else is, with other messages.
    fs::read_link(Process::Pid(pid).executable()).map_err(|_| untraceable(Errno::EPERM))?;
    let program = own_program(pid).map_err(refusal)?;
    if Process::Pid(pid).catches(libc::SIGUSR2) {
        return meet_ours(pid);
    }
    let predecessor = Predecessor::look(pid, pid_file).map_err(refusal)?;
    predecessor.check_program(&program).map_err(refusal)?;

    let patience = Patience::of(LIMIT);
    let mut tracee = Tracee::seize(pid).map_err(untraceable)?;
    let mut seen = None;
    // It begins anew if a signal arrives, which is no reason to lose patience.
    while !patience.is_over(|| true) {
        // Stopping this program, for example by Ctrl-Z, would leave the other one stopped.
        let blocked = sys::block_all();
        if !tracee.work_off(patience).map_err(untraceable)? {
            break;
        }
        // It runs while files are read that might be slow.
        drop(blocked);
        let children = predecessor.children();
        let look = predecessor.look_at_rest();
        let told = look.as_ref().map_or(Told::Unknown, |look| is_told(pid, look.worker, pid_file));
        let _blocked = sys::block_all();
        tracee.pass_signals_on().map_err(untraceable)?;
        let mut look = match look {
            Ok(look) if predecessor.is_still(&look) && !tracee.is_disturbed() => look,
            // Twice, as it may just have been changing.
            Err(error) if seen.as_ref() == Some(&children) && !tracee.is_disturbed() => return Err(refusal(error)),
            _ => {
                seen = Some(children);
                sleep(PAUSE);
                continue;
            }
        };
        refuse_if(told).map_err(refusal)?;
        look.state.program = ProgramPart { path: Some(program.as_os_str().as_bytes().to_vec()) };
        if !tracee.stop(patience).map_err(untraceable)? {
            break;
        }
        // ORDER: from here on, nothing changes any more.
        if tracee.is_disturbed() || !predecessor.is_still(&look) {
            tracee.release().map_err(untraceable)?;
            continue;
        }
        look.state.launch = predecessor.launch(tracee.blocked()).map_err(refusal)?;
        match hand_over(&mut tracee, &predecessor, &program, &look.state) {
            // A signal has arrived, and is handled.
            Err(Failure::Disturbed) => continue,
            Err(Failure::Refused(error)) => return Err(refusal(error)),
            Ok(()) => {}
        }
        wait_for_arrival(pid).ok_or(Error::timed_out("take-over", ARRIVAL))?;
        say(format!("start_server (pid:{pid}) now runs this program, generation {} keeps running", look.generation));
        if told == Told::Unknown {
            say("its log doesn't show whether it was told to stop before: if it was, stop it again");
        }
        return Ok(());
    }
    Err(Error::timed_out("start of a worker, which the superdaemon is busy with,", patience.passed()))
}

/// One that catches USR2 is not an original.
fn meet_ours(pid: Pid) -> Result<(), Error> {
    let executable = Process::Pid(pid).executable();
    if FileId::of(&executable) == FileId::of(&Process::Own.executable()) {
        say(format!("start_server (pid:{pid}) already runs this program"));
        return Ok(());
    }
    let path = fs::read_link(executable).unwrap_or_default();
    let path = visible(path.as_os_str().as_bytes());
    Err(refusal(Error::rule(&[b"it is not a Perl original, but ", &path, b": use --upgrade"])))
}

fn refuse_if(told: Told) -> Result<(), Error> {
    match told {
        Told::ByLog => Err(Error::rule(&[b"it has been told to stop, according to its log"])),
        Told::ByCommand(pid) => {
            Err(Error::Rule(format!("it has been told to stop: process {pid} waits for its end").into()))
        }
        Told::No | Told::Unknown => Ok(()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refusal(error: Error) -> Error {
    Error::GivenUp([b"not taken over: ".as_slice(), &error.message()].concat())
}

/// The path by which this program was executed, which has to lead to its file for the other process, too.
fn own_program(pid: Pid) -> Result<PathBuf, Error> {
    let path = program_path().unwrap_or_default();
    let path = std::path::absolute(Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()))).unwrap_or_default();
    let own = FileId::of(&Process::Own.executable());
    let there = FileId::of(&Process::Pid(pid).seen(&path));
    if own.is_none() || there != own {
        let name = path.as_os_str().as_bytes();
        return Err(Error::rule(&[
            b"this program is not at ",
            name,
            b" for the superdaemon, which has another root directory",
        ]));
    }
    Ok(path)
}

/// Why a stopped process could not be made to execute this program.
enum Failure {
    /// It runs again, as a signal has arrived.
    Disturbed,
    Refused(Error),
}

impl Failure {
    /// For something that the process was made to do.
    fn of(what: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| match errno {
            Errno::EINTR => Self::Disturbed,
            errno => Self::Refused(Error::system(&[b"the superdaemon can't ", what.as_bytes(), b":"], errno)),
        }
    }
}

/// Makes the other process execute this program with the state in a sealed file in memory: first in a copy, which has
/// to answer that it can read the state, and then itself. Each time it opens the file, and closes it if the exec fails,
/// so nothing is left behind even if this command is killed.
fn hand_over(tracee: &mut Tracee, predecessor: &Predecessor, program: &Path, state: &State) -> Result<(), Failure> {
    let numbers = tracee.numbers().map_err(Failure::of("show its descriptors"))?;
    let token = format!("{} {:?}", std::process::id(), Instant::now()).into_bytes();
    let text = rehearsal::text_of(state, &token);
    tracee.check_file_size(text.len()).map_err(Failure::Refused)?;
    let length = |strings: &[Vec<u8>]| strings.iter().map(|string| string.len() + 1 + size_of::<u64>()).sum::<usize>();
    let both = 2 * length(&predecessor.arguments) + 2 * length(&predecessor.environment);
    // For the variable, the nulls, and padding.
    let start = tracee.make_room(both + 4 * program.as_os_str().len() + text.len() + 4096);
    let start = start.map_err(Failure::of("map memory for the state"))?;

    let mut strings = Strings { tracee, next: start };
    let name = program.as_os_str().as_bytes();
    let mut lay = |first: Option<String>, variable: Option<String>| {
        let first = first.map(String::into_bytes);
        let own = [name].into_iter().chain(first.as_deref());
        let arguments = strings.array(own.chain(predecessor.arguments.iter().map(Vec::as_slice)))?;
        let variable = variable.map(String::into_bytes);
        let inherited = predecessor.environment.iter().map(Vec::as_slice);
        let environment = strings.array(inherited.chain(variable.as_deref()))?;
        Ok([strings.string(name)?, arguments, environment])
    };
    let write = Failure::of("be written to");
    let rehearsal = lay(Some(format!("{REHEARSAL}{},{}", numbers.state, numbers.answer)), None).map_err(&write)?;
    let real = lay(None, Some(format!("{VARIABLE}={}", numbers.state))).map_err(&write)?;
    let names = [strings.string(b"start_server state"), strings.string(b"start_server answer")];
    let [Ok(of_state), Ok(of_answer)] = names else { return Err(write(Errno::EFAULT)) };
    let length = text.len() as u64;
    let state = strings.put(text.as_bytes()).map_err(&write)?;
    let files = Files { names: [of_state, of_answer], state, length, numbers };

    let failure = |(what, errno)| Failure::of(what)(errno);
    let patience = Patience::of(REHEARSAL_LIMIT);
    let said = tracee.rehearse(&files, rehearsal, patience).map_err(failure)?;
    if said != token {
        let reason = match said.as_slice() {
            [] if patience.is_over(|| false) => b"it has not answered in time".to_vec(),
            [] => b"it has ended without an answer".to_vec(),
            said => visible(said),
        };
        return Err(Failure::Refused(Error::rule(&[name, b": ", &reason])));
    }
    // The lock stays with the descriptor of the pid file.
    tracee.execute(&files, real, word(predecessor.lock)).map_err(failure)
}

/// Strings, one after the other.
struct Strings<'a> {
    tracee: &'a Tracee,
    next: u64,
}

impl Strings<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<u64, Errno> {
        let address = self.next;
        self.tracee.write(address, bytes)?;
        self.next += bytes.len() as u64;
        Ok(address)
    }

    fn string(&mut self, text: &[u8]) -> Result<u64, Errno> {
        self.put(&[text, b"\0"].concat())
    }

    /// A null-terminated array of strings, for execve(2).
    fn array<'a>(&mut self, strings: impl Iterator<Item = &'a [u8]>) -> Result<u64, Errno> {
        let addresses: Result<Vec<u64>, _> = strings.map(|string| self.string(string)).collect();
        self.next = self.next.next_multiple_of(size_of::<u64>() as u64);
        let bytes: Vec<u8> = addresses?.into_iter().chain([0]).flat_map(u64::to_ne_bytes).collect();
        self.put(&bytes)
    }
}

/// Waits until this program has its handlers there, and receives the signals that it catches. CHLD is never blocked
/// then.
fn wait_for_arrival(pid: Pid) -> Option<()> {
    let end = Instant::now() + ARRIVAL;
    while !Process::Pid(pid).catches(libc::SIGUSR2) || Process::Pid(pid).blocks(libc::SIGCHLD) {
        if Instant::now() >= end || Process::Pid(pid).is_zombie() {
            return None;
        }
        sleep(Duration::from_millis(1));
    }
    Some(())
}
