//! docs/metrics.md says what the agent prints.

use std::collections::BTreeSet;
use std::fs;

use boardkeeper::api::{MetricFamily, metric_families};
use boardkeeper::state::FlashPurpose;
use boardkeeper::state::cloud::TrafficPurpose;

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

/// What stands between backticks in the item of the page's list that begins so.
fn values(beginning: &str) -> BTreeSet<String> {
    let page = read(PAGE);
    let item = page.split("\n- ").find(|it| it.starts_with(beginning)).unwrap_or_else(|| panic!("{PAGE}: {beginning}"));
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
