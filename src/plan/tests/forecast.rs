//! What would be done, forecast.

use super::model::{parse_device, parse_target};
use crate::plan::forecast;
use crate::state::{Overrides, Step};

fn told(target: &str, device: &str) -> String {
    let forecast = forecast(&parse_target(target), &Overrides::default(), &parse_device(device));
    let waves = forecast.waves.iter().map(|it| it.iter().map(Step::to_string).collect::<Vec<_>>().join(", "));
    waves.chain(forecast.waiting.iter().map(|it| format!("… {it}"))).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_forecast_goes_on_until_nothing_is_left() {
    assert_eq!(
        told("main m after:db volume:data\ndb d", ""),
        concat!(
            "pull d:latest, pull m:latest, create network app_default, create volume 1_data\n",
            "create 1/db from d:latest, create 1/main from m:latest\n",
            "start 1/db\n",
            "start 1/main",
        )
    );
    assert_eq!(told("main m", "image m\nmain m running"), "");
}

#[test]
fn a_job_that_is_waited_for_completes() {
    let told = told("main m completed:job\njob j rests", "image m\nimage j");
    assert!(told.ends_with("start 1/job\nstart 1/main"), "{told}");
}
