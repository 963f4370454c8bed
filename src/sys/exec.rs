//! The arrays that a program is executed with, and the calls that execute it.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io::Write;
use std::ptr;

use libc::c_char;
use nix::errno::Errno;

use crate::sys::{OneThread, c_string};

unsafe extern "C" {
    static mut environ: *const *const c_char;
}

/// A null-terminated array of C strings, as exec wants it.
pub(crate) struct CStringArray {
    /// What `pointers` point to, except for the `pid`.
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
    pid: Option<PidEntry>,
}

/// `NAME=` and room for a pid.
struct PidEntry {
    text: Vec<u8>,
    /// Where the pid begins.
    start: usize,
    /// Which of the pointers is its.
    index: usize,
}

impl CStringArray {
    /// Sets the variable `name`, replacing one that is there.
    pub(crate) fn set(&mut self, name: &str, value: &[u8]) {
        let index = self.place_of(name);
        self.strings[index] = c_string(&[name.as_bytes(), b"=", value].concat());
        self.pointers[index] = self.strings[index].as_ptr();
    }

    /// Makes room for the variable `name`, replacing one that is there. It is empty until [`Self::put_pid`].
    pub(crate) fn reserve_pid(&mut self, name: &str) {
        let index = self.place_of(name);
        let mut text = [name.as_bytes(), b"="].concat();
        let start = text.len();
        text.extend([0; "2147483647\0".len()]);
        self.pointers[index] = text.as_ptr().cast();
        self.pid = Some(PidEntry { text, start, index });
    }

    /// The place of the variable `name`, or a new one before the null.
    fn place_of(&mut self, name: &str) -> usize {
        let is_it = |string: &CString| {
            string.to_bytes().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
        };
        self.strings.iter().position(is_it).unwrap_or_else(|| {
            self.strings.push(CString::default());
            self.pointers.push(ptr::null());
            self.strings.len() - 1
        })
    }

    /// Fills in the pid of this process, if there is room for one. Async-signal-safe: for a child that is about to
    /// exec.
    pub(crate) fn put_pid(&mut self) {
        if let Some(PidEntry { text, start, index }) = &mut self.pid {
            // Formatting a number allocates nothing. The rest of the room is NULs.
            let _ = write!(&mut text[*start..], "{}", std::process::id());
            self.pointers[*index] = text.as_ptr().cast();
        }
    }
}

impl FromIterator<CString> for CStringArray {
    fn from_iter<I: IntoIterator<Item = CString>>(strings: I) -> Self {
        let strings: Vec<CString> = strings.into_iter().collect();
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Self { strings, pointers, pid: None }
    }
}

/// The unchanged environment of this process, including entries that are not variables and duplicates.
pub(crate) fn environment(_: OneThread) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    // SAFETY: `environ` points to a null-terminated array of C strings, and there is no other thread that could change it
    // meanwhile.
    unsafe {
        let mut entry = environ;
        while let Some(string) = entry.as_ref().filter(|string| !string.is_null()) {
            entries.push(CStr::from_ptr(*string).to_bytes().to_vec());
            entry = entry.add(1);
        }
    }
    entries
}

/// execvp(3) with `environment`, whose PATH is searched. Returns only if that fails. Async-signal-safe.
pub(crate) fn exec(arguments: &CStringArray, environment: &CStringArray) -> Errno {
    debug_assert!(!arguments.strings.is_empty(), "execvp(3) reads the first argument");
    // SAFETY: both arrays end in a null pointer and live until the call returns. execvp(3), unlike execvpe(3), takes
    // PATH from `environ` itself; the old value isn't read any more, as the process ends if exec fails. nix's makes its
    // array when it is called, and this has to work without an allocation.
    unsafe {
        environ = environment.pointers.as_ptr();
        libc::execvp(arguments.pointers[0], arguments.pointers.as_ptr());
    }
    Errno::last()
}

/// execve(2). Returns only if that fails.
pub(crate) fn exec_file(path: &CStr, arguments: &CStringArray, environment: &CStringArray) -> Errno {
    // SAFETY: both arrays end in a null pointer, and all strings live until the call returns.
    unsafe { libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    Errno::last()
}

/// execl(3) of `/bin/sh -c command`, otherwise like [`exec`].
pub(crate) fn exec_shell(command: &CStr, environment: &CStringArray) -> Errno {
    let arguments = [c"sh".as_ptr(), c"-c".as_ptr(), command.as_ptr(), ptr::null()];
    // SAFETY: both arrays end in a null pointer, and all strings live until the call returns.
    unsafe { libc::execve(c"/bin/sh".as_ptr(), arguments.as_ptr(), environment.pointers.as_ptr()) };
    Errno::last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Fork, exit_now, fork};

    /// What a program would get.
    fn entries(array: &CStringArray) -> Vec<&CStr> {
        // SAFETY: the array ends in a null pointer; the others point to C strings that live as long as the array.
        array
            .pointers
            .iter()
            .take_while(|pointer| !pointer.is_null())
            .map(|&entry| unsafe { CStr::from_ptr(entry) })
            .collect()
    }

    #[test]
    fn the_pid_is_that_of_the_process_that_puts_it_there() {
        let own = CString::new(format!("LISTEN_PID={}", std::process::id())).unwrap();
        let of = |strings: &[&CStr]| strings.iter().map(|&string| CString::from(string)).collect::<CStringArray>();
        for (strings, before, after) in [
            (vec![c"A=1"], vec![c"A=1", c"LISTEN_PID="], vec![c"A=1", &own]),
            (
                vec![c"LISTEN_PID=1", c"LISTEN_PIDS=2"],
                vec![c"LISTEN_PID=", c"LISTEN_PIDS=2"],
                vec![&own, c"LISTEN_PIDS=2"],
            ),
            (vec![], vec![c"LISTEN_PID="], vec![&own]),
        ] {
            let mut array = of(&strings);
            array.put_pid();
            assert_eq!(entries(&array), strings);
            array.reserve_pid("LISTEN_PID");
            assert_eq!(entries(&array), before);
            array.put_pid();
            assert_eq!(entries(&array), after);
            assert_eq!(array.pointers.last(), Some(&ptr::null()));
        }
    }

    #[test]
    fn a_variable_takes_the_place_of_one_that_is_there() {
        let mut array: CStringArray = [c"A=1", c"B=2", c"AB=3"].map(CString::from).into_iter().collect();
        array.set("A", b"x\0y");
        array.set("C", b"");
        assert_eq!(entries(&array), [c"A=x", c"B=2", c"AB=3", c"C="]);
        assert_eq!(array.pointers.last(), Some(&ptr::null()));
    }

    #[test]
    fn the_pid_of_a_child_is_put_there_after_the_fork() {
        let [shell, flag, script] = [c"sh", c"-c", c"test \"$LISTEN_PID$HOME\" = \"$$/\""].map(CString::from);
        let arguments: CStringArray = [shell, flag, script].into_iter().collect();
        let mut environment: CStringArray = [c"HOME=/", c"PATH=/usr/bin:/bin"].map(CString::from).into_iter().collect();
        environment.reserve_pid("LISTEN_PID");
        let Fork::Parent(child) = fork(OneThread::assume()).unwrap() else {
            // Other tests run in other threads: only async-signal-safe calls here.
            environment.put_pid();
            exec(&arguments, &environment);
            exit_now(1)
        };
        let mut status = 1;
        // SAFETY: the status is writable.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
    }
}
