//! Apps of v2 and v3 documents.

use crate::sorted::{SortedMap, SortedSet};
use crate::state::switch::is_on;
use crate::state::{App, AppId, Service};

use super::app::{app_id, checked_commit, digits, empty, title};
use super::at::{Cursor, listed, quoted};
use super::fields::ObjectFields;
use super::labels::ReleaseLabels;
use super::release_names::{DocumentOrigin, ReleaseNames};
use super::{contract, depends, networks, rules, service, single};

/// Uuids of the cloud's own apps for the supervisors that this agent replaces, by architecture: amd64, aarch64, armv7hf, i386,
/// rpi. A target names one of them beside the apps to be run.
const SUPERVISORS: [&str; 5] = [
    "52e35121417640b1b28a680504e4039b",
    "900de4f3cbac4b9bbd232885a35e407b",
    "2e66a95795c149959c69472a8c2f92b8",
    "531b357e155c480cbec0fdd33041a1f5",
    "6822565f766e413e96d9bebe2227cdcc",
];

/// The label by which a service is left out where its contract is unmet.
const OPTIONAL: &str = "io.balena.features.optional";

/// Limits of a document: its apps, and the services, networks and volumes of all its apps together. A board runs some tens;
/// more than these limits is a mistake or an attack, and each object costs memory and work at every observation of the engine.
const APPS: usize = 64;
const SERVICES: usize = 256;
const NETWORKS: usize = 256;
const VOLUMES: usize = 512;

/// Rejects a document that exceeds these limits.
pub(super) fn within(apps: &SortedMap<AppId, App>, at: &Cursor<'_>) {
    let sum = |of: fn(&App) -> usize| apps.values().map(of).sum::<usize>();
    for (what, found, most) in [
        ("apps", apps.len(), APPS),
        ("services", sum(|it| it.services.len()), SERVICES),
        ("networks", sum(|it| it.networks.len()), NETWORKS),
        ("volumes", sum(|it| it.volumes.len()), VOLUMES),
    ] {
        if found > most {
            at.wrong(&format!("has {found} {what}, at most {most} are possible"));
        }
    }
}

/// Reads the apps of a document, each in its own shape.
pub(super) fn read(at: &Cursor<'_>, config: &mut SortedMap<String, String>) -> SortedMap<AppId, App> {
    let mut apps = SortedMap::new();
    let all = at;
    for (key, at) in all.entries() {
        let app = if at.key("releases").is_some() || at.key("id").is_some() {
            by_uuid(key, &at)
        } else if at.key("services").is_none() && at.key("image").is_some() {
            single::read(key, &at, config)
        } else {
            by_id(key, &at)
        };
        let Some(app) = app else { continue };
        if let Some(twice) = apps.insert(app.id, app) {
            at.wrong(&format!("has the same number as the app {}", quoted(&twice.name)));
        }
    }
    within(&apps, all);
    apps
}

/// Reads the apps of the list in `apps.json` of 2016.
pub(super) fn preloaded(at: &Cursor<'_>, config: &mut SortedMap<String, String>) -> SortedMap<AppId, App> {
    let mut apps = SortedMap::new();
    for item in at.items() {
        let Some(app) = single::preloaded(&item, config) else { continue };
        if let Some(twice) = apps.insert(app.id, app) {
            item.wrong(&format!("has the same number as the app {}", quoted(&twice.name)));
        }
    }
    within(&apps, at);
    apps
}

/// v3: `<uuid>: {id, name, releases: {<commit>: {…}}}`.
fn by_uuid(uuid: &str, at: &Cursor<'_>) -> Option<App> {
    let mut fields = ObjectFields::of(at);
    fields.skip(&["class", "parent_app"]);
    if fields.flag("is_host").unwrap_or(false) || SUPERVISORS.contains(&uuid) {
        at.warn("belongs to the host, left to it");
        return None;
    }
    if let Some(expected) = rules::docker_name(uuid) {
        at.wrong(&format!("the app's uuid must be {expected}"));
    }
    let id = fields.take("id");
    let name = title(&mut fields, uuid);
    let releases = fields.take("releases").map(|it| it.entries()).unwrap_or_default();
    fields.rest();
    if id.is_none() {
        at.missing("id", "the app's number");
    }
    if releases.len() > 1 {
        at.wrong(&format!("expected one release, found {} ({})", releases.len(), listed(releases.iter().map(|it| it.0))));
    }
    let mut app = App { uuid: uuid.to_owned(), name, ..empty(AppId(id.and_then(|it| it.id()).unwrap_or_default())) };
    if let Some((commit, release)) = releases.into_iter().next() {
        app.commit = Some(checked_commit(commit, &release));
        let mut fields = ObjectFields::of(&release);
        app.release_id = fields.id("id");
        let services = fields.take("services").map(|it| it.entries()).unwrap_or_default();
        let services = services.into_iter().map(|(name, at)| (name.to_owned(), at.key("id").and_then(|it| it.id()), at));
        release_of(services.collect(), &mut fields, &mut app, DocumentOrigin::Cloud);
        fields.rest();
    }
    Some(app)
}

/// The commits that v3 apps name, by the apps' uuids. Those of the host are left out, as they are when apps are read.
pub(super) fn releases(at: &Cursor<'_>) -> SortedMap<String, String> {
    let entries = at.entries().into_iter();
    let is_ours = |uuid: &str, app: &Cursor<'_>| {
        let of_host = app.key("is_host").and_then(|it| it.flag()).unwrap_or(false);
        !of_host && !SUPERVISORS.contains(&uuid)
    };
    let apps = entries.filter(|(uuid, app)| is_ours(uuid, app));
    apps.filter_map(|(uuid, app)| Some((uuid.to_owned(), app.key("releases")?.entries().first()?.0.to_owned()))).collect()
}

/// v2: `<id>: {name, commit, releaseId, services: {<id>: {serviceName, …}}}`.
fn by_id(key: &str, at: &Cursor<'_>) -> Option<App> {
    let mut fields = ObjectFields::of(at);
    fields.skip(&["app_id", "uuid", "class"]);
    let mut app = App { name: title(&mut fields, key), ..empty(app_id(key, at)?) };
    app.commit = fields.take("commit").and_then(|it| it.text().map(|commit| checked_commit(commit, &it)));
    app.release_id = fields.id("release_id");
    let services: Vec<_> = fields
        .take("services")
        .map(|it| it.entries())
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(id, at)| Some((service_name(&at)?, service_id(id, &at), at)))
        .collect();
    let several = !services.is_empty();
    release_of(services, &mut fields, &mut app, DocumentOrigin::Cloud);
    fields.rest();
    if app.commit.is_none() {
        if several {
            at.warn("has no `commit`, so that none of its services is run");
        }
        app = App {
            services: SortedMap::new(),
            networks: SortedMap::new(),
            volumes: SortedMap::new(),
            snapshots: SortedSet::new(),
            contracts: Vec::new(),
            ..app
        };
    }
    Some(app)
}

fn service_name(at: &Cursor<'_>) -> Option<String> {
    let name = at.key("serviceName").or_else(|| at.key("service_name"));
    if name.is_none() {
        at.missing("serviceName", "the service's name");
    }
    let name = name?;
    let text = name.text()?;
    if let Some(expected) = rules::docker_name(text) {
        name.expected(expected);
    }
    Some(text.to_owned())
}

fn service_id(key: &str, at: &Cursor<'_>) -> Option<u32> {
    let id = digits(key);
    if id.is_none() {
        at.wrong("the service's key must be its number, 0 to 4294967295");
    }
    id
}

/// Reads labels, services, networks and volumes: first their names, then the services, which refer to these names.
pub(super) fn release_of(
    services: Vec<(String, Option<u32>, Cursor<'_>)>,
    fields: &mut ObjectFields<'_>,
    app: &mut App,
    origin: DocumentOrigin,
) {
    app.networks = networks::networks(fields.take("networks"));
    let volumes = networks::volumes(fields.take("volumes"), origin);
    app.snapshots = volumes.iter().filter(|(_, it)| it.snapshot).map(|(name, _)| name.clone()).collect();
    app.volumes = volumes.into_iter().map(|(name, it)| (name, it.config)).collect();
    let external_volumes = match origin {
        DocumentOrigin::Cloud => SortedMap::new(),
        DocumentOrigin::ComposeFile => fields.pairs("external_volumes", rules::docker_name),
    };
    let labels = match origin {
        DocumentOrigin::Cloud => "labels",
        DocumentOrigin::ComposeFile => "x_labels",
    };
    let labels = fields.take(labels).map(|it| ReleaseLabels::read(&it)).unwrap_or_default();
    let known = ReleaseNames {
        services: services.iter().map(|(name, ..)| name.clone()).collect(),
        networks: app.networks.keys().cloned().collect(),
        volumes: app.volumes.keys().cloned().collect(),
        external_volumes,
        origin,
    };
    let mut places: SortedMap<String, Cursor<'_>> = SortedMap::new();
    app.contracts.extend(fields.take("contract").and_then(|it| contract::read(&it, None, false)));
    for (name, id, at) in services {
        if let Some(expected) = rules::docker_name(&name) {
            at.wrong(&format!("the service's name must be {expected}"));
        }
        if places.insert(name.clone(), at.clone()).is_some() {
            at.wrong(&format!("the app has the service {} twice", quoted(&name)));
        }
        if let Some(service) = service::read(id.unwrap_or_default(), &name, &at, &known, &labels) {
            let optional = service.config.labels.get(OPTIONAL).is_some_and(|it| is_on(it));
            app.contracts.extend(at.key("contract").and_then(|it| contract::read(&it, Some(&name), optional)));
            app.services.insert(name, service);
        }
    }
    let run: SortedSet<_> = app.services.keys().cloned().collect();
    for (_, service) in &mut app.services {
        // The agent starts no service that is left to the host.
        service.depends_on.retain(|it, _| run.contains(it));
    }
    for (name, service) in &app.services {
        if let Some(at) = places.get(name) {
            depends::warn_of_endless(at, service, &app.services);
        }
    }
    let ring = waiting_in_a_ring(&app.services);
    if let Some(at) = ring.first().and_then(|it| places.get(*it)) {
        at.wrong(&format!("services wait for each other: {}", listed(ring.iter().copied())));
    }
}

/// Services in a dependency cycle, or that depend on one: they could never be started.
fn waiting_in_a_ring(services: &SortedMap<String, Service>) -> Vec<&str> {
    let mut waits: SortedMap<&str, usize> = SortedMap::new();
    let mut waiters: SortedMap<&str, Vec<&str>> = SortedMap::new();
    for (name, service) in services {
        waits.insert(name, service.depends_on.len());
        for on in service.depends_on.keys() {
            waiters.entry(on).or_default().push(name);
        }
    }
    let mut free: Vec<&str> = waits.iter().filter(|(_, left)| **left == 0).map(|(name, _)| *name).collect();
    while let Some(name) = free.pop() {
        waits.remove(name);
        for waiter in waiters.remove(name).unwrap_or_default() {
            if let Some(left) = waits.get_mut(waiter) {
                *left -= 1;
                free.extend((*left == 0).then_some(waiter));
            }
        }
    }
    waits.keys().copied().collect()
}
