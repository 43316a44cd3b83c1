//! Containers, as an engine describes them: in its list, and when one is inspected.

use std::sync::Arc;

use serde_json::{Map, Value};
use tracing::debug;

use crate::linux::engine::connection::moment;
use crate::linux::engine::decode;
use crate::linux::engine::errors::is_port_taken;
use crate::linux::engine::json::EngineJson;
use crate::linux::engine::labels::{self, Labels};
use crate::sorted::{SortedMap, SortedSet};
use crate::state::config::RestartPolicy;
use crate::state::hook::UpdateHook;
use crate::state::{
    ConfigHash, Container, ContainerId, ContainerPhase, HealthStatus, ImageId, ImageRef, Namespace, NetworkId, Origin,
    ServiceKey,
};

/// A container of the agent, as listed.
pub(super) struct ListedContainer {
    pub(super) id: ContainerId,
    pub(super) key: ServiceKey,
    pub(super) name: String,
    pub(super) created_secs: i64,
    pub(super) labels: Labels,
    /// Changes whenever something worth an inspection does.
    pub(super) state: String,
    pub(super) word: String,
    /// Of one that was never started: the fields that an inspection has too.
    pub(super) of_created: Option<Map<String, Value>>,
    pub(super) image: ImageId,
    pub(super) image_ref: ImageRef,
    pub(super) shares: SortedMap<Namespace, ContainerId>,
}

impl ListedContainer {
    pub(super) fn new(json: &EngineJson) -> Option<Self> {
        let labels = json.labels("/Labels");
        if !labels::supervised(&labels) {
            return None;
        }
        let name = json.texts("/Names").first()?.trim_start_matches('/').to_owned();
        let Some(key) = labels::service(&labels).filter(|_| labels::is_name(&name)) else {
            debug!(container = ?name, "its labels name no service; it is left alone");
            return None;
        };
        let word = json.text("/State").to_owned();
        // `Exited (1) 5 minutes ago`: the code matters, the time would change every minute.
        let code = if word == "exited" { json.text("/Status").split(')').next().unwrap_or_default() } else { "" };
        let state = format!("{word} {code}{}{}", listed_health(json.text("/Status")), endpoints(json));
        let fields = [("Image", "/ImageID"), ("NetworkSettings", "/NetworkSettings"), ("Mounts", "/Mounts")];
        let field = |(name, of_list): (&str, &str)| Some((name.to_owned(), json.at(of_list)?.clone()));
        let of_created = if word == "created" { fields.into_iter().map(field).collect() } else { None };
        Some(Self {
            of_created,
            id: ContainerId(json.some_text("/Id")?),
            key,
            name,
            created_secs: json.number("/Created"),
            labels,
            state,
            word,
            image: ImageId(json.text("/ImageID").to_owned()),
            image_ref: ImageRef::new(json.text("/Image")),
            shares: decode::shares(json),
        })
    }
}

/// The endpoints of a container: each start gives it new ones.
fn endpoints(json: &EngineJson) -> String {
    let endpoint = |(_, it): (&String, &Value)| Some(format!(" {}", it.get("EndpointID")?.as_str()?));
    json.fields("/NetworkSettings/Networks").filter_map(endpoint).collect()
}

/// The state that a list has of a container, from its inspection. Where an engine's list has other terms, the container is
/// inspected once more.
pub(super) fn state_of(seen: &EngineJson) -> String {
    let word = seen.text("/State/Status");
    let code = if word == "exited" { format!("Exited ({}", seen.number("/State/ExitCode")) } else { String::new() };
    let health = match seen.text("/State/Health/Status") {
        "starting" if word == "running" => "health: starting)".to_owned(),
        it @ ("healthy" | "unhealthy") if word == "running" => format!("{it})"),
        _ => String::new(),
    };
    format!("{word} {code}{health}{}", endpoints(seen))
}

/// A container from its inspection. `None`: the engine's term for its state is unknown.
pub(super) fn container(listed: &ListedContainer, seen: &EngineJson, made: Origin) -> Option<Container> {
    let as_created = Container {
        image: ImageId(seen.text("/Image").to_owned()),
        image_ref: ImageRef::new(seen.text("/Config/Image")),
        made,
        env: decode::env(&seen.texts("/Config/Env")).into(),
        restart: decode::restart(seen),
        // A label that is wrong stands on no container of this agent.
        before_update: UpdateHook::of_labels(&listed.labels).ok().flatten(),
        ..undescribed(listed, None)
    };
    in_state(as_created, seen)
}

/// The container with what its inspection says of its state, and with the rest as it was. `None`: the engine's term for its
/// state is unknown.
pub(super) fn in_state(before: Container, seen: &EngineJson) -> Option<Container> {
    let networks = |it: SortedMap<String, String>| it.into_iter().map(|(name, id)| (name, NetworkId(id))).collect();
    Some(Container {
        phase: phase(seen)?,
        started: moment(seen.text("/State/StartedAt")),
        networks: seen.networks().map(networks),
        ports: decode::ports(seen),
        is_port_taken: is_port_taken(seen.text("/State/Error")),
        shares: decode::shares(seen),
        volumes: mounted_volumes(seen),
        restarts: u32::try_from(seen.number("/RestartCount")).unwrap_or_default(),
        is_out_of_memory: seen.is("/State/OOMKilled"),
        error: seen.some_text("/State/Error"),
        health: HealthStatus::named(seen.text("/State/Health/Status")),
        ..before
    })
}

/// The names of the volumes that a container has.
fn mounted_volumes(seen: &EngineJson) -> SortedSet<String> {
    let volumes = seen.items("/Mounts").filter(|it| it.text("/Type") == "volume");
    volumes.filter_map(|it| it.some_text("/Name")).collect()
}

/// A container's health, as listed: `Up 5 minutes (healthy)`. The time before it would change every minute.
fn listed_health(status: &str) -> &str {
    let last = status.rsplit_once('(').map_or("", |(_, last)| last);
    if status.starts_with("Up") && last.contains("health") { last } else { "" }
}

/// A container of which only the list entry is known. If it runs, it stays up while its label says that it was created from the
/// wanted configuration: nothing else may stop it without its locks. In any other known state it counts as dead, which is
/// removed and created anew.
pub(super) fn undescribed(listed: &ListedContainer, why: Option<String>) -> Container {
    let made = listed.labels.get(labels::CONFIG).map(|hash| Origin::Ours(ConfigHash(hash.clone())));
    Container {
        phase: match listed.word.as_str() {
            "running" | "stopping" => ContainerPhase::Running,
            "paused" => ContainerPhase::Paused,
            "restarting" => ContainerPhase::Restarting,
            "" | "created" | "configured" | "initialized" | "exited" | "stopped" | "dead" => ContainerPhase::Dead,
            // A state that only the engine knows is left to the engine: no action until it changes.
            _ => ContainerPhase::Removing,
        },
        id: listed.id.clone(),
        name: listed.name.clone(),
        key: listed.key.clone(),
        created_secs: listed.created_secs,
        image: listed.image.clone(),
        image_ref: listed.image_ref.clone(),
        made: made.unwrap_or_else(|| Origin::Adopted(Box::default())),
        outcome: None,
        env: Arc::default(),
        restart: RestartPolicy::default(),
        started: None,
        networks: None,
        ports: SortedSet::new(),
        is_port_taken: false,
        before_update: None,
        shares: listed.shares.clone(),
        shares_since: None,
        is_orphaned: false,
        volumes: SortedSet::new(),
        restarts: 0,
        is_out_of_memory: false,
        error: why,
        health: None,
    }
}

/// A container's phase: from the engine's term for its state, or from its flags if that term is unknown.
pub(super) fn phase(seen: &EngineJson) -> Option<ContainerPhase> {
    let code = i32::try_from(seen.number("/State/ExitCode")).unwrap_or(0);
    let is = |switch: &str| seen.is(&format!("/State/{switch}"));
    Some(match seen.text("/State/Status") {
        // podman's terms for a container that was prepared and does not run yet.
        "created" | "configured" | "initialized" => ContainerPhase::Created,
        // podman's term for a container that is being stopped; until it ends, it runs.
        "running" | "stopping" => ContainerPhase::Running,
        "paused" => ContainerPhase::Paused,
        "restarting" => ContainerPhase::Restarting,
        "removing" => ContainerPhase::Removing,
        "dead" => ContainerPhase::Dead,
        "exited" | "stopped" => ContainerPhase::Exited(code),
        _ if is("Dead") => ContainerPhase::Dead,
        _ if is("Paused") => ContainerPhase::Paused,
        _ if is("Restarting") => ContainerPhase::Restarting,
        _ if is("Running") => ContainerPhase::Running,
        "" if seen.at("/State").is_some() => ContainerPhase::Exited(code),
        _ => return None,
    })
}
