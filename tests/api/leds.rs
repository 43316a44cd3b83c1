//! Identifying the device, and what the API reports of the board and its LED.

use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::state::{
    BoardFacts, BoardLed, BoardOutline, BoardPart, HeldPattern, IdentifyOutcome, LedActivity, LedInfo, LedOwner, LedPurpose,
    LedRef, LedRefusal, Player,
};
use serde_json::json;
use tokio::time::{Instant, advance};

use crate::test_device::{Response, TestDevice};

async fn blink(device: &mut TestDevice) -> (String, Duration) {
    let before = Instant::now();
    let Response { status, headers, body, .. } = device.post("/v1/blink", "").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, ""));
    (headers["identify-led"].to_str().unwrap().to_owned(), before.elapsed())
}

#[tokio::test(start_paused = true)]
async fn blinking_says_in_a_header_which_led_it_is() {
    let mut device = TestDevice::new();
    assert_eq!(blink(&mut device).await, ("ACT".to_owned(), Duration::ZERO));
    device.identifies = Some(IdentifyOutcome::None("this board has no LED\n\u{1f4a1}".to_owned()));
    assert_eq!(blink(&mut device).await, ("none; this board has no LED??".to_owned(), Duration::ZERO));
    device.identifies = Some(IdentifyOutcome::Waiting("ACT".to_owned()));
    assert_eq!(blink(&mut device).await.0, "ACT; after the bring-up test");
    assert_eq!(device.asked, [], "the reconciler has no part in it");
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_does_not_answer_is_waited_for_one_second() {
    let mut device = TestDevice::new();
    device.identifies = None;
    for _ in 0..4 {
        let (led, took) = blink(&mut device).await;
        assert_eq!(took, Duration::from_secs(1));
        assert!(led.starts_with("none; its driver has not answered within a second"), "{led}");
    }
    device.end();
    assert_eq!(blink(&mut device).await, ("none; the agent is stopping".to_owned(), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_hangs_costs_the_report_what_leds_show_and_no_more() {
    let mut device = TestDevice::new();
    device.show(|it| it.led = Ok(LedInfo { name: "ACT".to_owned(), why: "it is the only one".to_owned() }));
    assert_eq!(device.get("/agent/v1/leds").await.json()["lit"], true);
    device.identifies = None;
    let before = Instant::now();
    let got = device.get("/agent/v1/leds").await;
    assert_eq!((got.status, &got.json()["lit"], &got.json()["led"]["name"]), (StatusCode::OK, &json!(null), &json!("ACT")));
    assert_eq!(before.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_led_is_reported_with_its_owner_and_for_how_long() {
    let mut device = TestDevice::new();
    let nothing = json!({
        "led": null, "why_none": "not looked for yet", "lit": null, "owner": null, "purposes": [], "player": null, "pattern": null,
        "pattern_milliseconds": null, "trouble": null, "others": [],
    });
    assert_eq!(device.get("/agent/v1/leds").await.json(), nothing);
    let until = Instant::now() + Duration::from_secs(15);
    device.show(|led_status| {
        led_status.led = Ok(LedInfo { name: "ACT".to_owned(), why: "the board's file says so".to_owned() });
        led_status.shows.owners = vec![
            LedOwner { purpose: LedPurpose::Identify, until: Some(until) },
            LedOwner { purpose: LedPurpose::Offline, until: None },
        ];
        led_status.shows.player = Some(Player::Kernel);
        led_status.shows.pattern = Some(("200,200".parse().unwrap(), until - Duration::from_secs(15)));
        led_status.shows.trouble = Some("it was busy".to_owned());
        let shows = LedActivity {
            owners: vec![LedOwner { purpose: LedPurpose::Pattern, until: Some(until) }],
            ..LedActivity::default()
        };
        led_status.others = vec![(LedInfo { name: "PWR".to_owned(), why: "it is red".to_owned() }, shows)];
    });
    advance(Duration::from_millis(4_500)).await;
    let expected = json!({
        "led": {"name": "ACT", "why": "the board's file says so"},
        "why_none": null,
        "lit": true,
        "owner": "identify",
        "purposes": [{"purpose": "identify", "seconds_left": 11}, {"purpose": "no-connectivity", "seconds_left": null}],
        "player": "kernel",
        "pattern": "+200 -200 ms",
        "pattern_milliseconds": 4500,
        "trouble": "it was busy",
        "others": [{
            "name": "PWR",
            "why": "it is red",
            "lit": null,
            "owner": "pattern",
            "purposes": [{"purpose": "pattern", "seconds_left": 11}],
            "player": null,
            "pattern": null,
            "pattern_milliseconds": null,
            "trouble": null,
        }],
    });
    assert_eq!(device.get("/agent/v1/leds").await.json(), expected);
}

#[tokio::test]
async fn the_board_is_reported_as_it_was_detected() {
    let mut device = TestDevice::new();
    device.say(|status| {
        status.device.board = BoardFacts {
            id: Some("raspberry-pi-3-b".to_owned()),
            name: Some("Raspberry Pi 3 Model B".to_owned()),
            recognised: "Raspberry Pi 3 Model B, by its model".to_owned(),
            compatible: vec!["raspberrypi,3-model-b".to_owned()],
            led: Some("ACT".to_owned()),
            why: "it is the board's own".to_owned(),
            passed_over: vec![("PWR".to_owned(), "it shows the power".to_owned())],
            others: vec!["mmc0".to_owned()],
            outline: Some(BoardOutline {
                width_mm: 85,
                height_mm: 56,
                parts: vec![BoardPart { kind: "usb", x_mm: 68, y_mm: 2, width_mm: 17, height_mm: 14 }],
            }),
            leds: vec![BoardLed {
                name: "led0".to_owned(),
                label: Some("ACT"),
                role: "identify".to_owned(),
                colour: Some("green"),
                place: "beside the power socket".to_owned(),
                at_mm: Some((2, 45)),
            }],
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
        "outline": {
            "width_mm": 85, "height_mm": 56,
            "parts": [{"kind": "usb", "x_mm": 68, "y_mm": 2, "width_mm": 17, "height_mm": 14}],
        },
        "leds": [{
            "name": "led0", "label": "ACT", "role": "identify", "colour": "green", "place": "beside the power socket",
            "at": {"x_mm": 2, "y_mm": 45},
        }],
    });
    assert_eq!(device.get("/agent/v1/board").await.json(), expected);
}

const ACT: &str = "/agent/v1/leds/ACT/pattern";

#[tokio::test(start_paused = true)]
async fn a_pattern_is_held_for_as_long_as_was_asked_for() {
    let mut device = TestDevice::new();
    let got = device.post(ACT, "{\"pattern\": \"200,200x4,1000\", \"seconds\": 30}").await;
    let pattern = "+200 -200 +200 -200 +200 -200 +200 -1200 ms";
    let expected = json!({"led": "ACT", "pattern": pattern, "seconds_left": 30, "owner": "pattern", "player": "kernel"});
    assert_eq!((got.status, got.json()), (StatusCode::OK, expected));
    device.holds = Ok(HeldPattern { led: "USR 3".to_owned(), owner: LedPurpose::Identify, player: Some(Player::Kernel) });
    let got = device.post("/agent/v1/leds/usr%203/pattern", "{\"pattern\": \"20,1000\"}").await;
    assert_eq!((&got.json()["owner"], &got.json()["seconds_left"]), (&json!("identify"), &json!(60)));
    assert_eq!(device.delete("/agent/v1/leds/identify/pattern").await.status, StatusCode::NO_CONTENT);
    let asked = |name: &str, pattern: &str, secs| {
        (LedRef::Named(name.to_owned()), Some((pattern.parse().unwrap(), Duration::from_secs(secs))))
    };
    let callers: Vec<_> = device.requesters.iter().map(|it| it.words().to_owned()).collect();
    assert_eq!(callers, ["device key"; 3], "for the history");
    assert_eq!(device.held, [asked("ACT", "200,200x4,1000", 30), asked("usr 3", "20,1000", 60), (LedRef::Identify, None)]);
}

#[tokio::test(start_paused = true)]
async fn a_pattern_has_bounds_and_the_error_names_the_one_it_exceeds() {
    let mut device = TestDevice::new();
    let long = "1".repeat(200);
    for (body, why) in [
        ("", "pattern: it is missing"),
        ("{\"pattern\": 200}", "pattern: it is missing"),
        ("{\"pattern\": \"\"}", "pattern: a pattern is written"),
        ("{\"pattern\": \"0,0\"}", "pattern: a pattern needs a step"),
        ("{\"pattern\": \"200,200x17\"}", "pattern: a pattern has at most 32 steps"),
        ("{\"pattern\": \"19,200\"}", "pattern: a step lasts at least 20 ms"),
        ("{\"pattern\": \"200,65535x1,1\"}", "pattern: a step of a pattern lasts at most 65535 ms"),
        (&format!("{{\"pattern\": \"{long},1\"}}"), "pattern: a pattern is written"),
        ("{\"pattern\": \"200,200\", \"seconds\": 0}", "seconds: a whole number from 1 to 3600"),
        ("{\"pattern\": \"200,200\", \"seconds\": 3601}", "seconds: a whole number from 1 to 3600"),
        ("{\"pattern\": \"200,200\", \"seconds\": -1}", "seconds: a whole number from 1 to 3600"),
        ("{\"pattern\": \"200,200\", \"seconds\": null}", "seconds: a whole number from 1 to 3600"),
        ("{\"pattern\": \"200,200\", \"seconds\": 1.5}", "seconds: a whole number from 1 to 3600"),
        ("{\"pattern\": \"200,200\", \"seconds\": 1e300}", "seconds: a whole number from 1 to 3600"),
    ] {
        let got = device.post(ACT, body).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(got.message().starts_with(why), "{body}: {}", got.message());
    }
    assert_eq!(device.held, []);
}

#[tokio::test(start_paused = true)]
async fn why_no_pattern_is_held_has_a_number_for_programs() {
    let mut device = TestDevice::new();
    let why = || "PWR is held by a driver".to_owned();
    for (not_held, status) in [
        (LedRefusal::NoLed(why()), StatusCode::NOT_FOUND),
        (LedRefusal::Guarded(why()), StatusCode::FORBIDDEN),
        (LedRefusal::Busy(why()), StatusCode::CONFLICT),
        (LedRefusal::Failed(why()), StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        device.holds = Err(not_held);
        let got = device.post(ACT, "{\"pattern\": \"200,200\"}").await;
        assert_eq!((got.status, got.message()), (status, why()));
        assert_eq!(device.delete(ACT).await.status, status);
    }
    device.identifies = None;
    let got = device.post(ACT, "{\"pattern\": \"200,200\"}").await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(got.message().starts_with("its driver has not answered within a second"), "{}", got.message());
}
