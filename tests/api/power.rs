//! Reboot and shutdown, and their responses.

use boardkeeper::request::Refusal;
use boardkeeper::state::{Force, HeldLock, PowerAction, ShutdownOrigin, ShutdownProgress, ShutdownStatus};
use serde_json::json;
use tokio::time::Instant;

use crate::test_device::{ONE, Received, TestDevice};

const BOTH: [(&str, PowerAction); 2] = [("/v1/reboot", PowerAction::Reboot), ("/v1/shutdown", PowerAction::PowerOff)];

fn held() -> Refusal {
    let path = "/tmp/balena-supervisor/services/2167/main/updates.lock".to_owned();
    Refusal::LockedApp(ONE, HeldLock { service: "main".to_owned(), path, since_secs: 1_700_000_000 })
}

#[tokio::test]
async fn whatever_comes_of_it_has_one_shape() {
    let lock = "Lockfile exists for { appId: 2167, service: main }: \
        /tmp/balena-supervisor/services/2167/main/updates.lock since 2023-11-14T22:13:20Z";
    let inhibited = "no reboot now: apt (uid 0, process 7) holds it up: installing";
    for (refusal, status, error) in [
        (held(), 423, lock),
        (Refusal::HostUpdate("/mnt/state/rollback-health-breadcrumb".into()), 423, "Waiting for Host OS update to finish"),
        (Refusal::Failed(inhibited.into()), 500, inhibited),
        (Refusal::ShuttingDown, 503, "the device is shutting down; nothing is changed any more"),
    ] {
        for (path, _) in BOTH {
            let mut device = TestDevice::new();
            device.refuses = Some(refusal.clone());
            let got = device.post(path, "").await;
            assert_eq!((got.status.as_u16(), got.json()), (status, json!({"Data": "", "Error": error})), "{path}");
        }
    }
}

#[tokio::test]
async fn force_is_read_from_the_body() {
    for (path, ending) in BOTH {
        let mut device = TestDevice::new();
        for (body, force) in [("", Force::No), ("{\"force\":true}", Force::Yes), ("{\"force\":0}", Force::No)] {
            assert_eq!(device.post(path, body).await.status.as_u16(), 202);
            assert_eq!(device.asked.pop(), Some(Received::Shutdown(ending, force)));
        }
        assert_eq!(device.post(path, "{").await.status.as_u16(), 400);
        assert_eq!(device.asked, []);
    }
}

#[tokio::test]
async fn a_device_that_shuts_down_turns_others_down_with_that_reason() {
    let mut device = TestDevice::new();
    device.refuses = Some(Refusal::ShuttingDown);
    let app = "{\"appId\":2167}";
    for (path, body) in [("/v1/restart", app), ("/v1/purge", app), ("/v1/apps/2167/stop", ""), ("/v1/apps/2167/start", "")] {
        let got = device.post(path, body).await;
        let why = "the device is shutting down; nothing is changed any more";
        assert_eq!((got.status.as_u16(), got.message().as_str()), (503, why), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_state_tells_of_an_end_and_of_one_that_came_to_nothing() {
    let mut device = TestDevice::new();
    assert_eq!(device.get("/agent/v1/state").await.json()["shutdown"], json!({"state": "no"}));
    let since = Instant::now();
    for (by, told) in [
        (ShutdownOrigin::Request, "request"),
        (ShutdownOrigin::Release, "release"),
        (ShutdownOrigin::Configuration, "configuration"),
        (ShutdownOrigin::Others, "others"),
    ] {
        device.say(|it| {
            it.shutdown =
                ShutdownStatus::UnderWay { ending: Some(PowerAction::Reboot), by, since, progress: ShutdownProgress::Asked }
        });
        let state = device.get("/agent/v1/state").await.json();
        assert_eq!(state["activity"], "shutting down");
        assert_eq!(state["shutdown"], json!({"state": "under_way", "ending": "reboot", "by": told, "seconds": 0}));
    }
    let why = "logind called it off".to_owned();
    device.say(|it| it.shutdown = ShutdownStatus::Failed { ending: Some(PowerAction::PowerOff), why, since });
    let state = device.get("/agent/v1/state").await.json();
    assert_eq!(state["activity"], "waiting");
    let told = json!({"state": "came_to_nothing", "ending": "shutdown", "why": "logind called it off", "seconds": 0});
    assert_eq!(state["shutdown"], told);
}
