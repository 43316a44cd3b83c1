//! What the reconciler publishes to the rest of the agent.

use std::sync::Arc;

use tokio::time::Instant;

use crate::sorted::SortedMap;
use crate::state::boot_config::BootConfigStatus;
use crate::state::cloud::ReleasePin;
use crate::state::host::HostMetrics;
use crate::state::local_mode::LocalModeStatus;
use crate::state::page_link::PageLinks;
use crate::state::target_trial::TargetTrialStatus;
use crate::state::{
    Access, AppId, ConnectivityCheck, Current, Device, Difference, DownloadProgress, ImageRef, KeptData, Overrides,
    ReleaseTrial, Secret, ServiceKey, ShutdownStatus, StartCount, Step, StepKind, Target, Unmet, Waiting,
};

/// What the reconciler publishes; it is the only writer. The API and the reports derive their own views from it. Its large
/// parts are shared with the reconciler and with readers that keep a copy, and not copied at every step.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The device.
    pub device: Device,
    /// The API keys, and what each authorizes.
    pub access: Access,
    /// Local mode.
    pub local_mode: LocalModeStatus,
    /// The device's own API key, for the cloud, which sends it with every request to the API.
    pub device_key: Option<Secret>,
    /// Links to the page that can be opened.
    pub page_links: PageLinks,
    /// The target, completed with what every container is given. `None`: no target was received yet.
    pub target: Option<Arc<Target>>,
    /// The target on trial, or kept after its trial, which is then the one above. `None`: that is the sources' target.
    pub target_trial: Option<TargetTrialStatus>,
    /// The release that the device is still to be pinned on in its cloud.
    pub pin: Option<ReleasePin>,
    /// What users requested on top of the target.
    pub overrides: Overrides,
    /// The last observation of the machine.
    pub current: Arc<Current>,
    /// Whether the engine answers.
    pub engine: EngineState,
    /// When the reconciler last finished an observation, even a failed one. It does so at least every few minutes.
    pub observed_at: Option<Instant>,
    /// What the reconciler is doing.
    pub activity: Activity,
    /// Whether a shutdown is in progress.
    pub shutdown: ShutdownStatus,
    /// Steps in flight.
    pub steps_in_flight: Vec<Step>,
    /// What the plan waits for.
    pub waiting: Vec<Waiting>,
    /// What is wrong: first what only the owner can change, then failures that are retried, newest last.
    pub troubles: Vec<Trouble>,
    /// Why the last document was rejected. The last good target stays in force.
    pub rejected: Option<String>,
    /// The releases of that document, as far as they are known: the commit, by the app's uuid.
    pub rejected_releases: SortedMap<String, String>,
    /// What is known of the releases of apps that go back to their last good one when a new one fails.
    pub releases: SortedMap<AppId, ReleaseTrial>,
    /// What is kept of the data of volumes while releases are on trial.
    pub kept_data: SortedMap<AppId, KeptData>,
    /// The target that was not reached yet, and how often the agent was started with it; or the one that is refused.
    pub start_count: Option<StartCount>,
    /// Warnings of the start: saved state that could not be read, and where it was put; an installed version that does not
    /// work.
    pub unreadable_records: Vec<String>,
    /// Progress of each pull.
    pub progress: SortedMap<ImageRef, DownloadProgress>,
    /// There is an update that is not applied yet.
    pub update_pending: bool,
    /// Every image of that update is pulled.
    pub update_downloaded: bool,
    /// The update was tried and is blocked by a lock; or a step that an app needs fails, or a dependency does not meet the
    /// condition that a service waits for, whether or not that belongs to an update; or a release failed on trial.
    pub update_failed: bool,
    /// Whether connectivity is checked.
    pub check: ConnectivityCheck,
    /// What became of the target's variables for the board's firmware or boot loader.
    pub boot_config: BootConfigStatus,
    /// Metrics of the host, as of the last observation.
    pub metrics: HostMetrics,
    /// How many updates were requested since the agent started. Sources of targets that are polled look at once when it grows.
    pub update_requests: u64,
}

/// Whether the engine answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum EngineState {
    /// The engine was not asked yet.
    #[default]
    Unknown,
    /// The engine answers.
    Up,
    /// The engine does not answer.
    Down {
        /// The reason, in human-readable text.
        why: String,
        /// Since when.
        since: Instant,
    },
}

/// What the reconciler is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Activity {
    /// No target was received yet.
    #[default]
    Waiting,
    /// It executes steps towards the target, or waits to execute one.
    Applying,
    /// The machine matches the target.
    Settled,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// A step failed, and is retried.
    Step {
        /// The step.
        step: Box<Step>,
        /// Why it failed last.
        why: StepFault,
        /// Failures in a row.
        failures: u32,
        /// When it is retried.
        again: Instant,
    },
    /// The owner has to change something: no step does.
    Difference(Difference),
}

/// Why a step failed, as far as it decides what happens next. The texts say what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepFault {
    /// The engine, a lock or logind rejected it.
    Failed(String),
    /// The registry has no such image, or none for this board.
    Missing(String),
    /// The disk has no space for it.
    OutOfSpace(String),
    /// The engine did not answer.
    Unreachable(String),
}

impl Trouble {
    /// How it counts for the device's one-word status.
    #[must_use]
    pub const fn kind(&self) -> StepKind {
        match self {
            Self::Step { step, .. } => step.kind(),
            Self::Difference(_) => StepKind::Housekeeping,
        }
    }
}

impl StepFault {
    /// The reason, in human-readable text.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Failed(why) | Self::Missing(why) | Self::OutOfSpace(why) | Self::Unreachable(why) => why,
        }
    }
}

impl Status {
    /// The most significant step in progress; if none, of a step that failed and is retried, or waits for a dependency: that
    /// is not idle.
    #[must_use]
    pub fn word(&self) -> &'static str {
        let fails = self.troubles.iter().map(Trouble::kind);
        let waits = self.waiting.iter().filter(|it| matches!(it, Waiting::Dependency(..))).map(|_| StepKind::Starting);
        let kinds: Vec<StepKind> = if self.steps_in_flight.iter().all(|it| it.kind() == StepKind::Housekeeping) {
            fails.chain(waits).collect()
        } else {
            self.steps_in_flight.iter().map(Step::kind).collect()
        };
        let does = |kind| kinds.contains(&kind);
        let words = [
            (StepKind::Downloading, "Downloading"),
            (StepKind::Installing, "Installing"),
            (StepKind::Stopping, "Stopping"),
            (StepKind::Starting, "Starting"),
        ];
        words.into_iter().find(|(kind, _)| does(*kind)).map_or("Idle", |(_, word)| word)
    }

    /// The dependency or the update window for which a service is held back, in words.
    #[must_use]
    pub fn held_back_by(&self, service: &ServiceKey) -> Option<String> {
        let window = |it: &Waiting| match it {
            Waiting::Window(Some(key), window) if key == service => Some(window.to_string()),
            _ => None,
        };
        let unmet = self.unmet_dependency(service).map(ToString::to_string);
        unmet.or_else(|| self.waiting.iter().find_map(window))
    }

    /// The dependency for which a service is held back.
    #[must_use]
    pub fn unmet_dependency(&self, service: &ServiceKey) -> Option<&Unmet> {
        self.waiting.iter().find_map(|it| match it {
            Waiting::Dependency(key, unmet) if key == service => Some(unmet),
            _ => None,
        })
    }
}
