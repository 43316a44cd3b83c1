//! The actions of `/v2/` on one service, as the cloud's clients request them.

use axum::body::Body;
use boardkeeper::request::{Refusal, ServiceSelector};
use boardkeeper::state::{AppId, Force, ServiceKey};

use crate::test_device::{ONE, Received, Response, TWO, TestDevice, WIDE, request};

const VERBS: [&str; 3] = ["restart", "stop", "start"];
const NAME_THE_SERVICE: &str =
    "serviceName or imageId parameters were not provided or the app is multi-container. Use the v2 service action endpoints.";
const NO_APP: &str = concat!(
    "App not found: an app needs to be installed for this endpoint to work.\n",
    "\tIf you've recently moved this device from another app,\n",
    "\tplease push an app and wait for it to be installed first."
);

fn path(app: impl std::fmt::Display, verb: &str) -> String {
    format!("/v2/applications/{app}/{verb}-service")
}

fn named(name: &str) -> ServiceSelector {
    ServiceSelector::Named(name.to_owned())
}

fn received(verb: &str, app: AppId, service: ServiceSelector, force: Force) -> Received {
    match verb {
        "restart" => Received::RestartService(app, service, force),
        "stop" => Received::StopService(app, service, force),
        _ => Received::StartService(app, service),
    }
}

fn is_text(got: &Response, status: u16, body: &str) {
    assert_eq!((got.status.as_u16(), got.kind(), got.body.as_str()), (status, "text/html; charset=utf-8", body));
}

fn is_failure(got: &Response, status: u16, message: &str) {
    assert_eq!((got.status.as_u16(), got.message().as_str()), (status, message));
}

#[tokio::test]
async fn a_service_is_acted_on_by_its_name_or_its_images_number() {
    let mut device = TestDevice::new();
    for verb in VERBS {
        // Names of a body that the path and not the body says which app it is.
        for (app, body, service) in [
            (ONE, r#"{"appId":24,"imageId":7}"#, ServiceSelector::Image(7)),
            (ONE, r#"{"imageId":"7"}"#, ServiceSelector::Image(7)),
            (ONE, r#"{"imageId":-7}"#, ServiceSelector::Image(-7)),
            (TWO, r#"{"serviceName":"web"}"#, named("web")),
            (TWO, r#"{"serviceName":"db","imageId":7}"#, named("db")),
            (ONE, r#"{"serviceName":"","imageId":7}"#, ServiceSelector::Image(7)),
            (ONE, r#"{"serviceName":5,"imageId":7}"#, ServiceSelector::Image(7)),
            (TWO, r#"{"serviceName":"web","imageId":"x"}"#, named("web")),
        ] {
            is_text(&device.post(&path(app, verb), body).await, 200, "OK");
            assert_eq!(device.asked.pop(), Some(received(verb, app, service, Force::No)), "{verb} {body}");
        }
    }
}

#[tokio::test]
async fn a_body_that_names_no_service_is_refused() {
    let mut device = TestDevice::new();
    for verb in VERBS {
        for body in [
            "",
            "{}",
            "[]",
            r#"{"appId":24}"#,
            r#"{"imageId":null}"#,
            r#"{"imageId":0}"#,
            r#"{"imageId":"main"}"#,
            r#"{"imageId":7.5}"#,
            r#"{"serviceName":""}"#,
            r#"{"serviceName":["main"]}"#,
            r#"{"servicename":"main"}"#,
        ] {
            is_text(&device.post(&path(ONE, verb), body).await, 400, NAME_THE_SERVICE);
        }
    }
    assert_eq!(device.asked, []);
}

#[tokio::test]
async fn a_malformed_body_is_refused_with_where_and_what() {
    let mut device = TestDevice::new();
    for verb in VERBS {
        let got = device.post(&path(ONE, verb), r#"{"serviceName":"main""#).await;
        is_failure(&got, 400, "the body is not JSON: EOF while parsing an object at line 1 column 21");
        let got = device.post(&path(ONE, verb), "7").await;
        is_failure(&got, 400, "the body must be a JSON object, and is a number at line 1 column 1");
    }
    assert_eq!(device.asked, []);
}

#[tokio::test]
async fn the_app_is_an_integer_but_not_0() {
    let mut device = TestDevice::new();
    for verb in VERBS {
        for app in ["x", "0", "0.0", "-0", "1x", "0x11", "50.55", "-", "%20"] {
            is_failure(&device.post(&path(app, verb), r#"{"serviceName":"main"}"#).await, 400, "Invalid app id");
        }
        assert_eq!(device.asked, []);
        for app in ["2167", "2167.00", "%32167"] {
            is_text(&device.post(&path(app, verb), r#"{"serviceName":"main"}"#).await, 200, "OK");
            assert_eq!(device.asked.pop(), Some(received(verb, ONE, named("main"), Force::No)));
        }
    }
}

#[tokio::test]
async fn what_is_not_found_is_404_with_the_texts_of_the_supervisors_of_today() {
    let mut device = TestDevice::new();
    for verb in VERBS {
        for app in ["1", "-3", "99999999999"] {
            is_text(&device.post(&path(app, verb), r#"{"serviceName":"main"}"#).await, 404, NO_APP);
        }
        let got = device.post(&path(TWO, verb), r#"{"serviceName":"mail"}"#).await;
        is_text(&got, 404, "Service not found, a container must exist for this endpoint to work");
        device.refuses = Some(Refusal::NotInTarget);
        let got = device.post(&path(TWO, verb), r#"{"serviceName":"web"}"#).await;
        is_text(&got, 404, "Service does not exist in target release");
        device.refuses = None;
    }
}

#[tokio::test]
async fn a_held_lock_is_423_and_force_overrides_it() {
    let mut device = TestDevice::new();
    device.lock(TWO, "db");
    for verb in ["restart", "stop"] {
        let got = device.post(&path(TWO, verb), r#"{"serviceName":"web"}"#).await;
        is_failure(&got, 423, "Lockfile exists for { appId: 4000, service: db }");
        for force in ["true", "1", "\"on\""] {
            let body = format!(r#"{{"serviceName":"web","force":{force}}}"#);
            is_text(&device.post(&path(TWO, verb), &body).await, 200, "OK");
            assert_eq!(device.asked.pop(), Some(received(verb, TWO, named("web"), Force::Yes)));
        }
    }
    is_text(&device.post(&path(TWO, "start"), r#"{"serviceName":"web"}"#).await, 200, "OK");
}

#[tokio::test]
async fn every_other_refusal_is_json() {
    let mut device = TestDevice::new();
    for (why, status) in [
        (Refusal::Failed("engine: \"no space left\" (device)".to_owned()), 503),
        (Refusal::ShuttingDown, 503),
        (Refusal::NotToRun(ServiceKey::new(ONE, "main")), 400),
    ] {
        device.refuses = Some(why.clone());
        for verb in VERBS {
            let got = device.post(&path(ONE, verb), r#"{"serviceName":"main"}"#).await;
            is_failure(&got, status, &why.to_string());
        }
    }
}

#[tokio::test]
async fn a_service_acts_on_services_of_its_own_app_only() {
    let mut device = TestDevice::new();
    let (web, wide) = (device.key(TWO, "web"), device.key(WIDE, "main"));
    for verb in VERBS {
        is_text(&device.post_with(&web, &path(TWO, verb), r#"{"serviceName":"db"}"#).await, 200, "OK");
        for (key, app) in [(&web, ONE), (&wide, ONE), (&wide, TWO)] {
            // Whatever the body says: it is not read.
            for body in [r#"{"serviceName":"main"}"#, "{"] {
                is_failure(&device.post_with(key, &path(app, verb), body).await, 401, "Unauthorized");
            }
        }
        let got = device.post_with(&"0".repeat(64), &path(ONE, verb), r#"{"serviceName":"main"}"#).await;
        assert_eq!(got.status.as_u16(), 401);
    }
    assert_eq!(device.asked.len(), VERBS.len());
}

#[tokio::test]
async fn a_form_names_a_service_too() {
    let mut device = TestDevice::new();
    for (form, service) in [("serviceName=web&force=true", named("web")), ("imageId=7&force=1", ServiceSelector::Image(7))] {
        let app = if service == named("web") { TWO } else { ONE };
        let request = request("POST", &path(app, "stop")).header("Authorization", format!("Bearer {}", "d".repeat(64)));
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        is_text(&device.call(request.body(Body::from(form)).unwrap()).await, 200, "OK");
        assert_eq!(device.asked.pop(), Some(Received::StopService(app, service, Force::Yes)));
    }
}

#[tokio::test]
async fn a_request_through_the_clouds_proxy_is_answered() {
    let mut device = TestDevice::new();
    for verb in VERBS {
        let request = request("POST", &format!("{}?apikey={}", path(ONE, verb), "d".repeat(64)))
            .header("accept", "application/json")
            .header("content-type", "application/json")
            .header("content-length", "24")
            .header("traceparent", "00-d3d819502763beaafede2a14bf3a6ccd-90f0dfb6704e8daf-01")
            .header("sentry-trace", "d3d819502763beaafede2a14bf3a6ccd-90f0dfb6704e8daf-1")
            .header("Connection", "close");
        is_text(&device.call(request.body(Body::from(r#"{"appId":24,"imageId":7}"#)).unwrap()).await, 200, "OK");
    }
}
