//! Command lines that end at once: the grammar, its messages, and which of several complaints comes first.

use crate::harness::compare;

scenarios! {
    "command_line.rs":
    abbreviations
    starters
    arguments_of_options
    integers
    flags
    repetition
    permutation
    several_errors_and_bytes
    posixly_correct
    precedence
    help
}

/// Runs each line on both programs. What a line is accepted as shows in the complaint it ends with: an invalid port, a
/// missing pid file.
///
/// A line is split at blanks; `''` is an empty word, `\s` a blank, `\n` a newline, `\xNN` a byte. `NAME=VALUE : ` in
/// front is for the environment.
fn all_end_at_once(lines: &[&str]) {
    compare(|s| {
        for line in lines {
            let (variable, words) = line.split_once(" : ").unwrap_or(("", line));
            if let Some((name, value)) = variable.split_once('=') {
                s.env(name, value);
            }
            let words: Vec<Vec<u8>> = words.split_whitespace().map(bytes_of).collect();
            s.run_bytes(&words);
        }
    });
}

/// G3 G4 G5
fn abbreviations() {
    all_end_at_once(&[
        "--p=80 prog",
        "--d=x prog",
        "--da prog",
        "--s prog",
        "--si=x prog",
        "--signal-on=x prog",
        "--st prog",
        "--e prog",
        "--P=80 prog",
        "--Si=x prog",
        "--po=80x prog",
        "--PORT=80x prog",
        "--statusfile=x prog",
        "--status_file=x prog",
        "--DAEMONIZE prog",
        "--v prog",
        "--ver prog",
        "--po prog",
        "--sto --pi=pid prog",
        "--r --pi=pid --sta=st",
    ]);
}

/// G2 G6 G14
fn starters() {
    all_end_at_once(&[
        "-port=80x prog",
        "-p=80 prog",
        "-vh prog",
        "-port80 prog",
        "-i5 prog",
        "+port=80x prog",
        "+ prog",
        "++port=80 prog",
        "---port=80 prog",
        "+version prog",
        "-5 prog",
        "-? prog",
        "-= prog",
        "--=x prog",
    ]);
}

/// G7 G8
fn arguments_of_options() {
    all_end_at_once(&[
        "--port 80x prog",
        "--port= prog",
        "--port '' prog",
        "--dir= prog",
        "--interval= prog",
        "--interval '' prog",
        "prog --port",
        "prog -i",
        "--port --path x prog",
        "--port -- prog",
        "--port -- prog -s x",
        "--interval --port 80 prog",
        "--interval -- prog",
        "--port=1=2=3 prog",
    ]);
}

/// G9
fn integers() {
    all_end_at_once(&[
        "--interval=1.5 prog",
        "--interval=0x10 prog",
        "--interval=\\s5 prog",
        "--interval=5\\n --port=80x prog",
        "--interval=+_5 --kill-old-delay=__5__ --backlog=08 --auto-restart-interval=-0 --port=80x prog",
        "--interval=_+5 prog",
        "--interval 1 --port=80x prog",
        "--interval -1 --backlog 08 --kill-old-delay 0_7 --port=80x prog",
        "--interval 1.5 prog",
        "--interval 5\\n --auto-restart-interval +5 --port=80x prog",
        "--interval=_ prog",
        "--interval=+ prog",
        "--interval=abc --backlog=def --port --nope",
        "--KILL=abc prog",
    ]);
}

/// G11 G12
fn flags() {
    all_end_at_once(&[
        "--daemonize=1 prog",
        "--daemonize= prog",
        "--HEL=1 prog",
        "--no-daemonize prog",
        "--daemonize 1 prog",
        "--stop=x prog",
    ]);
}

/// G13
fn repetition() {
    all_end_at_once(&["--interval=x --interval=4 prog", "--stop --pid-file=a --pid-file=b"]);
}

/// G1 P1
fn permutation() {
    all_end_at_once(&[
        "--port=0 prog -x --foo",
        "--port=0 plackup -s Starlet app.psgi",
        "prog --port=80x arg",
        "prog --version",
        "prog +",
        "sh -c 1",
        "prog --stop",
        "--",
        "--port=80x -- --version",
    ]);
}

/// G6 G16 G17
fn several_errors_and_bytes() {
    all_end_at_once(&[
        "--bogus -z --foo=bar +q prog",
        "--bogus --help --port",
        "-s Starlet --Foo_Bar prog --st",
        "--\\xff\\xfe prog",
        "--\\xc3\\x89=1 prog",
        "--po\\srt=1 prog",
        "--port\\n=1 prog",
        "--interval=\\xff prog",
        "--port=\\xff prog",
        "--stop --pid-file=\\xff",
    ]);
}

/// G15
fn posixly_correct() {
    all_end_at_once(&[
        "POSIXLY_CORRECT=1 : --port=80x prog -x --foo",
        "POSIXLY_CORRECT= : --po=80 prog",
        "POSIXLY_CORRECT=1 : --PORT=80x prog",
        "POSIXLY_CORRECT=1 : -port=80 prog",
        "POSIXLY_CORRECT=1 : -port 80x prog",
        "POSIXLY_CORRECT=1 : -daemonize prog",
    ]);
}

/// P1 P2 P4 LIFE-126
fn precedence() {
    all_end_at_once(&[
        "",
        "--version",
        "--version --restart --stop",
        "--restart --stop",
        "--stop --daemonize",
        "--daemonize",
        "--daemonize --log-file=x",
        "--port=80x",
        "--log-file=no/such/dir/log",
    ]);
}

/// P3: `--version` says what we are compatible with; `--help` says other words, so only its contract can be compared.
fn help() {
    compare(|s| {
        for args in [&["--help"][..], &["-h", "prog"], &["--version", "--help"]] {
            let output = s.run_unrecorded(args);
            assert_eq!((output.end.as_str(), output.stderr.as_str()), ("exit 0", ""));
            for option in ["--port", "--path", "--dir", "--interval", "--signal-on-hup", "--signal-on-term", "--help"] {
                assert!(output.stdout.contains(option), "{option} is missing in the help");
            }
        }
    });
}

fn bytes_of(word: &str) -> Vec<u8> {
    let plain = if word == "''" { String::new() } else { word.replace("\\s", " ").replace("\\n", "\n") };
    let mut parts = plain.split("\\x");
    let mut bytes = parts.next().unwrap_or("").as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).expect("two hexadecimal digits"));
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}
