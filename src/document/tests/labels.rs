//! Labels that only a supervisor sets.

use super::*;
use crate::sorted::SortedMap;

#[test]
fn a_document_cannot_give_the_labels_that_only_a_supervisor_gives() {
    let given = json!({"io.balena.app-id": "9", "io.resin.supervised": "1", "io.boardkeeper.config": "x", "mine": "yes"});
    let document = json!({"device": {"apps": {"b0a2": {"id": 1, "name": "a", "releases": {"c1": {"id": 1,
        "services": {"main": {"id": 1, "image_id": 1, "image": "app:1", "labels": given, "composition": {}}},
        "networks": {"back": {"labels": given}}, "volumes": {"data": {"labels": given}}}}}}}});
    let parsed = parse(&document.to_string(), None).unwrap();
    let app = app(&parsed, 1);
    let mine = SortedMap::from_iter([("mine".to_owned(), "yes".to_owned())]);
    assert_eq!(
        [
            &app.services[&"main".to_owned()].config.labels,
            &app.networks[&"back".to_owned()].labels,
            &app.volumes[&"data".to_owned()].labels
        ],
        [&mine; 3]
    );
    let warned = parsed.warnings.iter().filter(|it| it.contains("the supervisor's to give")).count();
    assert_eq!(warned, 9, "{:?}", parsed.warnings);
}
