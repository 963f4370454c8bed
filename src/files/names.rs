//! The names of files: those beside a file that an option names, and whether two options name the same file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::files::file_id::FileId;

/// The file beside `path` whose name has `suffix` appended.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Whether two paths are the same name in the same directory, however they are written.
pub(crate) fn is_same_name(one: &Path, other: &Path) -> bool {
    let directory = |path: &Path| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        FileId::of(parent.unwrap_or(Path::new(".")))
    };
    one == other
        || one.file_name() == other.file_name() && directory(one).is_some_and(|id| directory(other) == Some(id))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn ways_to_write_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("sub")).unwrap();
        for (one, other, is_same) in
            [("a", "a", true), ("a", "sub/../a", true), ("a", "./a", true), ("a", "b", false), ("a", "sub/a", false)]
        {
            assert_eq!(is_same_name(&path(one), &path(other)), is_same, "{one} {other}");
        }
        assert!(is_same_name(Path::new("a"), Path::new("./a")) && !is_same_name(Path::new("no/a"), Path::new("on/a")));
    }
}
