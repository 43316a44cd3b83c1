//! Where an image is kept, from its reference; and how its registry is reached.

use std::net::IpAddr;

use crate::linux::engine::json::EngineJson;
use crate::linux::engine::login;
use crate::sorted::SortedSet;
use crate::state::private_network::same_network;

/// The host of the registry for references that name none.
const HUB: &str = "registry-1.docker.io";

/// An image at its registry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ImageLocation {
    /// With the port, if the reference names one.
    pub host: String,
    pub repository: String,
    /// A tag, or a digest.
    pub reference: String,
}

impl ImageLocation {
    /// `None`: no registry can have such an image.
    pub(super) fn of(image: &str) -> Option<Self> {
        let registry = login::registry(image);
        let path = image.strip_prefix(registry).and_then(|it| it.strip_prefix('/')).unwrap_or(image);
        let (name, digest) = match path.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (path, None),
        };
        let (name, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
        let reference = digest.unwrap_or(tag);
        let is_hub = login::is_hub(registry);
        let repository = if is_hub && !name.contains('/') { format!("library/{name}") } else { name.to_owned() };
        let host = if is_hub { HUB } else { registry };
        let plain = |text: &str, more: &[u8]| {
            !text.is_empty() && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"._-".contains(&it) || more.contains(&it))
        };
        let is_path = name.split('/').all(|it| plain(it, b"") && it != "..");
        let is_one = is_path && plain(reference, b":") && plain(host, b":[]");
        is_one.then(|| Self { host: host.to_owned(), repository, reference: reference.to_owned() })
    }
}

/// How a registry is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::linux::engine) enum Transport {
    Tls,
    /// Unencrypted HTTP.
    Plain,
}

/// How an engine reaches registries, according to the engine.
#[derive(Debug, Default)]
pub(in crate::linux::engine) struct Registries {
    /// Networks whose registries are reached over plain HTTP: an address, and its prefix length.
    plain_networks: Vec<(IpAddr, u8)>,
    plain_hosts: SortedSet<String>,
    by_proxy: bool,
}

impl Registries {
    pub(in crate::linux::engine) fn new(info: &EngineJson) -> Self {
        let network = |text: String| {
            let (address, bits) = text.split_once('/')?;
            let (address, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
            (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
        };
        let is_plain = |it: &serde_json::Value| it.get("Secure").and_then(serde_json::Value::as_bool) == Some(false);
        let hosts = info.fields("/RegistryConfig/IndexConfigs");
        Self {
            plain_networks: info.texts("/RegistryConfig/InsecureRegistryCIDRs").into_iter().filter_map(network).collect(),
            plain_hosts: hosts.filter(|(_, it)| is_plain(it)).map(|(host, _)| host.clone()).collect(),
            by_proxy: ["/HttpProxy", "/HttpsProxy"].into_iter().any(|it| !info.text(it).is_empty()),
        }
    }

    pub(in crate::linux::engine) fn way(&self, host: &str) -> Result<Transport, String> {
        if self.by_proxy {
            return Err("the engine reaches registries by way of a proxy, which the agent does not".to_owned());
        }
        let name = without_port(host);
        let in_plain =
            |address: IpAddr| self.plain_networks.iter().any(|(network, bits)| same_network(*network, address, *bits));
        let plain = self.plain_hosts.contains(host) || name.parse().is_ok_and(in_plain);
        Ok(if plain { Transport::Plain } else { Transport::Tls })
    }
}

/// The name in a host, without a port; an IPv6 address without its brackets.
pub(super) fn without_port(host: &str) -> &str {
    if let Some((name, _)) = host.strip_prefix('[').and_then(|it| it.split_once(']')) {
        return name;
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(image: &str) -> Option<String> {
        ImageLocation::of(image).map(|it| format!("{} {} {}", it.host, it.repository, it.reference))
    }

    #[test]
    fn an_image_is_found_where_the_engine_finds_it() {
        for (image, expected) in [
            ("alpine", "registry-1.docker.io library/alpine latest"),
            ("me/app:1", "registry-1.docker.io me/app 1"),
            ("docker.io/alpine:3", "registry-1.docker.io library/alpine 3"),
            ("index.docker.io/me/app", "registry-1.docker.io me/app latest"),
            ("r.io/a/b/c:v1.2", "r.io a/b/c v1.2"),
            ("127.0.0.1:5000/app@sha256:ab", "127.0.0.1:5000 app sha256:ab"),
            ("localhost/app:1@sha256:ab", "localhost app sha256:ab"),
        ] {
            assert_eq!(place(image).as_deref(), Some(expected), "{image}");
        }
    }

    #[test]
    fn what_no_registry_has_is_not_asked_for() {
        for image in ["", "r.io/", "r.io/a b:1", "r.io/a:1\r\nHost: x", "r.io/../../etc:1", "r.io/a?b=c", "r.io/a:", "r.io/a@"]
        {
            assert_eq!(place(image), None, "{image}");
        }
    }

    #[test]
    fn a_registry_is_asked_in_the_clear_only_where_the_engine_does_so() {
        let mut info = EngineJson(serde_json::json!({"RegistryConfig": {
            "InsecureRegistryCIDRs": ["127.0.0.0/8", "fd00::/8", "x/8", "10.0.0.0/99"],
            "IndexConfigs": {"r.local:5000": {"Secure": false}, "docker.io": {"Secure": true}},
        }}));
        let registries = Registries::new(&info);
        for host in ["127.0.0.1:5000", "127.9.9.9", "[fd00::1]:5000", "r.local:5000"] {
            assert_eq!(registries.way(host), Ok(Transport::Plain), "{host}");
        }
        for host in
            ["128.0.0.1:5000", "10.0.0.1", "10.0.0.0", "[fe00::1]", "r.local", "registry-1.docker.io", "127.0.0.1.example.com"]
        {
            assert_eq!(registries.way(host), Ok(Transport::Tls), "{host}");
        }
        assert_eq!(Registries::default().way("127.0.0.1"), Ok(Transport::Tls));
        info.0["HttpsProxy"] = "http://proxy:3128".into();
        assert!(Registries::new(&info).way("r.io").unwrap_err().contains("proxy"));
    }
}
