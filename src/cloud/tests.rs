use super::*;
use crate::state::Secret;
use crate::state::cloud::{RegisteredDevice, ReleasePin};
use crate::testing::{CloudCall, TestWorld, refused};

const UUID: &str = "c0ffee00c0ffee00c0ffee00c0ffee00";

fn provisioning() -> CloudProvisioning {
    CloudProvisioning {
        endpoint: "https://api.example.com".to_owned(),
        fleet: Some(7),
        provisioning_key: Some(Secret::new("fleet".to_owned())),
        ..CloudProvisioning::default()
    }
}

/// The agent's part, with the other ends of its channels.
struct Agent {
    world: TestWorld,
    wanted: watch::Sender<Option<CloudProvisioning>>,
    inbox: mpsc::Receiver<Request>,
    seen: watch::Receiver<CloudStatus>,
    publish: watch::Sender<CloudStatus>,
    requests: mpsc::Sender<Request>,
}

impl Agent {
    fn new(wanted: Option<CloudProvisioning>) -> Self {
        let world = TestWorld::default();
        world.publish.send_modify(|it| it.device.uuid = UUID.to_owned());
        let (publish, seen) = watch::channel(CloudStatus::default());
        let (requests, inbox) = mpsc::channel(16);
        Self { world, wanted: watch::Sender::new(wanted), inbox, seen, publish, requests }
    }

    /// Lives for a while, and dies as by a power cut: whatever it is doing.
    async fn lives(&self, wait: Duration) {
        let links = CloudLinks {
            status: self.world.publish.subscribe(),
            events: self.world.events.0.subscribe(),
            requests: self.requests.clone(),
            publish: self.publish.clone(),
            tags: mpsc::channel(1).1,
        };
        let settings = CloudSettings { provisioning: self.wanted.subscribe(), ..CloudSettings::default() };
        tokio::select! {
            biased;
            never = run(&self.world, settings, links) => match never {},
            () = sleep(wait) => (),
        }
    }

    /// The account that the reconciler was given since the last call, if it was given one or the lack of one.
    #[expect(clippy::option_option, reason = "no word, the lack of an account, and an account are three things")]
    fn told(&mut self) -> Option<Option<CloudAccount>> {
        match self.inbox.try_recv() {
            Ok(Request::Account(account)) => Some(account.map(|it| *it)),
            _ => None,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_without_a_cloud_sends_nothing_and_draws_no_chance() {
    let mut agent = Agent::new(None);
    agent.lives(Duration::from_secs(1000)).await;
    assert_eq!(agent.seen.borrow().registration, Registration::NoCloud);
    assert!(agent.world.cloud.take_calls().is_empty() && agent.world.drawn.get() == 0);
    assert_eq!(agent.told(), None);
}

#[tokio::test(start_paused = true)]
async fn the_account_is_saved_before_the_first_request_and_survives_every_cut() {
    let mut agent = Agent::new(Some(provisioning()));
    // The cloud never answers, and the power is cut.
    agent.lives(Duration::from_secs(10)).await;
    let before = agent.world.account.borrow().clone().unwrap();
    assert_eq!((before.uuid.as_str(), before.is_registered()), (UUID, false));
    assert_eq!(agent.world.cloud.take_calls().len(), 1);
    // It had registered the device.
    agent.world.cloud.registrations.push(Err(refused(409, "\"uuid\" must be unique.")));
    agent.world.cloud.device_ids.push(Ok(Some(5)));
    agent.lives(Duration::from_secs(10)).await;
    let after = agent.world.account.borrow().clone().unwrap();
    assert_eq!((&after.uuid, &after.key, after.device_id, after.is_registered()), (&before.uuid, &before.key, Some(5), true));
    let account = after.account(None);
    assert_eq!(agent.told(), Some(Some(account.clone())));
    let registered = Registration::Registered { endpoint: "https://api.example.com".to_owned(), device_id: Some(5) };
    assert_eq!(agent.seen.borrow().registration, registered);
    let written = agent.world.provisioned.borrow()[0].clone();
    assert_eq!((written.uuid, written.key, written.device_id), (account.uuid.clone(), account.key.clone(), Some(5)));
    // From now on no request registers anything.
    agent.world.cloud.take_calls();
    agent.lives(Duration::from_secs(1000)).await;
    let calls = agent.world.cloud.take_calls();
    let is_registration = |it: &CloudCall| matches!(it, CloudCall::Register { .. } | CloudCall::DeviceId { .. });
    assert!(!calls.is_empty() && !calls.iter().any(is_registration), "{calls:?}");
    assert_eq!(agent.told(), Some(Some(account)));
}

#[tokio::test(start_paused = true)]
async fn no_target_is_requested_before_the_device_is_pinned_on_its_preload() {
    let agent = Agent::new(Some(provisioning()));
    let pin = ReleasePin { fleet: 7, commit: "19c48bc".to_owned() };
    agent.world.publish.send_modify(|it| it.pin = Some(pin.clone()));
    agent.world.cloud.registrations.push(Ok(RegisteredDevice { id: 5 }));
    agent.world.cloud.releases.push(Ok(Some(3)));
    let polls = |calls: &[CloudCall]| calls.iter().any(|it| matches!(it, CloudCall::Target { .. }));
    // The cloud does not answer, and the power is cut.
    agent.lives(Duration::from_secs(40)).await;
    let account = agent.world.account.borrow().as_ref().unwrap().account(None);
    let calls = agent.world.cloud.take_calls();
    assert!(matches!(calls[0], CloudCall::Register { .. }), "{calls:?}");
    assert_eq!(calls[1], CloudCall::ReleaseId { account: account.clone(), release: pin });
    assert_eq!(calls[2], CloudCall::Pin { account, device_id: 5, release_id: 3 });
    assert!(!polls(&calls), "{calls:?}");
    agent.world.cloud.releases.push(Ok(Some(3)));
    agent.world.cloud.pins.push(Ok(()));
    agent.lives(Duration::from_secs(1000)).await;
    let calls = agent.world.cloud.take_calls();
    assert!(matches!(calls[..], [CloudCall::ReleaseId { .. }, CloudCall::Pin { .. }, ..]) && polls(&calls), "{calls:?}");
    assert_eq!(agent.seen.borrow().pin, Pinning::Pinned("19c48bc".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_boot_partition_that_cannot_be_written_holds_nothing_up() {
    let mut agent = Agent::new(Some(provisioning()));
    agent.world.is_boot_read_only.set(true);
    agent.world.cloud.registrations.push(Ok(RegisteredDevice { id: 5 }));
    agent.lives(Duration::from_secs(10)).await;
    assert!(matches!(agent.told(), Some(Some(_))));
    assert!(matches!(agent.seen.borrow().registration, Registration::Registered { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_config_json_that_has_it_all_is_not_written() {
    let agent = Agent::new(Some(provisioning()));
    agent.world.cloud.registrations.push(Ok(RegisteredDevice { id: 5 }));
    agent.lives(Duration::from_secs(10)).await;
    let fields = agent.world.provisioned.take().remove(0);
    let written = CloudProvisioning {
        provisioning_key: None,
        uuid: Some(fields.uuid),
        device_key: Some(fields.key),
        device_id: fields.device_id,
        registered_at_ms: Some(fields.registered_at_ms),
        ..provisioning()
    };
    agent.wanted.send_replace(Some(written));
    agent.lives(Duration::from_secs(10)).await;
    assert!(agent.world.provisioned.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_running_agent_joins_and_leaves_when_its_provisioning_changes() {
    let mut agent = Agent::new(None);
    agent.world.cloud.registrations.push(Ok(RegisteredDevice { id: 5 }));
    let wanted = agent.wanted.clone();
    tokio::join!(agent.lives(Duration::from_secs(100)), async {
        sleep(Duration::from_secs(10)).await;
        wanted.send_replace(Some(provisioning()));
        sleep(Duration::from_secs(10)).await;
        wanted.send_replace(None);
    });
    assert!(matches!(agent.told(), Some(Some(_))));
    assert_eq!(agent.told(), Some(None));
    assert_eq!(agent.seen.borrow().registration, Registration::NoCloud);
}

#[tokio::test(start_paused = true)]
async fn what_the_provisioning_lacks_is_shown() {
    let agent = Agent::new(Some(CloudProvisioning { provisioning_key: None, ..provisioning() }));
    agent.lives(Duration::from_secs(10)).await;
    let Registration::Pending { why: Some(why), next: None } = agent.seen.borrow().registration.clone() else { panic!() };
    assert!(why.contains("neither apiKey nor deviceApiKey"), "{why}");
}
