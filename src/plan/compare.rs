//! Whether a container matches its service.

use crate::plan::supervisor_env::is_lock_mount;
use crate::state::config::{NetworkMode, Port};
use crate::state::{AdoptedContainer, ConfigHash, Container, ContainerConfig, Image, Namespace, Origin, Service};

/// Variables that keep the value they had at creation.
pub(super) const AT_INIT: [&str; 2] = ["RESIN_DEVICE_NAME_AT_INIT", "BALENA_DEVICE_NAME_AT_INIT"];

/// Whether a container matches its service, apart from its name and the owners of its shared namespaces.
pub(super) fn is_as_wanted(container: &Container, service: &Service, wanted: &ConfigHash, images: &[Image]) -> bool {
    match &container.made {
        // A cancelled hand-over leaves a container with its restart policy disabled.
        Origin::Ours(hash) => {
            (hash == wanted || is_effectively_as_wanted(container, service)) && container.restart == service.config.restart
        }
        Origin::Adopted(foreign) => {
            let same_image = container.image_ref == service.image
                || images.iter().any(|it| it.id == container.image && it.answers_to(&service.image));
            same_image && is_adoptable(foreign, &service.config)
        }
    }
}

/// A container of ours matches when its effective configuration is the wanted one: the document adds or drops a default, or a
/// value that the image sets itself.
fn is_effectively_as_wanted(container: &Container, service: &Service) -> bool {
    let image = service.image.as_str();
    container.image_ref == service.image
        && container.outcome.as_ref().is_some_and(|it| service.config.effective_hash(&it.base, image) == it.hash)
}

/// A foreign supervisor's container is adopted when its effective configuration is the one ours would have, apart from what
/// is no reason to replace a running program: the device's name at creation, variables that only we set, and what no program
/// can notice.
fn is_adoptable(foreign: &AdoptedContainer, wanted: &ContainerConfig) -> bool {
    let mut theirs = foreign.config.effective(&foreign.base);
    let mut ours = wanted.effective(&foreign.base);
    for variable in AT_INIT {
        theirs.env.remove(variable);
        ours.env.remove(variable);
    }
    // The API variables may be missing in a foreign container; the cloud's key, which only a foreign supervisor sets, still
    // works.
    ours.env.retain(|name, _| theirs.env.contains_key(name) || !is_api_variable(name));
    theirs.env.retain(|name, _| ours.env.contains_key(name) || !matches!(name.as_str(), "RESIN_API_KEY" | "BALENA_API_KEY"));
    // Exposing a port opens none.
    theirs.expose.clear();
    ours.expose.clear();
    // Which of several host ports was chosen is no difference.
    let as_chosen = |port: &Port| theirs.ports.iter().find(|it| port.may_be(it)).unwrap_or(port).clone();
    ours.ports = ours.ports.iter().map(as_chosen).collect();
    // A requested MAC address looks like one that the engine chose.
    ours.mac_address = None;
    theirs.mac_address = None;
    // An engine knows a service only as a container. Which container it must be is checked elsewhere in the planner.
    if let (NetworkMode::Service(_), NetworkMode::Container(_)) = (&ours.network_mode, &theirs.network_mode) {
        theirs.network_mode = ours.network_mode.clone();
    }
    let names_container = |text: &str| text.starts_with("container:");
    for (namespace, _) in wanted.shares() {
        match namespace {
            Namespace::Pid if theirs.pid.as_deref().is_some_and(names_container) => theirs.pid.clone_from(&ours.pid),
            Namespace::Ipc if names_container(&theirs.ipc) => theirs.ipc.clone_from(&ours.ipc),
            Namespace::Network | Namespace::Pid | Namespace::Ipc => (),
        }
    }
    // Every supervisor mounts the lock directories, under one or both of their names.
    ours.mounts.retain(|mount| theirs.mounts.contains(mount) || !is_lock_mount(mount));
    // The names of the service and of the container are aliases everywhere; engines add their own.
    for (network, attachment) in &mut theirs.networks {
        if let Some(wanted) = ours.networks.get(network) {
            attachment.aliases.retain(|alias| wanted.aliases.contains(alias));
        }
    }
    ours == theirs
}

fn is_api_variable(variable: &str) -> bool {
    let name = variable.strip_prefix("RESIN_").or_else(|| variable.strip_prefix("BALENA_"));
    matches!(name, Some("SUPERVISOR_API_KEY" | "SUPERVISOR_HOST" | "SUPERVISOR_PORT" | "SUPERVISOR_ADDRESS"))
}
