//! What a slip in a document must not do: remove, open or change what its owner did not mean.

use super::parse;

#[test]
fn a_second_empty_apps_removes_nothing_but_is_refused() {
    for (twice, path) in [
        (r#"{"local": {"apps": {"1": {}}, "apps": {}}}"#, "local.apps: is there twice"),
        (r#"{"apps": {}, "apps": {}}"#, "apps: is there twice"),
        (r#"{"aa": {"apps": {"u": {"id": 1, "releases": {"c": {}, "c": {}}}}}}"#, "aa.apps.u.releases.c: is there twice"),
        (
            r#"{"apps": {"1": {"commit": "c", "services": {"2": {"image": "x", "image": "y"}}}}}"#,
            "apps.1.services.2.image: is there",
        ),
    ] {
        let why = parse(twice, None).unwrap_err().0;
        assert!(why.starts_with(path) && why.contains("line 1"), "{why}");
    }
}
