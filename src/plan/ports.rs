//! The host port of each service, where its document leaves a choice of several.
//!
//! An engine would choose another port at each start. So the planner chooses, and the container is created with that port: it
//! is kept over restarts and boots. A container that replaces another gets the same port again, while it is among those of
//! the document.

use crate::sorted::{SortedMap, sort_by};
use crate::state::config::{NetworkMode, Port};
use crate::state::service::Strategy;
use crate::state::{Container, Current, Overrides, Service, ServiceKey, Target};

/// The choice for the next container of each service, by the port in the document. `None`: other services use all of them.
#[derive(Debug, Default)]
pub(super) struct Ports(SortedMap<ServiceKey, SortedMap<Port, Option<u16>>>);

/// A host port that a service has, or will have.
struct Claim<'a> {
    key: &'a ServiceKey,
    port: Port,
}

impl Ports {
    /// Chooses ports for a target. Two services never get the same port; each keeps the one that it has, where it can.
    pub(super) fn of(target: &Target, overrides: &Overrides, current: &Current) -> Self {
        let active = target.services().filter(|(app, ..)| !target.keeps(app.id));
        let services: Vec<_> = active.map(|(app, name, it)| (ServiceKey::new(app.id, name), it)).collect();
        let choosing = |it: &Service| it.config.network_mode == NetworkMode::App && it.config.ports.iter().any(is_choice);
        if !services.iter().any(|(_, it)| choosing(it)) {
            return Self::default();
        }
        let mut claims: Vec<Claim<'_>> = Vec::new();
        for (key, service) in &services {
            claims.extend(service.config.ports.iter().filter(|it| !is_choice(it)).cloned().map(|port| Claim { key, port }));
        }
        for it in current.containers.iter().filter(|it| !target.keeps(it.key.app)) {
            claims.extend(it.ports.iter().filter(|port| !is_choice(port)).cloned().map(|port| Claim { key: &it.key, port }));
        }
        let mut all: SortedMap<ServiceKey, SortedMap<Port, Option<u16>>> = SortedMap::new();
        for (key, service) in services.iter().filter(|(_, it)| choosing(it)) {
            for port in service.config.ports.iter().filter(|it| is_choice(it)) {
                let host = choose(key, service, port, &claims, (overrides, current));
                claims.extend(host.map(|host| Claim { key, port: port.at(host) }));
                all.entry(key.clone()).or_default().insert(port.clone(), host);
            }
        }
        Self(all)
    }

    /// The chosen ports of a service.
    pub(super) fn of_service(&self, key: &ServiceKey) -> SortedMap<Port, u16> {
        let all = self.0.get(key).into_iter().flatten();
        all.filter_map(|(port, host)| Some((port.clone(), (*host)?))).collect()
    }

    /// The first port of a service whose possible host ports are all used by other services.
    pub(super) fn unassigned(&self, key: &ServiceKey) -> Option<&Port> {
        self.0.get(key)?.iter().find(|(_, host)| host.is_none()).map(|(port, _)| port)
    }

    /// Whether a container that failed to start because its port is taken would get another one.
    pub(super) fn offers_another(&self, container: &Container) -> bool {
        let another = |(port, host): (&Port, &Option<u16>)| host.is_some_and(|host| !container.ports.contains(&port.at(host)));
        container.is_port_taken && self.0.get(&container.key).is_some_and(|it| it.iter().any(another))
    }
}

fn is_choice(port: &Port) -> bool {
    port.range().is_some()
}

fn choose(key: &ServiceKey, service: &Service, port: &Port, claims: &[Claim<'_>], host: (&Overrides, &Current)) -> Option<u16> {
    let (overrides, current) = host;
    let range = port.range()?;
    let of_others = |host: u16| claims.iter().any(|it| it.key != key && clash(&it.port, &port.at(host)));
    // Two ports of one service must not clash either.
    let chosen = |host: u16| {
        claims.iter().any(|it| it.key == key && it.port.container != port.container && clash(&it.port, &port.at(host)))
    };
    let is_free = |host: &u16| !of_others(*host) && !chosen(*host);
    let mut containers: Vec<_> = current.containers.iter().filter(|it| it.key == *key).collect();
    // In the order in which strategies choose the surviving container.
    let rank = |it: &Container| (it.phase.is_alive(), it.created_secs);
    sort_by(&mut containers, |a, b| rank(b).cmp(&rank(a)).then_with(|| b.id.cmp(&a.id)));
    let has = |it: &Container| range.clone().find(|host| it.ports.contains(&port.at(*host)));
    let own = containers.iter().find_map(|it| Some((has(it)?, *it)));
    // During a hand-over the old container runs beside its successor for a while.
    let beside =
        |it: &Container| service.strategy == Strategy::HandOver && it.phase.is_alive() && !overrides.recreate.contains(&it.id);
    match own {
        Some((host, it)) if it.is_port_taken || beside(it) => {
            // The next port first, so that all of them are tried in turn.
            let next = range.clone().filter(|it| *it > host).chain(range.clone().filter(|it| *it <= host));
            next.clone().find(is_free)
        }
        Some((host, _)) if is_free(&host) => Some(host),
        Some(_) | None => range.clone().find(is_free),
    }
}

/// Whether a host cannot publish both.
fn clash(one: &Port, other: &Port) -> bool {
    let addresses = one.host_ip.is_empty() || other.host_ip.is_empty() || one.host_ip == other.host_ip;
    addresses && one.protocol == other.protocol && one.host.is_some() && one.host == other.host
}
