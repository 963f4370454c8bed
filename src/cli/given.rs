//! The values of a command line in which every option is spelled out.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Options and words. If an option is repeated, the last value counts.
pub(super) struct Given {
    options: Vec<OsString>,
    /// The program and its arguments.
    pub(super) words: Vec<OsString>,
}

impl Given {
    /// From `--name` and `--name=value`, and the words after a `--`.
    pub(super) fn of(mut canonical: Vec<OsString>) -> Self {
        let end = canonical.iter().position(|argument| argument == "--").unwrap_or(canonical.len());
        let words = canonical.split_off(end).into_iter().skip(1).collect();
        Self { options: canonical, words }
    }

    /// Whether an option that takes no value is given.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.behind(name).any(<[u8]>::is_empty)
    }

    /// All values, in their order.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = OsString> {
        let value = |rest: &'a [u8]| rest.strip_prefix(b"=").map(|value| OsStr::from_bytes(value).to_owned());
        self.behind(name).filter_map(value)
    }

    pub(super) fn text(&self, name: &str) -> Option<OsString> {
        self.all(name).next_back()
    }

    pub(super) fn number(&self, name: &str) -> Option<i32> {
        self.text(name)?.to_str()?.parse().ok()
    }

    /// What follows the name, wherever it is given.
    fn behind<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.options.iter().filter_map(|option| option.as_bytes().strip_prefix(b"--")?.strip_prefix(name.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_counts() {
        let words = ["--port=1", "--stop", "--port=", "--interval=-1", "--interval=2", "--", "--port=3", "--"];
        let given = Given::of(words.map(OsString::from).into());
        assert_eq!(given.all("port").collect::<Vec<_>>(), ["1", ""]);
        assert_eq!((given.text("port"), given.number("interval")), (Some("".into()), Some(2)));
        assert_eq!((given.text("por"), given.text("stop"), given.number("port")), (None, None, None));
        assert!(given.flag("stop") && !given.flag("st") && !given.flag("port"));
        assert_eq!(given.words, ["--port=3", "--"]);
    }
}
