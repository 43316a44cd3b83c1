//! The forward of the engine's API, in the state of the agent.

use serde::Serialize;

use crate::state::local_engine::LocalEngine;

/// Whether the engine is forwarded, and to whom.
#[derive(Serialize)]
pub(super) struct LocalEngineBody<'a> {
    open: bool,
    listens: Vec<String>,
    networks: Vec<String>,
    trouble: Option<&'a str>,
}

impl<'a> From<&'a LocalEngine> for LocalEngineBody<'a> {
    fn from(local_engine: &'a LocalEngine) -> Self {
        Self {
            open: local_engine.is_open(),
            listens: local_engine.listens.iter().map(ToString::to_string).collect(),
            networks: local_engine.networks.iter().map(ToString::to_string).collect(),
            trouble: local_engine.trouble.as_deref(),
        }
    }
}
