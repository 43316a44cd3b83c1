//! Containers that the agent has just created. What an inspection of one would say follows from the request that created it
//! and from its entry in the list, so that none is inspected before it is started.

use serde_json::json;

use crate::linux::engine::json::EngineJson;
use crate::sorted::SortedMap;
use crate::state::{ContainerConfig, ContainerSpec};

/// What an inspection would say of a container, but for what its entry in the list says.
pub(super) fn inspection(spec: &ContainerSpec, body: &EngineJson, image: &ContainerConfig) -> EngineJson {
    let mut env: SortedMap<_, _> = image.env.iter().collect();
    env.extend(spec.config.env.iter().chain(&spec.env_at_creation));
    let env: Vec<_> = env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    EngineJson(json!({
        "State": {"Status": "created"},
        "Config": {"Image": spec.image.as_str(), "Env": env, "StopTimeout": body.at("/StopTimeout")},
        "HostConfig": body.at("/HostConfig"),
    }))
}
