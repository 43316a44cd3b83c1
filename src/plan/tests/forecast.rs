//! What would be done, forecast.

use super::model::{parse_device, parse_target};
use crate::plan::forecast;
use crate::state::{AppId, Current, DataDemand, DataPlan, Overrides, Step, VolumeSnapshot};

fn told(target: &str, device: &str) -> String {
    told_of(target, &parse_device(device))
}

fn told_of(target: &str, current: &Current) -> String {
    let forecast = forecast(&parse_target(target), &Overrides::default(), current);
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

/// Whether these steps are forecast, in this order.
fn follow(told: &str, steps: &[&str]) -> bool {
    let places: Vec<_> = steps.iter().map(|it| told.find(it)).collect();
    places.iter().all(Option::is_some) && places.is_sorted()
}

#[test]
fn data_of_volumes_is_copied_before_a_release_and_put_back_once() {
    let app = AppId(1);
    let mut current = parse_device("db db:1 running volume:data\nvolume data\nimage db:2");
    let demand = DataDemand::Keep(["data".to_owned()].into());
    current.data.insert(app, DataPlan { demand, ..DataPlan::default() });
    let told = told_of("db db:2 volume:data", &current);
    assert!(follow(&told, &["kill 1/db", "copy the data of volume 1_data", "start 1/db", "unlock 1"]), "{told}");
    let (demand, kept) = (DataDemand::PutBack(["data".to_owned()].into()), ["data".to_owned()].into());
    current.data.insert(app, DataPlan { demand, kept, ..DataPlan::default() });
    let snapshot = VolumeSnapshot::engine_name(app, "data");
    current.snapshots.push(VolumeSnapshot { name: snapshot.clone(), app, volume: "data".to_owned() });
    let told = told_of("db db:2 volume:data", &current);
    let removal = format!("remove volume {snapshot}");
    assert!(follow(&told, &["kill 1/db", "put the data of volume 1_data back", &removal, "unlock 1"]), "{told}");
    assert_eq!(told.matches("the data of volume").count(), 1, "{told}");
}
