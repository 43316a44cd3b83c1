//! What an app of the target is like on this device, in the words of supervisors of 2026. The reports to the cloud and the API
//! read it here, so that they never contradict each other.
//!
//! A release on trial is not `done` before it is proven good. `aborted` is one that failed on trial, or of which a step failed
//! twice in a row and is retried; the service whose image cannot be pulled is `Aborted` until bytes arrive again, so that a
//! retry every few minutes is no change.

use crate::state::{
    Activity, App, AppId, Container, ContainerPhase, EngineAction, ReleaseTrial, Service, ServiceKey, Status, Step, StepFault,
    StepKind, Trouble, Waiting, parse_name,
};

/// A step that failed this often in a row aborts its release.
const ABORTED_AFTER: u32 = 2;

/// An app of the target, on this device.
#[derive(Debug, Clone, Copy)]
pub struct AppStatus<'a> {
    status: &'a Status,
    app: &'a App,
}

/// A service of the target, on this device.
#[derive(Debug, Clone, Copy)]
pub struct ServiceStatus<'a> {
    /// What it does.
    pub word: &'static str,
    /// How much of its image is pulled, in per cent, while it is.
    pub download_progress: Option<u8>,
    /// Its container of the target's release.
    pub container: Option<&'a Container>,
}

impl<'a> AppStatus<'a> {
    /// An app of the status's target.
    #[must_use]
    pub const fn new(status: &'a Status, app: &'a App) -> Self {
        Self { status, app }
    }

    /// Its services, by name, each as it is now.
    pub fn services(self) -> impl Iterator<Item = (&'a String, &'a Service, ServiceStatus<'a>)> {
        self.app.services.iter().map(move |(name, service)| (name, service, self.service(name, service)))
    }

    /// How far the device is with the app's release.
    #[must_use]
    pub fn update_status(&self) -> &'static str {
        let words: Vec<_> = self.services().map(|(.., it)| it.word).collect();
        let is = |word: &str| words.contains(&word);
        let trial = self.status.releases.get(&self.app.id);
        if is("Aborted")
            || matches!(trial, Some(ReleaseTrial::Failed(_)))
            || self.failing_steps().any(|it| it.app() == Some(self.app.id))
        {
            "aborted"
        } else if is("Downloading") {
            "downloading"
        } else if self.is_settled() && !matches!(trial, Some(ReleaseTrial::OnTrial(_))) {
            "done"
        } else if is("Downloaded") && !self.is_being_changed() {
            "downloaded"
        } else {
            "applying changes"
        }
    }

    fn service(&self, name: &str, service: &Service) -> ServiceStatus<'a> {
        let key = ServiceKey::new(self.app.id, name);
        let container = self.container(&key, service);
        let (word, download_progress) =
            container.map_or_else(|| self.missing_status(&key, service), |it| (container_word(self.status, it), None));
        ServiceStatus { word, download_progress, container }
    }

    /// What a service does that has no container.
    fn missing_status(&self, key: &ServiceKey, service: &Service) -> (&'static str, Option<u8>) {
        if self.status.target.as_ref().is_some_and(|it| it.keeps(key.app)) {
            // Local mode pulls and creates nothing of it.
            return ("exited", None);
        }
        if !self.status.current.has_image(&service.image) {
            let progress = self.status.progress.get(&service.image).map_or(0, |it| it.percent);
            let pulls = |step: &Step| matches!(step, Step::Engine(EngineAction::Pull(image)) if *image == service.image);
            let fails = progress == 0 && self.failing_steps().any(pulls);
            return if fails { ("Aborted", None) } else { ("Downloading", Some(progress)) };
        }
        let creates = |step: &Step| matches!(step, Step::Engine(EngineAction::Create(spec)) if spec.key == *key);
        (if self.status.steps_in_flight.iter().any(creates) { "Installing" } else { "Downloaded" }, None)
    }

    /// The newest container of the service that belongs to the target's release. That of another supervisor may have a name
    /// that says no release; then its image decides.
    fn container(&self, key: &ServiceKey, service: &Service) -> Option<&'a Container> {
        let is_of_release = |it: &&Container| match parse_name(&it.name) {
            Some(named) => Some(&named.commit) == self.app.commit.as_ref(),
            None => it.image_ref == service.image,
        };
        let containers = self.status.current.containers.iter().filter(|it| it.key == *key);
        containers.filter(is_of_release).max_by_key(|it| it.created_secs)
    }

    /// Whether every service of the release is as the target has it.
    fn is_settled(&self) -> bool {
        let waits = self.status.waiting.iter().any(|it| waiting_app(it) == Some(self.app.id));
        let is_there = |(name, service): (&String, &Service)| {
            let key = ServiceKey::new(self.app.id, name);
            let is_to_run = service.running && !self.status.overrides.stopped.contains(&key);
            self.container(&key, service).is_some_and(|it| it.phase != ContainerPhase::Created || !is_to_run)
        };
        self.status.activity == Activity::Settled
            || !waits && !self.is_being_changed() && self.app.services.iter().all(is_there)
    }

    /// Whether a step changes the app's containers.
    fn is_being_changed(&self) -> bool {
        let changes = |step: &Step| step.kind() != StepKind::Housekeeping || matches!(step, Step::HandOver { .. });
        self.status.steps_in_flight.iter().any(|it| it.app() == Some(self.app.id) && changes(it))
    }

    /// Steps that fail again and again. Those of an engine that does not answer are the engine's trouble; images and volumes
    /// that cannot be deleted, and locks, keep no release from running.
    fn failing_steps(&self) -> impl Iterator<Item = &'a Step> {
        self.status.troubles.iter().filter_map(|it| match it {
            Trouble::Step {
                step,
                why: StepFault::Failed(_) | StepFault::Missing(_) | StepFault::OutOfSpace(_),
                failures,
                ..
            } if *failures >= ABORTED_AFTER && step.kind() != StepKind::Housekeeping => Some(&**step),
            Trouble::Step { .. } | Trouble::Difference(_) => None,
        })
    }
}

/// What a container does.
#[must_use]
pub fn container_word(status: &Status, container: &Container) -> &'static str {
    for step in &status.steps_in_flight {
        match step {
            Step::Engine(EngineAction::Start(which)) if which.id == container.id => return "Starting",
            Step::Engine(EngineAction::Stop(which) | EngineAction::Kill(which) | EngineAction::Restart(which))
                if which.id == container.id =>
            {
                return "Stopping";
            }
            Step::HandOver { old, .. } if old.key == container.key && old.id != container.id => return "Awaiting handover",
            _ => (),
        }
    }
    match container.phase {
        ContainerPhase::Created => "Installed",
        ContainerPhase::Running => "Running",
        ContainerPhase::Restarting => "restarting",
        ContainerPhase::Paused => "paused",
        ContainerPhase::Exited(_) => "exited",
        ContainerPhase::Removing => "removing",
        ContainerPhase::Dead => "Dead",
    }
}

/// The app that waits, if the wait keeps it from its target. A user who paused a container does not.
const fn waiting_app(waiting: &Waiting) -> Option<AppId> {
    match waiting {
        Waiting::Lock(app, _) | Waiting::Lease(app, _) => Some(*app),
        Waiting::Window(Some(key), _)
        | Waiting::Dependency(key, _)
        | Waiting::Hook(key, _)
        | Waiting::Images(key)
        | Waiting::Containers(key)
        | Waiting::Engine(key)
        | Waiting::Resource(key, _)
        | Waiting::Predecessor(key, _)
        | Waiting::Boot(key) => Some(key.app),
        Waiting::Window(None, _) | Waiting::Paused(_) | Waiting::StoppedByHand(_) | Waiting::Configured(_) => None,
    }
}
