use hyper::header::HeaderValue;

use super::*;

fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> CloudAnswer {
    let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
    CloudAnswer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: headers.collect(),
        body: ReadBody { bytes: body.as_bytes().to_vec(), is_cut: false },
    }
}

fn judged(answer: CloudAnswer) -> Result<CloudAnswer, CloudError> {
    answer.judged(&Endpoint::parse("http://api.example.com").unwrap(), &[&Secret::new("s3cret".to_owned())])
}

fn why(body: &str) -> String {
    match judged(answer(400, &[], body)).unwrap_err() {
        CloudError::Refused { why, .. } => why,
        other => panic!("{other}"),
    }
}

#[test]
fn a_refusal_says_in_one_line_what_the_body_says() {
    for (body, expected) in [
        ("\"UUID must be specified\"", "UUID must be specified"),
        ("{\"error\": \"API key required\"}", "API key required"),
        ("{\"message\": \"no\", \"status\": \"failed\"}", "no"),
        ("{\"error\": {\"message\": \"deep\"}}", "deep"),
        ("\"uuid\" must be unique.", "\"uuid\" must be unique."),
        ("a\r\n\tb\0c", "a b c"),
        ("", "Bad Request"),
        ("<html><head><TITLE>502 Bad\nGateway</TITLE></head>", "502 Bad Gateway"),
        ("<html>", "Bad Request"),
        ("no such key s3cret here", "no such key … here"),
        ("[1]", "[1]"),
    ] {
        assert_eq!(why(body), expected, "{body}");
    }
    assert_eq!(why(&"é".repeat(1000)).chars().count(), WHY_CHARS);
}

#[test]
fn a_wait_is_in_seconds_or_until_a_date_by_the_servers_clock() {
    let wait = |headers: &[_]| match judged(answer(503, headers, "")).unwrap_err() {
        CloudError::Refused { status: 503, retry_after, .. } => retry_after,
        other => panic!("{other}"),
    };
    let date = ("date", "Mon, 23 Nov 2026 12:06:12 GMT");
    assert_eq!(wait(&[]), None);
    assert_eq!(wait(&[("retry-after", "25")]), Some(Duration::from_secs(25)));
    assert_eq!(wait(&[("retry-after", "18446744073709551615")]), Some(LONGEST_WAIT));
    assert_eq!(wait(&[date, ("retry-after", "Mon, 23 Nov 2026 12:07:12 GMT")]), Some(Duration::from_secs(60)));
    assert_eq!(wait(&[date, ("retry-after", "Mon, 23 Nov 2026 12:00:00 GMT")]), Some(Duration::ZERO));
    assert_eq!(wait(&[("retry-after", "Mon, 23 Nov 2099 12:00:00 GMT")]), Some(LONGEST_WAIT));
    assert_eq!(wait(&[("retry-after", "soon")]), None);
    assert_eq!(wait(&[("retry-after", "-1")]), None);
}

#[test]
fn a_redirect_is_not_followed_and_names_the_host() {
    let to = |status, place: &str| match judged(answer(status, &[("location", place)], "")).unwrap_err() {
        CloudError::Foreign(why) => why,
        other => panic!("{other}"),
    };
    assert!(to(301, "https://api.example.com/device/v3").contains("write https://api.example.com as apiEndpoint"));
    for status in [301, 302, 303, 307, 308] {
        let why = to(status, "https://elsewhere.example.com:8443/?key=x");
        assert!(why.contains("elsewhere.example.com:8443") && !why.contains("key=x"), "{why}");
    }
    assert!(to(302, "/login").contains("redirects to http://api.example.com"));
    assert!(matches!(judged(answer(301, &[], "")), Err(CloudError::Foreign(_))));
    assert!(matches!(judged(answer(302, &[], "")), Err(CloudError::Refused { status: 302, .. })));
    assert!(judged(answer(304, &[], "")).is_ok());
}

#[test]
fn a_page_is_no_answer_of_a_cloud() {
    for (kind, body) in [("text/html", "<p>Welcome"), ("", "\n<!DOCTYPE html>"), ("application/json", "<HTML>")] {
        assert!(matches!(judged(answer(200, &[("content-type", kind)], body)), Err(CloudError::Foreign(_))), "{body}");
    }
    assert!(matches!(judged(answer(511, &[], "")), Err(CloudError::Foreign(_))));
    assert!(judged(answer(200, &[("content-type", "text/html; charset=utf-8")], "OK")).is_ok());
    assert!(matches!(judged(answer(502, &[], "<html>")), Err(CloudError::Refused { status: 502, .. })));
}

#[test]
fn a_connection_is_kept_as_long_as_the_server_keeps_it() {
    let kept = |headers: &[_]| answer(200, headers, "").kept_for();
    assert_eq!(kept(&[("connection", "keep-alive"), ("keep-alive", "timeout=5")]), Some(Duration::from_secs(5)));
    assert_eq!(kept(&[("keep-alive", "max=3, timeout=18446744073709551615")]), Some(KEPT));
    assert_eq!(kept(&[]), Some(KEPT));
    assert_eq!(kept(&[("connection", "Close")]), None);
}
