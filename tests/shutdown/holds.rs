//! Patterns that are held on LEDs and lines, as the history of the whole agent has them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::world::World;
use crate::{Agent, life, settled};

const ACT: &str = "/agent/v1/leds/ACT/pattern";

async fn holds(agent: &Agent) -> Vec<Value> {
    // The reconciler enters what the LEDs' task tells it.
    sleep(Duration::from_millis(10)).await;
    let history: Value = serde_json::from_str(&agent.call("GET", "/agent/v1/history", "").await.1).unwrap();
    history["entries"].as_array().unwrap().iter().filter(|it| it["action"] == "hold").cloned().collect()
}

async fn hold(agent: &Agent, path: &str, pattern: &str, seconds: u32) {
    let body = json!({"pattern": pattern, "seconds": seconds}).to_string();
    assert_eq!(agent.post(path, &body).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn what_was_held_on_an_led_is_in_the_history_with_who_how_long_and_how_it_ended() {
    let world: World = settled();
    life(&world, async |agent| {
        hold(&agent, ACT, "200,200", 30).await;
        sleep(Duration::from_secs(12)).await;
        assert!(holds(&agent).await.is_empty(), "it is held");
        assert_eq!(agent.call("DELETE", ACT, "").await.0, 204);
        let entries = holds(&agent).await;
        let [entry] = &entries[..] else { panic!("{entries:?}") };
        let fields = ["object", "name", "asked_by", "outcome", "error"].map(|it| entry[it].clone());
        assert_eq!(json!(fields), json!(["led", "ACT", "device key", "done", null]));
        let millis = entry["milliseconds"].as_u64().unwrap();
        assert!((12_000..12_100).contains(&millis), "{entry}");
        assert_eq!(
            entry["sentence"],
            "led ACT was held because the pattern +200 -200 ms was requested for 30 s, and device key released it after \
             12 s; asked for by device key"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_held_on_a_line_is_in_the_history_once_for_the_same_request() {
    let world: World = settled();
    life(&world, async |agent| {
        for _ in 0..3 {
            hold(&agent, "/agent/v1/lines/GPIO17/pattern", "500,500", 10).await;
            sleep(Duration::from_secs(20)).await;
        }
        hold(&agent, "/agent/v1/lines/GPIO17/pattern", "100,100", 10).await;
        hold(&agent, "/agent/v1/lines/GPIO17/pattern", "100,100", 10).await;
        sleep(Duration::from_secs(20)).await;
        let entries = holds(&agent).await;
        let said: Vec<_> = entries.iter().map(|it| (&it["object"], &it["name"], &it["why"])).collect();
        let first = "the pattern +500 -500 ms was requested for 10 s, and its time was over after 10 s";
        let second =
            "the pattern +100 -100 ms was requested for 10 s, the last of 2 requests, and its time was over after 10 s";
        assert_eq!(json!(said), json!([["line", "GPIO17", first], ["line", "GPIO17", second]]));
    })
    .await;
}
