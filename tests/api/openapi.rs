//! The API description matches the router, and describes every response.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use boardkeeper::api::{self, RouteAccess};
use boardkeeper::state::device::ServedConnection;
use serde_json::{Value, json};

use crate::test_device::{Response, TestDevice, request};

/// What `GET /agent/v1/openapi.json` answers: [`the_description_is_served`] sees to that.
const DESCRIPTION: &str = include_str!("../../src/api/openapi.json");

static ALL: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(DESCRIPTION).unwrap());

#[tokio::test]
async fn the_description_is_served() {
    let got = TestDevice::new().get("/agent/v1/openapi.json").await;
    assert_eq!((got.status, got.kind()), (StatusCode::OK, "application/json; charset=utf-8"));
    assert_eq!(got.json(), *ALL);
    assert_eq!(got.body.len(), ALL.to_string().len(), "there are blanks between tokens");
}

#[test]
fn every_route_is_described_and_nothing_else_is() {
    let paths = ALL["paths"].as_object().unwrap().iter();
    let described = paths.flat_map(|(path, it)| it.as_object().unwrap().keys().map(move |method| format!("{method} {path}")));
    let served = api::routes().iter().map(|it| format!("{} {}", it.method.as_str().to_lowercase(), it.path));
    assert_eq!(served.collect::<BTreeSet<_>>(), described.collect());
}

#[test]
fn what_follows_from_a_row_is_described() {
    for route in api::routes() {
        let at = format!("{} {}", route.method, route.path);
        let operation = operation(&route.method, route.path).unwrap();
        let answers = operation["responses"].as_object().unwrap();
        let page = route.access == RouteAccess::Page;
        let public = page || [RouteAccess::Public, RouteAccess::Guessable].contains(&route.access);
        for (status, follows) in [("400", true), ("401", !public), ("403", !page), ("429", route.waits())] {
            assert_eq!(answers.contains_key(status), follows, "{status} of {at}");
        }
        assert_eq!(operation.get("security"), public.then_some(&json!([])), "{at}");
        let in_path = operation["parameters"].as_array().into_iter().flatten().filter(|it| it["in"] == "path");
        let named = in_path.map(|it| it["name"].as_str().unwrap());
        let params = route.path.split('{').skip(1).map(|it| it.split('}').next().unwrap());
        assert_eq!(named.collect::<Vec<_>>(), params.collect::<Vec<_>>(), "{at}");
    }
}

#[tokio::test]
async fn every_route_documents_its_answer_to_too_many_requests() {
    for route in api::routes() {
        let asking = request(route.method.as_str(), &format!("{}?apikey={}", route.path, "d".repeat(64)));
        // What comes back is held against the description.
        TestDevice::new()
            .call(
                asking
                    .extension(ServedConnection { concurrent_requests: 10_000, ..ServedConnection::default() })
                    .body(Body::empty())
                    .unwrap(),
            )
            .await;
    }
}

#[test]
fn references_lead_somewhere() {
    for reference in DESCRIPTION.split("\"$ref\": \"").skip(1).map(|it| it.split('"').next().unwrap()) {
        assert!(ALL.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

/// Whether an answer is one the description has for its route, and the cloud's proxy would pass it on.
pub(crate) fn check(method: &Method, path: &str, got: &Response) {
    let at = format!("{method} {path} {} {}", got.status, got.body);
    let kind = got.kind().split(';').next().unwrap();
    // What the agent added itself is not for the proxy.
    let is_proxied = ["/ping", "/v1", "/v2"].iter().any(|it| path.to_lowercase().starts_with(it));
    if is_proxied && kind.starts_with("text/") {
        let plain = |it: char| it.is_ascii_alphanumeric() || ":'.?!,/- \n\t".contains(it);
        assert!(got.body.chars().all(plain), "the proxy stops it: {at}");
    }
    if method == Method::HEAD {
        assert_eq!(got.body, "", "{at}");
        return;
    }
    if kind == "application/json" {
        serde_json::from_str::<Value>(&got.body).unwrap();
    }
    let Some(operation) = operation(method, path) else {
        let outside = [
            StatusCode::BAD_REQUEST,
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::NOT_FOUND,
            StatusCode::METHOD_NOT_ALLOWED,
            StatusCode::URI_TOO_LONG,
        ];
        assert!(outside.contains(&got.status), "{at}");
        return;
    };
    let response = &operation["responses"][got.status.as_str()];
    let response = resolve(response);
    assert!(!response.is_null(), "the status is not described: {at}");
    let Some(content) = response.get("content") else {
        assert_eq!(got.body, "", "{at}");
        return;
    };
    let schema = &content[kind]["schema"];
    assert!(!schema.is_null(), "the type is not described: {kind} {at}");
    let body = if kind == "application/json" { got.json() } else { Value::String(got.body.clone()) };
    assert!(fits(schema, &body), "it does not fit the schema: {at}");
}

fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let path = path.strip_suffix('/').filter(|it| !it.is_empty() && *it != "/").unwrap_or(path).to_lowercase();
    let given: Vec<_> = path.split('/').collect();
    let is_it = |template: &str| {
        let template: Vec<_> = template.split('/').collect();
        let same = |(wanted, given): (&&str, &&str)| {
            if wanted.starts_with('{') { !given.is_empty() } else { wanted.to_lowercase() == **given }
        };
        template.len() == given.len() && template.iter().zip(&given).all(same)
    };
    let mut leading = ALL["paths"].as_object().unwrap().iter().filter(|(template, _)| is_it(template));
    leading.find_map(|(_, operations)| operations.get(method.as_str().to_lowercase()))
}

fn resolve(it: &Value) -> &Value {
    match it.get("$ref") {
        Some(reference) => ALL.pointer(reference.as_str().unwrap().trim_start_matches('#')).unwrap(),
        None => it,
    }
}

/// As much of JSON Schema as the description uses. Fields that a schema does not name do not fit it.
fn fits(schema: &Value, it: &Value) -> bool {
    let schema = resolve(schema);
    let has_type = |name: &Value| match name.as_str().unwrap() {
        "null" => it.is_null(),
        "boolean" => it.is_boolean(),
        "integer" => it.is_i64(),
        "number" => it.is_number(),
        "string" => it.is_string(),
        "array" => it.is_array(),
        "object" => it.is_object(),
        other => panic!("{other}"),
    };
    schema.as_object().unwrap().iter().all(|(word, value)| match word.as_str() {
        "type" => value.as_array().map_or_else(|| has_type(value), |types| types.iter().any(has_type)),
        "const" => it == value,
        "enum" => value.as_array().unwrap().contains(it),
        "oneOf" => value.as_array().unwrap().iter().filter(|schema| fits(schema, it)).count() == 1,
        "items" => it.as_array().is_none_or(|items| items.iter().all(|it| fits(value, it))),
        "required" => {
            let names = value.as_array().unwrap();
            it.as_object().is_none_or(|fields| names.iter().all(|name| fields.contains_key(name.as_str().unwrap())))
        }
        "properties" => it
            .as_object()
            .is_none_or(|fields| fields.iter().all(|(name, it)| value.get(name).is_some_and(|schema| fits(schema, it)))),
        "additionalProperties" => it.as_object().is_none_or(|fields| fields.values().all(|it| fits(value, it))),
        "minimum" => it.as_i64().is_none_or(|it| it >= value.as_i64().unwrap()),
        "maximum" => it.as_i64().is_none_or(|it| it <= value.as_i64().unwrap()),
        // The only pattern of an answer is that of a key.
        "pattern" => it.as_str().unwrap().len() == 64 && it.as_str().unwrap().chars().all(|it| it.is_ascii_hexdigit()),
        "description" | "default" => true,
        other => panic!("{other}"),
    })
}
