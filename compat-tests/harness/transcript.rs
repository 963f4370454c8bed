//! What was observed of one program, as text; and the difference of two such texts.

use super::names::Names;
use super::perl_noise;

/// Values are replaced by symbols, and Perl's words about itself are removed.
pub struct Transcript(pub String);

impl Transcript {
    pub fn new(observed: &str, names: &Names) -> Self {
        Self(perl_noise::remove(&names.apply(observed)))
    }
}

/// The lines of two texts, `-` in front of those only in `left`, `+` of those only in `right`.
pub fn diff(left: &str, right: &str) -> String {
    let (left, right): (Vec<_>, Vec<_>) = (left.lines().collect(), right.lines().collect());
    // common[i][j] is the length of the longest common subsequence of left[i..] and right[j..].
    let mut common = vec![vec![0; right.len() + 1]; left.len() + 1];
    for i in (0..left.len()).rev() {
        for j in (0..right.len()).rev() {
            let longest = common[i + 1][j].max(common[i][j + 1]);
            common[i][j] = if left[i] == right[j] { common[i + 1][j + 1] + 1 } else { longest };
        }
    }
    let (mut i, mut j, mut result) = (0, 0, String::new());
    while i < left.len() || j < right.len() {
        let (mark, line) = if i < left.len() && j < right.len() && left[i] == right[j] {
            (i, j) = (i + 1, j + 1);
            (' ', left[i - 1])
        } else if j == right.len() || (i < left.len() && common[i + 1][j] >= common[i][j + 1]) {
            i += 1;
            ('-', left[i - 1])
        } else {
            j += 1;
            ('+', right[j - 1])
        };
        result.push(mark);
        result.push_str(line);
        result.push('\n');
    }
    result
}

/// The lines of a `diff` that differ, and three on either side of them.
pub fn excerpt(diff: &str) -> String {
    let lines: Vec<&str> = diff.lines().collect();
    let differs = |line: &&str| !line.starts_with(' ');
    let (mut result, mut left_out) = (String::new(), false);
    for (i, line) in lines.iter().enumerate() {
        if lines[i.saturating_sub(3)..lines.len().min(i + 4)].iter().any(differs) {
            result.push_str(if left_out { " ...\n" } else { "" });
            result.push_str(line);
            result.push('\n');
            left_out = false;
        } else {
            left_out = true;
        }
    }
    result
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
