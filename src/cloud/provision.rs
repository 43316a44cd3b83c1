//! Registers the device. However an attempt ends, the next one ends in the same device.
//!
//! ```text
//! register ── 201 ──────────────────────────────────────────────▶ registered
//!    │ 401, 403, 404, 409: an earlier attempt may have succeeded, and its answer been lost
//!    ▼
//! is the device visible with its own key? ── yes ───────────────▶ registered
//!    │ no, and 409
//!    ▼
//! with the provisioning key? ── yes ── give the device our key ─▶ registered
//!    │ no
//!    ▼
//! the uuid belongs to another device
//! ```

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info, warn};

use crate::backoff::Backoff;
use crate::cloud::identity::CloudProvisioning;
use crate::cloud::pace::Pace;
use crate::port::{Clock, Cloud, CloudError, Random, Record, Store, World};
use crate::state::cloud::{AccountRecord, CloudStatus, Registration, RegistrationForm};
use crate::state::{Device, Secret, Status};

/// The wait after the first failed attempt, unless the provisioning says another. It doubles.
const RETRY: Duration = Duration::from_secs(30);
/// The longest wait between attempts.
const LONGEST_RETRY: Duration = Duration::from_secs(60 * 60);
/// The wait after an account could not be saved.
const SAVE_RETRY: Duration = Duration::from_secs(10);
/// So many attempts in a row must find the uuid taken before the device takes another: a cloud may know of an earlier
/// attempt later than it answered.
const TAKEN_BEFORE_NEW: u32 = 3;

/// What registration needs of the agent.
pub(super) struct RegistrationLinks<'a> {
    /// What requests wait for.
    pub(super) pace: &'a Pace,
    /// The device, as it reports itself.
    pub(super) status: &'a watch::Receiver<Status>,
    /// What became of the attempts.
    pub(super) publish: &'a watch::Sender<CloudStatus>,
}

/// Registers the device, however often it takes, and returns its account.
pub(super) async fn run<W: World>(
    world: &W,
    wanted: &CloudProvisioning,
    mut account: AccountRecord,
    links: &RegistrationLinks<'_>,
) -> AccountRecord {
    let retry = wanted.registration_retry.unwrap_or(RETRY).max(Duration::from_secs(1));
    let mut backoff = Backoff::new(retry, LONGEST_RETRY.max(retry));
    let mut reported = Reported { links, last: None };
    let mut jumps = pin!(world.clock().jumps());
    let mut taken = 0;
    reported.pending(None, None);
    loop {
        links.pace.ready().await;
        let form = form(wanted, &account, &links.status.borrow().device);
        let key = wanted.provisioning_key.as_ref();
        let why = match attempt(world.cloud(), &account, key.zip(form.as_ref()), links.pace).await {
            Attempt::Registered(id) => {
                account.device_id = Some(id);
                account.registered_at_ms = Some(world.clock().now_secs().saturating_mul(1000));
                info!(device_id = id, uuid = account.uuid, "registered in the cloud");
                if let Err(error) = world.store().save(&Record::Account(account.clone())).await {
                    warn!(%error, "the registration cannot be saved; the next start finds it in the cloud");
                }
                return account;
            }
            Attempt::Taken if wanted.uuid.is_some() || wanted.device_key.is_some() => {
                "another device of the cloud has this uuid, and its key is not this device's: delete that device in the cloud, \
                 or take uuid and deviceApiKey out of config.json"
                    .to_owned()
            }
            Attempt::Taken => {
                taken += 1;
                if taken == TAKEN_BEFORE_NEW {
                    account = renewed(world, account);
                    warn!(uuid = account.uuid, "another device of the cloud has this device's uuid; it takes a new one");
                    save(world, &account, links).await;
                }
                "another device of the cloud has this uuid, and its key is not this device's".to_owned()
            }
            Attempt::Failed(why) => why,
        };
        let wait = backoff.fail();
        let next = Instant::now() + wait + links.pace.jitter().below(wait / 4);
        let next = links.pace.next().map_or(next, |it| it.max(next));
        reported.pending(Some(why), Some(next));
        tokio::select! {
            biased;
            // With a wrong clock no certificate was valid.
            Some(()) = jumps.next() => backoff.succeed(),
            () = sleep_until(next) => (),
        }
    }
}

/// Saves an account before it is used, however often it takes.
pub(super) async fn save<W: World>(world: &W, account: &AccountRecord, links: &RegistrationLinks<'_>) {
    let mut reported = Reported { links, last: None };
    while let Err(error) = world.store().save(&Record::Account(account.clone())).await {
        reported.pending(
            Some(format!("the account cannot be saved, and no device is registered before it is: {error}")),
            Some(Instant::now() + SAVE_RETRY),
        );
        sleep(SAVE_RETRY).await;
    }
}

/// Publishes why the device is not registered yet, and logs what is new of it.
struct Reported<'a> {
    links: &'a RegistrationLinks<'a>,
    last: Option<String>,
}

impl Reported<'_> {
    fn pending(&mut self, why: Option<String>, next: Option<Instant>) {
        if let Some(why) = why.as_ref().filter(|_| why != self.last) {
            error!("the device is not registered: {why}");
        }
        self.last.clone_from(&why);
        self.links.publish.send_modify(|it| it.registration = Registration::Pending { why, next });
    }
}

/// The account under another uuid and key.
fn renewed<W: World>(world: &W, account: AccountRecord) -> AccountRecord {
    let uuid = Secret::from_bytes(world.random().bytes()).reveal()[..32].to_owned();
    AccountRecord { uuid, key: new_key(world), ..account }
}

/// A random key, of as many characters as those that the cloud makes.
pub(super) fn new_key<W: World>(world: &W) -> Secret {
    Secret::new(Secret::from_bytes(world.random().bytes()).reveal()[..32].to_owned())
}

/// What the device says of itself. `None`: the provisioning names no fleet.
fn form(wanted: &CloudProvisioning, account: &AccountRecord, device: &Device) -> Option<RegistrationForm> {
    let some = |text: &str| Some(text.to_owned()).filter(|it| !it.is_empty());
    Some(RegistrationForm {
        fleet: wanted.fleet?,
        user: wanted.user,
        uuid: account.uuid.clone(),
        key: account.key.clone(),
        device_type: device.device_type.clone(),
        os_version: some(&device.reported.os_version),
        os_variant: some(&device.reported.os_variant),
        supervisor_version: device.reported.supervisor_version.clone(),
        mac_address: some(&device.mac_address),
    })
}

/// How an attempt ended.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    /// The device is registered, under this number if the cloud gives one.
    Registered(u64),
    /// The cloud says definitely that the uuid belongs to another device.
    Taken,
    /// It failed. Says why, and what to do.
    Failed(String),
}

/// Tries once to register the device.
async fn attempt<C: Cloud>(
    cloud: &C,
    account: &AccountRecord,
    form: Option<(&Secret, &RegistrationForm)>,
    pace: &Pace,
) -> Attempt {
    let calls = RegistrationCalls { cloud, account, pace };
    calls.register(form).await.unwrap_or_else(|error| Attempt::Failed(error.to_string()))
}

struct RegistrationCalls<'a, C> {
    cloud: &'a C,
    account: &'a AccountRecord,
    pace: &'a Pace,
}

impl<C: Cloud> RegistrationCalls<'_, C> {
    async fn register(&self, with: Option<(&Secret, &RegistrationForm)>) -> Result<Attempt, CloudError> {
        let Some((provisioning_key, form)) = with else {
            // The provisioning key is gone, as it is after registration.
            return Ok(match self.visible_with(&self.account.key).await? {
                Some(id) => Attempt::Registered(id),
                None => Attempt::Failed(
                    "the cloud does not know the device, and config.json has no apiKey to register it with; download it from \
                     the cloud again"
                        .to_owned(),
                ),
            });
        };
        let registered = self.cloud.register(&self.account.endpoint, provisioning_key, form).await;
        let refusal = match self.learned(registered) {
            Ok(device) => return Ok(Attempt::Registered(device.id)),
            Err(error @ CloudError::Refused { status: 401 | 403 | 404 | 409, .. }) => error,
            Err(error) => return Err(error),
        };
        if let Some(id) = self.visible_with(&self.account.key).await? {
            return Ok(Attempt::Registered(id));
        }
        if !matches!(refusal, CloudError::Refused { status: 409, .. }) {
            return Ok(Attempt::Failed(advice(&refusal, form)));
        }
        let Some(id) = self.visible_with(provisioning_key).await? else { return Ok(Attempt::Taken) };
        let exchanged = self.cloud.exchange_key(&self.account.endpoint, provisioning_key, id, &self.account.key).await;
        match self.learned(exchanged) {
            Ok(()) => Ok(Attempt::Registered(id)),
            Err(CloudError::Refused { status: 401 | 403, .. }) => Ok(Attempt::Taken),
            Err(error) => Err(error),
        }
    }

    /// The device's number, if this key may see the device. A refusal is a definite no.
    async fn visible_with(&self, key: &Secret) -> Result<Option<u64>, CloudError> {
        let answer = self.cloud.device_id(&self.account.endpoint, key, &self.account.uuid).await;
        match self.learned(answer) {
            Err(CloudError::Refused { status: 401 | 403, .. }) => Ok(None),
            other => other,
        }
    }

    fn learned<T>(&self, answer: Result<T, CloudError>) -> Result<T, CloudError> {
        self.pace.on_answer(&answer);
        answer
    }
}

/// Why the cloud refused a registration, and what to do.
fn advice(refusal: &CloudError, form: &RegistrationForm) -> String {
    let what = match refusal {
        CloudError::Refused { status: 401, .. } => format!(
            "the provisioning key is invalid or expired, or fleet {} does not exist: download a new config.json from the cloud",
            form.fleet
        ),
        CloudError::Refused { status: 404, .. } => format!(
            "it does not know the device type `{}` or fleet {}: download the config.json of this board's type",
            form.device_type, form.fleet
        ),
        CloudError::Refused { status: 403, .. } => format!(
            "it refuses the reported OS version {}: choose a fleet of a device type that takes it",
            form.os_version.as_deref().unwrap_or("(none)")
        ),
        other => return other.to_string(),
    };
    format!("{refusal}; {what}")
}

#[cfg(test)]
mod tests;
