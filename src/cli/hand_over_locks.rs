//! `boardkeeper hand-over-locks`: root gives the agent's user the directories of update locks. The package's unit runs it
//! before each start of the agent.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::CommandError;
use crate::linux::locks;

/// The agent's user.
#[derive(Debug, Clone, Args)]
pub struct HandOverLocksArgs {
    /// The agent's state directory, whose owner receives them.
    #[arg(value_name = "STATE_DIR")]
    state_dir: PathBuf,
}

impl HandOverLocksArgs {
    /// Hands them over.
    pub fn hand_over(&self) -> Result<(), CommandError> {
        locks::hand_over(Path::new("/"), &self.state_dir).map_err(|why| CommandError::Failed(why.to_string()))
    }
}
