//! A process that is stopped while it waits, and made to execute another program: ptrace(2).
//!
//! All of it happens at the system call that the process sleeps in. The registers are set so that it makes another one
//! with the same instruction, and afterwards either executes a program, or finds that the old call was interrupted by a
//! signal, as often happens to it.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use libc::{c_int, c_long, c_ulong, c_void, iovec};
use nix::errno::Errno;

use crate::proc::{Pid, Process};
use crate::take_over::registers::{self, Registers};

/// How often a process that doesn't wait is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// A process that is traced. Dropping it lets it go on as before, if it has executed nothing.
pub(super) struct Tracee {
    pid: Pid,
    memory: File,
    /// Where it was stopped, and which signals were blocked there.
    stopped: Option<(Registers, u64)>,
    scratch: Option<(u64, u64)>,
    is_blocking: bool,
}

/// Why a traced process has stopped.
enum Stop {
    Interrupted,
    SystemCall,
    Executed,
    Signal(c_int),
}

impl Tracee {
    /// Begins to trace `pid`, which doesn't notice.
    ///
    /// # Errors
    /// `EPERM` if it may not be traced, or somebody else traces it.
    pub(super) fn seize(pid: Pid) -> Result<Self, Errno> {
        let memory = Process::Pid(pid).memory(OpenOptions::new().read(true).write(true));
        let memory = memory.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACEEXEC;
        let tracee = Self { pid, memory, stopped: None, scratch: None, is_blocking: false };
        tracee.request(libc::PTRACE_SEIZE, 0, word(options))?;
        Ok(tracee)
    }

    /// Stops it while it waits in one of the calls that a superdaemon is idle in. What it was told before, it has acted on;
    /// what it is told from here on stays pending. False if it doesn't wait before `end`.
    pub(super) fn stop_while_waiting(&mut self, end: Instant) -> Result<bool, Errno> {
        while Instant::now() < end {
            if !self.is_waiting()? {
                // A traced process stops at each signal, and has to be sent on.
                while let Some(stop) = self.look()? {
                    self.pass_on(&stop)?;
                }
                std::thread::sleep(LOOK);
                continue;
            }
            // ORDER: one interrupt, and its stop is waited for before anything else: a second one would stop the process
            // again before it has executed one instruction.
            self.request(libc::PTRACE_INTERRUPT, 0, 0)?;
            loop {
                match self.wait()? {
                    Stop::Interrupted => break,
                    stop => self.pass_on(&stop)?,
                }
            }
            let registers = self.registers()?;
            if registers::interrupted_call(&registers).is_some_and(is_idle_call) && self.is_at_a_call(&registers) {
                self.stopped = Some((registers, self.mask()?));
                return Ok(true);
            }
            self.go_on(0)?;
        }
        Ok(false)
    }

    /// The signals that were blocked when it was stopped: a bit for each number less one.
    pub(super) fn blocked(&self) -> u64 {
        match self.stopped {
            // One that was left like that is healed.
            Some((_, mask)) if mask & ALL_BLOCKED != ALL_BLOCKED => mask,
            _ => 0,
        }
    }

    /// Makes room for `length` bytes in its memory; where that is. From here on it blocks all signals: none may come in
    /// between its system calls.
    pub(super) fn reserve(&mut self, length: usize) -> Result<u64, Errno> {
        self.set_mask(u64::MAX)?;
        self.is_blocking = true;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let arguments = [0, length as u64, word(protection), word(flags), u64::MAX, 0];
        let address = self.call(libc::SYS_mmap, arguments)?;
        self.scratch = Some((address, length as u64));
        Ok(address)
    }

    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        let written = self.memory.write_all_at(bytes, address);
        written.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    }

    /// Lets it make a system call.
    pub(super) fn call(&mut self, number: c_long, arguments: [u64; 6]) -> Result<u64, Errno> {
        match self.begin_call(number, arguments)? {
            Some(result) => registers::to_result(result),
            None => Err(Errno::EIO),
        }
    }

    /// Lets it execute a program, with the addresses of path, arguments and environment, and lets it go. If that fails, it
    /// is as it was, when `undo` has been done.
    pub(super) fn execute(
        mut self,
        [path, arguments, environment]: [u64; 3],
        undo: impl FnOnce(&mut Self),
    ) -> Result<(), Errno> {
        if let Some(result) = self.begin_call(libc::SYS_execve, [path, arguments, environment, 0, 0, 0])? {
            undo(&mut self);
            return registers::to_result(result).and(Err(Errno::EIO));
        }
        self.stopped = None;
        self.scratch = None;
        self.request(libc::PTRACE_DETACH, 0, 0)
    }

    /// None if it has executed a program meanwhile.
    fn begin_call(&mut self, number: c_long, arguments: [u64; 6]) -> Result<Option<u64>, Errno> {
        let Some((registers, _)) = &self.stopped else { return Err(Errno::ESRCH) };
        let call = registers::for_call(registers, number, arguments);
        self.set_registers(&call)?;
        // To its beginning, and to its end.
        for _ in 0..2 {
            self.request(libc::PTRACE_SYSCALL, 0, 0)?;
            match self.wait()? {
                Stop::SystemCall => {}
                Stop::Executed => return Ok(None),
                Stop::Interrupted | Stop::Signal(_) => return Err(Errno::EIO),
            }
        }
        let result = registers::result(&self.registers()?);
        // Whatever becomes of the tracer from here on, the process goes on behind its old call.
        self.set_interrupted()?;
        Ok(Some(result))
    }

    /// The old call returns as interrupted. Made anew, it would leave alone whatever signal came meanwhile: its handler
    /// only takes note of it, for when the call returns.
    fn set_interrupted(&self) -> Result<(), Errno> {
        match &self.stopped {
            Some((registers, _)) => self.set_registers(&registers::for_interrupted(registers)),
            None => Ok(()),
        }
    }

    /// Whether the kernel says that it sleeps in such a call.
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

    fn go_on(&self, signal: c_int) -> Result<(), Errno> {
        self.request(libc::PTRACE_CONT, 0, c_ulong::try_from(signal).unwrap_or(0))
    }

    fn pass_on(&self, stop: &Stop) -> Result<(), Errno> {
        self.go_on(if let Stop::Signal(signal) = stop { *signal } else { 0 })
    }

    /// Whether it has stopped.
    fn look(&self) -> Result<Option<Stop>, Errno> {
        self.wait_for_stop(libc::WNOHANG)
    }

    fn wait(&self) -> Result<Stop, Errno> {
        self.wait_for_stop(0)?.ok_or(Errno::EIO)
    }

    fn wait_for_stop(&self, flags: c_int) -> Result<Option<Stop>, Errno> {
        const STOPPED: c_int = 0x7f;
        const AT_SYSTEM_CALL: c_int = libc::SIGTRAP | 0x80;
        let mut status = 0;
        loop {
            // SAFETY: the status is writable.
            match Errno::result(unsafe { libc::waitpid(self.pid, &raw mut status, flags | libc::__WALL) }) {
                Ok(0) => return Ok(None),
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        if status & 0xff != STOPPED {
            return Err(Errno::ESRCH);
        }
        Ok(Some(match (status >> 16, status >> 8 & 0xff) {
            (libc::PTRACE_EVENT_STOP, _) => Stop::Interrupted,
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

    fn set_mask(&self, mask: u64) -> Result<(), Errno> {
        // SAFETY: the kernel reads as many bytes as it is told, which the mask has.
        let result = unsafe { libc::ptrace(PTRACE_SETSIGMASK, self.pid, size_of_val(&mask), &raw const mask) };
        Errno::result(result).map(drop)
    }

    /// A request whose data is a number.
    fn request(&self, request: Request, address: c_ulong, data: c_ulong) -> Result<(), Errno> {
        // SAFETY: none of these requests makes the kernel read or write memory of ours.
        Errno::result(unsafe { libc::ptrace(request, self.pid, address, data) }).map(drop)
    }
}

impl Drop for Tracee {
    /// Lets it go on as before.
    fn drop(&mut self) {
        if self.stopped.is_some() {
            if let Some((address, length)) = self.scratch.take() {
                let _ = self.call(libc::SYS_munmap, [address, length, 0, 0, 0, 0]);
            }
            let _ = self.set_interrupted();
            if self.is_blocking {
                let _ = self.set_mask(self.blocked());
            }
        }
        // Only a stopped process can be let go; with the signal that has stopped it, if it is one. A process that runs is let go
        // when this one ends.
        let signal = match (&self.stopped, self.look()) {
            (None, Ok(Some(Stop::Signal(signal)))) => c_ulong::try_from(signal).unwrap_or(0),
            (None, Ok(None)) => return,
            _ => 0,
        };
        let _ = self.request(libc::PTRACE_DETACH, 0, signal);
    }
}

/// A number as an argument of a system call.
pub(super) fn word(number: c_int) -> u64 {
    i64::from(number).cast_unsigned()
}

/// All signals that have names and can be blocked: nobody starts a superdaemon like that, but a take-over that was killed
/// may leave it.
const ALL_BLOCKED: u64 = 0x7fff_ffff & !(1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1));

#[cfg(target_env = "musl")]
type Request = c_int;
#[cfg(not(target_env = "musl"))]
type Request = libc::c_uint;

/// Not in libc for all C libraries.
const PTRACE_GETSIGMASK: Request = 0x420a;
const PTRACE_SETSIGMASK: Request = 0x420b;

/// In which a superdaemon sleeps that has nothing to do: the original in wait4(2), this program in poll(2).
fn is_idle_call(number: i64) -> bool {
    #[cfg(target_arch = "x86_64")]
    let calls = [libc::SYS_wait4, libc::SYS_poll, libc::SYS_ppoll];
    #[cfg(not(target_arch = "x86_64"))]
    let calls = [libc::SYS_wait4, libc::SYS_ppoll];
    calls.contains(&number)
}
