//! Draws README's picture, and checks what README says about it. `scripts/demo` runs this.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use start_server_compat::demo::Demo;
use start_server_compat::harness::Programs;

/// What clients see of deploys, with four ways to restart a server
///
/// Deploys a good version, a broken one and another good one, while clients ask 80 times a second, in four ways at the
/// same time: kill and start, the original, start_server with the original's options, and start_server
/// --ready=accepting. Then it checks what README says about that, and exits with 1 if it isn't true. The programs are
/// START_SERVER_PERL and START_SERVER_RUST, or else the original in PATH and target/debug/start_server.
#[derive(Parser)]
#[expect(clippy::doc_markdown, reason = "these comments are the help")]
#[command(name = "scripts/demo", max_term_width = 100)]
struct Options {
    /// Also draw the picture, such as docs/demo.svg
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Programs::ours_is(&root.join("target/debug/start_server"));
    let demo = Demo::run(&Programs::find(), 1);
    let claims = demo.claims();
    for claim in &claims {
        println!("{} {}", if claim.is_true { "true: " } else { "false:" }, claim.text);
    }
    if let Some(path) = options.output
        && let Err(error) = fs::write(&path, demo.picture())
    {
        eprintln!("scripts/demo: {}: {error}", path.display());
        return ExitCode::from(2);
    }
    ExitCode::from(u8::from(claims.iter().any(|claim| !claim.is_true)))
}
