//! What is read of documents that are rejected.

use super::*;

#[test]
fn a_document_that_is_rejected_says_which_releases_it_names() {
    let releases = |text: &str| named_releases(text, Some("d")).into_iter().collect::<Vec<_>>();
    let pair = |app: &str, commit: &str| (app.to_owned(), commit.to_owned());
    let apps = r#""a": {"id": "no number", "releases": {"c0ffee": {"services": 7}}}, "b": {"id": 2}, "h": {"is_host": true,
        "releases": {"dead": {}}}, "2e66a95795c149959c69472a8c2f92b8": {"releases": {"beef": {}}}"#;
    let text = format!(r#"{{"d": {{"apps": {{{apps}}}}}, "e": {{"apps": {{"x": {{"releases": {{"f00d": {{}}}}}}}}}}}}"#);
    assert!(parse(&text, Some("d")).is_err());
    assert_eq!(releases(&text), [pair("a", "c0ffee")]);
    for unreadable in
        ["", "[", "7", "{}", r#"{"d": 7}"#, r#"{"d": {"apps": []}}"#, r#"{"d": {"apps": {"a": {"releases": []}}}}"#]
    {
        assert_eq!(releases(unreadable), [], "{unreadable}");
    }
}
