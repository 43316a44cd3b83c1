//! The contract of every world's cloud.

mod connections;
mod faults;
pub(crate) mod lab;
mod proxy;
mod server;
mod slow;
mod trust;
mod url;
mod wire;

use std::time::Duration;

use boardkeeper::port::{Cloud, CloudError, TargetAnswer};
use boardkeeper::state::Secret;
use boardkeeper::state::cloud::{
    CloudAccount, CloudLogLine, DeviceReport, LogSource, RegisteredDevice, RegistrationForm, ReleasePin, ReportValue,
    TrafficPurpose,
};

/// A world with a cloud in which a device is registered.
pub(crate) trait Fixture {
    /// The cloud.
    fn cloud(&self) -> &impl Cloud;
    /// The device's account.
    fn account(&self) -> CloudAccount;
    /// The cloud has another target for the device.
    fn wants(&self, document: &str);
    /// The cloud refuses every request from now on.
    fn refuses(&self, status: u16, why: &'static str, wait_secs: u64);
    /// The cloud cannot be reached any more.
    fn goes_away(&self);
    /// The fleet 7 has a release of this commit; its number.
    fn releases(&self, commit: &'static str) -> u64;
    /// The release that the device is pinned on.
    fn pinned(&self) -> Option<u64>;
    /// How many lines of logs it has.
    fn uploaded(&self) -> usize;
}

/// A target comes once, with its `ETag`; with that, it comes again only when it is another.
pub(crate) async fn a_target_comes_when_it_is_another(world: impl Fixture) {
    let (cloud, account) = (world.cloud(), world.account());
    world.wants("{\"a\": 1}");
    let first = cloud.target(&account, None).await.unwrap();
    let TargetAnswer::Document { text, etag: Some(etag) } = first else { panic!("{first:?}") };
    assert_eq!(text, "{\"a\": 1}");
    assert_eq!(cloud.target(&account, Some(&etag)).await, Ok(TargetAnswer::NotModified));
    world.wants("{\"a\": 2}");
    let second = cloud.target(&account, Some(&etag)).await.unwrap();
    assert!(matches!(&second, TargetAnswer::Document { text, .. } if text == "{\"a\": 2}"), "{second:?}");
}

/// A refusal says why, and how long to wait.
pub(crate) async fn a_refusal_says_why_and_how_long(world: impl Fixture) {
    world.refuses(503, "later", 25);
    let expected = CloudError::Refused { status: 503, why: "later".to_owned(), retry_after: Some(Duration::from_secs(25)) };
    let (cloud, account) = (world.cloud(), world.account());
    assert_eq!(cloud.target(&account, None).await, Err(expected.clone()));
    assert_eq!(cloud.report(&account, &DeviceReport::default()).await, Err(expected.clone()));
    assert_eq!(cloud.upload_logs(&account, &[]).await, Err(expected));
}

/// A cloud that is gone is unreachable, for every request.
pub(crate) async fn a_cloud_that_is_gone_is_unreachable(world: impl Fixture) {
    world.goes_away();
    let (cloud, account) = (world.cloud(), world.account());
    assert!(matches!(cloud.target(&account, None).await, Err(CloudError::Unreachable(_))));
    assert!(matches!(cloud.report(&account, &DeviceReport::default()).await, Err(CloudError::Unreachable(_))));
    assert!(matches!(cloud.upload_logs(&account, &[]).await, Err(CloudError::Unreachable(_))));
}

/// What is accepted is there.
pub(crate) async fn reports_and_logs_are_accepted(world: impl Fixture) {
    let (cloud, account) = (world.cloud(), world.account());
    let report =
        DeviceReport { fields: [("cpu_temp", ReportValue::Number(48))].into_iter().collect(), ..DeviceReport::default() };
    cloud.report(&account, &report).await.unwrap();
    let line = |text: &str| CloudLogLine { text: text.to_owned(), at_ms: 1_795_435_573_506, source: LogSource::System };
    cloud.upload_logs(&account, &[line("a"), line("b")]).await.unwrap();
    assert_eq!(world.uploaded(), 2);
}

/// A device gets a number, and has it afterwards.
pub(crate) async fn a_registered_device_has_a_number(world: impl Fixture) {
    let (cloud, account) = (world.cloud(), world.account());
    let form = form(&account);
    let RegisteredDevice { id } = cloud.register(&account.endpoint, &Secret::new("p".repeat(32)), &form).await.unwrap();
    assert_eq!(cloud.device_id(&account.endpoint, &account.key, &account.uuid).await, Ok(Some(id)));
}

/// A device is pinned on a release that its fleet has; of one that it has not there is no number.
pub(crate) async fn a_device_is_pinned_on_a_release_of_its_fleet(world: impl Fixture) {
    let (cloud, account) = (world.cloud(), world.account());
    let number = world.releases("19c48bcaffa860");
    let release = |fleet, commit: &str| ReleasePin { fleet, commit: commit.to_owned() };
    assert_eq!(cloud.release_id(&account, &release(7, "19c48bcaffa860")).await, Ok(Some(number)));
    for other in [release(7, "414e65cd378a69"), release(8, "19c48bcaffa860")] {
        assert_eq!(cloud.release_id(&account, &other).await, Ok(None), "{other:?}");
    }
    for _ in 0..2 {
        cloud.pin(&account, 5, number).await.unwrap();
        assert_eq!(world.pinned(), Some(number));
    }
}

/// Tags that are set are read afterwards, beside those that were there.
pub(crate) async fn tags_that_are_set_are_there(world: impl Fixture) {
    let (cloud, account) = (world.cloud(), world.account());
    assert_eq!(cloud.tags(&account).await, Ok(Vec::new()));
    for (name, value) in [("fw", "1"), ("site", "a \"b\""), ("fw", "2")] {
        cloud.set_tags(&account, &[(name.to_owned(), value.to_owned())].into_iter().collect()).await.unwrap();
    }
    let tags = cloud.tags(&account).await.unwrap();
    let shown: Vec<_> = tags.iter().map(|it| (it.name.as_str(), it.value.as_str())).collect();
    assert_eq!(shown, [("fw", "2"), ("site", "a \"b\"")]);
}

/// Bytes are counted in both directions, for what they were sent.
pub(crate) async fn bytes_are_counted_by_purpose(world: impl Fixture) {
    let (cloud, account) = (world.cloud(), world.account());
    assert!(cloud.traffic().0.is_empty());
    world.wants("{}");
    cloud.target(&account, None).await.unwrap();
    cloud.upload_logs(&account, &[]).await.unwrap();
    let traffic = cloud.traffic();
    assert_eq!(traffic.0.keys().copied().collect::<Vec<_>>(), [TrafficPurpose::Poll, TrafficPurpose::Logs]);
    assert!(traffic.0.values().all(|it| it.sent > 100 && it.received > 10), "{traffic:?}");
}

fn form(account: &CloudAccount) -> RegistrationForm {
    RegistrationForm {
        fleet: 1,
        user: None,
        uuid: account.uuid.clone(),
        key: account.key.clone(),
        device_type: "raspberrypi3".to_owned(),
        os_version: Some("balenaOS 6.4.0".to_owned()),
        os_variant: Some("prod".to_owned()),
        supervisor_version: "19.0.5".to_owned(),
        mac_address: Some("02:42:AC:11:00:02".to_owned()),
    }
}

/// Holds every fact of this suite against a world, with a macro of the world's: the list is here, and nowhere else.
macro_rules! every_fact {
    ($hold:ident, $($world:tt)*) => {
        $hold! { $($world)*:
            a_target_comes_when_it_is_another
            a_refusal_says_why_and_how_long
            a_cloud_that_is_gone_is_unreachable
            reports_and_logs_are_accepted
            a_registered_device_has_a_number
            a_device_is_pinned_on_a_release_of_its_fleet
            tags_that_are_set_are_there
            bytes_are_counted_by_purpose
        }
    };
}
pub(crate) use every_fact;
