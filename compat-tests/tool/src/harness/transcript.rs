//! What was observed of one program, as lines of a kind each, and the difference of two such lists.

use std::fmt::Write as _;
use std::iter;

use similar::{Algorithm, DiffOp, capture_diff_slices, group_diff_ops};

use super::names::Names;
use super::perl_noise::Noise;

/// What a line is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// What happened to clients that were connected.
    Connections,
    /// How a command ended.
    Exit,
    Messages,
    /// A worker's arguments and environment.
    Worker,
    Descriptors,
    Signals,
    Files,
    Status,
    Life,
    Liveness,
    /// Steps of the scenario, and headings: equal on both sides as long as nothing else differs.
    Step,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    pub kind: Kind,
    pub text: String,
}

/// Stands below a text that doesn't end with a newline.
const CUT_OFF: &str = "\\ no newline at the end";

#[derive(Clone, Default, PartialEq, Eq)]
pub struct Transcript {
    pub lines: Vec<Line>,
}

impl Transcript {
    pub fn push(&mut self, kind: Kind, text: impl Into<String>) {
        self.lines.push(Line { kind, text: text.into() });
    }

    /// All lines of a text.
    pub fn push_text(&mut self, kind: Kind, text: &str) {
        for line in text.split_inclusive('\n') {
            let whole = line.strip_suffix('\n');
            self.push(kind, whole.unwrap_or(line));
            if whole.is_none() {
                self.push(kind, CUT_OFF);
            }
        }
    }

    /// With symbols for values, and without Perl's words about itself.
    #[must_use]
    pub fn finish(self, names: &Names, noise: &Noise) -> Self {
        // `worker 2` is a generation where the harness says it.
        let is_of_harness = |line: &Line| matches!(line.kind, Kind::Life | Kind::Liveness | Kind::Step);
        let with_symbols = self.lines.into_iter().map(|line| {
            let is_known = is_of_harness(&line) && !line.text.starts_with("process ");
            let text = if is_known { names.apply_without_pids(&line.text) } else { names.apply(&line.text) };
            Line { text, ..line }
        });
        let mut lines: Vec<Line> = with_symbols.filter_map(|line| noise.removed_from(line)).collect();
        // Workers that are told to stop at the same time may end in any order.
        for deaths in lines.chunk_by_mut(|one, other| is_of_stop(one) && is_of_stop(other)) {
            deaths.sort_by(|one, other| one.text.cmp(&other.text));
        }
        Self { lines }
    }

    /// As text for people.
    pub fn text(&self) -> String {
        self.lines.iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{}", line.text);
            text
        })
    }

    /// FNV-1a: short, and the same in every version of the tool.
    pub fn digest(&self) -> String {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        format!("{:016x}", self.text().bytes().fold(0xcbf2_9ce4_8422_2325, step))
    }

    /// Whether no probe worker was left at the end.
    pub fn leaves_nobody(&self) -> bool {
        self.lines.windows(2).any(|lines| lines[0].text == LEFT_RUNNING && lines[1].text == LEFT_FILES)
    }
}

/// `worker 4711 died, status:15`
fn is_of_stop(line: &Line) -> bool {
    line.text.starts_with("worker ") && line.text.contains(" died, status:")
}

pub const LEFT_RUNNING: &str = "===== left running";
pub const LEFT_FILES: &str = "===== left files";

/// The lines of both, with `-` if only `left` has it, and `+` if only `right` has it.
pub fn diff<'a>(left: &'a [Line], right: &'a [Line]) -> Vec<(char, &'a Line)> {
    changes(&operations(left, right), left, right)
}

fn operations(left: &[Line], right: &[Line]) -> Vec<DiffOp> {
    let (left, right): (Vec<&str>, Vec<&str>) =
        (left.iter().map(|line| &*line.text).collect(), right.iter().map(|line| &*line.text).collect());
    capture_diff_slices(Algorithm::Myers, &left, &right)
}

fn changes<'a>(operations: &[DiffOp], left: &'a [Line], right: &'a [Line]) -> Vec<(char, &'a Line)> {
    let of_operation = |operation: &DiffOp| {
        let (left, right) = (&left[operation.old_range()], &right[operation.new_range()]);
        match operation {
            DiffOp::Equal { .. } => iter::repeat(' ').zip(left).collect::<Vec<_>>(),
            _ => iter::repeat('-').zip(left).chain(iter::repeat('+').zip(right)).collect(),
        }
    };
    operations.iter().flat_map(of_operation).collect()
}

/// The difference as text, with all lines.
pub fn whole(left: &Transcript, right: &Transcript) -> String {
    text_of_changes(&diff(&left.lines, &right.lines))
}

/// The difference as text, with three lines around each change.
pub fn excerpt(left: &Transcript, right: &Transcript) -> String {
    let operations = operations(&left.lines, &right.lines);
    if operations.iter().all(|operation| matches!(operation, DiffOp::Equal { .. })) {
        return String::new();
    }
    let groups = group_diff_ops(operations, 3);
    let first = groups.first().and_then(|group| group.first()).map_or(0, |operation| operation.old_range().start);
    let before = if first > 0 { " ...\n" } else { "" };
    let texts = groups.iter().map(|group| text_of_changes(&changes(group, &left.lines, &right.lines)));
    before.to_owned() + &texts.collect::<Vec<_>>().join(" ...\n")
}

fn text_of_changes(changes: &[(char, &Line)]) -> String {
    changes.iter().fold(String::new(), |mut text, (mark, line)| {
        let _ = writeln!(text, "{mark}{}", line.text);
        text
    })
}

/// What the pid of a worker follows.
pub const ANNOUNCEMENT: &str = "starting new worker ";

/// What a superdaemon says, with the announcement of a worker before the message of that worker's process that it can't execute
/// its program: two processes say these, so either may come first. The message may have no newline.
pub fn announced_first(text: &str) -> String {
    let (mut ordered, mut held) = (String::new(), String::new());
    for line in text.split_inclusive('\n') {
        let is_failure = line.starts_with("failed to exec");
        match line.find(ANNOUNCEMENT).filter(|_| is_failure) {
            Some(position) => {
                ordered += &line[position..];
                held += &line[..position];
            }
            None if held.ends_with('\n') && line.starts_with(ANNOUNCEMENT) => ordered += line,
            None => {
                ordered += &std::mem::take(&mut held);
                let to = if is_failure && line.ends_with('\n') { &mut held } else { &mut ordered };
                *to += line;
            }
        }
    }
    ordered + &held
}

/// Bytes as text; what isn't UTF-8 is shown as `\xNN`, so that no two different outputs look alike.
pub fn text_of(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_announced_before_it_fails() {
        let as_it_is =
            "starting new worker 1\nfailed to exec p:No\nnew worker 1 seems to have failed\nstarting new worker 2\n";
        assert_eq!(announced_first(as_it_is), as_it_is);
        for (text, expected) in [
            ("failed to exec p:No\nstarting new worker 1\nbye\n", "starting new worker 1\nfailed to exec p:No\nbye\n"),
            ("failed to exec pNostarting new worker 1\nbye\n", "starting new worker 1\nfailed to exec pNobye\n"),
            ("failed to exec pNostarting new worker 1\n", "starting new worker 1\nfailed to exec pNo"),
            ("starting new worker 1\nfailed to exec pNo", "starting new worker 1\nfailed to exec pNo"),
        ] {
            assert_eq!(announced_first(text), expected);
        }
    }
}
