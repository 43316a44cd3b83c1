//! The composition root: arguments, board, world, run, exit code.

use std::process::ExitCode;

use boardkeeper::cli::{board, gpio, led};
use clap::Parser;

#[derive(Parser)]
#[command(name = "boardkeeper", version)]
enum Cli {
    Board(board::BoardArgs),
    Led(led::LedArgs),
    Gpio(gpio::GpioArgs),
}

fn main() -> ExitCode {
    match Cli::parse() {
        Cli::Board(args) => board::run(&args),
        Cli::Led(args) => led::run(args),
        Cli::Gpio(args) => gpio::run(args),
    }
}
