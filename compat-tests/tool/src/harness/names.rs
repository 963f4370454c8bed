//! The values that differ between any two runs (directory, ports, pids), and the symbols that stand for them in a
//! transcript. Only values the harness was told are replaced; a number it doesn't know stays.

use std::collections::HashMap;

#[derive(Default)]
pub struct Names {
    texts: Vec<(String, String)>,
    numbers: HashMap<String, String>,
}

impl Names {
    /// Texts are replaced in the order they were given, before any number: paths contain digits.
    pub fn text(&mut self, value: impl Into<String>, symbol: &str) {
        self.texts.push((value.into(), symbol.to_owned()));
    }

    /// The first symbol given to a number stays.
    pub fn number(&mut self, value: &impl ToString, symbol: impl Into<String>) {
        self.numbers.entry(value.to_string()).or_insert_with(|| symbol.into());
    }

    pub fn knows(&self, number: &str) -> bool {
        self.numbers.contains_key(number)
    }

    pub fn apply(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (value, symbol) in &self.texts {
            text = text.replace(value, symbol);
        }
        text.split_inclusive('\n').map(|line| self.numbers_of_line(&self.pid_list_of_line(line))).collect()
    }

    /// `TERM to all workers:99,101` lists pids sorted as text, so the order depends on how many digits a pid has. The
    /// order can only be checked on the pids: if it is right, the symbols are shown in an order of their own.
    fn pid_list_of_line(&self, line: &str) -> String {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        let Some((head, list)) = line.rsplit_once(" workers:") else {
            return format!("{line}{end}");
        };
        let pids: Vec<&str> = list.split(',').collect();
        let mut symbols: Vec<&str> = pids.iter().filter_map(|pid| self.numbers.get(*pid)).map(String::as_str).collect();
        if !pids.is_sorted() || symbols.len() < pids.len() {
            return format!("{line}{end}");
        }
        symbols.sort_unstable();
        format!("{head} workers:{}{end}", symbols.join(","))
    }

    fn numbers_of_line(&self, line: &str) -> String {
        let mut result = String::new();
        let mut rest = line;
        while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
            let digits =
                rest[start..].find(|c: char| !c.is_ascii_digit()).map_or(&rest[start..], |n| &rest[start..start + n]);
            // A wait status, or the line number in a tail of Perl's, is no pid, even where pids are as small.
            let is_no_pid = ["status:", " line "].iter().any(|before| rest[..start].ends_with(before));
            let known = self.numbers.get(digits).filter(|_| !is_no_pid);
            result.push_str(&rest[..start]);
            result.push_str(known.map_or(digits, String::as_str));
            rest = &rest[start + digits.len()..];
        }
        result + rest
    }
}
