//! What is shipped beside the program is current, and works with it. `scripts/test-package` tests the Debian package.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use server_starter::program::{self, Action};

#[expect(dead_code, reason = "its main() writes the files")]
#[path = "../examples/generate_docs.rs"]
mod generate_docs;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// Fails if the program says anything.
fn is_silent(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{command:?}: {}\n{said}", output.status);
}

#[test]
fn generated_files_are_current() {
    for (name, current) in generate_docs::files().unwrap() {
        let path = examples().join("packaging").join(name);
        let there = fs::read(&path).unwrap_or_default();
        assert!(there == current, "{} is not current: run scripts/docs", path.display());
    }
}

#[test]
fn man_page_is_free_of_warnings_and_names_every_option() {
    let page = examples().join("packaging/start_server.1");
    let text = fs::read_to_string(&page).unwrap();
    for option in program::command().get_arguments().filter_map(|arg| arg.get_long()) {
        let entry = format!(".TP\n\\fB\\-\\-{}\\fR", option.replace('-', "\\-"));
        assert!(text.contains(&entry), "--{option} is missing");
    }
    is_silent(Command::new("groff").args(["-man", "-ww", "-Tutf8"]).arg(&page));
}

#[test]
fn help_fits_a_terminal_of_80_columns() {
    let help = program::command().render_help().to_string();
    for line in help.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

/// What bash offers for the last word.
fn completions(words: &[&str]) -> String {
    let script = r#"
        source "$1"
        COMP_WORDS=("${@:2}")
        COMP_CWORD=$(($# - 2))
        _start_server_or_program start_server "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}" | sort -u
    "#;
    let file = examples().join("packaging/completions/start_server.bash");
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "bash"]).arg(file).args(words).current_dir(examples());
    String::from_utf8_lossy(&bash.output().unwrap().stdout).trim_end().replace('\n', " ")
}

#[test]
fn bash_completes_options_and_the_program() {
    for (words, expected) in [
        (&["start_server", "--kill-o"][..], "--kill-old-delay"),
        (&["start_server", "--ready", ""], "accepting interval notify"),
        (&["start_server", "--signal-on-hup", "W"], "WINCH"),
        (&["start_server", "--interval", ""], ""),
        (&["start_server", "--", "bas"], "bash"),
        (&["start_server", "--port=80", "--", "bash", "READ"], "README.md"),
        (&["start_server", "--", "bash", "--kill"], ""),
    ] {
        let offered = completions(words);
        let is_there = expected.split(' ').all(|word| offered.split(' ').any(|offered| offered == word));
        assert!(is_there, "{words:?}: {offered}");
    }
}

/// The command lines of a unit file, each with its directive.
fn command_lines(unit: &str) -> Vec<(&str, Vec<OsString>)> {
    let settings = unit.lines().filter_map(|line| line.split_once('='));
    let settings = settings.filter(|(directive, _)| directive.starts_with("Exec"));
    settings
        .map(|(directive, words)| (directive, words.split_ascii_whitespace().map(OsString::from).collect()))
        .collect()
}

/// The unit files, by their names.
fn unit_files() -> BTreeMap<String, String> {
    let files = fs::read_dir(examples().join("systemd")).unwrap().map(Result::unwrap);
    files.map(|file| (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap())).collect()
}

#[test]
fn unit_files_run_and_reload_the_same_superdaemon() {
    let units = unit_files();
    for (name, unit) in &units {
        let Some(name) = name.strip_suffix(".service") else { continue };
        let has = |setting: &str| unit.lines().any(|line| line == setting);
        let mut directives = Vec::new();
        let mut files = Vec::new();
        for (directive, words) in command_lines(unit) {
            assert_eq!(words[0], "/usr/bin/start_server", "{name}");
            files.push(match program::parse(words[1..].to_vec()).unwrap() {
                Action::Start(options) => {
                    assert_eq!(options.daemonize, has("Type=forking"), "{name}");
                    assert_eq!(options.sd_notify, has("Type=notify") || has("Type=notify-reload"), "{name}");
                    let is_passed =
                        units.contains_key(&format!("{name}.socket")) || unit.contains("\nFileDescriptorStoreMax=");
                    assert_eq!(options.from_systemd, is_passed, "{name}");
                    (options.pid_file, options.status_file)
                }
                Action::Restart { pid_file, status_file, .. } => (Some(pid_file), Some(status_file)),
                Action::Stop { pid_file } => (Some(pid_file), Some("/run/app/status".into())),
                other => panic!("{name}: {other:?}"),
            });
            directives.push(directive);
        }
        // systemd itself sends the signal where there is no command to reload.
        let expected = if has("Type=notify-reload") { &["ExecStart"][..] } else { &["ExecStart", "ExecReload"] };
        assert!(directives.starts_with(expected), "{name}: {directives:?}");
        assert!(files.iter().all(|of_command| *of_command == files[0]), "{name}: {files:?}");
        if let Some(file) = unit.lines().find_map(|line| line.strip_prefix("PIDFile=")) {
            assert_eq!(files[0].0.as_deref(), Some(Path::new(file)), "{name}");
        }
    }
}

#[test]
fn unit_files_are_accepted_by_systemd() {
    let version = Command::new("systemd-analyze").arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let version: u32 = version.split_whitespace().nth(1).unwrap().parse().unwrap();
    let dir = tempfile::tempdir().unwrap();
    // A service is looked at together with its socket.
    for (name, unit) in unit_files() {
        let mut unit = unit.replace("/usr/bin/start_server", env!("CARGO_BIN_EXE_start_server"));
        if version < 253 {
            // It doesn't know this one. What it can be asked about is the rest.
            unit = unit.replace("Type=notify-reload", "Type=notify");
        }
        fs::write(dir.path().join(name), unit).unwrap();
    }
    // Units are sought here alone. systemd-analyze has something to say on all that it finds, and a fault in the machine's
    // own is none of ours.
    fs::write(dir.path().join("sysinit.target"), "[Unit]\n").unwrap();
    for name in unit_files().keys() {
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no"]).arg(dir.path().join(name)).env("SYSTEMD_UNIT_PATH", dir.path());
        is_silent(&mut verify);
    }
}

#[test]
fn the_images_run_a_superdaemon() {
    for (name, program, worker) in
        [("Dockerfile", "start_server", "plackup"), ("Dockerfile.scratch", "/start_server", "/worker")]
    {
        let file = fs::read_to_string(examples().join("docker").join(name)).unwrap();
        let words = |instruction| {
            let list = file.lines().find_map(|line| line.strip_prefix(instruction)).expect(instruction);
            let words = list.trim().trim_start_matches('[').trim_end_matches(']').split(", ");
            words.map(|word| word.trim_matches('"').to_owned()).collect::<Vec<_>>()
        };
        let words = [words("ENTRYPOINT"), words("CMD")].concat();
        assert_eq!(words[0], program);
        match program::parse(words[1..].iter().map(OsString::from).collect()).unwrap() {
            Action::Start(options) => assert_eq!(options.program[0], worker),
            other => panic!("{other:?}"),
        }
    }
}
