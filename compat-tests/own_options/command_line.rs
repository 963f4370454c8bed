//! Our own options are known by their full names alone, and bad values are refused before anything is done.

use std::collections::BTreeSet;

use server_starter::program;

use crate::harness::{Scenario, compare, ours_alone};

/// The names of our own options.
fn own() -> Vec<String> {
    let command = program::command();
    let own = command.get_arguments().filter(|arg| arg.get_help_heading() == Some("Beyond Server::Starter"));
    own.filter_map(|arg| arg.get_long()).map(str::to_owned).collect()
}

/// Anything but two dashes and the full name means the same as to the original, with the same messages. Each option has
/// a value that provokes a message: the option takes none, or a number.
#[test]
fn nothing_but_the_full_name_is_an_option_of_ours() {
    let names = own();
    assert_eq!(names.len(), 19);
    let beginnings = names.iter().flat_map(|name| (1..name.len()).map(|length| &name[..length]));
    let beginnings: BTreeSet<&str> =
        beginnings.filter(|&beginning| !names.iter().any(|name| name == beginning)).collect();
    let mut options: Vec<String> = beginnings.iter().map(|beginning| format!("--{beginning}=x")).collect();
    for name in &names {
        let (other_case, underscores) = (name.to_uppercase(), name.replace('-', "_"));
        let capital = format!("{}{}", &other_case[..1], &name[1..]);
        options.extend([format!("--no-{name}"), format!("--{name}s=x"), format!("---{name}"), format!("-{name}=x")]);
        options.extend([&other_case, &capital].map(|name| format!("--{name}=x")));
        // Without a dash in the name, this would be an option of ours.
        options.extend(name.contains('-').then(|| format!("--{underscores}=x")));
    }
    // With POSIXLY_CORRECT, these aren't options.
    options.extend(names.iter().map(|name| format!("+{name}=x")));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    // Lines of ours may follow those of the original, by the row `own-option-mistyped`.
    let run = |s: &mut Scenario, options: &[&str]| {
        let output = s.run_unrecorded(options);
        let lines = output.stderr.lines().filter(|line| !line.starts_with("Did you mean --"));
        let said: Vec<&str> = lines.chain([output.stdout.as_str(), output.end.as_str(), ""]).collect();
        s.write("said", &said.join("\n"));
        s.show("said");
    };
    compare(|s| {
        for _ in 0..2 {
            run(s, &options);
            for option in ["--l", "--li", "--r", "--res", "--k", "--m", "--f", "--s", "--sd", "-ready", "-kill-timeout"]
            {
                run(s, &["--version", "--bogus", option]);
                run(s, &["--port=80x", option, "prog"]);
            }
            s.env("POSIXLY_CORRECT", "1");
        }
    });
}

/// Options, the exit code, and the message.
const REFUSED: &[(&[&str], &str, &str)] = &[
    (&["--ready="], "exit 1", "Option ready requires an argument\n"),
    (&["--ready", ""], "exit 255", "invalid ``ready'' value: (interval, notify or accepting)\n"),
    (&["--ready=foo"], "exit 255", "invalid ``ready'' value:foo (interval, notify or accepting)\n"),
    (&["--ready=Notify"], "exit 255", "invalid ``ready'' value:Notify (interval, notify or accepting)\n"),
    (&["--ready=notify", "--ready=no"], "exit 255", "invalid ``ready'' value:no (interval, notify or accepting)\n"),
    (
        &["--ready=notify", "--ready-timeout=0"],
        "exit 255",
        "invalid ``ready-timeout'' value:0 (a whole number from 1 on)\n",
    ),
    (
        &["--ready=notify", "--ready-timeout=-1"],
        "exit 255",
        "invalid ``ready-timeout'' value:-1 (a whole number from 1 on)\n",
    ),
    (&["--ready-timeout=x"], "exit 1", "Value \"x\" invalid for option ready-timeout (number expected)\n"),
    (&["--ready-timeout=1.5"], "exit 1", "Value \"1.5\" invalid for option ready-timeout (number expected)\n"),
    (
        &["--ready-timeout=5"],
        "exit 255",
        "--ready-timeout option requires --ready=notify, --ready=accepting or --approve to be set as well\n",
    ),
    (
        &["--ready=interval", "--ready-timeout=5"],
        "exit 255",
        "--ready-timeout option requires --ready=notify, --ready=accepting or --approve to be set as well\n",
    ),
    (&["--approve="], "exit 1", "Option approve requires an argument\n"),
    (&["--approve", ""], "exit 255", "--approve requires a command\n"),
    (&["--approve= "], "exit 255", "--approve requires a command\n"),
    (&["--max-start-failures=0"], "exit 255", "invalid ``max-start-failures'' value:0 (a whole number from 1 on)\n"),
    (&["--max-start-failures=-3"], "exit 255", "invalid ``max-start-failures'' value:-3 (a whole number from 1 on)\n"),
    (&["--max-start-failures="], "exit 1", "Option max-start-failures requires an argument\n"),
    (&["--kill-timeout=0"], "exit 255", "invalid ``kill-timeout'' value:0 (a whole number from 1 on)\n"),
    (&["--kill-timeout=-1"], "exit 255", "invalid ``kill-timeout'' value:-1 (a whole number from 1 on)\n"),
    (
        &["--kill-timeout=9999999999"],
        "exit 1",
        "Value \"9999999999\" invalid for option kill-timeout (number expected)\n",
    ),
    (&["--stop-delay=0"], "exit 255", "invalid ``stop-delay'' value:0 (a whole number from 1 on)\n"),
    (&["--stop-delay=-1"], "exit 255", "invalid ``stop-delay'' value:-1 (a whole number from 1 on)\n"),
    (&["--stop-delay="], "exit 1", "Option stop-delay requires an argument\n"),
    (&["--stop-delay=1s"], "exit 1", "Value \"1s\" invalid for option stop-delay (number expected)\n"),
    (&["--refuse-on-stop=1"], "exit 1", "Option refuse-on-stop does not take an argument\n"),
    (
        &["--refuse-on-stop", "--from-systemd"],
        "exit 255",
        "--refuse-on-stop and --from-systemd options can't be used together, as systemd keeps the listeners\n",
    ),
    (&["--restart-timeout=5"], "exit 255", "--restart-timeout option requires --restart to be set as well\n"),
    (
        &["--restart", "--restart-timeout=0"],
        "exit 255",
        "invalid ``restart-timeout'' value:0 (a whole number from 1 on)\n",
    ),
    (
        &["--restart", "--restart-timeout=-1"],
        "exit 255",
        "invalid ``restart-timeout'' value:-1 (a whole number from 1 on)\n",
    ),
    (&["--sd-notify=1"], "exit 1", "Option sd-notify does not take an argument\n"),
    (&["--sd-notify", "--daemonize"], "exit 255", "--sd-notify and --daemonize options can't be used together\n"),
    (&["--listen-fds=yes"], "exit 1", "Option listen-fds does not take an argument\n"),
    (
        &["--from-systemd"],
        "exit 255",
        "--from-systemd: no listeners were passed: LISTEN_PID and LISTEN_FDS are not set\n",
    ),
];

/// A socket file that a start would remove, and a pid file that it would write, are left as they were.
#[test]
fn bad_values_are_refused_before_anything_is_done() {
    ours_alone(|s| {
        s.stale_socket("sock");
        s.write("pid", "4000000\n");
        s.write("st", "1:4000000\n");
        let before = s.ls();
        let files = ["--path=sock", "--pid-file=pid", "--status-file=st", "--log-file=log", "--", "$PROBE"];
        for &(options, end, complaint) in REFUSED {
            let output = s.run(&[options, &files[..]].concat());
            assert_eq!((output.end.as_str(), output.stderr.as_str()), (end, complaint), "{options:?}");
        }
        let output = s.run(&["--ready=accepting", "--pid-file=pid", "--status-file=st", "--", "$PROBE"]);
        assert_eq!(output.end, "exit 255");
        assert_eq!(output.stderr, "--ready=accepting requires something to listen to\n");
        let output = s.run(&["--refuse-on-stop", "--pid-file=pid", "--status-file=st", "--", "$PROBE"]);
        assert_eq!(output.end, "exit 255");
        assert_eq!(output.stderr, "--refuse-on-stop requires --port or --path to be set as well\n");
        s.env("NOTIFY_SOCKET", "notify");
        let output = s.run(&[&["--sd-notify"], &files[..]].concat());
        assert_eq!(output.end, "exit 255");
        assert_eq!(output.stderr, "NOTIFY_SOCKET is neither an absolute path nor an abstract address:notify\n");
        assert_eq!(s.ls(), before);
        assert_eq!((s.show("pid"), s.show("st")), ("4000000\n".into(), "1:4000000\n".into()));
    });
}

/// `--restart` and `--stop` don't check options that are for a start, just as they don't check the original's.
#[test]
fn options_for_a_start_mean_nothing_to_other_requests() {
    ours_alone(|s| {
        let output =
            s.run(&["--stop", "--pid-file=none", "--ready=foo", "--kill-timeout=0", "--sd-notify", "--daemonize"]);
        assert_eq!(output.end, "exit 2");
        assert!(output.stderr.starts_with("failed to open file:none:"), "{}", output.stderr);
    });
}

/// The original's messages stay; if options of ours are in use or meant, other lines follow.
#[test]
fn mistakes_are_explained_where_options_of_ours_are() {
    let ambiguous = "Option s is ambiguous (signal-on-hup, signal-on-term, status-file, stop)";
    let dashes = "Put the program's options after \"--\": start_server [OPTION]... -- PROGRAM [ARGUMENT]...";
    let help = "start_server --help shows every option.";
    let meant = |name| format!("Did you mean {name}? Options that Server::Starter doesn't have are spelled in full.");
    let (show, ready) = (meant("--show-status"), meant("--ready"));
    ours_alone(|s| {
        for (options, expected) in [
            (&["--kill-timeout=9", "plackup", "-s", "Starlet"][..], &[ambiguous, dashes][..]),
            (&["--kill-timeout=9", "-s", "--", "plackup"], &[ambiguous]),
            (&["--kill-timeout=9", "--user=www", "--", "plackup"], &["Unknown option: user", help]),
            (&["--show", "--pid-file=p"], &["Unknown option: show", &show]),
            (
                &["--show", "--show-stat", "--READY=notify", "--pid_file=p", "--json", "--", "prog"],
                &[
                    "Unknown option: show",
                    "Unknown option: show-stat",
                    "Unknown option: ready",
                    "Unknown option: pid_file",
                    &show,
                    &ready,
                    help,
                ],
            ),
            // Nothing here is ours.
            (&["plackup", "-s", "Starlet"], &[ambiguous]),
            (&["--pidfile=p", "--", "plackup"], &["Unknown option: pidfile"]),
            (&["--user=www", "--", "plackup", "--ready"], &["Unknown option: user"]),
        ] {
            let output = s.run(options);
            assert_eq!((output.end.as_str(), output.stderr), ("exit 1", expected.join("\n") + "\n"), "{options:?}");
        }
    });
}

#[test]
fn a_wait_for_another_superdaemon_is_said() {
    ours_alone(|s| {
        let lock = s.lock("pid");
        s.start(&["--kill-timeout=60", "--pid-file=pid", "--", "$PROBE"]);
        s.wait_line("pid is locked by another superdaemon, waiting until it exits");
        drop(lock);
        s.wait_worker(1);
        super::stop(s);
    });
}
