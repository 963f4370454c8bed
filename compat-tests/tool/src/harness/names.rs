//! The values that differ between any two runs (directory, ports, pids), and the symbols that stand for them in a
//! transcript. Only values the harness was told are replaced; a number it doesn't know stays. Pids are replaced only where a
//! pid can stand: the port 80, an interval of 1000 seconds and the version 0.35 are pids, too, now and then, and in a new PID
//! namespace very often.

use std::collections::HashMap;

#[derive(Default)]
pub struct Names {
    texts: Vec<(String, String)>,
    numbers: HashMap<String, String>,
    pids: HashMap<String, String>,
}

/// What stands in front of a pid.
const BEFORE_PID: [&str; 12] = [
    "worker ",
    "workers:",
    "pid:",
    "pid ",
    "pid=",
    "pgid=",
    "sid=",
    "PID=",
    "\"pid\":",
    "process ",
    "superdaemon ",
    "/proc/",
];

impl Names {
    /// Texts are replaced in the order they were given, before any number: paths contain digits.
    pub fn text(&mut self, value: impl Into<String>, symbol: &str) {
        self.texts.push((value.into(), symbol.to_owned()));
    }

    /// It is replaced wherever it stands.
    pub fn number(&mut self, value: &impl ToString, symbol: impl Into<String>) {
        self.numbers.insert(value.to_string(), symbol.into());
    }

    /// The first symbol given to a pid stays.
    pub fn pid(&mut self, value: &impl ToString, symbol: impl Into<String>) {
        self.pids.entry(value.to_string()).or_insert_with(|| symbol.into());
    }

    pub fn knows(&self, pid: &str) -> bool {
        self.pids.contains_key(pid)
    }

    pub fn apply(&self, text: &str) -> String {
        let text = self.texts_of(text);
        text.split_inclusive('\n').map(|line| self.numbers_of_line(&self.pid_list_of_line(line), can_be_pid)).collect()
    }

    /// For a line that has no pids.
    pub fn apply_without_pids(&self, line: &str) -> String {
        self.numbers_of_line(&self.texts_of(line), |_, _| false)
    }

    fn texts_of(&self, text: &str) -> String {
        self.texts.iter().fold(text.to_owned(), |text, (value, symbol)| text.replace(value, symbol))
    }

    /// `TERM to all workers:99,101` lists pids sorted as text, so the order depends on how many digits a pid has. The
    /// order can only be checked on the pids: if it is right, the symbols are shown in an order of their own.
    fn pid_list_of_line(&self, line: &str) -> String {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        let Some((head, list)) = line.rsplit_once(" workers:") else {
            return format!("{line}{end}");
        };
        let pids: Vec<&str> = list.split(',').collect();
        let mut symbols: Vec<&str> = pids.iter().filter_map(|pid| self.pids.get(*pid)).map(String::as_str).collect();
        if !pids.is_sorted() || symbols.len() < pids.len() {
            return format!("{line}{end}");
        }
        symbols.sort_unstable();
        format!("{head} workers:{}{end}", symbols.join(","))
    }

    fn numbers_of_line(&self, line: &str, can_be_pid: fn(&str, &str) -> bool) -> String {
        let mut result = String::new();
        let mut end = 0;
        // Of a list, all are pids.
        let mut end_of_pid = None;
        while let Some(distance) = line[end..].find(|c: char| c.is_ascii_digit()) {
            let start = end + distance;
            let length = line[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(line.len() - start);
            let (before, digits, after) = (&line[..start], &line[start..start + length], &line[start + length..]);
            let is_in_list = end_of_pid == Some(end) && &line[end..start] == ",";
            let pid = self.pids.get(digits).filter(|_| is_in_list || can_be_pid(before, after));
            let known = self.numbers.get(digits).or(pid);
            result.push_str(&line[end..start]);
            result.push_str(known.map_or(digits, String::as_str));
            end = start + length;
            if pid.is_some() {
                end_of_pid = Some(end);
            }
        }
        result + &line[end..]
    }
}

fn can_be_pid(before: &str, after: &str) -> bool {
    let is_digit = |c: char| c.is_ascii_digit();
    // What stands in front of `4711`, or of `2:4711`.
    let of_generation = |text: &str| text.is_empty() || text.ends_with(' ') || text.ends_with("(pid:");
    let is_behind_generation = before
        .strip_suffix(':')
        .is_some_and(|text| text.ends_with(is_digit) && of_generation(text.trim_end_matches(is_digit)));
    // A line of a pid file or of a status file, in which another program may have another sign.
    let is_whole = after.is_empty() || after == "\n";
    let is_line = is_whole && before.strip_suffix([' ', '=']).unwrap_or(before).chars().all(is_digit);
    // What a status file is written to first: `st.4711`.
    let is_of_name = before.strip_suffix('.').is_some_and(|name| name.ends_with(|c: char| c.is_alphabetic()));
    is_behind_generation || is_line || is_of_name || BEFORE_PID.iter().any(|text| before.ends_with(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_pid_only_where_one_can_stand() {
        let mut names = Names::default();
        names.number(&61000, "$PORT");
        for (pid, symbol) in [(35, "<S>"), (256, "<W1>"), (1000, "<W2>")] {
            names.pid(&pid, symbol);
        }
        for (text, expected) in [
            ("start_server (pid:35) starting now...\n", "start_server (pid:<S>) starting now...\n"),
            ("worker 256 died, status:256\n", "worker <W1> died, status:256\n"),
            ("sending TERM to all workers:256,1000\n", "sending TERM to all workers:<W1>,<W2>\n"),
            ("sending TERM to old workers:1000,256,77\n", "sending TERM to old workers:<W2>,<W1>,77\n"),
            ("process ppid=35 pgid=35 sid=1\n", "process ppid=<S> pgid=<S> sid=1\n"),
            ("35\n", "<S>\n"),
            ("1:256\n2:1000", "1:<W1>\n2:<W2>"),
            ("1 256\n", "1 <W1>\n"),
            ("GENERATION:PID: 1:256 2:1000\n", "GENERATION:PID: 1:<W1> 2:<W2>\n"),
            ("127.0.0.1:1000\n", "127.0.0.1:1000\n"),
            ("stopping now (pid:1:256)...\n", "stopping now (pid:1:<W1>)...\n"),
            ("failed to rename st.35 to st:Is a directory\n", "failed to rename st.<S> to st:Is a directory\n"),
            (
                "$ start_server --port=61000 --interval=1000 -- sleep 256\n",
                "$ start_server --port=$PORT --interval=1000 -- sleep 256\n",
            ),
            ("Server::Starter version 0.35\n", "Server::Starter version 0.35\n"),
            ("autorestart triggered (interval=35)\n", "autorestart triggered (interval=35)\n"),
            ("fd 256 pipe\n", "fd 256 pipe\n"),
        ] {
            assert_eq!(names.apply(text), expected);
        }
    }
}
