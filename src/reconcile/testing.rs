//! What the tests of several parts share: short names for services and steps, and a world.

pub(super) use crate::plan::tests::model::{APP, parse_device, parse_target};
use crate::reconcile::Context;
use crate::state::{ContainerId, ContainerRef, EngineAction, HeldLock, ImageRef, ServiceKey, Step};
pub(super) use crate::testing::TestWorld;

impl TestWorld {
    pub(super) const fn context(&self) -> Context<'_, Self> {
        Context { world: self, publish: &self.publish, events: &self.events.0, history: &self.history }
    }
}

/// A service of the one app.
pub(super) fn key(service: &str) -> ServiceKey {
    ServiceKey::new(APP, service)
}

/// An action on a container of a service: `act(EngineAction::Start, "web")`.
pub(super) fn act(action: fn(ContainerRef) -> EngineAction, service: &str) -> Step {
    Step::Engine(action(ContainerRef { key: key(service), id: ContainerId(format!("{service}-0")) }))
}

pub(super) fn pull(image: &str) -> Step {
    Step::Engine(EngineAction::Pull(ImageRef::new(image)))
}

pub(super) fn remove_image(image: &str) -> Step {
    Step::Engine(EngineAction::RemoveImage(ImageRef::new(image)))
}

/// The update lock that a service holds.
pub(super) fn held(service: &str) -> HeldLock {
    HeldLock { service: service.to_owned(), path: format!("/lock/{service}"), since_secs: 0 }
}
