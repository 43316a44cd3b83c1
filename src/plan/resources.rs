//! Networks and volumes of an app.
//!
//! A network that differs from the target is removed once it is unused, and recreated. If it should have another driver, a
//! trial network with that driver is created under another name first: only the engine knows whether it has the driver. A
//! volume is only removed by a purge, by a clean-up that a person asks for, or with its app: an app's data is not lost through
//! a change or a mistake in a document. A volume that differs from the document is reported.

use crate::plan::app_plan::{AppPlan, Precondition};
use crate::plan::input::{ChangedNetworks, PlanInput, has_networks};
use crate::plan::{Plan, data, data_work, supervisor_env};
use crate::state::network::{AddressPool, BRIDGE_NAME, SUPERVISOR_GATEWAY, SUPERVISOR_NETWORK, SUPERVISOR_SUBNET};
use crate::state::volume::APP_UUID_LABEL;
use crate::state::{App, EngineAction, Network, NetworkConfig, NetworkId, Service, Step, Volume};

/// Plans the networks and volumes of an app.
pub(super) fn propose(draft: &mut AppPlan<'_>) {
    let input = draft.input;
    if input.target.keeps(draft.app) {
        return;
    }
    let Some(app) = input.app(draft.app) else {
        remove_all(draft);
        return;
    };
    let changed = input.changed_networks(app);
    if has_networks(app) {
        propose_networks(draft, app, &changed);
    }
    if input.is_purged(app.id) {
        remove_volumes(draft);
    } else {
        propose_volumes(draft, app);
        data::propose(draft, app);
    }
}

fn propose_networks(draft: &mut AppPlan<'_>, app: &App, changed: &ChangedNetworks) {
    let input = draft.input;
    for (name, config) in &app.networks {
        let trial = input.trial_network(app, name);
        match input.network_of_app(app, name) {
            // The trial network may hold what the network itself needs: the host's interface, a subnet.
            None if trial.is_some() => remove_trial(draft, trial),
            None => {
                let (id, app_id, name) = (NetworkId::default(), Some(app.id), input.new_network_name(app, name));
                let network = Network { id, name, app: app_id, config: config.clone() };
                draft.propose_action(Precondition::Always, EngineAction::CreateNetwork(network));
            }
            Some(existing) if changed.networks.contains(name) => {
                if input.is_driver_untried(app, name) {
                    remove_trial(draft, trial);
                    if trial.is_none() {
                        draft.propose_action(Precondition::Always, EngineAction::CreateNetwork(trial_of(app, name, config)));
                    }
                } else if !is_used(draft, app, |it| it.config.networks.contains_key(name)) {
                    draft.propose_action(Precondition::Locked, remove(existing));
                }
            }
            Some(_) => (),
        }
    }
    let kept: Vec<&Network> = app.networks.keys().filter_map(|name| input.network_of_app(app, name)).collect();
    let trials: Vec<&Network> = app.networks.keys().filter_map(|name| input.trial_network(app, name)).collect();
    let others = input.current.networks.iter().filter(|it| it.app == Some(app.id) && !kept.contains(it));
    let others = others.filter(|it| !trials.contains(it) || changed.networks.is_empty());
    for existing in others.filter(|it| !input.is_attached_to(it)) {
        // Containers of the previous release may still be on it, and an engine starts none whose network is gone. A second
        // network of the same name is in the way of every release.
        let is_twin = kept.iter().any(|it| it.name == existing.name);
        if is_twin || all_as_wanted(draft, app) && !input.has_any_on(existing) {
            draft.propose_action(Precondition::Always, remove(existing));
        }
    }
}

/// A trial network for a driver: addresses are left out, for the existing network may hold them. Options stay: a driver may
/// need the host's interface that they name.
fn trial_of(app: &App, name: &str, config: &NetworkConfig) -> Network {
    let (driver, options) = (config.driver.clone(), config.options.clone());
    let config = NetworkConfig { driver, options, internal: config.internal, ..NetworkConfig::default() };
    Network { id: NetworkId::default(), name: app.trial_network_name(name), app: Some(app.id), config }
}

/// No container is ever attached to a trial network.
fn remove_trial(draft: &mut AppPlan<'_>, trial: Option<&Network>) {
    if let Some(trial) = trial {
        draft.propose_action(Precondition::Always, remove(trial));
    }
}

fn remove(existing: &Network) -> EngineAction {
    EngineAction::RemoveNetwork(existing.name.clone(), existing.id.clone(), existing.app)
}

fn propose_volumes(draft: &mut AppPlan<'_>, app: &App) {
    for (name, config) in &app.volumes {
        match draft.input.volume(app, name) {
            None if data_work::is_put_back(draft.input, app.id, name) => (),
            None => {
                let mut config = config.clone();
                // The volume's name contains the app's number; this label says which app has that number.
                config.labels.insert(APP_UUID_LABEL.to_owned(), app.uuid.clone());
                let volume = Volume { name: Volume::engine_name(app.id, name), app: app.id, config };
                draft.propose_action(Precondition::Always, EngineAction::CreateVolume(volume));
            }
            Some(existing) => {
                if let Some(how) = existing.config.difference(config) {
                    let what = format!("volume {}", existing.name);
                    draft.record_difference(
                        what,
                        format!("{how}; it stays as it is and keeps its data until the app is purged"),
                    );
                }
            }
        }
    }
    let wanted = |it: &Volume| app.volumes.keys().any(|name| Volume::engine_name(app.id, name) == it.name);
    let unused = |it: &&Volume| it.app == app.id && draft.input.overrides.unused_volumes.contains(&it.name) && !wanted(it);
    for volume in draft.input.current.volumes.iter().filter(unused) {
        // No container has it, so no lock is needed. The engine refuses to remove one that a container has.
        draft.propose_action(Precondition::Always, EngineAction::RemoveVolume(volume.name.clone(), volume.app));
    }
}

/// Removes every volume of the app, once its containers are gone.
fn remove_volumes(draft: &mut AppPlan<'_>) {
    let (input, app) = (draft.input, draft.app);
    // Snapshots first: a purge that ends half-way must not have data put back later.
    if input.containers_of(app).next().is_some() || data::remove_all(draft) {
        return;
    }
    for volume in input.current.volumes.iter().filter(|it| it.app == app) {
        draft.propose_action(Precondition::Locked, EngineAction::RemoveVolume(volume.name.clone(), volume.app));
    }
}

/// The app is not in the target: removes its networks and volumes, once its containers are gone.
fn remove_all(draft: &mut AppPlan<'_>) {
    let (input, app) = (draft.input, draft.app);
    if input.containers_of(app).next().is_some() {
        return;
    }
    for network in input.current.networks.iter().filter(|it| it.app == Some(app)) {
        draft.propose_action(Precondition::Always, remove(network));
    }
    data::remove_all(draft);
    for volume in input.current.volumes.iter().filter(|it| it.app == app) {
        draft.propose_action(Precondition::Always, EngineAction::RemoveVolume(volume.name.clone(), volume.app));
    }
}

/// Whether a container is left that may use a network: one of a service that does, or of a service that is not in the target.
fn is_used(draft: &AppPlan<'_>, app: &App, uses: impl Fn(&Service) -> bool) -> bool {
    draft.input.containers_of(app.id).any(|it| app.services.get(&it.key.service).is_none_or(&uses))
}

fn all_as_wanted(draft: &AppPlan<'_>, app: &App) -> bool {
    draft.input.containers_of(app.id).all(|it| {
        let service = app.services.get(&it.key.service);
        service.is_some_and(|service| draft.input.is_as_wanted(it, service))
    })
}

/// Plans the network on which services reach the API. Where none of them does, it is created when nothing else is left to do:
/// an engine creates one network after another, and services would wait for one that they do not use. A service that fails does
/// not hold it up.
pub(super) fn propose_supervisor_network(input: PlanInput<'_>, plan: &mut Plan) {
    let kept = input.supervisor_network();
    let twin = |it: &&Network| it.name == SUPERVISOR_NETWORK && Some(*it) != kept && !input.is_attached_to(it);
    plan.steps.extend(input.current.networks.iter().filter(twin).map(|it| Step::Engine(remove(it))));
    if kept.is_some() || !supervisor_env::needs_supervisor_network(input.target) {
        return;
    }
    let has_other_work = !plan.steps.is_empty() && input.current.failing.is_empty();
    if has_other_work && !supervisor_env::uses_supervisor_network(input.target) {
        return;
    }
    let pool = AddressPool {
        subnet: SUPERVISOR_SUBNET.to_owned(),
        gateway: Some(SUPERVISOR_GATEWAY.to_owned()),
        ..AddressPool::default()
    };
    // Other supervisors recognize theirs by the name of its bridge, and remove one without.
    let options = [(BRIDGE_NAME.to_owned(), SUPERVISOR_NETWORK.to_owned())].into_iter().collect();
    let config = NetworkConfig { ipam: vec![pool], options, ..NetworkConfig::default() };
    let network = Network { id: NetworkId::default(), name: SUPERVISOR_NETWORK.to_owned(), app: None, config };
    plan.steps.push(Step::Engine(EngineAction::CreateNetwork(network)));
}
