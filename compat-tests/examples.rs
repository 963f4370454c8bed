//! The examples fit together and do what their heads say, tested without the servers themselves. `scripts/test-units`
//! runs the units; `deployments` and `scenarios::plack` run servers.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use server_starter::program::{self, Action};
use start_server_compat::demo::Demo;

use crate::harness::{Programs, Scenario, ours_alone, target_directory};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn parse(words: &[String]) -> Action {
    let words = words.iter().map(OsString::from).collect();
    program::parse(words).unwrap_or_else(|failure| panic!("{}", String::from_utf8_lossy(&failure.message())))
}

// --- units

/// The service units: name and text.
fn services() -> Vec<(String, String)> {
    let files = fs::read_dir(root().join("examples/systemd")).expect("units").map(|file| file.expect("a unit").path());
    let services = files.filter(|path| path.extension().is_some_and(|extension| extension == "service"));
    services.map(|path| (path.display().to_string(), fs::read_to_string(&path).expect("a unit"))).collect()
}

/// The words of a unit's `ExecStart`, without the program.
fn start_of(unit: &str) -> Vec<String> {
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/start_server ")).expect("ExecStart");
    line.split_ascii_whitespace().map(str::to_owned).collect()
}

/// By default, systemd stops the whole service when one of its processes is killed for want of memory.
#[test]
fn a_worker_without_memory_does_not_stop_a_service() {
    let services = services();
    assert!(services.len() > 5);
    for (name, unit) in services {
        assert!(unit.lines().any(|line| line == "OOMPolicy=continue"), "{name}");
    }
}

/// The way back in `docs/switching.md`: the original itself reports whether it knows all options of a unit.
#[test]
fn the_original_tells_which_units_it_can_run() {
    for (name, unit) in services() {
        let options = start_of(&unit);
        let ask = |program: &Path| Command::new(program).arg("--help").args(&options).output().expect("a program");
        let Programs { original, ours } = Programs::find();
        let (of_original, of_ours) = (ask(&original), ask(&ours));
        assert!(of_ours.status.success(), "{name}");
        let said = String::from_utf8_lossy(&of_original.stderr).into_owned();
        let has_none_of_ours =
            ["app.service", "app-forking.service"].iter().any(|plain| name.ends_with(&format!("/{plain}")));
        assert_eq!(of_original.status.success(), has_none_of_ours, "{name}: {said}");
        assert!(has_none_of_ours || said.contains("Unknown option: "), "{name}: {said}");
    }
}

// --- the log

/// The log files that a text names.
fn logs_in(text: &str) -> Vec<&str> {
    let names = text.split("/var/log/").skip(1).map(|rest| rest.split([' ', '\n', '"', '%']).next().unwrap_or(rest));
    names.map(|name| name.trim_end_matches(['.', ':', ','])).filter(|name| name.contains('/')).collect()
}

#[test]
fn the_log_that_is_rotated_is_the_one_that_is_written() {
    for file in ["examples/logrotate/app", "examples/systemd/app-forking.service", "docs/deploy.md"] {
        let text = read(file);
        let logs = logs_in(&text);
        assert!(!logs.is_empty() && logs.iter().all(|log| *log == "app/app.log"), "{file}: {logs:?}");
    }
}

/// The script that logrotate runs after it has renamed the log.
fn postrotate() -> String {
    let text = read("examples/logrotate/app");
    let script = text.split("postrotate\n").nth(1).and_then(|rest| rest.split("endscript").next());
    script.expect("a script").to_owned()
}

/// Runs it for the superdaemon of a scenario, whose pid file is `pid`.
fn rotate(s: &Scenario) -> String {
    let script = postrotate().replace("/run/app/pid", s.path("pid").to_str().expect("a path in UTF-8"));
    let script = script.replace("start_server", s.program().to_str().expect("a path in UTF-8"));
    let output = Command::new("sh").args(["-e", "-c", &script]).output().expect("sh");
    format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_rotation_reaches_the_superdaemon() {
    ours_alone(|s| {
        s.probe(&["--log-file=log", "--pid-file=pid", "--status-file=st"], &[]);
        s.wait_file("st", "1:<W1>\n");
        fs::rename(s.path("log"), s.path("log.1")).expect("a log");
        assert_eq!(rotate(s), "exit status: 0: ");
        s.wait("the new log", |s| s.path("log").exists());
        s.signal("TERM");
        s.wait_exit();
    });
}

#[test]
fn a_rotation_succeeds_when_nothing_runs() {
    ours_alone(|s| {
        assert_eq!(rotate(s), "exit status: 0: ");
        // A pid file was left behind, and its pid now belongs to an unrelated process, which USR1 would end.
        let mut stranger = Command::new("sleep").arg("1000").current_dir(s.path(".")).spawn().expect("sleep");
        s.write("pid", &format!("{}\n", stranger.id()));
        assert_eq!(rotate(s), "exit status: 0: ");
        let is_alive = stranger.try_wait().expect("a child").is_none();
        stranger.kill().expect("a child");
        stranger.wait().expect("a child");
        s.remove("pid");
        assert!(is_alive, "the stranger got the signal");
    });
}

// --- workers

/// Runs a worker script with a stand-in for `server` that only reports how it was started.
fn with_a_server(s: &mut Scenario, script: &str, server: &str, tells: &str, arguments: &[&str]) {
    s.mkdir("bin");
    s.write(
        &format!("bin/{server}"),
        &format!("#!/bin/sh\n{{\n{tells}\n}} >told.new\nmv told.new told\nexec sleep 1000\n"),
    );
    let server = s.path(&format!("bin/{server}"));
    fs::set_permissions(server, PermissionsExt::from_mode(0o755)).expect("a script");
    s.env("PATH", &format!("{}:{}", s.path("bin").display(), env::var("PATH").expect("a PATH")));
    let script = root().join("examples").join(script);
    let listeners = ["--port=127.0.0.1:$PORT", "--path=$DIR/app.sock", "--pid-file=pid", "--status-file=st", "--"];
    s.start(&[&listeners[..], &[script.to_str().expect("a path in UTF-8")], arguments].concat());
    s.wait("what the server has to tell", |s| s.path("told").exists());
}

/// The flags of a listener, as the kernel shows them: `O_NONBLOCK` is 4000.
const FLAGS: &str = "for fd in 4 5; do sed -n 's/^flags:.*\\([04]\\)...$/nonblocking \\1/p' /proc/$$/fdinfo/$fd; done";

/// In blocking mode, an nginx process would sleep in accept(2) when another one was faster. With one pid file for all,
/// the old nginx would remove that of the new one.
#[test]
fn nginx_gets_its_listeners_in_non_blocking_mode_and_a_pid_file_of_its_own() {
    ours_alone(|s| {
        let tells = format!("echo \"$NGINX\"; {FLAGS}; echo \"$@\"");
        with_a_server(s, "nginx/worker.sh", "nginx", &tells, &["nginx.conf", "dir"]);
        let told = fs::read_to_string(s.path("told")).expect("what it was started with");
        let expected = "4;5;\nnonblocking 4\nnonblocking 4\n-c nginx.conf -e stderr -g pid dir/nginx.1.pid;\n";
        assert_eq!(told, expected);
        s.term();
    });
}

/// When an old PHP-FPM ends, it removes its socket's file by the name that it was given.
#[test]
fn php_fpm_gets_its_listeners_by_names_that_it_can_not_remove() {
    ours_alone(|s| {
        with_a_server(s, "php-fpm/worker.sh", "php-fpm", "echo \"$FPM_SOCKETS\"; echo \"$@\"", &["fpm.conf"]);
        let told = fs::read_to_string(s.path("told")).expect("what it was started with");
        let listeners = format!("127.0.0.1:{}=4,/dev/null{}=5", s.port(), s.path("app.sock").display());
        let expected = format!("{listeners}\n--nodaemonize --fpm-config fpm.conf\n");
        assert_eq!(told, expected);
        s.term();
    });
}

// --- containers

/// The words of a list of JSON on one line.
fn words_of_list(list: &str) -> Vec<String> {
    let words = list.trim().trim_start_matches('[').split(']').next().unwrap_or_default().split(", ");
    words.map(|word| word.trim_matches('"').to_owned()).collect()
}

pub fn deployment() -> String {
    read("examples/kubernetes/deployment.yaml")
}

/// The words of the container's command and its arguments.
pub fn command_of_deployment() -> Vec<String> {
    let text = deployment();
    let command = text.split("command:\n").nth(1).expect("a command").lines().map(str::trim);
    let lines = command.take_while(|line| line.starts_with("- ") || line.starts_with('#'));
    let words = lines.filter_map(|line| Some(line.strip_prefix("- ")?.to_owned()));
    words.chain(words_of_list(text.split("args: ").nth(1).expect("arguments"))).collect()
}

/// The words of the probe.
pub fn probe_of_deployment() -> Vec<String> {
    words_of_list(deployment().split("{ command: ").nth(1).expect("a probe"))
}

fn number_of_deployment(name: &str) -> u64 {
    let text = deployment();
    let rest = text.split(name).nth(1).unwrap_or_else(|| panic!("there is no {name}"));
    rest.split(|c: char| !c.is_ascii_digit())
        .find(|digits| !digits.is_empty())
        .expect("a number")
        .parse()
        .expect("a number")
}

#[test]
fn the_deployment_is_one_to_kubernetes() {
    let validate = target_directory().join("python/bin/kubernetes-validate");
    assert!(validate.is_file(), "kubernetes-validate is missing: run scripts/install-oracle");
    let file = root().join("examples/kubernetes/deployment.yaml");
    let output = Command::new(validate).arg("--strict").arg(file).output().expect("kubernetes-validate");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.matches(" passed for resource ").count() == 2, "{said}");
}

#[test]
fn the_deployment_fits_its_times() {
    let command = command_of_deployment();
    assert_eq!(command[0], "start_server");
    let Action::Start(options) = parse(&command[1..]) else { panic!("{command:?}") };
    assert_eq!(options.program[0], "plackup");
    let probe = probe_of_deployment();
    assert_eq!(probe[0], "start_server");
    let Action::ShowStatus { pid_file, .. } = parse(&probe[1..]) else { panic!("{probe:?}") };
    assert_eq!(Some(pid_file), options.pid_file);
    // All starts that are allowed fail before Kubernetes gives up, so that their reason is in the log.
    let failures = number_of_deployment("--max-start-failures=") * number_of_deployment("--ready-timeout=");
    assert!(number_of_deployment("failureThreshold: ") > failures);
    let end = number_of_deployment("--stop-delay=") + number_of_deployment("--kill-timeout=");
    assert!(number_of_deployment("terminationGracePeriodSeconds: ") > end);
    let image =
        deployment().lines().find_map(|line| line.trim().strip_prefix("image: ").map(str::to_owned)).expect("an image");
    assert!(image.split_once(':').is_some_and(|(_, tag)| !tag.is_empty() && tag != "latest"), "{image}");
}

#[test]
fn the_image_asks_for_the_same_superdaemon() {
    let file = read("examples/docker/Dockerfile");
    let list = |instruction: &str| {
        let line = file.lines().find(|line| line.starts_with(instruction)).expect(instruction);
        words_of_list(&line[line.find('[').expect("a list")..])
    };
    let start = [list("ENTRYPOINT"), list("CMD")].concat();
    let Action::Start(options) = parse(&start[1..]) else { panic!("{start:?}") };
    let check = list("HEALTHCHECK");
    assert_eq!(check[0], start[0]);
    let Action::ShowStatus { pid_file, .. } = parse(&check[1..]) else { panic!("{check:?}") };
    assert_eq!(Some(pid_file), options.pid_file);
}

// --- the picture of README

/// The claims must be true wherever the demo runs, whatever the figures are. A busy machine gets a second try at a
/// slower pace.
#[test]
fn the_picture_shows_what_is_claimed() {
    let Programs { original, ours } = Programs::find();
    let programs = start_server_compat::harness::Programs { original, ours };
    let mut wrong = Vec::new();
    for slowness in [1, 4] {
        let claims = Demo::run(&programs, slowness).claims();
        assert!(claims.len() > 8);
        wrong = claims.into_iter().filter(|claim| !claim.is_true).map(|claim| claim.text).collect();
        if wrong.is_empty() {
            break;
        }
        println!("at a {slowness}th of the pace, not true: {wrong:?}");
    }
    assert!(wrong.is_empty(), "not true: {wrong:#?}");
}

#[test]
fn the_picture_is_small_and_says_where_it_is_from() {
    let picture = read("docs/demo.svg");
    assert!(
        picture.len() < 60_000 && picture.contains("Made by scripts/demo") && picture.contains("prefers-color-scheme")
    );
}
