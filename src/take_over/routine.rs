//! Machine code that is copied into a stopped process. It makes a list of system calls, and then continues behind the
//! call that the process was stopped in, which seems interrupted. If the command that steps through it dies, at any
//! moment, the code still finishes what it has begun.

#![allow(unsafe_code)]

use std::arch::global_asm;

use libc::c_long;

use crate::take_over::registers::{self, Registers};

/// How many bytes one call takes in the list.
const ENTRY: u64 = 72;

/// A system call in the list.
#[derive(Clone, Copy)]
pub(super) struct Call {
    number: c_long,
    arguments: [u64; 6],
    /// The required result, and the call with which the list continues otherwise. None: always the next one.
    check: Option<(u64, usize)>,
    /// What has failed if the result is another one, if that is a failure.
    pub(super) purpose: Option<&'static str>,
}

impl Call {
    pub(super) fn new<const N: usize>(number: c_long, arguments: [u64; N]) -> Self {
        let mut all = [0; 6];
        all[..N].copy_from_slice(&arguments);
        Self { number, arguments: all, check: None, purpose: None }
    }

    /// The list continues elsewhere if the call doesn't give `expected`.
    pub(super) fn or_else(self, expected: u64, otherwise: usize) -> Self {
        Self { check: Some((expected, otherwise)), ..self }
    }

    /// Its failure has to be reported, as this.
    pub(super) fn to(self, purpose: &'static str) -> Self {
        Self { purpose: Some(purpose), ..self }
    }

    /// Whether the list continues elsewhere.
    pub(super) fn is_in_vain(&self, result: u64) -> bool {
        self.check.is_some_and(|(expected, _)| result != expected)
    }
}

/// The address of a call in the list at `list`.
pub(super) fn entry(list: u64, index: usize) -> u64 {
    list + index as u64 * ENTRY
}

/// Which call of the list at `list` has an address.
pub(super) fn index(list: u64, entry: u64) -> usize {
    usize::try_from(entry.wrapping_sub(list) / ENTRY).unwrap_or(usize::MAX)
}

/// The list for the machine code at the address `list`: each call is its number, six arguments, what is expected of it
/// and where the list continues otherwise, or zero; after the last, a negative number and the final registers.
pub(super) fn list(calls: &[Call], list: u64, stopped: &Registers) -> Vec<u8> {
    let words = |call: &Call| {
        let [first, second, third, fourth, fifth, sixth] = call.arguments;
        let (expected, otherwise) = call.check.map_or((0, 0), |(expected, index)| (expected, entry(list, index)));
        [call.number.cast_unsigned(), first, second, third, fourth, fifth, sixth, expected, otherwise]
    };
    let end = [u64::MAX].into_iter().chain(registers::at_the_end(stopped));
    calls.iter().flat_map(words).chain(end).flat_map(u64::to_ne_bytes).collect()
}

/// The machine code. The address of the list is in the register that [`registers::for_routine`] sets.
pub(super) fn code() -> &'static [u8] {
    unsafe extern "C" {
        static start_server_routine: u8;
        static start_server_routine_end: u8;
    }
    // SAFETY: the two symbols are the ends of the constant bytes below, which are in one section.
    unsafe {
        let (begin, end) = (&raw const start_server_routine, &raw const start_server_routine_end);
        std::slice::from_raw_parts(begin, end.offset_from(begin).unsigned_abs())
    }
}

// Only RCX, R11 and the result may differ after a system call.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".pushsection .rodata.start_server_routine, \"a\", @progbits",
    ".balign 16",
    ".hidden start_server_routine",
    ".hidden start_server_routine_end",
    ".globl start_server_routine",
    ".globl start_server_routine_end",
    "start_server_routine:",
    "2:",
    "mov rax, [rbx]",
    "test rax, rax",
    "js 4f",
    "mov rdi, [rbx + 8]",
    "mov rsi, [rbx + 16]",
    "mov rdx, [rbx + 24]",
    "mov r10, [rbx + 32]",
    "mov r8, [rbx + 40]",
    "mov r9, [rbx + 48]",
    "syscall",
    "mov rcx, [rbx + 64]",
    "test rcx, rcx",
    "jz 3f",
    "cmp rax, [rbx + 56]",
    "je 3f",
    "mov rbx, rcx",
    "jmp 2b",
    "3:",
    "add rbx, 72",
    "jmp 2b",
    "4:",
    "mov rdi, [rbx + 8]",
    "mov rsi, [rbx + 16]",
    "mov rdx, [rbx + 24]",
    "mov r10, [rbx + 32]",
    "mov r8, [rbx + 40]",
    "mov r9, [rbx + 48]",
    "mov rcx, [rbx + 56]",
    "mov rax, [rbx + 64]",
    "mov rbx, [rbx + 72]",
    "jmp rcx",
    "start_server_routine_end:",
    ".popsection",
);

// Only x0 may differ after a system call. So does x17, which no function call preserves.
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".pushsection .rodata.start_server_routine, \"a\", @progbits",
    ".balign 16",
    ".hidden start_server_routine",
    ".hidden start_server_routine_end",
    ".globl start_server_routine",
    ".globl start_server_routine_end",
    "start_server_routine:",
    "2:",
    "ldr x8, [x17]",
    "tbnz x8, #63, 4f",
    "ldp x0, x1, [x17, #8]",
    "ldp x2, x3, [x17, #24]",
    "ldp x4, x5, [x17, #40]",
    "svc #0",
    "ldr x8, [x17, #56]",
    "eor x8, x8, x0",
    "cbz x8, 3f",
    "ldr x8, [x17, #64]",
    "cbz x8, 3f",
    "mov x17, x8",
    "b 2b",
    "3:",
    "add x17, x17, #72",
    "b 2b",
    "4:",
    "ldp x0, x1, [x17, #8]",
    "ldp x2, x3, [x17, #24]",
    "ldp x4, x5, [x17, #40]",
    "ldr x8, [x17, #56]",
    "ldr x17, [x17, #64]",
    "br x17",
    "start_server_routine_end:",
    ".popsection",
);
