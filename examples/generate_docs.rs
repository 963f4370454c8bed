//! Writes what is made from the declaration of the command line and from `docs/start_server.1.md`, the man page and the shell
//! completions, into a directory: `cargo run --example generate_docs examples/packaging`. In the manual itself, it writes what
//! stands between marks. A test checks that what is there is current.

use std::any::TypeId;
use std::env;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::io;
use std::iter;
use std::path::{Path, PathBuf};

use clap::{Arg, Id, ValueHint};
use clap_complete::Shell;

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
    let manual = manual()?;
    Ok(vec![
        ("start_server.1".into(), man_page(&manual).into()),
        ("../../docs/start_server.1.md".into(), manual.into()),
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

/// The manual, with what stands between marks made anew.
fn manual() -> io::Result<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/start_server.1.md"))?;
    let usage = server_starter::program::command().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let text = between(&text, "synopsis", |_| Ok(format!("```\n{usage}\n```\n")))?;
    between(&text, "options", options)
}

/// `text` with another content between two marks.
fn between(text: &str, name: &str, content: impl FnOnce(&str) -> io::Result<String>) -> io::Result<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->\n"));
    let lacks_mark = || io::Error::other(format!("the manual lacks a mark of {name}"));
    let (before, rest) = text.split_once(&begin).ok_or_else(lacks_mark)?;
    let (old, after) = rest.split_once(&end).ok_or_else(lacks_mark)?;
    Ok([before, &begin, "\n", &content(old)?, "\n", &end, after].concat())
}

/// The options in the order of their declaration, each with the text that the manual has for it.
fn options(old: &str) -> io::Result<String> {
    let text_of = |name: &str| {
        let items = old.split("\n- `--").skip(1);
        let own = items.filter(|item| item.split(['=', '`']).next() == Some(name));
        let texts =
            own.filter_map(|item| item.split_once('\n')).map(|(_, text)| text.split("\n###").next().unwrap_or(text));
        texts.map(str::trim_end).next()
    };
    let mut options = String::new();
    let mut heading = None;
    for option in server_starter::program::command().get_arguments() {
        let Some(name) = option.get_long() else { continue };
        if heading != option.get_help_heading() {
            heading = option.get_help_heading();
            let blank = if options.is_empty() { "" } else { "\n" };
            let _ = writeln!(options, "{blank}### {}", heading.unwrap_or_default());
        }
        let value = if option.get_action().takes_values() { option.get_value_names() } else { None };
        let value = value.map(|names| format!("={}", names.join(" "))).unwrap_or_default();
        let text = text_of(name).ok_or_else(|| io::Error::other(format!("the manual has no text for --{name}")))?;
        let _ = writeln!(options, "\n- `--{name}{value}`\n{text}");
    }
    Ok(options)
}

/// The longest line that mandoc accepts without a word.
const COLUMNS: usize = 80;

/// The manual in man(7). It has headings, paragraphs, items, and blocks of code, no more of Markdown. An item is a list's, or code alone
/// that is explained below.
fn man_page(manual: &str) -> String {
    let date = manual.split("<!-- date: ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let mut page = format!(".TH START_SERVER 1 {date} \"start_server {}\"\n", env!("CARGO_PKG_VERSION"));
    let mut lines = manual.lines().filter(|line| !line.starts_with("<!--") && !line.starts_with("# ")).peekable();
    // A heading or the name of an item begins a paragraph already.
    let mut begins_paragraph = true;
    while let Some(line) = lines.next() {
        let text = line.trim();
        if let Some(title) = line.strip_prefix("## ") {
            let _ = writeln!(page, ".SH {}", quoted(title));
            begins_paragraph = true;
        } else if let Some(title) = line.strip_prefix("### ") {
            let _ = writeln!(page, ".SS {}", quoted(title));
            begins_paragraph = true;
        } else if let Some(name) = line.strip_prefix("- ") {
            if name.ends_with('`') {
                let _ = writeln!(page, ".TP\n{}", inline(name));
            } else {
                let _ = write!(page, ".IP \\(bu 2\n{}", filled(&inline(&paragraph(name, &mut lines))));
            }
            begins_paragraph = name.ends_with('`');
        } else if text.starts_with("```") {
            let indent = line.len() - line.trim_start().len();
            // What belongs to an item is indented as its text is.
            page.push_str(match (begins_paragraph, indent) {
                (true, 0) => ".RS 4\n.nf\n",
                (false, 0) => ".PP\n.RS 4\n.nf\n",
                _ => ".IP\n.nf\n",
            });
            for code in lines.by_ref().take_while(|line| line.trim() != "```") {
                let _ = writeln!(page, "{}", protected(&escaped(code.get(indent..).unwrap_or_default())));
            }
            page.push_str(if indent == 0 { ".fi\n.RE\n" } else { ".fi\n" });
            begins_paragraph = false;
        } else if !text.is_empty() {
            if !begins_paragraph {
                page.push_str(if line.starts_with(' ') { ".IP\n" } else { ".PP\n" });
            }
            page.push_str(&filled(&inline(&paragraph(text, &mut lines))));
            begins_paragraph = false;
        }
    }
    page
}

/// What begins with `first` and goes up to an empty line.
fn paragraph<'a>(first: &str, lines: &mut iter::Peekable<impl Iterator<Item = &'a str>>) -> String {
    let mut paragraph = first.to_owned();
    while let Some(next) = lines.next_if(|next| !next.trim().is_empty()) {
        paragraph.push(' ');
        paragraph.push_str(next.trim());
    }
    paragraph
}

/// As an argument of a control line.
fn quoted(text: &str) -> String {
    if text.contains(' ') { format!("\"{text}\"") } else { text.to_owned() }
}

/// Code in bold letters; of a link, the text.
fn inline(text: &str) -> String {
    let mut parts = text.split('`');
    let mut line = String::new();
    while let Some(prose) = parts.next() {
        let mut prose = prose.to_owned();
        while let Some((before, rest)) = prose.split_once("](") {
            let (_, after) = rest.split_once(')').unwrap_or_default();
            prose = [&before.replacen('[', "", 1), after].concat();
        }
        line.push_str(&escaped(&prose));
        if let Some(code) = parts.next() {
            let _ = write!(line, "\\fB{}\\fR", escaped(code));
        }
    }
    line
}

/// With characters that are shown as they are.
fn escaped(text: &str) -> String {
    let pairs = [('\\', "\\e"), ('-', "\\-"), ('\'', "\\(aq"), ('`', "\\(ga"), ('^', "\\(ha"), ('~', "\\(ti")];
    let escape = |c| pairs.iter().find(|(plain, _)| *plain == c).map(|(_, escape)| (*escape).to_owned());
    text.chars().map(|c| escape(c).unwrap_or_else(|| c.to_string())).collect()
}

/// A line that is not a control line.
fn protected(line: &str) -> String {
    if line.starts_with('.') { format!("\\&{line}") } else { line.to_owned() }
}

/// In lines that are short enough.
fn filled(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last().map_or(0, String::len);
        if last > 0 && last + 1 + word.len() > COLUMNS {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.iter().map(|line| protected(line) + "\n").collect()
}
