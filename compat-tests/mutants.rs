//! Tests the tests: the original equals itself, and is red with one thing changed.
//!
//! A mutant is a copy of the original with another text in its module. This test program is run on it again, with the
//! one scenario that has to notice.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::harness::{Programs, compare};

struct Mutant {
    name: &'static str,
    /// What is replaced in `Server/Starter.pm`, and by what.
    text: &'static str,
    replacement: &'static str,
    scenario: &'static str,
    /// How a line of the difference that it reports begins.
    notices: &'static str,
}

/// Scenarios that wait for what a mutant never does would take until their deadline; here are others.
const MUTANTS: [Mutant; 17] = [
    Mutant {
        name: "a message",
        text: r#""killing old workers\n""#,
        replacement: r#""killing the old workers\n""#,
        scenario: "scenarios::lifecycle::each_request_has_its_signal",
        notices: "+killing the old workers",
    },
    Mutant {
        name: "an exit code",
        text: r#"or die "failed to bind to $hostport:$!""#,
        replacement: r#"or do { print STDERR "failed to bind to $hostport:$!\n"; exit 2 }"#,
        scenario: "scenarios::sockets::port_in_use",
        notices: "+-> exit 2",
    },
    Mutant {
        name: "a sort",
        text: "to all workers:\",\n            join(',', sort keys",
        replacement: "to all workers:\",\n            join(',', reverse sort keys",
        scenario: "scenarios::signals::a_shutdown_stops_old_workers_too",
        notices: "+received TERM, sending USR1 to all workers:<W2>,<W1>",
    },
    Mutant {
        name: "a signal",
        text: "$sig eq 'TERM' ? $opts->{signal_on_term} : 'TERM'",
        replacement: "$opts->{signal_on_term}",
        scenario: "scenarios::lifecycle::int_sends_term_whatever_the_options_say",
        notices: "+got QUIT",
    },
    Mutant {
        name: "SIGPIPE",
        text: "$SIG{PIPE} = 'IGNORE';",
        replacement: "",
        scenario: "scenarios::sockets::without_a_listener_the_variable_is_empty",
        notices: "-signals ignored=",
    },
    Mutant {
        name: "a status file left behind",
        text: "if ($status_file_created)",
        replacement: "if (0)",
        scenario: "scenarios::lifecycle::a_term_stops_the_worker_and_cleans_up",
        notices: "+st file 0644",
    },
    Mutant {
        name: "a socket left behind",
        text: "-S $_ and unlink $_",
        replacement: "-S $_",
        scenario: "scenarios::sockets::ports_come_before_paths_in_their_order",
        notices: "+a.sock socket 0777",
    },
    Mutant {
        name: "an environment variable",
        text: "$ENV{SERVER_STARTER_GENERATION}++;",
        replacement: "$ENV{SERVER_STARTER_GENERATION}++; $ENV{EXTRA} = 1;",
        scenario: "scenarios::sockets::without_a_listener_the_variable_is_empty",
        notices: "+env EXTRA=1",
    },
    Mutant {
        name: "the order of listeners",
        text: "for my $hostport (@$ports)",
        replacement: "for my $hostport (reverse @$ports)",
        scenario: "scenarios::sockets::tcp_and_udp_on_one_port",
        notices: "+fd 4 inet dgram 0.0.0.0:$PORT reuseaddr",
    },
    Mutant {
        name: "the status file's format",
        text: r#"print $tmpfh "$_:$gen_pid{$_}\n""#,
        replacement: r#"print $tmpfh "$_ $gen_pid{$_}\n""#,
        scenario: "mutants::status_file",
        notices: "+1 <W1>",
    },
    Mutant {
        name: "the order in the status file",
        text: "for sort keys %gen_pid",
        replacement: "for reverse sort keys %gen_pid",
        scenario: "mutants::status_file",
        notices: "+1:<W1>",
    },
    Mutant {
        name: "an ignored --dir",
        text: "if (defined $opts->{dir})",
        replacement: "if (0)",
        scenario: "scenarios::files::dir_is_the_workers_only",
        notices: "+cwd $DIR",
    },
    Mutant {
        name: "an ignored --backlog",
        text: "$opts->{backlog} ||= Socket::SOMAXCONN();",
        replacement: "$opts->{backlog} = Socket::SOMAXCONN();",
        scenario: "scenarios::sockets::a_backlog_is_passed_to_listen",
        notices: "-fd 4 inet stream 0.0.0.0:$PORT listening reuseaddr backlog=7",
    },
    Mutant {
        name: "a delay",
        text: "sleep $opts->{interval};",
        replacement: "",
        scenario: "mutants::interval",
        notices: "+st file 0644",
    },
    Mutant {
        name: "a socket option",
        text: "setsockopt $sock, Socket::SOL_SOCKET, Socket::SO_REUSEADDR(), pack(\"l\", 1);",
        replacement: "",
        scenario: "scenarios::sockets::a_u_means_udp",
        notices: "+fd 4 inet dgram 0.0.0.0:$PORT",
    },
    Mutant {
        name: "the umask",
        text: "umask($saved_umask)",
        replacement: "umask(0)",
        scenario: "scenarios::sockets::unix_socket_ignores_the_umask",
        notices: "+umask 000",
    },
    Mutant {
        name: "the session",
        text: "POSIX::setsid();",
        replacement: "",
        scenario: "scenarios::daemons::a_daemon_leaves_its_launcher",
        notices: "+process ppid=<D> pgid=<S> sid=<session of D>",
    },
];

#[test]
fn each_mutant_is_noticed() {
    let original = Programs::find().original;
    let module = fs::read_to_string(Programs::module()).expect("the installed module");
    // Side by side, because scenarios wait much more than they compute.
    let missed: Vec<String> = thread::scope(|scope| {
        let runs = MUTANTS.each_ref().map(|mutant| scope.spawn(|| mutant.is_missed(&original, &module)));
        runs.into_iter().filter_map(|run| run.join().expect("the mutant is made and run")).collect()
    });
    assert!(missed.is_empty(), "{}", missed.concat());
}

#[test]
fn the_original_equals_itself() {
    let original = Programs::find().original;
    let scenarios = MUTANTS.map(|mutant| mutant.scenario);
    for (scenario, verdict) in scenarios.iter().zip(verdicts(&original, &scenarios)) {
        assert_eq!(verdict, "equal\n", "{scenario}");
    }
}

/// Elsewhere the status file's content is waited for; here a wrong one shows at once.
#[test]
fn status_file() {
    compare(|s| {
        s.start(&["--status-file=st", "--", "$PROBE", "G1=ign=TERM"]);
        s.wait_worker(1);
        s.wait_line_in("st", "");
        s.show("st");
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_report(1, "got TERM");
        s.show("st");
        s.signal_worker(1, "KILL");
        s.wait_line("old worker <W1> died");
        s.signal("TERM");
        s.wait_exit();
    });
}

/// Elsewhere what comes after the interval is waited for; here it must not be there yet.
#[test]
fn interval() {
    compare(|s| {
        s.start(&["--interval=100", "--status-file=st", "--", "$PROBE"]);
        s.wait_worker(1);
        s.wait_line("starting new worker");
        // Does nothing, but only when the superdaemon is at rest.
        s.signal("CONT");
        s.ls();
        s.signal("TERM");
        s.wait_exit();
    });
}

impl Mutant {
    /// What its scenario said instead of what it should have noticed.
    fn is_missed(&self, original: &Path, module: &str) -> Option<String> {
        assert!(module.contains(self.text), "{}: the installed module doesn't contain {:?}", self.name, self.text);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("Server")).expect("the directory of a module");
        fs::write(path("Server/Starter.pm"), module.replace(self.text, self.replacement)).expect("the module");
        // Below the `#!` line, which differs between installations.
        let script = fs::read_to_string(original).expect("the original is a script");
        let script = script.replacen('\n', &format!("\nuse lib '{}';\n", dir.path().display()), 1);
        fs::write(path("start_server"), script).expect("the script");
        fs::set_permissions(path("start_server"), Permissions::from_mode(0o755)).expect("its mode");
        let verdict = verdicts(&path("start_server"), &[self.scenario]).concat();
        let is_noticed =
            verdict.starts_with("different\n") && verdict.lines().any(|line| line.starts_with(self.notices));
        (!is_noticed).then(|| format!("{}: {} says {verdict}", self.name, self.scenario))
    }
}

/// The records of what these scenarios say when `candidate` stands in our place.
fn verdicts(candidate: &Path, scenarios: &[&str]) -> Vec<String> {
    let records = tempfile::tempdir().expect("a temporary directory");
    let mut tests = Command::new(env::current_exe().expect("this program has a path"));
    tests.args(["--exact", "--test-threads=16"]).args(scenarios);
    tests.env("START_SERVER_RUST", candidate).env("COMPAT_REPORT", records.path());
    let output = tests.output().expect("this program runs");
    let record = |scenario: &&str| {
        fs::read_to_string(records.path().join(scenario))
            .unwrap_or_else(|_| panic!("no verdict of {scenario}: {}", String::from_utf8_lossy(&output.stdout)))
    };
    scenarios.iter().map(record).collect()
}
