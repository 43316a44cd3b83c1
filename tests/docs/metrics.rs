//! docs/metrics.md says what the agent prints, and alerts and dashboard ask for nothing else.

use std::collections::BTreeSet;
use std::fs;

use boardkeeper::api::{MetricFamily, MetricKind, metric_families};
use boardkeeper::state::FlashPurpose;
use boardkeeper::state::cloud::TrafficPurpose;
use serde_json::Value;

use crate::page::{quoted, read, root, table};

const PAGE: &str = "docs/metrics.md";

fn row(family: &MetricFamily) -> Vec<String> {
    let labels: Vec<_> = family.labels.iter().map(|it| format!("`{it}`")).collect();
    let (name, kind) = (format!("`{}`", family.queried()), family.kind.name().to_owned());
    vec![name, kind, family.unit.to_owned(), labels.join(" "), family.help.trim_end_matches('.').to_owned()]
}

/// Writes the table anew where it is not what the agent prints, so that a new metric needs no row by hand.
#[test]
fn every_metric_has_a_row() {
    let old = table(PAGE, "metric");
    let rows: Vec<_> = metric_families().iter().map(|it| row(it)).collect();
    if rows != old {
        let text =
            |rows: &[Vec<String>]| rows.iter().map(|it| format!("| {} |", it.join(" | "))).collect::<Vec<_>>().join("\n");
        fs::write(root().join(PAGE), read(PAGE).replace(&text(&old), &text(&rows))).unwrap();
        panic!("the metrics in {PAGE} were not those that are printed; now they are: commit it");
    }
}

/// The names of metrics in a file.
fn named(path: &str) -> BTreeSet<String> {
    let text = read(path);
    let words = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    words.filter(|it| it.starts_with("boardkeeper_")).map(str::to_owned).collect()
}

#[test]
fn alerts_and_dashboard_name_metrics_that_exist() {
    let mut there: BTreeSet<String> = metric_families().iter().map(|it| it.queried()).collect();
    let summaries = metric_families().iter().filter(|it| it.kind == MetricKind::Summary);
    there.extend(summaries.flat_map(|it| ["_sum", "_count"].map(|suffix| format!("{}{suffix}", it.name))));
    for path in ["packaging/prometheus-alerts.yml", "packaging/grafana-dashboard.json", PAGE] {
        let unknown: Vec<_> = named(path).into_iter().filter(|it| !there.contains(it)).collect();
        assert!(unknown.is_empty(), "{path}: {unknown:?}");
    }
}

#[test]
fn every_panel_of_the_dashboard_stands_in_a_row_and_queries_the_chosen_devices() {
    let dashboard: Value = serde_json::from_str(&read("packaging/grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert_eq!(panels[0]["type"], "row");
    let ids: BTreeSet<_> = panels.iter().map(|it| it["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have the same id");
    let queries = panels.iter().filter(|it| it["type"] != "row").map(|it| it["targets"].as_array().unwrap());
    for query in queries.flat_map(|targets| {
        assert!(!targets.is_empty());
        targets.iter().map(|it| it["expr"].as_str().unwrap())
    }) {
        let metrics = query.matches("boardkeeper_").count();
        assert!(metrics > 0 && query.matches("{instance=~\"$instance\"}").count() == metrics, "{query}");
    }
}

/// What stands between backticks in the item of the page's list that begins so.
fn values(beginning: &str) -> BTreeSet<String> {
    let page = read(PAGE);
    let item = page.split("\n- ").find(|it| it.starts_with(beginning)).unwrap_or_else(|| panic!("{PAGE}: {beginning}"));
    let item = item.split("\n\n").next().unwrap_or_default();
    quoted(item).into_iter().skip(1).map(str::to_owned).collect()
}

#[test]
fn every_purpose_is_named() {
    let traffic = [
        TrafficPurpose::Registration,
        TrafficPurpose::Poll,
        TrafficPurpose::Report,
        TrafficPurpose::Logs,
        TrafficPurpose::Registry,
        TrafficPurpose::ConnectivityCheck,
        TrafficPurpose::Vpn,
    ];
    assert_eq!(values("`purpose` of cloud"), traffic.iter().map(|it| it.name().to_owned()).collect());
    assert_eq!(values("`purpose` of flash"), FlashPurpose::ALL.iter().map(|it| it.name().to_owned()).collect());
}
