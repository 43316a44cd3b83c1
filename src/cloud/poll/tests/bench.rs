//! A device that polls a scripted cloud, with a reconciler that takes what it is sent.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::{sleep, timeout};

use super::super::*;
use super::QUARTER_HOUR;
use crate::cloud::jitter::Jitter;
use crate::port::{CloudError, CursorCopy, StoreError, StoredState};
use crate::request::RejectedDocument;
use crate::state::cloud::{
    AccountRecord, ByteCount, CloudLogLine, DeviceReport, Polling, RegisteredDevice, RegistrationForm, ReleasePin, Traffic,
    TrafficPurpose, VpnProfile,
};
use crate::state::{Device, FlashWrites, LogCursors, Secret};

/// A document whose device has this name.
pub(super) fn document(name: &str) -> String {
    documented(name, &[])
}

pub(super) fn documented(name: &str, config: &[(&str, &str)]) -> String {
    let config: Vec<_> = config.iter().map(|(key, value)| format!(r#""RESIN_{key}":"{value}""#)).collect();
    format!(r#"{{"c0ffee":{{"name":"{name}","config":{{{}}},"apps":{{}}}}}}"#, config.join(","))
}

pub(super) fn parsed(text: &str) -> Target {
    document::parse(text, Some("c0ffee")).unwrap()
}

pub(super) fn refused(status: u16, retry_after: Option<u64>) -> CloudError {
    CloudError::Refused { status, why: "no".to_owned(), retry_after: retry_after.map(Duration::from_secs) }
}

/// A cloud with a document, which answers 304 to its ETag; and a disk with an ETag.
pub(super) struct TestCloud {
    pub(super) document: RefCell<Option<(String, Option<&'static str>)>>,
    /// Errors, before anything else is answered.
    pub(super) errors: RefCell<VecDeque<CloudError>>,
    /// When it was polled, and with which ETag.
    pub(super) polls: RefCell<Vec<(Instant, Option<String>)>>,
    pub(super) tag: RefCell<Option<TargetTag>>,
    pub(super) saves: Cell<u32>,
}

impl Cloud for TestCloud {
    async fn target(&self, _: &CloudAccount, etag: Option<&str>) -> Result<TargetAnswer, CloudError> {
        self.polls.borrow_mut().push((Instant::now(), etag.map(str::to_owned)));
        sleep(Duration::from_millis(20)).await;
        if let Some(error) = self.errors.borrow_mut().pop_front() {
            return Err(error);
        }
        Ok(match &*self.document.borrow() {
            Some((text, own)) if own.is_none() || etag != *own => {
                TargetAnswer::Document { text: text.clone(), etag: own.map(str::to_owned) }
            }
            Some(_) | None => TargetAnswer::NotModified,
        })
    }
    fn clock_skew(&self) -> Option<i64> {
        None
    }
    fn traffic(&self) -> Traffic {
        let polls = u64::try_from(self.polls.borrow().len()).unwrap();
        let mut traffic = Traffic::default();
        traffic.add(TrafficPurpose::Poll, ByteCount { sent: polls, received: polls });
        traffic
    }
    async fn register(&self, _: &str, _: &Secret, _: &RegistrationForm) -> Result<RegisteredDevice, CloudError> {
        unreachable!()
    }
    async fn device_id(&self, _: &str, _: &Secret, _: &str) -> Result<Option<u64>, CloudError> {
        unreachable!()
    }
    async fn exchange_key(&self, _: &str, _: &Secret, _: u64, _: &Secret) -> Result<(), CloudError> {
        unreachable!()
    }
    async fn release_id(&self, _: &CloudAccount, _: &ReleasePin) -> Result<Option<u64>, CloudError> {
        unreachable!()
    }
    async fn pin(&self, _: &CloudAccount, _: u64, _: u64) -> Result<(), CloudError> {
        unreachable!()
    }
    async fn report(&self, _: &CloudAccount, _: &DeviceReport) -> Result<(), CloudError> {
        unreachable!()
    }
    async fn tags(&self, _: &CloudAccount) -> Result<Vec<crate::state::cloud::DeviceTag>, CloudError> {
        unreachable!()
    }
    async fn set_tags(&self, _: &CloudAccount, _: &crate::sorted::SortedMap<String, String>) -> Result<(), CloudError> {
        unreachable!()
    }
    async fn vpn_profile(&self, _: &CloudAccount) -> Result<Option<VpnProfile>, CloudError> {
        unreachable!()
    }
    async fn upload_logs(&self, _: &CloudAccount, _: &[CloudLogLine]) -> Result<(), CloudError> {
        unreachable!()
    }
}

impl Store for TestCloud {
    async fn account(&self) -> Result<Option<AccountRecord>, StoreError> {
        unreachable!()
    }
    async fn load(&self) -> Result<StoredState, StoreError> {
        unreachable!()
    }
    async fn save(&self, record: &Record) -> Result<(), StoreError> {
        let Record::TargetTag(tag) = record else { unreachable!() };
        self.saves.set(self.saves.get() + 1);
        self.tag.replace(Some(tag.clone()));
        Ok(())
    }
    async fn load_log_cursors(&self) -> Result<Option<LogCursors>, StoreError> {
        unreachable!()
    }
    async fn save_log_cursors(&self, _: &LogCursors, _: CursorCopy) -> Result<(), StoreError> {
        unreachable!()
    }
    async fn target_tag(&self) -> Option<TargetTag> {
        self.tag.borrow().clone()
    }

    fn flash_writes(&self) -> FlashWrites {
        FlashWrites::default()
    }
}

/// A device that polls this cloud.
pub(super) struct Bench {
    pub(super) cloud: TestCloud,
    pub(super) account: CloudAccount,
    pub(super) pace: Pace,
    pub(super) settings: PollSettings,
    pub(super) links: PollLinks,
    pub(super) status: watch::Sender<Status>,
    pub(super) inbox: RefCell<mpsc::Receiver<Request>>,
    /// Why a target is refused, whatever it is.
    pub(super) refuses: RefCell<Option<&'static str>>,
    /// What the reconciler was sent.
    pub(super) received: RefCell<Vec<String>>,
}

impl Bench {
    /// A device that has a target already, and a cloud with a document.
    pub(super) fn new(target: Option<&str>, text: &str, etag: Option<&'static str>) -> Self {
        let device = Device { uuid: "c0ffee".to_owned(), ..Device::default() };
        let target = target.map(|it| Arc::new(parsed(it)));
        let status = watch::Sender::new(Status { device, target, ..Status::default() });
        let (requests, inbox) = mpsc::channel(16);
        let cloud = TestCloud {
            document: RefCell::new(Some((text.to_owned(), etag))),
            errors: RefCell::default(),
            polls: RefCell::default(),
            tag: RefCell::default(),
            saves: Cell::new(0),
        };
        let account = CloudAccount {
            endpoint: "https://api.example.com".to_owned(),
            logs_endpoint: None,
            uuid: "c0ffee".to_owned(),
            key: Secret::new("k".repeat(32)),
        };
        let links = PollLinks {
            status: status.subscribe(),
            requests,
            publish: watch::Sender::default(),
            polled: watch::Sender::new(0),
            request_refused: Rc::default(),
        };
        Self {
            cloud,
            account,
            pace: Pace::new(Jitter::new([7; 32]), QUARTER_HOUR),
            settings: PollSettings::default(),
            links,
            status,
            inbox: RefCell::new(inbox),
            refuses: RefCell::default(),
            received: RefCell::default(),
        }
    }

    /// Runs the loop, from its start, while a script runs.
    #[expect(clippy::await_holding_refcell_ref, reason = "only the reconciler of a bench borrows its inbox")]
    pub(super) async fn run(&self, script: impl Future<Output = ()>) {
        let poller = Poller {
            cloud: &self.cloud,
            store: &self.cloud,
            account: &self.account,
            pace: &self.pace,
            settings: &self.settings,
            links: &self.links,
            known: RefCell::default(),
            is_gone: Cell::new(false),
            full_at: Cell::new(Instant::now() + FULL_EVERY),
        };
        let mut inbox = self.inbox.borrow_mut();
        let reconciler = async {
            while let Some(request) = inbox.recv().await {
                self.handle(request);
            }
        };
        tokio::select! {
            biased;
            () = script => (),
            never = poller.run(false) => match never {},
            () = reconciler => (),
        }
    }

    fn handle(&self, request: Request) {
        match request {
            Request::By(_, request) => self.handle(*request),
            Request::Target(target) => {
                self.received.borrow_mut().push(target.name.clone().unwrap_or_default());
                let refuses = self.refuses.borrow().map(str::to_owned);
                self.status.send_modify(|it| {
                    if refuses.is_none() {
                        it.target = Some(Arc::new(*target));
                    }
                    it.rejected = refuses;
                });
            }
            Request::Rejected(RejectedDocument { why, releases }) => {
                self.received.borrow_mut().push(format!("rejected: {why}"));
                self.status.send_modify(|it| {
                    it.rejected = Some(why);
                    it.rejected_releases = releases;
                });
            }
            Request::Probe(reply) => drop(reply.send(Ok(()))),
            _ => unreachable!(),
        }
    }

    pub(super) async fn run_for(&self, time: Duration) {
        self.run(sleep(time)).await;
    }

    pub(super) fn publishes(&self, text: &str, etag: Option<&'static str>) {
        self.cloud.document.replace(Some((text.to_owned(), etag)));
    }

    pub(super) fn fails(&self, errors: impl IntoIterator<Item = CloudError>) {
        self.cloud.errors.borrow_mut().extend(errors);
    }

    pub(super) fn requests_update(&self) {
        self.status.send_modify(|it| it.update_requests += 1);
    }

    pub(super) fn polling(&self) -> Polling {
        self.links.publish.borrow().polling.clone()
    }

    pub(super) fn outcome(&self) -> PollOutcome {
        self.polling().last.expect("it was answered").1
    }

    pub(super) fn polls(&self) -> usize {
        self.cloud.polls.borrow().len()
    }

    pub(super) fn etags(&self) -> Vec<Option<String>> {
        self.cloud.polls.borrow().iter().map(|(_, etag)| etag.clone()).collect()
    }

    /// The seconds between the last two polls.
    pub(super) fn last_wait(&self) -> u64 {
        let polls = self.cloud.polls.borrow();
        (polls[polls.len() - 1].0 - polls[polls.len() - 2].0).as_secs()
    }

    /// Waits for one more poll, and its answer.
    pub(super) async fn next_poll(&self) {
        let before = self.polls();
        let polled = async {
            while self.polls() == before {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(FULL_EVERY, polled).await.expect("it polls");
        sleep(Duration::from_millis(500)).await;
    }
}
