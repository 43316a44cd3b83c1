//! Apps of 2017: one privileged container each, with the host's network, and its data in `/data`.

use std::time::Duration;

use crate::sorted::{SortedMap, SortedSet};
use crate::state::app::Generation;
use crate::state::config::{Mount, MountMode, NetworkMode, Port, RestartPolicy};
use crate::state::service::{Feature, Strategy};
use crate::state::{App, ContainerConfig, ImageRef, Service, TrialRules, VolumeConfig};

use super::app::{app_id, checked_commit, empty, title};
use super::at::{Cursor, quoted};
use super::fields::ObjectFields;
use super::{compose, ports, rules, service, settings};

/// The service's name. Documents of 2017 have none; later generations use this one.
const SERVICE: &str = "main";

/// The app's only volume.
const DATA: &str = "data";

/// Features that every such container had, under their names of today.
const FEATURES: [Feature; 4] = [Feature::Dbus, Feature::KernelModules, Feature::Firmware, Feature::SupervisorApi];

/// Reads `<id>: {name, image, commit, environment, config}`. The app's settings are added to the device's.
pub(super) fn read(key: &str, at: &Cursor<'_>, device: &mut SortedMap<String, String>) -> Option<App> {
    let mut fields = ObjectFields::of(at);
    fields.skip(&["app_id", "image_id", "build_id"]);
    let image = service::image(at, &mut fields)?;
    let env = fields.take("environment");
    app_of(key, at, fields, (&image, env), device)
}

/// Reads `{appId, name, imageId, commit, env, config}`, an entry of the list on a card of 2016.
pub(super) fn preloaded(at: &Cursor<'_>, device: &mut SortedMap<String, String>) -> Option<App> {
    let mut fields = ObjectFields::of(at);
    fields.skip(&["image_repo", "build_id"]);
    let (key, image, env) = (fields.take("app_id"), fields.take("image_id"), fields.take("env"));
    let Some(key) = key.as_ref().and_then(Cursor::scalar) else {
        at.missing("appId", "the app's number");
        return None;
    };
    let Some(image) = image else {
        at.missing("imageId", "the name of an image");
        return None;
    };
    let text = image.text()?;
    if let Some(expected) = rules::image(text) {
        image.expected(expected);
    }
    app_of(&key, at, fields, (text, env), device)
}

fn app_of(
    key: &str,
    at: &Cursor<'_>,
    mut fields: ObjectFields<'_>,
    (image, env): (&str, Option<Cursor<'_>>),
    device: &mut SortedMap<String, String>,
) -> Option<App> {
    let mut app = App { name: title(&mut fields, key), shape: Generation::Single, ..empty(app_id(key, at)?) };
    app.commit = fields.take("commit").and_then(|it| it.text().map(|commit| checked_commit(commit, &it)));
    let env = env.map(|it| (compose::environment(it.clone(), rules::variable), it));
    let config = fields.take("config");
    let settings = config.as_ref().map(settings).unwrap_or_default();
    fields.rest();

    let mut container = container(env);
    let policy = Policy { at: config.as_ref().unwrap_or(at), settings: &settings };
    container.restart = policy.restart();
    let main = Service {
        id: 0,
        image: ImageRef::new(image),
        image_id: 0,
        running: true,
        depends_on: SortedMap::new(),
        strategy: policy.strategy(),
        handover_timeout: policy.handover(),
        requires_reboot: false,
        update_window: None,
        trial: TrialRules::default(),
        features: FEATURES.into(),
        config: container,
    };
    app.services.insert(SERVICE.to_owned(), main);
    app.volumes.insert(DATA.to_owned(), VolumeConfig::default());
    device.extend(settings);
    Some(app)
}

fn container(env: Option<(SortedMap<String, String>, Cursor<'_>)>) -> ContainerConfig {
    let mut config = ContainerConfig { network_mode: NetworkMode::Host, privileged: true, ..ContainerConfig::default() };
    config.mounts.insert(Mount::Volume { name: DATA.to_owned(), path: "/data".to_owned(), access: MountMode::Write });
    if let Some((env, at)) = env {
        config.ports = env.get("PORT").map(|it| published(it, &at)).unwrap_or_default();
        config.expose = config.ports.iter().map(ports::exposure).collect();
        config.env = env;
    }
    config
}

/// `PORT=80,8080`. A part that is not a port is ignored, as in 2017.
fn published(text: &str, at: &Cursor<'_>) -> SortedSet<Port> {
    let mut ports = SortedSet::new();
    for word in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        match word.parse::<u16>() {
            Ok(port @ 1..=65534) => {
                let tcp = "tcp".to_owned();
                ports.insert(Port {
                    container: port,
                    protocol: tcp,
                    host_ip: String::new(),
                    host: Some(port),
                    host_last: None,
                });
            }
            Ok(_) | Err(_) => at.warn("PORT has a part that is no port from 1 to 65534, ignored"),
        }
    }
    ports
}

/// How a container is restarted and updated, according to the app's settings.
struct Policy<'p, 'a> {
    at: &'p Cursor<'a>,
    settings: &'p SortedMap<String, String>,
}

impl Policy<'_, '_> {
    fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", String::as_str)
    }

    fn restart(&self) -> RestartPolicy {
        let policy = self.setting("APP_RESTART_POLICY");
        match policy {
            "" | "always" => RestartPolicy::Always,
            "no" => RestartPolicy::No,
            "unless-stopped" => RestartPolicy::UnlessStopped,
            "on-failure" => RestartPolicy::OnFailure(self.retries()),
            _ => {
                let why = "APP_RESTART_POLICY must be no, always, on-failure or unless-stopped, found";
                self.at.wrong(&format!("{why} {}", quoted(policy)));
                RestartPolicy::Always
            }
        }
    }

    fn retries(&self) -> u32 {
        let text = self.setting("APP_RESTART_RETRIES");
        if text.is_empty() {
            return 0;
        }
        text.trim().parse().unwrap_or_else(|_| {
            self.at.wrong(&format!("APP_RESTART_RETRIES must be a whole number, found {}", quoted(text)));
            0
        })
    }

    fn strategy(&self) -> Strategy {
        let text = self.setting("SUPERVISOR_UPDATE_STRATEGY");
        service::strategy_named(text).unwrap_or_else(|| {
            self.at.warn(&format!("the update strategy {} is not known, download-then-kill is used", quoted(text)));
            Strategy::default()
        })
    }

    fn handover(&self) -> Duration {
        let text = self.setting("SUPERVISOR_HANDOVER_TIMEOUT");
        service::handover_of(text).unwrap_or_else(|| {
            self.at.warn(&format!("the hand-over timeout {} is not a number of milliseconds, 60000 is used", quoted(text)));
            service::HANDOVER
        })
    }
}
