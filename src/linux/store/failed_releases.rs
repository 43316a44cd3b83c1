//! The record of releases that failed.

use serde::{Deserialize, Serialize};

use crate::sorted::SortedMap;
use crate::state::{AppId, FailedRelease, FailedService};

#[derive(Serialize, Deserialize)]
pub(super) struct FailedReleasesFile {
    /// By app.
    apps: SortedMap<u32, FailedReleaseEntry>,
}

#[derive(Serialize, Deserialize)]
struct FailedReleaseEntry {
    fingerprint: String,
    #[serde(default)]
    commit: Option<String>,
    at_secs: i64,
    #[serde(default)]
    cause: Option<String>,
    services: Vec<FailedServiceEntry>,
}

#[derive(Serialize, Deserialize)]
struct FailedServiceEntry {
    service: String,
    why: String,
    #[serde(default)]
    lines: Vec<String>,
    #[serde(default)]
    health_output: Option<String>,
}

impl FailedReleasesFile {
    pub(super) fn of(failed: &SortedMap<AppId, FailedRelease>) -> Self {
        let entry = |it: &FailedRelease| FailedReleaseEntry {
            fingerprint: it.fingerprint.clone(),
            commit: it.commit.clone(),
            at_secs: it.at_secs,
            cause: it.cause.clone(),
            services: it.services.iter().cloned().map(FailedServiceEntry::of).collect(),
        };
        Self { apps: failed.iter().map(|(app, it)| (app.0, entry(it))).collect() }
    }

    pub(super) fn into_state(self) -> SortedMap<AppId, FailedRelease> {
        let state = |it: FailedReleaseEntry| FailedRelease {
            fingerprint: it.fingerprint,
            commit: it.commit,
            at_secs: it.at_secs,
            cause: it.cause,
            services: it.services.into_iter().map(FailedServiceEntry::into_state).collect(),
        };
        self.apps.into_iter().map(|(app, it)| (AppId(app), state(it))).collect()
    }
}

impl FailedServiceEntry {
    fn of(FailedService { service, why, lines, health_output }: FailedService) -> Self {
        Self { service, why, lines, health_output }
    }

    fn into_state(self) -> FailedService {
        let Self { service, why, lines, health_output } = self;
        FailedService { service, why, lines, health_output }
    }
}
