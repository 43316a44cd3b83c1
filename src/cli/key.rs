//! `boardkeeper key`: the device's key, for whoever may read the state directory.

use clap::Args;

use crate::cli::run::Place;
use crate::cli::{Failure, print};
use crate::config::Config;
use crate::linux::store;
use crate::state::Secret;

/// Where the key is.
#[derive(Debug, Clone, Default, Args)]
pub struct Key {
    #[command(flatten)]
    place: Place,
}

impl Key {
    /// Prints it.
    pub fn show(self) -> Result<(), Failure> {
        let key = read(&self.place.config()?)?;
        print(&format!("{}\n", key.reveal()))
    }
}

/// The key of the agent that keeps its state there.
pub(super) fn read(config: &Config) -> Result<Secret, Failure> {
    let dir = &config.state_dir;
    let key = store::device_key(dir).map_err(|why| Failure::Failed(why.to_string()))?;
    key.ok_or_else(|| {
        let dir = dir.display();
        Failure::Failed(format!(
            "no agent has kept a key in `{dir}` yet; start `boardkeeper run`, or name its directory with --state-dir"
        ))
    })
}
