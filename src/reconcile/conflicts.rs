//! The planner sees only the last observation. This file holds back steps that conflict with work in flight.

use crate::reconcile::locks::LockTracker;
use crate::reconcile::work::Work;
use crate::state::{AppId, EngineAction, ImageRef, Network, ServiceKey, Step, Target};

/// Whether a step of the plan must not start now.
pub(super) fn conflicts(step: &Step, plan: &[Step], work: &Work, locks: &LockTracker, target: Option<&Target>) -> bool {
    match step {
        // Updates must not rely on locks under which the host is configured.
        Step::TakeLocks(app, ..) => locks.is_lent(*app),
        // Locks that host configuration relies on stay. So do all locks of an app while one of its steps is in flight: that
        // step may rely on them although the plan no longer does.
        Step::ReleaseLocks(app) => locks.has_loan() || work.concerns(*app),
        Step::Engine(EngineAction::Start(which)) => {
            loses_a_dependency(&which.key, work, target) || is_copying(which.key.app, work)
        }
        Step::Engine(EngineAction::Create(spec)) => is_copying(spec.key.app, work),
        // A container that is started or created for an earlier target may have the volume.
        Step::Engine(EngineAction::KeepData(copy) | EngineAction::PutDataBack(copy)) => uses_volumes(copy.volume.app, work),
        Step::Engine(EngineAction::Kill(which)) => loses_an_image(which.key.app, work, target),
        Step::Engine(EngineAction::CreateNetwork(network)) => loses_addresses(network, plan, work),
        Step::Engine(_) | Step::HandOver { .. } | Step::Reboot => false,
    }
}

/// Whether data of the app's volumes is being copied for an earlier target, or was since the observation.
fn is_copying(app: AppId, work: &Work) -> bool {
    work.under_way().any(|step| match step {
        Step::Engine(EngineAction::KeepData(copy) | EngineAction::PutDataBack(copy)) => copy.volume.app == app,
        _ => false,
    })
}

/// Whether a container of the app is being created or started, or was since the observation.
fn uses_volumes(app: AppId, work: &Work) -> bool {
    work.under_way().any(|step| match step {
        Step::Engine(EngineAction::Create(spec)) => spec.key.app == app,
        Step::Engine(EngineAction::Start(which) | EngineAction::Restart(which)) => which.key.app == app,
        _ => false,
    })
}

/// Whether a dependency of the service is being killed, stopped or restarted for an earlier target, or was since the
/// observation.
fn loses_a_dependency(key: &ServiceKey, work: &Work, target: Option<&Target>) -> bool {
    let service = target.and_then(|it| it.service(key));
    work.under_way().any(|step| match step {
        Step::Engine(EngineAction::Kill(which) | EngineAction::Stop(which) | EngineAction::Restart(which)) => {
            which.key.app == key.app && service.is_some_and(|it| it.depends_on.contains_key(&which.key.service))
        }
        _ => false,
    })
}

/// Whether an image that the app wants is being deleted for an earlier target, or was since the observation.
fn loses_an_image(app: AppId, work: &Work, target: Option<&Target>) -> bool {
    let app = target.and_then(|it| it.apps.get(&app));
    let wants = |image: &ImageRef| app.is_some_and(|it| it.services.values().any(|it| it.image == *image));
    work.under_way().any(|step| matches!(step, Step::Engine(EngineAction::RemoveImage(image)) if wants(image)))
}

/// Whether the engine, which chooses the addresses of this network, may choose those that another network of the plan asks
/// for: that one is created first. One that could not be created holds up no other.
fn loses_addresses(network: &Network, plan: &[Step], work: &Work) -> bool {
    let asks = |step: &Step| matches!(step, Step::Engine(EngineAction::CreateNetwork(it)) if !it.config.ipam.is_empty());
    network.config.ipam.is_empty() && plan.iter().any(|step| asks(step) && !work.retries().has_failed(step))
}

#[cfg(test)]
mod tests;
