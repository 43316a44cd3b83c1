//! Update windows in documents: a label of a service, and a setting of the device.

use super::*;
use crate::state::window::UPDATE_WINDOW_SETTING;

fn document(label: &str, setting: &str) -> String {
    let labels = format!(r#"{{"io.boardkeeper.update-window": {label:?}, "own": "1"}}"#);
    let service = format!(r#"{{"serviceName": "web", "image": "web:1", "labels": {labels}}}"#);
    let app = format!(r#"{{"name": "a", "commit": "c", "releaseId": 1, "services": {{"1": {service}}}}}"#);
    format!(
        r#"{{"local": {{"name": "d", "config": {{"RESIN_SUPERVISOR_UPDATE_WINDOW": {setting:?}}}, "apps": {{"1": {app}}}}}}}"#
    )
}

#[test]
fn a_window_is_read_from_its_label_and_is_no_part_of_the_container() {
    let target = parse(&document(" Mon-Fri 02:00-04:00 Europe/Berlin", "reboot"), None).unwrap();
    let service = &target.apps[&AppId(1)].services[&"web".to_owned()];
    assert_eq!(service.update_window.as_ref().unwrap().text, "Mon-Fri 02:00-04:00 Europe/Berlin");
    assert_eq!(service.config.labels.keys().collect::<Vec<_>>(), ["own"]);
    assert_eq!(target.config[&UPDATE_WINDOW_SETTING.to_owned()], "reboot");
    assert!(target.warnings.is_empty(), "{:?}", target.warnings);
}

#[test]
fn a_window_that_is_none_is_a_mistake_with_its_place() {
    let said = |label, setting| parse(&document(label, setting), None).unwrap_err().to_string();
    let of_service = said("02:00-25:00", "reboot");
    assert!(of_service.contains("services.1") && of_service.contains("the label io.boardkeeper.update-window"), "{of_service}");
    assert!(of_service.contains("`25:00` is no time from 00:00 to 24:00"), "{of_service}");
    let of_device = said("reboot", "nightly");
    assert!(of_device.contains("config.RESIN_SUPERVISOR_UPDATE_WINDOW") && of_device.contains("`nightly`"), "{of_device}");
}
