use super::*;

fn document(created_secs: i64, content: &str) -> SignedDocument {
    SignedDocument { created_secs, fingerprint: content.to_owned() }
}

#[test]
fn the_first_and_every_newer_one_is_taken() {
    assert_eq!(document(5, "a").after(None), Ok(SignedOrder::Newer));
    assert_eq!(document(6, "b").after(Some(&document(5, "a"))), Ok(SignedOrder::Newer));
    // The content may be the same as before: to go back, it is signed again.
    assert_eq!(document(6, "a").after(Some(&document(5, "a"))), Ok(SignedOrder::Newer));
}

#[test]
fn the_same_one_is_no_news() {
    assert_eq!(document(5, "a").after(Some(&document(5, "a"))), Ok(SignedOrder::Same));
}

#[test]
fn an_older_one_is_refused_with_both_times_and_what_to_do() {
    let why = document(1_700_000_000, "a").after(Some(&document(1_795_446_245, "b"))).unwrap_err();
    assert_eq!(why, OutdatedDocument::Older { offered_secs: 1_700_000_000, accepted_secs: 1_795_446_245 });
    let words = why.to_string();
    assert!(words.contains("2023-11-14T22:13:20Z") && words.contains("2026-11-23T15:04:05Z"), "{words}");
    assert!(words.contains("sign the old content again"), "{words}");
}

#[test]
fn another_one_of_the_same_time_is_refused() {
    let why = document(5, "a").after(Some(&document(5, "b"))).unwrap_err();
    assert_eq!(why, OutdatedDocument::Ambiguous { created_secs: 5 });
    assert!(why.to_string().contains("1970-01-01T00:00:05Z") && why.to_string().contains("sign it again"), "{why}");
}

#[test]
fn the_time_is_read_as_minisign_writes_it_and_as_people_do() {
    for (comment, secs) in [
        ("timestamp:1732800000\tfile:target.json\thashed", 1_732_800_000),
        ("created:2026-11-23T15:04:05Z", 1_795_446_245),
        ("created:1732800000", 1_732_800_000),
        ("timestamp:0", 0),
        ("release 7 created:2000-02-29T12:34:56Z by me", 951_827_696),
        // What its author wrote counts, not when it was signed.
        ("timestamp:1732800000 created:1970-01-01T00:00:01Z", 1),
        ("timestamp:253402300799", LATEST_SECS),
    ] {
        assert_eq!(created_secs(comment), Ok(secs), "{comment}");
    }
}

#[test]
fn a_comment_without_a_time_is_said_with_what_to_do() {
    for comment in ["", "signature from minisign", "created at noon"] {
        let why = created_secs(comment).unwrap_err();
        assert!(why.contains("neither") && why.contains("minisign -S"), "{why}");
    }
    for text in [
        "2026-11-28",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:00+01:00",
        "1969-12-31T23:59:59Z",
        "253402300800",
        "99999999999999999999",
        "-5",
        "é026-01-01T00:00:00Z",
    ] {
        let why = created_secs(&format!("created:{text}")).unwrap_err();
        assert!(why.contains("is no time"), "{text}: {why}");
    }
    assert!(created_secs("created:").is_err());
}
