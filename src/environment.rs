//! The environment that workers get: what the superdaemon inherited, the options that are exported, the envdir, and the
//! variables of the protocol. A value; the environment of this process is never changed.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;

use crate::options::Options;
use crate::perl;
use crate::sys::{CStringArray, c_string};

pub(crate) type Variables = BTreeMap<Vec<u8>, Vec<u8>>;

/// Two layers, since the original undoes what it read from the envdir at every wake-up, but never what it read at start
/// (LIFE-135, LIFE-137).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    base: Variables,
    envdir: Variables,
}

impl Environment {
    /// The environment of this process with the variables of `options`. Options win over what is inherited (LIFE-010).
    pub(crate) fn inherited(options: &Options) -> Self {
        let pairs = std::env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec()));
        let mut environment = Self { base: pairs.collect(), envdir: Variables::new() };
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

    /// Sets `name` where it is: in the envdir's layer if that has it, otherwise for good.
    pub(crate) fn set(&mut self, name: &str, value: Vec<u8>) {
        match self.envdir.get_mut(name.as_bytes()) {
            Some(layered) => *layered = value,
            None => drop(self.base.insert(name.into(), value)),
        }
    }

    /// The value that a worker would see.
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.envdir.get(name.as_bytes()).or_else(|| self.base.get(name.as_bytes())).map(Vec::as_slice)
    }

    /// Whether the variable is set and true to Perl.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(perl::is_true)
    }

    /// Takes over what the envdir holds at start; it stays for ever, even if the file goes away.
    pub(crate) fn keep_envdir(&mut self, variables: Variables) {
        self.base.extend(without_our_own(variables));
    }

    /// Replaces what the envdir added since the start.
    pub(crate) fn replace_envdir(&mut self, variables: Variables) {
        self.envdir = without_our_own(variables);
    }

    /// Forgets what the envdir added since the start.
    pub(crate) fn drop_envdir(&mut self) {
        self.envdir.clear();
    }

    /// `NAME=VALUE` for exec. A name may hold a `=`, and a value ends at its first NUL (LIFE-133).
    pub(crate) fn to_c(&self) -> CStringArray {
        let shadowed = |name: &Vec<u8>| self.envdir.contains_key(name);
        let base = self.base.iter().filter(|(name, _)| !shadowed(name));
        base.chain(&self.envdir).map(|(name, value)| assignment(name, value)).collect()
    }
}

fn assignment(name: &[u8], value: &[u8]) -> CString {
    c_string(&[name, b"=", value].concat())
}

/// The hand-over to a worker is not the envdir's business (`envdir-own-names`).
fn without_our_own(mut variables: Variables) -> Variables {
    variables.remove(b"SERVER_STARTER_PORT".as_slice());
    variables.remove(b"SERVER_STARTER_GENERATION".as_slice());
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn a_file_that_was_there_at_start_is_never_undone() {
        let mut environment = Environment { base: variables(&[("FOO", "orig")]), ..Environment::default() };
        environment.keep_envdir(variables(&[("FOO", "start")]));
        environment.replace_envdir(variables(&[("FOO", "later"), ("NEW", "n")]));
        assert_eq!((environment.get("FOO"), environment.get("NEW")), (Some(&b"later"[..]), Some(&b"n"[..])));
        environment.replace_envdir(Variables::new());
        assert_eq!((environment.get("FOO"), environment.get("NEW")), (Some(&b"start"[..]), None));
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
    fn the_envdir_does_not_touch_the_hand_over() {
        let mut environment =
            Environment { base: variables(&[("SERVER_STARTER_PORT", "80=3")]), ..Environment::default() };
        environment.keep_envdir(variables(&[("SERVER_STARTER_PORT", "x=9"), ("SERVER_STARTER_GENERATION", "100")]));
        environment.replace_envdir(variables(&[("SERVER_STARTER_PORT", "x=9")]));
        assert_eq!(environment.get("SERVER_STARTER_PORT"), Some(&b"80=3"[..]));
        assert_eq!(environment.get("SERVER_STARTER_GENERATION"), None);
    }

    #[test]
    fn options_win_over_what_is_inherited() {
        let mut options = Options::new(vec!["worker".into()]);
        options.envdir = Some("/e".into());
        options.kill_old_delay = Some(-5);
        let environment = Environment::inherited(&options);
        assert_eq!(
            (environment.get("ENVDIR"), environment.get("KILL_OLD_DELAY")),
            (Some(&b"/e"[..]), Some(&b"-5"[..]))
        );
    }
}
