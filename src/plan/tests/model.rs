//! A model of a device, described in words: how its engine executes steps.

use std::time::Duration;

use crate::plan::{container_name, plan};
use crate::sorted::{SortedMap, SortedSet};
use crate::state::app::Generation;
use crate::state::config::{Mount, MountMode, NetworkMode, Port, RestartPolicy};
use crate::state::hook::{HookOutcome, UpdateHook};
use crate::state::network::NetworkAttachment;
use crate::state::service::Strategy;
use crate::state::{
    App, AppId, Condition, Container, ContainerConfig, ContainerId, ContainerPhase, ContainerSpec, Current, Dependency,
    EngineAction, EngineTime, HealthStatus, Image, ImageId, ImageRef, LockState, Network, NetworkConfig, NetworkId, Origin,
    Overrides, Service, ServiceKey, Step, Target, TrialRules, Volume, VolumeConfig,
};

/// The one app of these stories.
pub(crate) const APP: AppId = AppId(1);
/// When the device of these stories booted.
const BOOT: i64 = 100;

/// The steps and waits of a device, wave by wave.
pub(super) fn story(target: &str, device: &str) -> String {
    story_of(target, device, |_, _| ())
}

/// As `story`, after a change to the overrides or the device.
pub(super) fn story_of(target: &str, device: &str, change: impl FnOnce(&mut Overrides, &mut Current)) -> String {
    story_with(&parse_target(target), device, change)
}

/// As `story_of`, of a target that is no app of the words alone.
pub(super) fn story_with(target: &Target, device: &str, change: impl FnOnce(&mut Overrides, &mut Current)) -> String {
    let mut current = parse_device(device);
    let mut overrides = Overrides::default();
    change(&mut overrides, &mut current);
    let mut story = Vec::new();
    for _ in 0..20 {
        let plan = plan(target, &overrides, &current);
        if plan.steps.is_empty() {
            let waits = plan.waiting.iter().map(|it| format!("… {it}"));
            return story.into_iter().chain(waits).collect::<Vec<_>>().join("\n");
        }
        story.push(plan.steps.iter().map(Step::to_string).collect::<Vec<_>>().join(", "));
        if plan.steps.contains(&Step::Reboot) {
            return story.join("\n");
        }
        for step in &plan.steps {
            apply(&mut current, step);
        }
        drop_fulfilled(&mut overrides, &current, &plan.steps);
    }
    panic!("it never ends: {story:#?}");
}

/// Drops fulfilled overrides, as the reconciler does.
pub(super) fn drop_fulfilled(overrides: &mut Overrides, current: &Current, steps: &[Step]) {
    for step in steps {
        if let Step::Engine(EngineAction::Restart(which)) = step {
            overrides.recreate.remove(&which.id);
        }
    }
    overrides.recreate.retain(|id| current.containers.iter().any(|it| it.id == *id));
    let left =
        |app: AppId| current.containers.iter().any(|it| it.key.app == app) || current.volumes.iter().any(|it| it.app == app);
    overrides.purge.retain(|app| left(*app));
}

/// Executes a step as the engine does. Panics where the engine would reject it.
pub(super) fn apply(current: &mut Current, step: &Step) {
    match step {
        Step::Engine(action) => apply_action(current, action),
        // A lock held by a service that is not listed stays with its holder.
        Step::TakeLocks(app, services, _) => {
            let stays = matches!(current.locks.get(app), Some(LockState::Held(held)) if !services.contains(&held.service));
            if !stays {
                current.locks.insert(*app, LockState::Ours(services.clone()));
            }
        }
        Step::ReleaseLocks(app) => {
            current.locks.remove(app);
        }
        Step::HandOver { old, .. } => current.containers.retain(|it| it.id != old.id),
        Step::Reboot => current.booted_secs += 1000,
    }
}

fn apply_action(current: &mut Current, action: &EngineAction) {
    match action {
        EngineAction::Pull(image) => {
            assert!(!current.images.iter().any(|it| it.answers_to(image)), "pulled twice: {image}");
            current.images.push(image_of(image));
            current.removable_images.insert(image.clone());
        }
        EngineAction::Create(spec) => create(current, spec),
        EngineAction::Start(which) | EngineAction::Restart(which) => {
            let now = EngineTime(current.now_secs * 1_000_000_000);
            let networks = current.networks.clone();
            let it = container(current, &which.id);
            let exists = |(name, id): (&String, &NetworkId)| networks.iter().any(|it| it.name == *name && it.id == *id);
            assert!(it.networks.iter().flatten().all(exists), "a network of {} is gone", it.name);
            it.phase = ContainerPhase::Running;
            // Only containers of the stories about start times have one.
            it.started = it.started.map(|_| now);
        }
        EngineAction::Stop(which) => container(current, &which.id).phase = ContainerPhase::Exited(0),
        EngineAction::Kill(which) => current.containers.retain(|it| it.id != which.id),
        EngineAction::Rename(which, name) => rename(current, &which.id, name),
        EngineAction::Retire(which, name) => {
            rename(current, &which.id, name);
            container(current, &which.id).restart = RestartPolicy::No;
        }
        EngineAction::RunHook(which, run) => {
            assert_eq!(container(current, &which.id).phase, ContainerPhase::Running, "a hook in {which:?}");
            current.hooks.insert((which.id.clone(), run.wanted.clone()), HookOutcome::Done);
        }
        EngineAction::CreateNetwork(it) => current.networks.push(Network { id: network(&it.name).id, ..it.clone() }),
        EngineAction::RemoveNetwork(name, id, _) => current.networks.retain(|it| it.name != *name || it.id != *id),
        EngineAction::Connect(which, connections) => {
            let joined = connections.iter().map(|it| (it.network.clone(), it.id.clone()));
            container(current, &which.id).networks.get_or_insert_default().extend(joined);
        }
        EngineAction::CreateVolume(volume) => current.volumes.push(volume.clone()),
        EngineAction::RemoveVolume(name, _) => {
            current.volumes.retain(|it| it.name != *name);
            if current.snapshots.iter().any(|it| it.name == *name) {
                // Without the copy nothing is demanded.
                current.data.clear();
            }
            current.snapshots.retain(|it| it.name != *name);
        }
        EngineAction::KeepData(copy) => super::data::copied(current, copy),
        EngineAction::PutDataBack(copy) => {
            assert!(!current.containers.iter().any(|it| it.volumes.contains(&copy.volume.name)), "in use");
            super::data::copied(current, copy);
        }
        EngineAction::RemoveImage(image) => {
            let id = image_of(image).id;
            assert!(!current.containers.iter().any(|it| it.image == id), "in use: {image}");
            current.images.retain(|it| it.id != id);
            current.removable_images.remove(image);
        }
    }
}

fn rename(current: &mut Current, id: &ContainerId, name: &str) {
    assert!(!current.containers.iter().any(|it| it.name == name), "name taken: {name}");
    name.clone_into(&mut container(current, id).name);
}

fn container<'a>(current: &'a mut Current, id: &ContainerId) -> &'a mut Container {
    current.containers.iter_mut().find(|it| it.id == *id).unwrap()
}

fn create(current: &mut Current, spec: &ContainerSpec) {
    assert!(current.images.iter().any(|it| it.answers_to(&spec.image)), "no image for {}", spec.key);
    assert!(!current.containers.iter().any(|it| it.name == spec.name), "name taken: {}", spec.name);
    let created_secs = i64::try_from(current.containers.len()).unwrap() + current.booted_secs + 1;
    let id = ContainerId(format!("new-{}-{created_secs}-{}", spec.key, spec.hash));
    current.containers.push(Container {
        id,
        name: spec.name.clone(),
        key: spec.key.clone(),
        phase: ContainerPhase::Created,
        created_secs,
        image: image_of(&spec.image).id,
        image_ref: spec.image.clone(),
        made: Origin::Ours(spec.hash.clone()),
        outcome: None,
        env: spec.config.env.clone().into(),
        restart: spec.config.restart,
        started: None,
        networks: None,
        shares: spec.config.shares().map(|(namespace, owner)| (namespace, spec.owners[&owner.to_owned()].clone())).collect(),
        ports: spec.config.ports.iter().map(|it| it.at(spec.ports[it])).collect(),
        is_port_taken: false,
        before_update: UpdateHook::of_labels(&spec.config.labels).unwrap(),
        shares_since: None,
        is_orphaned: false,
        volumes: spec.config.mounts.iter().filter_map(|it| it.engine_volume(APP)).collect(),
        restarts: 0,
        is_out_of_memory: false,
        error: None,
        health: None,
    });
}

pub(super) fn image_of(image: &ImageRef) -> Image {
    Image { id: ImageId(format!("sha256:{image}")), names: [image.clone()].into(), size_bytes: 1 }
}

/// A service, parsed from its words.
pub(super) fn service(name: &str, image: &str, words: &[&str]) -> Service {
    let mut config = ContainerConfig::default();
    config
        .networks
        .insert("default".to_owned(), NetworkAttachment { aliases: [name.to_owned()].into(), ..NetworkAttachment::default() });
    let mut service = Service {
        id: 1,
        image: ImageRef::new(image),
        image_id: 1,
        running: true,
        depends_on: SortedMap::new(),
        strategy: Strategy::DownloadThenKill,
        handover_timeout: Duration::from_secs(60),
        update_window: None,
        trial: TrialRules::default(),
        requires_reboot: false,
        features: SortedSet::new(),
        config,
    };
    for word in words {
        match word.split_once(':') {
            None => plain_word(&mut service, word),
            Some((on @ ("after" | "healthy" | "completed" | "with" | "wish"), other)) => {
                service.depends_on.insert(other.to_owned(), dependency(on));
            }
            Some(("env", value)) => drop(service.config.env.insert("A".to_owned(), value.to_owned())),
            Some(("volume", volume)) => {
                let path = format!("/{volume}");
                service.config.mounts.insert(Mount::Volume { name: volume.to_owned(), path, access: MountMode::Write });
            }
            Some(("ports", range)) => drop(service.config.ports.insert(port(range))),
            Some(("has", _)) => (),
            Some(("pid-of", other)) => service.config.pid = Some(format!("service:{other}")),
            Some(("ipc-of", other)) => service.config.ipc = format!("service:{other}"),
            Some(("shares", other)) => {
                service.config.networks.clear();
                service.config.network_mode = NetworkMode::Service(other.to_owned());
            }
            Some(_) => panic!("{word}"),
        }
    }
    service
}

/// A dependency of a service: `with` restarts the dependent too, `wish` is one that is not required.
fn dependency(word: &str) -> Dependency {
    let plain = Dependency::default();
    match word {
        "healthy" => Dependency { condition: Condition::Healthy, ..plain },
        "completed" => Dependency { condition: Condition::Completed, ..plain },
        "with" => Dependency { restart: true, ..plain },
        "wish" => Dependency { condition: Condition::Healthy, required: false, ..plain },
        _ => plain,
    }
}

/// A range of host ports, one of which leads to port 80.
pub(super) fn port(range: &str) -> Port {
    let (first, last) = range.split_once('-').unwrap();
    let (host, host_last) = (first.parse().ok(), last.parse().ok());
    Port { container: 80, protocol: "tcp".to_owned(), host_ip: String::new(), host, host_last }
}

fn plain_word(service: &mut Service, word: &str) {
    match word {
        "kill-first" => service.strategy = Strategy::KillThenDownload,
        "delete-first" => service.strategy = Strategy::DeleteThenDownload,
        "hand-over" => service.strategy = Strategy::HandOver,
        "off" => service.running = false,
        "rests" => service.config.restart = RestartPolicy::No,
        "retries" => service.config.restart = RestartPolicy::OnFailure(0),
        "reboot" => service.requires_reboot = true,
        // Words about a container rather than its service.
        "retired" | "beside" | "elsewhere" | "before-boot" | "starting" | "is-healthy" | "unhealthy" => (),
        _ => panic!("{word}"),
    }
}

pub(crate) fn parse_target(text: &str) -> Target {
    let mut app = empty_app();
    for line in text.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["release", commit] => app.commit = Some(commit.to_owned()),
            ["network", name, driver] if driver.starts_with("driver:") => {
                let config = NetworkConfig { driver: driver["driver:".len()..].to_owned(), ..NetworkConfig::default() };
                app.networks.insert(name.to_owned(), config);
            }
            ["network", name, "internal"] => {
                let config = NetworkConfig { internal: true, ..NetworkConfig::default() };
                app.networks.insert(name.to_owned(), config);
            }
            [name, image, ref words @ ..] => drop(app.services.insert(name.to_owned(), service(name, image, words))),
            _ => panic!("{line}"),
        }
    }
    let volumes = app.services.values().flat_map(|it| crate::plan::input::volumes(it).cloned()).collect::<Vec<_>>();
    app.volumes = volumes.into_iter().map(|it| (it, VolumeConfig::default())).collect();
    let apps = if app.services.is_empty() { Vec::new() } else { vec![(APP, app)] };
    Target { apps: apps.into_iter().collect(), ..Target::default() }
}

pub(super) fn empty_app() -> App {
    App {
        id: APP,
        uuid: "app".to_owned(),
        name: "app".to_owned(),
        commit: Some("one".to_owned()),
        release_id: 1,
        services: crate::sorted::SortedMap::new(),
        networks: std::iter::once(("default".to_owned(), NetworkConfig::default())).collect(),
        volumes: crate::sorted::SortedMap::new(),
        snapshots: crate::sorted::SortedSet::new(),
        contracts: Vec::new(),
        shape: Generation::Services,
    }
}

pub(crate) fn parse_device(text: &str) -> Current {
    let mut current = Current { booted_secs: BOOT, now_secs: BOOT + 1_000_000, ..Current::default() };
    let mut default_network = text.is_empty() || text.lines().all(|it| it.starts_with("image"));
    for line in text.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["image", image] => add_image(&mut current, &ImageRef::new(image)),
            ["volume", name] => {
                let name = format!("{APP}_{name}");
                current.volumes.push(Volume { name, app: APP, config: VolumeConfig::default() });
            }
            ["network", name] => {
                default_network = true;
                let name = format!("app_{name}");
                current.networks.push(network(&name));
            }
            [name, image, phase, ref words @ ..] => add_container(&mut current, name, image, phase, words),
            _ => panic!("{line}"),
        }
    }
    // A device gets this network unless its story declares networks.
    if !default_network {
        current.networks.push(network("app_default"));
    }
    current.networks.push(Network { app: None, ..network("supervisor0") });
    current
}

/// A network of the app, by its name on the engine.
pub(super) fn network(name: &str) -> Network {
    Network { id: NetworkId(format!("id-{name}")), name: name.to_owned(), app: Some(APP), config: NetworkConfig::default() }
}

fn add_image(current: &mut Current, image: &ImageRef) {
    if !current.images.iter().any(|it| it.answers_to(image)) {
        current.images.push(image_of(image));
        current.removable_images.insert(image.clone());
    }
}

fn add_container(current: &mut Current, name: &str, image: &str, phase: &str, words: &[&str]) {
    let service = service(name, image, words);
    add_image(current, &service.image);
    let mut label = container_name(&empty_app(), name, &service);
    if words.contains(&"retired") {
        label = format!("old_{label}");
    }
    if words.contains(&"beside") {
        label = format!("new_{label}");
    }
    if current.containers.iter().any(|it| it.name == label) {
        label += "_too";
    }
    let index = i64::try_from(current.containers.len()).unwrap();
    let owner = |other: &str| current.containers.iter().find(|it| it.key.service == other).map(|it| it.id.clone());
    let shares = service.config.shares().filter_map(|(namespace, other)| Some((namespace, owner(other)?))).collect();
    let made = if words.contains(&"elsewhere") {
        Origin::Adopted(Box::new(service.config.clone().into()))
    } else {
        Origin::Ours(service.config.hash(service.image.as_str()))
    };
    current.containers.push(Container {
        id: ContainerId(format!("{name}-{index}")),
        name: label,
        key: ServiceKey::new(APP, name),
        phase: phase_of(phase),
        created_secs: if words.contains(&"before-boot") { BOOT - 50 } else { BOOT + index },
        image: image_of(&service.image).id,
        image_ref: service.image.clone(),
        made,
        outcome: None,
        env: service.config.env.clone().into(),
        restart: service.config.restart,
        started: None,
        networks: None,
        shares,
        ports: words.iter().filter_map(|it| it.strip_prefix("has:")).map(|it| port("1-2").at(it.parse().unwrap())).collect(),
        is_port_taken: false,
        before_update: None,
        shares_since: None,
        is_orphaned: false,
        volumes: service.config.mounts.iter().filter_map(|it| it.engine_volume(APP)).collect(),
        restarts: 0,
        is_out_of_memory: false,
        error: None,
        health: health_of(words),
    });
}

fn health_of(words: &[&str]) -> Option<HealthStatus> {
    words.iter().find_map(|it| match *it {
        "starting" => Some(HealthStatus::Starting),
        "is-healthy" => Some(HealthStatus::Healthy),
        "unhealthy" => Some(HealthStatus::Unhealthy),
        _ => None,
    })
}

pub(super) fn phase_of(word: &str) -> ContainerPhase {
    match word {
        "created" => ContainerPhase::Created,
        "running" => ContainerPhase::Running,
        "restarting" => ContainerPhase::Restarting,
        "paused" => ContainerPhase::Paused,
        "exited" => ContainerPhase::Exited(0),
        "failed" => ContainerPhase::Exited(3),
        "dead" => ContainerPhase::Dead,
        _ => panic!("{word}"),
    }
}
