//! The parts of reports that the cloud refused. They are not sent again before there is a reason to think that it accepts them.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::state::cloud::{DeviceReport, RefusedPart, ReportValue};

/// After this time apps, releases and services are tried again, although nothing changed here: something may have changed in
/// the cloud. The device too, while the cloud says that it has no such device: a poll finds it sooner.
const RETRY_AFTER: Duration = Duration::from_secs(60 * 60);
/// After this time a device is tried again that the cloud refuses although it has a target for it. The time doubles with each
/// refusal, up to [`RETRY_AFTER`].
const DEVICE_RETRY_AFTER: Duration = Duration::from_secs(30);

/// A part of a report that can be refused by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// The device: the cloud has none of this uuid and key.
    Device,
    /// A field of the device, with this value.
    Field(&'static str, ReportValue),
    /// An app.
    App(String),
    /// A release of an app, by its commit.
    Release(String, String),
    /// A service of such a release.
    Service(String, String, String),
}

/// The refused parts.
#[derive(Debug)]
pub(super) struct Refusals {
    refused: Vec<Refused>,
    device: Backoff,
}

#[derive(Debug)]
struct Refused {
    part: Part,
    why: String,
    /// When it is tried again, although nothing changed here.
    until: Instant,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { refused: Vec::new(), device: Backoff::new(DEVICE_RETRY_AFTER, RETRY_AFTER) }
    }
}

impl Refusals {
    /// Adds a part, and what the cloud answered.
    pub(super) fn add(&mut self, part: Part, why: String) {
        let wait = if part == Part::Device { self.device.fail() } else { RETRY_AFTER };
        self.refused.retain(|it| it.part != part);
        self.refused.push(Refused { part, why, until: Instant::now() + wait });
    }

    /// The target changed: it names other releases, or the cloud has them again.
    pub(super) fn on_new_target(&mut self) {
        self.device.succeed();
        self.refused.retain(|it| matches!(it.part, Part::Field(..)));
    }

    /// The cloud has accepted a report.
    pub(super) const fn on_accepted(&mut self) {
        self.device.succeed();
    }

    /// The cloud has no such device: before a poll finds it, no report can be accepted.
    pub(super) fn on_device_gone(&mut self) {
        for it in self.refused.iter_mut().filter(|it| it.part == Part::Device) {
            it.until = Instant::now() + RETRY_AFTER;
        }
    }

    /// The cloud has the device again.
    pub(super) fn on_device_found(&mut self) {
        self.refused.retain(|it| it.part != Part::Device);
    }

    /// When a refused part is tried again, although nothing changed.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.refused.iter().filter(|it| !matches!(it.part, Part::Field(..))).map(|it| it.until).min()
    }

    /// Takes the refused parts out of a report. Those that have changed, or are old enough, are forgotten instead.
    pub(super) fn take_out(&mut self, report: &mut DeviceReport) {
        let now = Instant::now();
        self.refused.retain(|it| match &it.part {
            Part::Field(name, value) => report.fields.get(name).is_none_or(|it| it == value),
            Part::Device | Part::App(_) | Part::Release(..) | Part::Service(..) => it.until > now,
        });
        for refused in &self.refused {
            refused.part.take_out(report);
        }
    }

    /// The refused parts, for the device's state.
    pub(super) fn list(&self) -> Vec<RefusedPart> {
        self.refused.iter().map(|it| RefusedPart { part: it.part.to_string(), why: it.why.clone() }).collect()
    }
}

impl Part {
    /// Takes the part out of a report.
    pub(super) fn take_out(&self, report: &mut DeviceReport) {
        match self {
            Self::Device => *report = DeviceReport::default(),
            Self::Field(name, value) => {
                if report.fields.get(name) == Some(value) {
                    report.fields.remove(name);
                }
            }
            Self::App(app) => drop(report.apps.remove(app)),
            Self::Release(app, commit) => {
                if let Some(app) = report.apps.get_mut(app) {
                    app.releases.remove(commit);
                    app.release_uuid = app.release_uuid.take().filter(|it| it != commit);
                }
            }
            Self::Service(app, commit, service) => {
                let release = report.apps.get_mut(app).and_then(|it| it.releases.get_mut(commit));
                release.and_then(|it| it.services.remove(service));
            }
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device => f.write_str("device"),
            Self::Field(name, _) => f.write_str(name),
            Self::App(app) => write!(f, "app {app}"),
            Self::Release(app, commit) => write!(f, "app {app} release {commit}"),
            Self::Service(app, _, service) => write!(f, "app {app} service {service}"),
        }
    }
}
