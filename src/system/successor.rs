//! The program that replaces this one (`--upgrade`): the same process executes what is on disk.
//!
//! First a copy of this process executes it, and it has to answer that it can read the state (a rehearsal). Then the
//! process itself does. In case the new program can't continue after all, this program's file stays open: the way back.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::files::request_file::RequestFile;
use crate::options::Options;
use crate::proc::{Process, program_path};
use crate::succession::{Lines, Part, REFUSAL, VARIABLE};
use crate::sys::{self, CloseOnExec, OneThread, c_string};
use crate::system::State;
use crate::system::rehearsal::{Program, Rehearsal, Stage};
use crate::system::signals::LaunchState;

/// Descriptors that a program and its loader open at the start, and to read the state.
const SPARE_DESCRIPTORS: usize = 4;

/// The path by which the superdaemon's program is executed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProgramPart {
    /// None: the next program knows it.
    pub(crate) path: Option<Vec<u8>>,
}

impl Part for ProgramPart {
    fn write(&self, lines: &mut Lines) {
        lines.add_all("program", self.path.clone().map(|path| (path,)));
    }

    fn read(lines: &Lines) -> Result<Self, Error> {
        Ok(Self { path: lines.get("program")?.map(|(path,)| path) })
    }
}

/// The next program, and its rehearsal.
pub(crate) struct Successor {
    /// The path by which this one was executed: links in it may have changed since.
    path: PathBuf,
    request: Option<RequestFile>,
    pub(super) rehearsal: Stage,
}

impl Successor {
    /// For the program `start_server`: another program that uses the library can't be replaced with what is on disk.
    /// None if its path isn't known.
    pub(crate) fn of(options: &Options, part: Option<&ProgramPart>) -> Option<Self> {
        let path = part.and_then(|part| part.path.clone()).or_else(|| Some(program_path()?.into_bytes()));
        let path = PathBuf::from(OsStr::from_bytes(&path?));
        let request = options.pid_file.as_deref().map(RequestFile::of);
        Some(Self { path, request, rehearsal: Stage::None })
    }

    pub(super) fn part(&self) -> ProgramPart {
        ProgramPart { path: Some(self.path.as_os_str().as_bytes().to_vec()) }
    }

    /// Answers `--upgrade`, if there is a request.
    pub(crate) fn answer(&self, outcome: &str, text: &[u8]) {
        if let Some(request) = &self.request {
            request.answer(outcome, text);
        }
    }

    /// Begins a rehearsal if the program on disk is not this one.
    pub(super) fn rehearse(&mut self, state: &State, launch: &LaunchState) -> Result<(), Vec<u8>> {
        let there = fs::metadata(&self.path);
        let there = there.map_err(|error| text(&[self.path.as_os_str().as_bytes(), b":"].concat(), error))?;
        let there = FileId::from(&there);
        if FileId::of(&Process::Own.executable()) == Some(there) {
            self.answer("same", b"");
            return Ok(());
        }
        let own = own_arguments()?;
        let environment = environment(launch.one_thread).collect();
        let program = Program { path: &self.path, id: there, arguments: &own, environment: &environment };
        let rehearsal = Rehearsal::begin(&program, state, launch.one_thread);
        self.rehearsal = Stage::Running(rehearsal.map_err(|error| error.message())?);
        Ok(())
    }

    /// Why the program can't replace this one, once a rehearsal has shown that.
    pub(super) fn look(&mut self) -> Option<Vec<u8>> {
        self.rehearsal.look(&self.path)
    }

    /// Executes the rehearsed program, with all signals blocked. Returns the reason if that fails.
    pub(super) fn execute(&mut self, state: &State, launch: &LaunchState) -> Vec<u8> {
        self.try_to_execute(state, launch.one_thread).map_or_else(|reason| reason, |errno| self.failed(errno))
    }

    fn try_to_execute(&mut self, state: &State, one_thread: OneThread) -> Result<Errno, Vec<u8>> {
        let rehearsed = self.rehearsal.take_passed().ok_or_else(|| b"there was no rehearsal".to_vec())?;
        if FileId::of(&self.path) != Some(rehearsed) {
            return Err([self.path.as_os_str().as_bytes(), b" was replaced again in the meantime"].concat());
        }
        // ORDER: everything that can fail comes before the exec; after it, there is only the way back.
        let arguments = own_arguments()?;
        let text_of_state = state.to_lines().to_text();
        let file = sys::sealed_file(c"start_server state", text_of_state.as_bytes());
        let file = file.map_err(|error| text(b"memfd_create(2) failed:", error))?;
        let way_back = File::open(Process::Own.executable()).map_err(|error| text(b"/proc/self/exe:", error))?;
        let spare: std::io::Result<Vec<File>> = (0..SPARE_DESCRIPTORS).map(|_| File::open("/dev/null")).collect();
        drop(spare.map_err(|error| text(b"not enough file descriptors for another program:", error))?);
        let path = c_string(self.path.as_os_str().as_bytes());
        let variable = format!("{VARIABLE}={},{}", file.as_raw_fd(), way_back.as_raw_fd());
        let environment = environment(one_thread).chain([c_string(variable.as_bytes())]).collect();
        let kept: Vec<RawFd> = state.own_descriptors().chain([file.as_raw_fd(), way_back.as_raw_fd()]).collect();
        let outcome = kept
            .iter()
            .try_for_each(|&fd| sys::set_close_on_exec(fd, CloseOnExec::No))
            // Both programs would miss a descriptor that is lost in the exec.
            .map_err(|errno| text(b"a descriptor can't be passed on:", errno))
            .map(|()| sys::exec_file(&path, &arguments.iter().cloned().collect(), &environment));
        for &fd in &kept {
            let _ = sys::set_close_on_exec(fd, CloseOnExec::Yes);
        }
        outcome
    }

    fn failed(&self, errno: Errno) -> Vec<u8> {
        text(&[self.path.as_os_str().as_bytes(), b":"].concat(), errno)
    }
}

fn text(sentence: &[u8], error: impl Into<std::io::Error>) -> Vec<u8> {
    Error::system(&[sentence], error).message()
}

/// The environment of this process, without the variables of an arrival.
pub(super) fn environment(one_thread: OneThread) -> impl Iterator<Item = CString> {
    let is_of_arrival = |entry: &Vec<u8>| {
        [VARIABLE, REFUSAL]
            .iter()
            .any(|name| entry.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"=")))
    };
    sys::environment(one_thread).into_iter().filter(move |entry| !is_of_arrival(entry)).map(|entry| c_string(&entry))
}

/// The command line that this process was started with.
///
/// # Errors
/// If it can't be read, for example at the limit of descriptors: a program without arguments would not be a
/// superdaemon.
pub(super) fn own_arguments() -> Result<Vec<CString>, Vec<u8>> {
    let arguments = Process::Own.arguments().map_err(|error| text(b"/proc/self/cmdline:", error))?;
    if arguments.is_empty() {
        return Err(b"its arguments can't be read".to_vec());
    }
    Ok(arguments.iter().map(|argument| c_string(argument)).collect())
}
