//! Writes what is made from the declaration of the command line, the man page and the shell completions, into a directory:
//! `cargo run --example generate_docs examples/packaging`. A test checks that what is there is current.

use std::any::TypeId;
use std::env;
use std::error::Error;
use std::fs;
use std::io;
use std::iter;
use std::path::{Path, PathBuf};

use clap::{Arg, Id, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = env::args_os().nth(1).ok_or("usage: generate_docs DIRECTORY")?;
    for (name, content) in files()? {
        let path = Path::new(&directory).join(name);
        fs::create_dir_all(path.parent().ok_or("no directory")?)?;
        fs::write(path, content)?;
    }
    Ok(())
}

/// The files, by their names in the directory.
pub(crate) fn files() -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    Ok(vec![
        ("start_server.1".into(), man_page()?),
        ("completions/start_server.bash".into(), completion(Shell::Bash)),
        ("completions/_start_server".into(), completion(Shell::Zsh)),
        ("completions/start_server.fish".into(), completion(Shell::Fish)),
        // Not for packages, but for the program itself.
        ("../../src/cli/generated.rs".into(), server_starter::program::generated().into()),
    ])
}

fn completion(shell: Shell) -> Vec<u8> {
    let signals = ["HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "WINCH"];
    let mut command = server_starter::program::command()
        // zsh takes the colon of [HOST:]PORT for one of its own.
        .mut_arg("port", |arg| arg.value_name("PORT"))
        .mut_arg("signal-on-hup", |arg| arg.value_parser(signals))
        .mut_arg("signal-on-term", |arg| arg.value_parser(signals))
        .mut_arg("ready", |arg| arg.value_parser(["interval", "notify", "accepting"]))
        .mut_arg("program", |arg| arg.trailing_var_arg(true).value_hint(ValueHint::CommandWithArguments))
        .mut_args(|arg| match arg.get_help().map(|help| help.to_string().replace('\n', " ")) {
            Some(help) => arg.help(help),
            None => arg,
        });
    let is_number = |arg: &&Arg| arg.get_value_parser().type_id() == TypeId::of::<i32>();
    let numbers: Vec<Id> = command.get_arguments().filter(is_number).map(|arg| arg.get_id().clone()).collect();
    // Nobody can offer their values, and files would be offered otherwise.
    for number in iter::once("port".into()).chain(numbers) {
        command = command.mut_arg(number, |arg| arg.value_hint(ValueHint::Other));
    }
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "start_server", &mut text);
    // What is behind "--" is the program's. Of the three, zsh knows that by itself.
    match shell {
        Shell::Bash => {
            let text = String::from_utf8_lossy(&text)
                .replace("complete -F _start_server ", "complete -F _start_server_or_program ");
            let (functions, registration) = text.split_at(text.rfind("\nif [[").unwrap_or(text.len()));
            [functions, BASH_PROGRAM, registration].concat().into()
        }
        Shell::Fish => [text, FISH_PROGRAM.into()].concat(),
        _ => text,
    }
}

const BASH_PROGRAM: &str = r#"
_start_server_or_program() {
    local word
    for ((word = 1; word < COMP_CWORD; word++)); do
        if [[ ${COMP_WORDS[word]} == -- ]]; then
            if declare -F _command_offset >/dev/null; then
                _command_offset $((word + 1))
            elif ((word + 1 == COMP_CWORD)); then
                mapfile -t COMPREPLY < <(compgen -c -- "${COMP_WORDS[COMP_CWORD]}")
            else
                mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
            fi
            return
        fi
    done
    local name="$3" value="$2" prefix=
    if [[ $name == = ]]; then
        # bash takes "=" for a word, unless COMP_WORDBREAKS says otherwise.
        name="${COMP_WORDS[COMP_CWORD - 2]}"
    elif [[ $value == --*=* ]]; then
        name="${value%%=*}" prefix="${value%%=*}=" value="${value#*=}"
        local COMP_CWORD=$((COMP_CWORD + 1))
    fi
    if [[ $name == --approve ]]; then
        mapfile -t COMPREPLY < <(compgen -c -- "$value")
    else
        _start_server "$1" "$value" "$name"
    fi
    COMPREPLY=("${COMPREPLY[@]/#/$prefix}")
}
"#;

const FISH_PROGRAM: &str = r"
function __start_server_program
    set -l words (commandline -opc) (commandline -ct)
    set -l at (contains -i -- -- $words)
    and complete -C (string join ' ' -- $words[(math $at + 1)..-1])
end
complete -c start_server -n 'contains -- -- (commandline -opc)' -f -a '(__start_server_program)'
";

fn man_page() -> io::Result<Vec<u8>> {
    let command = server_starter::program::command();
    // A date would make it another page every day.
    let version = format!("start_server {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title("START_SERVER").date("\"\"").source(version).manual("");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    section("OPTIONS", OPTIONS).to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    for (title, parts) in SECTIONS {
        section(title, parts).to_writer(&mut page)?;
    }
    let mut page = String::from_utf8(page).map_err(io::Error::other)?;
    // The groups of options are parts of one section.
    for heading in command.get_arguments().filter_map(|arg| arg.get_help_heading()) {
        page =
            page.replace(&format!(".SH {}\n", quoted(&heading.to_uppercase())), &format!(".SS {}\n", quoted(heading)));
    }
    // Each piece begins with the same definitions.
    let (definitions, rest) = page.split_at(page.find(".TH").unwrap_or(0));
    Ok([definitions, &rest.replace(definitions, "")].concat().into())
}

/// As an argument of a control line.
fn quoted(text: &str) -> String {
    if text.contains(' ') { format!("\"{text}\"") } else { text.to_owned() }
}

/// A part of a section of the man page.
enum Part {
    Text(&'static str),
    /// What is explained, and the explanation.
    Item(&'static str, &'static str),
    /// Lines as they are typed.
    Code(&'static str),
}
use Part::{Code, Item, Text};

fn section(title: &str, parts: &[Part]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (index, part) in parts.iter().enumerate() {
        match part {
            // A heading begins a paragraph.
            Text(text) if index == 0 => roff.text([roman(*text)]),
            Text(text) => roff.control("PP", []).text([roman(*text)]),
            Item(name, text) => roff.control("TP", []).text([bold(*name)]).text([roman(*text)]),
            Code(lines) => {
                roff.control("PP", []).control("RS", ["4"]).control("nf", []);
                for line in lines.lines() {
                    roff.text([roman(line)]);
                }
                roff.control("fi", []).control("RE", [])
            }
        };
    }
    roff
}

const OPTIONS: &[Part] = &[
    Text(
        "Options, but not those beyond Server::Starter, may be abbreviated as long as that is unambiguous, and written in \
         any case and with one dash. They stand before or between the words of PROGRAM; what follows \"--\" is PROGRAM. The value follows after = or as the \
         next argument. Of an option that is given twice, the last one counts; --port and --path add up. SECS and N \
         are whole numbers. If POSIXLY_CORRECT is set, options end at the first word that is none, and are not \
         abbreviated.",
    ),
    Text(
        "Where a variable is named: the option wins over the variable of the environment, and a file of that name in \
         the envdir wins over both.",
    ),
];

const SECTIONS: &[(&str, &[Part])] = &[
    (
        "LIFE CYCLE",
        &[
            Text(
                "At start, the options are checked, the envdir is read, the log is opened, the listeners are opened, the \
                 pid file is locked and written, and the first worker is started. A worker that is alive after \
                 --interval seconds (with --ready: that is ready) has started, becomes the current one and appears in \
                 the status file. One that has died by then is reported, and the next one is started.",
            ),
            Text(
                "On HUP, the next worker is started while the current one serves. Only when it has started, and \
                 --kill-old-delay seconds have passed, the old one gets the signal of --signal-on-hup. It finishes what it \
                 is doing and stays in the status file until it has ended.",
            ),
            Text(
                "When the current worker dies, the next one is started at once. On TERM, QUIT or INT, all workers are stopped, \
                 and when the last one has ended, pid file, sockets and status file are removed.",
            ),
        ],
    ),
    (
        "SIGNALS",
        &[
            Item(
                "HUP",
                "Restart: start a new worker, wait --interval seconds, and if it is alive then, wait --kill-old-delay \
                 seconds and send the old workers the signal of --signal-on-hup. Old workers may take the time they \
                 need. HUPs that come meanwhile wait; one restart answers all that wait when it begins.",
            ),
            Item(
                "TERM, QUIT, INT",
                "Shutdown: on TERM and QUIT, send all workers the signal of --signal-on-term, on INT always TERM; wait for \
                 their end, however long that takes, and exit. A shutdown goes before everything that waits. Further \
                 signals mean nothing by then.",
            ),
            Item(
                "USR1",
                "Open the file of --log-file again, after it has been renamed, for the superdaemon and all workers that are \
                 started from now on. A worker that runs keeps the old file until it is replaced. Each start of a worker \
                 looks by itself whether the name leads to another file by then.",
            ),
            Item(
                "USR2",
                "Let the program on disk go on in the place of this one, if it is another one by now: what --upgrade asks for. \
                 Nothing if it is the same.",
            ),
            Item("ALRM", "Read the envdir, and look whether an automatic restart is due."),
        ],
    ),
    (
        "FILES",
        &[
            Text(
                "Relative names are relative to the directory that start_server is started in, never to --dir. The pid \
                 file, the sockets and the status file are removed at the end, unless other files have taken their \
                 places.",
            ),
            Item(
                "pid file",
                "The pid in decimal and a newline. The superdaemon holds an exclusive lock on it, flock(2), all its \
                 life, so a file that isn't locked is a stale one. The lock is the last thing that is given up.",
            ),
            Item(
                "status file",
                "A line GENERATION:PID for each worker, the current one and old ones that have not ended, sorted as \
                 strings (10: comes before 9:). It appears when the first worker has started, and is always replaced \
                 as a whole, by renaming FILE.PID, PID being that of the superdaemon. With options that Server::Starter \
                 doesn't have, a worker that has died leaves it at once; otherwise when there is another one.",
            ),
            Item(
                "status file with .failed appended",
                "Only with options that Server::Starter doesn't have, and while starts fail: the generation of the last attempt, \
                 with \"goes on\" behind it until the restart is given up, and lines that say why it has failed. \
                 --restart reads it where the superdaemon can't tell that itself. It goes when a worker has started.",
            ),
            Item(
                "pid file with .upgrade appended",
                "There while --upgrade waits for an answer, which the superdaemon writes to it.",
            ),
            Item(
                "$TMPDIR/start_server.XXXXXX",
                "Only with --ready=notify: a directory with the sockets that workers write to. Workers must be able to \
                 reach it. Without TMPDIR, it is in /tmp.",
            ),
            Item(
                "log file",
                "Opened for appending, and created if need be; opened again on USR1 and before each start of a worker, if it \
                 has been renamed. What is said is not dated.",
            ),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            Text("start_server reads these variables, and so do its workers, since they inherit all variables."),
            Item("ENVDIR", "Like --envdir."),
            Item("ENABLE_AUTO_RESTART", "Like --enable-auto-restart, unless it is empty or 0."),
            Item("AUTO_RESTART_INTERVAL", "Like --auto-restart-interval, in seconds."),
            Item("KILL_OLD_DELAY", "Like --kill-old-delay, in seconds."),
            Item(
                "PATH",
                "Where PROGRAM is looked for if its name has no slash: the PATH that the worker gets, so that a file \
                 PATH in the envdir counts.",
            ),
            Text("It sets these for workers:"),
            Item(
                "SERVER_STARTER_PORT",
                "NAME=FD for each listener, joined by semicolons: all --port in their order, then all --path. NAME is \
                 what was given: 8080, 127.0.0.1:8080, [::1]:8080 (without the u of a UDP port), or the file of a \
                 socket, which may hold a =, so FD follows the last one. Empty if there are no listeners.",
            ),
            Item(
                "SERVER_STARTER_GENERATION",
                "Which attempt to start a worker this is, counted from 1. Attempts that fail count, too.",
            ),
            Item("NOTIFY_SOCKET", "With --ready=notify, what the worker tells that it is ready; see READINESS."),
            Item(
                "LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES",
                "With --listen-fds, the same listeners as systemd hands them over, see sd_listen_fds(3): how many, from \
                 descriptor 3 on, and for which process, which must be PROGRAM itself: it must not be started by a \
                 wrapper that stays. The name of a listener is that of SERVER_STARTER_PORT, or systemd's own for one \
                 that came from there, with _ for each character that is not allowed in it, above all the colon.",
            ),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            Item(
                "0",
                "All workers have ended after TERM, QUIT or INT, whatever their own status was; --restart, --stop, --upgrade \
                 or --take-over has succeeded; --help or --version has been printed; with --daemonize, the superdaemon is \
                 running.",
            ),
            Item("1", "The options are wrong: each mistake is reported. Or the version could not be printed."),
            Item(
                "3",
                "--restart, --stop, --upgrade, --take-over: the superdaemon isn't running, or has ended meanwhile.",
            ),
            Item(
                "123",
                "--restart: the time of --restart-timeout is over. The new version serves, and old workers have not ended yet: \
                 they finish what they have begun.",
            ),
            Item(
                "124",
                "--restart: the time of --restart-timeout is over, and the new version doesn't serve. The restart continues. --upgrade: no answer within a minute. \
                 --take-over: within 10 seconds, the superdaemon has not finished the start of a worker, and keeps running; or \
                 this program has not arrived in its process.",
            ),
            Item(
                "125",
                "As many starts have failed as --max-start-failures allows, or the worker was not approved: with --restart, the \
                 restart was given up, the old worker keeps running if there is one, and what was refused has ended; otherwise, no \
                 worker serves, and everything has been removed. With --upgrade and --take-over: refused, for the reason that is given, and the running program keeps running.",
            ),
            Item(
                "255",
                "An error without a number of the system's: there is no PROGRAM, an option lacks another one that it \
                 needs, a port is no port, there is no such signal. --restart: it is over, but no client can connect to a \
                 unix socket, whose file is gone or another's.",
            ),
            Item(
                "errno",
                "The number of the system's error, for any other error. On Linux: 1 operation not permitted (--take-over: the \
                 superdaemon may not be traced), 2 no such file or directory, 3 no such process, 13 permission denied, 98 address already in use.",
            ),
            Text(
                "--show-status has its own, as the Linux Standard Base has it: 0 if the superdaemon is running and a worker serves, \
                 150 if it is running and no worker serves or it is stopping, 1 if it is dead but has a pid file, 3 if there is no pid file, 4 if \
                 that can't be known. Of the original, without --status-file, 0 only means that it is running and has workers.",
            ),
            Text(
                "But for --max-start-failures and --end-without-worker, errors occur at start only, before the first worker, and no \
                 worker that fails ends the superdaemon. \
                 Statuses of workers in messages are those of wait(2): 256 is exit code 1, 9 is signal KILL.",
            ),
        ],
    ),
    (
        "THE WORKER",
        &[
            Text("PROGRAM has three duties:"),
            Item(
                "take its listeners",
                "from SERVER_STARTER_PORT. They are open and listening, in blocking mode. All workers share them, so \
                 that a flag such as O_NONBLOCK, once set, is set for the other workers too; start_server itself \
                 changes nothing about them after start.",
            ),
            Item("fail early", "If it can't serve, it exits within --interval seconds of its start."),
            Item(
                "end gracefully",
                "On TERM, or the signal that was chosen, it accepts no more connections, finishes what it has begun, \
                 and exits. It is asked once and, unless there is a --kill-timeout, never killed.",
            ),
            Text(
                "Standard input, output and error are those of the superdaemon: with --log-file, output and error go \
                 to the log; with --daemonize, input is /dev/null. SIGPIPE is ignored. PROGRAM must stay in the \
                 foreground: a parent that exits is a worker that has died. When a current worker dies, the next one \
                 is started at once.",
            ),
        ],
    ),
    (
        "READINESS",
        &[
            Text(
                "Without --ready, a worker has started when it has lived for --interval seconds, whatever it is doing by \
                 then. With --ready, it takes over when it is ready, be that sooner or later. A worker that dies \
                 before is noticed at once.",
            ),
            Item(
                "--ready=notify",
                "The worker gets a NOTIFY_SOCKET of its own, the file of a unix datagram socket, and sends READY=1 to \
                 it, by itself or through another program that it tells the name, which can't be guessed. The sender \
                 may have ended when the message is read. Its user has to be that of the worker, or of one of its \
                 descendants, that of the superdaemon, or root. Other messages mean nothing.",
            ),
            Item(
                "--ready=accepting",
                "The worker is looked at again and again, in /proc: it is ready when a thread of it, or of a descendant, \
                 sleeps in accept(2), or in epoll_wait(2), poll(2) or select(2) with a listener in the set (of a UDP \
                 port, also in recvfrom(2) and the like); or, if it never seems to wait, when it has a connection to a \
                 listener. Of a server with many processes, the first one counts. That needs the right to trace it: the \
                 same user, or root, and a kernel.yama.ptrace_scope of 0 or 1. Not seen are servers that open another \
                 socket (SO_REUSEPORT), programs of another word size, and a worker that has changed its user, unless the \
                 superdaemon has CAP_SYS_PTRACE.",
            ),
            Text(
                "A worker that isn't ready in time gets the signal of --signal-on-hup. If it ignores that, it stays, so \
                 use --kill-timeout with it.",
            ),
        ],
    ),
    (
        "APPROVAL",
        &[
            Text(
                "--approve=COMMAND is for a health check, a smoke test or a person, before a new worker takes over. New and old \
                 worker share the listeners, so a request to them may be answered by the old one, and proves nothing. These \
                 reach the new one:",
            ),
            Item("a file that it writes", "The worker writes its version when it has warmed up:"),
            Code("start_server --approve='test -e /run/app/warm.$APPROVE_NEW_PID' ..."),
            Item("a socket of its own", "The worker also listens to a unix socket that is named after its generation:"),
            Code(
                "start_server --approve='curl --silent --fail --unix-socket \\\n    \
                 /run/app/$APPROVE_NEW_GENERATION.sock http://app/health' ...",
            ),
            Item(
                "a page that tells who answers",
                "Asked again until the pid is that of the new worker, or of one of its children:",
            ),
            Code(
                "start_server --approve='until curl --silent http://127.0.0.1:8080/pid | \\\n    \
                 grep --quiet --line-regexp \"$APPROVE_NEW_PID\"; do sleep 0.1; done' ...",
            ),
            Item("a person", "Who looks at the new version, and decides within --ready-timeout:"),
            Code("start_server --ready-timeout=900 --approve='rm -f ok; until test -e ok; do sleep 1; done' ..."),
        ],
    ),
    (
        "SERVICE MANAGERS",
        &[
            Text(
                "With --sd-notify, a unit can have Type=notify, and with systemd 253 or later Type=notify-reload: a reload \
                 is over when the restart is. But systemd takes a restart that was given up for a success, so let \
                 ExecReload run --restart where that matters. The messages come from the superdaemon itself \
                 (NotifyAccess=main).",
            ),
            Text(
                "With --from-systemd, the listeners of the unit's sockets come first in SERVER_STARTER_PORT: TCP and UDP \
                 ports and unix stream sockets. The names are 8080 for all IPv4 addresses, 127.0.0.1:8080, [::]:8080 \
                 (which systemd opens for IPv4, too), [::1]:8080, the file of a socket, or @ and an abstract name. \
                 Their files are systemd's, and stay.",
            ),
        ],
    ),
    (
        "EXAMPLES",
        &[
            Text("Serve a Plack application:"),
            Code(
                "start_server --port=8080 --pid-file=app.pid --status-file=app.status -- \\\n    \
                 plackup -s Starlet app.psgi",
            ),
            Text("Deploy, and go on when only the new worker is left; then stop:"),
            Code(
                "start_server --restart --pid-file=app.pid --status-file=app.status\n\
                 start_server --stop --pid-file=app.pid",
            ),
            Text("Know whether a deploy has succeeded, whatever time the application takes to load:"),
            Code(
                "start_server --port=8080 --pid-file=app.pid --status-file=app.status \\\n    \
                 --ready=accepting --max-start-failures=3 --kill-timeout=60 -- \\\n    \
                 plackup -s Starlet app.psgi\n\
                 start_server --restart --restart-timeout=120 --pid-file=app.pid --status-file=app.status",
            ),
            Text("Deploy a program that knows socket activation, and says itself when it is ready:"),
            Code("start_server --port=8000 --listen-fds --ready=notify -- gunicorn --preload app:app"),
            Text("Run in the background, on one address only, a server that ends gracefully on QUIT:"),
            Code(
                "start_server --daemonize --log-file=app.log --pid-file=app.pid \\\n    \
                 --port=127.0.0.1:8080 --signal-on-hup=QUIT --signal-on-term=QUIT -- \\\n    \
                 starman --workers 4 app.psgi",
            ),
        ],
    ),
    (
        "QUESTIONS",
        &[
            Item(
                "How are logs rotated?",
                "By USR1 after the renaming, or by copytruncate of logrotate(8), as the superdaemon and its workers \
                 append; both stanzas follow. The first loses nothing, but a running worker writes to the old file until \
                 it is replaced, hence delaycompress. The second loses what is written while the file is cut. Or by a \
                 command as the log: --log-file='| cronolog /var/log/app.%Y%m%d'.",
            ),
            Code(
                "/var/log/app.log {\n    daily\n    delaycompress\n    compress\n    postrotate\n        \
                 start_server --show-status --pid-file=/run/app/pid >/dev/null &&\n            \
                 kill -USR1 $(cat /run/app/pid) || true\n    endscript\n}\n\n\
                 /var/log/app.log {\n    daily\n    compress\n    copytruncate\n}",
            ),
            Item(
                "How does a deploy script know that it failed?",
                "By the exit status of --restart, with --ready and --max-start-failures at the start and --restart-timeout: \
                 0 and 123 mean that the new version serves, 124 and 125 that it doesn't, 3 that the superdaemon is gone, and \
                 anything else that nothing was asked for. \"--restart || start\" is wrong therefore.",
            ),
            Item(
                "What does a worker get?",
                "The listeners as open descriptors, named by SERVER_STARTER_PORT; the generation; the variables of the envdir; \
                 the standard descriptors; nothing else that the superdaemon has opened. See THE WORKER.",
            ),
            Item(
                "How does it run under systemd?",
                "In the foreground with Type=simple, or Type=notify and --sd-notify; with ExecReload=start_server --restart \
                 ..., so that a reload succeeds only when the new version serves. See SERVICE MANAGERS; unit files are in \
                 /usr/share/doc/start-server/examples.",
            ),
            Item(
                "How does nginx reach it by a unix socket?",
                "--path=/run/app/app.sock, and \"server unix:/run/app/app.sock;\" in an upstream of nginx. The socket has mode \
                 0777: who may reach its directory may connect.",
            ),
            Item(
                "Why is a host name not found that getent(1) knows?",
                "The program of the packages is linked statically, and looks up names in /etc/hosts and in DNS only, not by \
                 mDNS, LDAP, systemd-resolved or nss-myhostname. Give the address, or build it with scripts/package \
                 --dynamic.",
            ),
            Item(
                "How does the running Perl original become this program?",
                "By start_server --take-over --pid-file=FILE, as root or as its user. Its process, listeners, workers and log \
                 stay, and no connection is refused. If it is refused, nothing has changed; switching.md (installed in \
                 /usr/share/doc/start-server/docs) says what to do then. Stop and start does it, too.",
            ),
            Item(
                "How is start_server itself updated?",
                "Install the new version, and let it go on in the place of the running one: start_server --upgrade \
                 --pid-file=FILE. Its process, listeners, workers and log stay, and no connection is refused. It must be \
                 the same path that the running one was started by, or a link there. If the new program can't go on, the \
                 running one keeps running, and says why. Until then, --restart and --stop of the new \
                 program work with the old one. Stop and start does it, too; the listeners are closed for that moment.",
            ),
            Item(
                "What happens if a new version crashes?",
                "The old one serves on. The start is tried again for ever, with the envdir as it is by then, or until \
                 --max-start-failures. To go back, put the old version in place: the next attempt takes it.",
            ),
            Item(
                "What do Ctrl-C and a closed terminal do?",
                "Ctrl-C is INT: all workers get TERM, and start_server waits for their end, however long that takes; a \
                 second Ctrl-C does nothing, except that the terminal sends it to workers of the same process group, too. \
                 A terminal that closes sends HUP: a restart, after which everything goes on unseen. That is as in the \
                 original. To stop, use --stop, or kill -TERM.",
            ),
            Item(
                "Which time limits are there?",
                "--ready-timeout for a worker to become ready, --kill-timeout for one to end, --restart-timeout for --restart \
                 to wait. Without them, nothing is limited.",
            ),
            Item(
                "How is the state seen?",
                "By --show-status, also of a running original. With --quiet, that is a probe: 0 only if a worker serves. In the status file there is a line GENERATION:PID for each \
                 worker; one line means that a restart is over. With --sd-notify also in systemctl status.",
            ),
            Item(
                "What does \"seems to have failed to start\" mean?",
                "The worker has died before it had started; the status is that of wait(2), so 256 is exit code 1 and 9 is \
                 KILL. What the program said itself is in the log above that line. A program that puts itself into the \
                 background is seen as one that dies.",
            ),
        ],
    ),
    (
        "MESSAGES",
        &[
            Text("Lines that the original doesn't have, beside those of options that it doesn't have:"),
            Item(
                "envdir: NAME is left out",
                "It is no file (a fifo, a terminal), or longer than a variable can be (128 KiB). Said once.",
            ),
            Item(
                "N lines are lost here, as nobody has read this log",
                "Who reads the log had stopped reading, and the pipe was full. The service went on. A log file never fills \
                 up so.",
            ),
            Item(
                "a worker has shut down the listener NAME",
                "It has called shutdown(2) on the listener, which is everybody's, instead of closing it: a fault of the \
                 server. A TCP port listens again; a unix socket can't, until start_server is started anew.",
            ),
            Item(
                "the file of the socket FILE is gone",
                "A worker or a clean-up job has removed it, and no client can connect any more. The next worker gets a new \
                 socket there; --restart starts one. If a worker removes it when it is stopped, as asyncio of Python 3.13 does, \
                 it is put back, and a line says so: asyncio's cleanup_socket=False spares it.",
            ),
            Item(
                "the file of the socket FILE is another's now",
                "Another process has removed it, and listens there. It is left alone, and clients reach that process.",
            ),
            Item(
                "connections wait at NAME for more than 10 seconds, and no worker waits for them",
                "With --ready=accepting. The server takes other listeners than this one, or hangs. Some servers take one of \
                 several.",
            ),
            Item(
                "FILE is the file of another process by now, and is left alone",
                "Something else has replaced the status file, perhaps a second superdaemon with the same name. It isn't \
                 written any more, so --restart can't see the end of a restart. Remove the file: the next change writes it \
                 again.",
            ),
            Item(
                "failed to send SIGNAL to worker PID",
                "The worker runs as a user that the superdaemon may not signal, and has to be stopped by somebody else.",
            ),
            Item(
                "worker PID was killed by SIGKILL, for lack of memory",
                "With options of ours, behind the line about a death: the signal, and that the kernel has counted a process of \
                 this control group that it has killed for lack of memory.",
            ),
        ],
    ),
    (
        "DIFFERENCES",
        &[Text(
            "Whatever can be observed is as in Server::Starter 0.35, except for what is listed in differences.md \
             (installed in /usr/share/doc/start-server/docs).",
        )],
    ),
    (
        "SEE ALSO",
        &[Text(
            "start_server(1p), Server::Starter(3pm), plackup(1p), systemd.service(5), sd_notify(3), sd_listen_fds(3)",
        )],
    ),
];
