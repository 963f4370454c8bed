//! Command lines and texts of `--port` at volume: our parser has to agree with the real `Getopt::Long` and the
//! original's own patterns, which one Perl process runs for all of them.
//!
//! Each day has other cases; `VOLUME_CASES` and `VOLUME_SEED` choose others, and a failure prints the seed.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Command, Stdio};
use std::thread;

use server_starter::program::{Failure, canonical};
use server_starter::{Error, Host, PortSpec};

use crate::harness::{Programs, Scenario, compare};
use crate::random::{Random, seeded, setting};

const CASES: u64 = 20_000;
/// This many command lines are also given to the programs themselves.
const REAL_CASES: usize = 60;

#[test]
fn command_lines() {
    let mut random = seeded("VOLUME_SEED");
    let cases: Vec<CommandLine> = (0..cases()).map(|_| CommandLine::random(&mut random)).collect();
    let script = Programs::find().original;
    let answers = ask("command_lines.pl", script.as_os_str(), cases.iter().map(CommandLine::question));
    for (case, theirs) in cases.iter().zip(answers) {
        assert_eq!(case.our_answer(), theirs, "{case:?}");
    }
}

/// Only command lines that end by themselves, before anything is opened: mistakes, `--version`, `--restart`, and a
/// missing program, also with `--stop`.
#[test]
fn command_lines_of_real_processes() {
    let mut random = seeded("VOLUME_SEED");
    let is_short = |case: &CommandLine| {
        let answer = case.our_answer();
        let asks = |name: &str| answer.contains(&format!(" {name}="));
        !asks("help") && (answer.starts_with("error") || asks("version") || asks("restart") || answer.ends_with(" --"))
    };
    let all = std::iter::repeat_with(|| CommandLine::random(&mut random));
    let cases: Vec<_> = all.filter(|case| !case.posixly_correct && is_short(case)).take(REAL_CASES).collect();
    compare(|s: &mut Scenario| cases.iter().for_each(|case| drop(s.run_bytes(&case.arguments))));
}

#[test]
fn ports() {
    let mut random = seeded("VOLUME_SEED");
    let cases: Vec<Vec<u8>> = (0..cases()).map(|_| random_port(&mut random)).collect();
    let answers = ask("ports.pl", Programs::module().as_os_str(), cases.iter().map(|case| hex(case)));
    for (case, theirs) in cases.iter().zip(answers) {
        // By the row `port-range`, ours refuses these.
        let expected = if theirs == "high" { "invalid" } else { &theirs };
        assert_eq!(describe(&PortSpec::parse(case)), expected, "{}", case.escape_ascii());
    }
}

fn cases() -> u64 {
    setting("VOLUME_CASES", CASES)
}

/// Gives all questions to a Perl program of `perl-fixtures`, which answers each with a line.
fn ask(program: &str, argument: &OsStr, questions: impl Iterator<Item = String>) -> Vec<String> {
    let program = format!("{}/perl-fixtures/{program}", env!("CARGO_MANIFEST_DIR"));
    let questions: Vec<String> = questions.collect();
    let mut perl = Command::new("perl");
    let perl = perl.arg(program).arg(argument).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut perl = perl.spawn().expect("perl");
    let mut input = perl.stdin.take().expect("it is a pipe");
    let text = questions.join("\n") + "\n";
    let writer = thread::spawn(move || input.write_all(text.as_bytes()));
    let output = perl.wait_with_output().expect("the answers");
    writer.join().expect("no panic").expect("perl reads all questions");
    let answers: Vec<String> = String::from_utf8(output.stdout).expect("ASCII").lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), questions.len(), "perl has not answered everything");
    answers
}

#[derive(Debug)]
struct CommandLine {
    posixly_correct: bool,
    arguments: Vec<Vec<u8>>,
}

impl CommandLine {
    fn random(random: &mut Random) -> Self {
        let arguments = (0..random.below(8)).map(|_| random_argument(random)).collect();
        Self { posixly_correct: random.once_in(6), arguments }
    }

    fn question(&self) -> String {
        let arguments = self.arguments.iter().map(|argument| format!(" {}", hex(argument)));
        format!("{}{}", u8::from(self.posixly_correct), arguments.collect::<String>())
    }

    /// In the form in which Perl answers.
    fn our_answer(&self) -> String {
        let arguments = self.arguments.iter().map(|argument| OsString::from_vec(argument.clone())).collect();
        match canonical(arguments, self.posixly_correct) {
            Err(Failure::Usage(messages)) => format!("error {}", hex(&[messages, b"\n".to_vec()].concat())),
            Err(error) => panic!("not a mistake in a command line: {error:?}"),
            Ok(canonical) => {
                let end = canonical.iter().position(|word| word == "--").expect("it is always there");
                let mut given: Vec<(&[u8], &[u8])> = Vec::new();
                for option in &canonical[..end] {
                    let option = &option.as_bytes()[2..];
                    let equals = option.iter().position(|&byte| byte == b'=');
                    let (name, value) =
                        equals.map_or((option, b"1".as_slice()), |equals| (&option[..equals], &option[equals + 1..]));
                    if name != b"port" && name != b"path" {
                        given.retain(|&(other, _)| other != name);
                    }
                    given.push((name, value));
                }
                given.sort_by_key(|&(name, _)| name);
                let given = given.iter().map(|(name, value)| format!(" {}={}", name.escape_ascii(), hex(value)));
                let words = canonical[end + 1..].iter().map(|word| format!(" {}", hex(word.as_bytes())));
                format!("ok{} --{}", given.collect::<String>(), words.collect::<String>())
            }
        }
    }
}

const NAMES: &[&str] = &[
    "port",
    "path",
    "interval",
    "log-file",
    "pid-file",
    "dir",
    "signal-on-hup",
    "signal-on-term",
    "backlog",
    "envdir",
    "enable-auto-restart",
    "daemonize",
    "auto-restart-interval",
    "kill-old-delay",
    "status-file",
    "restart",
    "stop",
    "help",
    "version",
    "bogus",
    "no-daemonize",
    "x",
    "",
];
const VALUES: &[&str] = &["80", "", "a b", "-", "--", "--port", "x=y", "=", "0", "+", "\n", "TERM"];
const NUMBERS: &[&str] = &[
    "1",
    "0",
    "-1",
    "+5",
    "1_000",
    "_5",
    "5_",
    "__",
    "-_7",
    "_-7",
    "08",
    "1.5",
    "1e3",
    "0x10",
    " 5",
    "5 ",
    "5\n",
    "5\n\n",
    "2147483647",
    "-2147483648",
    "abc",
];
const WORDS: &[&str] = &["prog", "-", "=", "", "prog arg", "--", "---", "+", "++x", "-5", "+-x"];

fn random_argument(random: &mut Random) -> Vec<u8> {
    if random.once_in(4) {
        // Numbers can become the value of the option before.
        let words = if random.once_in(3) { NUMBERS } else { WORDS };
        return random.choose(words).as_bytes().to_vec();
    }
    let name = random.choose(NAMES);
    let length = if random.once_in(2) { name.len() } else { 1 + random.below(name.len().max(1)) };
    let change_case = |byte: u8, random: &mut Random| if random.once_in(9) { byte.to_ascii_uppercase() } else { byte };
    let mut argument = random.choose(&["--", "--", "--", "-", "+"]).as_bytes().to_vec();
    argument.extend(name.bytes().take(length).map(|byte| change_case(byte, random)).collect::<Vec<_>>());
    if random.once_in(2) {
        argument.push(b'=');
        let values = if random.once_in(2) { VALUES } else { NUMBERS };
        argument.extend(random.choose(values).bytes());
    }
    if random.once_in(12) {
        let position = random.below(argument.len() + 1);
        argument.insert(position, *random.choose(&[&0xff, &b'\n', &b' ', &b'.', &b'=', &0xc3]));
    }
    argument
}

fn random_port(random: &mut Random) -> Vec<u8> {
    const PIECES: &[&str] = &[
        "80",
        "8080",
        "0",
        "007",
        "65535",
        "u",
        "u",
        "U",
        ":",
        ":",
        ":",
        "::",
        "::1",
        "[",
        "]",
        "[::1]",
        "=",
        "=5",
        "=05",
        " ",
        "\t",
        "\n",
        "\x0b",
        "127.0.0.1",
        "localhost",
        "a-b",
        "fe80::1%lo",
        "::ffff:1.2.3.4",
        "1:2:3:4:5:6:7:8",
        "x",
        "-",
        "*",
        ";",
        ",",
    ];
    let mut text: Vec<u8> = match random.below(4) {
        0 => format!("{}{}", random.choose(&["", "u", " "]), random.below(66_000)).into(),
        1 => format!("{}:{}", random.choose(&["127.0.0.1", "[::1]", "::1", "[ ::1 ]", "", "*"]), random.below(66_000))
            .into(),
        _ => Vec::new(),
    };
    for _ in 0..random.below(7) {
        text.extend(random.choose(PIECES).bytes());
    }
    if random.once_in(15) {
        let position = random.below(text.len() + 1);
        text.insert(position, u8::try_from(random.below(255) + 1).expect("a byte"));
    }
    text
}

/// In the form in which Perl answers.
fn describe(parsed: &Result<PortSpec, Error>) -> String {
    let spec = match parsed {
        Ok(spec) => spec,
        Err(error) if error.to_string().starts_with("No support for IPv6") => return "no-ipv6".into(),
        Err(error) if error.to_string().starts_with("dup2(2) failed") => return "no-fd".into(),
        Err(_) => return "invalid".into(),
    };
    let host = match &spec.host {
        Host::Any => "none".into(),
        Host::V6(address) => hex(&address.octets()),
        Host::Named(name) => hex(name),
    };
    let fd = spec.target.as_ref().map_or("none".into(), |target| hex(&target.text));
    format!("{} {} {host} {} {fd}", if spec.is_udp { "u" } else { "t" }, hex(&spec.name), spec.port)
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let text: String = digits.map(|digit| char::from_digit(digit.into(), 16).expect("it is below 16")).collect();
    if text.is_empty() { "-".into() } else { text }
}
