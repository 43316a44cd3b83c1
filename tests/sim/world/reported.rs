//! What the device reported to the cloud: never of releases that no target named, no refused part again and again, and in the
//! end how things are.

use std::time::Duration;

use boardkeeper::port::CloudError;
use boardkeeper::state::cloud::{CloudAccount, DeviceReport, Registration, ReportValue, TargetOrigin};
use boardkeeper::state::{App, ContainerPhase, ReleaseTrial, ServiceKey};
use tokio::time::Instant;

use super::Model;
use super::cloud::refused;
use super::marks::Mark;

/// A refused part is not sent more often within an hour.
const MOST_REFUSALS: usize = 8;

impl Model {
    /// A report names what the cloud named, and no part that was refused again and again.
    pub(super) fn reported(&mut self, account: &CloudAccount, report: &DeviceReport) -> Result<(), CloudError> {
        self.cloud.reports += 1;
        if !self.cloud.knows(account) || self.cloud.is_frozen() {
            self.refuse_part("device");
            return Err(refused(401, ""));
        }
        for (uuid, app) in &report.apps {
            for commit in app.releases.keys().chain(&app.release_uuid) {
                let is_named = self.cloud.named.contains(&(uuid.clone(), commit.clone()));
                if self.cloud.targets_from == TargetOrigin::Cloud && !is_named {
                    self.violation(format_args!("a report of the release {commit} of {uuid}, which no target named"));
                }
            }
        }
        let refused_part = report.apps.keys().find(|it| self.cloud.refused_apps.contains(*it)).cloned();
        if let Some(part) = refused_part {
            self.refuse_part(&part);
            return Err(refused(401, ""));
        }
        self.hit(Mark::Reported);
        self.cloud.reported.fields.extend(report.fields.clone());
        if !report.apps.is_empty() {
            self.cloud.reported.apps.clone_from(&report.apps);
        }
        Ok(())
    }

    fn refuse_part(&mut self, part: &str) {
        self.hit(Mark::ReportRefused);
        let refusals = &mut self.cloud.refusals;
        refusals.push_back((Instant::now(), part.to_owned()));
        while refusals.front().is_some_and(|(at, _)| at.elapsed() > Duration::from_secs(3600)) {
            refusals.pop_front();
        }
        let times = refusals.iter().filter(|(_, it)| *it == part).count();
        // Of the device also after each start, and when the cloud forgets it once more.
        let most = if part == "device" { 10 * MOST_REFUSALS } else { MOST_REFUSALS };
        if times > most {
            self.violation(format_args!("the refused report of {part} was sent {times} times within an hour"));
        }
    }

    /// What the cloud was last told otherwise than it is, once the device is settled. `is_blocked`: a service waits for what
    /// does not come.
    pub(crate) fn reported_otherwise(&self, is_blocked: bool) -> Option<String> {
        let is_registered = |it: &Registration| matches!(it, Registration::Registered { .. });
        if !self.cloud.status.as_ref().is_some_and(|it| is_registered(&it.borrow().registration)) || is_blocked {
            return None;
        }
        let status = self.cloud.reported.fields.get("status");
        if status != Some(&ReportValue::Text("Idle".to_owned())) {
            return Some(format!("the device is at rest, and the cloud was told {status:?}"));
        }
        if self.cloud.targets_from == TargetOrigin::File {
            return None;
        }
        self.goal().apps.values().find_map(|app| self.app_reported_otherwise(app))
    }

    fn app_reported_otherwise(&self, app: &App) -> Option<String> {
        // The cloud does not know an app of a target that a person tried and kept: that has its number in place of a uuid.
        let commit = app.commit.as_ref().filter(|_| app.uuid != app.id.to_string())?;
        let Some(told) = self.cloud.reported.apps.get(&app.uuid) else {
            return Some(format!("the cloud was told nothing of app {}", app.id));
        };
        let trial = self.status.as_ref().and_then(|it| it.borrow().releases.get(&app.id).cloned());
        if matches!(trial, Some(ReleaseTrial::Failed(_))) {
            let word = told.releases.get(commit).and_then(|it| it.update_status);
            return (word != Some("aborted"))
                .then(|| format!("{commit} of app {} failed, and the cloud was told {word:?}", app.id));
        }
        if told.release_uuid.as_ref() != Some(commit) {
            return Some(format!("app {} is at {commit}, and the cloud was told {:?}", app.id, told.release_uuid));
        }
        for name in app.services.keys() {
            let service = told.releases.get(commit).and_then(|it| it.services.get(name));
            let key = ServiceKey::new(app.id, name);
            let runs = self.engine.ours().any(|it| it.view.key == key && it.view.phase == ContainerPhase::Running);
            if service.is_some_and(|it| it.status == "Running") != runs {
                return Some(format!("{key} runs: {runs}, and the cloud was told {service:?}"));
            }
        }
        None
    }
}
