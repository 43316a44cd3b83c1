//! `pinDevice` of a preloaded document.

use super::*;
use crate::state::cloud::ReleasePin;

fn read(apps: &Value) -> (Option<ReleasePin>, bool) {
    let target = parse(&json!({"apps": apps, "pinDevice": true}).to_string(), None).unwrap();
    (target.pin, target.warnings.iter().any(|it| it.starts_with("pinDevice: ignored")))
}

#[test]
fn a_device_is_pinned_on_the_release_of_its_only_app_whatever_the_shape() {
    let pin = || Some(ReleasePin { fleet: 7, commit: "19c48bc".to_owned() });
    let releases = json!({"19c48bc": {"services": {"main": {"image": "x"}}}});
    let host = json!({"id": 9, "is_host": true, "releases": {"dead": {}}});
    let newer = json!({"a": {"id": 7, "releases": releases}, "h": host});
    let older = json!({"7": {"commit": "19c48bc", "services": {"1": {"serviceName": "main", "image": "x"}}}});
    let oldest = json!({"7": {"commit": "19c48bc", "image": "x"}});
    for apps in [newer, older, oldest] {
        assert_eq!(read(&apps), (pin(), false), "{apps}");
    }
    let several = json!({"a": {"id": 7, "releases": releases}, "b": {"id": 8, "releases": releases}});
    for apps in [several, json!({"a": {"id": 7}}), json!({})] {
        assert_eq!(read(&apps), (None, true), "{apps}");
    }
}
