//! docs/api.md says what the routes and the description of the API say.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use boardkeeper::api::{Route, RouteAccess, routes};
use serde_json::Value;

use crate::page::{first_column, read, root, table};

const PAGE: &str = "docs/api.md";
/// What the HTTP server answers before a route is found.
const OF_THE_SERVER: [u16; 3] = [405, 414, 431];

fn openapi() -> Value {
    serde_json::from_str(&read("src/api/openapi.json")).unwrap()
}

/// Writes the table anew where it is not what the routes say, so that a new endpoint needs no row by hand. The row has the
/// summary of the description; a row that is there keeps its words.
#[test]
fn every_endpoint_has_a_row() {
    let (old, openapi) = (table(PAGE, "endpoint"), openapi());
    let mut rows: Vec<Vec<String>> = Vec::new();
    for route in routes() {
        let name = format!("`{} {}`", route.method, route.path);
        let summary = &openapi["paths"][route.path][route.method.as_str().to_lowercase()]["summary"];
        let does = || summary.as_str().unwrap().trim_end_matches('.').to_owned();
        let does = old.iter().find(|it| it[0] == name).map_or_else(does, |it| it[1].clone());
        rows.push(vec![name, does]);
    }
    if rows != old {
        let text =
            |rows: &[Vec<String>]| rows.iter().map(|it| format!("| {} |", it.join(" | "))).collect::<Vec<_>>().join("\n");
        fs::write(root().join(PAGE), read(PAGE).replace(&text(&old), &text(&rows))).unwrap();
        panic!("the endpoints in {PAGE} were not those that are served; now they are: commit it");
    }
}

/// Who may use a route, as the description and the page call it.
fn access(route: &Route) -> &'static str {
    match route.access {
        RouteAccess::Public => "public",
        RouteAccess::AnyKey => "any_key",
        RouteAccess::App => "app",
        RouteAccess::Device(_) => "device",
        RouteAccess::DeviceKey => "device_key",
        RouteAccess::Developer => "developer",
        RouteAccess::Page => "page",
        RouteAccess::Guessable => "guessable",
    }
}

/// Writes `x-access` of each operation anew where it is not what the route says.
#[test]
fn the_description_says_who_may_use_each_endpoint() {
    const DESCRIPTION: &str = "src/api/openapi.json";
    let old = read(DESCRIPTION);
    let (mut new, mut path, mut method) = (String::new(), "", "");
    for line in old.lines().filter(|it| !it.starts_with("        \"x-access\": ")) {
        let opened = line.trim().strip_suffix("\": {").and_then(|it| it.strip_prefix('"'));
        match (opened, line.len() - line.trim_start().len()) {
            (Some(name), 4) => path = name,
            (Some(name), 6) => method = name,
            _ => {}
        }
        writeln!(new, "{line}").unwrap();
        if line.starts_with("        \"summary\": ") {
            let route = routes().iter().find(|it| it.path == path && it.method.as_str().eq_ignore_ascii_case(method));
            writeln!(new, "        \"x-access\": \"{}\",", route.map_or("?", access)).unwrap();
        }
    }
    if new != old {
        fs::write(root().join(DESCRIPTION), new).unwrap();
        panic!("x-access in {DESCRIPTION} was not that of the routes; now it is: commit it");
    }
}

/// Writes the table anew where it is not what the routes say.
#[test]
fn the_page_says_who_may_use_each_endpoint() {
    let old = table(PAGE, "access");
    let row = |it: &Vec<String>| {
        let word = it[0].trim_matches('`');
        let names = routes().iter().filter(|route| access(route) == word).map(|it| format!("`{} {}`", it.method, it.path));
        vec![it[0].clone(), it[1].clone(), names.collect::<Vec<_>>().join(", ")]
    };
    let new: Vec<_> = old.iter().map(row).collect();
    let named: BTreeSet<_> = old.iter().map(|it| it[0].trim_matches('`').to_owned()).collect();
    assert_eq!(routes().iter().map(|it| access(it).to_owned()).collect::<BTreeSet<_>>(), named);
    if new != old {
        let text =
            |rows: &[Vec<String>]| rows.iter().map(|it| format!("| {} |", it.join(" | "))).collect::<Vec<_>>().join("\n");
        fs::write(root().join(PAGE), read(PAGE).replace(&text(&old), &text(&new))).unwrap();
        panic!("the endpoints by access in {PAGE} were not those of the routes; now they are: commit it");
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
