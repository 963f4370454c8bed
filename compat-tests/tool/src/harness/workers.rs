//! The reports of the probe workers: `perl-fixtures/probe.pl` appends lines `PID TEXT` to one file.

use std::fs;
use std::path::Path;

use super::transcript::text_of;

pub struct Worker {
    pub pid: i32,
    pub generation: String,
    pub lines: Vec<String>,
}

impl Worker {
    /// All workers that have reported, in the order in which they started.
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

    /// The lines of the report, with open descriptors first.
    pub fn describe(&self) -> impl Iterator<Item = &str> {
        let is_fd = |line: &&String| line.starts_with("fd ");
        let (fds, rest): (Vec<&String>, Vec<&String>) = self.lines.iter().partition(is_fd);
        fds.into_iter().chain(rest).map(String::as_str)
    }
}
