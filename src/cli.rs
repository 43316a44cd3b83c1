//! The command line.
//!
//! ```text
//! run      the flags of the agent itself       cli/run.rs
//! state    what a running agent reports        cli/state.rs
//! why      why services are as they are        cli/why.rs
//! logs     what services wrote                 cli/logs.rs
//! history  what the agent did, and why         cli/history.rs
//! target   a target, checked, planned for, tried   cli/target.rs
//! doctor   what the agent needs, checked       cli/doctor.rs
//! join     a cloud is joined, and left      cli/join.rs
//! take-over  a balena supervisor's keys and target    cli/take_over.rs
//! key      the device's key                    cli/key.rs
//! page     a link to the page that logs in by itself      cli/page.rs
//! local-mode  the owner's apps give way to a developer's   cli/local_mode.rs
//! hand-over-locks  the package's unit gives the agent directories of update locks   cli/hand_over_locks.rs
//! board, led, gpio      the bring-up tool      cli/board.rs led.rs gpio.rs, on cli/tool.rs
//! log      how log lines look                  cli/log.rs
//! client, stream, sse, events   the agent's API, asked and followed   cli/client.rs stream.rs sse.rs events.rs
//! table, terminal, since   what is printed, and what is read           cli/table.rs terminal.rs since.rs
//! ```

use std::io::{self, Write};

use clap::{Parser, Subcommand};

pub mod board;
mod client;
pub mod doctor;
mod events;
pub mod gpio;
pub mod hand_over_locks;
pub mod history;
pub mod join;
pub mod key;
pub mod led;
pub mod local_mode;
pub mod log;
pub mod logs;
pub mod page;
pub mod run;
mod since;
pub mod sse;
pub mod state;
mod stream;
mod table;
pub mod take_over;
pub mod target;
mod terminal;
pub mod tool;
pub mod why;

/// Runs the containers of this board as its target says.
#[derive(Debug, Parser)]
#[command(name = "boardkeeper", version, arg_required_else_help = true, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 done, or stopped when asked; 2 the command line or the configuration is wrong; 1 anything else."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent: keep the containers as the target says, until SIGTERM or Ctrl-C.
    Run(run::RunArgs),
    /// Print what runs, what the target wants, which steps are in progress, and why.
    State(state::StateArgs),
    /// Say why services are as they are: what was done last, for what reason, and who asked.
    Why(why::WhyArgs),
    /// Print what services wrote, and follow it.
    Logs(logs::LogsArgs),
    /// Print what the agent did and saw, and why, and follow it.
    History(history::HistoryArgs),
    /// Check a target-state document or a compose file, say what it would change here, or run it on trial.
    Target(target::TargetArgs),
    /// Check what the agent needs from its host, with what to do about each failure.
    Doctor(Box<doctor::DoctorArgs>),
    /// Make the device one of a cloud, with the config.json that the cloud made for it.
    Join(join::JoinArgs),
    /// Make the device none of a cloud; its containers run on.
    Leave(join::LeaveArgs),
    /// Take over the keys and the target of a balena supervisor, from its database.
    TakeOver(take_over::TakeOverArgs),
    /// Print the device's key for the supervisor API.
    Key(key::KeyArgs),
    /// Print a link that opens the page of the device in a browser, and its QR code.
    Page(page::PageArgs),
    /// Switch local mode: the owner's apps stand still, and what a developer pushes runs.
    LocalMode(local_mode::LocalModeArgs),
    /// Give the agent's user the directories of update locks that an engine created for root; run by the package's unit.
    #[command(hide = true)]
    HandOverLocks(hand_over_locks::HandOverLocksArgs),
    /// Show which board this is, how it was recognised, its LEDs and GPIO lines.
    Board(board::BoardArgs),
    /// Light, blink, walk and test LEDs.
    Led(led::LedArgs),
    /// Blink and watch GPIO lines.
    Gpio(gpio::GpioArgs),
}

/// Why a command failed; decides the exit code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The configuration is wrong. One mistake per line.
    #[error("{0}")]
    Wrong(String),
    /// Anything else, in one line.
    #[error("{0}")]
    Failed(String),
}

impl CommandError {
    /// The process's exit code.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Wrong(_) => 2,
            Self::Failed(_) => 1,
        }
    }
}

/// Prints to standard output, a terminal or a pipe.
fn print(text: &str) -> Result<(), CommandError> {
    match io::stdout().write_all(text.as_bytes()) {
        // The reader has closed the pipe: it has seen enough.
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|why| CommandError::Failed(format!("cannot print: {why}"))),
    }
}
