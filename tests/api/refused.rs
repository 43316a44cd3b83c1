//! The responses to requests that cannot be carried out.

use boardkeeper::request::Refusal;
use boardkeeper::state::{EngineState, Force, ServiceKey};
use tokio::time::Instant;

use crate::test_device::{ONE, Received, TWO, TestDevice};

const NO_APP: &str = concat!(
    "App not found: an app needs to be installed for this endpoint to work.\n",
    "\tIf you've recently moved this device from another app,\n",
    "\tplease push an app and wait for it to be installed first."
);

#[tokio::test]
async fn a_held_lock_is_423_and_force_overrides_it() {
    let mut device = TestDevice::new();
    device.lock(ONE, "main");
    for (path, body) in [("/v1/restart", "{\"appId\":2167}"), ("/v1/purge", "{\"appId\":2167}"), ("/v1/apps/2167/stop", "")] {
        let got = device.post(path, body).await;
        assert_eq!(got.status.as_u16(), 423, "{path}");
        assert_eq!(got.body, "{\"status\":\"failed\",\"message\":\"Lockfile exists for { appId: 2167, service: main }\"}");
    }
    for (path, body) in [
        ("/v1/restart", "{\"appId\":2167,\"force\":true}"),
        ("/v1/purge", "{\"appId\":2167,\"force\":\"1\"}"),
        ("/v1/apps/2167/stop", "{\"force\":\"on\"}"),
        ("/v1/apps/2167/start", ""),
    ] {
        assert_eq!(device.post(path, body).await.status.as_u16(), 200, "{path}");
    }
}

#[tokio::test]
async fn force_is_read_from_the_body_only() {
    let mut device = TestDevice::new();
    device.lock(ONE, "main");
    let key = format!("{}&force=true", "d".repeat(64));
    assert_eq!(device.post_with(&key, "/v1/restart", "{\"appId\":2167}").await.status.as_u16(), 423);
    assert_eq!(device.asked, [Received::Restart(ONE, Force::No)]);
}

#[tokio::test]
async fn an_app_must_be_named() {
    let mut device = TestDevice::new();
    for body in ["", "{}", "[]", "{\"appId\":null}", "{\"appId\":\"x\"}", "{\"appId\":50.55}", "{\"appid\":2167}"] {
        for (path, text) in [("/v1/restart", "Missing app id"), ("/v1/purge", "Invalid or missing appId")] {
            let got = device.post(path, body).await;
            assert_eq!((got.status.as_u16(), got.body.as_str()), (400, text), "{path} {body}");
        }
    }
    for id in ["x", "1x", "0x11", "50.55", "-", "%20", "2167%0a"] {
        for verb in ["stop", "start"] {
            let got = device.post(&format!("/v1/apps/{id}/{verb}"), "").await;
            assert_eq!((got.status.as_u16(), got.body.as_str()), (400, "Invalid app id"), "{id}");
        }
        let got = device.get(&format!("/v1/apps/{id}")).await;
        assert_eq!((got.status.as_u16(), got.body.as_str()), (400, "Missing app id"), "{id}");
    }
    assert_eq!(device.asked, []);
}

#[tokio::test]
async fn an_app_that_is_not_here_is_not_found() {
    let mut device = TestDevice::new();
    for id in ["1", "0", "-3", "99999999999"] {
        for path in ["/v1/restart", "/v1/purge"] {
            let got = device.post(path, &format!("{{\"appId\":{id}}}")).await;
            let message = format!("Application with ID {id} is not in the current state");
            assert_eq!((got.status.as_u16(), got.message()), (503, message), "{path}");
        }
        for verb in ["stop", "start"] {
            let got = device.post(&format!("/v1/apps/{id}/{verb}"), "").await;
            assert_eq!((got.status.as_u16(), got.body.as_str()), (400, NO_APP), "{id}");
        }
        let got = device.get(&format!("/v1/apps/{id}")).await;
        assert_eq!((got.status.as_u16(), got.body.as_str()), (400, "App not found"), "{id}");
    }
}

#[tokio::test]
async fn an_engine_that_was_not_seen_does_not_mean_that_there_is_no_app() {
    let mut device = TestDevice::new();
    device.see(|it| it.containers.clear());
    device.say(|it| it.engine = EngineState::Unknown);
    assert_eq!(device.get("/v1/apps/2167").await.status.as_u16(), 503);
    device.say(|it| it.engine = EngineState::Down { why: "no such socket".to_owned(), since: Instant::now() });
    let got = device.get("/v1/apps/2167").await;
    assert_eq!((got.status.as_u16(), got.message().as_str()), (503, "no such socket"));
}

#[tokio::test]
async fn an_app_of_several_services_wants_another_endpoint() {
    let mut device = TestDevice::new();
    for verb in ["stop", "start"] {
        let got = device.post(&format!("/v1/apps/{TWO}/{verb}"), "").await;
        let text = "serviceName or imageId parameters were not provided or the app is multi-container. Use the v2 service action endpoints.";
        assert_eq!((got.status.as_u16(), got.body.as_str()), (400, text));
    }
    let got = device.get(&format!("/v1/apps/{TWO}")).await;
    let text = "Some v1 endpoints are only allowed on single-container apps";
    assert_eq!((got.status.as_u16(), got.body.as_str()), (400, text));
    assert_eq!(device.post("/v1/restart", "{\"appId\":4000}").await.status.as_u16(), 200);
}

#[tokio::test]
async fn every_refusal_has_its_status() {
    let mut device = TestDevice::new();
    let failed = || Refusal::Failed("engine: \"no space left\" (device)".to_owned());
    for (why, on_app, on_service) in [
        (Refusal::NoContainer, 503, 400),
        (Refusal::NotInTarget, 503, 404),
        (Refusal::NotToRun(ServiceKey::new(ONE, "main")), 503, 400),
        (Refusal::SeveralServices, 503, 400),
        (Refusal::UnknownKey, 503, 503),
        (failed(), 503, 503),
    ] {
        device.refuses = Some(why.clone());
        for path in ["/v1/restart", "/v1/purge"] {
            let got = device.post(path, "{\"appId\":2167}").await;
            assert_eq!((got.status.as_u16(), got.message()), (on_app, why.to_string()), "{path}");
        }
        for path in ["/v1/apps/2167/stop", "/v1/apps/2167/start"] {
            assert_eq!(device.post(path, "").await.status.as_u16(), on_service, "{path} {why}");
        }
    }
    device.refuses = Some(Refusal::NoContainer);
    assert_eq!(device.post("/v1/apps/2167/stop", "").await.body, Refusal::NoContainer.to_string());
    device.refuses = Some(Refusal::NotInTarget);
    assert_eq!(device.post("/v1/apps/2167/start", "").await.body, Refusal::NotInTarget.to_string());
    // An update is looked for all the same.
    device.refuses = Some(failed());
    assert_eq!(device.post("/v1/update", "").await.status.as_u16(), 204);
    assert_eq!(device.post("/v1/regenerate-api-key", "").await.message(), failed().to_string());
}

#[tokio::test]
async fn a_restart_names_the_services_that_do_not_run_after_it() {
    let mut device = TestDevice::new();
    device.except = vec![("web".to_owned(), "next-boot"), ("db".to_owned(), "not-to-run")];
    for (path, body) in [("/v1/restart", "OK"), ("/v1/purge", "{\"Data\":\"OK\",\"Error\":\"\"}")] {
        let got = device.post(path, "{\"appId\":2167}").await;
        assert_eq!((got.status.as_u16(), got.body.as_str()), (200, body));
        assert_eq!(got.headers["services-not-started"], "web=next-boot, db=not-to-run", "{path}");
    }
    device.except.clear();
    let got = device.post("/v1/restart", "{\"appId\":2167}").await;
    assert!(!got.headers.contains_key("services-not-started"));
}
