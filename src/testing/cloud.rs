//! A cloud whose answers are scripted, for the tests of the loops.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::pending;

use crate::port::{Cloud, CloudError, TargetAnswer};
use crate::sorted::SortedMap;
use crate::state::Secret;
use crate::state::cloud::{
    CloudAccount, CloudLogLine, DeviceReport, DeviceTag, RegisteredDevice, RegistrationForm, ReleasePin, Traffic, VpnProfile,
};

/// A request to the cloud, as the test sees it. Keys are revealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CloudCall {
    Register { key: String, form: Box<RegistrationForm> },
    DeviceId { key: String, uuid: String },
    ExchangeKey { key: String, device_id: u64, new_key: String },
    ReleaseId { account: CloudAccount, release: ReleasePin },
    Pin { account: CloudAccount, device_id: u64, release_id: u64 },
    Target { account: CloudAccount, etag: Option<String> },
    Report { account: CloudAccount, report: DeviceReport },
    VpnProfile { account: CloudAccount },
    Tags { account: CloudAccount },
    SetTags { account: CloudAccount, tags: SortedMap<String, String> },
    UploadLogs { account: CloudAccount, lines: Vec<CloudLogLine> },
}

/// Answers in the order in which they were scripted, each kind of request from a queue of its own. Without an answer left a
/// request never ends; so a test sees that it was sent, and how it is cut off.
#[derive(Debug, Default)]
pub(crate) struct ScriptedCloud {
    pub(crate) calls: RefCell<Vec<CloudCall>>,
    pub(crate) registrations: Answers<RegisteredDevice>,
    pub(crate) device_ids: Answers<Option<u64>>,
    pub(crate) exchanges: Answers<()>,
    pub(crate) releases: Answers<Option<u64>>,
    pub(crate) pins: Answers<()>,
    pub(crate) targets: Answers<TargetAnswer>,
    pub(crate) reports: Answers<()>,
    pub(crate) uploads: Answers<()>,
    pub(crate) tags: Answers<Vec<DeviceTag>>,
    pub(crate) set_tags: Answers<()>,
    pub(crate) vpn_profiles: Answers<Option<VpnProfile>>,
    pub(crate) traffic: RefCell<Traffic>,
}

/// The answers to one kind of request.
#[derive(Debug)]
pub(crate) struct Answers<T>(RefCell<VecDeque<Result<T, CloudError>>>);

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T> Answers<T> {
    /// The next request is answered with this, after those scripted before.
    pub(crate) fn push(&self, answer: Result<T, CloudError>) {
        self.0.borrow_mut().push_back(answer);
    }

    async fn next(&self) -> Result<T, CloudError> {
        let next = self.0.borrow_mut().pop_front();
        match next {
            Some(answer) => answer,
            None => pending().await,
        }
    }
}

impl ScriptedCloud {
    fn note(&self, call: CloudCall) {
        self.calls.borrow_mut().push(call);
    }

    /// The requests so far, which are forgotten.
    pub(crate) fn take_calls(&self) -> Vec<CloudCall> {
        self.calls.take()
    }
}

/// A refusal without a word on when to ask again.
pub(crate) fn refused(status: u16, why: &str) -> CloudError {
    CloudError::Refused { status, why: why.to_owned(), retry_after: None }
}

/// No answer.
pub(crate) fn unreachable_cloud() -> CloudError {
    CloudError::Unreachable("no route to host".to_owned())
}

fn revealed(key: &Secret) -> String {
    key.reveal().to_owned()
}

impl Cloud for ScriptedCloud {
    async fn register(&self, _: &str, key: &Secret, form: &RegistrationForm) -> Result<RegisteredDevice, CloudError> {
        self.note(CloudCall::Register { key: revealed(key), form: Box::new(form.clone()) });
        self.registrations.next().await
    }

    async fn device_id(&self, _: &str, key: &Secret, uuid: &str) -> Result<Option<u64>, CloudError> {
        self.note(CloudCall::DeviceId { key: revealed(key), uuid: uuid.to_owned() });
        self.device_ids.next().await
    }

    async fn exchange_key(&self, _: &str, key: &Secret, device_id: u64, new_key: &Secret) -> Result<(), CloudError> {
        self.note(CloudCall::ExchangeKey { key: revealed(key), device_id, new_key: revealed(new_key) });
        self.exchanges.next().await
    }

    async fn release_id(&self, account: &CloudAccount, release: &ReleasePin) -> Result<Option<u64>, CloudError> {
        self.note(CloudCall::ReleaseId { account: account.clone(), release: release.clone() });
        self.releases.next().await
    }

    async fn pin(&self, account: &CloudAccount, device_id: u64, release_id: u64) -> Result<(), CloudError> {
        self.note(CloudCall::Pin { account: account.clone(), device_id, release_id });
        self.pins.next().await
    }

    async fn target(&self, account: &CloudAccount, etag: Option<&str>) -> Result<TargetAnswer, CloudError> {
        self.note(CloudCall::Target { account: account.clone(), etag: etag.map(str::to_owned) });
        self.targets.next().await
    }

    async fn report(&self, account: &CloudAccount, report: &DeviceReport) -> Result<(), CloudError> {
        self.note(CloudCall::Report { account: account.clone(), report: report.clone() });
        self.reports.next().await
    }

    async fn upload_logs(&self, account: &CloudAccount, lines: &[CloudLogLine]) -> Result<(), CloudError> {
        self.note(CloudCall::UploadLogs { account: account.clone(), lines: lines.to_vec() });
        self.uploads.next().await
    }

    async fn vpn_profile(&self, account: &CloudAccount) -> Result<Option<VpnProfile>, CloudError> {
        self.note(CloudCall::VpnProfile { account: account.clone() });
        self.vpn_profiles.next().await
    }

    async fn tags(&self, account: &CloudAccount) -> Result<Vec<DeviceTag>, CloudError> {
        self.note(CloudCall::Tags { account: account.clone() });
        self.tags.next().await
    }

    async fn set_tags(&self, account: &CloudAccount, tags: &SortedMap<String, String>) -> Result<(), CloudError> {
        self.note(CloudCall::SetTags { account: account.clone(), tags: tags.clone() });
        self.set_tags.next().await
    }

    fn clock_skew(&self) -> Option<i64> {
        None
    }

    fn traffic(&self) -> Traffic {
        self.traffic.borrow().clone()
    }
}
