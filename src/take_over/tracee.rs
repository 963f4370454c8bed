//! A process that is stopped while it waits, and made to do something else: ptrace(2).
//!
//! All of it happens at the system call in which the process sleeps, and which afterwards returns as interrupted by a
//! signal, as often happens. The process handles a signal before or after a list of calls normally, and everything
//! begins anew. During a list, all signals are blocked, and it ends by undoing what it has done, even if this command
//! is gone.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use libc::{c_int, c_long, c_ulong, c_void, iovec};
use nix::errno::Errno;

use crate::error::Error;
use crate::proc::{Pid, Process};
use crate::stderr::say;
use crate::sys;
use crate::take_over::patience::Patience;
use crate::take_over::registers::{self, Registers};
use crate::take_over::routine::{self, Call};

/// How often to check a process that doesn't wait.
const LOOK: Duration = Duration::from_millis(1);

/// A process that is traced. When it is dropped, the process keeps running as before, if it has executed nothing.
pub(super) struct Tracee {
    pid: Pid,
    memory: File,
    /// Where it was stopped, and which signals were blocked there. None while it runs.
    stopped: Option<(Registers, u64)>,
    room: Option<Room>,
    /// Whether a signal that its program handles has arrived since it was last known to have handled all.
    is_disturbed: bool,
    /// How many signals it has been given.
    signals: u32,
    /// TERM or INT, if it got one since it was last known to have handled all signals.
    told: Option<c_int>,
    /// STOP has arrived when there was no way back.
    is_to_stop: bool,
    /// Whether a signal like STOP holds it.
    is_held: bool,
    /// The message if it has to be left alone, and this command's exit code.
    outcome: Outcome,
}

/// Memory that it was made to map.
#[derive(Clone, Copy)]
struct Room {
    code: u64,
    data: u64,
    length: u64,
}

/// What is in the data: the list of calls, two sets of signals, the ends of a pipe, and then the caller's data.
const ALL_SIGNALS: u64 = 4096;
const OLD_MASK: u64 = ALL_SIGNALS + 8;
const PIPE: u64 = OLD_MASK + 8;
const REST: u64 = PIPE + 8;

/// Where memory is mapped. If the tracer is killed meanwhile, the address becomes the result of the old call, which is a
/// pid of 32 bits: zero, for none.
const STEP: u64 = 1 << 32;
const ANONYMOUS: c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

/// Why a traced process has stopped.
enum Stop {
    Interrupted,
    SystemCall,
    Executed,
    /// By a signal like STOP, perhaps earlier.
    Held,
    Signal(c_int),
}

/// Addresses of path, arguments and environment.
pub(super) type Program = [u64; 3];

/// The files that are open while a program is executed with a state.
pub(super) struct Files {
    /// The addresses of two names and of the state, and its length.
    pub(super) names: [u64; 2],
    pub(super) state: u64,
    pub(super) length: u64,
    pub(super) numbers: Numbers,
}

/// The numbers that the descriptors get: the lowest free ones, as nothing else runs in the process.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    /// The state, in memory.
    pub(super) state: u64,
    /// A pipe, as proof that this program and its loader can open as many as they need. Closed before they start.
    spare: [u64; 2],
    /// Of the rehearsal alone, in memory.
    pub(super) answer: u64,
}

type Outcome = (&'static [u8], u8);
const NOT_TAKEN_OVER: Outcome = (b"not taken over", 125);
const NOT_KNOWN: Outcome = (b"it is not known whether it was taken over", 124);

/// What a process could not be made to do, and why. `EINTR`: a signal has arrived, and it runs.
pub(super) type Failed = (&'static str, Errno);

/// How much of an answer is read.
const LONGEST_ANSWER: u64 = 4096;

impl Tracee {
    /// Begins to trace `pid`, which doesn't notice.
    ///
    /// # Errors
    /// `EPERM` if it may not be traced, or is already traced.
    pub(super) fn seize(pid: Pid) -> Result<Self, Errno> {
        let memory = Process::Pid(pid).memory(OpenOptions::new().read(true).write(true));
        let memory = memory.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACEEXEC;
        let tracee = Self {
            pid,
            memory,
            stopped: None,
            room: None,
            is_disturbed: false,
            signals: 0,
            told: None,
            is_to_stop: false,
            is_held: false,
            outcome: NOT_TAKEN_OVER,
        };
        tracee.request(libc::PTRACE_SEIZE, 0, word(options))?;
        Ok(tracee)
    }

    /// Makes it handle all signals that it has not handled. Perl may have noted a signal between its last look and its
    /// wait: either in the interpreter, which looks when wait(2) is interrupted, or in the list of the original, which
    /// looks when a signal arrives. Afterwards it waits again, and runs. False if it doesn't before `end`.
    pub(super) fn work_off(&mut self, patience: Patience) -> Result<bool, Errno> {
        self.is_disturbed = false;
        // ORDER: the interpreter takes ALRM before TERM, and forgets that there is another one.
        if !self.stop(patience)? {
            return Ok(false);
        }
        let is_heard = self.blocked() & 1 << (libc::SIGALRM - 1) == 0;
        self.let_go(0)?;
        if !self.wait_until_waiting(patience)? {
            return Ok(false);
        }
        // One of these is forgotten if HUP or ALRM came with it. Sending it twice does no harm.
        if let Some(signal) = self.told {
            self.send(signal, patience)?;
            self.told = None;
        }
        if is_heard {
            self.send(libc::SIGALRM, patience)?;
        }
        self.wait_until_waiting(patience)
    }

    /// Sends it a signal, and waits until it has got that and waits again.
    fn send(&mut self, signal: c_int, patience: Patience) -> Result<(), Errno> {
        let signals = self.signals;
        // Nobody else reaps a traced process before this process has seen its end, so it still has its number.
        sys::kill(self.pid, signal)?;
        while self.signals == signals && !self.is_over(patience) {
            self.pass_signals_on()?;
            std::thread::sleep(LOOK);
        }
        self.wait_until_waiting(patience).map(drop)
    }

    /// Whether a signal has arrived since [`Self::work_off`] began.
    pub(super) fn is_disturbed(&self) -> bool {
        self.is_disturbed
    }

    /// Stops it while it waits in the call that the original is idle in. False if it doesn't wait before `patience` is
    /// over.
    pub(super) fn stop(&mut self, patience: Patience) -> Result<bool, Errno> {
        while self.wait_until_waiting(patience)? {
            // ORDER: one interrupt, and nothing else before its stop: a second one would stop the process again before
            // it has executed a single instruction.
            self.request(libc::PTRACE_INTERRUPT, 0, 0)?;
            loop {
                match self.wait()? {
                    Stop::Interrupted => break,
                    stop => self.pass_on(&stop)?,
                }
            }
            let registers = self.registers()?;
            let mask = self.mask()?;
            // A process that waits for the rehearsal of a killed command is not idle.
            let is_busy = mask & EVERYTHING == EVERYTHING;
            let is_idle = registers::interrupted_call(&registers).is_some_and(is_idle_call);
            if is_idle && !is_busy && self.is_at_a_call(&registers) {
                self.stopped = Some((registers, mask));
                return Ok(true);
            }
            self.resume(0)?;
            std::thread::sleep(LOOK);
            if self.is_over(patience) {
                break;
            }
        }
        Ok(false)
    }

    fn is_over(&self, patience: Patience) -> bool {
        patience.is_over(|| Process::Pid(self.pid).is_at_work())
    }

    fn wait_until_waiting(&mut self, patience: Patience) -> Result<bool, Errno> {
        loop {
            // A traced process stops at each signal, and has to be continued.
            self.pass_signals_on()?;
            if self.is_waiting()? {
                return Ok(true);
            }
            if self.is_over(patience) {
                return Ok(false);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The signals that were blocked when it was stopped: a bit for each number less one.
    pub(super) fn blocked(&self) -> u64 {
        self.stopped.map_or(0, |(_, mask)| mask)
    }

    /// Whether it may write a file of `length` bytes. Otherwise XFSZ would kill it.
    pub(super) fn check_file_size(&self, length: usize) -> Result<(), Error> {
        let limit = Process::Pid(self.pid).limit("Max file size");
        let is_enough = limit.is_none_or(|limit| limit >= length as u64);
        is_enough.then_some(()).ok_or_else(|| {
            let sentence = format!("its file size limit is less than the {length} bytes of the state");
            Error::Rule(sentence.into())
        })
    }

    /// Makes room in its memory for `length` bytes, and returns the address. Replaces what an earlier attempt has left.
    ///
    /// # Errors
    /// `EINTR` from here on: a signal has arrived, and it runs. Then everything begins anew.
    pub(super) fn make_room(&mut self, length: usize) -> Result<u64, Errno> {
        self.clean_up()?;
        let length = (length as u64 + REST).next_multiple_of(4096);
        let code = self.map_code()?;
        self.room = Some(Room { code, data: 0, length });
        self.write(code, routine::code())?;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, ANONYMOUS | libc::MAP_FIXED);
        let data = self.call(libc::SYS_mmap, [code + STEP, length, word(protection), word(flags), u64::MAX, 0])?;
        self.room = Some(Room { code, data, length });
        self.write(data + ALL_SIGNALS, &u64::MAX.to_ne_bytes())?;
        self.write(data + OLD_MASK, &self.blocked().to_ne_bytes())?;
        Ok(data + REST)
    }

    /// Maps a page for the machine code, with room for the data one step after it.
    fn map_code(&mut self) -> Result<u64, Errno> {
        for place in (16..128).step_by(2) {
            let place = place * STEP;
            let mut there = vec![0; routine::code().len()];
            // A page that a killed command has left, written or not, is mapped anew, with the data after it. No other
            // mapping is a lone page there.
            let is_left = self.memory.read_exact_at(&mut there, place).is_ok()
                && (there == routine::code() || there.iter().all(|&byte| byte == 0))
                && self.memory.read_at(&mut [0], place + 4096).is_err();
            let flags = ANONYMOUS | if is_left { libc::MAP_FIXED } else { libc::MAP_FIXED_NOREPLACE };
            let protection = libc::PROT_READ | libc::PROT_EXEC;
            let is_free = is_left || self.memory.read_at(&mut [0], place + STEP).is_err();
            let mapped =
                is_free.then(|| self.call(libc::SYS_mmap, [place, 4096, word(protection), word(flags), u64::MAX, 0]));
            match mapped {
                None | Some(Err(Errno::EEXIST)) => {}
                Some(mapped) => return mapped,
            }
        }
        Err(Errno::ENOMEM)
    }

    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        let written = self.memory.write_all_at(bytes, address);
        written.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    }

    /// The numbers that its next descriptors would get.
    pub(super) fn numbers(&self) -> Result<Numbers, Errno> {
        let process = Process::Pid(self.pid);
        let mut numbers = 0..;
        // ORDER: each one is checked. In a list that ended early, one that is in use would be missing, and would be
        // closed.
        let mut next = || loop {
            let number: RawFd = numbers.next().ok_or(Errno::EMFILE)?;
            match std::fs::read_link(process.descriptor(number).path()) {
                Err(error) if error.kind() == ErrorKind::NotFound => return u64::try_from(number).or(Err(Errno::EIO)),
                Err(error) => return Err(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)),
                Ok(_) => {}
            }
        };
        Ok(Numbers { state: next()?, spare: [next()?, next()?], answer: next()? })
    }

    /// Makes a copy of it execute a program with the state and an open file for the answer, and returns that when the
    /// program has exited. When `patience` is over, the copy is killed. The process is stopped all the time, and its
    /// signals wait.
    pub(super) fn rehearse(
        &mut self,
        files: &Files,
        [path, arguments, environment]: Program,
        patience: Patience,
    ) -> Result<Vec<u8>, Failed> {
        const COPY: &str = "start a copy of itself";
        let Numbers { answer, .. } = files.numbers;
        let child = [
            Call::new(libc::SYS_prctl, [word(libc::PR_SET_PDEATHSIG), word(libc::SIGKILL)]),
            Call::new(libc::SYS_execve, [path, arguments, environment]),
            Call::new(libc::SYS_exit_group, [127]),
        ];
        let list = self.data().map_err(|errno| (COPY, errno))?;
        let opening = |otherwise| -> Result<Vec<Call>, Failed> {
            let mut calls = self.opening(files, otherwise).map_err(|errno| (COPY, errno))?;
            calls.push(memory_file(files.names[1], answer, otherwise));
            Ok(calls)
        };
        let fork = opening(0)?.len();
        let wait = fork + 1 + child.len();
        let mut calls = opening(wait + 1)?;
        // Its wait(2) doesn't see a child that ends with no signal. When that has executed a program, it does: so the child
        // is gone before anything else runs.
        // The kernel itself puts the child's pid into the list.
        let pid_argument = routine::entry(list, wait) + size_of::<u64>() as u64;
        let clone = Call::new(libc::SYS_clone, [word(libc::CLONE_PARENT_SETTID), 0, pid_argument]);
        calls.push(clone.or_else(0, wait));
        calls.extend(child);
        calls.push(Call::new(libc::SYS_wait4, [NOBODY, 0, word(libc::__WALL), 0]));
        calls.push(Call::new(libc::SYS_close, [answer]));
        calls.extend(self.closing(files).map_err(|errno| (COPY, errno))?);

        let mut said = Vec::new();
        let is_executed = self.run(
            &calls,
            |tracee, index, result| {
                if index == fork || index == wait {
                    registers::to_result(result).map_err(|errno| (COPY, errno))?;
                }
                // ORDER: the next call closes it.
                if index == wait {
                    said = tracee.read(answer);
                }
                Ok(())
            },
            Some((wait, patience)),
        )?;
        if is_executed { Err((COPY, Errno::EIO)) } else { Ok(said) }
    }

    /// Makes it execute a program with the state, for which `lock` stays open, with all signals blocked, and releases
    /// it. If that fails, it is unchanged.
    pub(super) fn execute(
        &mut self,
        files: &Files,
        [path, arguments, environment]: Program,
        lock: u64,
    ) -> Result<(), Failed> {
        const EXECUTE: &str = "execute this program";
        let failed = |errno| (EXECUTE, errno);
        let otherwise = self.opening(files, 0).map_err(failed)?.len() + 2;
        let mut calls = self.opening(files, otherwise).map_err(failed)?;
        calls.push(set_close_on_exec(lock, 0).or_else(0, otherwise).to(EXECUTE));
        calls.push(Call::new(libc::SYS_execve, [path, arguments, environment]).or_else(0, otherwise).to(EXECUTE));
        calls.push(set_close_on_exec(lock, libc::FD_CLOEXEC));
        calls.extend(self.closing(files).map_err(failed)?);
        // It continues even without us.
        self.outcome = NOT_KNOWN;
        let is_executed = self.run(&calls, |_, _, _| Ok(()), None);
        self.outcome = NOT_TAKEN_OVER;
        if !is_executed? {
            return Err(failed(Errno::EIO));
        }
        (self.stopped, self.room, self.told) = (None, None, None);
        self.request(libc::PTRACE_DETACH, 0, 0).map_err(failed)
    }

    /// Blocks all signals, and opens the files, if it is allowed to; a failure leads to the call `otherwise`.
    fn opening(&self, files: &Files, otherwise: usize) -> Result<Vec<Call>, Errno> {
        const WRITE: &str = "write the state";
        let Files { names, state, length, numbers } = *files;
        let ends = self.data()? + PIPE;
        let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
        let seal = [numbers.state, word(libc::F_ADD_SEALS), word(seals)];
        Ok(vec![
            self.block(ALL_SIGNALS)?.or_else(ALLOWED, otherwise).to(OPEN),
            memory_file(names[0], numbers.state, otherwise),
            Call::new(libc::SYS_write, [numbers.state, state, length]).or_else(length, otherwise).to(WRITE),
            Call::new(libc::SYS_fcntl, seal).or_else(0, otherwise).to(WRITE),
            Call::new(libc::SYS_pipe2, [ends, word(libc::O_CLOEXEC)]).or_else(0, otherwise).to(OPEN),
        ])
    }

    /// Undoes that, however much of it was done.
    fn closing(&self, files: &Files) -> Result<Vec<Call>, Errno> {
        let Numbers { state, spare, .. } = files.numbers;
        let numbers = [state].into_iter().chain(spare);
        let mut calls: Vec<Call> = numbers.map(|number| Call::new(libc::SYS_close, [number])).collect();
        calls.push(self.block(OLD_MASK)?);
        Ok(calls)
    }

    /// Makes it perform a list of calls, and reports each by its index and its result. When a given patience is over, kills
    /// the child that a given call waits for. True if it has executed a program.
    fn run(
        &mut self,
        calls: &[Call],
        mut tell: impl FnMut(&Self, usize, u64) -> Result<(), Failed>,
        limit: Option<(usize, Patience)>,
    ) -> Result<bool, Failed> {
        let failed = |errno| ("be traced", errno);
        self.begin(calls).map_err(failed)?;
        let list = self.data().map_err(failed)?;
        let (mut outcome, mut before) = (Ok(()), 0);
        loop {
            let limit = |tracee: &Self, index| match limit {
                Some((wait, patience)) if wait == index => tracee.wait_or_kill(before, patience),
                _ => Ok(()),
            };
            let (index, result) = match self.step(list, limit) {
                Ok((_, None)) => return Ok(true),
                // A call that is made again, as after a STOP, comes twice.
                Ok((_, Some(result))) if registers::is_made_again(result) => continue,
                Ok((index, Some(result))) => (index, result),
                Err(errno @ (Errno::EINTR | Errno::ESRCH)) => return Err(failed(errno)),
                Err(errno) => self.leave_alone("ptrace", errno),
            };
            before = result;
            let in_vain = calls.get(index).filter(|call| call.is_in_vain(result));
            if let Some(purpose) = in_vain.and_then(|call| call.purpose) {
                outcome = Err((purpose, registers::to_result(result).err().unwrap_or(Errno::EIO)));
            }
            outcome = outcome.and_then(|()| tell(self, index, result));
            if index + 1 >= calls.len() {
                break;
            }
        }
        self.set_interrupted().map_err(failed)?;
        outcome.map(|()| false)
    }

    /// Makes it perform the next call of a list: which one, and its result. None if it has executed a program. `wait` is
    /// called in between.
    fn step(
        &mut self,
        list: u64,
        wait: impl FnOnce(&Self, usize) -> Result<(), Errno>,
    ) -> Result<(usize, Option<u64>), Errno> {
        self.enter()?;
        let index = routine::index(list, registers::place(&self.registers()?));
        self.request(libc::PTRACE_SYSCALL, 0, 0)?;
        wait(self, index)?;
        match self.end_of_call()? {
            // ORDER: signals are blocked. An earlier one might be lost in an exec; if this command was killed before it
            // could rule that out, the list ends here.
            Some(0) if index == 0 => {
                let mut registers = self.registers()?;
                *registers::result(&mut registers) = ALLOWED;
                self.set_registers(&registers)?;
                Ok((index, Some(ALLOWED)))
            }
            result => Ok((index, result)),
        }
    }

    /// Its state is no longer known. As if this command were killed, the kernel continues it, and it finishes what it
    /// has begun.
    fn leave_alone(&self, call: &str, errno: Errno) -> ! {
        let (sentence, code) = self.outcome;
        say(Error::system(&[sentence, b": ", call.as_bytes(), b"(2) failed:"], errno).message());
        sys::exit_now(code)
    }

    /// Waits for the end of a call that waits for `child`, which is killed when `patience` is over.
    fn wait_or_kill(&self, child: u64, patience: Patience) -> Result<(), Errno> {
        let child = Pid::try_from(child).unwrap_or(Pid::MAX);
        let mut is_killed = false;
        while self.look()?.is_none() {
            if !is_killed && patience.is_over(|| Process::Pid(child).is_at_work()) {
                is_killed = true;
                // Its parent reaps it as soon as it exits.
                let is_it = || Process::Pid(child).parent() == Some(self.pid);
                let _ = sys::kill_if(child, libc::SIGKILL, is_it);
            }
            std::thread::sleep(LOOK / 4);
        }
        Ok(())
    }

    /// The content of one of its open files.
    fn read(&self, descriptor: u64) -> Vec<u8> {
        let mut said = Vec::new();
        let path = RawFd::try_from(descriptor).map(|number| Process::Pid(self.pid).descriptor(number).path());
        if let Some(file) = path.ok().and_then(|path| File::open(path).ok()) {
            let _ = file.take(LONGEST_ANSWER).read_to_end(&mut said);
        }
        said
    }

    /// Continues it as before, still traced.
    pub(super) fn release(&mut self) -> Result<(), Errno> {
        match self.clean_up() {
            // It runs already.
            Err(Errno::EINTR) => Ok(()),
            _ => self.let_go(0),
        }
    }

    /// Unmaps what it was made to map.
    fn clean_up(&mut self) -> Result<(), Errno> {
        if let Some(Room { code, data, length }) = self.room {
            if data != 0 {
                self.call(libc::SYS_munmap, [data, length, 0, 0, 0, 0])?;
                self.room = Some(Room { code, data: 0, length });
            }
            self.call(libc::SYS_munmap, [code, 4096, 0, 0, 0, 0])?;
            self.room = None;
        }
        Ok(())
    }

    fn data(&self) -> Result<u64, Errno> {
        self.room.map(|room| room.data).ok_or(Errno::EFAULT)
    }

    /// The call that sets its blocked signals to those at a place of the data.
    fn block(&self, place: u64) -> Result<Call, Errno> {
        let set = self.data()? + place;
        Ok(Call::new(libc::SYS_rt_sigprocmask, [word(libc::SIG_SETMASK), set, 0, size_of::<u64>() as u64]))
    }

    /// Makes it ready for a list of calls, which it makes step by step.
    fn begin(&self, calls: &[Call]) -> Result<(), Errno> {
        let Some((registers, _)) = &self.stopped else { return Err(Errno::ESRCH) };
        let Some(Room { code, data, .. }) = self.room else { return Err(Errno::EFAULT) };
        let list = routine::list(calls, data, registers);
        if list.len() as u64 > ALL_SIGNALS {
            return Err(Errno::E2BIG);
        }
        self.write(data, &list)?;
        self.set_registers(&registers::for_routine(registers, code, data))
    }

    /// To the beginning of the next call.
    fn enter(&mut self) -> Result<(), Errno> {
        loop {
            self.request(libc::PTRACE_SYSCALL, 0, 0)?;
            match self.wait()? {
                Stop::SystemCall => return Ok(()),
                // It comes however signals are blocked, when there may be no way back.
                Stop::Signal(libc::SIGSTOP) => self.is_to_stop = true,
                // From the rehearsal, or from a worker, which the next wait finds.
                Stop::Signal(libc::SIGCHLD) => {}
                // None arrives between the call that blocks them and the one that unblocks them: so this is before the
                // first call, and nothing has been done.
                Stop::Signal(signal) => {
                    self.note(signal);
                    self.let_go(signal)?;
                    return Err(Errno::EINTR);
                }
                Stop::Interrupted | Stop::Executed | Stop::Held => return Err(Errno::EIO),
            }
        }
    }

    /// The result of a call that it makes. None if it has executed a program.
    fn end_of_call(&self) -> Result<Option<u64>, Errno> {
        match self.wait()? {
            Stop::SystemCall => Ok(Some(*registers::result(&mut self.registers()?))),
            Stop::Executed => Ok(None),
            Stop::Interrupted | Stop::Held | Stop::Signal(_) => Err(Errno::EIO),
        }
    }

    /// Makes it perform a system call with the instruction that it was stopped at. Its result may become that of the old
    /// call if the tracer is killed.
    fn call(&mut self, number: c_long, arguments: [u64; 6]) -> Result<u64, Errno> {
        let Some((registers, _)) = &self.stopped else { return Err(Errno::ESRCH) };
        self.set_registers(&registers::for_call(registers, number, arguments))?;
        self.enter()?;
        self.request(libc::PTRACE_SYSCALL, 0, 0)?;
        let result = self.end_of_call()?.ok_or(Errno::EIO)?;
        self.set_interrupted()?;
        registers::to_result(result)
    }

    /// The old call returns as interrupted. If it were restarted, a signal that came meanwhile would have no effect:
    /// its handler only notes it, until the call returns.
    fn set_interrupted(&self) -> Result<(), Errno> {
        match &self.stopped {
            Some((registers, _)) => self.set_registers(&registers::for_interrupted(registers)),
            None => Ok(()),
        }
    }

    /// Continues it, with a signal if it has stopped at one.
    fn let_go(&mut self, signal: c_int) -> Result<(), Errno> {
        self.set_interrupted()?;
        self.stopped = None;
        self.resume(signal)
    }

    /// Whether the kernel reports that it sleeps in such a call.
    fn is_waiting(&self) -> Result<bool, Errno> {
        let text = Process::Pid(self.pid).system_call();
        let text = text.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
        let number = text.split(' ').next().and_then(|word| word.trim().parse().ok());
        Ok(number.is_some_and(is_idle_call))
    }

    /// Whether the instruction that it comes from is the one that makes a system call.
    fn is_at_a_call(&self, registers: &Registers) -> bool {
        let mut instruction = registers::INSTRUCTION;
        let is_read = self.memory.read_exact_at(&mut instruction, registers::call_address(registers)).is_ok();
        is_read && instruction == registers::INSTRUCTION
    }

    fn resume(&self, signal: c_int) -> Result<(), Errno> {
        self.request(libc::PTRACE_CONT, 0, c_ulong::try_from(signal).unwrap_or(0))
    }

    /// While it runs.
    pub(super) fn pass_signals_on(&mut self) -> Result<(), Errno> {
        while let Some(stop) = self.look()? {
            self.pass_on(&stop)?;
        }
        Ok(())
    }

    fn pass_on(&mut self, stop: &Stop) -> Result<(), Errno> {
        let signal = match stop {
            Stop::Signal(signal) => *signal,
            // It does nothing until CONT arrives.
            Stop::Held => {
                self.is_held = true;
                return Err(Errno::EBUSY);
            }
            _ => 0,
        };
        // Perl takes ALRM before TERM and INT, and forgets these. One may have arrived while it was stopped here.
        let process = Process::Pid(self.pid);
        let is_pending = |set| process.signals(set).is_ok_and(|signals| signals & ASKING != 0);
        if signal == libc::SIGALRM && (is_pending("SigPnd") || is_pending("ShdPnd")) {
            self.note(signal);
            self.is_disturbed = true;
            return self.resume(0);
        }
        self.note(signal);
        self.resume(signal)
    }

    /// It gets a signal. ALRM only wakes the original, and it notices a death when it waits.
    fn note(&mut self, signal: c_int) {
        self.signals += 1;
        match signal {
            0 | libc::SIGCHLD | libc::SIGALRM => {}
            _ => self.is_disturbed = true,
        }
        if matches!(signal, libc::SIGTERM | libc::SIGINT) {
            self.told = Some(signal);
        }
    }

    /// Whether it has stopped.
    fn look(&self) -> Result<Option<Stop>, Errno> {
        self.wait_for_stop(libc::WNOHANG)
    }

    fn wait(&self) -> Result<Stop, Errno> {
        self.wait_for_stop(0)?.ok_or(Errno::EIO)
    }

    /// Peeks at the stop without consuming it: if the tracer is killed before it continues the process, a signal that
    /// has stopped it still takes effect.
    fn wait_for_stop(&self, flags: c_int) -> Result<Option<Stop>, Errno> {
        const AT_SYSTEM_CALL: c_int = libc::SIGTRAP | 0x80;
        let flags = flags | libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT | libc::__WALL;
        let id = libc::id_t::try_from(self.pid).map_err(|_| Errno::ESRCH)?;
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: waitid(2) writes at most the structure; where nothing has happened, its si_pid stays the zero it was set
        // to.
        let (code, pid, status) = unsafe {
            while let Err(errno) = Errno::result(libc::waitid(libc::P_PID, id, info.as_mut_ptr(), flags)) {
                match errno {
                    Errno::EINTR => {}
                    Errno::ECHILD => return Err(Errno::ESRCH),
                    errno => self.leave_alone("waitid", errno),
                }
            }
            let info = info.assume_init();
            (info.si_code, info.si_pid(), info.si_status())
        };
        if pid == 0 {
            return Ok(None);
        }
        if !matches!(code, libc::CLD_TRAPPED | libc::CLD_STOPPED) {
            return Err(Errno::ESRCH);
        }
        Ok(Some(match (status >> 8, status & 0xff) {
            (libc::PTRACE_EVENT_STOP, libc::SIGTRAP) => Stop::Interrupted,
            (libc::PTRACE_EVENT_STOP, _) => Stop::Held,
            (libc::PTRACE_EVENT_EXEC, _) => Stop::Executed,
            (_, AT_SYSTEM_CALL) => Stop::SystemCall,
            (_, signal) => Stop::Signal(signal),
        }))
    }

    fn registers(&self) -> Result<Registers, Errno> {
        let mut registers = registers::empty();
        self.transfer_registers(libc::PTRACE_GETREGSET, &mut registers).map(|()| registers)
    }

    fn set_registers(&self, registers: &Registers) -> Result<(), Errno> {
        self.transfer_registers(libc::PTRACE_SETREGSET, &mut registers.clone())
    }

    fn transfer_registers(&self, request: Request, registers: &mut Registers) -> Result<(), Errno> {
        let mut part =
            iovec { iov_base: std::ptr::from_mut(registers).cast::<c_void>(), iov_len: size_of::<Registers>() };
        // SAFETY: the kernel reads or writes at most the length that the iovec has, which is that of the structure.
        let result = unsafe { libc::ptrace(request, self.pid, libc::NT_PRSTATUS as c_ulong, &raw mut part) };
        Errno::result(result).map(drop)
    }

    fn mask(&self) -> Result<u64, Errno> {
        let mut mask = 0_u64;
        // SAFETY: the kernel writes as many bytes as it is told, which the mask has.
        let result = unsafe { libc::ptrace(PTRACE_GETSIGMASK, self.pid, size_of_val(&mask), &raw mut mask) };
        Errno::result(result).map(|_| mask)
    }

    /// A request whose data is a number.
    fn request(&self, request: Request, address: c_ulong, data: c_ulong) -> Result<(), Errno> {
        // SAFETY: none of these requests makes the kernel read or write memory of ours.
        Errno::result(unsafe { libc::ptrace(request, self.pid, address, data) }).map(drop)
    }
}

impl Drop for Tracee {
    /// Continues it as before.
    fn drop(&mut self) {
        /// How long to try to undo what it was made to do. What is left does no harm.
        const LIMIT: Duration = Duration::from_millis(500);
        let patience = Patience::of(LIMIT);
        while self.stopped.is_some() || !self.is_held && self.stop(patience) == Ok(true) {
            match self.clean_up() {
                // A signal has arrived, and it runs.
                Err(Errno::EINTR) if self.stopped.is_none() && !self.is_over(patience) => {}
                _ => break,
            }
        }
        let _ = self.set_interrupted();
        let started = Process::Pid(self.pid).started();
        // With the signal that has stopped it, if any. A running process is released when this one exits: it might stop at a
        // signal just now, which would be lost.
        if let Ok(Some(stop)) = self.look() {
            let signal = if let Stop::Signal(signal) = stop { signal } else { 0 };
            let _ = self.request(libc::PTRACE_DETACH, 0, c_ulong::try_from(signal).unwrap_or(0));
        }
        for signal in self.is_to_stop.then_some(libc::SIGSTOP).into_iter().chain(self.told) {
            let is_it = || started.is_some() && Process::Pid(self.pid).started() == started;
            let _ = sys::kill_if(self.pid, signal, is_it);
        }
    }
}

/// A file in memory, which has to get the number `expected`.
fn memory_file(name: u64, expected: u64, otherwise: usize) -> Call {
    Call::new(libc::SYS_memfd_create, [name, u64::from(libc::MFD_ALLOW_SEALING)]).or_else(expected, otherwise).to(OPEN)
}

const OPEN: &str = "open the files of the state";

fn set_close_on_exec(descriptor: u64, flag: c_int) -> Call {
    Call::new(libc::SYS_fcntl, [descriptor, word(libc::F_SETFD), word(flag)])
}

/// All signals that can be blocked.
const EVERYTHING: u64 = !(1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1));

/// The signals that request something from the original.
const ASKING: u64 = 1 << (libc::SIGHUP - 1) | 1 << (libc::SIGINT - 1) | 1 << (libc::SIGTERM - 1);

/// The result that the first call of a list needs, and never returns by itself.
const ALLOWED: u64 = 1;

/// A pid that nobody has, until that of the child is known.
const NOBODY: u64 = Pid::MAX as u64;

/// A number as an argument of a system call.
pub(super) fn word(number: c_int) -> u64 {
    i64::from(number).cast_unsigned()
}

#[cfg(target_env = "musl")]
type Request = c_int;
#[cfg(not(target_env = "musl"))]
type Request = libc::c_uint;

/// Not in libc for all C libraries.
const PTRACE_GETSIGMASK: Request = 0x420a;

/// The calls in which the idle original sleeps.
fn is_idle_call(number: i64) -> bool {
    number == libc::SYS_wait4
}
