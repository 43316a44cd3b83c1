//! Metrics as text: OpenMetrics 1.0, and Prometheus' older format for clients that do not ask for it.
//!
//! A family is written where its first sample is, so that one without samples does not appear. The samples of a family come
//! one after the other.

use std::fmt::Write;

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

const OPEN_METRICS: &str = "application/openmetrics-text";

/// A metric: what all of its samples have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricFamily {
    /// Its name, without the suffix of its samples.
    pub name: &'static str,
    /// What its samples mean.
    pub kind: MetricKind,
    /// The unit, which is the last word of the name. Empty: it has none.
    pub unit: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it is, in one sentence.
    pub help: &'static str,
}

/// What the samples of a metric mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A value that goes up and down.
    Gauge,
    /// A sum since the agent started.
    Counter,
    /// A number of events and the sum of their values, both since the agent started.
    Summary,
    /// Always 1; the labels are what is said.
    Info,
}

/// A value. Without floating point, whose formatting would make the binary larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricValue {
    /// A number.
    Whole(u64),
    /// A number of thousandths.
    Thousandths(i64),
}

/// The format of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricsFormat {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Classic,
}

/// A text that is being written.
pub(super) struct MetricsText {
    text: String,
    format: MetricsFormat,
    /// The family of the last sample.
    family: &'static str,
}

impl MetricsFormat {
    /// The format that a request accepts. OpenMetrics only where the request names it, as Prometheus does.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let ranges = headers.get_all(ACCEPT).iter().filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(','));
        let is_named = ranges.into_iter().any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_it = parts.next().is_some_and(|it| it.eq_ignore_ascii_case(OPEN_METRICS));
            is_it
                && !parts.any(|it| it.strip_prefix("q=").is_some_and(|it| it.bytes().all(|digit| matches!(digit, b'0' | b'.'))))
        });
        if is_named { Self::OpenMetrics } else { Self::Classic }
    }

    /// The content type of a response.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl MetricFamily {
    /// The suffix of the names of its samples.
    const fn suffix(&self) -> &'static str {
        match self.kind {
            MetricKind::Gauge | MetricKind::Summary => "",
            MetricKind::Counter => "_total",
            MetricKind::Info => "_info",
        }
    }

    /// The name that a query has for it: of its samples, or, of a summary, without their suffixes.
    #[must_use]
    pub fn queried(&self) -> String {
        format!("{}{}", self.name, self.suffix())
    }
}

impl MetricKind {
    /// Its name in OpenMetrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Summary => "summary",
            Self::Info => "info",
        }
    }
}

impl MetricsText {
    pub(super) const fn new(format: MetricsFormat) -> Self {
        Self { text: String::new(), format, family: "" }
    }

    /// Adds a sample, with the values of the family's labels.
    pub(super) fn add(&mut self, family: &MetricFamily, labels: &[&str], value: impl Into<MetricValue>) {
        self.head(family);
        self.sample(family, family.suffix(), labels, value.into());
    }

    /// Adds a sample where there is a value.
    pub(super) fn add_known(&mut self, family: &MetricFamily, labels: &[&str], value: Option<impl Into<MetricValue>>) {
        if let Some(value) = value {
            self.add(family, labels, value);
        }
    }

    /// Adds the samples of a summary.
    pub(super) fn add_summary(&mut self, family: &MetricFamily, labels: &[&str], count: u64, sum: MetricValue) {
        self.head(family);
        self.sample(family, "_count", labels, MetricValue::Whole(count));
        self.sample(family, "_sum", labels, sum);
    }

    /// The whole text.
    pub(super) fn end(mut self) -> String {
        // To the older format it is a comment.
        self.text.push_str("# EOF\n");
        self.text
    }

    fn head(&mut self, family: &MetricFamily) {
        if self.family == family.name {
            return;
        }
        self.family = family.name;
        let (suffix, kind) = match (self.format, family.kind) {
            (MetricsFormat::OpenMetrics, kind) => ("", kind),
            (MetricsFormat::Classic, MetricKind::Info) => (family.suffix(), MetricKind::Gauge),
            (MetricsFormat::Classic, kind) => (family.suffix(), kind),
        };
        self.push(&["# HELP ", family.name, suffix, " ", family.help, "\n"]);
        self.push(&["# TYPE ", family.name, suffix, " ", kind.name(), "\n"]);
        if self.format == MetricsFormat::OpenMetrics && !family.unit.is_empty() {
            self.push(&["# UNIT ", family.name, " ", family.unit, "\n"]);
        }
    }

    fn sample(&mut self, family: &MetricFamily, suffix: &str, labels: &[&str], value: MetricValue) {
        self.push(&[family.name, suffix]);
        for (index, (name, value)) in family.labels.iter().zip(labels).enumerate() {
            self.push(&[if index == 0 { "{" } else { "," }, name, "=\""]);
            self.escaped(value);
            self.text.push('"');
        }
        self.push(&[if family.labels.is_empty() { " " } else { "} " }]);
        let written = match value {
            MetricValue::Whole(number) => writeln!(self.text, "{number}"),
            MetricValue::Thousandths(number) => {
                let (sign, size) = (if number < 0 { "-" } else { "" }, number.unsigned_abs());
                writeln!(self.text, "{sign}{}.{:03}", size / 1000, size % 1000)
            }
        };
        written.expect("a text takes what is written to it");
    }

    fn push(&mut self, parts: &[&str]) {
        self.text.extend(parts.iter().copied());
    }

    /// The value of a label: three characters cannot stand in one.
    fn escaped(&mut self, value: &str) {
        for character in value.chars() {
            match character {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                other => self.text.push(other),
            }
        }
    }
}

impl From<bool> for MetricValue {
    fn from(it: bool) -> Self {
        Self::Whole(u64::from(it))
    }
}

impl From<u64> for MetricValue {
    fn from(it: u64) -> Self {
        Self::Whole(it)
    }
}

impl From<std::time::Duration> for MetricValue {
    fn from(it: std::time::Duration) -> Self {
        Self::Thousandths(i64::try_from(it.as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests;
