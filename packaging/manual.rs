//! Writes the man page and the shells' completions into a directory, from the command line as clap knows it.
//!
//! ```text
//! cargo run --example manual -- target/manual
//! ```
//!
//! There is one page for the program and one for each of its commands, and nothing in them tells when they were made.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use boardkeeper::cli::Cli;
use clap::CommandFactory;
use clap_complete::Shell;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("manual: name the directory to write to");
        return ExitCode::from(2);
    };
    match write(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("manual: cannot write to `{}`: {why}", directory.display());
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut command = Cli::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "boardkeeper", directory)?;
    }
    clap_mangen::generate_to(command, directory)
}
