//! `boardkeeper key`: prints the device's key, to users who may read the state directory.

use clap::Args;

use crate::cli::run::StateDirArgs;
use crate::cli::{CommandError, print};
use crate::config::Config;
use crate::linux::store;
use crate::state::Secret;

/// Where the key is.
#[derive(Debug, Clone, Default, Args)]
pub struct KeyArgs {
    #[command(flatten)]
    place: StateDirArgs,
}

impl KeyArgs {
    /// Prints the key.
    pub fn show(self) -> Result<(), CommandError> {
        let key = read(&self.place.config()?)?;
        print(&format!("{}\n", key.reveal()))
    }
}

/// The key of the agent with this state directory.
pub(super) fn read(config: &Config) -> Result<Secret, CommandError> {
    let dir = &config.state_dir;
    let key = store::device_key(dir).map_err(|why| CommandError::Failed(why.to_string()))?;
    key.ok_or_else(|| {
        let dir = dir.display();
        CommandError::Failed(format!(
            "`{dir}` has no key yet; start `boardkeeper run`, or name its state directory with --state-dir"
        ))
    })
}
