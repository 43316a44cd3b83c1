//! docs/api.md says what the routes and the description of the API say.

use std::collections::BTreeSet;

use boardkeeper::api::routes;
use serde_json::Value;

use crate::page::{first_column, read, table};

const PAGE: &str = "docs/api.md";
/// Every route below it is one row, for as long as none of them is served.
const FAMILY: &str = "everything under `/v2/`";
/// What the HTTP server answers before a route is found.
const OF_THE_SERVER: [u16; 3] = [405, 414, 431];

fn openapi() -> Value {
    serde_json::from_str(&read("src/api/openapi.json")).unwrap()
}

#[test]
fn every_endpoint_has_a_row_with_its_state() {
    let rows = table(PAGE, "endpoint");
    for route in routes() {
        let whole = format!("`{} {}`", route.method, route.path);
        let row = rows.iter().find(|it| it[0] == whole || (it[0] == FAMILY && route.path.starts_with("/v2/")));
        let row = row.unwrap_or_else(|| panic!("{PAGE} has no row for {whole}"));
        let there = if route.is_in_this_release() { "yes" } else { "no: 501" };
        assert_eq!(row[2], there, "{whole}");
    }
}

#[test]
fn no_endpoint_is_described_that_is_not_there() {
    for row in table(PAGE, "endpoint").iter().filter(|it| it[0] != FAMILY) {
        let known = routes().iter().any(|it| row[0] == format!("`{} {}`", it.method, it.path));
        assert!(known, "{} is in {PAGE} only", row[0]);
    }
}

#[test]
fn every_status_code_of_an_answer_is_explained() {
    let openapi = openapi();
    let operations = openapi["paths"].as_object().unwrap().values().flat_map(|it| it.as_object().unwrap().values());
    let answers = operations.filter_map(|it| it["responses"].as_object()).flat_map(|it| it.keys());
    let mut given: BTreeSet<u16> = answers.map(|it| it.parse().unwrap()).collect();
    given.extend(OF_THE_SERVER);
    let explained = table(PAGE, "status").into_iter().flat_map(|row| row[0].split(", ").map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(explained.map(|it| it.parse().unwrap()).collect::<BTreeSet<u16>>(), given);
}

#[test]
fn every_field_of_the_state_is_explained() {
    let openapi = openapi();
    let fields = openapi["components"]["schemas"]["State"]["properties"].as_object().unwrap();
    let fields: BTreeSet<_> = fields.keys().cloned().collect();
    assert_eq!(first_column(PAGE, "field"), fields);
    let hints = first_column("docs/troubleshooting.md", "field");
    assert!(hints.is_subset(&fields), "docs/troubleshooting.md: {hints:?}");
}

#[test]
fn status_codes_of_patterns_are_those_of_the_endpoint() {
    let openapi = openapi();
    let answers = openapi["paths"]["/agent/v1/leds/{name}/pattern"]["post"]["responses"].as_object().unwrap();
    for row in table("docs/leds-and-gpio.md", "status") {
        assert!(answers.contains_key(&row[0]), "POST of a pattern never answers {}", row[0]);
    }
}
