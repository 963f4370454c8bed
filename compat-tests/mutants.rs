//! Tests the tests: the original equals itself, and is red with one thing changed.
//!
//! A mutant is a copy of the original with another text in its module. The one scenario that has to notice is run on it.

use std::path::Path;
use std::thread;

use start_server_compat::altered::{self, Altered};
use start_server_compat::catalogue;
use start_server_compat::harness::{self as on, Verdict};

use crate::harness::Programs;

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
const MUTANTS: [Mutant; 22] = [
    Mutant {
        name: "a message",
        text: r#""killing old workers\n""#,
        replacement: r#""killing the old workers\n""#,
        scenario: "lifecycle::each_request_has_its_signal",
        notices: "+killing the old workers",
    },
    Mutant {
        name: "an exit code",
        text: r#"or die "failed to bind to $hostport:$!""#,
        replacement: r#"or do { print STDERR "failed to bind to $hostport:$!\n"; exit 2 }"#,
        scenario: "sockets::port_in_use",
        notices: "+-> exit 2",
    },
    Mutant {
        name: "a sort",
        text: "to all workers:\",\n            join(',', sort keys",
        replacement: "to all workers:\",\n            join(',', reverse sort keys",
        scenario: "signals::a_shutdown_stops_old_workers_too",
        notices: "+received TERM, sending USR1 to all workers:<W2>,<W1>",
    },
    Mutant {
        name: "a signal",
        text: "$sig eq 'TERM' ? $opts->{signal_on_term} : 'TERM'",
        replacement: "$opts->{signal_on_term}",
        scenario: "lifecycle::int_sends_term_whatever_the_options_say",
        notices: "+got QUIT",
    },
    Mutant {
        name: "SIGPIPE",
        text: "$SIG{PIPE} = 'IGNORE';",
        replacement: "",
        scenario: "sockets::without_a_listener_the_variable_is_empty",
        notices: "-signals ignored=",
    },
    Mutant {
        name: "a status file left behind",
        text: "if ($status_file_created)",
        replacement: "if (0)",
        scenario: "lifecycle::a_term_stops_the_worker_and_cleans_up",
        notices: "+st file 0644",
    },
    Mutant {
        name: "a socket left behind",
        text: "-S $_ and unlink $_",
        replacement: "-S $_",
        scenario: "sockets::ports_come_before_paths_in_their_order",
        notices: "+a.sock socket 0777",
    },
    Mutant {
        name: "an environment variable",
        text: "$ENV{SERVER_STARTER_GENERATION}++;",
        replacement: "$ENV{SERVER_STARTER_GENERATION}++; $ENV{EXTRA} = 1;",
        scenario: "sockets::without_a_listener_the_variable_is_empty",
        notices: "+env EXTRA=1",
    },
    Mutant {
        name: "the order of listeners",
        text: "for my $hostport (@$ports)",
        replacement: "for my $hostport (reverse @$ports)",
        scenario: "sockets::tcp_and_udp_on_one_port",
        notices: "+fd 4 inet dgram 0.0.0.0:$PORT reuseaddr",
    },
    Mutant {
        name: "the status file's format",
        text: r#"print $tmpfh "$_:$gen_pid{$_}\n""#,
        replacement: r#"print $tmpfh "$_ $gen_pid{$_}\n""#,
        scenario: "at_once::status_file",
        notices: "+1 <W1>",
    },
    Mutant {
        name: "the order in the status file",
        text: "for sort keys %gen_pid",
        replacement: "for reverse sort keys %gen_pid",
        scenario: "at_once::status_file",
        notices: "+2:<W2>",
    },
    Mutant {
        name: "an ignored --dir",
        text: "if (defined $opts->{dir})",
        replacement: "if (0)",
        scenario: "files::dir_is_the_workers_only",
        notices: "+cwd $DIR",
    },
    Mutant {
        name: "an ignored --backlog",
        text: "$opts->{backlog} ||= Socket::SOMAXCONN();",
        replacement: "$opts->{backlog} = Socket::SOMAXCONN();",
        scenario: "sockets::a_backlog_is_passed_to_listen",
        notices: "-fd 4 inet stream 0.0.0.0:$PORT listening reuseaddr backlog=7",
    },
    Mutant {
        name: "a delay",
        text: "sleep $opts->{interval};",
        replacement: "",
        scenario: "at_once::interval",
        notices: "+st file 0644",
    },
    Mutant {
        name: "a socket option",
        text: "setsockopt $sock, Socket::SOL_SOCKET, Socket::SO_REUSEADDR(), pack(\"l\", 1);",
        replacement: "",
        scenario: "sockets::a_u_means_udp",
        notices: "+fd 4 inet dgram 0.0.0.0:$PORT",
    },
    Mutant {
        name: "the umask",
        text: "umask($saved_umask)",
        replacement: "umask(0)",
        scenario: "sockets::unix_socket_ignores_the_umask",
        notices: "+umask 000",
    },
    Mutant {
        name: "the session",
        text: "POSIX::setsid();",
        replacement: "",
        scenario: "daemons::a_daemon_leaves_its_launcher",
        notices: "+process ppid=<D> pgid=<S> sid=<session of D>",
    },
    Mutant {
        name: "SO_REUSEADDR after bind",
        text: "setsockopt $sock, Socket::SOL_SOCKET, Socket::SO_REUSEADDR(), pack(\"l\", 1);\n        $sockopts->($sock);\n        \
               bind $sock, $sa\n            or die \"failed to bind to $hostport:$!\";",
        replacement: "$sockopts->($sock);\n        bind $sock, $sa\n            or die \"failed to bind to $hostport:$!\";\n        \
                      setsockopt $sock, Socket::SOL_SOCKET, Socket::SO_REUSEADDR(), pack(\"l\", 1);",
        scenario: "connections::it_can_be_started_again_at_once",
        notices: "+failed to bind to 127.0.0.1:$PORT:Address already in use",
    },
    Mutant {
        name: "the default of the interval",
        text: "$opts->{interval} = 1\n",
        replacement: "$opts->{interval} = 3\n",
        scenario: "at_once::default_of_the_interval",
        notices: "+new worker <W1> seems to have failed to start, exit status:256",
    },
    Mutant {
        name: "the time is looked at every third second",
        text: "alarm(1);",
        replacement: "alarm(3);",
        scenario: "auto_restart::the_time_is_looked_at_every_second",
        notices: "+worker <W1> died unexpectedly with status:256, restarting",
    },
    Mutant {
        name: "any file is removed at the end",
        text: "-S $_ and unlink $_",
        replacement: "unlink $_",
        scenario: "sockets::another_file_in_the_place_of_a_socket_stays",
        notices: "-app.sock file 0644",
    },
    Mutant {
        name: "listeners that are opened anew",
        text: r#"print STDERR "received HUP, spawning a new worker\n";"#,
        replacement: altered::LISTENERS_OPENED_ANEW,
        scenario: "connections::those_who_wait_are_served_after_a_restart",
        notices: "+who waited at the port: reset",
    },
];

#[test]
fn each_mutant_is_noticed() {
    let original = Programs::find().original;
    // Side by side, because scenarios wait much more than they compute.
    let missed: Vec<String> = thread::scope(|scope| {
        let runs = MUTANTS.each_ref().map(|mutant| scope.spawn(|| mutant.is_missed(&original)));
        runs.into_iter().filter_map(|run| run.join().expect("the mutant is made and run")).collect()
    });
    assert!(missed.is_empty(), "{}", missed.concat());
}

#[test]
fn the_original_equals_itself() {
    let original = Programs::find().original;
    thread::scope(|scope| {
        for scenario in MUTANTS.map(|mutant| mutant.scenario) {
            let original = &original;
            scope.spawn(move || assert_eq!(judged(original, scenario).0, Verdict::Equal, "{scenario}"));
        }
    });
}

impl Mutant {
    /// What its scenario said instead of what it should have noticed. A busy machine may hide what is a matter of a second,
    /// so that it is looked at again.
    fn is_missed(&self, original: &Path) -> Option<String> {
        let altered = Altered::of(original, self.text, self.replacement);
        let mut missed = None;
        for _ in 0..3 {
            let (verdict, difference) = judged(&altered.program(), self.scenario);
            let is_noticed =
                verdict == Verdict::Different && difference.lines().any(|line| line.starts_with(self.notices));
            if is_noticed {
                return None;
            }
            missed = Some(format!("{}: {} says {verdict:?}\n{difference}", self.name, self.scenario));
        }
        missed
    }
}

/// What a scenario says when `candidate` stands in our place, and the difference.
fn judged(candidate: &Path, scenario: &str) -> (Verdict, String) {
    let programs = on::Programs { original: Programs::find().original, ours: candidate.to_owned() };
    let entry = catalogue::all().into_iter().find(|entry| entry.name == scenario).expect("a scenario of this name");
    let (comparisons, end) = on::judge(&programs, None, entry.run);
    assert_eq!(end, Ok(()), "{scenario}");
    let [comparison] = &comparisons[..] else { panic!("{scenario} makes one comparison") };
    (comparison.verdict, on::difference(&comparison.reference, &comparison.candidate))
}
