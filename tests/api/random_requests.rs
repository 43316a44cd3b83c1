//! Any request gets a response, and it is one that the API description has.

use axum::body::Body;
use axum::http::{HeaderValue, Method};
use boardkeeper::api;
use boardkeeper::state::device::ServedConnection;
use proptest::prelude::*;

use crate::test_device::{TestDevice, request};

/// A path that is one of ours, or nearly, or nothing of the kind.
fn path() -> impl Strategy<Value = String> {
    let ours = prop::sample::select(api::routes().iter().map(|it| it.path).collect::<Vec<_>>());
    let known = (ours, "[!-~]{0,8}").prop_map(|(path, id)| path.replace("{appId}", &id.replace(['/', '?', '#'], "")));
    let nearly = "/(v1|V1|v2|agent|agent/v1|agent/v2|agent%2fv1)/{1,2}[a-z-]{0,12}(/[!-~]{0,6}){0,3}";
    prop_oneof![
        known,
        "/[!-~]{0,30}",
        "/v1/apps/[0-9.%-]{0,12}(/stop|/start)?",
        nearly,
        "/[!-~\\PC]{0,20}",
        Just("*".to_owned())
    ]
}

fn query() -> impl Strategy<Value = String> {
    prop_oneof![
        "[!-~]{0,60}",
        "(apikey|apikey\\[x\\]|APIKEY)=[%+&=a-z0-9]{0,40}",
        Just(format!("apikey={}", "d".repeat(64))),
        "[%&=]{0,20}".prop_map(|it| format!("{it}&apikey={}", "d".repeat(64))),
    ]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let fields =
        "\\{\"appId\": ?([0-9.eE\"-]{1,12}|null|\\[\\]),\"force\":(true|\"on\"|1|\\{\\})\\}".prop_map(String::into_bytes);
    let form = "[a-zA-Z%&=+0-9]{0,60}".prop_map(String::into_bytes);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        fields,
        form,
        "[\\[\\]{}\":,0-9a-z ]{0,60}".prop_map(String::into_bytes)
    ]
}

fn header() -> impl Strategy<Value = Vec<u8>> {
    let known = ["application/json", "application/x-www-form-urlencoded", "gzip", "Bearer x", "ApiKey", "chunked", "0", ""];
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        prop::sample::select(known.to_vec()).prop_map(|it| it.as_bytes().to_vec())
    ]
}

fn method() -> impl Strategy<Value = Method> {
    let known = [Method::GET, Method::HEAD, Method::POST, Method::DELETE, Method::PATCH, Method::PUT, Method::OPTIONS];
    let other = "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}".prop_map(|it| Method::from_bytes(it.as_bytes()).unwrap());
    prop_oneof![4 => prop::sample::select(known.to_vec()), 1 => other]
}

const HEADERS: [&str; 8] = [
    "Host",
    "Origin",
    "Sec-Fetch-Site",
    "Authorization",
    "Content-Type",
    "Content-Encoding",
    "Content-Length",
    "X-Forwarded-For",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, max_global_rejects: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn there_is_always_an_answer(
        method in method(),
        path in path(),
        query in query(),
        headers in prop::collection::vec((prop::sample::select(HEADERS.to_vec()), header()), 0..4),
        body in body(),
        beside in 0..40_usize,
    ) {
        let mut asking = request(method.as_str(), &format!("{path}?{query}")).extension(ServedConnection { concurrent_requests: beside, ..ServedConnection::default() });
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                asking = asking.header(name, value);
            }
        }
        // What is not a URL does not get as far as to us.
        let asking = asking.body(Body::from(body));
        prop_assume!(asking.is_ok());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let got = TestDevice::new().call(asking.unwrap()).await;
            let status = got.status.as_u16();
            prop_assert!(matches!(status, 200 | 202 | 204 | 400 | 401 | 403 | 404 | 405 | 413 | 415 | 429 | 503), "{status} {}", got.body);
            Ok(())
        })?;
    }
}
