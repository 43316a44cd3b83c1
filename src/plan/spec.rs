//! From a service to the container it should have.

use crate::plan::compare::AT_INIT;
use crate::plan::input::PlanInput;
use crate::sorted::SortedMap;
use crate::state::field_changes::field_changes;
use crate::state::history::FieldChange;
use crate::state::{App, Container, ContainerSpec, Service, ServiceKey, Target};

/// The name of a container: it shows the release, and creating it twice is rejected by the engine itself.
#[must_use]
pub fn container_name(app: &App, name: &str, service: &Service) -> String {
    let commit = app.commit.as_deref().unwrap_or_default();
    format!("{name}_{}_{}_{commit}", service.image_id, app.release_id)
}

/// Services whose configuration differs between two targets, and what differs.
#[must_use]
pub fn changes(before: &Target, now: &Target) -> Vec<(ServiceKey, Vec<FieldChange>)> {
    let change = |(app, name, now): (&App, &String, &Service)| {
        let before = before.apps.get(&app.id)?.services.get(name)?;
        let fields = field_changes(before, now);
        (!fields.is_empty()).then(|| (ServiceKey::new(app.id, name), fields))
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
pub(super) fn container_spec<'a>(
    input: PlanInput<'_>,
    app: &App,
    name: &str,
    service: &Service,
    sibling: impl Fn(&str) -> Option<&'a Container>,
) -> Option<ContainerSpec> {
    let mut owners = SortedMap::new();
    for (_, owner) in service.config.shares() {
        owners.insert(owner.to_owned(), sibling(owner)?.id.clone());
    }
    let key = ServiceKey::new(app.id, name);
    let hash = input.hashes.get(&key)?.clone();
    // A device may be renamed without restarting its apps. The owner's value wins.
    let not_set = AT_INIT.into_iter().filter(|it| !service.config.env.contains_key(*it));
    let at_creation = not_set.map(|it| (it.to_owned(), input.target.name.clone().unwrap_or_default())).collect();
    let name = container_name(app, name, service);
    let is_taken = input.containers_of(app.id).any(|it| it.name == name);
    let ports = input.ports.of_service(&key);
    Some(ContainerSpec {
        key,
        app_uuid: app.uuid.clone(),
        networks: service.config.networks.keys().map(|it| (it.clone(), input.network_name(app, it))).collect(),
        service_id: service.id,
        name: if is_taken { format!("{NEW}{name}") } else { name },
        image: service.image.clone(),
        ports,
        owners,
        env_at_creation: at_creation,
        config: service.config.clone(),
        hash,
    })
}
