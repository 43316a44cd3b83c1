//! When reports are sent.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::super::ReportLinks;
use super::super::farewell::wait_for_farewell;
use super::model::{APP, ONE, ScriptedCloud, TWO, account, add_image, change, image, pull, refused, running, target};
use crate::cloud::jitter::Jitter;
use crate::cloud::pace::Pace;
use crate::cloud::report;
use crate::port::CloudError;
use crate::sorted::SortedMap;
use crate::state::cloud::{CloudStatus, PollOutcome, RefusedPart, Registration, Reporting, TargetOrigin};
use crate::state::{ContainerPhase, DownloadProgress, PowerAction, ShutdownOrigin, ShutdownProgress, ShutdownStatus, Status};

/// A device whose loop runs.
struct Lab {
    status: watch::Sender<Status>,
    polled: watch::Sender<u64>,
    request_refused: Notify,
    publish: watch::Sender<CloudStatus>,
}

impl Lab {
    /// Runs the loop while `story` goes on.
    async fn live(cloud: &ScriptedCloud, status: Status, story: impl AsyncFnOnce(&Self)) {
        Self::live_from(TargetOrigin::Cloud, cloud, status, story).await;
    }

    async fn live_from(targets_from: TargetOrigin, cloud: &ScriptedCloud, status: Status, story: impl AsyncFnOnce(&Self)) {
        let lab = Self {
            status: watch::Sender::new(status),
            polled: watch::Sender::new(0),
            request_refused: Notify::new(),
            publish: watch::Sender::new(CloudStatus::default()),
        };
        let pace = Pace::new(Jitter::new([7; 32]), Duration::from_secs(900));
        let account = account();
        let links = ReportLinks {
            status: lab.status.subscribe(),
            polled: lab.polled.subscribe(),
            targets_from,
            request_refused: &lab.request_refused,
            publish: &lab.publish,
        };
        tokio::select! {
            biased;
            never = report::run(cloud, &account, &pace, links) => match never {},
            () = story(&lab) => (),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(change);
    }

    /// A poll was answered.
    fn poll(&self, outcome: PollOutcome) {
        self.publish.send_modify(|it| it.polling.last = Some((Instant::now(), outcome)));
        self.polled.send_modify(|it| *it += 1);
    }

    fn reporting(&self) -> Reporting {
        self.publish.borrow().reporting.clone()
    }

    fn refused(&self) -> Vec<RefusedPart> {
        self.reporting().refused
    }

    /// Whether a poll without an `ETag` was asked for.
    fn asks_for_target(&self) -> bool {
        self.request_refused.notified().now_or_never().is_some()
    }

    fn shut_down(&self) {
        self.change(|it| {
            it.shutdown = ShutdownStatus::UnderWay {
                ending: Some(PowerAction::Reboot),
                by: ShutdownOrigin::Request,
                since: Instant::now(),
                progress: ShutdownProgress::Asked,
            };
        });
    }
}

async fn secs(secs: u64) {
    sleep(Duration::from_secs(secs)).await;
}

const EXITED: &str = "app 797e runs 19c4 19c4:done main=exited";
const RUNNING: &str = "app 797e runs 19c4 19c4:done main=Running";

fn exit(status: &mut Status) {
    change(status, |it| it.containers[0].phase = ContainerPhase::Exited(1));
}

fn start(status: &mut Status) {
    change(status, |it| it.containers[0].phase = ContainerPhase::Running);
}

#[tokio::test(start_paused = true)]
async fn the_first_report_waits_for_an_observation_and_is_whole() {
    let cloud = ScriptedCloud::accepting();
    let mut blind = running(ONE, &["main"]);
    blind.observed_at = None;
    Lab::live(&cloud, blind, async |lab| {
        secs(100).await;
        assert_eq!(cloud.take(), []);
        lab.change(|it| it.observed_at = Some(Instant::now()));
        secs(20).await;
        let reports = cloud.take();
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert!((101..110).contains(&reports[0].0), "{reports:?}");
        assert!(reports[0].1.starts_with("api_port=48484") && reports[0].1.ends_with(RUNNING), "{reports:?}");
        assert!(lab.reporting().accepted.is_some());
        secs(7200).await;
        assert_eq!(cloud.take(), []);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_first_report_follows_an_answered_poll_on_its_connection() {
    let cloud = ScriptedCloud::accepting();
    Lab::live(&cloud, running(ONE, &["main"]), async |lab| {
        lab.poll(PollOutcome::Unchanged);
        secs(2).await;
        assert_eq!(cloud.take().len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn changes_that_come_together_share_a_report_and_ten_seconds_pass_between_two() {
    let cloud = ScriptedCloud::accepting();
    Lab::live(&cloud, running(ONE, &["main"]), async |lab| {
        secs(100).await;
        cloud.take();
        lab.change(exit);
        sleep(Duration::from_millis(700)).await;
        lab.change(|it| it.device.ip_addresses.clear());
        lab.change(|it| it.device.ip_addresses.push("10.0.0.7".to_owned()));
        secs(2).await;
        assert_eq!(cloud.take(), [(101, format!("ip_address=10.0.0.7 {EXITED}"))]);
        // A service that crashes in a loop makes six reports a minute, and not one for each crash.
        for _ in 0..30 {
            lab.change(start);
            secs(1).await;
            lab.change(exit);
            secs(1).await;
        }
        let reports = cloud.take();
        assert!(reports.len() <= 6, "{reports:?}");
        assert!(reports.windows(2).all(|it| it[1].0 - it[0].0 >= 10), "{reports:?}");
        // What has come back to what the cloud has is no news.
        secs(20).await;
        cloud.take();
        lab.change(start);
        lab.change(exit);
        secs(20).await;
        assert_eq!(cloud.take(), []);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn apps_of_a_file_are_not_the_clouds() {
    let cloud = ScriptedCloud::accepting();
    Lab::live_from(TargetOrigin::File, &cloud, running(ONE, &["main"]), async |lab| {
        secs(100).await;
        let reports = cloud.take();
        assert!(reports.len() == 1 && !reports[0].1.contains("app"), "{reports:?}");
        lab.change(exit);
        secs(100).await;
        assert_eq!(cloud.take(), []);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn progress_is_reported_each_half_minute_and_its_end_at_once() {
    let cloud = ScriptedCloud::accepting();
    let mut status = running(ONE, &["main"]);
    status.target = Some(target(TWO, &["main"], ""));
    status.steps_in_flight = vec![pull(TWO, "main")];
    Lab::live(&cloud, status, async |lab| {
        secs(100).await;
        cloud.take();
        for percent in 1..=70 {
            lab.change(|it| it.progress = SortedMap::from_iter([(image(TWO, "main"), DownloadProgress::of_percent(percent))]));
            secs(1).await;
        }
        let reports = cloud.take();
        assert_eq!(reports.iter().map(|it| it.0).collect::<Vec<_>>(), [101, 132, 163], "{reports:?}");
        lab.change(|it| {
            add_image(it, TWO, "main");
            it.steps_in_flight.clear();
        });
        secs(5).await;
        assert_eq!(cloud.take(), [(173, "status=Idle app 797e 28d5:downloaded main=Downloaded".to_owned())]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn metrics_open_no_connection_of_their_own() {
    let cloud = ScriptedCloud::accepting();
    Lab::live(&cloud, running(ONE, &["main"]), async |lab| {
        secs(100).await;
        cloud.take();
        lab.change(|it| it.metrics.cpu_percent = Some(90));
        secs(3600).await;
        assert_eq!(cloud.take(), []);
        lab.poll(PollOutcome::Unchanged);
        secs(1).await;
        assert_eq!(cloud.take(), [(3700, "cpu_usage=90".to_owned())]);
        // The cloud would drop more within a minute.
        lab.change(|it| it.metrics.cpu_percent = Some(10));
        lab.poll(PollOutcome::Unchanged);
        secs(100).await;
        assert_eq!(cloud.take(), []);
        // They also go along with what is reported anyway.
        lab.change(exit);
        secs(20).await;
        assert_eq!(cloud.take(), [(3802, format!("cpu_usage=10 {EXITED}"))]);
        // A low voltage is no metric that can wait.
        lab.change(|it| it.metrics.undervolted = Some(true));
        secs(20).await;
        assert_eq!(cloud.take(), [(3822, "is_undervolted=true".to_owned())]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_is_away_gets_everything_when_it_is_back() {
    let cloud = ScriptedCloud::new(|_| Err(CloudError::Unreachable("no route".to_owned())));
    Lab::live(&cloud, running(ONE, &["main"]), async |lab| {
        secs(24 * 3600).await;
        let tries = cloud.take().len();
        assert!((80..110).contains(&tries), "{tries}");
        assert_eq!(lab.reporting().why.as_deref(), Some("no route"));
        lab.change(exit);
        cloud.answer(|_| Ok(()));
        secs(1200).await;
        let reports = cloud.take();
        assert_eq!(reports.len(), 1);
        assert!(reports[0].1.ends_with(EXITED), "{reports:?}");
        assert_eq!(lab.reporting().why, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_as_before_when_the_answer_was_lost_is_reported_again() {
    let cloud = ScriptedCloud::new(|_| Ok(()));
    Lab::live(&cloud, running(ONE, &["main"]), async |lab| {
        secs(100).await;
        cloud.take();
        let before = "balenaOS 6.4.0".to_owned();
        // The cloud takes the report, and its answer does not arrive.
        cloud.answer(|_| Err(CloudError::Unreachable("the connection was reset".to_owned())));
        lab.change(|it| it.device.reported.os_version = "13.0.0".to_owned());
        secs(5).await;
        assert_eq!(cloud.take().len(), 1);
        cloud.answer(|_| Ok(()));
        lab.change(|it| it.device.reported.os_version.clone_from(&before));
        secs(60).await;
        let reports = cloud.take();
        assert!(reports.len() == 1 && reports[0].1 == format!("os_version={before}"), "{reports:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_part_is_not_sent_again_before_it_changes() {
    let cloud = ScriptedCloud::new(|report| if report.fields.contains_key("os_version") { refused(400) } else { Ok(()) });
    Lab::live(&cloud, running(ONE, &["main"]), async |lab| {
        secs(100).await;
        let sent = cloud.take().len();
        assert!((5..16).contains(&sent), "{sent}");
        assert_eq!(lab.refused(), [RefusedPart { part: "os_version".to_owned(), why: "no".to_owned() }]);
        lab.change(exit);
        secs(7200).await;
        assert_eq!(cloud.take(), [(101, EXITED.to_owned())]);
        cloud.answer(|_| Ok(()));
        lab.change(|it| it.device.reported.os_version = "12.9.0".to_owned());
        secs(20).await;
        assert_eq!(cloud.take(), [(7301, "os_version=12.9.0".to_owned())]);
        assert_eq!(lab.refused(), []);
    })
    .await;
}

/// balena-supervisor#1752: the same report, refused, for ever.
#[tokio::test(start_paused = true)]
async fn a_deleted_release_is_tried_once_an_hour_and_with_every_new_target() {
    let has_one = |it: &crate::state::cloud::DeviceReport| it.apps.values().any(|it| it.releases.contains_key(ONE));
    let cloud = ScriptedCloud::new(move |it| if has_one(it) { refused(401) } else { Ok(()) });
    Lab::live(&cloud, running(ONE, &["main"]), async |lab| {
        secs(60).await;
        assert_eq!(lab.refused()[0].part, format!("app {APP}"));
        // The whole, the fields, the app, its release: the fields got through.
        let sent = cloud.take();
        assert_eq!(sent.len(), 4, "{sent:?}");
        // Every fifth minute the service crashes: nothing of that is sent.
        for _ in 0..10 {
            secs(300).await;
            lab.change(exit);
            lab.change(start);
        }
        assert_eq!(cloud.take(), []);
        secs(1000).await;
        assert!((1..=4).contains(&cloud.take().len()));
        lab.change(|it| it.target = Some(target(TWO, &["main"], "")));
        secs(20).await;
        assert_eq!(cloud.take(), [(4061, "app 797e 28d5:downloading main=Downloading 0 %".to_owned())]);
        assert_eq!(lab.refused(), []);
        assert!(!lab.asks_for_target());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn when_the_device_is_refused_the_target_is_asked_for_and_an_hour_passes() {
    let cloud = ScriptedCloud::new(|_| refused(401));
    Lab::live(&cloud, running(ONE, &["main"]), async |lab| {
        secs(30).await;
        assert_eq!((cloud.take().len(), lab.asks_for_target()), (2, true));
        assert_eq!(lab.refused(), [RefusedPart { part: "device".to_owned(), why: "no".to_owned() }]);
        lab.poll(PollOutcome::Gone);
        lab.change(exit);
        secs(3000).await;
        assert_eq!(cloud.take(), []);
        // It is thawed.
        cloud.answer(|_| Ok(()));
        lab.poll(PollOutcome::Unchanged);
        secs(20).await;
        let reports = cloud.take();
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert!(reports[0].1.starts_with("api_port") && reports[0].1.ends_with(EXITED), "{reports:?}");
        assert_eq!((lab.refused(), lab.reporting().why), (vec![], None));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_polls_and_may_not_report_tries_again_and_waits_twice_as_long_each_time() {
    let cloud = ScriptedCloud::new(|_| refused(401));
    Lab::live(&cloud, running(ONE, &["main"]), async |lab| {
        secs(20).await;
        lab.poll(PollOutcome::Unchanged);
        secs(4 * 3600).await;
        let tried: Vec<_> = cloud.take().into_iter().map(|it| it.0).step_by(2).collect();
        let waits: Vec<_> = tried.windows(2).map(|it| it[1] - it[0]).collect();
        for (wait, least) in waits.iter().zip([30, 60, 120, 240, 480, 960, 1920, 3600, 3600]) {
            assert!((least..least + 15).contains(wait), "{waits:?}");
        }
        cloud.answer(|_| Ok(()));
        secs(3700).await;
        assert_eq!((cloud.take().len(), lab.refused()), (1, vec![]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn before_a_reboot_the_cloud_is_told_at_once() {
    let cloud = ScriptedCloud::accepting();
    Lab::live(&cloud, running(ONE, &["main"]), async |lab| {
        secs(100).await;
        lab.change(exit);
        secs(2).await;
        cloud.take();
        assert!(!lab.reporting().farewell_over);
        lab.shut_down();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(cloud.take(), [(102, "status=Stopping".to_owned())]);
        assert!(lab.reporting().farewell_over);
        secs(60).await;
        assert_eq!(cloud.take(), []);
        // The shutdown is called off.
        lab.change(|it| it.shutdown = ShutdownStatus::No);
        secs(20).await;
        assert_eq!(cloud.take(), [(163, "status=Idle".to_owned())]);
        assert!(!lab.reporting().farewell_over);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reboot_waits_for_no_cloud_that_does_not_answer() {
    let cloud = ScriptedCloud::accepting();
    Lab::live(&cloud, running(ONE, &["main"]), async |lab| {
        secs(100).await;
        cloud.answer(|_| Err(CloudError::Unreachable("no route".to_owned())));
        lab.change(exit);
        secs(2).await;
        cloud.take();
        lab.shut_down();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(cloud.take(), []);
        assert!(lab.reporting().farewell_over);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_agent_waits_for_its_farewell_only_where_the_machine_goes_down() {
    let cloud = ScriptedCloud::accepting();
    Lab::live(&cloud, running(ONE, &["main"]), async |lab| {
        secs(100).await;
        let waited = async || {
            let begun = Instant::now();
            wait_for_farewell(&lab.status.subscribe(), &mut lab.publish.subscribe()).await;
            begun.elapsed()
        };
        let registered = Registration::Registered { endpoint: String::new(), device_id: None };
        lab.publish.send_modify(|it| it.registration = registered);
        assert_eq!(waited().await, Duration::ZERO);
        lab.shut_down();
        assert!(waited().await < Duration::from_millis(1));
        // The loop is busy with a cloud that hangs.
        lab.publish.send_modify(|it| it.reporting.farewell_over = false);
        assert_eq!(waited().await, Duration::from_secs(2));
        lab.publish.send_modify(|it| it.registration = Registration::NoCloud);
        assert_eq!(waited().await, Duration::ZERO);
    })
    .await;
}
