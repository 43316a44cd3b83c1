//! Containers that the agent has just created. What an inspection of one would say follows from the request that created it
//! and from its entry in the list, so that none is inspected before it is started.

use std::collections::BTreeMap;

use bollard::models::ContainerCreateBody;
use serde_json::json;

use crate::linux::engine::json::EngineJson;
use crate::state::{ContainerConfig, ContainerSpec};

/// What an inspection would say of a container, but for what its entry in the list says.
pub(super) fn inspection(spec: &ContainerSpec, body: &ContainerCreateBody, image: &ContainerConfig) -> EngineJson {
    let mut env: BTreeMap<_, _> = image.env.iter().collect();
    env.extend(spec.config.env.iter().chain(&spec.env_at_creation));
    let env: Vec<_> = env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let host = body.host_config.as_ref();
    EngineJson(json!({
        "State": {"Status": "created"},
        "Config": {"Image": spec.image.as_str(), "Env": env, "StopTimeout": body.stop_timeout},
        "HostConfig": {
            "RestartPolicy": host.and_then(|it| it.restart_policy.as_ref()),
            "PortBindings": host.and_then(|it| it.port_bindings.as_ref()),
            "NetworkMode": host.and_then(|it| it.network_mode.as_ref()),
            "PidMode": host.and_then(|it| it.pid_mode.as_ref()),
            "IpcMode": host.and_then(|it| it.ipc_mode.as_ref()),
        },
    }))
}
