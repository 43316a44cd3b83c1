//! Polls the cloud for the target.
//!
//! A poll sends the ETag of the document that the device has, and the cloud answers 304 if that is still the one. The ETag is
//! kept with the target: after a restart a poll costs as little as before. A new document goes to the reconciler like that of
//! a file, and the poll waits until the reconciler has taken or refused it.
//!
//! A poll without an ETag, once a day, finds a document for which the cloud would answer 304 by mistake. A 304 to such a poll
//! means that the cloud has no such device.

mod schedule;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

use crate::cloud::pace::Pace;
use crate::document;
use crate::port::{Clock, Cloud, Record, Store, TargetAnswer, TargetTag, World};
use crate::request::{RejectedDocument, Request};
use crate::state::cloud::{CloudAccount, CloudStatus, PollCause, PollOutcome, TargetOrigin};
use crate::state::history::Requester;
use crate::state::switch::parse_switch;
use crate::state::{Status, Target};

use schedule::{PollSchedule, PollStart, interval};

/// The time between two polls without an ETag.
const FULL_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// The least time between two polls, however often an update is requested.
const LEAST_APART: Duration = Duration::from_secs(1);
/// For so long after the machine's boot the boot is why the agent starts.
const JUST_BOOTED_SECS: i64 = 300;

/// How the cloud is polled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PollSettings {
    /// The interval, `appUpdatePollInterval` of config.json. The target's own wins.
    pub interval: Option<Duration>,
    /// Whose targets are applied.
    pub targets_from: TargetOrigin,
}

/// The channels of the poll loop.
#[derive(Debug, Clone)]
pub(super) struct PollLinks {
    /// What the reconciler publishes.
    pub(super) status: watch::Receiver<Status>,
    /// Where targets go.
    pub(super) requests: mpsc::Sender<Request>,
    /// What became of the requests to the cloud.
    pub(super) publish: watch::Sender<CloudStatus>,
    /// Counts answered polls.
    pub(super) polled: watch::Sender<u64>,
    /// Asks for a poll without an ETag, soon: the cloud refused a report or logs as if it did not have the device.
    pub(super) request_refused: Rc<Notify>,
}

/// Polls for as long as it is polled itself.
pub(super) async fn run<W: World>(
    world: &W,
    account: &CloudAccount,
    pace: &Pace,
    settings: &PollSettings,
    links: &PollLinks,
) -> Infallible {
    let clock = world.clock();
    let just_booted = clock.now_secs().saturating_sub(clock.booted_secs()) < JUST_BOOTED_SECS;
    let poller = Poller {
        cloud: world.cloud(),
        store: world.store(),
        account,
        pace,
        settings,
        links,
        known: RefCell::new(None),
        is_gone: Cell::new(false),
        full_at: Cell::new(Instant::now() + pace.jitter().below(FULL_EVERY)),
    };
    poller.run(just_booted).await
}

/// The loop's state.
struct Poller<'a, C, S> {
    cloud: &'a C,
    store: &'a S,
    account: &'a CloudAccount,
    pace: &'a Pace,
    settings: &'a PollSettings,
    links: &'a PollLinks,
    /// The cloud's document, if it had an ETag.
    known: RefCell<Option<KnownDocument>>,
    /// The cloud has no such device.
    is_gone: Cell<bool>,
    /// When the next poll without an ETag is due.
    full_at: Cell<Instant>,
}

/// The last document of the cloud.
#[derive(Debug, Clone)]
struct KnownDocument {
    etag: String,
    fate: DocumentFate,
}

/// What became of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
enum DocumentFate {
    /// It is the target, with this fingerprint.
    Accepted(String),
    /// It is not accepted. Says why.
    Rejected(String),
    /// It is not applied: targets come from a file.
    NotApplied,
}

impl<C: Cloud, S: Store> Poller<'_, C, S> {
    async fn run(&self, just_booted: bool) -> Infallible {
        let mut status = self.links.status.clone();
        // Until the stored records are loaded, it is not known whether there is a target.
        if status.wait_for(|it| !it.device.uuid.is_empty()).await.is_err() {
            return pending().await;
        }
        self.publish(|it| it.targets_from = self.settings.targets_from);
        self.load_tag().await;
        let (mut requested, start) = {
            let status = status.borrow_and_update();
            (
                status.update_requests,
                PollStart { just_booted, has_target: status.target.is_some(), is_instant: is_instant(&status) },
            )
        };
        let mut schedule = PollSchedule::new(start, self.interval(), self.pace.jitter());
        let mut wish = None;
        let mut last = None;
        loop {
            schedule.set_interval(self.interval(), self.pace.jitter());
            self.pace.set_longest(schedule.interval());
            let due = match (wish, last) {
                (Some(_), Some(last)) => last + LEAST_APART,
                (Some(_), None) => Instant::now(),
                (None, _) => schedule.due(),
            };
            let cause = wish.unwrap_or(schedule.cause());
            self.publish_next(due, cause, schedule.interval());
            tokio::select! {
                biased;
                changed = status.changed() => {
                    if changed.is_err() {
                        return pending().await;
                    }
                    if std::mem::replace(&mut requested, status.borrow_and_update().update_requests) != requested {
                        self.pace.reset();
                        wish = Some(PollCause::Update);
                    }
                    continue;
                }
                () = self.links.request_refused.notified() => {
                    wish.get_or_insert(PollCause::RefusedRequest);
                    continue;
                }
                () = self.may_send(due) => (),
            }
            wish = None;
            last = Some(Instant::now());
            let is_answered = self.poll(cause).await;
            // A failed poll is repeated as soon as the back-off permits it; a refusal that causes no back-off, at the interval.
            let retried = !is_answered && self.pace.next().is_some();
            schedule.sent(if retried { PollCause::Retry } else { PollCause::Interval }, self.pace.jitter());
        }
    }

    async fn may_send(&self, due: Instant) {
        sleep_until(due).await;
        self.pace.ready().await;
    }

    /// Sends one request. Returns whether it was answered.
    async fn poll(&self, cause: PollCause) -> bool {
        let etag = if cause == PollCause::RefusedRequest { None } else { self.etag() };
        self.publish(|it| it.polling.cause = Some(cause));
        let turn = self.pace.turn().await;
        let answer = self.cloud.target(self.account, etag.as_deref()).await;
        self.pace.on_answer(&answer);
        drop(turn);
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => {
                if cause == PollCause::RefusedRequest {
                    // The next poll still has to tell a device that is gone from a report that was refused.
                    self.full_at.set(Instant::now());
                }
                self.failed(&why.to_string());
                return false;
            }
        };
        if etag.is_none() {
            self.full_at.set(Instant::now() + FULL_EVERY);
        }
        let outcome = match answer {
            TargetAnswer::NotModified if etag.is_none() => self.gone(),
            TargetAnswer::NotModified => self.not_modified(),
            TargetAnswer::Document { text, etag } => self.document(&text, etag).await,
        };
        if outcome != PollOutcome::Gone && self.is_gone.replace(false) {
            info!("the cloud has this device again");
        }
        self.publish(|it| {
            it.polling.last = Some((Instant::now(), outcome));
            it.polling.why = None;
        });
        self.links.polled.send_modify(|count| *count = count.wrapping_add(1));
        true
    }

    /// The ETag to send: that of the last document, if the device still is at it.
    fn etag(&self) -> Option<String> {
        if self.is_gone.get() || self.full_at.get() <= Instant::now() {
            return None;
        }
        let known = self.known.borrow();
        let known = known.as_ref()?;
        let status = self.links.status.borrow();
        let holds = match &known.fate {
            DocumentFate::Accepted(fingerprint) => is_at(&status, fingerprint),
            DocumentFate::Rejected(_) => status.rejected.is_some(),
            DocumentFate::NotApplied => true,
        };
        holds.then(|| known.etag.clone())
    }

    fn failed(&self, why: &str) {
        let is_new = self.links.publish.borrow().polling.why.as_deref() != Some(why);
        if is_new {
            warn!(why, "the cloud was not asked for the target; the last one stays");
        } else {
            debug!(why, "the cloud was not asked for the target");
        }
        self.publish(|it| it.polling.why = Some(why.to_owned()));
    }

    fn gone(&self) -> PollOutcome {
        if !self.is_gone.replace(true) {
            error!(
                "the cloud has no such device: it was deleted there, or is frozen; the apps run on, and the agent keeps asking"
            );
        }
        PollOutcome::Gone
    }

    /// The document is the one of the last answer.
    fn not_modified(&self) -> PollOutcome {
        match self.known.borrow().as_ref().map(|it| &it.fate) {
            Some(DocumentFate::Rejected(why)) => PollOutcome::Rejected(why.clone()),
            Some(DocumentFate::Accepted(_) | DocumentFate::NotApplied) | None => PollOutcome::Unchanged,
        }
    }

    async fn document(&self, text: &str, etag: Option<String>) -> PollOutcome {
        let (outcome, fate) = match self.settings.targets_from {
            TargetOrigin::Cloud => self.apply(text).await,
            TargetOrigin::File => {
                let is_known = etag.is_some() && self.known.borrow().as_ref().map(|it| &it.etag) == etag.as_ref();
                (if is_known { PollOutcome::Unchanged } else { PollOutcome::New }, DocumentFate::NotApplied)
            }
        };
        if outcome == PollOutcome::New {
            self.pace.reset();
        }
        if let (Some(etag), DocumentFate::Accepted(fingerprint)) = (&etag, &fate) {
            self.save_tag(etag, fingerprint).await;
        }
        self.known.replace(etag.map(|etag| KnownDocument { etag, fate }));
        outcome
    }

    /// Gives a document to the reconciler, unless the device is at it already.
    async fn apply(&self, text: &str) -> (PollOutcome, DocumentFate) {
        let target = match document::parse(text, Some(&self.account.uuid)) {
            Ok(target) => target,
            Err(why) => return self.unreadable(text, &why.to_string()).await,
        };
        let fingerprint = target.fingerprint();
        let before = {
            let status = self.links.status.borrow();
            let is_at = is_at(&status, &fingerprint);
            if is_at && status.rejected.is_none() {
                return (PollOutcome::Unchanged, DocumentFate::Accepted(fingerprint));
            }
            is_at
        };
        self.send(target).await;
        let status = self.links.status.borrow();
        if is_at(&status, &fingerprint) {
            let outcome = if before { PollOutcome::Unchanged } else { PollOutcome::New };
            return (outcome, DocumentFate::Accepted(fingerprint));
        }
        let why = status.rejected.clone().unwrap_or_else(|| "the device is shutting down".to_owned());
        (PollOutcome::Rejected(why.clone()), DocumentFate::Rejected(why))
    }

    async fn unreadable(&self, text: &str, why: &str) -> (PollOutcome, DocumentFate) {
        let why = format!("the cloud's target: {why}");
        if self.links.status.borrow().rejected.as_ref() != Some(&why) {
            warn!(error = why, "the target was not accepted; the last good one stays");
            // The reconciler lives as long as this loop.
            let releases = document::named_releases(text, Some(&self.account.uuid));
            let _ = self.links.requests.send(Request::Rejected(RejectedDocument { why: why.clone(), releases })).await;
            self.answered().await;
        }
        (PollOutcome::Rejected(why.clone()), DocumentFate::Rejected(why))
    }

    /// Returns when the reconciler has taken or refused the target.
    async fn send(&self, target: Target) {
        // The reconciler lives as long as this loop.
        let request = Request::By(Requester::new("the cloud"), Box::new(Request::Target(Box::new(target))));
        let _ = self.links.requests.send(request).await;
        self.answered().await;
    }

    /// Returns when the reconciler has answered a request, and so all that it got before.
    async fn answered(&self) {
        let (reply, answer) = oneshot::channel();
        let _ = self.links.requests.send(Request::Probe(reply)).await;
        // A refusal answers as well.
        let _ = answer.await;
    }

    async fn load_tag(&self) {
        if self.settings.targets_from == TargetOrigin::File {
            return;
        }
        let Some(TargetTag { etag, fingerprint }) = self.store.target_tag().await else { return };
        if is_at(&self.links.status.borrow(), &fingerprint) {
            self.known.replace(Some(KnownDocument { etag, fate: DocumentFate::Accepted(fingerprint) }));
        }
    }

    async fn save_tag(&self, etag: &str, fingerprint: &str) {
        let is_saved =
            self.known.borrow().as_ref().is_some_and(|known| {
                known.etag == etag && matches!(&known.fate, DocumentFate::Accepted(it) if it == fingerprint)
            });
        if is_saved {
            return;
        }
        let record = Record::TargetTag(TargetTag { etag: etag.to_owned(), fingerprint: fingerprint.to_owned() });
        if let Err(why) = self.store.save(&record).await {
            debug!(error = %why, "the target's ETag is not saved; after a restart the cloud sends the target once more");
        }
    }

    fn interval(&self) -> Duration {
        let status = self.links.status.borrow();
        let target = status.target.as_ref().and_then(|it| it.config.get("SUPERVISOR_POLL_INTERVAL"));
        interval(target.map(String::as_str), self.settings.interval)
    }

    fn publish(&self, change: impl FnOnce(&mut CloudStatus)) {
        let traffic = self.cloud.traffic();
        self.links.publish.send_modify(|it| {
            change(it);
            it.traffic = traffic;
        });
    }

    fn publish_next(&self, due: Instant, cause: PollCause, interval: Duration) {
        let next = self.pace.next().map_or(due, |at| at.max(due));
        self.links.publish.send_if_modified(|it| {
            let polling = &mut it.polling;
            let before = (polling.next, polling.next_cause, polling.interval);
            (polling.next, polling.next_cause, polling.interval) = (Some(next), cause, interval);
            before != (polling.next, polling.next_cause, polling.interval)
        });
    }
}

/// Whether a target has this fingerprint.
fn is_at(status: &Status, fingerprint: &str) -> bool {
    match &status.target_trial {
        // What a person tries or keeps does not make the cloud's target another one.
        Some(trial) => trial.beneath == fingerprint,
        None => status.target.as_ref().is_some_and(|it| it.fingerprint() == fingerprint),
    }
}

/// Whether the first poll after a start is sent at once (`SUPERVISOR_INSTANT_UPDATE_TRIGGER`, on unless the target says no).
fn is_instant(status: &Status) -> bool {
    let value = status.target.as_ref().and_then(|it| it.config.get("SUPERVISOR_INSTANT_UPDATE_TRIGGER"));
    value.and_then(|it| parse_switch(it)) != Some(false)
}

#[cfg(test)]
mod tests;
