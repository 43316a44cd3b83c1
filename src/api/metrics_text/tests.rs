//! Examples of the text, and the rules of the format that a type cannot hold.

use std::time::Duration;

use super::*;
use crate::api::route::metric_families;

const SEEN: MetricFamily =
    MetricFamily { name: "x_seen", kind: MetricKind::Counter, unit: "", labels: &["app", "service"], help: "What was seen." };
const HEAT: MetricFamily =
    MetricFamily { name: "x_heat_celsius", kind: MetricKind::Gauge, unit: "celsius", labels: &[], help: "How hot it is." };
const TIME: MetricFamily =
    MetricFamily { name: "x_wait_seconds", kind: MetricKind::Summary, unit: "seconds", labels: &["of"], help: "Waits." };
const BUILD: MetricFamily =
    MetricFamily { name: "x_build", kind: MetricKind::Info, unit: "", labels: &["version"], help: "The build." };

fn text(format: MetricsFormat) -> String {
    let mut text = MetricsText::new(format);
    text.add(&BUILD, &["1.0"], 1);
    text.add(&SEEN, &["1", "a\\b\"c\nd"], 3);
    text.add(&SEEN, &["2", "é"], u64::MAX);
    text.add(&HEAT, &[], MetricValue::Thousandths(-1_050));
    text.add_known(&HEAT, &[], None::<bool>);
    text.add_summary(&TIME, &["x"], 2, Duration::from_millis(12_345).into());
    text.end()
}

#[test]
fn open_metrics_names_families_without_the_suffix_and_says_units() {
    let expected = "\
# HELP x_build The build.
# TYPE x_build info
x_build_info{version=\"1.0\"} 1
# HELP x_seen What was seen.
# TYPE x_seen counter
x_seen_total{app=\"1\",service=\"a\\\\b\\\"c\\nd\"} 3
x_seen_total{app=\"2\",service=\"é\"} 18446744073709551615
# HELP x_heat_celsius How hot it is.
# TYPE x_heat_celsius gauge
# UNIT x_heat_celsius celsius
x_heat_celsius -1.050
# HELP x_wait_seconds Waits.
# TYPE x_wait_seconds summary
# UNIT x_wait_seconds seconds
x_wait_seconds_count{of=\"x\"} 2
x_wait_seconds_sum{of=\"x\"} 12.345
# EOF
";
    assert_eq!(text(MetricsFormat::OpenMetrics), expected);
}

#[test]
fn the_older_format_names_families_as_their_samples_and_has_no_info() {
    let text = text(MetricsFormat::Classic);
    let types: Vec<_> = text.lines().filter_map(|it| it.strip_prefix("# TYPE ")).collect();
    assert_eq!(types, ["x_build_info gauge", "x_seen_total counter", "x_heat_celsius gauge", "x_wait_seconds summary"]);
    assert!(!text.contains("UNIT"), "{text}");
}

#[test]
fn open_metrics_is_written_only_for_those_who_name_it() {
    let accepted = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT, value.parse().unwrap());
        }
        MetricsFormat::accepted(&headers)
    };
    for open in [
        &["application/openmetrics-text"][..],
        &["text/html", "text/plain, Application/OpenMetrics-Text; version=1.0.0;q=0.5"],
        &["application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"],
    ] {
        assert_eq!(accepted(open), MetricsFormat::OpenMetrics, "{open:?}");
    }
    for classic in [&[][..], &["*/*"], &["text/plain"], &["application/openmetrics-text;q=0"], &["application/openmetrics"]] {
        assert_eq!(accepted(classic), MetricsFormat::Classic, "{classic:?}");
    }
}

#[test]
fn every_family_keeps_the_conventions() {
    for MetricFamily { name, kind, unit, labels, help } in metric_families() {
        let is_word =
            |it: &str| it.starts_with(|c: char| c.is_ascii_lowercase()) && !it.contains(|c: char| c.is_ascii_uppercase());
        assert!(name.starts_with("boardkeeper_") && is_word(name) && labels.iter().all(|it| is_word(it)), "{name}");
        assert!(["_total", "_info", "_count", "_sum"].iter().all(|it| !name.ends_with(it)), "{name} has a suffix");
        assert!(unit.is_empty() || name.ends_with(&format!("_{unit}")), "{name} does not end in its unit");
        assert!(
            ["_bytes", "_seconds", "_celsius"].iter().all(|it| name.ends_with(it) != unit.is_empty() || !name.ends_with(it))
        );
        assert!(help.ends_with('.') && !help.contains(['\\', '\n', '"', '|']), "{name}: {help}");
        assert!(*kind != MetricKind::Info || unit.is_empty(), "{name}");
    }
}
