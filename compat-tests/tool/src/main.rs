//! `start_server-compat`: compares any program with the original `start_server`.

#[cfg(panic = "abort")]
compile_error!("the panics of scenarios have to be caught: see the profile release-compat");

use std::fs::File;
use std::io::Write as _;
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use start_server_compat::baseline::Baseline;
use start_server_compat::catalogue::{self, Entry};
use start_server_compat::explained;
use start_server_compat::harness::{Programs, perl_script_in_path};
use start_server_compat::report::{Format, Report};
use start_server_compat::run::{Finding, Runner, State};
use start_server_compat::subject::{self, Subject};

/// Runs scenarios on two programs, side by side, and reports where they differ.
///
/// The reference is the start_server of Perl's Server::Starter; the candidate is any program that is meant to replace
/// it. Each scenario gets a grade for each kind of observation: exit codes, messages, descriptors and so on. 100 means
/// that all of a kind are equal. The exit code is 0 if all differences are on purpose, 1 if others are found (with
/// --baseline, if something got worse), and 2 if nothing can be compared.
#[derive(Parser)]
#[expect(clippy::doc_markdown, reason = "these comments are the help")]
#[expect(clippy::struct_excessive_bools, reason = "each is an option")]
#[command(version, about, max_term_width = 100, args_override_self = true)]
struct Options {
    /// The program to compare with the reference
    #[arg(long, value_name = "PATH")]
    candidate: Option<PathBuf>,
    /// The program that sets the standard [default: the original in PATH]
    #[arg(long, value_name = "PATH")]
    reference: Option<PathBuf>,
    /// Compare the reference with itself, to test the machine and this tool
    #[arg(long = "self", conflicts_with = "candidate")]
    itself: bool,
    /// The format of standard output: text, markdown, html, json, junit or badge
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = format_of)]
    format: Format,
    /// Also write a report to a file; can be repeated
    #[arg(long, value_name = "FORMAT:FILE")]
    report: Vec<String>,
    /// Show all differences, not just the ten that explain most; in JSON, include transcripts
    #[arg(long)]
    verbose: bool,
    /// Time that each wait for the candidate has at least, however fast the reference was; it grows with the load of
    /// the machine
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    wait: Duration,
    /// Number of scenarios that run at the same time [default: 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// An earlier report in JSON: only fail if something got worse since then
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// List the scenarios, with what they show
    #[arg(long)]
    list: bool,
    /// Print the lines that differ on purpose, in the form of explained.txt
    #[arg(long, hide = true)]
    explain: bool,
    /// Parts of names, such as "sockets" or "lifecycle::hup_stops"; without any, all scenarios run
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
}

fn format_of(name: &str) -> Result<Format, String> {
    Format::of(name)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "no number of seconds".to_owned())
}

fn main() -> ExitCode {
    run(&Options::parse()).unwrap_or_else(|message| {
        eprintln!("start_server-compat: {message}");
        ExitCode::from(2)
    })
}

fn run(options: &Options) -> Result<ExitCode, String> {
    let scenarios = chosen(&options.scenarios)?;
    if options.list {
        for Entry { name, sentence, .. } in scenarios {
            println!("{name}: {sentence}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut files = options.report.iter().map(|report| file_of(report)).collect::<Result<Vec<_>, _>>()?;
    let baseline = options.baseline.as_deref().map(Baseline::read).transpose()?;
    let (reference, candidate) = subjects(options)?;
    let programs = Programs { original: reference.path.clone(), ours: candidate.path.clone() };
    let machine = subject::machine();
    let runner = Runner { programs, patience: options.wait, at_a_time: options.jobs.map(usize::from) };
    // Panics of scenarios are in the report.
    panic::set_hook(Box::new(|_| ()));
    let findings = runner.run(scenarios);
    drop(panic::take_hook());
    if options.explain {
        print!("{}", explained::text(&findings));
        return Ok(ExitCode::SUCCESS);
    }
    let report = Report {
        reference: &reference,
        candidate: &candidate,
        machine,
        date: subject::date(),
        command: command(),
        verbose: options.verbose,
        findings: &findings,
    };
    for (name, format, file) in &mut files {
        file.write_all(report.in_format(*format).as_bytes()).map_err(|error| format!("{name}: {error}"))?;
    }
    // A reader that has seen enough may close the pipe.
    let _ = std::io::stdout().write_all(report.in_format(options.format).as_bytes());
    verdict(&findings, baseline.as_ref())
}

/// The scenarios whose names contain one of the parts.
fn chosen(parts: &[String]) -> Result<Vec<Entry>, String> {
    let mut all = catalogue::all();
    for part in parts {
        if !all.iter().any(|entry| entry.name.contains(part)) {
            return Err(format!("there is no scenario {part}"));
        }
    }
    all.retain(|entry| parts.is_empty() || parts.iter().any(|part| entry.name.contains(part)));
    Ok(all)
}

/// The file of a report, which is opened before anything is run.
fn file_of(report: &str) -> Result<(&str, Format, File), String> {
    let (format, name) = report.split_once(':').ok_or_else(|| format!("--report={report}: it is FORMAT:FILE"))?;
    let format = Format::of(format)?;
    let file = File::create(name).map_err(|error| format!("{name}: {error}"))?;
    Ok((name, format, file))
}

fn subjects(options: &Options) -> Result<(Subject, Subject), String> {
    let from_environment = || std::env::var_os("START_SERVER_PERL").map(PathBuf::from);
    let reference = options.reference.clone().or_else(from_environment).or_else(perl_script_in_path);
    let reference = reference.ok_or(
        "the original is not in PATH: install Debian's libserver-starter-perl or CPAN's Server::Starter, or give --reference",
    )?;
    let reference = Subject::of(&reference)?;
    let candidate = if options.itself { Some(&reference.path) } else { options.candidate.as_ref() };
    let candidate = Subject::of(candidate.ok_or("which program? --candidate=PATH says so, and --help more")?)?;
    if reference.is_same_as(&candidate) && !options.itself {
        let (one, other) = (reference.path.display(), candidate.path.display());
        return Err(format!("{one} and {other} are the same program; --self compares one with itself"));
    }
    Ok((reference, candidate))
}

/// The command line, quoted for a shell.
fn command() -> String {
    let quoted = std::env::args().map(|word| {
        let is_plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c));
        if is_plain { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn verdict(findings: &[Finding], baseline: Option<&Baseline>) -> Result<ExitCode, String> {
    if findings.iter().all(|finding| finding.state == State::NotComparable) {
        return Err("nothing could be compared".to_owned());
    }
    let is_worse = match baseline {
        Some(baseline) => {
            let worse = baseline.worse(findings);
            for what in &worse {
                eprintln!("worse: {what}");
            }
            !worse.is_empty()
        }
        None => findings.iter().any(|finding| finding.state == State::Different),
    };
    Ok(ExitCode::from(u8::from(is_worse)))
}
