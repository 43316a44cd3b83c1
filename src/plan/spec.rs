//! From a service to the container it should have, and whether a container matches its service.

use std::collections::BTreeMap;

use crate::plan::ContainerSpec;
use crate::plan::complete::is_lock_mount;
use crate::plan::input::PlanInput;
use crate::state::config::{NetworkMode, Port};
use crate::state::{
    AdoptedContainer, App, ConfigHash, Container, ContainerConfig, Image, Namespace, Origin, Service, ServiceKey, Target,
};

/// Variables that keep the value they had at creation.
const AT_INIT: [&str; 2] = ["RESIN_DEVICE_NAME_AT_INIT", "BALENA_DEVICE_NAME_AT_INIT"];

/// The name of a container: it shows the release, and creating it twice is rejected by the engine itself.
#[must_use]
pub fn container_name(app: &App, name: &str, service: &Service) -> String {
    let commit = app.commit.as_deref().unwrap_or_default();
    format!("{name}_{}_{}_{commit}", service.image_id, app.release_id)
}

/// Services whose configuration differs between two targets, and the fields that differ.
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

/// The name prefix of a container while the one that it replaces has its name.
const NEW: &str = "new_";

/// Whether a container has the name of one that was created beside another.
pub(super) fn is_named_new(container: &Container) -> bool {
    is_named(container, NEW)
}

/// A container's name without the prefix it had while the one that it replaced had that name.
pub(super) fn bare_name(container: &Container) -> &str {
    let bare = container.name.strip_prefix(NEW).filter(|_| is_named_new(container));
    bare.unwrap_or(&container.name)
}

/// Whether a container's name has a prefix before its service's name: a service may be called `new` or `old_web`.
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
    // A device may be renamed without restarting its apps. The owner's value wins.
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

/// Whether a container matches its service, apart from its name and the owners of its shared namespaces.
pub(super) fn is_as_wanted(container: &Container, service: &Service, wanted: &ConfigHash, images: &[Image]) -> bool {
    match &container.made {
        // A cancelled hand-over leaves a container with its restart policy disabled.
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

/// A container of ours matches when its effective configuration is the wanted one: the document adds or drops a default, or a
/// value that the image sets itself.
fn ends_up_as_wanted(container: &Container, service: &Service) -> bool {
    let image = service.image.as_str();
    container.image_ref == service.image
        && container.outcome.as_ref().is_some_and(|it| service.config.effective_hash(&it.base, image) == it.hash)
}

/// A foreign supervisor's container is adopted when its effective configuration is the one ours would have, apart from what
/// is no reason to replace a running program: the device's name at creation, variables that only we set, and what no program
/// can notice.
fn adoptable(foreign: &AdoptedContainer, wanted: &ContainerConfig) -> bool {
    let mut theirs = foreign.config.effective(&foreign.base);
    let mut ours = wanted.effective(&foreign.base);
    for variable in AT_INIT {
        theirs.env.remove(variable);
        ours.env.remove(variable);
    }
    // The API variables may be missing in a foreign container; the cloud's key, which only a foreign supervisor sets, still
    // works.
    ours.env.retain(|name, _| theirs.env.contains_key(name) || !tells_of_the_api(name));
    theirs.env.retain(|name, _| ours.env.contains_key(name) || !matches!(name.as_str(), "RESIN_API_KEY" | "BALENA_API_KEY"));
    // Exposing a port opens none.
    theirs.expose.clear();
    ours.expose.clear();
    // Which of several host ports was chosen is no difference.
    let chosen = |port: &Port| theirs.ports.iter().find(|it| port.may_be(it)).unwrap_or(port).clone();
    ours.ports = ours.ports.iter().map(chosen).collect();
    // A requested MAC address looks like one that the engine chose.
    ours.mac_address = None;
    theirs.mac_address = None;
    // An engine knows a service only as a container. Which container it must be is checked elsewhere in the planner.
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

fn tells_of_the_api(variable: &str) -> bool {
    let name = variable.strip_prefix("RESIN_").or_else(|| variable.strip_prefix("BALENA_"));
    matches!(name, Some("SUPERVISOR_API_KEY" | "SUPERVISOR_HOST" | "SUPERVISOR_PORT" | "SUPERVISOR_ADDRESS"))
}
