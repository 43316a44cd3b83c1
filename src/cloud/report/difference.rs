//! What is new of a report, and how urgent it is.

use super::device::METRICS;
use crate::sorted::SortedMap;
use crate::state::cloud::{AppReport, DeviceReport, ReportValue};

/// A metric is reported when it has moved by its step since it was reported last: the smallest step that a person who looks at
/// the dashboard would act on. `cpu_usage` in per cent, `cpu_temp` in degrees Celsius.
const STEPS: [(&str, i64); 2] = [("cpu_usage", 20), ("cpu_temp", 5)];
/// The step of memory and of storage, in per cent of all there is. A fixed number of megabytes is crossed all the time on a
/// large board.
const USAGE_STEP_PERCENT: i64 = 10;

/// What is new, and how soon it is to be reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct News {
    /// The parts of the report that are new. The apps are all there or none: the cloud takes a service that is missing in a
    /// report of apps for a deleted one.
    pub(super) report: DeviceReport,
    pub(super) urgency: Urgency,
}

/// How soon something is to be reported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// There is nothing new.
    #[default]
    Nothing,
    /// Metrics: with the next request on a connection that is open anyway.
    Metrics,
    /// Progress of downloads, of which the cloud drops what comes more often than each 30 s.
    Progress,
    /// Anything else.
    Soon,
}

/// Whether metrics may be in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricsTurn {
    /// The last ones are long enough ago.
    Now,
    /// The cloud would drop them.
    Later,
}

/// What of `wanted` the cloud does not have.
pub(super) fn difference(acknowledged: &DeviceReport, wanted: &DeviceReport, turn: MetricsTurn) -> News {
    let mut news = News::default();
    let is_new = |name: &str, value: &ReportValue| acknowledged.fields.get(name) != Some(value);
    let fields = wanted.fields.iter().filter(|(name, value)| is_new(name, value));
    let (metrics, others): (Vec<_>, Vec<_>) = fields.partition(|(name, _)| METRICS.contains(name));
    // The step of one takes all along: they are shown together, and cost a few bytes.
    let crossed = metrics.iter().any(|(name, value)| has_crossed(acknowledged, wanted, name, value));
    let cleared = metrics.iter().any(|(_, value)| **value == ReportValue::Null);
    if cleared || crossed && turn == MetricsTurn::Now {
        news.add(Urgency::Metrics);
        news.report.fields.extend(metrics.into_iter().map(|(name, value)| (*name, value.clone())));
    }
    if cleared || !others.is_empty() {
        news.add(Urgency::Soon);
        news.report.fields.extend(others.into_iter().map(|(name, value)| (*name, value.clone())));
    }
    if !wanted.apps.is_empty() && wanted.apps != acknowledged.apps {
        let same = without_progress(&wanted.apps) == without_progress(&acknowledged.apps);
        news.add(if same { Urgency::Progress } else { Urgency::Soon });
        news.report.apps.clone_from(&wanted.apps);
    }
    news
}

impl News {
    fn add(&mut self, urgency: Urgency) {
        self.urgency = self.urgency.max(urgency);
    }
}

/// Adds what the cloud accepted to what it has.
pub(super) fn acknowledge(acknowledged: &mut DeviceReport, accepted: DeviceReport) {
    acknowledged.fields.extend(accepted.fields);
    if !accepted.apps.is_empty() {
        acknowledged.apps = accepted.apps;
    }
}

/// Forgets what the cloud has of a report's fields and apps: whether it took the report is not known.
pub(super) fn forget(acknowledged: &mut DeviceReport, report: &DeviceReport) {
    acknowledged.fields.retain(|name, _| !report.fields.contains_key(name));
    if !report.apps.is_empty() {
        acknowledged.apps.clear();
    }
}

/// Whether a metric has moved by its step. One that is no number, or was not reported before, has.
fn has_crossed(acknowledged: &DeviceReport, wanted: &DeviceReport, name: &str, value: &ReportValue) -> bool {
    let (Some(ReportValue::Number(before)), ReportValue::Number(now)) = (acknowledged.fields.get(name), value) else {
        return true;
    };
    let total = |name: &str| match wanted.fields.get(name) {
        Some(ReportValue::Number(total)) => *total,
        _ => 0,
    };
    let step = match name {
        "memory_usage" => total("memory_total") * USAGE_STEP_PERCENT / 100,
        "storage_usage" => total("storage_total") * USAGE_STEP_PERCENT / 100,
        _ => STEPS.iter().find(|(it, _)| *it == name).map_or(1, |(_, step)| *step),
    };
    before.abs_diff(*now) >= step.max(1).unsigned_abs()
}

fn without_progress(apps: &SortedMap<String, AppReport>) -> SortedMap<String, AppReport> {
    let mut apps = apps.clone();
    let releases = apps.iter_mut().flat_map(|(_, it)| it.releases.iter_mut());
    for (_, service) in releases.flat_map(|(_, it)| it.services.iter_mut()) {
        service.download_progress = None;
    }
    apps
}
