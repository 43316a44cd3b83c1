//! Reports what is new of the device's state.
//!
//! A report is made from the status that the reconciler publishes, and compared with what the cloud has acknowledged since the
//! agent started; only the difference is sent. At most one report goes out each 10 s, a second after something changed, so
//! that changes which come together share one. Metrics cause no request of their own: they go along with the next report, or
//! follow a poll on the connection that it opened. The first report is whole; it waits for the first observation, and a moment
//! by chance, because after a power cut of a whole fleet thousands of devices start together.
//!
//! A report that the cloud refuses is taken apart. What it accepts is reported; what it refuses stands in the state with the
//! cloud's answer, and is not sent again before it changes. When the cloud refuses the device itself, the target is requested
//! unconditionally: that answer tells a device that was deleted from a report that was refused.
//!
//! When the machine reboots or shuts down, a last report says so. The agent, which systemd stops meanwhile, waits for it, for
//! at most two seconds. When only the agent is stopped, nothing is reported: the containers run on, the next start
//! reports everything anew, and the service manager waits for no cloud.
//!
//! ```text
//! device      the fields of the device, and its metrics
//! apps        the apps, releases and services
//! difference  what is new, and how urgent it is
//! parts       takes a refused report apart
//! refusals    the refused parts, and when they are tried again
//! returned    images that left the reports and return
//! farewell    waits for the last report
//! ```

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use crate::cloud::pace::Pace;
use crate::port::{Cloud, CloudError};
use crate::state::cloud::{CloudAccount, CloudStatus, DeviceReport, PollOutcome, ReportValue, TargetOrigin};
use crate::state::{Status, Target};
use device::device_report;
use difference::{MetricsTurn, News, Urgency, acknowledge, difference, forget};
use parts::{ReportAnswer, take_apart};
use refusals::{Part, Refusals};
use returned::ReturningImages;

mod apps;
mod device;
mod difference;
pub(super) mod farewell;
mod parts;
mod refusals;
mod returned;

/// From the first change until the report: what changes meanwhile goes along.
const GATHER: Duration = Duration::from_secs(1);
/// The chance by which first reports are spread.
const FIRST_SPREAD: Duration = Duration::from_secs(9);
/// The time between two reports, as supervisors of 2026 have it.
const BETWEEN: Duration = Duration::from_secs(10);
/// The time between two reports of progress alone. The cloud drops what comes more often.
const BETWEEN_PROGRESS: Duration = Duration::from_secs(31);
/// The time between two reports of metrics. The cloud drops what comes within a minute.
const BETWEEN_METRICS: Duration = Duration::from_secs(65);
/// The time between two parts of a report that is taken apart.
const BETWEEN_PARTS: Duration = Duration::from_secs(1);

/// The channels of the reports.
#[derive(Debug)]
pub(super) struct ReportLinks<'a> {
    /// What the reconciler publishes.
    pub(super) status: watch::Receiver<Status>,
    /// How many polls were answered.
    pub(super) polled: watch::Receiver<u64>,
    /// Whose targets are applied.
    pub(super) targets_from: TargetOrigin,
    /// Asks for a poll without an `ETag`: the cloud may not have the device any more.
    pub(super) request_refused: &'a Notify,
    /// Where it stands what became of the reports.
    pub(super) publish: &'a watch::Sender<CloudStatus>,
}

/// Reports for as long as it is polled.
pub(super) async fn run<C: Cloud>(cloud: &C, account: &CloudAccount, pace: &Pace, links: ReportLinks<'_>) -> Infallible {
    let ReportLinks { mut status, mut polled, targets_from, request_refused, publish } = links;
    let mut reporter = Reporter {
        cloud,
        account,
        pace,
        targets_from,
        request_refused,
        publish,
        acknowledged: DeviceReport::default(),
        returning: ReturningImages::default(),
        refusals: Refusals::default(),
        target: None,
        is_gone: false,
        word: ReportValue::Null,
        since: None,
        first_wait: pace.jitter().below(FIRST_SPREAD),
        sent: None,
        sent_apps: None,
        sent_metrics: None,
    };
    let mut turn = Turn::Own;
    loop {
        let next = reporter.plan(&status.borrow_and_update(), turn);
        turn = Turn::Own;
        tokio::select! {
            biased;
            () = async { due(next.at).await; pace.ready().await }, if next.report.is_some() => reporter.report(next).await,
            // Both senders live as long as this loop.
            changed = status.changed() => if changed.is_err() { pending::<()>().await },
            changed = polled.changed() => match changed {
                Ok(()) => turn = Turn::AfterPoll,
                Err(_) => pending().await,
            },
            () = due(next.at), if next.report.is_none() => (),
        }
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// Why it is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Something may have changed.
    Own,
    /// A poll was answered, and its connection is open.
    AfterPoll,
}

/// What comes next.
#[derive(Debug, Default)]
struct NextReport {
    /// The report. `None`: there is nothing to report.
    report: Option<DeviceReport>,
    /// When it is due, or when to plan again.
    at: Option<Instant>,
    /// It is the last one before the machine goes down.
    is_farewell: bool,
}

struct Reporter<'a, C> {
    cloud: &'a C,
    account: &'a CloudAccount,
    pace: &'a Pace,
    targets_from: TargetOrigin,
    request_refused: &'a Notify,
    publish: &'a watch::Sender<CloudStatus>,
    /// What the cloud has acknowledged.
    acknowledged: DeviceReport,
    returning: ReturningImages,
    refusals: Refusals,
    /// The target that the refusals are about.
    target: Option<Arc<Target>>,
    /// The poll before found no such device.
    is_gone: bool,
    /// The status that the device has now, by which an unknown device is recognized.
    word: ReportValue,
    /// Since when there is something to report.
    since: Option<Instant>,
    /// How long the first report waits by chance.
    first_wait: Duration,
    sent: Option<Instant>,
    sent_apps: Option<Instant>,
    sent_metrics: Option<Instant>,
}

impl<C: Cloud> Reporter<'_, C> {
    /// What to report as of this status, and when.
    fn plan(&mut self, status: &Status, turn: Turn) -> NextReport {
        // Before the first observation the apps would look as if they had to be downloaded.
        if status.observed_at.is_none() {
            return NextReport::default();
        }
        self.follow_target(status);
        if turn == Turn::AfterPoll {
            self.follow_poll();
        }
        let mut wanted = device_report(status);
        if self.targets_from == TargetOrigin::File {
            // The cloud knows nothing of what such a device runs.
            wanted.apps.clear();
        }
        self.word = wanted.fields.get("status").cloned().unwrap_or(ReportValue::Null);
        self.refusals.take_out(&mut wanted);
        self.publish_refused();
        self.returning.announce(&mut wanted.apps);
        let metrics = match self.sent_metrics {
            Some(sent) if sent.elapsed() < BETWEEN_METRICS => MetricsTurn::Later,
            Some(_) | None => MetricsTurn::Now,
        };
        let news = difference(&self.acknowledged, &wanted, metrics);
        if status.shutdown.is_under_way() {
            return self.plan_farewell(news);
        }
        self.publish_farewell(false);
        let at = self.when(news.urgency, turn);
        let report = at.is_some().then_some(news.report);
        NextReport { report, at: at.or_else(|| self.refusals.next_retry()), is_farewell: false }
    }

    /// The last report has the device's fields alone: no app is worth that it is refused.
    fn plan_farewell(&mut self, mut news: News) -> NextReport {
        let is_over = self.publish.borrow().reporting.farewell_over;
        news.report.apps.clear();
        if is_over || news.report.fields.is_empty() || self.pace.next().is_some() {
            // The machine does not wait for a cloud that does not answer, or that has asked to wait.
            self.publish_farewell(true);
            return NextReport::default();
        }
        NextReport { report: Some(news.report), at: Some(Instant::now()), is_farewell: true }
    }

    fn follow_target(&mut self, status: &Status) {
        let is_same = match (&self.target, &status.target) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now) || before.document == now.document,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !is_same {
            self.refusals.on_new_target();
        }
        self.target.clone_from(&status.target);
    }

    fn follow_poll(&mut self) {
        // Only the first reports of a fleet come together.
        self.first_wait = Duration::ZERO;
        let is_gone = matches!(self.publish.borrow().polling.last, Some((_, PollOutcome::Gone)));
        if is_gone {
            self.refusals.on_device_gone();
        } else if self.is_gone {
            self.refusals.on_device_found();
        }
        self.is_gone = is_gone;
    }

    /// When something of this urgency is to be reported. `None`: not by itself.
    fn when(&mut self, urgency: Urgency, turn: Turn) -> Option<Instant> {
        let now = Instant::now();
        let after = |sent: Option<Instant>, wait| sent.map_or(now, |it| it + wait);
        if urgency <= Urgency::Metrics {
            self.since = None;
            return (urgency == Urgency::Metrics && turn == Turn::AfterPoll).then_some(now);
        }
        let gathered = *self.since.get_or_insert(now) + GATHER;
        match (urgency, self.sent) {
            (Urgency::Nothing | Urgency::Metrics, _) => None,
            (Urgency::Progress, sent) => Some(gathered.max(after(sent, BETWEEN)).max(after(self.sent_apps, BETWEEN_PROGRESS))),
            (Urgency::Soon, None) => Some(gathered + self.first_wait),
            (Urgency::Soon, sent) => Some(gathered.max(after(sent, BETWEEN))),
        }
    }

    /// Sends a report, and takes it apart if it is refused.
    async fn report(&mut self, next: NextReport) {
        let Some(report) = next.report else { return };
        let answer = send(self.cloud, self.account, self.pace, &report).await;
        match answer {
            ReportAnswer::Accepted => self.on_accepted(report),
            ReportAnswer::Failed(why) => {
                // The cloud may have taken it, and only its answer was lost.
                forget(&mut self.acknowledged, &report);
                self.publish_failure(why);
            }
            ReportAnswer::Refused(_, why) if next.is_farewell => self.publish_failure(why),
            ReportAnswer::Refused(status, why) => self.take_apart(report, (status, why)).await,
        }
        self.since = None;
        self.sent = Some(Instant::now());
        let traffic = self.cloud.traffic();
        self.publish.send_if_modified(|it| std::mem::replace(&mut it.traffic, traffic.clone()) != traffic);
        if next.is_farewell {
            self.publish_farewell(true);
        }
    }

    async fn take_apart(&mut self, report: DeviceReport, refusal: (u16, String)) {
        debug!(status = refusal.0, "the cloud refuses a report; sending its parts");
        let (cloud, account, pace) = (self.cloud, self.account, self.pace);
        let send_part = async |part: DeviceReport| {
            sleep(BETWEEN_PARTS).await;
            send(cloud, account, pace, &part).await
        };
        // A part whose answer is lost may have been taken.
        forget(&mut self.acknowledged, &report);
        let outcome = take_apart(report, refusal, ("status", self.word.clone()), send_part).await;
        if !outcome.accepted.is_empty() {
            self.on_accepted(outcome.accepted);
        }
        for (part, why) in outcome.refused {
            warn!(%part, %why, "the cloud refuses a part of the report; it is not sent again before it changes");
            if part == Part::Device {
                self.request_refused.notify_one();
                self.publish_failure(why.clone());
            }
            self.refusals.add(part, why);
        }
        if let Some(why) = outcome.failed {
            self.publish_failure(why);
        }
        self.publish_refused();
    }

    fn on_accepted(&mut self, report: DeviceReport) {
        let now = Instant::now();
        if !report.apps.is_empty() {
            self.sent_apps = Some(now);
        }
        if device::METRICS.iter().any(|it| report.fields.contains_key(it)) {
            self.sent_metrics = Some(now);
        }
        self.returning.on_accepted(&self.acknowledged.apps, &report.apps);
        self.refusals.on_accepted();
        acknowledge(&mut self.acknowledged, report);
        self.publish.send_modify(|it| {
            it.reporting.accepted = Some(now);
            it.reporting.why = None;
        });
    }

    fn publish_failure(&self, why: String) {
        debug!(%why, "the state is not reported");
        self.publish.send_modify(|it| it.reporting.why = Some(why));
    }

    fn publish_refused(&self) {
        let refused = self.refusals.list();
        self.publish.send_if_modified(|it| {
            let is_new = it.reporting.refused != refused;
            it.reporting.refused = refused;
            is_new
        });
    }

    fn publish_farewell(&self, is_over: bool) {
        self.publish.send_if_modified(|it| std::mem::replace(&mut it.reporting.farewell_over, is_over) != is_over);
    }
}

async fn send<C: Cloud>(cloud: &C, account: &CloudAccount, pace: &Pace, report: &DeviceReport) -> ReportAnswer {
    let turn = pace.turn().await;
    let answer = cloud.report(account, report).await;
    pace.on_answer(&answer);
    drop(turn);
    match answer {
        Ok(()) => ReportAnswer::Accepted,
        Err(CloudError::Refused { status, why, .. }) if !matches!(status, 408 | 429 | 500..) => {
            ReportAnswer::Refused(status, why)
        }
        Err(error) => ReportAnswer::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
