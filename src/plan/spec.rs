//! From a service to the container it should have, and whether one is that container.

use std::collections::BTreeMap;

use crate::plan::ContainerSpec;
use crate::plan::complete::is_lock_mount;
use crate::plan::input::PlanInput;
use crate::state::config::{NetworkMode, Port};
use crate::state::{
    AdoptedContainer, App, ConfigHash, Container, ContainerConfig, Image, Namespace, Origin, Service, ServiceKey, Target,
};

/// Variables whose value at creation is the one that stays.
const AT_INIT: [&str; 2] = ["RESIN_DEVICE_NAME_AT_INIT", "BALENA_DEVICE_NAME_AT_INIT"];

/// The name a container bears: its release can be read off it, and creating it twice is refused by the engine itself.
#[must_use]
pub fn container_name(app: &App, name: &str, service: &Service) -> String {
    let commit = app.commit.as_deref().unwrap_or_default();
    format!("{name}_{}_{}_{commit}", service.image_id, app.release_id)
}

/// Services that another target configures otherwise, and the fields that differ.
#[must_use]
pub fn changes(before: &Target, now: &Target) -> Vec<(ServiceKey, String)> {
    let change = |(app, name, now): (&App, &String, &Service)| {
        let before = before.apps.get(&app.id)?.services.get(name)?;
        let mut fields = before.config.differences(&now.config);
        if before.image != now.image {
            fields.push("image");
        }
        (!fields.is_empty()).then(|| (ServiceKey::new(app.id, name), fields.join(", ")))
    };
    now.services().filter_map(change).collect()
}

/// What the name of a container begins with while the one that it replaces has its name.
const NEW: &str = "new_";

/// Whether a container has the name of one that was created beside another.
pub(super) fn is_named_new(container: &Container) -> bool {
    is_named(container, NEW)
}

/// A container's name without what it had while the one that it replaced had that name.
pub(super) fn bare_name(container: &Container) -> &str {
    let bare = container.name.strip_prefix(NEW).filter(|_| is_named_new(container));
    bare.unwrap_or(&container.name)
}

/// Whether a container's name has a prefix before the one that its service gives it: a service may be called `new` or `old_web`.
pub(super) fn is_named(container: &Container, prefix: &str) -> bool {
    let bare = container.name.strip_prefix(prefix).and_then(|it| it.strip_prefix(&container.key.service));
    bare.is_some_and(|it| it.starts_with('_'))
}

/// The container a service should have. `sibling` finds the container of another service of the app.
pub(super) fn spec<'a>(
    scene: PlanInput<'_>,
    app: &App,
    name: &str,
    service: &Service,
    sibling: impl Fn(&str) -> Option<&'a Container>,
) -> Option<ContainerSpec> {
    let mut owners = BTreeMap::new();
    for (_, owner) in service.config.shares() {
        owners.insert(owner.to_owned(), sibling(owner)?.id.clone());
    }
    let key = ServiceKey::new(app.id, name);
    let hash = scene.hashes.get(&key)?.clone();
    // A device may be renamed without restarting its apps. What the owner wrote wins.
    let unsaid = AT_INIT.into_iter().filter(|it| !service.config.env.contains_key(*it));
    let told_once = unsaid.map(|it| (it.to_owned(), scene.target.name.clone().unwrap_or_default())).collect();
    let name = container_name(app, name, service);
    let is_taken = scene.containers_of(app.id).any(|it| it.name == name);
    let ports = scene.ports.of_service(&key);
    Some(ContainerSpec {
        key,
        app_uuid: app.uuid.clone(),
        networks: service.config.networks.keys().map(|it| (it.clone(), scene.network_name(app, it))).collect(),
        service_id: service.id,
        name: if is_taken { format!("{NEW}{name}") } else { name },
        image: service.image.clone(),
        ports,
        owners,
        told_once,
        config: service.config.clone(),
        hash,
    })
}

/// Whether a container is what the service wants, but for its name and its namespaces' owners.
pub(super) fn is_as_wanted(container: &Container, service: &Service, wanted: &ConfigHash, images: &[Image]) -> bool {
    match &container.made {
        // A hand-over that was called off leaves a container that the engine would no longer start by itself.
        Origin::Ours(hash) => {
            (hash == wanted || ends_up_as_wanted(container, service)) && container.restart == service.config.restart
        }
        Origin::Adopted(foreign) => {
            let same_image = container.image_ref == service.image
                || images.iter().any(|it| it.id == container.image && it.answers_to(&service.image));
            same_image && adoptable(foreign, &service.config)
        }
    }
}

/// A container of ours is as good as a new one when both end up with the same: the document says, or no longer says, a default or
/// what the image says itself.
fn ends_up_as_wanted(container: &Container, service: &Service) -> bool {
    let image = service.image.as_str();
    container.image_ref == service.image
        && container.outcome.as_ref().is_some_and(|it| service.config.effective_hash(&it.base, image) == it.hash)
}

/// Another supervisor's container is as good as ours when it ends up with what ours would, but for what is no reason to replace a
/// running program: the device's name at creation, what we alone tell it, and what no program can notice.
fn adoptable(foreign: &AdoptedContainer, wanted: &ContainerConfig) -> bool {
    let mut theirs = foreign.config.effective(&foreign.base);
    let mut ours = wanted.effective(&foreign.base);
    for variable in AT_INIT {
        theirs.env.remove(variable);
        ours.env.remove(variable);
    }
    // How the API is reached is told where the other did not; the cloud's key, which only the other gave, still serves.
    ours.env.retain(|name, _| theirs.env.contains_key(name) || !tells_of_the_api(name));
    theirs.env.retain(|name, _| ours.env.contains_key(name) || !matches!(name.as_str(), "RESIN_API_KEY" | "BALENA_API_KEY"));
    // Exposing a port opens none.
    theirs.expose.clear();
    ours.expose.clear();
    // Which of several ports of the host was chosen is no difference.
    let chosen = |port: &Port| theirs.ports.iter().find(|it| port.may_be(it)).unwrap_or(port).clone();
    ours.ports = ours.ports.iter().map(chosen).collect();
    // One that was asked for looks like one that the engine chose.
    ours.mac_address = None;
    theirs.mac_address = None;
    // An engine knows a service as a container. Which one it must be is the planner's question.
    if let (NetworkMode::Service(_), NetworkMode::Container(_)) = (&ours.network_mode, &theirs.network_mode) {
        theirs.network_mode = ours.network_mode.clone();
    }
    let of_container = |text: &str| text.starts_with("container:");
    for (namespace, _) in wanted.shares() {
        match namespace {
            Namespace::Pid if theirs.pid.as_deref().is_some_and(of_container) => theirs.pid.clone_from(&ours.pid),
            Namespace::Ipc if of_container(&theirs.ipc) => theirs.ipc.clone_from(&ours.ipc),
            Namespace::Network | Namespace::Pid | Namespace::Ipc => (),
        }
    }
    // The directories of update locks are mounted by every supervisor, under one or both of their names.
    ours.mounts.retain(|mount| theirs.mounts.contains(mount) || !is_lock_mount(mount));
    // The service's own name and the container's are aliases everywhere; engines add their own.
    for (network, attachment) in &mut theirs.networks {
        if let Some(wanted) = ours.networks.get(network) {
            attachment.aliases.retain(|alias| wanted.aliases.contains(alias));
        }
    }
    ours == theirs
}

fn tells_of_the_api(variable: &str) -> bool {
    let name = variable.strip_prefix("RESIN_").or_else(|| variable.strip_prefix("BALENA_"));
    matches!(name, Some("SUPERVISOR_API_KEY" | "SUPERVISOR_HOST" | "SUPERVISOR_PORT" | "SUPERVISOR_ADDRESS"))
}
