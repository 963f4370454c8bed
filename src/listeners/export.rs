//! What workers are told about the listeners: `SERVER_STARTER_PORT`, `LISTEN_FDS`, `LISTEN_FDNAMES`.

use crate::environment::{Environment, LONGEST_VARIABLE};
use crate::error::Error;
use crate::listeners::{Listeners, inherited};

impl Listeners {
    /// Puts the variables for workers into `environment`, `with_listen_fds` also those in systemd's form.
    pub(crate) fn export(&self, with_listen_fds: bool, environment: &mut Environment) {
        environment.set("SERVER_STARTER_PORT", self.variable());
        if with_listen_fds {
            // Variables that are left from an earlier hand-over would be taken for a part of this one.
            inherited::forget(environment);
            environment.set("LISTEN_FDS", self.listen_fds());
            environment.set("LISTEN_FDNAMES", self.listen_fdnames());
        }
    }

    /// The value of `SERVER_STARTER_PORT`: `NAME=FD`, joined by `;`. Names are not escaped (U7).
    pub(super) fn variable(&self) -> Vec<u8> {
        let mut variable = Vec::new();
        for entry in &self.entries {
            for part in [&entry.name, b"=".as_slice(), &entry.fd_text, b";"] {
                variable.extend_from_slice(part);
            }
        }
        variable.pop();
        variable
    }

    /// The value of `LISTEN_FDS`.
    pub(super) fn listen_fds(&self) -> Vec<u8> {
        self.entries.len().to_string().into()
    }

    /// The value of `LISTEN_FDNAMES`: for each listener the service manager's name, or the one in
    /// `SERVER_STARTER_PORT`.
    pub(super) fn listen_fdnames(&self) -> Vec<u8> {
        let names = self.entries.iter().map(|entry| to_fd_name(entry.fd_name.as_ref().unwrap_or(&entry.name)));
        names.collect::<Vec<_>>().join(b":".as_slice())
    }
}

/// A name that systemd allows: at most 255 bytes of ASCII; control characters, colons and non-ASCII bytes become `_`.
pub(super) fn to_fd_name(name: &[u8]) -> Vec<u8> {
    let is_allowed = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b':';
    name.iter().take(255).map(|&byte| if is_allowed(byte) { byte } else { b'_' }).collect()
}

/// Whether a value of `SERVER_STARTER_PORT` with this `length` is short enough (`env-too-big`).
pub(super) fn check_length(length: usize) -> Result<(), Error> {
    if "SERVER_STARTER_PORT=".len() + length < LONGEST_VARIABLE {
        return Ok(());
    }
    Err(Error::rule(&[
        b"too many listeners: SERVER_STARTER_PORT would be longer than the system allows for a variable",
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_descriptors() {
        assert_eq!(to_fd_name(b"[::1]:8080"), b"[__1]_8080");
        assert_eq!(to_fd_name(b"/run/a b;=\n\x7f\xff~"), b"/run/a b;=___~");
        assert_eq!(to_fd_name(&[b'x'; 256]).len(), 255);
    }
}
