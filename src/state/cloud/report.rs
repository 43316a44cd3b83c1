//! Reports of the current state (`PATCH /device/v3/state`).

use tokio::time::Instant;

use crate::sorted::SortedMap;
use crate::state::Secret;

/// The reports, as far as they went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reporting {
    /// When the cloud last accepted one.
    pub accepted: Option<Instant>,
    /// Why the last one failed. `None`: it did not.
    pub why: Option<String>,
    /// The parts that the cloud refused, and that are not sent again before they change.
    pub refused: Vec<RefusedPart>,
    /// While the machine shuts down: the cloud was told, or cannot be told now.
    pub farewell_over: bool,
}

/// A part of a report that the cloud refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedPart {
    /// `device`, a field of the device, `app UUID`, `app UUID release COMMIT` or `app UUID service NAME`.
    pub part: String,
    /// What the cloud answered.
    pub why: String,
}

/// A report, or the differences between two: what is absent is not sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceReport {
    /// Fields of the device, by their names in the cloud.
    pub fields: SortedMap<&'static str, ReportValue>,
    /// Its apps, by uuid.
    pub apps: SortedMap<String, AppReport>,
}

impl DeviceReport {
    /// Whether it reports nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.apps.is_empty()
    }
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportValue {
    /// A text.
    Text(String),
    /// A text that no log may show: the key of the device's API.
    Secret(Secret),
    /// A whole number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// Nothing: the cloud forgets the value it had.
    Null,
}

/// An app of the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppReport {
    /// The commit of the release that runs.
    pub release_uuid: Option<String>,
    /// The release of the target, by its commit.
    pub releases: SortedMap<String, ReleaseReport>,
}

/// A release of the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReleaseReport {
    /// `rejected`, `downloading`, `downloaded`, `applying changes`, `aborted` or `done`.
    pub update_status: Option<&'static str>,
    /// Its services, by name.
    pub services: SortedMap<String, ServiceReport>,
}

/// A service of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceReport {
    /// The image, as the target names it.
    pub image: String,
    /// `Downloading`, `Running`, `exited` and the like.
    pub status: String,
    /// Per cent, while it is downloaded.
    pub download_progress: Option<u8>,
}
