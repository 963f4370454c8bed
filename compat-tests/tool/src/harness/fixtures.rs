//! The workers in Perl. They are a part of this program, which writes them to where a scenario runs.

use std::fs;
use std::path::Path;

macro_rules! fixtures {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../../../perl-fixtures/", $name)))),*]
    };
}

const FIXTURES: &[(&str, &str)] = fixtures![
    "app.psgi"
    "httpd.pl"
    "manager.pl"
    "probe.pl"
    "ss_prefork.pl"
    "store.pl"
    "three_ways.pl"
    "versioned.psgi"
    "versioned_notify.pl"
    "versioned_prefork.pl"
];

/// Creates a directory with all of them.
pub fn write(directory: &Path) {
    fs::create_dir(directory).expect("the directory of the fixtures");
    for (name, content) in FIXTURES {
        fs::write(directory.join(name), content).expect("a fixture");
    }
}
