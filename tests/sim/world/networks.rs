//! The networks of a container engine: created, removed by anyone who may, and lost under a running container. No time passes
//! here.

use std::collections::BTreeMap;

use boardkeeper::state::{
    App, AppId, ContainerId, ContainerPhase, Network, NetworkConfig, NetworkConnection, NetworkId, Service,
};

use super::engine_model::{Done, EngineModel, Owned, SimContainer, refuse};

impl EngineModel {
    /// Attaches a container to networks.
    pub(crate) fn connect(&mut self, id: &ContainerId, connections: &[NetworkConnection]) -> Done {
        for it in connections {
            if self.network_ids.get(&it.network) != Some(&it.id) {
                return refuse(format!("network {} not found", it.id.0));
            }
            let networks = &mut self.at(id)?.networks;
            if it.instead_of.is_some() {
                networks.remove(&it.network);
            }
            match networks.get(&it.network) {
                Some(there) if *there != it.id => return refuse(format!("it already has an endpoint in {}", it.network)),
                Some(_) | None => drop(networks.insert(it.network.clone(), it.id.clone())),
            }
        }
        Ok(())
    }

    /// A user prunes networks: those that no running container is attached to.
    pub(crate) fn prune_networks(&mut self) {
        let held =
            |name: &String| self.containers.values().any(|it| it.view.phase.is_alive() && it.networks.contains_key(name));
        let idle: Vec<_> = self.networks.keys().filter(|it| !held(it)).cloned().collect();
        for name in idle {
            self.networks.remove(&name);
            self.network_ids.remove(&name);
        }
    }

    /// An older supervisor created a network of an app under the name it used.
    pub(crate) fn older_network(&mut self, app: &App, name: &str) {
        let [_, older] = app.engine_network_names(name);
        self.add_network(older, Owned::Ours((Some(app.id), app.networks.get(name).cloned().unwrap())));
    }

    fn add_network(&mut self, name: String, network: Owned<(Option<AppId>, NetworkConfig)>) {
        self.made += 1;
        let asked = match &network {
            Owned::Ours((_, config)) => config.ipam.iter().map(|it| it.subnet.clone()).collect(),
            Owned::Foreign => Vec::new(),
        };
        let subnets = if asked.is_empty() { vec![self.free_subnet()] } else { asked };
        self.subnets.insert(name.clone(), subnets);
        self.network_ids.insert(name.clone(), NetworkId(format!("net{}", self.made)));
        self.networks.insert(name, network);
    }

    /// The subnet that the engine chooses for a network that asks for none: the first that no network has.
    pub(crate) fn free_subnet(&self) -> String {
        let mut pool = (1..).map(|it| format!("172.17.{it}.0/24"));
        pool.find(|it| !self.has_subnet(it)).unwrap()
    }

    /// Whether a network that is there has a subnet. Here two subnets are the same, or have no address in common.
    fn has_subnet(&self, subnet: &String) -> bool {
        self.networks.keys().any(|name| self.subnets.get(name).is_some_and(|it| it.contains(subnet)))
    }

    /// Networks that a container is attached to.
    pub(crate) const fn attached(it: &SimContainer) -> &BTreeMap<String, NetworkId> {
        &it.networks
    }

    /// A user disconnects a container from all its networks.
    pub(crate) fn disconnect(&mut self, id: &ContainerId) {
        if let Some(it) = self.containers.get_mut(id) {
            it.networks.clear();
        }
    }

    /// Whether a network of a service is not there, by whatever name.
    pub(crate) fn lacks_network(&self, app: &App, service: &Service) -> bool {
        let there = |name: &String| app.engine_network_names(name).iter().any(|it| self.networks.contains_key(it));
        service.config.networks.keys().any(|name| app.networks.contains_key(name) && !there(name))
    }

    /// A running container that has lost its network, if there is one.
    pub(crate) fn lost_network(&self) -> Option<String> {
        self.ours().filter(|it| it.view.phase == ContainerPhase::Running).find_map(|it| {
            let mut owners = it.view.shares.values().map(|id| self.containers.get(id));
            let of_old = owners.any(|owner| owner.is_none_or(|owner| owner.view.started > it.view.started));
            let lost = it.networks.iter().any(|(name, id)| self.network_ids.get(name) != Some(id));
            let key = &it.view.key;
            (of_old || lost).then(|| format!("{key} runs in a network that is gone"))
        })
    }

    /// A network of an app that is in no target any more, and that the engine does not remove: it takes something to be
    /// connected to it.
    pub(crate) fn stuck_network(&mut self, app: AppId, name: &str) {
        self.add_network(name.to_owned(), Owned::Ours((Some(app), NetworkConfig::default())));
        self.stuck_networks.insert(name.to_owned());
    }

    /// Creates a network. An equal one of ours will do.
    pub(crate) fn create_network(&mut self, network: &Network) -> Done {
        let new = Owned::Ours((network.app, network.config.clone()));
        if !["bridge", "macvlan"].contains(&network.config.driver.as_str()) {
            return refuse(format!("could not find plugin {} in v1 plugin registry: plugin not found", network.config.driver));
        }
        match self.networks.get(&network.name) {
            Some(Owned::Foreign) => refuse(format!("network {} is there, and no supervisor made it", network.name)),
            Some(there) if *there != new => refuse(format!("network {} exists", network.name)),
            Some(_) => Ok(()),
            None if network.config.ipam.iter().any(|it| self.has_subnet(&it.subnet)) => {
                refuse("Pool overlaps with other one on this address space")
            }
            None => {
                self.add_network(network.name.clone(), new);
                Ok(())
            }
        }
    }

    /// Removes a network that no running container is attached to.
    pub(crate) fn remove_network(&mut self, name: &str, id: &NetworkId) -> Done {
        if !self.network_ids.get(name).is_some_and(|it| it.may_be(id)) {
            return Ok(());
        }
        if self.networks.get(name) == Some(&Owned::Foreign) {
            return refuse(format!("no supervisor made network {name}"));
        }
        let is_attached = |it: &SimContainer| it.view.phase.is_alive() && it.networks.contains_key(name);
        if self.stuck_networks.contains(name) || self.containers.values().any(is_attached) {
            return refuse(format!("network {name} has active endpoints"));
        }
        self.networks.remove(name);
        self.network_ids.remove(name);
        Ok(())
    }

    /// A foreign network appears.
    pub(crate) fn foreign_network(&mut self, name: &str) {
        self.add_network(name.to_owned(), Owned::Foreign);
    }
}
