//! Networks, volumes and images: seen, made and removed. What a supervisor did not make is left alone.

use std::collections::BTreeMap;

use bollard::models::{
    Ipam, IpamConfig, Network as SeenNetwork, NetworkCreateRequest, Volume as SeenVolume, VolumeCreateRequest,
};
use bollard::query_parameters::{ListNetworksOptions, RemoveImageOptions, RemoveVolumeOptions};
use tracing::debug;

use crate::linux::engine::Engine;
use crate::linux::engine::errors::{found, is_conflict, sort};
use crate::linux::engine::labels::{self, Labels};
use crate::linux::engine::link::Link;
use crate::port::EngineError;
use crate::state::network::{Pool, SUPERVISOR_GATEWAY, SUPERVISOR_NETWORK, SUPERVISOR_SUBNET};
use crate::state::{AppId, ImageRef, Network, NetworkConfig, Volume, VolumeConfig};

/// Options that engines add by themselves.
const ADDED: [&str; 2] = ["com.docker.network.enable_ipv4", "com.docker.network.enable_ipv6"];

impl Engine {
    pub(super) async fn create_network(&self, network: &Network) -> Result<(), EngineError> {
        let link = self.link().await?;
        let what = format!("create network {}", network.name);
        if self.named(&link, network).await? {
            return Ok(());
        }
        match link.docker.create_network(network_body(network)).await {
            Err(error) if !is_conflict(&error) => return Err(sort(&what, &error)),
            Ok(_) | Err(_) => {}
        }
        // Engines allow two networks of one name: one whose creation was given up half-way may have come about all the same.
        let made = self.named(&link, network).await?;
        made.then_some(())
            .ok_or_else(|| EngineError::Refused(format!("cannot {what}: the engine took it and does not have it")))
    }

    /// Whether the network is there and ours. Of several that are, the oldest stays.
    async fn named(&self, link: &Link, network: &Network) -> Result<bool, EngineError> {
        let name = &network.name;
        let filters = Some([("name".to_owned(), vec![name.clone()])].into_iter().collect());
        let list = link.docker.list_networks(Some(ListNetworksOptions { filters })).await;
        let list = list.map_err(|error| sort("list networks", &error))?;
        // The engine's filter finds parts of names too.
        let mut same: Vec<_> = list.into_iter().filter(|it| it.name.as_ref() == Some(name)).collect();
        if same.iter().any(|it| !is_ours(it)) {
            return Err(EngineError::Refused(format!(
                "cannot create network {name}: there is one of that name that no supervisor made; remove or rename it"
            )));
        }
        same.sort_by(|a, b| a.created.cmp(&b.created));
        for twin in same.iter().skip(1) {
            let id = twin.id.as_deref().unwrap_or_default();
            found(&format!("remove the second network {name}"), link.docker.remove_network(id).await)?;
        }
        Ok(!same.is_empty())
    }

    pub(super) async fn remove_network(&self, name: &str) -> Result<(), EngineError> {
        let link = self.link().await?;
        let what = format!("remove network {name}");
        let Some(seen) = found(&what, link.docker.inspect_network(name, None).await)? else { return Ok(()) };
        let labels: Labels = seen.labels.unwrap_or_default().into_iter().collect();
        // The identifier could be a prefix of another network's.
        if !labels::supervised(&labels) || seen.name.as_deref() != Some(name) {
            return Err(EngineError::Refused(format!("cannot {what}: no supervisor made it")));
        }
        found(&what, link.docker.remove_network(seen.id.as_deref().unwrap_or(name)).await).map(drop)
    }

    pub(super) async fn create_volume(&self, volume: &Volume) -> Result<(), EngineError> {
        let link = self.link().await?;
        let (name, what) = (&volume.name, format!("create volume {}", volume.name));
        if let Some(seen) = found(&what, link.docker.inspect_volume(name).await)? {
            let labels: Labels = seen.labels.into_iter().collect();
            return if labels::supervised(&labels) {
                Ok(())
            } else {
                Err(EngineError::Refused(format!(
                    "cannot {what}: there is one of that name that no supervisor made; remove it"
                )))
            };
        }
        let mut labels = volume.config.labels.clone();
        labels.extend(given(Some(volume.app)));
        let body = VolumeCreateRequest {
            name: Some(name.clone()),
            driver: Some(volume.config.driver.clone()),
            driver_opts: Some(volume.config.driver_opts.clone().into_iter().collect()),
            labels: Some(labels.into_iter().collect()),
            cluster_volume_spec: None,
        };
        link.docker.create_volume(body).await.map(drop).map_err(|error| sort(&what, &error))
    }

    pub(super) async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let link = self.link().await?;
        let what = format!("remove volume {name}");
        let Some(seen) = found(&what, link.docker.inspect_volume(name).await)? else { return Ok(()) };
        if !labels::supervised(&seen.labels.into_iter().collect()) {
            return Err(EngineError::Refused(format!("cannot {what}: no supervisor made it")));
        }
        found(&what, link.docker.remove_volume(name, None::<RemoveVolumeOptions>).await).map(drop)
    }

    pub(super) async fn remove_image(&self, image: &ImageRef) -> Result<(), EngineError> {
        let link = self.link().await?;
        let removed = link.docker.remove_image(image.as_str(), None::<RemoveImageOptions>, None).await;
        let what = format!("remove image {image}");
        match removed {
            // Containers of ours that use it are removed first.
            Err(error) if is_conflict(&error) => Err(EngineError::InUse(sort(&what, &error).to_string())),
            removed => found(&what, removed).map(drop),
        }
    }
}

/// The networks that supervisors made.
pub(super) fn networks(list: Vec<SeenNetwork>) -> Vec<Network> {
    let mut all = BTreeMap::new();
    for seen in list.into_iter().filter(is_ours) {
        let labels: Labels = seen.labels.clone().unwrap_or_default().into_iter().collect();
        let name = seen.name.clone().unwrap_or_default();
        let app = labels::app_of(&name, &labels);
        if app.is_none() && name != SUPERVISOR_NETWORK {
            debug!(network = ?name, "its labels name no app; it is left alone");
            continue;
        }
        let app = app.filter(|_| name != SUPERVISOR_NETWORK);
        all.insert(name.clone(), Network { config: network_config(seen, &name, &labels), name, app });
    }
    all.into_values().collect()
}

/// The volumes that supervisors made.
pub(super) fn volumes(list: Vec<SeenVolume>) -> Vec<Volume> {
    let ours = |seen: SeenVolume| {
        let labels: Labels = seen.labels.into_iter().collect();
        if !labels::supervised(&labels) {
            return None;
        }
        let Some(app) = labels::app_of(&seen.name, &labels) else {
            debug!(volume = ?seen.name, "neither its labels nor its name tell its app; it is left alone");
            return None;
        };
        let config = VolumeConfig {
            driver: seen.driver,
            driver_opts: seen.options.into_iter().collect(),
            labels: labels::of_owner(&labels),
        };
        Some(Volume { name: seen.name, app, config })
    };
    list.into_iter().filter_map(ours).collect()
}

/// Whether a supervisor made it. One of them gives its own network no label; the address, which is part of its contract with
/// apps, tells it from a stranger's.
fn is_ours(seen: &SeenNetwork) -> bool {
    let labels: Labels = seen.labels.clone().unwrap_or_default().into_iter().collect();
    let pools = || seen.ipam.iter().flat_map(|it| it.config.iter().flatten());
    labels::supervised(&labels)
        || (seen.name.as_deref() == Some(SUPERVISOR_NETWORK)
            && pools()
                .any(|it| it.subnet.as_deref() == Some(SUPERVISOR_SUBNET) && it.gateway.as_deref() == Some(SUPERVISOR_GATEWAY)))
}

fn network_config(seen: SeenNetwork, name: &str, labels: &Labels) -> NetworkConfig {
    let plain = NetworkConfig::default();
    let ipam = seen.ipam.unwrap_or_default();
    // Otherwise the engine chose the pools.
    let chosen = labels::get(labels, labels::IPAM).is_some() || name == SUPERVISOR_NETWORK;
    let config_only = seen.config_only.unwrap_or(false);
    let mut options: BTreeMap<_, _> = seen.options.unwrap_or_default().into_iter().collect();
    options.retain(|name, _| !ADDED.contains(&name.as_str()));
    NetworkConfig {
        // A network that is only a name has no driver.
        driver: seen.driver.filter(|it| !config_only && !it.is_empty()).unwrap_or(plain.driver),
        ipam: ipam.config.unwrap_or_default().into_iter().filter(|_| chosen).map(pool).collect(),
        // podman's word for the default.
        ipam_driver: ipam.driver.filter(|it| !it.is_empty() && it != "host-local").unwrap_or(plain.ipam_driver),
        ipam_options: ipam.options.unwrap_or_default().into_iter().collect(),
        enable_ipv6: seen.enable_ipv6.unwrap_or(false),
        internal: seen.internal.unwrap_or(false),
        options,
        labels: labels::of_owner(labels),
        config_only,
    }
}

fn pool(seen: IpamConfig) -> Pool {
    let some = |it: Option<String>| it.filter(|it| !it.is_empty());
    Pool {
        subnet: seen.subnet.unwrap_or_default(),
        gateway: some(seen.gateway),
        ip_range: some(seen.ip_range),
        aux_addresses: seen.auxiliary_addresses.unwrap_or_default().into_iter().collect(),
    }
}

fn given(app: Option<AppId>) -> Labels {
    let app = app.map(|it| (labels::APP_ID.to_owned(), it.to_string()));
    [(labels::SUPERVISED.to_owned(), "true".to_owned())].into_iter().chain(app).collect()
}

fn network_body(network: &Network) -> NetworkCreateRequest {
    let config = &network.config;
    let mut labels = config.labels.clone();
    labels.extend(given(network.app));
    if !config.ipam.is_empty() {
        labels.insert(labels::IPAM.to_owned(), "true".to_owned());
    }
    let pools = config.ipam.iter().map(|it| IpamConfig {
        subnet: Some(it.subnet.clone()),
        gateway: it.gateway.clone(),
        ip_range: it.ip_range.clone(),
        auxiliary_addresses: (!it.aux_addresses.is_empty()).then(|| it.aux_addresses.clone().into_iter().collect()),
    });
    NetworkCreateRequest {
        name: network.name.clone(),
        driver: (!config.config_only).then(|| config.driver.clone()),
        internal: Some(config.internal),
        enable_ipv6: Some(config.enable_ipv6),
        config_only: config.config_only.then_some(true),
        ipam: Some(Ipam {
            driver: Some(config.ipam_driver.clone()),
            config: Some(pools.collect::<Vec<_>>()).filter(|it| !it.is_empty()),
            options: Some(config.ipam_options.clone().into_iter().collect()),
        }),
        options: Some(config.options.clone().into_iter().collect()),
        labels: Some(labels.into_iter().collect()),
        ..NetworkCreateRequest::default()
    }
}
