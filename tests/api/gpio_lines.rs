//! The GPIO lines that the board leaves to its owner.

use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::state::{
    FreeLineInfo, HeldPattern, LedActivity, LedOwner, LedPurpose, LedRef, LedRefusal, LineDirection, LineHolder, Player,
};
use serde_json::json;
use tokio::time::Instant;

use crate::test_device::TestDevice;

const GPIO17: &str = "/agent/v1/lines/GPIO17/pattern";

fn line(name: &str, holder: LineHolder) -> FreeLineInfo {
    FreeLineInfo {
        name: name.to_owned(),
        place: "pin 11 of the header".to_owned(),
        chip: "gpiochip0".to_owned(),
        offset: 17,
        direction: LineDirection::Input,
        holder,
    }
}

#[tokio::test(start_paused = true)]
async fn the_lines_are_listed_with_what_holds_them() {
    let mut device = TestDevice::new();
    assert_eq!(device.get("/agent/v1/lines").await.json(), json!({"lines": []}));
    let owner = LedOwner { purpose: LedPurpose::Pattern, until: Some(Instant::now() + Duration::from_secs(7)) };
    let ours = LedActivity { owners: vec![owner], player: Some(Player::Agent), pattern: None, trouble: None };
    device.lines = Ok(vec![
        (line("GPIO17", LineHolder::None), LedActivity::default()),
        (line("GPIO22", LineHolder::Agent), ours),
        (line("GPIO23", LineHolder::Other(Some("spi0 CS1".to_owned()))), LedActivity::default()),
        (line("GPIO24", LineHolder::Other(None)), LedActivity::default()),
    ]);
    let body = device.get("/agent/v1/lines").await.json();
    let first = json!({
        "name": "GPIO17", "place": "pin 11 of the header", "chip": "gpiochip0", "offset": 17, "direction": "input",
        "in_use": false, "consumer": null, "owner": null, "purposes": [], "player": null, "pattern": null, "pattern_milliseconds": null, "trouble": null,
    });
    assert_eq!(body["lines"][0], first);
    let held = |n: usize| (body["lines"][n]["in_use"].clone(), body["lines"][n]["consumer"].clone());
    assert_eq!(held(1), (json!(false), json!(null)), "what the agent holds can be driven");
    assert_eq!(body["lines"][1]["purposes"], json!([{"purpose": "pattern", "seconds_left": 7}]));
    assert_eq!(held(2), (json!(true), json!("spi0 CS1")));
    assert_eq!(held(3), (json!(true), json!(null)));
}

#[tokio::test(start_paused = true)]
async fn a_line_is_driven_as_a_led_is() {
    let mut device = TestDevice::new();
    device.holds = Ok(HeldPattern { led: "GPIO17".to_owned(), owner: LedPurpose::Pattern, player: Some(Player::Agent) });
    let got = device.post(GPIO17, "{\"pattern\": \"500,500\", \"seconds\": 10}").await;
    let expected =
        json!({"led": "GPIO17", "pattern": "+500 -500 ms", "seconds_left": 10, "owner": "pattern", "player": "agent"});
    assert_eq!((got.status, got.json()), (StatusCode::OK, expected));
    assert_eq!(device.delete(GPIO17).await.status, StatusCode::NO_CONTENT);
    let which = || LedRef::Line("GPIO17".to_owned());
    let pattern = "500,500".parse().unwrap();
    assert_eq!(device.held, [(which(), Some((pattern, Duration::from_secs(10)))), (which(), None)]);
}

#[tokio::test(start_paused = true)]
async fn why_a_line_is_not_driven_has_a_number_for_programs() {
    let mut device = TestDevice::new();
    for (refusal, status) in [
        (LedRefusal::NoLed("there is no GPIO line `GPIO17`".to_owned()), StatusCode::NOT_FOUND),
        (LedRefusal::Busy("GPIO17 is held by spi0".to_owned()), StatusCode::CONFLICT),
        (LedRefusal::Failed("may not open /dev/gpiochip0".to_owned()), StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        device.holds = Err(refusal.clone());
        let got = device.post(GPIO17, "{\"pattern\": \"200,200\"}").await;
        assert_eq!((got.status, got.message()), (status, refusal.to_string()));
        assert_eq!(device.delete(GPIO17).await.status, status);
    }
    let got = device.post(GPIO17, "{\"pattern\": \"1,1\"}").await;
    assert_eq!((got.status, got.message()), (StatusCode::BAD_REQUEST, "pattern: a step lasts at least 20 ms".to_owned()));
    device.lines = Err(LedRefusal::Failed("may not list the GPIO chips".to_owned()));
    let got = device.get("/agent/v1/lines").await;
    assert_eq!((got.status, got.message()), (StatusCode::INTERNAL_SERVER_ERROR, "may not list the GPIO chips".to_owned()));
}
