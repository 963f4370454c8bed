//! The files that are shipped with the program are current, and work with it. `scripts/test-package` tests the
//! packages.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::unistd::Uid;
use server_starter::program::{self, Action};

use crate::documents::broken_links;

#[expect(dead_code, reason = "its main() writes the files")]
#[path = "../examples/generate_docs.rs"]
mod generate_docs;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// Fails if the command fails or writes to standard error.
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
        let entry = format!(".TP\n\\fB\\-\\-{}", option.replace('-', "\\-"));
        let is_there = ["\\fR\n", "="].iter().any(|end| text.contains(&[&entry, *end].concat()));
        assert!(is_there, "--{option} is missing");
    }
    is_silent(Command::new("groff").args(["-man", "-ww", "-Tutf8"]).arg(&page));
    let mandoc = Command::new("mandoc").args(["-Tlint", "-Wall"]).arg(&page).output().expect("mandoc");
    assert!(mandoc.stdout.is_empty(), "{}", String::from_utf8_lossy(&mandoc.stdout));
}

#[test]
fn help_fits_a_terminal_of_80_columns() {
    let help = program::command().render_help().to_string();
    for line in help.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

/// All files below a directory, as paths from there.
fn files_below(directory: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            } else {
                files.insert(entry.path().strip_prefix(directory).unwrap().to_owned());
            }
        }
    }
    files
}

fn has_no_broken_link(directory: &Path) {
    let is_document = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "md");
    let documents: Vec<_> =
        files_below(directory).into_iter().filter(is_document).map(|file| directory.join(file)).collect();
    assert!(documents.len() > 8, "{documents:?}");
    assert_eq!(broken_links(&documents), Vec::<String>::new());
}

#[test]
fn packages_have_all_examples_and_no_link_that_leads_nowhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("share/doc/start-server");
    let moved = ["CHANGELOG.md=changelog.gz", "LICENSE-MIT=copyright", "LICENSE-APACHE=../../licenses/LICENSE"];
    is_silent(Command::new(root.join("scripts/package.d/documents")).arg(&folder).args(moved));
    let examples = files_below(&examples());
    let packed = files_below(&folder.join("examples"));
    let is_for_users =
        |file: &&PathBuf| !file.starts_with("packaging") && file.as_path() != Path::new("generate_docs.rs");
    assert_eq!(examples.iter().filter(is_for_users).collect::<Vec<_>>(), packed.iter().collect::<Vec<_>>());

    // Links lead to where the packages have moved a file.
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(readme.contains("(changelog.gz)") && readme.contains("(copyright)"), "{readme}");
    assert!(!folder.join("CHANGELOG.md").exists());
    fs::create_dir_all(dir.path().join("share/licenses")).unwrap();
    for place in ["changelog.gz", "copyright", "../../licenses/LICENSE"] {
        fs::write(folder.join(place), "").unwrap();
    }
    has_no_broken_link(&folder);
    // Links to files that no package has become plain text.
    let contributing = fs::read_to_string(folder.join("CONTRIBUTING.md")).unwrap();
    assert!(contributing.contains("traces of a schedule, side"), "{contributing}");
}

#[test]
fn the_crate_has_documents_examples_and_what_they_link() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["package", "--list", "--allow-dirty", "--offline", "--quiet"]).current_dir(root);
    let list = cargo.output().unwrap();
    assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
    let dir = tempfile::tempdir().unwrap();
    for file in String::from_utf8(list.stdout).unwrap().lines().filter(|file| root.join(file).exists()) {
        let copy = dir.path().join(file);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(root.join(file), copy).unwrap();
    }
    for directory in ["docs", "examples"] {
        assert_eq!(files_below(&dir.path().join(directory)), files_below(&root.join(directory)));
    }
    has_no_broken_link(dir.path());
    // README's first command needs this one.
    assert!(dir.path().join("perl-fixtures/httpd.pl").exists());
}

/// Debian shows one line of at most 80 columns, which doesn't begin with the package's name.
#[test]
fn the_short_description_is_one_line() {
    let manifest = include_str!("../Cargo.toml");
    let summary = manifest.lines().find_map(|line| line.strip_prefix("summary = \"")?.strip_suffix('"')).unwrap();
    assert!(summary.len() <= 80 && !summary.starts_with("start"), "{summary}");
}

/// Somebody who types into a bash with our completions. The terminal is 1,000 columns wide, so that no line wraps.
struct Typist {
    shell: Child,
    keys: ChildStdin,
    screen: mpsc::Receiver<u8>,
}

impl Typist {
    fn new() -> Self {
        // Running the completed line prints its words.
        let startup = "stty columns 1000; PS1='> '; start_server() { printf '<%s>' \"$@\"; echo; }; \
                       bind 'set bell-style none'; bind 'set show-all-if-ambiguous on'; bind 'set page-completions off'; \
                       bind 'set enable-bracketed-paste off'";
        let mut script = Command::new("script");
        script.args(["--quiet", "--command", "bash --norc --noprofile -i", "/dev/null"]).env("TERM", "dumb");
        script.env("HISTFILE", "/dev/null").current_dir(examples());
        let mut shell = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script(1)");
        let keys = shell.stdin.take().expect("a pipe");
        let (sender, screen) = mpsc::channel();
        let output = BufReader::new(shell.stdout.take().expect("a pipe"));
        thread::spawn(move || output.bytes().map_while(Result::ok).try_for_each(|byte| sender.send(byte)));
        let mut typist = Self { shell, keys, screen };
        let file = examples().join("packaging/completions/start_server.bash");
        typist.press(&format!("{startup}; source '{}'; echo rea''dy\n", file.display()));
        typist.wait_for("ready\r\n> ");
        typist
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("somebody who reads");
    }

    /// Returns the output up to and including `end`.
    fn wait_for(&self, end: &str) -> String {
        let mut seen = Vec::new();
        while !seen.ends_with(end.as_bytes()) {
            let byte = self.screen.recv_timeout(Duration::from_secs(60));
            seen.push(byte.unwrap_or_else(|_| panic!("{end:?} doesn't come: {:?}", String::from_utf8_lossy(&seen))));
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// Types a line and a tab. Returns what is offered, if there are several choices, and the words of the line, each
    /// in `<>`.
    fn tab(&mut self, line: &str) -> String {
        self.press(&format!("{line}\t\n"));
        self.wait_for(">\r\n> ")
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

#[test]
fn bash_completes_options_and_the_program() {
    let mut bash = Typist::new();
    for (line, expected) in [
        ("--kill-o", "<--kill-old-delay>"),
        ("--ready ", "interval notify accepting"),
        ("--ready=", "interval notify accepting"),
        ("--ready=a", "<--ready=accepting>"),
        ("--port=80 --signal-on-hup W", "<--port=80><--signal-on-hup><WINCH>"),
        ("--port=80 --signal-on-hup=Q", "<--port=80><--signal-on-hup=QUIT>"),
        ("--interval=", "<--interval=>"),
        ("--approve mkfi", "<--approve><mkfifo>"),
        ("--approve=mkfi", "<--approve=mkfifo>"),
        ("--approve=nginx/wor", "<--approve=nginx/worker.sh>"),
        ("--pid-file=READ", "<--pid-file=README.md>"),
        ("--log-file READ", "<--log-file><README.md>"),
        ("-- mkfi", "<--><mkfifo>"),
        ("--port=80 -- mkfifo READ", "<--port=80><--><mkfifo><README.md>"),
        ("-- mkfifo --kill", "<--><mkfifo><--kill>"),
    ] {
        // Users choose whether "=" ends a word.
        for breaks in [r#" "'><=;|&(:"#, r#" "'><;|&("#] {
            bash.press(&format!("COMP_WORDBREAKS=$'{}'; echo do''ne\n", breaks.replace('\'', "\\'")));
            bash.wait_for("done\r\n> ");
            let shown = bash.tab(&format!("start_server {line}"));
            let mut expected = expected.split(' ');
            let is_there = expected.all(|word| shown.split_whitespace().any(|shown| shown.ends_with(word)));
            assert!(is_there, "{line:?}: {shown:?}");
        }
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
        // With notify-reload, systemd itself sends the signal, and there is no command to reload.
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
    // systemd-analyze looks at a service together with its socket.
    for (name, unit) in unit_files() {
        let mut unit = unit.replace("/usr/bin/start_server", env!("CARGO_BIN_EXE_start_server"));
        if version < 253 {
            // It doesn't know this type, but can check the rest.
            unit = unit.replace("Type=notify-reload", "Type=notify");
        }
        fs::write(dir.path().join(name), unit).unwrap();
    }
    // Only this directory is searched for units: systemd-analyze reports faults in all units that it loads, and those
    // of the machine are not ours.
    for target in ["sysinit.target", "basic.target"] {
        fs::write(dir.path().join(target), "[Unit]\n").unwrap();
    }
    // Where systemd doesn't run, an ordinary user can't create the directory that systemd-analyze needs.
    let as_user = (!Uid::effective().is_root() && !Path::new("/run/systemd").exists()).then_some("--user");
    for name in unit_files().keys() {
        let mut verify = Command::new("systemd-analyze");
        verify.args(as_user).args(["verify", "--man=no"]).arg(dir.path().join(name));
        verify.env("SYSTEMD_UNIT_PATH", dir.path()).env("XDG_RUNTIME_DIR", dir.path());
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
