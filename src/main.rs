//! The atlasd program: parse, run, exit code; nothing else.

use std::process::ExitCode;

use atlasd::cli::Cli;
use clap::Parser;

fn main() -> ExitCode {
    Cli::parse().run()
}
