//! Identifying the device, and what is told of the board and its LED.

use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::state::{BoardFacts, Identified, Lamp, Owner, Player, Purpose};
use serde_json::json;
use tokio::time::{Instant, advance};

use crate::house::{Got, House};

async fn blink(house: &mut House) -> (String, Duration) {
    let before = Instant::now();
    let Got { status, headers, body } = house.post("/v1/blink", "").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, ""));
    (headers["identify-led"].to_str().unwrap().to_owned(), before.elapsed())
}

#[tokio::test(start_paused = true)]
async fn blinking_says_in_a_header_which_led_it_is() {
    let mut house = House::new();
    assert_eq!(blink(&mut house).await, ("ACT".to_owned(), Duration::ZERO));
    house.identifies = Some(Identified::None("this board has no LED\n\u{1f4a1}".to_owned()));
    assert_eq!(blink(&mut house).await, ("none; this board has no LED??".to_owned(), Duration::ZERO));
    house.identifies = Some(Identified::Waiting("ACT".to_owned()));
    assert_eq!(blink(&mut house).await.0, "ACT; after the bring-up test");
    assert_eq!(house.asked, [], "the reconciler has no part in it");
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_does_not_answer_is_waited_for_one_second() {
    let mut house = House::new();
    house.identifies = None;
    for _ in 0..4 {
        let (led, took) = blink(&mut house).await;
        assert_eq!(took, Duration::from_secs(1));
        assert!(led.starts_with("none; its driver has not answered within a second"), "{led}");
    }
    house.end();
    assert_eq!(blink(&mut house).await, ("none; the agent is stopping".to_owned(), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn the_led_is_told_with_who_has_it_and_for_how_long() {
    let mut house = House::new();
    let nothing = json!({
        "led": null, "why_none": "not looked for yet", "owner": null, "purposes": [], "player": null, "trouble": null,
    });
    assert_eq!(house.get("/agent/v1/leds").await.json(), nothing);
    let until = Instant::now() + Duration::from_secs(15);
    house.show(|panel| {
        panel.led = Ok(Lamp { name: "ACT".to_owned(), why: "the board's file says so".to_owned() });
        panel.owners =
            vec![Owner { purpose: Purpose::Identify, until: Some(until) }, Owner { purpose: Purpose::Offline, until: None }];
        panel.player = Some(Player::Kernel);
        panel.trouble = Some("it was busy".to_owned());
    });
    advance(Duration::from_millis(4_500)).await;
    let expected = json!({
        "led": {"name": "ACT", "why": "the board's file says so"},
        "why_none": null,
        "owner": "identify",
        "purposes": [{"purpose": "identify", "seconds_left": 11}, {"purpose": "no-connectivity", "seconds_left": null}],
        "player": "kernel",
        "trouble": "it was busy",
    });
    assert_eq!(house.get("/agent/v1/leds").await.json(), expected);
}

#[tokio::test]
async fn the_board_is_told_as_it_was_found() {
    let mut house = House::new();
    house.say(|status| {
        status.device.board = BoardFacts {
            id: Some("raspberry-pi-3-b".to_owned()),
            name: Some("Raspberry Pi 3 Model B".to_owned()),
            recognised: "Raspberry Pi 3 Model B, by its model".to_owned(),
            compatible: vec!["raspberrypi,3-model-b".to_owned()],
            led: Some("ACT".to_owned()),
            why: "it is the board's own".to_owned(),
            passed_over: vec![("PWR".to_owned(), "it shows the power".to_owned())],
            others: vec!["mmc0".to_owned()],
            ..BoardFacts::default()
        };
    });
    let expected = json!({
        "id": "raspberry-pi-3-b",
        "name": "Raspberry Pi 3 Model B",
        "recognised": "Raspberry Pi 3 Model B, by its model",
        "perhaps": [],
        "complaint": null,
        "model": null,
        "compatible": ["raspberrypi,3-model-b"],
        "simulated": false,
        "led": "ACT",
        "led_why": "it is the board's own",
        "passed_over": [{"name": "PWR", "why": "it shows the power"}],
        "others": ["mmc0"],
    });
    assert_eq!(house.get("/agent/v1/board").await.json(), expected);
}
