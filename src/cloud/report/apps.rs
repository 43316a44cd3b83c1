//! The apps of the target, made from the status, in the words of supervisors of 2026.
//!
//! Reported are the apps and the releases that the target names, and no others: the cloud refuses a report that mentions a
//! release that was deleted. So while an update is under way, the release before it is not reported any more, and the cloud
//! keeps it as the running one until the new one is complete. A release that this device rejects is reported beside the one
//! that stays in force.
//!
//! `aborted` is a release of which a step failed twice in a row and is retried; the service whose image cannot be pulled is
//! `Aborted` until bytes arrive again, so that a retry every few minutes makes no report of its own. What the other troubles
//! are has no field in the cloud.

use std::collections::BTreeMap;

use crate::state::cloud::{AppReport, ReleaseReport, ServiceReport};
use crate::state::{
    Activity, App, AppId, Container, ContainerPhase, EngineAction, EngineState, Service, ServiceKey, Status, Step, StepFault,
    StepKind, Trouble, Waiting, parse_name,
};

/// A step that failed this often in a row aborts its release.
const ABORTED_AFTER: u32 = 2;

/// The apps, by uuid. None in local mode, where the apps are not the cloud's, and none while the engine does not answer: then
/// what the cloud has of them stays.
pub(super) fn app_reports(status: &Status) -> BTreeMap<String, AppReport> {
    if status.access.local_mode || status.engine != EngineState::Up {
        return BTreeMap::new();
    }
    let apps = status.target.iter().flat_map(|it| it.apps.values()).filter(|it| has_cloud_uuid(it));
    let mut reports: BTreeMap<_, _> = apps.map(|app| (app.uuid.clone(), AppView { status, app }.report())).collect();
    for (app, commit) in &status.rejected_releases {
        let releases = &mut reports.entry(app.clone()).or_default().releases;
        releases.entry(commit.clone()).or_insert_with(rejected);
    }
    reports
}

/// An app without a uuid comes from no document of this cloud; its number stands in for the uuid.
fn has_cloud_uuid(app: &App) -> bool {
    app.uuid != app.id.to_string()
}

fn rejected() -> ReleaseReport {
    ReleaseReport { update_status: Some("rejected"), services: BTreeMap::new() }
}

/// An app of the target, on this device.
struct AppView<'a> {
    status: &'a Status,
    app: &'a App,
}

impl<'a> AppView<'a> {
    fn report(&self) -> AppReport {
        let Some(commit) = &self.app.commit else { return AppReport::default() };
        let services: BTreeMap<_, _> =
            self.app.services.iter().map(|(name, service)| (name.clone(), self.service(name, service))).collect();
        let update_status = self.update_status(&services);
        AppReport {
            release_uuid: (update_status == "done").then(|| commit.clone()),
            releases: BTreeMap::from([(commit.clone(), ReleaseReport { update_status: Some(update_status), services })]),
        }
    }

    fn service(&self, name: &str, service: &Service) -> ServiceReport {
        let (word, progress) = self.service_status(&ServiceKey::new(self.app.id, name), service);
        ServiceReport { image: service.image.as_str().to_owned(), status: word.to_owned(), download_progress: progress }
    }

    fn service_status(&self, key: &ServiceKey, service: &Service) -> (&'static str, Option<u8>) {
        if let Some(container) = self.container(key, service) {
            return (self.container_status(container), None);
        }
        if !self.status.current.has_image(&service.image) {
            let progress = self.status.progress.get(&service.image).copied().unwrap_or_default();
            let pulls = |step: &Step| matches!(step, Step::Engine(EngineAction::Pull(image)) if *image == service.image);
            let fails = progress == 0 && self.failing_steps().any(pulls);
            return if fails { ("Aborted", None) } else { ("Downloading", Some(progress)) };
        }
        let creates = |step: &Step| matches!(step, Step::Engine(EngineAction::Create(spec)) if spec.key == *key);
        (if self.status.steps_in_flight.iter().any(creates) { "Installing" } else { "Downloaded" }, None)
    }

    fn container_status(&self, container: &Container) -> &'static str {
        for step in &self.status.steps_in_flight {
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

    fn update_status(&self, services: &BTreeMap<String, ServiceReport>) -> &'static str {
        let is = |word: &str| services.values().any(|it| it.status == word);
        if is("Aborted") || self.failing_steps().any(|it| it.app() == Some(self.app.id)) {
            "aborted"
        } else if is("Downloading") {
            "downloading"
        } else if self.is_settled() {
            "done"
        } else if is("Downloaded") && !self.is_being_changed() {
            "downloaded"
        } else {
            "applying changes"
        }
    }

    /// Whether every service of the release is as the target has it.
    fn is_settled(&self) -> bool {
        let waits = self.status.waiting.iter().any(|it| waiting_app(it) == Some(self.app.id));
        let is_there = |(name, service): (&String, &Service)| {
            let container = self.container(&ServiceKey::new(self.app.id, name), service);
            container.is_some_and(|it| it.phase != ContainerPhase::Created || !service.running)
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
            Trouble::Step { step, why: StepFault::Failed(_) | StepFault::OutOfSpace(_), failures, .. }
                if *failures >= ABORTED_AFTER && step.kind() != StepKind::Housekeeping =>
            {
                Some(&**step)
            }
            Trouble::Step { .. } | Trouble::Difference(_) => None,
        })
    }
}

/// The app that waits, if the wait keeps it from its target. A user who paused a container does not.
const fn waiting_app(waiting: &Waiting) -> Option<AppId> {
    match waiting {
        Waiting::Lock(app, _) => Some(*app),
        Waiting::Dependency(key, _)
        | Waiting::Images(key)
        | Waiting::Containers(key)
        | Waiting::Engine(key)
        | Waiting::Resource(key, _)
        | Waiting::Predecessor(key, _)
        | Waiting::Boot(key) => Some(key.app),
        Waiting::Paused(_) | Waiting::Configured(_) => None,
    }
}
