//! A step of the reconciler, and what it acts on.

use std::fmt;
use std::time::Duration;

use crate::sorted::SortedSet;
use crate::state::{AppId, ContainerRef, EngineAction, Force, ImageRef, ServiceKey};

/// One action, small enough to be retried as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An action of the engine.
    Engine(EngineAction),
    /// Take the update locks of these services of an app.
    TakeLocks(AppId, SortedSet<String>, Force),
    /// Release our update locks of an app.
    ReleaseLocks(AppId),
    /// Wait until the new container of a service takes over, up to `timeout`; then kill the old one.
    HandOver {
        /// The old container.
        old: ContainerRef,
        /// The longest wait.
        timeout: Duration,
    },
    /// Reboot the machine: a service was created that only the next boot starts, or the host's configuration requires it.
    Reboot,
}

/// What a step acts on. Two steps with the same subject are never in flight at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The containers of a service.
    Service(ServiceKey),
    /// An image.
    Image(ImageRef),
    /// A network.
    Network(String),
    /// A volume.
    Volume(String),
    /// The update locks of an app.
    Locks(AppId),
    /// The machine.
    Machine,
}

/// The kinds of step that the device's one-word status distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// An image is pulled.
    Downloading,
    /// A container, a network or a volume is created, or a container is renamed or connected.
    Installing,
    /// A container is started.
    Starting,
    /// A container is stopped or removed.
    Stopping,
    /// Networks, volumes, images, locks.
    Housekeeping,
}

impl Step {
    /// What the step acts on.
    #[must_use]
    pub fn subject(&self) -> Subject {
        match self {
            Self::Engine(action) => action.subject(),
            Self::TakeLocks(app, ..) | Self::ReleaseLocks(app) => Subject::Locks(*app),
            Self::HandOver { old, .. } => Subject::Service(old.key.clone()),
            Self::Reboot => Subject::Machine,
        }
    }

    /// The service whose containers it acts on, if any.
    #[must_use]
    pub fn service(&self) -> Option<ServiceKey> {
        match self.subject() {
            Subject::Service(key) => Some(key),
            Subject::Image(_) | Subject::Network(_) | Subject::Volume(_) | Subject::Locks(_) | Subject::Machine => None,
        }
    }

    /// The app it belongs to, if any.
    #[must_use]
    pub fn app(&self) -> Option<AppId> {
        match self {
            Self::Engine(EngineAction::RemoveVolume(_, app)) => Some(*app),
            Self::Engine(EngineAction::KeepData(copy) | EngineAction::PutDataBack(copy)) => Some(copy.volume.app),
            Self::Engine(EngineAction::CreateVolume(volume)) => Some(volume.app),
            Self::Engine(EngineAction::CreateNetwork(network)) => network.app,
            Self::Engine(EngineAction::RemoveNetwork(.., app)) => *app,
            Self::Engine(_) | Self::TakeLocks(..) | Self::ReleaseLocks(_) | Self::HandOver { .. } | Self::Reboot => {
                match self.subject() {
                    Subject::Service(key) => Some(key.app),
                    Subject::Locks(app) => Some(app),
                    Subject::Image(_) | Subject::Network(_) | Subject::Volume(_) | Subject::Machine => None,
                }
            }
        }
    }

    /// How the step counts for the device's one-word status.
    #[must_use]
    pub const fn kind(&self) -> StepKind {
        match self {
            Self::Engine(EngineAction::Pull(_)) => StepKind::Downloading,
            Self::Engine(
                EngineAction::Create(_)
                | EngineAction::Rename(..)
                | EngineAction::Retire(..)
                | EngineAction::Connect(..)
                | EngineAction::CreateNetwork(_)
                | EngineAction::CreateVolume(_)
                | EngineAction::KeepData(_)
                | EngineAction::PutDataBack(_),
            ) => StepKind::Installing,
            Self::Engine(EngineAction::Start(_)) => StepKind::Starting,
            Self::Engine(EngineAction::Stop(_) | EngineAction::Kill(_) | EngineAction::Restart(_)) => StepKind::Stopping,
            Self::Engine(
                EngineAction::RemoveNetwork(..)
                | EngineAction::RemoveVolume(..)
                | EngineAction::RemoveImage(_)
                | EngineAction::RunHook(..),
            )
            | Self::TakeLocks(..)
            | Self::ReleaseLocks(_)
            | Self::HandOver { .. }
            | Self::Reboot => StepKind::Housekeeping,
        }
    }

    /// Whether the step may be cancelled half-way when it is not wanted any more: a download, a copy, a wait, a hook.
    #[must_use]
    pub const fn is_cancellable(&self) -> bool {
        matches!(
            self,
            Self::Engine(EngineAction::Pull(_) | EngineAction::KeepData(_) | EngineAction::RunHook(..)) | Self::HandOver { .. }
        )
    }
}

impl EngineAction {
    fn subject(&self) -> Subject {
        match self {
            Self::Pull(image) | Self::RemoveImage(image) => Subject::Image(image.clone()),
            Self::Create(spec) => Subject::Service(spec.key.clone()),
            Self::Start(which)
            | Self::Stop(which)
            | Self::Kill(which)
            | Self::Restart(which)
            | Self::Rename(which, _)
            | Self::Retire(which, _)
            | Self::RunHook(which, _)
            | Self::Connect(which, _) => Subject::Service(which.key.clone()),
            Self::CreateNetwork(network) => Subject::Network(network.name.clone()),
            Self::RemoveNetwork(name, ..) => Subject::Network(name.clone()),
            Self::CreateVolume(volume) => Subject::Volume(volume.name.clone()),
            Self::RemoveVolume(name, _) => Subject::Volume(name.clone()),
            Self::KeepData(copy) => Subject::Volume(copy.snapshot()),
            Self::PutDataBack(copy) => Subject::Volume(copy.volume.name.clone()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(action) => action.fmt(f),
            Self::TakeLocks(app, services, Force::No) => write!(f, "lock {app} ({})", names(services)),
            Self::TakeLocks(app, services, Force::Yes) => write!(f, "lock {app} by force ({})", names(services)),
            Self::ReleaseLocks(app) => write!(f, "unlock {app}"),
            Self::HandOver { old, .. } => write!(f, "hand over {}", old.key),
            Self::Reboot => f.write_str("reboot"),
        }
    }
}

fn names(services: &SortedSet<String>) -> String {
    services.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}
