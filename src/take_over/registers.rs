//! How to change the registers of a process that is stopped in a system call so that it makes another call, for the
//! known processors.

use libc::c_long;
use nix::errno::Errno;

pub(super) use architecture::*;

/// A call's result: an errno is a small negative number.
pub(super) fn to_result(value: u64) -> Result<u64, Errno> {
    match value.cast_signed() {
        errno @ -4095..0 => Err(Errno::from_raw(i32::try_from(-errno).unwrap_or(libc::EIO))),
        _ => Ok(value),
    }
}

/// What the kernel has noted about a call that has to be made again (`ERESTARTSYS`, `ERESTARTNOINTR`, `ERESTARTNOHAND`,
/// `ERESTART_RESTARTBLOCK`). No program ever sees these.
const AGAIN: [i64; 4] = [-512, -513, -514, -516];

/// Whether a call with this result is made again.
pub(super) fn is_made_again(value: u64) -> bool {
    AGAIN.contains(&value.cast_signed())
}

/// The result of a call that a signal has interrupted. Perl then acts on what has arrived, and waits again.
const INTERRUPTED: u64 = (-(libc::EINTR as i64)).cast_unsigned();

#[cfg(target_arch = "x86_64")]
mod architecture {
    use super::{INTERRUPTED, c_long, is_made_again};

    pub(in crate::take_over) type Registers = libc::user_regs_struct;

    /// `syscall`.
    pub(in crate::take_over) const INSTRUCTION: [u8; 2] = [0x0f, 0x05];

    /// The call that the process was stopped in, and is to make again.
    pub(in crate::take_over) fn interrupted_call(registers: &Registers) -> Option<i64> {
        is_made_again(registers.rax).then_some(registers.orig_rax.cast_signed())
    }

    /// The address of its instruction: the previous one.
    pub(in crate::take_over) fn call_address(registers: &Registers) -> u64 {
        registers.rip - INSTRUCTION.len() as u64
    }

    pub(in crate::take_over) fn for_call(stopped: &Registers, number: c_long, arguments: [u64; 6]) -> Registers {
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        // -1: what the kernel has noted about the old call is not for this one.
        Registers {
            rax: number.cast_unsigned(),
            orig_rax: u64::MAX,
            rip: call_address(stopped),
            rdi,
            rsi,
            rdx,
            r10,
            r8,
            r9,
            ..*stopped
        }
    }

    /// The call has returned with [`INTERRUPTED`].
    pub(in crate::take_over) fn for_interrupted(stopped: &Registers) -> Registers {
        Registers { rax: INTERRUPTED, orig_rax: u64::MAX, ..*stopped }
    }

    /// The copied machine code at `code` makes the calls at `list`.
    pub(in crate::take_over) fn for_routine(stopped: &Registers, code: u64, list: u64) -> Registers {
        Registers { rax: 0, orig_rax: u64::MAX, rip: code, rbx: list, ..*stopped }
    }

    /// What that puts into the registers at its end, in the order that it has: as [`for_interrupted`].
    pub(in crate::take_over) fn at_the_end(stopped: &Registers) -> [u64; 9] {
        let Registers { rdi, rsi, rdx, r10, r8, r9, rip, rbx, .. } = *stopped;
        [rdi, rsi, rdx, r10, r8, r9, rip, INTERRUPTED, rbx]
    }

    /// Where in the list that is.
    pub(in crate::take_over) fn place(registers: &Registers) -> u64 {
        registers.rbx
    }

    pub(in crate::take_over) fn result(registers: &mut Registers) -> &mut u64 {
        &mut registers.rax
    }
}

#[cfg(target_arch = "aarch64")]
mod architecture {
    use super::{INTERRUPTED, c_long};

    pub(in crate::take_over) type Registers = libc::user_regs_struct;

    /// `svc #0`.
    pub(in crate::take_over) const INSTRUCTION: [u8; 4] = [0x01, 0x00, 0x00, 0xd4];

    /// The call that the process was stopped in. The kernel has already moved it back to its instruction, so only the
    /// register of the number shows it.
    pub(in crate::take_over) fn interrupted_call(registers: &Registers) -> Option<i64> {
        Some(registers.regs[8].cast_signed())
    }

    pub(in crate::take_over) fn call_address(registers: &Registers) -> u64 {
        registers.pc
    }

    pub(in crate::take_over) fn for_call(stopped: &Registers, number: c_long, arguments: [u64; 6]) -> Registers {
        let mut registers = *stopped;
        registers.regs[..6].copy_from_slice(&arguments);
        registers.regs[8] = number.cast_unsigned();
        registers
    }

    /// The call has returned with [`INTERRUPTED`].
    pub(in crate::take_over) fn for_interrupted(stopped: &Registers) -> Registers {
        let mut registers = *stopped;
        registers.regs[0] = INTERRUPTED;
        registers.pc = call_address(stopped) + INSTRUCTION.len() as u64;
        registers
    }

    /// The copied machine code at `code` makes the calls at `list`.
    pub(in crate::take_over) fn for_routine(stopped: &Registers, code: u64, list: u64) -> Registers {
        let mut registers = *stopped;
        registers.regs[17] = list;
        registers.pc = code;
        registers
    }

    /// What that puts into the registers at its end, in the order that it has: as [`for_interrupted`].
    pub(in crate::take_over) fn at_the_end(stopped: &Registers) -> [u64; 8] {
        let Registers { regs, .. } = for_interrupted(stopped);
        [regs[0], regs[1], regs[2], regs[3], regs[4], regs[5], regs[8], for_interrupted(stopped).pc]
    }

    /// Where in the list that is.
    pub(in crate::take_over) fn place(registers: &Registers) -> u64 {
        registers.regs[17]
    }

    pub(in crate::take_over) fn result(registers: &mut Registers) -> &mut u64 {
        &mut registers.regs[0]
    }
}

/// All zero.
pub(super) fn empty() -> Registers {
    // SAFETY: it consists of numbers.
    #[expect(unsafe_code)]
    unsafe {
        std::mem::zeroed()
    }
}
