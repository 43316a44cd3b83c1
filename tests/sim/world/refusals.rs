//! Containers that the engine refuses to create, and containers that must not be killed for them.

use std::time::Duration;

use boardkeeper::port::EngineError;
use boardkeeper::state::config::Mount;
use boardkeeper::state::{App, ContainerRef, ContainerSpec, EngineAction, Service, ServiceKey, Target};
use tokio::time::Instant;

use super::Model;
use super::engine_model::{EngineModel, Owned};
use super::events::Job;
use super::marks::Mark;

/// An agent may act on an observation up to this old.
const MAX_STALENESS: Duration = Duration::from_secs(120);

impl EngineModel {
    /// What only an engine knows: it has no such runtime, say. A document may ask for one, and an engine may lose one.
    pub(crate) fn accepts(&self, spec: &ContainerSpec) -> Result<(), EngineError> {
        let runtime = spec.config.runtime.as_deref().filter(|it| *it != "runc");
        match (runtime, self.refuses.contains_key(&spec.key)) {
            (Some(runtime), _) => Err(EngineError::Refused(format!("unknown runtime specified {runtime}"))),
            (None, true) => Err(EngineError::Refused(format!("cannot create {}: unknown runtime specified", spec.key))),
            (None, false) => Ok(()),
        }
    }
}

impl Model {
    /// For a while the engine refuses to create containers of a service.
    pub(crate) fn refuses_some(&mut self) {
        let keys: Vec<_> = self.engine.ours().map(|it| it.view.key.clone()).collect();
        let Some(key) = self.rngs.events.pick(&keys).cloned() else { return };
        self.engine.refuses.insert(key.clone(), Instant::now());
        let after = self.rngs.events.secs(10, 1800);
        self.schedule(after, Job::Accepts(key));
    }

    pub(crate) fn mark_refusal(&mut self, action: &EngineAction) {
        if matches!(action, EngineAction::Create(spec) if self.engine.accepts(spec).is_err()) {
            self.hit(Mark::CreateRefused);
        }
    }

    /// Nothing that runs is killed for a container that the engine refuses to create, if the agent could know that before.
    pub(crate) fn check_refused(&mut self, which: &ContainerRef) {
        let theirs: Vec<_> = self.engine.ours().filter(|it| it.view.key == which.key).collect();
        let runs = theirs.iter().any(|it| it.view.id == which.id && it.view.phase.is_alive());
        if theirs.len() != 1 || !runs || self.checker.purged.contains(&which.key.app) {
            return;
        }
        // Before data is put back, nothing may have the volume: neither what runs nor what was created.
        if self.engine.snapshots.values().any(|it| it.app == which.key.app) {
            return;
        }
        let lately = self.engine.refuses.get(&which.key).map(|since| since.elapsed() > MAX_STALENESS);
        let killed_for = |target: &Target| {
            let app = target.apps.get(&which.key.app);
            let wanted = app.and_then(|app| Some((app, app.services.get(&which.key.service)?)));
            wanted.is_some_and(|(app, service)| {
                let refused = service.config.runtime.as_deref().is_some_and(|it| it != "runc") || lately == Some(true);
                refused && self.could_be_seen(app, &which.key, service)
            })
        };
        if self.all_targets(killed_for) {
            self.violation(format_args!("kill {}, for a container that the engine refuses to create", which.key));
        }
    }

    /// Whether the new container can be created beside the old one: its image is here, and its networks and volumes stay.
    fn could_be_seen(&self, app: &App, key: &ServiceKey, service: &Service) -> bool {
        let network = |name: &String| {
            let names = [format!("{}_{name}", app.uuid), format!("{}_{name}", app.id)];
            let seen = names.iter().find_map(|name| self.engine.networks.get(name));
            let same = |it: &Owned<_>| matches!(it, Owned::Ours((_, config)) if app.networks.get(name) == Some(config));
            seen.is_some_and(same)
        };
        let volume = |mount: &Mount| match mount {
            Mount::Volume { name, .. } => self.engine.volumes.contains_key(&format!("{}_{name}", key.app)),
            Mount::Bind { .. } | Mount::Anonymous { .. } => true,
        };
        self.engine.image(&service.image).is_some()
            && service.config.networks.keys().filter(|it| *it != "supervisor0").all(network)
            && service.config.mounts.iter().all(volume)
    }
}
