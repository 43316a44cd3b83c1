//! The cloud: registers the device, polls for its target, reports its state and uploads its logs.
//!
//! The reconciler knows nothing of the cloud. Targets reach it as requests, like those of a file; reports are made from the
//! status that it publishes, and logs from the engine and from its events.
//!
//! ```text
//! identity    the account: uuid and key, saved before the first request      cloud/identity.rs
//! provision   registers the device                                           cloud/provision.rs
//! pin         pins the device on its preloaded release               cloud/pin.rs
//! poll        requests the target                                            cloud/poll.rs
//! report      reports what is new of the state                               cloud/report.rs
//! logs        uploads the lines of containers and of the agent               cloud/logs.rs
//! tags        the device's tags, for programs on the device                  cloud/tags.rs
//! vpn         hands the VPN's configuration to the host                      cloud/vpn.rs
//! pace        when requests may be sent: one back-off for all                cloud/pace.rs
//! jitter      chance for waits                                               cloud/jitter.rs
//! ```

mod identity;
mod jitter;
mod logs;
mod pace;
mod pin;
mod poll;
mod provision;
mod report;
mod tags;
mod vpn;

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::sleep;
use tracing::{error, warn};

use crate::backoff::Backoff;
use crate::cloud::identity::AccountDecision;
use crate::cloud::jitter::Jitter;
use crate::cloud::logs::LogFeeds;
use crate::cloud::pace::Pace;
use crate::cloud::poll::PollLinks;
use crate::cloud::provision::RegistrationLinks;
use crate::cloud::report::ReportLinks;
use crate::cloud::tags::KeptTags;
use crate::port::{Clock, Host, Random, Store, World};
use crate::request::{Request, TagRequest};
use crate::state::cloud::{AccountRecord, CloudAccount, CloudStatus, Pinning, ProvisionedFields, Registration, TargetOrigin};
use crate::state::{DeviceEvent, Status};

pub use identity::CloudProvisioning;
pub use poll::PollSettings;
pub use report::farewell::wait_for_farewell;

/// The longest wait after failures before a target says how often it is polled.
const POLL_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// What the cloud's loops need before they start.
#[derive(Debug, Clone)]
pub struct CloudSettings {
    /// The device's cloud, read again at each SIGHUP. `None`: the device has none.
    pub provisioning: watch::Receiver<Option<CloudProvisioning>>,
    /// Whose targets are applied.
    pub targets_from: TargetOrigin,
}

impl Default for CloudSettings {
    /// Without a cloud, now and later.
    fn default() -> Self {
        Self { provisioning: watch::channel(None).1, targets_from: TargetOrigin::default() }
    }
}

/// The channels to the rest of the agent.
#[derive(Debug)]
pub struct CloudLinks {
    /// What the reconciler publishes.
    pub status: watch::Receiver<Status>,
    /// What it does.
    pub events: broadcast::Receiver<Arc<DeviceEvent>>,
    /// Where targets go.
    pub requests: mpsc::Sender<Request>,
    /// What became of the requests to the cloud.
    pub publish: watch::Sender<CloudStatus>,
    /// Requests about the device's tags.
    pub tags: mpsc::Receiver<TagRequest>,
}

/// Keeps in touch with the cloud for as long as it is polled.
pub async fn run<W: World>(world: &W, settings: CloudSettings, mut links: CloudLinks) -> Infallible {
    let CloudSettings { mut provisioning, targets_from } = settings;
    // Before the device's identity is loaded, there is no uuid for an account.
    if links.status.wait_for(|it| !it.device.uuid.is_empty()).await.is_err() {
        pending::<()>().await;
    }
    let mut pace = None;
    let registered = watch::Sender::new(None);
    let (_, no_tags) = mpsc::channel(1);
    let (mut tag_requests, mut kept_tags) = (std::mem::replace(&mut links.tags, no_tags), KeptTags::default());
    loop {
        registered.send_replace(None);
        let wanted = provisioning.borrow_and_update().clone();
        match &wanted {
            None => {
                let nothing = |it: &CloudStatus| CloudStatus {
                    targets_from: it.targets_from,
                    traffic: it.traffic.clone(),
                    ..CloudStatus::default()
                };
                let nothing = nothing(&links.publish.borrow());
                let before = links.publish.send_replace(nothing).registration;
                if matches!(before, Registration::Registered { .. }) {
                    // The reconciler lives as long as this future.
                    let _ = links.requests.send(Request::Account(None)).await;
                }
            }
            Some(_) if pace.is_none() => pace = Some(Pace::new(Jitter::new(world.random().bytes()), POLL_INTERVAL)),
            Some(_) => (),
        }
        let in_touch = async {
            match wanted.as_ref().zip(pace.as_ref()) {
                Some((wanted, pace)) => keep_in_touch(world, (wanted, targets_from), pace, (&links, &registered)).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = changed(&mut provisioning) => (),
            never = reset_at_jumps(world, pace.as_ref()) => match never {},
            never = in_touch => match never {},
            never = tags::run(
                world.cloud(),
                registered.subscribe(),
                pace.as_ref(),
                &mut tag_requests,
                &mut kept_tags
            ) => match never {},
        }
    }
}

/// Ends the back-off whenever the clock jumps: with a wrong clock no certificate was valid.
async fn reset_at_jumps<W: World>(world: &W, pace: Option<&Pace>) -> Infallible {
    let mut jumps = pin!(world.clock().jumps());
    while let (Some(pace), Some(())) = (pace, jumps.next().await) {
        pace.reset();
    }
    pending().await
}

/// Waits for another provisioning. Without a sender there will be none.
async fn changed(provisioning: &mut watch::Receiver<Option<CloudProvisioning>>) {
    if provisioning.changed().await.is_err() {
        pending::<()>().await;
    }
}

/// Registers the device if it is not registered, and runs the loops of its account.
async fn keep_in_touch<W: World>(
    world: &W,
    (wanted, targets_from): (&CloudProvisioning, TargetOrigin),
    pace: &Pace,
    (links, registered): (&CloudLinks, &watch::Sender<Option<CloudAccount>>),
) -> Infallible {
    let registration = RegistrationLinks { pace, status: &links.status, publish: &links.publish };
    let mut record = match decide(world, wanted, links).await {
        AccountDecision::Keep(record) => record,
        AccountDecision::Begin(record) => {
            // What another cloud refused says nothing of this one.
            links.publish.send_modify(|it| it.pin = Pinning::default());
            provision::save(world, &record, &registration).await;
            record
        }
        AccountDecision::Lacking(what) => {
            error!("the device cannot be registered: {what}");
            let why = Some(what.to_owned());
            links.publish.send_modify(|it| it.registration = Registration::Pending { why, next: None });
            return pending().await;
        }
    };
    if !record.is_registered() {
        record = provision::run(world, wanted, record, &registration).await;
    }
    let account = record.account(wanted.logs_endpoint.clone());
    registered.send_replace(Some(account.clone()));
    // The reconciler lives as long as this future.
    let _ = links.requests.send(Request::Account(Some(Box::new(account.clone())))).await;
    links.publish.send_modify(|it| {
        it.registration = Registration::Registered { endpoint: record.endpoint.clone(), device_id: record.device_id };
    });
    write_provisioning(world, wanted, &record).await;
    let poll = PollSettings { interval: wanted.poll_interval, targets_from };
    serve(world, (&account, record.device_id), pace, &poll, links).await
}

/// The loops of a registered device.
async fn serve<W: World>(
    world: &W,
    (account, device_id): (&CloudAccount, Option<u64>),
    pace: &Pace,
    poll: &PollSettings,
    links: &CloudLinks,
) -> Infallible {
    let request_refused = Rc::default();
    let poll_links = PollLinks {
        status: links.status.clone(),
        requests: links.requests.clone(),
        publish: links.publish.clone(),
        polled: watch::Sender::new(0),
        request_refused: Rc::clone(&request_refused),
    };
    let report_links = ReportLinks {
        status: links.status.clone(),
        polled: poll_links.polled.subscribe(),
        targets_from: poll.targets_from,
        request_refused: &request_refused,
        publish: &links.publish,
    };
    let log_feeds = LogFeeds {
        status: links.status.clone(),
        events: links.events.resubscribe(),
        request_refused: &request_refused,
        publish: &links.publish,
    };
    let pin_and_poll = async {
        pin::settle(world.cloud(), (account, device_id), pace, &poll_links).await;
        poll::run(world, account, pace, poll, &poll_links).await
    };
    // Biased, so that a simulation is reproducible.
    tokio::select! {
        biased;
        never = report::run(world.cloud(), account, pace, report_links) => never,
        never = pin_and_poll => never,
        never = logs::run(world, account, pace, log_feeds) => never,
        never = vpn::run(world, account, pace) => never,
    }
}

/// Decides on the account, from what is stored. A store that cannot be read is read again: without the stored account the
/// cloud would see another device.
async fn decide<W: World>(world: &W, wanted: &CloudProvisioning, links: &CloudLinks) -> AccountDecision {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
    let stored = loop {
        match world.store().account().await {
            Ok(stored) => break stored,
            Err(error) => {
                error!(%error, "cannot read the account in the cloud; retrying");
                sleep(backoff.fail()).await;
            }
        }
    };
    let uuid = links.status.borrow().device.uuid.clone();
    identity::decide(wanted, stored, &uuid, || provision::new_key(world))
}

/// Has the provisioning file say that the device is registered, unless it does. The host's VPN reads its credentials there.
async fn write_provisioning<W: World>(world: &W, wanted: &CloudProvisioning, record: &AccountRecord) {
    let is_written = wanted.provisioning_key.is_none()
        && wanted.device_key.as_ref() == Some(&record.key)
        && wanted.uuid.as_ref() == Some(&record.uuid)
        && wanted.registered_at_ms.is_some()
        && (record.device_id.is_none() || wanted.device_id == record.device_id);
    let fields = ProvisionedFields {
        uuid: record.uuid.clone(),
        key: record.key.clone(),
        device_id: record.device_id,
        registered_at_ms: record.registered_at_ms.unwrap_or_default(),
    };
    if !is_written && let Err(error) = world.host().write_provisioning(&fields).await {
        warn!(%error, "config.json does not have the registration; the agent works without that, but not a VPN of the host's own");
    }
}

#[cfg(test)]
mod tests;
