//! The program: arguments and exit code.

use std::process::ExitCode;

use boardkeeper::cli::{Cli, Command, board, gpio, led};
use clap::Parser;
use dlmalloc::GlobalDlmalloc;

mod daemon;

/// The memory allocator. Over a hundred days (`make soak`) it took not a page more after the first ten; musl's own kept taking.
#[global_allocator]
static HEAP: GlobalDlmalloc = GlobalDlmalloc;

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Run(run) => daemon::live(&run),
        Command::State(state) => state.show(),
        Command::Why(why) => why.show(),
        Command::Logs(logs) => logs.show(),
        Command::History(history) => history.show(),
        Command::Target(target) => target.show(),
        Command::Doctor(doctor) => doctor.show(),
        Command::Join(join) => join.join(),
        Command::Leave(leave) => leave.leave(),
        Command::TakeOver(take_over) => take_over.take_over(),
        Command::Key(key) => key.show(),
        Command::Page(page) => page.show(),
        Command::LocalMode(args) => args.switch(),
        Command::HandOverLocks(args) => args.hand_over(),
        Command::Board(args) => return board::run(&args),
        Command::Led(args) => return led::run(args),
        Command::Gpio(args) => return gpio::run(args),
    };
    let Err(failure) = ended else { return ExitCode::SUCCESS };
    for line in failure.to_string().lines() {
        eprintln!("boardkeeper: {line}");
    }
    ExitCode::from(failure.code())
}
