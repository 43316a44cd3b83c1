//! Reports that the cloud refuses.

use std::cell::RefCell;

use super::super::device::device_report;
use super::super::parts::{ReportAnswer, ReportOutcome, take_apart};
use super::model::{APP, ONE, TWO, running, shown};
use crate::sorted::SortedMap;
use crate::state::cloud::{AppReport, DeviceReport, ReleaseReport, ReportValue};

const REFUSED: (u16, &str) = (401, "Unauthorized");

/// Takes a report apart, of which the cloud refuses what `refuses` says. Returns how many parts were sent, too.
async fn taken_apart(report: DeviceReport, refuses: impl Fn(&DeviceReport) -> Option<u16>) -> (ReportOutcome, Vec<String>) {
    let sent = RefCell::new(Vec::new());
    let answer = async |part: DeviceReport| {
        sent.borrow_mut().push(shown(&part));
        match refuses(&part) {
            Some(0) => ReportAnswer::Failed("no route".to_owned()),
            Some(status) => ReportAnswer::Refused(status, "no".to_owned()),
            None => ReportAnswer::Accepted,
        }
    };
    let probe = ("status", ReportValue::Text("Idle".to_owned()));
    let outcome = take_apart(report, (REFUSED.0, REFUSED.1.to_owned()), probe, answer).await;
    (outcome, sent.into_inner())
}

fn refused_parts(outcome: &ReportOutcome) -> Vec<String> {
    outcome.refused.iter().map(|(part, _)| part.to_string()).collect()
}

fn whole() -> DeviceReport {
    device_report(&running(ONE, &["main", "side", "third", "fourth"]))
}

#[tokio::test]
async fn a_field_that_is_refused_keeps_no_other_back() {
    let (outcome, sent) = taken_apart(whole(), |part| part.fields.contains_key("os_version").then_some(400)).await;
    assert_eq!(refused_parts(&outcome), ["os_version"]);
    let mut rest = whole();
    rest.fields.remove("os_version");
    assert_eq!(outcome.accepted, rest);
    assert!(sent.len() <= 12, "{} parts: {sent:#?}", sent.len());
}

#[tokio::test]
async fn a_service_whose_image_is_unknown_keeps_no_other_back() {
    let has_side =
        |part: &DeviceReport| part.apps.values().flat_map(|it| it.releases.values()).any(|it| it.services.contains_key("side"));
    let (outcome, sent) = taken_apart(whole(), |part| has_side(part).then_some(401)).await;
    assert_eq!(refused_parts(&outcome), [format!("app {APP} service side")]);
    // The last part has all that is accepted: the cloud takes what is missing for deleted.
    let last = "app 797e runs 19c4 19c4:done fourth=Running main=Running third=Running";
    assert_eq!(sent.last().map(String::as_str), Some(last));
    assert_eq!(shown(&DeviceReport { apps: outcome.accepted.apps, ..DeviceReport::default() }), last);
    assert_eq!(outcome.accepted.fields, whole().fields);
}

#[tokio::test]
async fn a_deleted_release_is_found_in_a_few_requests() {
    let mut report = whole();
    report.fields = SortedMap::new();
    let (outcome, sent) = taken_apart(report, |part| (!part.apps.is_empty()).then_some(401)).await;
    assert_eq!(refused_parts(&outcome), [format!("app {APP}")]);
    assert_eq!(shown(&outcome.accepted), "status=Idle");
    // The device by one field, the app, its release without services.
    assert_eq!(
        sent,
        [
            "status=Idle",
            "app 797e runs 19c4 19c4:done fourth=Running main=Running side=Running third=Running",
            "app 797e runs 19c4 19c4:done"
        ]
    );
}

#[tokio::test]
async fn a_rejected_release_that_is_unknown_leaves_the_running_one() {
    let mut report = whole();
    let rejected = ReleaseReport { update_status: Some("rejected"), services: SortedMap::new() };
    report.apps.get_mut(APP).unwrap().releases.insert(TWO.to_owned(), rejected);
    let (outcome, _) =
        taken_apart(report, |part| part.apps.values().any(|it| it.releases.contains_key(TWO)).then_some(401)).await;
    assert_eq!(refused_parts(&outcome), [format!("app {APP} release {TWO}")]);
    assert_eq!(outcome.accepted, whole());
}

#[tokio::test]
async fn an_unknown_app_keeps_no_other_back() {
    let mut report = whole();
    report.apps.insert("eee".to_owned(), AppReport::default());
    let (outcome, sent) = taken_apart(report, |part| part.apps.contains_key("eee").then_some(401)).await;
    assert_eq!(refused_parts(&outcome), ["app eee"]);
    assert_eq!(outcome.accepted, whole());
    assert_eq!(sent.len(), 3, "{sent:#?}");
}

#[tokio::test]
async fn a_device_that_is_unknown_is_recognized_by_one_request() {
    let (outcome, sent) = taken_apart(whole(), |_| Some(401)).await;
    assert_eq!(refused_parts(&outcome), ["device"]);
    assert!(outcome.accepted.is_empty());
    assert_eq!(sent.len(), 1);
}

#[tokio::test]
async fn parts_that_are_refused_only_together_are_refused_as_their_app() {
    let services =
        |part: &DeviceReport| part.apps.values().flat_map(|it| it.releases.values()).map(|it| it.services.len()).sum::<usize>();
    let (outcome, _) = taken_apart(whole(), |part| (services(part) > 1).then_some(401)).await;
    assert_eq!(refused_parts(&outcome), [format!("app {APP}")]);
    assert!(outcome.accepted.apps.is_empty());
}

#[tokio::test]
async fn an_answer_that_is_missing_ends_it_and_keeps_what_is_known() {
    let (outcome, _) = taken_apart(whole(), |part| if part.apps.is_empty() { None } else { Some(0) }).await;
    assert_eq!((outcome.failed.as_deref(), outcome.refused.len()), (Some("no route"), 0));
    assert_eq!(outcome.accepted, DeviceReport { fields: whole().fields, ..DeviceReport::default() });
}
