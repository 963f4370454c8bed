//! `--take-over`: finds the listeners of another process among its sockets, from its options.

use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::listeners::address::Address;
use crate::listeners::port_spec::PortSpec;
use crate::listeners::socket_file::is_of_another;
use crate::listeners::{Listener, ListenerPart, Listeners, ListenersPart, SocketFilePart};
use crate::options::Options;

/// A socket of another process: its number there, and a descriptor of it here.
pub(crate) struct Foreign {
    pub(crate) number: RawFd,
    pub(crate) fd: OwnedFd,
}

/// Finds the socket of each listener that `options` request, and the part of a state with them. Sockets that no option
/// can have opened are ignored. `file`: the file at a path, as the other process sees it.
///
/// # Errors
/// If an option has no socket, or a listening socket no option.
pub(crate) fn adopt(
    options: &Options,
    sockets: Vec<Foreign>,
    file: impl Fn(&Path) -> Option<FileId>,
) -> Result<(Listeners, ListenersPart), Error> {
    let mut left: Vec<(Address, Foreign)> =
        sockets.into_iter().filter_map(|socket| Some((Address::of_opened(&socket.fd)?, socket))).collect();
    left.sort_unstable_by_key(|(_, socket)| socket.number);
    let mut listeners = Listeners::default();
    let (mut part, mut files) = (ListenersPart::default(), Vec::new());
    let mut take = |wanted: &Address, name: &[u8], fd_text: Option<&[u8]>, file: Option<FileId>| {
        let Some(index) = left.iter().position(|(address, _)| wanted.asks_for(address)) else {
            return Err(Error::rule(&[b"it has no listener for ", name]));
        };
        let (_, socket) = left.remove(index);
        let has_file = file.is_some_and(|id| !is_of_another(&socket.fd, id));
        let socket_number = socket.number;
        let number = socket_number.to_string().into_bytes();
        let listener = Listener { fd_text: fd_text.map_or(number, <[u8]>::to_vec), ..Listener::new(name, socket.fd) };
        part.listeners.push(ListenerPart {
            fd: socket_number,
            name: listener.name.clone(),
            fd_text: listener.fd_text.clone(),
            fd_name: None,
        });
        listeners.entries.push(listener);
        Ok(has_file)
    };
    for port in &options.ports {
        let spec = PortSpec::parse(port.as_bytes())?;
        let wanted = Address::of_port(&spec)?;
        let text = spec.target.as_ref().map(|target| target.text.as_slice());
        take(&wanted, &spec.name, text, None)?;
    }
    for path in &options.paths {
        let name = path.as_os_str().as_bytes();
        let there = file(path);
        // A file that is gone or another's must not be removed at the end.
        let has_file = take(&Address::of_path(path), name, None, there)?;
        let id = there.filter(|_| has_file).unwrap_or(FileId::NONE);
        files.push(SocketFilePart { path: path.clone(), id });
    }
    match left.first() {
        None => {
            part.files = files;
            Ok((listeners, part))
        }
        Some((_, socket)) => {
            let sentence = format!("file descriptor {} is a listener that no option accounts for", socket.number);
            Err(Error::Rule(sentence.into()))
        }
    }
}
