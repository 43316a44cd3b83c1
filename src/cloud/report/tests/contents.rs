//! What is in a report, and what of it is new.

use std::sync::Arc;

use super::super::device::device_report;
use super::super::difference::{MetricsTurn, News, Urgency, acknowledge, difference};
use super::model::{
    APP, ONE, TWO, act, add_image, change, container, image, json_bytes, key, pull, running, shown, target, trouble,
};
use crate::sorted::SortedMap;
use crate::state::cloud::{DeviceReport, ReportValue};
use crate::state::host::Capacity;
use crate::state::{
    Activity, ContainerId, ContainerPhase, ContainerRef, DownloadProgress, EngineAction, EngineState, FailedRelease, HeldLock,
    PowerAction, ReleaseTrial, Secret, ShutdownOrigin, ShutdownProgress, ShutdownStatus, Status, Step, Waiting,
};

/// The apps of a report, in one line.
fn apps(status: &Status) -> String {
    let report = device_report(status);
    shown(&DeviceReport { apps: report.apps, ..DeviceReport::default() })
}

fn field(status: &Status, name: &str) -> Option<ReportValue> {
    device_report(status).fields.remove(name)
}

/// The device's status, in one word.
fn word(status: &Status) -> String {
    match field(status, "status") {
        Some(ReportValue::Text(word)) => word,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_first_report_has_every_field_that_the_cloud_knows() {
    assert_eq!(
        shown(&device_report(&running(ONE, &["main"]))),
        "api_port=48484 api_secret=… cpu_id=0000000000000001 cpu_temp=48 cpu_usage=7 ip_address=10.0.0.5 fe80::1 \
         is_undervolted=false mac_address=02:42:AC:11:00:02 memory_total=926 memory_usage=120 os_variant=prod \
         os_version=balenaOS 6.4.0 provisioning_progress=null provisioning_state= status=Idle \
         storage_block_device=/dev/mmcblk0p6 storage_total=6000 storage_usage=300 supervisor_version=19.0.5 \
         app 797e runs 19c4 19c4:done main=Running"
    );
    let mut status = running(ONE, &["main"]);
    status.device_key = Some(Secret::new("5eca".repeat(8)));
    assert_eq!(field(&status, "api_secret"), status.device_key.clone().map(ReportValue::Secret));
    let shown = format!("{:?}", device_report(&status));
    assert!(!shown.contains("5eca"), "{shown}");
    let apps = device_report(&status).apps;
    assert_eq!(apps[&APP.to_owned()].releases[&ONE.to_owned()].services[&"main".to_owned()].image, image(ONE, "main").as_str());
}

#[tokio::test]
async fn texts_are_no_longer_than_the_cloud_takes_them() {
    let mut status = running(ONE, &[]);
    status.device.reported.os_version = "ü".repeat(100);
    status.device.reported.supervisor_version = "19.0.5+bk0.2.0-rc1-and-more".to_owned();
    status.device.ip_addresses = (0..200).map(|it| format!("2001:db8::{it:x}")).collect();
    status.device.mac_address = vec!["02:42:AC:11:00:02"; 80].join(" ");
    let length = |name: &str| match field(&status, name) {
        Some(ReportValue::Text(text)) => text.chars().count(),
        other => panic!("{other:?}"),
    };
    assert_eq!((length("os_version"), length("supervisor_version")), (70, 20));
    assert!((1980..=2000).contains(&length("ip_address")), "{}", length("ip_address"));
    // Fifty addresses of seventeen letters, with spaces: none is cut.
    assert_eq!(length("mac_address"), 899);
    status.device.ip_addresses.clear();
    assert_eq!(field(&status, "ip_address"), None);
}

#[tokio::test]
async fn a_device_that_goes_down_is_stopping() {
    let mut status = running(ONE, &[]);
    status.steps_in_flight = vec![pull(ONE, "main")];
    assert_eq!(word(&status), "Downloading");
    status.shutdown = ShutdownStatus::UnderWay {
        ending: Some(PowerAction::Reboot),
        by: ShutdownOrigin::Request,
        since: status.observed_at.unwrap(),
        progress: ShutdownProgress::Asked,
    };
    assert_eq!(word(&status), "Stopping");
}

#[tokio::test]
async fn metrics_that_are_off_are_cleared_and_the_voltage_stays() {
    let mut status = running(ONE, &[]);
    status.target = Some(target(ONE, &[], r#""RESIN_SUPERVISOR_HARDWARE_METRICS":"false""#));
    for name in ["cpu_usage", "cpu_temp", "memory_usage", "storage_total", "storage_block_device", "cpu_id"] {
        assert_eq!(field(&status, name), Some(ReportValue::Null), "{name}");
    }
    assert_eq!(field(&status, "is_undervolted"), Some(ReportValue::Flag(false)));
}

/// An update from one release to another, in the order in which it happens.
#[tokio::test]
async fn an_update_is_told_in_the_words_of_other_supervisors() {
    let mut status = running(ONE, &["main", "side"]);
    status.target = Some(target(TWO, &["main", "side"], ""));
    // The release before is not named by the target any more.
    assert_eq!(apps(&status), "app 797e 28d5:downloading main=Downloading 0 % side=Downloading 0 %");
    status.steps_in_flight = vec![pull(TWO, "main")];
    status.progress = SortedMap::from_iter([(image(TWO, "main"), DownloadProgress::of_percent(37))]);
    add_image(&mut status, TWO, "side");
    assert_eq!(apps(&status), "app 797e 28d5:downloading main=Downloading 37 % side=Downloaded");
    add_image(&mut status, TWO, "main");
    (status.steps_in_flight, status.progress) = Default::default();
    let held = HeldLock { service: "main".to_owned(), path: "/lock".to_owned(), since_secs: 0 };
    status.waiting = vec![Waiting::Lock(key("main").app, held)];
    assert_eq!(apps(&status), "app 797e 28d5:downloaded main=Downloaded side=Downloaded");
    status.waiting.clear();
    status.steps_in_flight = vec![act(EngineAction::Kill, ONE, "main")];
    assert_eq!(apps(&status), "app 797e 28d5:applying changes main=Downloaded side=Downloaded");
    change(&mut status, |it| it.containers[0] = container(TWO, "main", ContainerPhase::Created));
    status.steps_in_flight = vec![act(EngineAction::Start, TWO, "main")];
    assert_eq!(apps(&status), "app 797e 28d5:applying changes main=Starting side=Downloaded");
    change(&mut status, |it| it.containers[0] = container(TWO, "main", ContainerPhase::Running));
    change(&mut status, |it| it.containers.push(container(TWO, "side", ContainerPhase::Created)));
    status.steps_in_flight.clear();
    assert_eq!(apps(&status), "app 797e 28d5:applying changes main=Running side=Installed");
    let old = ContainerRef { key: key("side"), id: ContainerId(format!("side of {ONE}")) };
    status.steps_in_flight = vec![Step::HandOver { old, timeout: std::time::Duration::from_secs(60) }];
    change(&mut status, |it| it.containers[2] = container(TWO, "side", ContainerPhase::Running));
    assert_eq!(apps(&status), "app 797e 28d5:applying changes main=Running side=Awaiting handover");
    status.steps_in_flight.clear();
    assert_eq!(apps(&status), "app 797e runs 28d5 28d5:done main=Running side=Running");
}

#[tokio::test]
async fn containers_have_the_engines_words() {
    for (phase, words) in [
        (ContainerPhase::Restarting, "runs 19c4 19c4:done main=restarting"),
        (ContainerPhase::Paused, "runs 19c4 19c4:done main=paused"),
        (ContainerPhase::Exited(3), "runs 19c4 19c4:done main=exited"),
        (ContainerPhase::Removing, "runs 19c4 19c4:done main=removing"),
        (ContainerPhase::Dead, "runs 19c4 19c4:done main=Dead"),
        (ContainerPhase::Created, "19c4:applying changes main=Installed"),
    ] {
        let mut status = running(ONE, &["main"]);
        change(&mut status, |it| it.containers[0].phase = phase);
        assert_eq!(apps(&status), format!("app 797e {words}"));
        status.activity = Activity::Settled;
        assert!(apps(&status).contains(":done"), "{}", apps(&status));
        status.steps_in_flight = vec![act(EngineAction::Stop, ONE, "main")];
        assert!(apps(&status).ends_with("main=Stopping"), "{}", apps(&status));
    }
}

/// A trial was returned from, and made its container anew.
#[tokio::test]
async fn a_service_that_a_person_stopped_is_done_with_a_container_that_never_ran() {
    let mut status = running(ONE, &["main"]);
    change(&mut status, |it| it.containers[0].phase = ContainerPhase::Created);
    assert_eq!(apps(&status), "app 797e 19c4:applying changes main=Installed");
    status.overrides.stopped.insert(key("main"));
    assert_eq!(apps(&status), "app 797e runs 19c4 19c4:done main=Installed");
}

#[tokio::test]
async fn a_release_whose_steps_fail_again_and_again_is_aborted() {
    let mut status = running(ONE, &["main", "side"]);
    status.target = Some(target(TWO, &["main", "side"], ""));
    add_image(&mut status, TWO, "side");
    let downloading = "app 797e 28d5:downloading main=Downloading 0 % side=Downloaded";
    let aborted = "app 797e 28d5:aborted main=Aborted side=Downloaded";
    status.troubles = vec![trouble(pull(TWO, "main"), 1)];
    assert_eq!(apps(&status), downloading);
    status.troubles = vec![trouble(pull(TWO, "main"), 2)];
    assert_eq!(apps(&status), aborted);
    // A retry makes no report of its own before bytes arrive.
    status.steps_in_flight = vec![pull(TWO, "main")];
    assert_eq!(apps(&status), aborted);
    status.progress = SortedMap::from_iter([(image(TWO, "main"), DownloadProgress::of_percent(1))]);
    assert_eq!(apps(&status), downloading.replace(" 0 %", " 1 %"));
    // A container that does not start; one of another release, and an image that cannot be deleted, are no reason.
    let mut status = running(ONE, &["main"]);
    status.troubles = vec![trouble(Step::Engine(EngineAction::RemoveImage(image(TWO, "main"))), 9)];
    assert_eq!(apps(&status), "app 797e runs 19c4 19c4:done main=Running");
    change(&mut status, |it| it.containers[0].phase = ContainerPhase::Created);
    status.troubles = vec![trouble(act(EngineAction::Start, ONE, "main"), 2)];
    assert_eq!(apps(&status), "app 797e 19c4:aborted main=Installed");
}

#[tokio::test]
async fn a_release_on_trial_is_not_done_and_one_that_failed_is_aborted() {
    let app = key("").app;
    let mut status = running(ONE, &["main"]);
    status.releases.insert(app, ReleaseTrial::OnTrial(Vec::new()));
    assert_eq!(apps(&status), "app 797e 19c4:applying changes main=Running");
    status.releases.insert(app, ReleaseTrial::Good);
    assert_eq!(apps(&status), "app 797e runs 19c4 19c4:done main=Running");
    let failed = |commit: &str| {
        let (fingerprint, commit) = ("ab".to_owned(), Some(commit.to_owned()));
        Arc::new(FailedRelease { fingerprint, commit, at_secs: 0, cause: None, services: Vec::new() })
    };
    status.releases.insert(app, ReleaseTrial::RolledBack(failed(TWO), Some(ONE.to_owned())));
    assert_eq!(apps(&status), "app 797e runs 19c4 19c4:done main=Running 28d5:aborted");
    status.releases.insert(app, ReleaseTrial::Failed(failed(ONE)));
    assert_eq!(apps(&status), "app 797e 19c4:aborted main=Running");
}

#[tokio::test]
async fn only_apps_and_releases_that_the_cloud_named_are_reported() {
    let mut status = running(ONE, &["main"]);
    status.rejected_releases = SortedMap::from_iter([(APP.to_owned(), TWO.to_owned())]);
    assert_eq!(apps(&status), "app 797e runs 19c4 19c4:done main=Running 28d5:rejected");
    status.rejected_releases = SortedMap::from_iter([(APP.to_owned(), ONE.to_owned())]);
    assert_eq!(apps(&status), "app 797e runs 19c4 19c4:done main=Running");
    status.rejected_releases.clear();
    let mut local = status.clone();
    local.access.local_mode = true;
    assert_eq!(apps(&local), "");
    let mut down = status.clone();
    down.engine = EngineState::Unknown;
    assert_eq!(apps(&down), "");
    let mut numbered = Status::clone(&status);
    let mut target = (*status.target.clone().unwrap()).clone();
    target.apps.get_mut(&key("").app).unwrap().uuid = "24".to_owned();
    numbered.target = Some(target.into());
    assert_eq!(apps(&numbered), "");
}

fn difference_of(before: &Status, now: &Status) -> News {
    let mut acknowledged = DeviceReport::default();
    acknowledge(&mut acknowledged, device_report(before));
    difference(&acknowledged, &device_report(now), MetricsTurn::Now)
}

#[tokio::test]
async fn only_what_is_new_is_reported_and_the_apps_are_whole() {
    let before = running(ONE, &["main", "side"]);
    assert_eq!(difference_of(&before, &before), News::default());
    let mut now = before.clone();
    now.device.ip_addresses = vec!["10.0.0.6".to_owned()];
    let news = difference_of(&before, &now);
    assert_eq!((shown(&news.report).as_str(), news.urgency), ("ip_address=10.0.0.6", Urgency::Soon));
    let mut now = before.clone();
    change(&mut now, |it| it.containers[0].phase = ContainerPhase::Exited(1));
    let news = difference_of(&before, &now);
    let words = "app 797e runs 19c4 19c4:done main=exited side=Running";
    assert_eq!((shown(&news.report).as_str(), news.urgency), (words, Urgency::Soon));
    // An app that the target names no more takes its release along; nothing is said of the old one.
    let mut now = before.clone();
    now.target = Some(target(TWO, &["main"], ""));
    assert_eq!(shown(&difference_of(&before, &now).report), "app 797e 28d5:downloading main=Downloading 0 %");
    // While the engine is down the cloud keeps what it has.
    let mut now = before.clone();
    now.engine = EngineState::Unknown;
    assert_eq!(difference_of(&before, &now), News::default());
}

#[tokio::test]
async fn progress_alone_is_less_urgent() {
    let mut before = running(ONE, &["main"]);
    before.target = Some(target(TWO, &["main"], ""));
    before.steps_in_flight = vec![pull(TWO, "main")];
    let mut now = before.clone();
    now.progress = SortedMap::from_iter([(image(TWO, "main"), DownloadProgress::of_percent(50))]);
    assert_eq!(difference_of(&before, &now).urgency, Urgency::Progress);
    add_image(&mut now, TWO, "main");
    assert_eq!(difference_of(&before, &now).urgency, Urgency::Soon);
}

#[tokio::test]
async fn metrics_are_reported_by_steps() {
    let before = running(ONE, &["main"]);
    let with = |change: &dyn Fn(&mut Status)| {
        let mut now = before.clone();
        change(&mut now);
        let news = difference_of(&before, &now);
        (shown(&news.report), news.urgency)
    };
    let nothing = (String::new(), Urgency::Nothing);
    let mib = |free: u64, total: u64| Some(Capacity { free_bytes: free << 20, total_bytes: total << 20 });
    assert_eq!(with(&|it| it.metrics.cpu_percent = Some(26)), nothing);
    assert_eq!(with(&|it| it.metrics.cpu_percent = Some(27)), ("cpu_usage=27".to_owned(), Urgency::Metrics));
    assert_eq!(with(&|it| it.metrics.temperature_millicelsius = Some(52_400)), nothing);
    assert_eq!(with(&|it| it.metrics.temperature_millicelsius = Some(43_400)), ("cpu_temp=43".to_owned(), Urgency::Metrics));
    // Ten per cent of 926.
    assert_eq!(with(&|it| it.metrics.memory = mib(715, 926)), nothing);
    assert_eq!(with(&|it| it.metrics.memory = mib(714, 926)), ("memory_usage=212".to_owned(), Urgency::Metrics));
    assert_eq!(with(&|it| it.metrics.storage = mib(5200, 6000)), nothing);
    assert_eq!(with(&|it| it.metrics.storage = mib(5100, 6000)), ("storage_usage=900".to_owned(), Urgency::Metrics));
    assert_eq!(with(&|it| it.metrics.storage = mib(5700, 6001)).1, Urgency::Metrics);
    // One that has crossed its step takes the others along.
    let both = with(&|it| (it.metrics.cpu_percent, it.metrics.temperature_millicelsius) = (Some(90), Some(49_000)));
    assert_eq!(both, ("cpu_temp=49 cpu_usage=90".to_owned(), Urgency::Metrics));
    assert_eq!(with(&|it| it.metrics.undervolted = Some(true)), ("is_undervolted=true".to_owned(), Urgency::Soon));
    let off = with(&|it| it.target = Some(target(ONE, &["main"], r#""SUPERVISOR_HARDWARE_METRICS":"0""#)));
    assert_eq!(off.1, Urgency::Soon);
    assert!(off.0.starts_with("cpu_id=null cpu_temp=null cpu_usage=null memory_total=null"), "{}", off.0);
}

/// Ours are as long as those that were recorded, and what follows the first one is some hundred bytes, or none.
#[tokio::test]
async fn reports_are_small() {
    let before = running(ONE, &["main", "side"]);
    let bytes = |news: News| json_bytes(&news.report);
    let whole = device_report(&before);
    let fields = DeviceReport { fields: whole.fields.clone(), ..DeviceReport::default() };
    assert_eq!((json_bytes(&fields), json_bytes(&whole)), (516, 1022));
    let mut now = before.clone();
    now.metrics.cpu_percent = Some(90);
    now.metrics.temperature_millicelsius = Some(61_000);
    assert_eq!(bytes(difference_of(&before, &now)), 67);
    let mut now = before.clone();
    change(&mut now, |it| it.containers[0].phase = ContainerPhase::Exited(1));
    assert_eq!(bytes(difference_of(&before, &now)), 543);
}
