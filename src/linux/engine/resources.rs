//! Networks, volumes and images: listed, created and removed. Those that no supervisor created are left alone.

use bollard::query_parameters::RemoveVolumeOptions;
use hyper::Method;
use serde_json::{Value, json};
use tracing::debug;

use crate::json::object::texts;
use crate::linux::engine::Engine;
use crate::linux::engine::connection::{EngineConnection, moment};
use crate::linux::engine::encode::Fields;
use crate::linux::engine::errors::{found, has, is_conflict, network_without_addresses, sort};
use crate::linux::engine::json::EngineJson;
use crate::linux::engine::labels::{self, Labels};
use crate::linux::engine::snapshots::is_snapshot;
use crate::port::EngineError;
use crate::sorted::{SortedSet, sort_by};
use crate::state::network::{AddressPool, SUPERVISOR_GATEWAY, SUPERVISOR_NETWORK, SUPERVISOR_SUBNET};
use crate::state::{AppId, EngineTime, Image, ImageId, ImageRef, Network, NetworkConfig, NetworkId, Volume, VolumeConfig};

/// Options that engines add by themselves.
const ADDED: [&str; 2] = ["com.docker.network.enable_ipv4", "com.docker.network.enable_ipv6"];

impl Engine {
    pub(super) async fn create_network(&self, network: &Network) -> Result<(), EngineError> {
        let connection = self.connection().await?;
        let what = format!("create network {}", network.name);
        let mut body = network_body(network);
        // Older engines allow two networks of one name, and look for one only if they are asked to. Where an earlier request
        // that timed out has created one all the same, the planner removes the younger.
        body.some("CheckDuplicate", connection.api() < (1, 44));
        match self.post(&connection, "/networks/create", &body.value()).await {
            Ok(_) => return Ok(()),
            Err(error) if !is_conflict(&error) => {
                return Err(network_without_addresses(lacks_driver(network, sort(&what, &error))));
            }
            Err(_) => {}
        }
        self.accept_network(&connection, network).await
    }

    /// Takes the network that the engine has for the one to be created, if a supervisor created it for this app.
    async fn accept_network(&self, connection: &EngineConnection, network: &Network) -> Result<(), EngineError> {
        let name = &network.name;
        let is_it = |it: &EngineJson| it.text("/Name") == name;
        let same = self.list(connection, "list networks", "/networks", |it| Some(it).filter(is_it)).await?;
        if same.iter().any(|it| !is_ours(it)) {
            return Err(EngineError::Refused(format!(
                "cannot create network {name}: there is one of that name that no supervisor made; remove or rename it"
            )));
        }
        let app_of = |it: &EngineJson| labels::app_of(name, &it.labels("/Labels"));
        if let Some(other) = same.iter().filter_map(app_of).find(|it| network.app.is_some_and(|app| app != *it)) {
            return Err(EngineError::Refused(format!(
                "cannot create network {name}: app {other} has one of that name; it is created once that is removed"
            )));
        }
        let missing = || format!("cannot create network {name}: the engine says that it has one, and has none");
        same.first().map(drop).ok_or_else(|| EngineError::Refused(missing()))
    }

    pub(super) async fn remove_network(&self, name: &str, id: &NetworkId) -> Result<(), EngineError> {
        let connection = self.connection().await?;
        let what = format!("remove network {name}");
        let is_it = |it: &EngineJson| it.text("/Name") == name && id.may_be(&NetworkId(it.text("/Id").to_owned()));
        for seen in self.list(&connection, "list networks", "/networks", |it| Some(it).filter(is_it)).await? {
            if !labels::supervised(&seen.labels("/Labels")) {
                return Err(EngineError::Refused(format!("cannot {what}: no supervisor made it")));
            }
            found(&what, connection.docker.remove_network(seen.text("/Id")).await)?;
        }
        Ok(())
    }

    pub(super) async fn create_volume(&self, volume: &Volume) -> Result<(), EngineError> {
        let connection = self.connection().await?;
        let (name, what) = (&volume.name, format!("create volume {}", volume.name));
        let mut labels = volume.config.labels.clone();
        // Its name says its app. A balena supervisor deletes a volume that has a label of the app's number, with its data.
        labels.extend(given(None));
        let (driver, options) = (&volume.config.driver, texts(&volume.config.driver_opts));
        let body = json!({"Name": name, "Driver": driver, "DriverOpts": options, "Labels": texts(&labels)});
        // An engine gives the volume that it has already; podman, or one that has another driver, refuses.
        let volume = match self.post(&connection, "/volumes/create", &body).await {
            Err(error) if is_conflict(&error) => {
                self.volume(&connection, name, &what).await?.ok_or_else(|| sort(&what, &error))?
            }
            created => created.map_err(|error| sort(&what, &error))?,
        };
        if labels::supervised(&volume.labels("/Labels")) {
            return Ok(());
        }
        let advice = "there is one of that name that no supervisor made; remove it";
        Err(EngineError::Refused(format!("cannot {what}: {advice}")))
    }

    /// Inspects a volume; `None` if there is none.
    pub(super) async fn volume(
        &self,
        connection: &EngineConnection,
        name: &str,
        what: &str,
    ) -> Result<Option<EngineJson>, EngineError> {
        found(what, self.get(connection, &format!("/volumes/{name}")).await)
    }

    pub(super) async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let connection = self.connection().await?;
        let what = format!("remove volume {name}");
        let Some(seen) = self.volume(&connection, name, &what).await? else { return Ok(()) };
        let labels = seen.labels("/Labels");
        if is_snapshot(&labels) {
            return self.remove_snapshot(name).await;
        }
        if !labels::supervised(&labels) {
            return Err(EngineError::Refused(format!("cannot {what}: no supervisor made it")));
        }
        match connection.docker.remove_volume(name, None::<RemoveVolumeOptions>).await {
            Err(error) if is_conflict(&error) => Err(EngineError::InUse(sort(&what, &error).to_string())),
            removed => found(&what, removed).map(drop),
        }
    }

    pub(super) async fn remove_image(&self, image: &ImageRef) -> Result<(), EngineError> {
        let connection = self.connection().await?;
        let removed = self.request(&connection, Method::DELETE, &format!("/images/{image}"), None).await;
        let what = format!("remove image {image}");
        match removed {
            // The agent's own containers that use it are removed first.
            Err(error) if is_conflict(&error) => Err(EngineError::InUse(sort(&what, &error).to_string())),
            removed => found(&what, removed).map(drop),
        }
    }
}

/// Adds advice if an engine reports an unknown plugin, which is its term for a driver that it lacks.
fn lacks_driver(network: &Network, error: EngineError) -> EngineError {
    match error {
        EngineError::Refused(why) if has(&why, &["plugin", "unsupported driver", "driver not found"]) => {
            let driver = &network.config.driver;
            EngineError::Refused(format!(
                "{why}; the engine has no driver {driver}: install it, or name another in the document"
            ))
        }
        other => other,
    }
}

/// The networks among some that supervisors created, the oldest of each name first.
pub(super) fn networks(mut list: Vec<EngineJson>) -> Vec<Network> {
    sort_by(&mut list, |a, b| age(a).cmp(&age(b)));
    list.iter().filter_map(network).collect()
}

/// The sort key of networks: by name, the oldest first.
fn age(said: &EngineJson) -> (&str, Option<EngineTime>, &str, &str) {
    (said.text("/Name"), moment(said.text("/Created")), said.text("/Created"), said.text("/Id"))
}

fn network(said: &EngineJson) -> Option<Network> {
    let labels = said.labels("/Labels");
    let name = said.text("/Name").to_owned();
    let app = labels::app_of(&name, &labels);
    if app.is_none() && name != SUPERVISOR_NETWORK {
        debug!(network = ?name, "its labels name no app; it is left alone");
        return None;
    }
    let app = app.filter(|_| name != SUPERVISOR_NETWORK);
    let id = NetworkId(said.text("/Id").to_owned());
    Some(Network { id, config: network_config(said, &name, &labels), name, app })
}

/// An image, as listed.
pub(super) fn image(json: &EngineJson) -> Option<Image> {
    let names = [json.texts("/RepoTags"), json.texts("/RepoDigests")].into_iter().flatten();
    let names: SortedSet<_> = names.filter(|it| !it.contains("<none>")).map(|it| ImageRef::new(&it)).collect();
    let size_bytes = u64::try_from(json.number("/Size")).unwrap_or(0);
    Some(Image { id: ImageId(json.some_text("/Id")?), names, size_bytes })
}

/// The volumes that supervisors created.
pub(super) fn volumes<'a>(list: impl Iterator<Item = &'a EngineJson>) -> Vec<Volume> {
    let ours = |said: &EngineJson| {
        let (name, labels) = (said.text("/Name").to_owned(), said.labels("/Labels"));
        if !labels::supervised(&labels) {
            return None;
        }
        let Some(app) = labels::app_of(&name, &labels) else {
            debug!(volume = ?name, "neither its labels nor its name tell its app; it is left alone");
            return None;
        };
        let config = VolumeConfig {
            driver: said.text("/Driver").to_owned(),
            driver_opts: said.labels("/Options"),
            labels: labels::of_owner(&labels),
        };
        Some(Volume { name, app, config })
    };
    list.filter_map(ours).collect()
}

/// Whether a supervisor created a volume, or this agent as a snapshot of one.
pub(super) fn is_our_volume(said: &EngineJson) -> bool {
    let labels = said.labels("/Labels");
    labels::supervised(&labels) || is_snapshot(&labels)
}

/// Whether a supervisor created a network. One supervisor gives its own network no label; the subnet, which is part of its
/// contract with apps, tells it from a foreign network.
pub(super) fn is_ours(said: &EngineJson) -> bool {
    let is_of_supervisor =
        |it: &EngineJson| it.text("/Subnet") == SUPERVISOR_SUBNET && it.text("/Gateway") == SUPERVISOR_GATEWAY;
    labels::supervised(&said.labels("/Labels"))
        || (said.text("/Name") == SUPERVISOR_NETWORK && said.items("/IPAM/Config").any(|it| is_of_supervisor(&it)))
}

fn network_config(said: &EngineJson, name: &str, labels: &Labels) -> NetworkConfig {
    let plain = NetworkConfig::default();
    // Otherwise the engine chose the pools.
    let chosen = labels::get(labels, labels::IPAM).is_some() || name == SUPERVISOR_NETWORK;
    let config_only = said.is("/ConfigOnly");
    let mut options = said.labels("/Options");
    options.retain(|name, _| !ADDED.contains(&name.as_str()));
    NetworkConfig {
        // A config-only network has no driver.
        driver: said.some_text("/Driver").filter(|_| !config_only).unwrap_or(plain.driver),
        ipam: said.items("/IPAM/Config").filter(|_| chosen).map(|it| pool(&it)).collect(),
        // podman's term for the default.
        ipam_driver: said.some_text("/IPAM/Driver").filter(|it| it != "host-local").unwrap_or(plain.ipam_driver),
        ipam_options: said.labels("/IPAM/Options"),
        enable_ipv6: said.is("/EnableIPv6"),
        internal: said.is("/Internal"),
        options,
        labels: labels::of_owner(labels),
        config_only,
    }
}

fn pool(said: &EngineJson) -> AddressPool {
    // Engines differ in how they spell it.
    let aux = [said.labels("/AuxiliaryAddresses"), said.labels("/AuxAddress")].into_iter().flatten();
    AddressPool {
        subnet: said.text("/Subnet").to_owned(),
        gateway: said.some_text("/Gateway"),
        ip_range: said.some_text("/IPRange"),
        aux_addresses: aux.collect(),
    }
}

fn given(app: Option<AppId>) -> Labels {
    let app = app.map(|it| (labels::APP_ID.to_owned(), it.to_string()));
    [(labels::SUPERVISED.to_owned(), "true".to_owned())].into_iter().chain(app).collect()
}

fn network_body(network: &Network) -> Fields {
    let config = &network.config;
    let mut labels = config.labels.clone();
    if network.app.is_some() {
        labels.extend(given(network.app));
    }
    // The agent's own network gets no labels: a balena supervisor takes every network with a label for an app's, and fails over
    // its name.
    if network.app.is_some() && !config.ipam.is_empty() {
        labels.insert(labels::IPAM.to_owned(), "true".to_owned());
    }
    let mut ipam = Fields::default();
    ipam.set("Driver", config.ipam_driver.as_str());
    ipam.some("Config", config.ipam.iter().map(pool_body).collect::<Vec<_>>());
    ipam.set("Options", texts(&config.ipam_options));
    let mut body = Fields::default();
    body.set("Name", network.name.as_str());
    body.given("Driver", (!config.config_only).then(|| config.driver.clone()));
    body.set("Internal", config.internal);
    body.set("EnableIPv6", config.enable_ipv6);
    body.some("ConfigOnly", config.config_only);
    body.set("IPAM", ipam.value());
    body.set("Options", texts(&config.options));
    body.set("Labels", texts(&labels));
    body
}

fn pool_body(pool: &AddressPool) -> Value {
    let mut body = Fields::default();
    body.set("Subnet", pool.subnet.as_str());
    body.given("Gateway", pool.gateway.clone());
    body.given("IPRange", pool.ip_range.clone());
    body.some("AuxiliaryAddresses", texts(&pool.aux_addresses));
    body.value()
}
