use super::*;
use crate::cloud::jitter::Jitter;
use crate::state::cloud::{RegisteredDevice, ReportedVersions, fingerprint};
use crate::testing::{CloudCall, TestWorld, refused, unreachable_cloud};

const UUID: &str = "c0ffee00c0ffee00c0ffee00c0ffee00";

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn wanted() -> CloudProvisioning {
    CloudProvisioning {
        endpoint: "https://api.example.com".to_owned(),
        fleet: Some(7),
        provisioning_key: Some(secret("fleet")),
        ..CloudProvisioning::default()
    }
}

fn begun() -> AccountRecord {
    AccountRecord {
        endpoint: "https://api.example.com".to_owned(),
        uuid: UUID.to_owned(),
        key: secret("own"),
        provisioned_by: Some(fingerprint(&secret("fleet"))),
        device_id: None,
        registered_at_ms: None,
    }
}

/// A world, and the channels of a registration in it.
struct Bench {
    world: TestWorld,
    pace: Pace,
    status: watch::Receiver<Status>,
    publish: watch::Sender<CloudStatus>,
}

impl Bench {
    fn new() -> Self {
        let world = TestWorld::default();
        world.now_secs.set(1_795_834_102);
        let device = Device {
            uuid: UUID.to_owned(),
            device_type: "raspberrypi3".to_owned(),
            reported: ReportedVersions::of("Debian GNU/Linux 12 (bookworm)", Some("12.9"), false, "0.2.0"),
            mac_address: "B8:27:EB:00:00:01".to_owned(),
            ..Device::default()
        };
        world.publish.send_modify(|it| it.device = device);
        let status = world.publish.subscribe();
        let pace = Pace::new(Jitter::new([7; 32]), Duration::from_secs(900));
        Self { world, pace, status, publish: watch::Sender::default() }
    }

    async fn run(&self, wanted: &CloudProvisioning, account: AccountRecord) -> AccountRecord {
        let links = RegistrationLinks { pace: &self.pace, status: &self.status, publish: &self.publish };
        run(&self.world, wanted, account, &links).await
    }

    /// Registers with what is scripted; ends when the cloud does not answer any more.
    async fn until_silent(&self, wanted: &CloudProvisioning) -> Option<AccountRecord> {
        tokio::time::timeout(Duration::from_secs(24 * 60 * 60), self.run(wanted, begun())).await.ok()
    }

    fn why(&self) -> String {
        match self.publish.borrow().registration.clone() {
            Registration::Pending { why, .. } => why.unwrap_or_default(),
            other => format!("{other:?}"),
        }
    }

    /// The requests so far, in words: what, and with which key.
    fn calls(&self) -> Vec<String> {
        let words = |call| match call {
            CloudCall::Register { key, form } => format!("register {} with {key}", form.uuid),
            CloudCall::DeviceId { key, .. } => format!("fetch with {key}"),
            CloudCall::ExchangeKey { key, device_id, new_key } => format!("give {device_id} {new_key} with {key}"),
            other => format!("{other:?}"),
        };
        self.world.cloud.take_calls().into_iter().map(words).collect()
    }
}

fn register_call() -> String {
    format!("register {UUID} with fleet")
}

#[tokio::test(start_paused = true)]
async fn a_device_is_registered_as_what_it_reports_itself_to_be() {
    let bench = Bench::new();
    bench.world.cloud.registrations.push(Ok(RegisteredDevice { id: 5 }));
    let account = bench.run(&wanted(), begun()).await;
    assert_eq!((account.device_id, account.registered_at_ms), (Some(5), Some(1_795_834_102_000)));
    assert_eq!(*bench.world.saved.borrow(), [Record::Account(account)]);
    let calls = bench.world.cloud.take_calls();
    let [CloudCall::Register { key, form }] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!((key.as_str(), form.fleet, form.uuid.as_str(), form.key.reveal()), ("fleet", 7, UUID, "own"));
    assert_eq!((form.device_type.as_str(), form.os_version.as_deref()), ("raspberrypi3", Some("12.9.0")));
    assert_eq!((form.supervisor_version.as_str(), form.os_variant.as_deref()), ("19.0.5+bk0.2.0", Some("prod")));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_ends_in_one_device() {
    let bench = Bench::new();
    let cloud = &bench.world.cloud;
    cloud.registrations.push(Err(unreachable_cloud()));
    cloud.registrations.push(Err(refused(409, "\"uuid\" must be unique.")));
    cloud.device_ids.push(Ok(Some(5)));
    let account = bench.run(&wanted(), begun()).await;
    assert_eq!((account.uuid.as_str(), account.key.reveal(), account.device_id), (UUID, "own", Some(5)));
    assert_eq!(bench.calls(), [register_call(), register_call(), "fetch with own".to_owned()]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_expired_after_the_lost_answer_ends_in_one_device_too() {
    let bench = Bench::new();
    bench.world.cloud.registrations.push(Err(refused(401, "")));
    bench.world.cloud.device_ids.push(Ok(Some(5)));
    assert_eq!(bench.run(&wanted(), begun()).await.device_id, Some(5));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_the_provisioning_key_sees_is_given_our_key() {
    let bench = Bench::new();
    let cloud = &bench.world.cloud;
    cloud.registrations.push(Err(refused(409, "")));
    cloud.device_ids.push(Err(refused(401, "")));
    cloud.device_ids.push(Ok(Some(5)));
    cloud.exchanges.push(Ok(()));
    let account = bench.run(&wanted(), begun()).await;
    assert_eq!((account.uuid.as_str(), account.device_id), (UUID, Some(5)));
    let last = bench.calls().pop().unwrap();
    assert_eq!(last, "give 5 own with fleet");
}

#[tokio::test(start_paused = true)]
async fn a_uuid_of_another_device_is_given_up_when_the_cloud_says_so_definitely_and_not_before() {
    let bench = Bench::new();
    let cloud = &bench.world.cloud;
    for _ in 0..3 {
        cloud.registrations.push(Err(refused(409, "")));
        cloud.device_ids.push(Err(refused(401, "")));
        cloud.device_ids.push(Err(refused(401, "")));
    }
    cloud.registrations.push(Ok(RegisteredDevice { id: 6 }));
    let account = bench.run(&wanted(), begun()).await;
    assert!(account.uuid != UUID && account.key != secret("own"));
    let saved = bench.world.saved.borrow();
    let [Record::Account(before), Record::Account(after)] = &saved[..] else { panic!("{saved:?}") };
    assert_eq!((before.is_registered(), &before.uuid, after), (false, &account.uuid, &account));
    assert_eq!(bench.calls().pop(), Some(format!("register {} with fleet", account.uuid)));
}

#[tokio::test(start_paused = true)]
async fn a_uuid_that_config_json_names_is_never_given_up() {
    for wanted in [
        CloudProvisioning { uuid: Some(UUID.to_owned()), ..wanted() },
        CloudProvisioning { device_key: Some(secret("own")), ..wanted() },
    ] {
        let bench = Bench::new();
        for _ in 0..5 {
            bench.world.cloud.registrations.push(Err(refused(409, "")));
            bench.world.cloud.device_ids.push(Ok(None));
            bench.world.cloud.device_ids.push(Ok(None));
        }
        assert_eq!(bench.until_silent(&wanted).await, None);
        assert!(bench.why().contains("delete that device in the cloud"), "{}", bench.why());
        assert!(bench.world.saved.borrow().is_empty());
        assert_eq!(bench.calls().iter().filter(|it| **it == register_call()).count(), 6);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_cannot_be_asked_is_no_definite_answer() {
    let bench = Bench::new();
    let cloud = &bench.world.cloud;
    for _ in 0..5 {
        cloud.registrations.push(Err(refused(409, "")));
        cloud.device_ids.push(Err(unreachable_cloud()));
    }
    assert_eq!(bench.until_silent(&wanted()).await, None);
    assert!(bench.world.saved.borrow().is_empty());
    assert_eq!(bench.why(), "no route to host");
}

#[tokio::test(start_paused = true)]
async fn each_refusal_says_what_to_do() {
    for (status, said, advised) in [
        (401, "", "download a new config.json"),
        (404, "\"Unknown device type no-such-type\"", "device type `raspberrypi3`"),
        (403, "has OS version x but needs to satisfy", "OS version 12.9.0"),
        (400, "\"UUID must be specified\"", "UUID must be specified"),
        (500, "", "answers 500"),
    ] {
        let bench = Bench::new();
        bench.world.cloud.registrations.push(Err(refused(status, said)));
        bench.world.cloud.device_ids.push(Err(refused(401, "")));
        assert_eq!(bench.until_silent(&wanted()).await, None);
        let why = bench.why();
        assert!(why.contains(advised) && why.contains(said) && !why.contains('\n'), "{status}: {why}");
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_further_and_further_apart() {
    let bench = Bench::new();
    let mut times = Vec::new();
    for _ in 0..9 {
        bench.world.cloud.registrations.push(Err(refused(400, "no")));
    }
    let begun_at = Instant::now();
    let wanted = wanted();
    let mut seen = bench.publish.subscribe();
    let running = bench.run(&wanted, begun());
    tokio::select! {
        biased;
        _ = running => unreachable!(),
        () = async {
            while times.len() < 9 {
                seen.changed().await.unwrap();
                if let Registration::Pending { next: Some(next), .. } = seen.borrow_and_update().registration {
                    times.push((next - begun_at).as_secs());
                }
            }
        } => (),
    }
    let mut at = 0;
    for (time, least) in times.iter().zip([30, 60, 120, 240, 480, 960, 1920, 3600, 3600]) {
        assert!((at + least..=at + least * 5 / 4 + 1).contains(time), "{times:?}");
        at = *time;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_provisioning_key_the_device_may_be_registered_all_the_same() {
    let keyless = CloudProvisioning { provisioning_key: None, ..wanted() };
    let bench = Bench::new();
    bench.world.cloud.device_ids.push(Err(refused(401, "")));
    bench.world.cloud.device_ids.push(Ok(Some(5)));
    let account = bench.run(&keyless, begun()).await;
    assert_eq!((account.device_id, bench.calls()), (Some(5), vec!["fetch with own".to_owned(); 2]));
}

#[tokio::test(start_paused = true)]
async fn no_account_is_used_before_it_is_saved() {
    let bench = Bench::new();
    bench.world.is_full.set(true);
    let links = RegistrationLinks { pace: &bench.pace, status: &bench.status, publish: &bench.publish };
    let account = begun();
    let saving = save(&bench.world, &account, &links);
    tokio::select! {
        biased;
        () = saving => unreachable!("it was not saved"),
        () = sleep(Duration::from_secs(60)) => (),
    }
    assert!(bench.why().contains("cannot be saved"), "{}", bench.why());
    bench.world.is_full.set(false);
    save(&bench.world, &account, &links).await;
    assert_eq!(*bench.world.saved.borrow(), [Record::Account(account)]);
}
