//! Whether the cloud is reached, as the LED shows it to a user.

use std::time::Duration;

use boardkeeper::led::pattern;
use boardkeeper::state::LedPurpose;
use serde_json::json;
use tokio::time::sleep;

use crate::world::{World, settings};
use crate::{life_with, settled};

/// A device that has a cloud.
async fn life(world: &World, story: impl AsyncFnOnce(crate::Agent)) {
    let mut settings = settings();
    settings.device.api_endpoint = Some("https://api.example.com".to_owned());
    life_with(world, settings, story).await;
}

#[tokio::test(start_paused = true)]
async fn the_led_shows_that_the_cloud_is_not_reached_but_while_it_identifies() {
    let world = settled();
    let shown = || world.shown.borrow().clone();
    life(&world, async |agent| {
        assert_eq!(shown(), pattern::of(LedPurpose::Offline));
        let leds: serde_json::Value = serde_json::from_str(&agent.call("GET", "/agent/v1/leds", "").await.1).unwrap();
        assert_eq!(leds["owner"], "no-connectivity");
        assert_eq!(agent.state().await["connectivity"]["state"], "offline");
        assert_eq!(agent.post("/v1/blink", "").await.0, 200);
        assert_eq!(shown(), pattern::of(LedPurpose::Identify));
        sleep(Duration::from_secs(16)).await;
        assert_eq!(shown(), pattern::of(LedPurpose::Offline));
        // It is back, and goes again.
        for online in [true, false, true] {
            world.online.set(online);
            sleep(Duration::from_secs(11)).await;
            assert_eq!(shown(), if online { None } else { pattern::of(LedPurpose::Offline) });
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_led_is_restored_when_the_check_is_off() {
    let world = settled();
    let shown = || world.shown.borrow().clone();
    life(&world, async |agent| {
        assert_eq!(shown(), pattern::of(LedPurpose::Offline));
        assert_eq!(agent.call("DELETE", "/v1/tcp-ping", "").await, (204, String::new()));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(shown(), None);
        assert_eq!(agent.state().await["connectivity"], json!({"state": "unknown", "check": false}));
        assert_eq!(agent.post("/v1/tcp-ping", "").await, (204, String::new()));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(shown(), pattern::of(LedPurpose::Offline));
    })
    .await;
}
