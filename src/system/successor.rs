//! The program that goes on in the place of this one (`--upgrade`): the same process executes what is on disk by now.
//!
//! The first time it is executed by a copy of this process, and has to answer that it can read the state (a rehearsal):
//! execve(2) succeeds for many a program that can't even start. Then by the process itself, and for the case that it
//! can't go on after all, this program's file stays open: the way back.

use std::ffi::{CString, OsStr};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::environment::Environment;
use crate::error::Error;
use crate::files::file_id::FileId;
use crate::files::request_file::RequestFile;
use crate::options::Options;
use crate::proc::{Process, program_path};
use crate::state::{State, VARIABLE};
use crate::stderr;
use crate::sys::{self, CStringArray, CloseOnExec, OneThread, c_string};
use crate::system::rehearsal::{self, Program, Rehearsal, Stage};
use crate::system::signals::LaunchState;

/// The program that goes on, and what comes of it.
pub(crate) struct Successor {
    /// By which this one was executed: where a link leads may have changed since.
    path: PathBuf,
    request: Option<RequestFile>,
    pub(super) rehearsal: Stage,
}

impl Successor {
    /// For the program `start_server`: any other one that uses the library can't be replaced by what is on disk. None if it
    /// isn't known where it is.
    pub(crate) fn of(options: &Options, state: Option<&State>) -> Option<Self> {
        let handed = state.and_then(|state| state.get::<(Vec<u8>,)>("program").ok().flatten());
        let path = handed.map(|(path,)| path).or_else(|| Some(program_path()?.into_bytes()));
        let path = PathBuf::from(OsStr::from_bytes(&path?));
        let request = options.pid_file.as_deref().map(RequestFile::of);
        Some(Self { path, request, rehearsal: Stage::None })
    }

    /// Says to `--upgrade`, if that has asked, what came of it.
    pub(crate) fn answer(&self, outcome: &str, text: &[u8]) {
        if let Some(request) = &self.request {
            request.answer(outcome, text);
        }
    }

    /// Begins a rehearsal, if the program on disk is another one than this.
    pub(super) fn rehearse(&mut self, state: &State, launch: &LaunchState, listeners: &[RawFd]) -> Result<(), Vec<u8>> {
        let there = fs::metadata(&self.path);
        let there = there.map_err(|error| text(&[self.path.as_os_str().as_bytes(), b":"].concat(), error))?;
        let there = FileId::from(&there);
        if FileId::of(&Process::Own.executable()) == Some(there) {
            self.answer("same", b"");
            return Ok(());
        }
        let token = rehearsal::token().map_err(|error| text(b"no token:", error))?;
        let state = seal(state, &token).map_err(|errno| text(b"memfd_create(2) failed:", errno))?;
        let own = own_arguments();
        let environment: CStringArray = sys::environment(launch.one_thread)
            .iter()
            .filter(|entry| !is_variable(entry))
            .map(|entry| c_string(entry))
            .collect();
        let program = Program { path: &self.path, id: there, arguments: &own, environment: &environment };
        let rehearsal = Rehearsal::begin(&program, &state, token, launch.one_thread, listeners);
        self.rehearsal = Stage::Running(rehearsal.map_err(|error| error.message())?);
        Ok(())
    }

    /// Why the program can't replace this one, as soon as a rehearsal has shown that.
    pub(super) fn look(&mut self) -> Option<Vec<u8>> {
        self.rehearsal.look(&self.path)
    }

    /// Ends the rehearsal. The program that has answered, or why it can't go on.
    fn end_rehearsal(&mut self) -> Result<FileId, Vec<u8>> {
        self.rehearsal.take_passed().ok_or_else(|| b"there was no rehearsal".to_vec())
    }

    /// Executes the program that was rehearsed, with all signals blocked. Comes back with the reason if that fails.
    /// `kept`: descriptors that go to it.
    pub(super) fn execute(
        &mut self,
        state: &mut State,
        launch: &LaunchState,
        save: impl FnOnce(&mut State) -> Vec<RawFd>,
    ) -> Vec<u8> {
        let rehearsed = match self.end_rehearsal() {
            Ok(rehearsed) => rehearsed,
            Err(reason) => return reason,
        };
        if FileId::of(&self.path) != Some(rehearsed) {
            return [self.path.as_os_str().as_bytes(), b" was replaced again meanwhile"].concat();
        }
        let kept = save(state);
        state.add("program", &(self.path.as_os_str().as_bytes().to_vec(),));
        let state = match seal(state, "") {
            Ok(state) => state,
            Err(errno) => return text(b"memfd_create(2) failed:", errno),
        };
        let way_back = match File::open(Process::Own.executable()) {
            Ok(file) => OwnedFd::from(file),
            Err(error) => return text(b"/proc/self/exe:", error),
        };
        let kept: Vec<RawFd> = kept.into_iter().chain([state.as_raw_fd(), way_back.as_raw_fd()]).collect();
        let path = c_string(self.path.as_os_str().as_bytes());
        let variable = format!("{VARIABLE}={},{}", state.as_raw_fd(), way_back.as_raw_fd());
        let errno = execute(&path, &own_arguments(), &variable, &kept, launch.one_thread);
        set_close_on_exec(&kept, CloseOnExec::Yes);
        self.failed(errno)
    }

    fn failed(&self, errno: Errno) -> Vec<u8> {
        text(&[self.path.as_os_str().as_bytes(), b":"].concat(), errno)
    }
}

fn text(sentence: &[u8], error: impl Into<std::io::Error>) -> Vec<u8> {
    Error::system(&[sentence], error).message()
}

/// A file in memory that holds the state, and can't be changed any more.
fn seal(state: &State, token: &str) -> Result<OwnedFd, std::io::Error> {
    let mut state = state.clone();
    if !token.is_empty() {
        state.add("token", &(token.as_bytes().to_vec(),));
    }
    sys::sealed_file(c"start_server state", state.to_text().as_bytes())
}

/// execve(2) of `path`, to which `kept` stay open.
fn execute(path: &CString, arguments: &[CString], variable: &str, kept: &[RawFd], one_thread: OneThread) -> Errno {
    set_close_on_exec(kept, CloseOnExec::No);
    let environment = sys::environment(one_thread).into_iter().filter(|entry| !is_variable(entry));
    let environment = environment.chain([variable.as_bytes().to_vec()]).map(|entry| c_string(&entry));
    sys::exec_file(path, &arguments.iter().cloned().collect(), &environment.collect())
}

fn set_close_on_exec(fds: &[RawFd], flag: CloseOnExec) {
    for &fd in fds {
        sys::set_close_on_exec(fd, flag);
    }
}

fn is_variable(entry: &[u8]) -> bool {
    entry.strip_prefix(VARIABLE.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
}

/// What the program that was here before has handed over to this one.
pub(crate) struct HandedOver {
    fd: RawFd,
    way_back: Option<OwnedFd>,
    /// What an execution needs that leads back.
    one_thread: OneThread,
}

impl HandedOver {
    /// None for a start as any other. The variable is for nobody else.
    pub(crate) fn find(environment: &mut Environment, one_thread: OneThread) -> Result<Option<Self>, Error> {
        let Some(value) = environment.get(VARIABLE).map(<[u8]>::to_vec) else { return Ok(None) };
        environment.remove(VARIABLE);
        let numbers: Option<Vec<RawFd>> =
            str::from_utf8(&value).ok().and_then(|text| text.split(',').map(|fd| fd.parse().ok()).collect());
        let (fd, way_back) = match numbers.as_deref() {
            Some(&[state]) => (state, None),
            Some(&[state, way_back]) => (state, Some(way_back)),
            _ => return Err(Error::rule(&[VARIABLE.as_bytes(), b" is not what another start_server sets:", &value])),
        };
        let take = |fd| {
            // SAFETY: the program that was here before has left it open for this, and it is taken once.
            #[expect(unsafe_code)]
            let taken = unsafe { sys::take(fd) };
            taken.map_err(|errno| Error::system(&[VARIABLE.as_bytes(), b":"], errno))
        };
        let way_back = way_back.map(take).transpose()?;
        if let Some(way_back) = &way_back {
            sys::set_close_on_exec(way_back.as_raw_fd(), CloseOnExec::Yes);
        }
        Ok(Some(Self { fd, way_back, one_thread }))
    }

    pub(crate) fn read(&self) -> Result<State, Error> {
        read_sealed(self.fd)
    }

    /// This program can't go on: the one that was here before does. It finds everything as it was.
    /// Without a way back, it comes back itself.
    pub(crate) fn go_back(&self, error: &Error) {
        let Some(way_back) = &self.way_back else { return };
        stderr::say(error.message());
        let path = c_string(Process::Own.descriptor(way_back.as_raw_fd()).path().as_os_str().as_bytes());
        // It has no other way back than itself.
        let variable = format!("{VARIABLE}={},{}", self.fd, way_back.as_raw_fd());
        execute(&path, &own_arguments(), &variable, &[way_back.as_raw_fd()], self.one_thread);
    }

    /// Everything has been taken over. Where this is the way back, the process is still named after its descriptor.
    pub(crate) fn close(self, state: &State) {
        let program = state.get::<(Vec<u8>,)>("program").ok().flatten();
        if let Some(name) = program.as_ref().and_then(|(path,)| path.rsplit(|&byte| byte == b'/').next()) {
            let _ = sys::set_process_name(&c_string(name));
        }
        // SAFETY: the program that was here before has left it open for this, and `self` goes here.
        #[expect(unsafe_code)]
        drop(unsafe { sys::take(self.fd) });
    }
}

/// Reads a state from a sealed file in memory; anything else is none.
fn read_sealed(fd: RawFd) -> Result<State, Error> {
    let failed = |error: std::io::Error| Error::system(&[b"the state can't be read:"], error);
    // By its name, as the descriptor's position is shared with whoever has it, too.
    let file = File::open(Process::Own.descriptor(fd).path()).map_err(failed)?;
    if !sys::is_sealed(&file) {
        return Err(Error::rule(&[b"the state can't be read: it is not sealed"]));
    }
    let mut bytes = Vec::new();
    (&file).read_to_end(&mut bytes).map_err(failed)?;
    State::parse(&bytes)
}

/// In the program that rehearses: answers with the token of the state, if `check` finds that it can go on with that. The
/// exit code.
pub(crate) fn answer_rehearsal(state: RawFd, answer: RawFd, check: impl FnOnce(&State) -> Result<(), Error>) -> u8 {
    let token = read_sealed(state).and_then(|state| {
        check(&state)?;
        state.require::<(Vec<u8>,)>("token").map(|(token,)| token)
    });
    let said = token.as_ref().map_or_else(Error::message, Clone::clone);
    let file = OpenOptions::new().write(true).open(Process::Own.descriptor(answer).path());
    let is_said = file.and_then(|mut file| file.write_all(&said)).is_ok();
    u8::from(token.is_err() || !is_said)
}

/// The command line that this process was started with.
fn own_arguments() -> Vec<CString> {
    Process::Own.arguments().unwrap_or_default().iter().map(|argument| c_string(argument)).collect()
}
