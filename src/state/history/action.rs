//! What an entry of the history is about: what was done, or happened, and with what.

use crate::state::{EngineAction, Step};

/// What was done, or happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "their words say it")]
pub enum HistoryAction {
    Pull,
    Create,
    Start,
    Stop,
    Remove,
    Restart,
    Rename,
    Connect,
    RunHook,
    Lock,
    Unlock,
    HandOver,
    Reboot,
    ShutDown,
    Identify,
    Hold,
    Target,
    Asked,
    Exited,
    RemovedByHand,
    StartedByEngine,
    EngineLost,
    EngineBack,
    Booted,
    AgentStarted,
    Proved,
    TrialBegan,
    TrialKept,
    TrialEnded,
    Copy,
    PutBack,
}

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "their words say it")]
pub enum HistoryObject {
    Container,
    Image,
    Network,
    Volume,
    Lock,
    Led,
    Line,
    Machine,
    Engine,
    Agent,
    Target,
    Request,
    Release,
    TargetTrial,
}

impl HistoryAction {
    /// Every action.
    pub const ALL: [Self; 31] = [
        Self::Pull,
        Self::Create,
        Self::Start,
        Self::Stop,
        Self::Remove,
        Self::Restart,
        Self::Rename,
        Self::Connect,
        Self::RunHook,
        Self::Lock,
        Self::Unlock,
        Self::HandOver,
        Self::Reboot,
        Self::ShutDown,
        Self::Identify,
        Self::Hold,
        Self::Target,
        Self::Asked,
        Self::Exited,
        Self::RemovedByHand,
        Self::StartedByEngine,
        Self::EngineLost,
        Self::EngineBack,
        Self::Booted,
        Self::AgentStarted,
        Self::Proved,
        Self::TrialBegan,
        Self::TrialKept,
        Self::TrialEnded,
        Self::Copy,
        Self::PutBack,
    ];

    /// Its name in the API and in files.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Remove => "remove",
            Self::Restart => "restart",
            Self::Rename => "rename",
            Self::Connect => "connect",
            Self::RunHook => "run_hook",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::HandOver => "hand_over",
            Self::Reboot => "reboot",
            Self::ShutDown => "shut_down",
            Self::Identify => "identify",
            Self::Hold => "hold",
            Self::Target => "target",
            Self::Asked => "asked",
            Self::Exited => "exited",
            Self::RemovedByHand => "removed_by_hand",
            Self::StartedByEngine => "started_by_engine",
            Self::EngineLost => "engine_lost",
            Self::EngineBack => "engine_back",
            Self::Booted => "booted",
            Self::AgentStarted => "agent_started",
            Self::Proved => "proved",
            Self::TrialBegan => "trial_began",
            Self::TrialKept => "trial_kept",
            Self::TrialEnded => "trial_ended",
            Self::Copy => "copy",
            Self::PutBack => "put_back",
        }
    }

    /// What is said of something with which it was done, and the participle for one with which it was tried.
    pub(super) const fn phrase(self) -> (&'static str, &'static str) {
        match self {
            Self::Pull => ("was downloaded", "downloaded"),
            Self::Create => ("was created", "created"),
            Self::Start => ("was started", "started"),
            Self::Stop => ("was stopped", "stopped"),
            Self::Remove => ("was removed", "removed"),
            Self::Restart => ("was restarted", "restarted"),
            Self::Rename => ("was renamed", "renamed"),
            Self::Connect => ("was connected to its networks", "connected to its networks"),
            Self::RunHook => ("was prepared for its update by its hook", "prepared for its update"),
            Self::Lock => ("was locked for the update", "locked for the update"),
            Self::Unlock => ("was unlocked", "unlocked"),
            Self::HandOver => ("was handed over to its new container", "handed over to its new container"),
            Self::Reboot => ("is rebooted", "rebooted"),
            Self::ShutDown => ("is shut down", "shut down"),
            Self::Identify => ("was blinked to identify the board", "blinked"),
            Self::Hold => ("was held", "held"),
            Self::Target => ("was accepted", "accepted"),
            Self::Asked => ("was requested", "requested"),
            Self::Exited => ("ended by itself", "ended"),
            Self::RemovedByHand => ("was removed by another program", "removed"),
            Self::StartedByEngine => ("was started, not by the agent", "started"),
            Self::EngineLost => ("does not answer", "reached"),
            Self::EngineBack => ("answers again", "reached"),
            Self::Booted => ("booted", "booted"),
            Self::AgentStarted => ("started", "started"),
            Self::Proved => ("is proven good", "proven good"),
            Self::TrialBegan => ("began", "begun"),
            Self::TrialKept => ("ended, and the target is kept", "ended with the target kept"),
            Self::TrialEnded => ("ended", "ended"),
            Self::Copy => ("was copied, to be put back if the new release fails", "copied"),
            Self::PutBack => ("was put back as it was before the release that failed", "put back"),
        }
    }

    /// Whether it happened without the agent.
    #[must_use]
    pub const fn is_seen(self) -> bool {
        match self {
            Self::Exited
            | Self::RemovedByHand
            | Self::StartedByEngine
            | Self::EngineLost
            | Self::EngineBack
            | Self::Booted
            | Self::AgentStarted => true,
            Self::Pull
            | Self::Create
            | Self::Start
            | Self::Stop
            | Self::Remove
            | Self::Restart
            | Self::Rename
            | Self::Connect
            | Self::RunHook
            | Self::Lock
            | Self::Unlock
            | Self::HandOver
            | Self::Reboot
            | Self::ShutDown
            | Self::Identify
            | Self::Hold
            | Self::Target
            | Self::Asked
            | Self::Proved
            | Self::Copy
            | Self::PutBack
            | Self::TrialBegan
            | Self::TrialKept
            | Self::TrialEnded => false,
        }
    }

    /// What a step does, with what, and the name of that.
    #[must_use]
    pub fn of(step: &Step) -> (Self, HistoryObject, String) {
        use HistoryObject::{Container, Image, Lock, Machine, Network, Volume};
        match step {
            Step::Engine(action) => match action {
                EngineAction::Pull(image) => (Self::Pull, Image, image.to_string()),
                EngineAction::Create(spec) => (Self::Create, Container, spec.name.clone()),
                EngineAction::Start(which) => (Self::Start, Container, which.id.to_string()),
                EngineAction::Stop(which) => (Self::Stop, Container, which.id.to_string()),
                EngineAction::Kill(which) => (Self::Remove, Container, which.id.to_string()),
                EngineAction::Restart(which) => (Self::Restart, Container, which.id.to_string()),
                EngineAction::Rename(_, name) | EngineAction::Retire(_, name) => (Self::Rename, Container, name.clone()),
                EngineAction::Connect(which, _) => (Self::Connect, Container, which.id.to_string()),
                EngineAction::RunHook(which, _) => (Self::RunHook, Container, which.id.to_string()),
                EngineAction::CreateNetwork(network) => (Self::Create, Network, network.name.clone()),
                EngineAction::RemoveNetwork(name, ..) => (Self::Remove, Network, name.clone()),
                EngineAction::CreateVolume(volume) => (Self::Create, Volume, volume.name.clone()),
                EngineAction::RemoveVolume(name, _) => (Self::Remove, Volume, name.clone()),
                EngineAction::KeepData(copy) => (Self::Copy, Volume, copy.volume.name.clone()),
                EngineAction::PutDataBack(copy) => (Self::PutBack, Volume, copy.volume.name.clone()),
                EngineAction::RemoveImage(image) => (Self::Remove, Image, image.to_string()),
            },
            Step::TakeLocks(app, ..) => (Self::Lock, Lock, app.to_string()),
            Step::ReleaseLocks(app) => (Self::Unlock, Lock, app.to_string()),
            Step::HandOver { old, .. } => (Self::HandOver, Container, old.id.to_string()),
            Step::Reboot => (Self::Reboot, Machine, String::new()),
        }
    }
}

impl HistoryObject {
    /// Every object.
    pub const ALL: [Self; 14] = [
        Self::Container,
        Self::Image,
        Self::Network,
        Self::Volume,
        Self::Lock,
        Self::Led,
        Self::Line,
        Self::Machine,
        Self::Engine,
        Self::Agent,
        Self::Target,
        Self::Request,
        Self::Release,
        Self::TargetTrial,
    ];

    /// Its name in the API and in files.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Lock => "lock",
            Self::Led => "led",
            Self::Line => "line",
            Self::Machine => "machine",
            Self::Engine => "engine",
            Self::Agent => "agent",
            Self::Target => "target",
            Self::Request => "request",
            Self::Release => "release",
            Self::TargetTrial => "target_trial",
        }
    }
}
