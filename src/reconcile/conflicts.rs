//! The planner sees only the last observation. This file holds back steps that conflict with work in flight.

use crate::plan::{Step, Subject};
use crate::port::World;
use crate::reconcile::Reconciler;
use crate::state::{AppId, EngineAction, ImageRef, ServiceKey};

impl<W: World> Reconciler<'_, W> {
    /// Whether a step of the plan must not start now.
    pub(super) fn conflicts_with_work_in_flight(&self, step: &Step) -> bool {
        match step {
            // Updates must not rely on locks under which the host is configured.
            Step::TakeLocks(app, ..) => self.is_leased(*app),
            // Locks that host configuration relies on stay. So do all locks of an app while one of its steps is in flight:
            // that step may rely on them although the plan no longer does.
            Step::ReleaseLocks(app) => {
                self.host_config_lease.is_some() || self.running.iter().any(|(it, _)| app_of(it) == Some(*app))
            }
            Step::Engine(EngineAction::Start(which)) => self.loses_a_dependency(&which.key),
            Step::Engine(EngineAction::Kill(which)) => self.loses_an_image(which.key.app),
            Step::Engine(_) | Step::HandOver { .. } | Step::Reboot => false,
        }
    }

    /// Whether a dependency of the service is being killed, stopped or restarted for an earlier target, or was since the
    /// observation.
    fn loses_a_dependency(&self, key: &ServiceKey) -> bool {
        let service = self.target.as_ref().and_then(|it| it.apps.get(&key.app)?.services.get(&key.service));
        self.under_way().any(|step| match step {
            Step::Engine(EngineAction::Kill(which) | EngineAction::Stop(which) | EngineAction::Restart(which)) => {
                which.key.app == key.app && service.is_some_and(|it| it.depends_on.contains_key(&which.key.service))
            }
            _ => false,
        })
    }

    /// Whether an image that the app wants is being deleted for an earlier target, or was since the observation.
    fn loses_an_image(&self, app: AppId) -> bool {
        let app = self.target.as_ref().and_then(|it| it.apps.get(&app));
        let wants = |image: &ImageRef| app.is_some_and(|it| it.services.values().any(|it| it.image == *image));
        self.under_way().any(|step| matches!(step, Step::Engine(EngineAction::RemoveImage(image)) if wants(image)))
    }

    /// Steps that are in flight, or ended since the observation.
    pub(super) fn under_way(&self) -> impl Iterator<Item = &Step> {
        self.running.iter().map(|(step, _)| step).chain(&self.ended)
    }
}

/// The app a step belongs to, if any.
pub(super) fn app_of(step: &Step) -> Option<AppId> {
    match step.subject() {
        Subject::Service(key) => Some(key.app),
        Subject::Locks(app) => Some(app),
        Subject::Image(_) | Subject::Network(_) | Subject::Volume(_) | Subject::Machine => match step {
            Step::Engine(EngineAction::RemoveVolume(_, app)) => Some(*app),
            Step::Engine(EngineAction::CreateVolume(volume)) => Some(volume.app),
            Step::Engine(EngineAction::CreateNetwork(network)) => network.app,
            Step::Engine(EngineAction::RemoveNetwork(.., app)) => *app,
            _ => None,
        },
    }
}
