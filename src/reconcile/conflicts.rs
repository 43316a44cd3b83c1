//! Steps of the plan that have to wait for what is under way. A plan knows how things are, and not what is being done to them.

use crate::plan::{EngineAction, Step, Subject};
use crate::port::World;
use crate::reconcile::Reconciler;
use crate::state::{AppId, ImageRef, ServiceKey};

impl<W: World> Reconciler<'_, W> {
    /// Whether a step is not to be taken now, although the plan has it.
    pub(super) fn conflicts_with_work_in_flight(&self, step: &Step) -> bool {
        match step {
            // Locks under which the host is configured are not for updates to count on.
            Step::TakeLocks(app, ..) => self.is_leased(*app),
            // Ours that it relies on stay; and so they do for as long as something of the app is under way, which may count on them
            // although the plan no longer does.
            Step::ReleaseLocks(app) => {
                self.host_config_lease.is_some() || self.running.iter().any(|(it, _)| app_of(it) == Some(*app))
            }
            Step::Engine(EngineAction::Start(which)) => self.loses_a_dependency(&which.key),
            Step::Engine(EngineAction::Kill(which)) => self.loses_an_image(which.key.app),
            Step::Engine(_) | Step::HandOver { .. } | Step::Reboot => false,
        }
    }

    /// Whether something that a service depends on is being killed, stopped or restarted, as an earlier target wanted it, or was since the look.
    fn loses_a_dependency(&self, key: &ServiceKey) -> bool {
        let service = self.target.as_ref().and_then(|it| it.apps.get(&key.app)?.services.get(&key.service));
        self.under_way().any(|step| match step {
            Step::Engine(EngineAction::Kill(which) | EngineAction::Stop(which) | EngineAction::Restart(which)) => {
                which.key.app == key.app && service.is_some_and(|it| it.depends_on.contains_key(&which.key.service))
            }
            _ => false,
        })
    }

    /// Whether an image that an app wants is being deleted, as an earlier target did not want it, or was since the look.
    fn loses_an_image(&self, app: AppId) -> bool {
        let app = self.target.as_ref().and_then(|it| it.apps.get(&app));
        let wants = |image: &ImageRef| app.is_some_and(|it| it.services.values().any(|it| it.image == *image));
        self.under_way().any(|step| matches!(step, Step::Engine(EngineAction::RemoveImage(image)) if wants(image)))
    }

    /// Steps that are being taken, or ended since the look.
    pub(super) fn under_way(&self) -> impl Iterator<Item = &Step> {
        self.running.iter().map(|(step, _)| step).chain(&self.ended)
    }
}

/// The app a step concerns, when it concerns one.
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
