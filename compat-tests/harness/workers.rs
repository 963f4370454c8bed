//! What the probe workers reported: `perl-fixtures/probe.pl` appends lines `PID TEXT` to one file.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::transcript::text_of;

pub struct Worker {
    pub pid: i32,
    pub generation: String,
    pub lines: Vec<String>,
}

impl Worker {
    /// All workers that have reported, in the order they started.
    pub fn read_all(reports: &Path) -> Vec<Self> {
        let mut workers: Vec<Self> = Vec::new();
        let text = text_of(&fs::read(reports).unwrap_or_default());
        // A write across the border of two pages is seen half done: its last line may not be all there.
        let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
        for (pid, line) in complete.lines().filter_map(|line| line.split_once(' ')) {
            let pid = pid.parse().expect("a report line starts with a pid");
            if let Some(generation) = line.strip_prefix("start generation=") {
                workers.push(Self { pid, generation: generation.to_owned(), lines: Vec::new() });
            }
            let worker = workers.iter_mut().rev().find(|worker| worker.pid == pid);
            worker.expect("a report begins with `start`").lines.push(line.to_owned());
        }
        workers
    }

    pub fn env(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| line.strip_prefix("env ")?.strip_prefix(name)?.strip_prefix('='))
    }

    /// The report, with symbols for the numbers of the listening fds (the divergence `first-fd`), except for those that
    /// the command line asked for.
    pub fn describe(&self, requested_fds: &[&str]) -> String {
        let listeners = self.env("SERVER_STARTER_PORT").unwrap_or("");
        let mut symbols = HashMap::new();
        let mut named = Vec::new();
        for (listener, letter) in listeners.split(';').zip('A'..) {
            let (name, fd) = listener.rsplit_once('=').unwrap_or((listener, ""));
            let symbol =
                if fd.is_empty() || requested_fds.contains(&fd) { fd.to_owned() } else { format!("fd{letter}") };
            named.push(listener.replacen(listener, &format!("{name}={symbol}"), usize::from(!fd.is_empty())));
            symbols.insert(fd, symbol);
        }
        let (mut fds, mut rest): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
        for line in &self.lines {
            match line.strip_prefix("fd ").and_then(|fd| fd.split_once(' ')) {
                Some((fd, target)) => fds.push(format!("fd {} {target}\n", symbols.get(fd).map_or(fd, String::as_str))),
                None if line.starts_with("env SERVER_STARTER_PORT=") => {
                    rest.push(format!("env SERVER_STARTER_PORT={}\n", named.join(";")));
                }
                None => rest.push(format!("{line}\n")),
            }
        }
        fds.sort();
        fds.concat() + &rest.concat()
    }
}
