//! The text in which a state is handed over.
//!
//! The first line is the version, `start_server state MAJOR.MINOR`; each further line is a key and its fields. A field
//! is `-` for none; bytes that are not printable, blanks, backslashes, and whatever would make a field empty or a `-`,
//! are `\xx` in hexadecimal. Unknown keys are ignored, and missing fields are none, so a minor version can add some; a
//! state of another major version is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use crate::error::Error;
use crate::stop_signal::StopSignal;

/// Counts changes that an older program would misunderstand.
const MAJOR: u32 = 1;

/// Counts changes that an older program can ignore.
const MINOR: u32 = 3;

const MAGIC: &str = "start_server state ";

/// The lines of a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    key: String,
    fields: Vec<Option<Vec<u8>>>,
}

impl Lines {
    /// Adds a line for each of `records`.
    pub(crate) fn add_all<R: Record>(&mut self, key: &str, records: impl IntoIterator<Item = R>) {
        records.into_iter().for_each(|record| self.add(key, &record));
    }

    /// Adds a line.
    pub(crate) fn add(&mut self, key: &str, record: &impl Record) {
        self.push(key, record.to_fields());
    }

    fn push(&mut self, key: &str, fields: Vec<Option<Vec<u8>>>) {
        self.lines.push(Line { key: key.to_owned(), fields });
    }

    /// Reads all lines of a key.
    pub(crate) fn all<R: Record>(&self, key: &str) -> Result<Vec<R>, Error> {
        let mut all = Vec::new();
        for line in self.lines.iter().filter(|line| line.key == key) {
            all.push(R::from_fields(&line.fields).ok_or_else(|| line.unreadable())?);
        }
        Ok(all)
    }

    /// Reads the pairs of a key.
    pub(crate) fn map<K: Field + Ord, V: Field>(&self, key: &str) -> Result<BTreeMap<K, V>, Error> {
        // Inserted one by one: collecting a map needs a sort, which makes the program larger.
        let mut map = BTreeMap::new();
        map.extend(self.all::<(K, V)>(key)?);
        Ok(map)
    }

    /// Reads the lines of a key that have one field.
    pub(crate) fn values<T: Field>(&self, key: &str) -> Result<Vec<T>, Error> {
        Ok(self.all::<(T,)>(key)?.into_iter().map(|(value,)| value).collect())
    }

    /// The same, as a set.
    pub(crate) fn set<T: Field + Ord>(&self, key: &str) -> Result<BTreeSet<T>, Error> {
        let mut set = BTreeSet::new();
        set.extend(self.values(key)?);
        Ok(set)
    }

    /// Reads the line of a key that appears at most once.
    pub(crate) fn get<R: Record>(&self, key: &str) -> Result<Option<R>, Error> {
        let mut all = self.all(key)?;
        if all.len() > 1 {
            return Err(unreadable(&format!("{key} is there more than once")));
        }
        Ok(all.pop())
    }

    /// Reads the line of a key that has to be there.
    pub(crate) fn require<R: Record>(&self, key: &str) -> Result<R, Error> {
        self.get(key)?.ok_or_else(|| unreadable(&format!("{key} is missing")))
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{MAGIC}{MAJOR}.{MINOR}\n");
        self.write_body(&mut text);
        text
    }

    /// The lines, without that of the version.
    pub(crate) fn write_body(&self, text: &mut String) {
        for line in &self.lines {
            text.push_str(&line.to_text());
            text.push('\n');
        }
    }

    /// # Errors
    /// If it is not a state, or one of another major version.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Error> {
        let text = str::from_utf8(text).map_err(|_| unreadable("it is not text"))?;
        let mut lines = text.lines();
        let version = lines.next().and_then(|line| line.strip_prefix(MAGIC));
        let major = version.and_then(|version| version.split_once('.')?.0.parse::<u32>().ok());
        match major {
            Some(MAJOR) => {}
            Some(_) => {
                let sentence = format!("the state is of version {}", version.unwrap_or_default());
                return Err(Error::rule(&[
                    sentence.as_bytes(),
                    format!(", this program has {MAJOR}.{MINOR}").as_bytes(),
                ]));
            }
            None => return Err(unreadable("it does not begin with its version")),
        }
        if !text.ends_with('\n') {
            return Err(unreadable("it is cut off"));
        }
        Self::parse_body(lines)
    }

    /// The lines after that of the version.
    ///
    /// # Errors
    /// If one of them is not valid.
    pub(crate) fn parse_body<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Self, Error> {
        let lines = lines.map(|line| Line::parse(line).ok_or_else(|| unreadable(line)));
        Ok(Self { lines: lines.collect::<Result<_, _>>()? })
    }
}

fn unreadable(what: &str) -> Error {
    Error::rule(&[b"the state can't be read: ", what.as_bytes()])
}

impl Line {
    #[cold]
    fn unreadable(&self) -> Error {
        unreadable(&self.to_text())
    }

    fn to_text(&self) -> String {
        let mut text = self.key.clone();
        for field in &self.fields {
            text.push(' ');
            match field.as_deref() {
                None => text.push('-'),
                Some(b"") => text.push('\\'),
                Some(b"-") => text.push_str("\\2d"),
                Some(bytes) => bytes.iter().for_each(|&byte| escape(byte, &mut text)),
            }
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let key = words.next().filter(|key| !key.is_empty())?.to_owned();
        let field = |word: &str| match word {
            "" => None,
            "-" => Some(None),
            "\\" => Some(Some(Vec::new())),
            word => unescape(word).map(Some),
        };
        Some(Self { key, fields: words.map(field).collect::<Option<_>>()? })
    }
}

fn escape(byte: u8, text: &mut String) {
    if byte.is_ascii_graphic() && byte != b'\\' {
        text.push(byte.into());
    } else {
        let _ = write!(text, "\\{byte:02x}");
    }
}

fn unescape(word: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = word.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        bytes.push(match byte {
            b'\\' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?
            }
            byte => *byte,
        });
    }
    Some(bytes)
}

/// What one field holds.
pub(crate) trait Field: Sized {
    fn to_bytes(&self) -> Option<Vec<u8>>;
    /// None if it holds something else.
    fn from_bytes(bytes: Option<&[u8]>) -> Option<Self>;
}

macro_rules! numbers {
    ($($type:ty)*) => {
        $(impl Field for $type {
            fn to_bytes(&self) -> Option<Vec<u8>> {
                Some(self.to_string().into())
            }

            fn from_bytes(bytes: Option<&[u8]>) -> Option<Self> {
                str::from_utf8(bytes?).ok()?.parse().ok()
            }
        })*
    };
}

numbers!(i32 u32 u64 bool);

impl Field for Vec<u8> {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        Some(self.clone())
    }

    fn from_bytes(bytes: Option<&[u8]>) -> Option<Self> {
        bytes.map(<[u8]>::to_vec)
    }
}

/// In nanoseconds.
impl Field for Duration {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        u64::try_from(self.as_nanos()).unwrap_or(u64::MAX).to_bytes()
    }

    fn from_bytes(bytes: Option<&[u8]>) -> Option<Self> {
        u64::from_bytes(bytes).map(Self::from_nanos)
    }
}

/// Its number, negative for a process group. The only one of these that a message names is KILL.
impl Field for StopSignal {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        let minus = if self.is_for_process_group() { "-" } else { "" };
        Some(format!("{minus}{}", self.number()).into())
    }

    fn from_bytes(bytes: Option<&[u8]>) -> Option<Self> {
        let signal = Self::parse(bytes?).ok()?;
        Some(if signal.number() == libc::SIGKILL { signal.to_kill() } else { signal })
    }
}

impl<T: Field> Field for Option<T> {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        self.as_ref()?.to_bytes()
    }

    fn from_bytes(bytes: Option<&[u8]>) -> Option<Self> {
        bytes.map_or(Some(None), |bytes| T::from_bytes(Some(bytes)).map(Some))
    }
}

/// What the fields of a line hold.
pub(crate) trait Record: Sized {
    fn to_fields(&self) -> Vec<Option<Vec<u8>>>;
    /// None if they hold something else.
    fn from_fields(fields: &[Option<Vec<u8>>]) -> Option<Self>;
}

macro_rules! records {
    ($(($($name:ident $index:tt),*))*) => {
        $(impl<$($name: Field),*> Record for ($($name,)*) {
            fn to_fields(&self) -> Vec<Option<Vec<u8>>> {
                vec![$(self.$index.to_bytes()),*]
            }

            fn from_fields(fields: &[Option<Vec<u8>>]) -> Option<Self> {
                Some(($($name::from_bytes(fields.get($index).and_then(Option::as_deref))?,)*))
            }
        })*
    };
}

records! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Everything = (Vec<u8>, Option<i32>, bool, Option<Duration>, StopSignal);

    #[test]
    fn what_is_written_is_read() {
        let mut state = Lines::default();
        let all: Vec<u8> = (0..=255).collect();
        for (bytes, signal) in [(&all[..], "10"), (b"", "9"), (b"-", "-9"), (b"\\", "15"), (b"a b\nc", "34")] {
            let time = Some(Duration::from_nanos(u64::MAX));
            let record: Everything = (bytes.to_vec(), None, true, time, StopSignal::parse(signal.as_bytes()).unwrap());
            state.add("x", &record);
        }
        let read = Lines::parse(state.to_text().as_bytes()).unwrap();
        assert_eq!(read, state);
        assert_eq!(read.all::<Everything>("x").unwrap(), state.all::<Everything>("x").unwrap());
        assert!(read.get::<Everything>("x").is_err() && read.get::<Everything>("y").unwrap().is_none());
    }

    #[test]
    fn more_is_left_alone_and_less_is_none() {
        let state = Lines::parse(b"start_server state 1.7\nnew 1 2 3\nold 5 6\n").unwrap();
        assert_eq!(state.require::<(i32, i32, Option<i32>)>("old").unwrap(), (5, 6, None));
        assert_eq!(state.require::<(i32,)>("old").unwrap(), (5,));
        assert!(state.require::<(i32, i32, i32)>("old").is_err());
    }

    #[test]
    fn what_is_no_state_of_this_version_is_refused() {
        for (text, expected) in [
            ("", "the state can't be read: it does not begin with its version"),
            ("start_server state 2.0\n", "the state is of version 2.0, this program has 1.3"),
            ("start_server state 0.9\n", "the state is of version 0.9, this program has 1.3"),
            ("start_server state 1.0\ngeneration 12", "the state can't be read: it is cut off"),
            ("start_server state 1.0\nx \\4\n", "the state can't be read: x \\4"),
            ("start_server state 1.0\nx  y\n", "the state can't be read: x  y"),
            ("start_server state 1.0\n\n", "the state can't be read: "),
        ] {
            assert_eq!(Lines::parse(text.as_bytes()).unwrap_err().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn whatever_the_text_is() {
        crate::random_texts::each_damaged(&[b"start_server state 1.7\nnew 1 2 3\nold 5 - \\20\n"], |text| {
            if let Ok(lines) = Lines::parse(text) {
                drop(lines.all::<Everything>("old"));
                assert_eq!(Lines::parse(lines.to_text().as_bytes()), Ok(lines));
            }
        });
    }
}
