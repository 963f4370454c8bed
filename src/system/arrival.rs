//! Where a program begins that the previous one has executed to replace itself: the state, and the way back.
//!
//! Until [`finish`] it has changed nothing and owns nothing, so the previous program would find everything as it was.

use std::fs::File;
use std::io::Read;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;

use crate::environment::Environment;
use crate::error::Error;
use crate::proc::Process;
use crate::stderr::say;
use crate::succession::{Descriptors, Lines, REFUSAL, VARIABLE};
use crate::sys::{self, CloseOnExec, OneThread, c_string};
use crate::system::State;
use crate::system::successor::{ProgramPart, environment, own_arguments};

/// How long to wait before another request for what the system could not provide.
const RETRY: Duration = Duration::from_secs(1);

/// How much of a reason is handed back, in bytes. The kernel executes nothing with a variable of more than 128 KiB.
const LONGEST_REASON: usize = 1024;

/// What the previous program has left.
pub(crate) struct Arrival {
    /// The file of the state.
    state: RawFd,
    /// The file of the previous program. None if it is gone, or if this is that program.
    way_back: Option<RawFd>,
    /// If this is the program that has come back: why the next one could not continue.
    refusal: Option<Vec<u8>>,
    /// What an execution needs.
    one_thread: OneThread,
}

impl Arrival {
    /// None for an ordinary start. Removes the variables, which are for nobody else.
    ///
    /// # Errors
    /// If somebody else has set the variable.
    pub(crate) fn find(environment: &mut Environment, one_thread: OneThread) -> Result<Option<Self>, Error> {
        let Some(value) = environment.get(VARIABLE).map(<[u8]>::to_vec) else { return Ok(None) };
        let refusal = environment.get(REFUSAL).map(<[u8]>::to_vec);
        environment.remove(VARIABLE);
        environment.remove(REFUSAL);
        let numbers: Option<Vec<RawFd>> =
            str::from_utf8(&value).ok().and_then(|text| text.split(',').map(|fd| fd.parse().ok()).collect());
        let (state, way_back) = match numbers.as_deref() {
            Some(&[state]) => (state, None),
            Some(&[state, way_back]) => (state, Some(way_back)),
            _ => return Err(Error::rule(&[VARIABLE.as_bytes(), b" is not what another start_server sets:", &value])),
        };
        Ok(Some(Self { state, way_back, refusal, one_thread }))
    }

    /// Why the next program could not continue, if this one has come back.
    pub(crate) fn refusal(&self) -> Option<&[u8]> {
        self.refusal.as_deref()
    }

    /// The state, and its descriptors, which get owners when nothing can fail any more.
    ///
    /// # Errors
    /// If it can't be read, or a descriptor isn't there.
    pub(crate) fn read(&self) -> Result<(State, Descriptors), Error> {
        let state = State::read(&read_sealed(self.state)?)?;
        let own = [self.state].into_iter().chain(self.way_back);
        let numbers: Vec<RawFd> = state.descriptors().into_iter().chain(own).collect();
        // SAFETY: the program before this one has left them open for this, and nothing has been opened by their numbers.
        #[expect(unsafe_code)]
        let descriptors = unsafe { Descriptors::claim(&numbers) }?;
        Ok((state, descriptors))
    }

    /// Gets what `prepare` gets. This program is worth less than the service: an error leads back to the previous one.
    /// If that is gone, wait until the system can provide what it lacks.
    ///
    /// # Errors
    /// If nothing can help.
    pub(crate) fn prepare<T>(&self, mut prepare: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        loop {
            let error = match prepare() {
                Ok(prepared) => return Ok(prepared),
                Err(error) => error,
            };
            self.go_back(&error.message());
            if !is_lack(&error) {
                return Err(error);
            }
            say(error.message());
            sleep(RETRY);
        }
    }

    /// Executes the previous program. Returns only if there is none, or it can't be executed.
    pub(crate) fn go_back(&self, reason: &[u8]) {
        let (Some(way_back), None) = (self.way_back, &self.refusal) else { return };
        say(reason);
        let Ok(arguments) = own_arguments() else { return };
        let path = c_string(Process::Own.descriptor(way_back).path().as_os_str().as_bytes());
        // A program that has come back doesn't know its number. A program, unlike a script, needs no name to run.
        let _ = sys::set_close_on_exec(way_back, CloseOnExec::Yes);
        // It has no way back itself, which would be an endless loop.
        let variable = format!("{VARIABLE}={}", self.state);
        let refusal = [REFUSAL.as_bytes(), b"=", &reason[..reason.len().min(LONGEST_REASON)]].concat();
        let environment = environment(self.one_thread).chain([variable.as_bytes(), &refusal].map(c_string));
        let errno = sys::exec_file(&path, &arguments.into_iter().collect(), &environment.collect());
        say(Error::system(&[b"the previous program can't be executed:"], errno).message());
    }
}

/// Everything has been taken over. After the way back, the process is still named after its descriptor.
pub(crate) fn finish(program: &ProgramPart, mut descriptors: Descriptors) {
    if let Some(name) = program.path.as_ref().and_then(|path| path.rsplit(|&byte| byte == b'/').next()) {
        let _ = sys::set_process_name(&c_string(name));
    }
    descriptors.close_rest();
}

/// Whether the system may soon have what was missing.
fn is_lack(error: &Error) -> bool {
    let Error::System { errno, .. } = error else { return false };
    let lacks =
        [Errno::EAGAIN, Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS, Errno::ENOSPC, Errno::EINTR];
    lacks.contains(&Errno::from_raw(*errno))
}

/// Reads a state from a sealed file in memory; anything else is an error.
pub(super) fn read_sealed(fd: RawFd) -> Result<Lines, Error> {
    let failed = |error: std::io::Error| Error::system(&[b"the state can't be read:"], error);
    // By its name, as other holders of the descriptor share its position.
    let file = File::open(Process::Own.descriptor(fd).path()).map_err(failed)?;
    if !sys::is_sealed(&file) {
        return Err(Error::rule(&[b"the state can't be read: it is not sealed"]));
    }
    let mut bytes = Vec::new();
    (&file).read_to_end(&mut bytes).map_err(failed)?;
    Lines::parse(&bytes)
}
