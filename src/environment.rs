//! The environment that workers get: what the superdaemon inherited, the options that are exported, the envdir, and the
//! variables of the protocol. A value; the environment of this process is never changed.

pub(crate) mod envdir;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;

use crate::options::{Options, Readiness};
use crate::perl;
use crate::sys::{self, CStringArray, OneThread, c_string};

pub(crate) type Variables = BTreeMap<Vec<u8>, Vec<u8>>;

/// The longest `NAME=VALUE` that a program may have on Linux, with its NUL (`MAX_ARG_STRLEN`).
pub(crate) const LONGEST_VARIABLE: usize = 32 * 4096;

/// Variables set on top of the inherited ones, in two layers: `base` is permanent (it includes the envdir as it was at
/// start), `envdir` is replaced whenever the envdir is read again (LIFE-135, LIFE-137).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `NAME=VALUE`, in the order and the form of the launch.
    inherited: Vec<Vec<u8>>,
    base: Variables,
    envdir: Variables,
    /// Names that the envdir can't set: they belong to the hand-over to a worker (`envdir-own-names`).
    own_names: Vec<&'static str>,
}

impl Environment {
    /// The environment of this process with the variables of `options`. Options override what is inherited (LIFE-010).
    pub(crate) fn inherited(options: &Options, one_thread: OneThread) -> Self {
        Self { inherited: without_repetitions(sys::environment(one_thread)), ..Self::of_options(options) }
    }

    /// Only the variables of `options`.
    pub(crate) fn of_options(options: &Options) -> Self {
        let mut environment = Self { own_names: own_names(options), ..Self::default() };
        if let Some(envdir) = &options.envdir {
            environment.set("ENVDIR", envdir.clone().into_vec());
        }
        if options.enable_auto_restart {
            environment.set("ENABLE_AUTO_RESTART", b"1".to_vec());
        }
        if let Some(seconds) = options.kill_old_delay {
            environment.set("KILL_OLD_DELAY", seconds.to_string().into());
        }
        if let Some(seconds) = options.auto_restart_interval {
            environment.set("AUTO_RESTART_INTERVAL", seconds.to_string().into());
        }
        environment
    }

    /// Sets `name` where it is: in the envdir's layer if that has it, otherwise permanently.
    pub(crate) fn set(&mut self, name: &str, value: Vec<u8>) {
        match self.envdir.get_mut(name.as_bytes()) {
            Some(layered) => *layered = value,
            None => drop(self.base.insert(name.into(), value)),
        }
    }

    /// Removes `name` from what was inherited and what was set. What the envdir has stays.
    pub(crate) fn remove(&mut self, name: &str) {
        self.inherited.retain(|entry| name_of(entry) != Some(name.as_bytes()));
        self.base.remove(name.as_bytes());
    }

    /// The value that a worker would see.
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        let inherited =
            || self.inherited.iter().find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
        self.get_set(name.as_bytes()).or_else(inherited)
    }

    fn get_set(&self, name: &[u8]) -> Option<&[u8]> {
        self.envdir.get(name).or_else(|| self.base.get(name)).map(Vec::as_slice)
    }

    /// Whether the variable is set and true to Perl.
    fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(perl::is_true)
    }

    /// Counts the attempts to start a worker.
    pub(crate) fn set_generation(&mut self, generation: u64) {
        self.set("SERVER_STARTER_GENERATION", generation.to_string().into());
    }

    /// The directory to read variables from.
    pub(crate) fn envdir(&self) -> Option<&[u8]> {
        self.get("ENVDIR")
    }

    pub(crate) fn is_auto_restart_enabled(&self) -> bool {
        self.is_true("ENABLE_AUTO_RESTART")
    }

    /// Seconds between automatic restarts. There is a default, which becomes a variable of its own.
    pub(crate) fn auto_restart_interval(&self) -> Setting {
        Setting::of(self.get("AUTO_RESTART_INTERVAL").unwrap_or_default())
    }

    /// Sets the default of the interval of automatic restarts if there is none.
    pub(crate) fn add_default_interval(&mut self) {
        // QUIRK: when the envdir is read again and not at start, so the first worker doesn't see it (LIFE-011).
        if self.is_auto_restart_enabled() && !self.is_true("AUTO_RESTART_INTERVAL") {
            self.set("AUTO_RESTART_INTERVAL", b"360".to_vec());
        }
    }

    /// Seconds that old workers keep running after a new one has started.
    pub(crate) fn kill_old_delay(&self) -> Setting {
        let default: &[u8] = if self.is_auto_restart_enabled() { b"5" } else { b"0" };
        Setting::of(self.get("KILL_OLD_DELAY").unwrap_or(default))
    }

    /// Takes over what the envdir holds at start; it stays for ever, even if the file is removed.
    pub(crate) fn keep_envdir(&mut self, variables: Variables) {
        let variables = self.without_own_names(variables);
        self.base.extend(variables);
    }

    /// Replaces what the envdir has added since the start.
    pub(crate) fn replace_envdir(&mut self, variables: Variables) {
        self.envdir = self.without_own_names(variables);
    }

    fn without_own_names(&self, mut variables: Variables) -> Variables {
        variables.retain(|name, _| !self.own_names.iter().any(|own| own.as_bytes() == name));
        variables
    }

    /// Forgets what the envdir has added since the start.
    pub(crate) fn drop_envdir(&mut self) {
        self.envdir.clear();
    }

    /// The permanent layer. What the envdir has added since the start is read again.
    pub(crate) fn lasting(&self) -> &Variables {
        &self.base
    }

    /// Continues with the permanent layer. `is_envdir_unread`: what the envdir held at the start of an original can't
    /// be known, so what it holds now is used.
    pub(crate) fn take_over(&mut self, lasting: Variables, is_envdir_unread: bool) {
        self.base = lasting;
        self.envdir.clear();
        if let Some(path) = self.envdir().filter(|_| is_envdir_unread) {
            let variables = envdir::Reader::default().read(path, |_| ());
            self.keep_envdir(variables);
        }
    }

    /// `NAME=VALUE` for exec: what was inherited keeps its place. A name from the envdir may hold a `=`, and a value
    /// ends at its first NUL (LIFE-133).
    pub(crate) fn to_c(&self) -> CStringArray {
        self.entries().collect()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = CString> {
        let changed = move |entry: &Vec<u8>| match name_of(entry).and_then(|name| Some((name, self.get_set(name)?))) {
            Some((name, value)) => assignment(name, value),
            None => c_string(entry),
        };
        let is_new = |name: &Vec<u8>| !self.inherited.iter().any(|entry| name_of(entry) == Some(name));
        let base = self.base.iter().filter(|&(name, _)| !self.envdir.contains_key(name));
        let new = base.chain(&self.envdir).filter(move |&(name, _)| is_new(name));
        let new = new.map(|(name, value)| assignment(name, value));
        self.inherited.iter().map(changed).chain(new)
    }
}

/// A number that a variable holds.
pub(crate) struct Setting {
    /// As it is written, which messages show.
    pub(crate) text: Vec<u8>,
    /// As Perl reads it.
    pub(crate) number: f64,
}

impl Setting {
    fn of(text: &[u8]) -> Self {
        Self { text: text.to_vec(), number: perl::number(text) }
    }
}

/// None for an entry that is not a variable; it is still passed on.
fn name_of(entry: &[u8]) -> Option<&[u8]> {
    let equals = entry.iter().position(|&byte| byte == b'=').filter(|&equals| equals > 0)?;
    Some(&entry[..equals])
}

/// If a variable is there more than once, perl takes the first.
fn without_repetitions(mut entries: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut names = BTreeSet::new();
    entries.retain(|entry| name_of(entry).is_none_or(|name| names.insert(name.to_vec())));
    entries
}

fn assignment(name: &[u8], value: &[u8]) -> CString {
    let value = value.split(|&byte| byte == 0).next().unwrap_or_default();
    // With room for the NUL, so it becomes a C string in place.
    let mut entry = Vec::with_capacity(name.len() + value.len() + 2);
    for part in [name, b"=", value] {
        entry.extend_from_slice(part);
    }
    CString::new(entry).unwrap_or_default()
}

/// The variables that the superdaemon itself sets for workers.
fn own_names(options: &Options) -> Vec<&'static str> {
    let mut names = vec!["SERVER_STARTER_PORT", "SERVER_STARTER_GENERATION"];
    if options.listen_fds {
        names.extend(["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"]);
    }
    if options.ready == Readiness::Notify {
        names.push("NOTIFY_SOCKET");
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn a_file_that_was_there_at_start_is_never_undone() {
        let mut environment = Environment { inherited: vec![b"FOO=orig".to_vec()], ..Environment::default() };
        environment.keep_envdir(variables(&[("FOO", "start")]));
        environment.replace_envdir(variables(&[("FOO", "later"), ("NEW", "n")]));
        assert_eq!((environment.get("FOO"), environment.get("NEW")), (Some(&b"later"[..]), Some(&b"n"[..])));
        environment.replace_envdir(Variables::new());
        assert_eq!((environment.get("FOO"), environment.get("NEW")), (Some(&b"start"[..]), None));
    }

    #[test]
    fn what_was_inherited_keeps_its_place_and_its_form() {
        let inherited = ["Z=1", "DUP=first", "NOEQ", "=lead", "DUP=second", "A=", "NEW"].map(Into::into);
        let mut environment = Environment {
            inherited: without_repetitions(inherited.into()),
            base: variables(&[("NEW", "n"), ("Z", "2")]),
            ..Environment::default()
        };
        environment.replace_envdir(variables(&[("A", "b\0c"), ("NEW", "e"), ("X", "")]));
        let expected = [c"Z=2", c"DUP=first", c"NOEQ", c"=lead", c"A=b", c"NEW", c"NEW=e", c"X="];
        assert!(environment.entries().eq(expected.map(CString::from)));
        assert_eq!((environment.get("DUP"), environment.get("NOEQ")), (Some(&b"first"[..]), None));
    }

    #[test]
    fn what_is_set_over_the_envdir_goes_with_it() {
        let mut environment = Environment::default();
        environment.replace_envdir(variables(&[("A", "0")]));
        environment.set("A", b"360".to_vec());
        environment.set("B", b"360".to_vec());
        environment.drop_envdir();
        assert_eq!((environment.get("A"), environment.get("B")), (None, Some(&b"360"[..])));
    }

    #[test]
    fn what_is_removed_may_come_back_from_the_envdir() {
        let inherited = vec![b"A=1".to_vec(), b"AB=2".to_vec(), b"A".to_vec()];
        let mut environment = Environment { inherited, base: variables(&[("A", "3")]), ..Environment::default() };
        environment.remove("A");
        assert!(environment.entries().eq([c"AB=2", c"A"].map(CString::from)));
        environment.replace_envdir(variables(&[("A", "4")]));
        assert_eq!(environment.get("A"), Some(&b"4"[..]));
    }

    #[test]
    fn the_envdir_does_not_touch_the_hand_over() {
        let mut options = Options::new(vec!["worker".into()]);
        for with_our_own in [false, true] {
            options.listen_fds = with_our_own;
            options.ready = if with_our_own { Readiness::Notify } else { Readiness::Interval };
            let mut environment = Environment::of_options(&options);
            environment.set("SERVER_STARTER_PORT", b"80=3".into());
            environment.keep_envdir(variables(&[("SERVER_STARTER_PORT", "x=9"), ("SERVER_STARTER_GENERATION", "100")]));
            environment.replace_envdir(variables(&[("SERVER_STARTER_PORT", "x=9"), ("LISTEN_FDS", "x")]));
            environment.keep_envdir(variables(&[("NOTIFY_SOCKET", "x")]));
            assert_eq!(environment.get("SERVER_STARTER_PORT"), Some(&b"80=3"[..]));
            assert_eq!(environment.get("SERVER_STARTER_GENERATION"), None);
            for name in ["LISTEN_FDS", "NOTIFY_SOCKET"] {
                assert_eq!(environment.get(name).is_none(), with_our_own, "{name}");
            }
        }
    }

    #[test]
    fn options_win_over_what_is_inherited() {
        let mut options = Options::new(vec!["worker".into()]);
        options.envdir = Some("/e".into());
        options.kill_old_delay = Some(-5);
        let environment = Environment::inherited(&options, OneThread::assume());
        assert_eq!(
            (environment.get("ENVDIR"), environment.get("KILL_OLD_DELAY")),
            (Some(&b"/e"[..]), Some(&b"-5"[..]))
        );
    }
}
