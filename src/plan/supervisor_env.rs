//! What every container is given on top of its owner's configuration: environment, lock directories, networks, and what its
//! features give access to. Names, paths and values are those of other supervisors, so that an app need not know which one
//! runs it.

use crate::sorted::SortedMap;
use crate::state::app::Generation;
use crate::state::config::{Mount, MountMode, NetworkMode, Propagation};
use crate::state::keys::{Grant, KeyScope};
use crate::state::network::{SUPERVISOR_GATEWAY, SUPERVISOR_NETWORK};
use crate::state::service::Feature;
use crate::state::supervisor_mounts::{ENGINE_SOCKET, JOURNAL, LOCK_MOUNTS};
use crate::state::{App, ContainerConfig, Device, Keys, Service, ServiceKey, Target};

/// Where apps find their update lock.
const LOCK_PATH: &str = "/tmp/balena/updates.lock";
/// Where a new container notifies that it is ready to take over.
const HAND_OVER_PATH: &str = "/tmp/balena/handover-complete";
/// Where the host keeps the lock directories of services.
const LOCK_ROOT: &str = "/tmp/balena-supervisor/services";
/// The label that says whether a service gets access to the API.
const API_LABEL: &str = "io.balena.features.supervisor-api";

/// The target with everything its containers are given. Deterministic: it depends on the target, the device and the keys
/// only.
#[must_use]
pub fn inject_supervisor_env(target: &Target, device: &Device, keys: &Keys) -> Target {
    let mut target = target.clone();
    target.name.get_or_insert_with(|| device.name.clone());
    for (_, app) in &mut target.apps {
        let names: Vec<String> = app.services.keys().cloned().collect();
        for name in names {
            let env = environment(app, &name, device, keys);
            if let Some(service) = app.services.get_mut(&name) {
                let key = ServiceKey { app: app.id, service: name };
                inject(service, &key, device, env);
            }
        }
        if app.shape != Generation::Single {
            let default = app.networks.entry("default".to_owned()).or_default();
            // An engine would reserve addresses for a network without containers.
            default.config_only = app.services.values().all(|it| it.config.network_mode == NetworkMode::Host);
        }
    }
    target
}

/// The scope of each service's API key: its own app, or the whole device if the service is given access to the API.
#[must_use]
pub fn grants(target: &Target) -> Vec<Grant> {
    let grant = |(app, name, service): (&App, &String, &Service)| {
        let has_api_access = gets_api_variables(app, service);
        let reach = if has_api_access { KeyScope::Device } else { KeyScope::App };
        Grant { service: ServiceKey::new(app.id, name), app_uuid: app.uuid.clone(), reach }
    };
    target.services().map(grant).collect()
}

/// Whether any service needs the network on which the API is reached.
pub(super) fn needs_supervisor_network(target: &Target) -> bool {
    let mut services = target.apps.values().flat_map(|app| app.services.values());
    services.any(|it| it.config.network_mode == NetworkMode::App)
}

/// Whether a service is given an address on that network, where the API is reached.
pub(super) fn uses_supervisor_network(target: &Target) -> bool {
    let mut services = target.apps.values().flat_map(|app| app.services.values().map(move |it| (app, it)));
    services.any(|(app, it)| it.config.network_mode != NetworkMode::Host && gets_api_variables(app, it))
}

/// Whether a service is given the API's address and a key: if its label says so, if it is its app's only service and has no
/// such label, and in the single-container format of 2017. In a compose file only a label says so: a program that was not made
/// for a device gets no key of it.
fn gets_api_variables(app: &App, service: &Service) -> bool {
    let unlabelled = app.shape != Generation::Compose && !service.config.labels.contains_key(API_LABEL);
    service.features.contains(&Feature::SupervisorApi)
        || app.shape == Generation::Single
        || (unlabelled && app.services.len() == 1)
}

/// Whether a mount is the lock directory of a service.
pub(super) fn is_lock_mount(mount: &Mount) -> bool {
    matches!(mount, Mount::Bind { host, .. } if host.starts_with(LOCK_ROOT))
}

fn inject(service: &mut Service, key: &ServiceKey, device: &Device, env: SortedMap<String, String>) {
    let config = &mut service.config;
    for (name, value) in env {
        // The owner's value wins.
        config.env.entry(name).or_insert(value);
    }
    let locks = format!("{LOCK_ROOT}/{}/{}", key.app, key.service);
    for path in LOCK_MOUNTS {
        mount(config, &locks, path, MountMode::Write);
    }
    for feature in &service.features {
        grant_feature(config, *feature, device);
    }
}

/// Gives a service access to what a feature is about.
fn grant_feature(config: &mut ContainerConfig, feature: Feature, device: &Device) {
    let is_on_host = device.host_features.contains(&feature);
    match feature {
        Feature::JournalLogs => {
            for path in JOURNAL {
                mount(config, path, path, MountMode::ReadOnly);
            }
        }
        Feature::Dbus => mount(config, "/run/dbus", "/host/run/dbus", MountMode::Write),
        Feature::KernelModules if is_on_host => mount(config, "/lib/modules", "/lib/modules", MountMode::Write),
        Feature::Firmware if is_on_host => mount(config, "/lib/firmware", "/lib/firmware", MountMode::Write),
        Feature::BalenaSocket => {
            let Some(socket) = &device.engine_socket else { return };
            for path in [ENGINE_SOCKET, socket, "/var/run/balena.sock"] {
                mount(config, socket, path, MountMode::Write);
            }
            config.env.entry("DOCKER_HOST".to_owned()).or_insert_with(|| format!("unix://{ENGINE_SOCKET}"));
        }
        Feature::SupervisorApi if config.network_mode == NetworkMode::App => {
            config.networks.entry(SUPERVISOR_NETWORK.to_owned()).or_default();
        }
        Feature::Sysfs => mount(config, "/sys", "/sys", MountMode::Write),
        Feature::Procfs => mount(config, "/proc", "/proc", MountMode::Write),
        Feature::Gpu => config.gpus = config.gpus.max(1),
        // The engine takes a bind source without a slash for a volume of its own, shared by all apps.
        Feature::ExtraFirmware => mount(config, "extra-firmware", "/extra-firmware", MountMode::Write),
        // Nothing to mount: environment only, or a host without modules, where the engine would create empty directories.
        Feature::KernelModules | Feature::Firmware | Feature::SupervisorApi | Feature::BalenaApi | Feature::BoardRev => (),
    }
}

fn mount(config: &mut ContainerConfig, host: &str, path: &str, access: MountMode) {
    config.mounts.insert(Mount::Bind {
        host: host.to_owned(),
        path: path.to_owned(),
        access,
        propagation: Propagation::default(),
    });
}

/// The environment given to a container; each name with both prefixes, `RESIN_` and `BALENA_`.
fn environment(app: &App, name: &str, device: &Device, keys: &Keys) -> SortedMap<String, String> {
    let key = ServiceKey::new(app.id, name);
    let Some(service) = app.services.get(name) else { return SortedMap::new() };
    // What was written for `docker compose` gets what that gives it, until a label asks for more.
    if app.shape == Generation::Compose && service.features.is_empty() {
        return SortedMap::new();
    }
    let host = match service.config.network_mode {
        NetworkMode::Host => "127.0.0.1",
        NetworkMode::App | NetworkMode::None | NetworkMode::Service(_) | NetworkMode::Container(_) => SUPERVISOR_GATEWAY,
    };
    let mut env = Prefixed::default();
    env.both("APP_ID", &app.id.to_string());
    env.both("APP_UUID", &app.uuid);
    env.both("APP_NAME", &app.name);
    env.both("SERVICE_NAME", name);
    env.both("DEVICE_UUID", &device.uuid);
    env.both("DEVICE_TYPE", &device.device_type);
    env.both("DEVICE_ARCH", &device.arch);
    env.both("HOST_OS_VERSION", &device.os_version);
    env.both("APP_LOCK_PATH", LOCK_PATH);
    if gets_api_variables(app, service) {
        env.both("SUPERVISOR_API_KEY", keys.of(&key, &app.uuid).reveal());
        env.both("SUPERVISOR_HOST", host);
        env.both("SUPERVISOR_PORT", &device.api_port.to_string());
        env.both("SUPERVISOR_ADDRESS", &format!("http://{host}:{}", device.api_port));
    }
    env.plain("RESIN", "1");
    env.plain("BALENA", "1");
    env.plain("RESIN_SERVICE_KILL_ME_PATH", HAND_OVER_PATH);
    env.plain("BALENA_SERVICE_HANDOVER_COMPLETE_PATH", HAND_OVER_PATH);
    env.plain("USER", "root");
    if app.shape == Generation::Single {
        env.both("APP_RELEASE", app.commit.as_deref().unwrap_or_default());
        env.both("SUPERVISOR_VERSION", &device.supervisor_version);
    }
    if let (true, Some(url)) = (service.features.contains(&Feature::BalenaApi), &device.api_endpoint) {
        env.both("API_URL", url);
        // The device's key in the cloud, not its supervisor key, which would grant access to every app on the device.
        if let Some(key) = &device.cloud_key {
            env.both("API_KEY", key.reveal());
        }
    }
    if let (true, Some((rev, build))) = (service.features.contains(&Feature::BoardRev), &device.board_rev) {
        env.both("HOST_OS_BOARD_REV", rev);
        env.both("HOST_OS_BUILD", build);
    }
    env.0
}

#[derive(Default)]
struct Prefixed(SortedMap<String, String>);

impl Prefixed {
    fn both(&mut self, name: &str, value: &str) {
        self.plain(&format!("RESIN_{name}"), value);
        self.plain(&format!("BALENA_{name}"), value);
    }

    fn plain(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }
}
