//! Takes a refused report apart: what the cloud accepts of it, and which parts it refuses.
//!
//! The cloud refuses a whole report for one part of it, and names none. So parts of it are sent by themselves: first the
//! device's fields, then each app, then what was refused of these by halves. The apps that a report mentions are all that the
//! cloud takes the device to have, so at the end all that it accepted of them is sent once more together.

use super::refusals::Part;
use crate::sorted::SortedMap;
use crate::state::cloud::{AppReport, DeviceReport, ReleaseReport, ReportValue, ServiceReport};

/// The status with which the cloud refuses a device that it does not have. It also has it for releases and images that it does
/// not have, but never for fields of the device.
const UNKNOWN_DEVICE: u16 = 401;

/// What the cloud answered to a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReportAnswer {
    /// It has what was reported.
    Accepted,
    /// It refuses the report: the status, and the answer.
    Refused(u16, String),
    /// There was no answer to this report: it is sent again later.
    Failed(String),
}

/// What became of a report that was taken apart.
#[derive(Debug, Default)]
pub(super) struct ReportOutcome {
    /// What the cloud has.
    pub(super) accepted: DeviceReport,
    /// What it refuses, and what it answered.
    pub(super) refused: Vec<(Part, String)>,
    /// Why the rest is not known: there was no answer.
    pub(super) failed: Option<String>,
}

/// Takes apart a report that was refused with this status and answer. `send` sends a part. `probe` is a field that the cloud
/// accepted before, by which a device that is unknown is recognized.
pub(super) async fn take_apart<S>(report: DeviceReport, refusal: (u16, String), probe: Field, send: S) -> ReportOutcome
where
    S: AsyncFnMut(DeviceReport) -> ReportAnswer,
{
    let mut parts = Parts { send, known_apps: SortedMap::new(), outcome: ReportOutcome::default() };
    let failed = parts.take_apart(report, refusal, probe).await.err();
    ReportOutcome { failed, ..parts.outcome }
}

/// A field of the device.
type Field = (&'static str, ReportValue);
/// A service, by its name.
type NamedService = (String, ServiceReport);
/// A refusal: the status, and the answer.
type Refusal = (u16, String);
/// There was no answer, so that the rest cannot be known.
type Interrupted = String;

struct Parts<S> {
    send: S,
    /// The apps that the cloud takes the device to have.
    known_apps: SortedMap<String, AppReport>,
    outcome: ReportOutcome,
}

impl<S: AsyncFnMut(DeviceReport) -> ReportAnswer> Parts<S> {
    async fn take_apart(&mut self, report: DeviceReport, refusal: Refusal, probe: Field) -> Result<(), Interrupted> {
        let DeviceReport { fields, apps } = report;
        let fields: Vec<Field> = fields.into_iter().collect();
        let answer = match (fields.is_empty(), apps.is_empty()) {
            (false, true) => Err(refusal),
            (false, false) => self.try_fields(&fields).await?,
            (true, _) => self.try_fields(&[probe]).await?,
        };
        match answer {
            Ok(()) => (),
            Err((UNKNOWN_DEVICE, why)) => {
                self.outcome.refused.push((Part::Device, why));
                return Ok(());
            }
            Err((_, why)) => {
                let refused = halve(fields, why, async |half| self.try_fields(half).await).await?;
                self.outcome.refused.extend(refused.into_iter().map(|((name, value), why)| (Part::Field(name, value), why)));
            }
        }
        self.take_apps_apart(apps).await
    }

    async fn take_apps_apart(&mut self, apps: SortedMap<String, AppReport>) -> Result<(), Interrupted> {
        let mut accepted = SortedMap::new();
        for (uuid, app) in apps {
            match self.try_app(&uuid, app.clone()).await? {
                Ok(()) => drop(accepted.insert(uuid, app)),
                Err((_, why)) => match self.take_app_apart(&uuid, app, &why).await? {
                    Some(rest) => drop(accepted.insert(uuid, rest)),
                    None => self.outcome.refused.push((Part::App(uuid), why)),
                },
            }
        }
        if accepted != self.known_apps
            && let Err((_, why)) = self.try_apps(accepted.clone()).await?
        {
            // Each part was accepted, and all of them together are not: nothing smaller than an app can be blamed.
            let apps = std::mem::take(&mut accepted).into_iter();
            self.outcome.refused.extend(apps.map(|(it, _)| (Part::App(it), why.clone())));
        }
        self.outcome.accepted.apps = accepted;
        Ok(())
    }

    /// What the cloud accepts of a refused app. `None`: no release of it.
    async fn take_app_apart(&mut self, uuid: &str, app: AppReport, why: &str) -> Result<Option<AppReport>, Interrupted> {
        let AppReport { release_uuid, releases } = app;
        let is_only = releases.len() == 1;
        let mut rest = AppReport::default();
        let mut refused = Vec::new();
        for (commit, release) in releases {
            let app_of = |services| AppReport {
                release_uuid: release_uuid.clone().filter(|it| *it == commit),
                releases: SortedMap::from_iter([(
                    commit.clone(),
                    ReleaseReport { update_status: release.update_status, services },
                )]),
            };
            let whole = app_of(release.services.clone());
            let answer =
                if is_only { Err((UNKNOWN_DEVICE, why.to_owned())) } else { self.try_app(uuid, whole.clone()).await? };
            let Err((_, why)) = answer else {
                merge(&mut rest, whole);
                continue;
            };
            if let Err((_, why)) = self.try_app(uuid, app_of(SortedMap::new())).await? {
                refused.push((Part::Release(uuid.to_owned(), commit), why));
                continue;
            }
            let services: Vec<NamedService> = release.services.clone().into_iter().collect();
            let attempt = async |half: &[NamedService]| self.try_app(uuid, app_of(half.iter().cloned().collect())).await;
            let mut accepted = release.services.clone();
            for ((name, _), why) in halve(services, why, attempt).await? {
                accepted.remove(&name);
                refused.push((Part::Service(uuid.to_owned(), commit.clone(), name), why));
            }
            merge(&mut rest, app_of(accepted));
        }
        if rest.releases.is_empty() {
            return Ok(None);
        }
        self.outcome.refused.append(&mut refused);
        Ok(Some(rest))
    }

    async fn try_fields(&mut self, fields: &[Field]) -> Result<Result<(), Refusal>, Interrupted> {
        let report = DeviceReport { fields: fields.iter().cloned().collect(), ..DeviceReport::default() };
        let answer = self.attempt(report.clone()).await?;
        if answer.is_ok() {
            self.outcome.accepted.fields.extend(report.fields);
        }
        Ok(answer)
    }

    async fn try_app(&mut self, uuid: &str, app: AppReport) -> Result<Result<(), Refusal>, Interrupted> {
        self.try_apps(SortedMap::from_iter([(uuid.to_owned(), app)])).await
    }

    async fn try_apps(&mut self, apps: SortedMap<String, AppReport>) -> Result<Result<(), Refusal>, Interrupted> {
        if apps.is_empty() {
            return Ok(Ok(()));
        }
        let answer = self.attempt(DeviceReport { apps: apps.clone(), ..DeviceReport::default() }).await?;
        if answer.is_ok() {
            self.known_apps = apps;
        }
        Ok(answer)
    }

    async fn attempt(&mut self, report: DeviceReport) -> Result<Result<(), Refusal>, Interrupted> {
        match (self.send)(report).await {
            ReportAnswer::Accepted => Ok(Ok(())),
            ReportAnswer::Refused(status, why) => Ok(Err((status, why))),
            ReportAnswer::Failed(why) => Err(why),
        }
    }
}

/// Adds the releases of another report of the same app.
fn merge(app: &mut AppReport, other: AppReport) {
    app.release_uuid = other.release_uuid.or_else(|| app.release_uuid.take());
    app.releases.extend(other.releases);
}

/// Finds by halves which of `items`, which are refused together, are refused each by itself.
async fn halve<T>(
    items: Vec<T>,
    why: String,
    mut attempt: impl AsyncFnMut(&[T]) -> Result<Result<(), Refusal>, Interrupted>,
) -> Result<Vec<(T, String)>, Interrupted> {
    let mut refused = Vec::new();
    let mut left = vec![(items, why)];
    while let Some((mut items, why)) = left.pop() {
        if items.len() <= 1 {
            refused.extend(items.into_iter().map(|it| (it, why.clone())));
            continue;
        }
        let half = items.split_off(items.len() / 2);
        for half in [half, items] {
            if let Err((_, why)) = attempt(&half).await? {
                left.push((half, why));
            }
        }
    }
    Ok(refused)
}
