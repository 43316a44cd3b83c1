//! What differs between two targets.

use std::time::Duration;

use super::model::parse_target;
use crate::plan::changes;
use crate::state::field_changes::field_changes;
use crate::state::{AppId, ServiceKey};

#[test]
fn what_changed_about_a_service_is_named() {
    let before = parse_target("web web:1\ndb db:1\nold old:1");
    let now = parse_target("web web:2 env:new\ndb db:1\nnew new:1");
    let changed: Vec<_> = changes(&before, &now).into_iter().map(|(key, it)| (key, it.len(), it[0].to_string())).collect();
    let image = "image: `web:1` became `web:2`".to_owned();
    assert_eq!(changed, [(ServiceKey::new(AppId(1), "web"), 2, image)]);
    assert_eq!(changes(&now, &now), []);
}

#[test]
fn what_changed_has_both_values() {
    let target = parse_target("web web:1");
    let (_, _, before) = target.services().next().expect("there is one");
    let mut now = before.clone();
    now.config.command = Some(vec!["serve".to_owned(), "--token=abc".to_owned()]);
    now.config.entrypoint = Some(vec!["/bin/a".to_owned(), "b".to_owned()]);
    now.config.stop_grace = Duration::from_secs(3);
    now.config.cap_add.insert("NET_ADMIN".to_owned());
    let shown: Vec<_> = field_changes(before, &now).iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "command: `••••` is new",
            "entrypoint: `/bin/a b` is new",
            "stop_grace: `10s` became `3s`",
            "cap_add: `NET_ADMIN` is new",
        ]
    );
    assert_eq!(field_changes(before, before), []);
}
