//! The cloud: one fleet and its devices. It lies, dies, repeats itself, asks to wait and loses answers.

use std::collections::VecDeque;
use std::time::Duration;

use boardkeeper::document;
use boardkeeper::port::{self, CloudError, TargetAnswer, TargetTag};
use boardkeeper::sorted::{SortedMap, SortedSet};
use boardkeeper::state::cloud::{
    ByteCount, CloudAccount, CloudLogLine, CloudStatus, DeviceReport, DeviceTag, PollOutcome, RegisteredDevice, Registration,
    RegistrationForm, ReleasePin, TargetOrigin, Traffic, TrafficPurpose, VpnProfile,
};
use boardkeeper::state::{Secret, Target};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::document::v3;
use super::marks::Mark;
use super::pin::Pins;
use super::rng::Rng;
use super::{Model, Sim};

/// The key by which devices are registered.
pub(crate) const PROVISIONING_KEY: &str = "provisioning-key-of-the-fleet";
/// The address of its API.
pub(crate) const ENDPOINT: &str = "https://api.example.com";
/// More polls than this within a minute are a busy loop.
const MOST_POLLS: usize = 65;

/// The cloud.
pub(crate) struct CloudModel {
    /// Devices, by uuid.
    pub(crate) devices: SortedMap<String, CloudDevice>,
    /// The tags of the one device that lives.
    pub(crate) tags: SortedMap<String, String>,
    /// Whose targets the device applies.
    pub(crate) targets_from: TargetOrigin,
    /// The device is frozen until then.
    pub(crate) frozen_until: Option<Instant>,
    /// It answers 304 to an ETag that it gave once, whatever the target is now.
    pub(crate) stale_etags: bool,
    /// It refuses every report of these parts: the apps, by uuid.
    pub(crate) refused_apps: SortedSet<String>,
    /// It answers every request so, until then.
    pub(crate) busy_until: Option<Instant>,
    /// What becomes of the next requests, before chance decides.
    pub(crate) fates: VecDeque<RequestFate>,
    /// What the agent says of it.
    pub(crate) status: Option<watch::Receiver<CloudStatus>>,
    /// Polls so far, each with whether it had an ETag.
    pub(crate) polls: Vec<(Instant, bool)>,
    /// Reports so far.
    pub(crate) reports: u64,
    rng: Rng,
    /// An older target, which a cache gives.
    cached: Option<Target>,
    /// Fingerprints of the targets that were given, by ETag.
    given: SortedMap<String, String>,
    /// Releases that documents named, by app and commit.
    pub(super) named: SortedSet<(String, String)>,
    pub(super) refusals: VecDeque<(Instant, String)>,
    /// What the device reported.
    pub(crate) reported: DeviceReport,
    /// Since when the agent knows that it is to wait.
    asked_to_wait: bool,
    pub(crate) pins: Pins,
    traffic: Traffic,
}

/// A device.
#[derive(Debug, Clone)]
pub(crate) struct CloudDevice {
    id: u64,
    key: String,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestFate {
    Fine,
    /// It is never answered.
    Hangs,
    /// Another answers: a login page.
    Foreign,
    /// It is to be repeated later.
    Busy,
    /// The cloud fails.
    Down,
    /// It has its effect, and the answer is lost.
    Lost,
}

impl CloudModel {
    /// A fleet without devices.
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            devices: SortedMap::new(),
            tags: SortedMap::new(),
            targets_from: TargetOrigin::File,
            frozen_until: None,
            stale_etags: false,
            refused_apps: SortedSet::new(),
            busy_until: None,
            fates: VecDeque::new(),
            status: None,
            polls: Vec::new(),
            reports: 0,
            rng,
            cached: None,
            given: SortedMap::new(),
            named: SortedSet::new(),
            refusals: VecDeque::new(),
            reported: DeviceReport::default(),
            asked_to_wait: false,
            pins: Pins::default(),
            traffic: Traffic::default(),
        }
    }

    /// Ends all faults.
    pub(crate) fn clear(&mut self) {
        self.frozen_until = None;
        self.busy_until = None;
        self.fates.clear();
        self.stale_etags = false;
        self.refused_apps.clear();
        self.cached = None;
    }

    /// The agent has forgotten what it was asked.
    pub(crate) fn agent_died(&mut self) {
        self.asked_to_wait = false;
        self.busy_until = None;
        self.status = None;
    }

    /// What the agent says is wrong with the cloud, which is fine.
    pub(crate) fn unsettled(&self) -> Option<String> {
        let status = self.status.as_ref()?.borrow();
        let polling = &status.polling;
        if matches!(status.registration, Registration::NoCloud) {
            return None;
        }
        if let Some(why) = &polling.why {
            return Some(format!("the cloud answers, and the agent says: {why}"));
        }
        match polling.last.as_ref().map(|(_, outcome)| outcome) {
            Some(PollOutcome::New | PollOutcome::Unchanged) => None,
            outcome => Some(format!("the cloud has a target for the device, and the agent says: {outcome:?}")),
        }
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.frozen_until.is_some_and(|it| it > Instant::now())
    }

    /// Whether a device has this number.
    pub(super) fn has_number(&self, account: &CloudAccount, number: u64) -> bool {
        self.devices.get(&account.uuid).is_some_and(|it| it.id == number)
    }

    /// Whether a device and its key are the cloud's.
    pub(super) fn knows(&self, account: &CloudAccount) -> bool {
        self.devices.get(&account.uuid).is_some_and(|it| it.key == account.key.reveal())
    }
}

pub(super) fn refused(status: u16, why: &str) -> CloudError {
    CloudError::Refused { status, why: why.to_owned(), retry_after: None }
}

/// What tells one document from another.
fn etag(text: &str) -> String {
    let hash = text.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, it| (hash ^ u64::from(it)).wrapping_mul(0x0100_0000_01B3));
    format!("\"{hash:016x}\"")
}

impl Model {
    /// The device has a cloud, which gets the lines of its containers.
    pub(crate) const fn join_cloud(&mut self) {
        self.net.endpoint = true;
        self.lines.are_printed = true;
    }

    /// A person registers the device in the cloud, and writes its uuid, but not its key, into config.json.
    pub(crate) fn register_beforehand(&mut self) {
        let uuid = "5eed".repeat(8);
        self.cloud.devices.insert(uuid.clone(), CloudDevice { id: 57, key: "the-key-that-the-cloud-made".to_owned() });
        self.net.registered_uuid = Some(uuid);
    }

    /// Targets come from the cloud, which is polled so often.
    pub(crate) fn follow_cloud(&mut self, interval: Duration) {
        self.join_cloud();
        self.cloud.targets_from = TargetOrigin::Cloud;
        self.targets.of_cloud = true;
        self.targets.wanted.config.insert("SUPERVISOR_POLL_INTERVAL".to_owned(), interval.as_millis().to_string());
    }

    /// What becomes of a request: with faults, anything.
    fn request_fate(&mut self) -> RequestFate {
        if self.net.offline {
            return RequestFate::Hangs;
        }
        if let Some(fate) = self.cloud.fates.pop_front() {
            return fate;
        }
        let (faults, hangs) = (self.rates.faults, self.rates.hangs);
        let rng = &mut self.cloud.rng;
        if rng.happens(hangs) {
            self.hit(Mark::CloudHangs);
            return RequestFate::Hangs;
        }
        if !rng.happens(faults) {
            return RequestFate::Fine;
        }
        let (fate, mark) = match rng.below(4) {
            0 => (RequestFate::Foreign, Mark::CloudForeign),
            1 => (RequestFate::Busy, Mark::CloudBusy),
            2 => (RequestFate::Down, Mark::CloudDown),
            _ => (RequestFate::Lost, Mark::CloudAnswerLost),
        };
        self.hit(mark);
        fate
    }

    /// A request arrives. An agent that was asked to wait sends none before.
    fn request_arrives(&mut self, purpose: TrafficPurpose) {
        self.cloud.traffic.add(purpose, ByteCount { sent: 300, received: 200 });
        let early = self.cloud.asked_to_wait && self.cloud.busy_until.is_some_and(|it| it > Instant::now());
        if early {
            self.violation(format_args!("a request ({}) before the time that the cloud asked to wait for", purpose.name()));
        }
    }

    fn poll_arrives(&mut self, account: &CloudAccount, etag: Option<&str>) {
        self.check_poll_of_preloaded();
        self.cloud.polls.push((Instant::now(), etag.is_some()));
        let last_minute = self.cloud.polls.iter().rev().take_while(|(at, _)| at.elapsed() < Duration::from_secs(60)).count();
        if last_minute > MOST_POLLS {
            self.violation(format_args!("{last_minute} polls in a minute"));
        }
        if self.cloud.targets_from == TargetOrigin::Cloud && self.rates.faults > 0 {
            let rng = &mut self.cloud.rng;
            if rng.happens(20) {
                let wait = rng.secs(60, 900);
                self.cloud.frozen_until = Some(Instant::now() + wait);
                self.hit(Mark::CloudForgets);
            }
        }
        self.note(format_args!("the device {:.7} polls{}", account.uuid, if etag.is_some() { "" } else { ", for all of it" }));
    }

    /// The answer to a poll.
    fn target_for(&mut self, account: &CloudAccount, etag_sent: Option<&str>) -> Result<TargetAnswer, CloudError> {
        if self.cloud.is_frozen() {
            return Ok(TargetAnswer::NotModified);
        }
        if !self.cloud.knows(account) {
            return Err(refused(401, "Unauthorized"));
        }
        if self.cloud.stale_etags && etag_sent.is_some_and(|it| self.cloud.given.contains_key(it)) {
            return Ok(TargetAnswer::NotModified);
        }
        let text = self.document_for(account);
        let own = etag(&text);
        if etag_sent == Some(&own) {
            self.hit(Mark::CloudUnchanged);
            return Ok(TargetAnswer::NotModified);
        }
        if let Ok(target) = document::parse(&text, Some(&account.uuid)) {
            self.cloud.given.insert(own.clone(), target.fingerprint());
            for app in target.apps.values() {
                self.cloud.named.extend(app.commit.clone().map(|commit| (app.uuid.clone(), commit)));
            }
            if self.cloud.targets_from == TargetOrigin::Cloud {
                self.target_received(&target);
            }
        }
        self.note(format_args!("the cloud gives {own}"));
        self.hit(Mark::CloudTarget);
        Ok(TargetAnswer::Document { text, etag: Some(own) })
    }

    /// The device's document; with faults, sometimes an older one, which some cache has.
    fn document_for(&mut self, account: &CloudAccount) -> String {
        if self.targets.nonsense {
            return format!(r#"{{"{}":{{"apps":{{"1":7}}}}}}"#, account.uuid);
        }
        let (faults, wanted) = (self.rates.faults, &self.targets.wanted);
        let before = self.cloud.cached.replace(wanted.clone());
        match before {
            Some(before) if before != *wanted && self.cloud.rng.happens(faults) => {
                let text = v3(&account.uuid, &before);
                self.hit(Mark::CloudStale);
                text
            }
            Some(_) | None => v3(&account.uuid, wanted),
        }
    }

    fn registers(&mut self, key: &Secret, form: &RegistrationForm) -> Result<RegisteredDevice, CloudError> {
        if key.reveal() != PROVISIONING_KEY {
            return Err(refused(401, "Unauthorized"));
        }
        if self.cloud.devices.contains_key(&form.uuid) {
            self.hit(Mark::RegisteredAlready);
            return Err(refused(409, "\"uuid\" must be unique."));
        }
        let id = 57 + u64::try_from(self.cloud.devices.len()).unwrap();
        self.cloud.devices.insert(form.uuid.clone(), CloudDevice { id, key: form.key.reveal().to_owned() });
        if self.cloud.devices.len() > 1 {
            let uuids: Vec<_> = self.cloud.devices.keys().cloned().collect();
            self.violation(format_args!("one device is registered twice: {}", uuids.join(" and ")));
        }
        self.hit(Mark::Registered);
        Ok(RegisteredDevice { id })
    }

    /// An ETag is kept only with the target that it names.
    pub(crate) fn check_tag(&mut self, tag: &TargetTag) {
        if self.cloud.given.get(&tag.etag) != Some(&tag.fingerprint) {
            self.violation(format_args!("the ETag {} is kept with a target that it does not name", tag.etag));
        }
    }
}

impl Sim {
    /// Sends a request, which takes its time and has one of many ends.
    async fn request<T>(
        &self,
        purpose: TrafficPurpose,
        effect: impl FnOnce(&mut Model) -> Result<T, CloudError>,
    ) -> Result<T, CloudError> {
        self.with(|model| model.request_arrives(purpose));
        self.pass(20, 800).await;
        let unreachable = |why: &str| Err(CloudError::Unreachable(why.to_owned()));
        match self.with(Model::request_fate) {
            RequestFate::Fine => self.with(effect),
            RequestFate::Hangs => {
                sleep(Duration::from_secs(55)).await;
                unreachable("no answer within 55 s")
            }
            RequestFate::Foreign => Err(CloudError::Foreign("a login page answers".to_owned())),
            RequestFate::Busy => self.with(|model| {
                let wait = model.cloud.rng.secs(5, 120);
                model.cloud.busy_until = Some(Instant::now() + wait).max(model.cloud.busy_until);
                model.cloud.asked_to_wait = true;
                Err(CloudError::Refused { status: 503, why: "busy".to_owned(), retry_after: Some(wait) })
            }),
            RequestFate::Down => Err(refused(500, "an internal error")),
            RequestFate::Lost => {
                // What the cloud answers does not arrive.
                let _ = self.with(effect);
                sleep(Duration::from_secs(5)).await;
                unreachable("the connection was reset")
            }
        }
    }
}

impl port::Cloud for Sim {
    async fn register(&self, _: &str, key: &Secret, form: &RegistrationForm) -> Result<RegisteredDevice, CloudError> {
        self.request(TrafficPurpose::Registration, |model| model.registers(key, form)).await
    }

    async fn device_id(&self, _: &str, key: &Secret, uuid: &str) -> Result<Option<u64>, CloudError> {
        let seen = |it: &CloudDevice| key.reveal() == PROVISIONING_KEY || it.key == key.reveal();
        self.request(TrafficPurpose::Registration, |model| {
            let device = model.cloud.devices.get(uuid);
            match device {
                Some(device) if seen(device) => Ok(Some(device.id)),
                None if key.reveal() == PROVISIONING_KEY => Ok(None),
                Some(_) | None => Err(refused(401, "Unauthorized")),
            }
        })
        .await
    }

    async fn exchange_key(&self, _: &str, key: &Secret, id: u64, new: &Secret) -> Result<(), CloudError> {
        self.request(TrafficPurpose::Registration, |model| {
            if key.reveal() != PROVISIONING_KEY {
                return Err(refused(401, "Unauthorized"));
            }
            let device = model.cloud.devices.iter_mut().map(|(_, it)| it).find(|it| it.id == id);
            let device = device.ok_or_else(|| refused(404, "there is no such device"))?;
            new.reveal().clone_into(&mut device.key);
            model.hit(Mark::KeyExchanged);
            Ok(())
        })
        .await
    }

    async fn release_id(&self, account: &CloudAccount, release: &ReleasePin) -> Result<Option<u64>, CloudError> {
        self.request(TrafficPurpose::Registration, |model| Ok(model.release_number(account, release))).await
    }

    async fn pin(&self, account: &CloudAccount, device_id: u64, release_id: u64) -> Result<(), CloudError> {
        self.request(TrafficPurpose::Registration, |model| model.pin(account, device_id, release_id)).await
    }

    async fn target(&self, account: &CloudAccount, etag: Option<&str>) -> Result<TargetAnswer, CloudError> {
        self.with(|model| model.poll_arrives(account, etag));
        self.request(TrafficPurpose::Poll, |model| model.target_for(account, etag)).await
    }

    async fn report(&self, account: &CloudAccount, report: &DeviceReport) -> Result<(), CloudError> {
        let fields: Vec<_> = report.fields.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let apps: Vec<_> = report.apps.keys().map(|it| &it[..7.min(it.len())]).collect();
        let answer = self.request(TrafficPurpose::Report, |model| model.reported(account, report)).await;
        self.with(|model| model.note(format_args!("the report of {} and {}: {answer:?}", fields.join(" "), apps.join(" "))));
        answer
    }

    async fn upload_logs(&self, account: &CloudAccount, lines: &[CloudLogLine]) -> Result<(), CloudError> {
        if lines.is_empty() || lines.len() > 50 {
            self.with(|model| model.violation(format_args!("{} lines of logs in one request", lines.len())));
        }
        let arrive = |model: &mut Model| {
            if !model.cloud.knows(account) || model.cloud.is_frozen() {
                return Err(refused(401, ""));
            }
            model.hit(Mark::LinesUploaded);
            Ok(model.lines_arrive(lines))
        };
        let answer = self.request(TrafficPurpose::Logs, arrive).await;
        if matches!(answer, Err(CloudError::Refused { status: 401, .. })) {
            // A brake for devices that were deleted.
            sleep(Duration::from_secs(55)).await;
        }
        let lines = answer?;
        self.with(|model| model.lines.acknowledged(&lines));
        Ok(())
    }

    async fn tags(&self, account: &CloudAccount) -> Result<Vec<DeviceTag>, CloudError> {
        let tags = |model: &mut Model| {
            if !model.cloud.knows(account) {
                return Err(refused(401, ""));
            }
            let all = (1..).zip(&model.cloud.tags);
            Ok(all.map(|(id, (name, value))| DeviceTag { id, name: name.clone(), value: value.clone() }).collect())
        };
        self.request(TrafficPurpose::Registration, tags).await
    }

    async fn set_tags(&self, account: &CloudAccount, tags: &SortedMap<String, String>) -> Result<(), CloudError> {
        let set = |model: &mut Model| {
            if !model.cloud.knows(account) {
                return Err(refused(401, ""));
            }
            model.cloud.tags.extend(tags.clone());
            Ok(())
        };
        self.request(TrafficPurpose::Registration, set).await
    }

    async fn vpn_profile(&self, _: &CloudAccount) -> Result<Option<VpnProfile>, CloudError> {
        self.request(TrafficPurpose::Vpn, |_| Ok(None)).await
    }

    fn traffic(&self) -> Traffic {
        self.with(|model| model.cloud.traffic.clone())
    }
    fn clock_skew(&self) -> Option<i64> {
        None
    }
}
