//! Networks and volumes of a release, and how a service is attached to the networks.

use std::net::IpAddr;

use crate::sorted::{SortedMap, SortedSet};
use crate::state::config::NetworkMode;
use crate::state::network::{AddressPool, NetworkAttachment};
use crate::state::snapshot::SNAPSHOT_LABEL;
use crate::state::volume::VolumeLocation;
use crate::state::{ContainerConfig, NetworkConfig, VolumeConfig};

use super::at::{Cursor, quoted};
use super::fields::{ObjectFields, pairs};
use super::labels::{owners_labels, snapshot};
use super::release_names::{DEFAULT_NETWORK, DocumentOrigin, ReleaseNames};
use super::rules;

/// Reads the networks of a release.
pub(super) fn networks(at: Option<Cursor<'_>>) -> SortedMap<String, NetworkConfig> {
    named(at, network)
}

/// A volume of a release.
#[derive(Debug, Default)]
pub(super) struct ReleaseVolume {
    pub(super) config: VolumeConfig,
    /// A rollback puts its data back too.
    pub(super) snapshot: bool,
}

/// Reads the volumes of a release.
pub(super) fn volumes(at: Option<Cursor<'_>>, origin: DocumentOrigin) -> SortedMap<String, ReleaseVolume> {
    named(at, |at, fields| volume(at, fields, origin))
}

fn named<T: Default>(at: Option<Cursor<'_>>, read: impl Fn(&Cursor<'_>, ObjectFields<'_>) -> T) -> SortedMap<String, T> {
    let mut all = SortedMap::new();
    for (name, it) in at.map(|it| it.entries()).unwrap_or_default() {
        if let Some(expected) = rules::docker_name(name) {
            it.wrong(&format!("the name must be {expected}"));
        }
        let value = if it.is_null() { T::default() } else { read(&it, ObjectFields::of(&it)) };
        all.insert(name.to_owned(), value);
    }
    all
}

fn network(at: &Cursor<'_>, mut fields: ObjectFields<'_>) -> NetworkConfig {
    let plain = NetworkConfig::default();
    let mut config = NetworkConfig {
        driver: fields.text("driver").unwrap_or(plain.driver),
        enable_ipv6: fields.flag("enable_ipv6").unwrap_or(plain.enable_ipv6),
        internal: fields.flag("internal").unwrap_or(plain.internal),
        options: fields.pairs("driver_opts", rules::key),
        labels: owners_labels(at, fields.pairs("labels", rules::label)),
        config_only: fields.flag("config_only").unwrap_or(plain.config_only),
        ..NetworkConfig::default()
    };
    if let Some(ipam) = fields.take("ipam") {
        let mut ipam = ObjectFields::of(&ipam);
        config.ipam_driver = ipam.text("driver").unwrap_or(config.ipam_driver);
        config.ipam_options = ipam.pairs("options", rules::key);
        let pools = ipam.take("config").map(|it| it.items()).unwrap_or_default();
        config.ipam = pools.iter().map(pool).collect();
        ipam.rest();
    }
    fields.rest();
    config
}

fn pool(at: &Cursor<'_>) -> AddressPool {
    let mut fields = ObjectFields::of(at);
    let pool = AddressPool {
        subnet: fields.text("subnet").unwrap_or_default(),
        gateway: fields.text("gateway"),
        ip_range: fields.text("ip_range"),
        aux_addresses: fields.pairs("aux_addresses", rules::key),
    };
    fields.rest();
    if pool.subnet.is_empty() {
        at.missing("subnet", "a subnet such as 10.1.0.0/16");
    }
    pool
}

fn volume(it: &Cursor<'_>, mut fields: ObjectFields<'_>, origin: DocumentOrigin) -> ReleaseVolume {
    let options = fields.take("driver_opts");
    let mut labels = fields.pairs("labels", rules::label);
    let snapshot = snapshot(it, &mut labels);
    let mut config = VolumeConfig {
        driver: fields.text("driver").unwrap_or_else(|| VolumeConfig::default().driver),
        driver_opts: options.as_ref().map(|it| pairs(it, rules::key)).unwrap_or_default(),
        labels: owners_labels(it, labels),
    };
    // Dropped, as is a bind mount of a service.
    if let (VolumeLocation::Host(path), Some(at)) = (config.place(), options.filter(|_| origin == DocumentOrigin::Cloud)) {
        at.warn(&format!(
            "a path or device of the host ({}) cannot be mounted, ignored: the volume is a plain one; \
             use a label io.balena.features.*, or `devices` of the service",
            quoted(&path)
        ));
        config.driver_opts.clear();
    }
    let snapshot = snapshot && config.place() == VolumeLocation::Engine || {
        if snapshot {
            it.warn(&format!(
                "the label {SNAPSHOT_LABEL} is ignored: the data of the volume is not where the engine keeps volumes"
            ));
        }
        false
    };
    fields.rest();
    ReleaseVolume { config, snapshot }
}

/// Reads `network_mode` and `networks`. A service that joins another one's network is started after that one.
pub(super) fn attach(
    fields: &mut ObjectFields<'_>,
    known: &ReleaseNames,
    service: &str,
    config: &mut ContainerConfig,
    depends_on: &mut SortedSet<String>,
) {
    let mode = fields.take("network_mode");
    let wanted = fields.take("networks");
    let text = mode.as_ref().and_then(Cursor::scalar).unwrap_or_default();
    let mut networks = wanted.as_ref().map(|it| attachments(it, known)).unwrap_or_default();
    match text.split_once(':').map(|(kind, name)| (kind, name.trim())) {
        Some(("service", name)) => {
            depends_on.insert(name.to_owned());
            config.network_mode = NetworkMode::Service(name.to_owned());
            if let Some(at) = mode.filter(|_| !known.services.contains(name)) {
                at.wrong(&format!("the app has no service {}", quoted(name)));
            }
        }
        Some(("container", name)) if !name.is_empty() => config.network_mode = NetworkMode::Container(name.to_owned()),
        _ => match text.as_str() {
            "host" => config.network_mode = NetworkMode::Host,
            "none" => config.network_mode = NetworkMode::None,
            "" if networks.is_empty() => {
                networks.insert(DEFAULT_NETWORK.to_owned(), NetworkAttachment::default());
            }
            // `bridge` is the engine's own: no network of the app.
            "" | "bridge" => {}
            name if known.has_network(name) => {
                networks.entry(name.to_owned()).or_default();
            }
            _ => {
                if let Some(at) = mode {
                    at.expected("host, none, bridge, service:<name>, container:<id> or a network of the app");
                }
            }
        },
    }
    if config.network_mode != NetworkMode::App {
        if let Some(at) = wanted.filter(|_| !networks.is_empty()) {
            at.warn(&format!("ignored, because `network_mode` is {}", config.network_mode));
        }
        networks.clear();
    }
    for (_, attachment) in &mut networks {
        attachment.aliases.insert(service.to_owned());
    }
    config.networks = networks;
}

fn attachments(at: &Cursor<'_>, known: &ReleaseNames) -> SortedMap<String, NetworkAttachment> {
    let mut networks = SortedMap::new();
    if at.is_list() {
        for item in at.items() {
            let Some(name) = item.text() else { continue };
            must_exist(&item, known, name);
            networks.insert(name.to_owned(), NetworkAttachment::default());
        }
    } else {
        for (name, item) in at.entries() {
            must_exist(&item, known, name);
            let attachment = if item.is_null() { NetworkAttachment::default() } else { attachment(&item) };
            networks.insert(name.to_owned(), attachment);
        }
    }
    networks
}

fn must_exist(at: &Cursor<'_>, known: &ReleaseNames, name: &str) {
    if !known.has_network(name) {
        at.wrong(&format!("the app has no network {}; name it under `networks` of the app", quoted(name)));
    }
}

fn attachment(at: &Cursor<'_>) -> NetworkAttachment {
    let mut fields = ObjectFields::of(at);
    let attachment = NetworkAttachment {
        aliases: fields.list("aliases").into_iter().collect(),
        ipv4: fields.take("ipv4_address").and_then(|it| address(&it)),
        ipv6: fields.take("ipv6_address").and_then(|it| address(&it)),
        link_local: fields.list("link_local_ips").into_iter().collect(),
    };
    fields.rest();
    attachment
}

fn address(at: &Cursor<'_>) -> Option<String> {
    let parsed = at.text()?.parse::<IpAddr>();
    if parsed.is_err() {
        at.expected("an IP address");
    }
    parsed.ok().map(|it| it.to_string())
}
