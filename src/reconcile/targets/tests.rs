use std::time::Duration;

use super::*;
use crate::reconcile::testing::{APP, TestWorld, act, key, parse_device, parse_target, pull};
use crate::sorted::SortedMap;
use crate::state::ServiceKey;
use crate::state::contract::{Contract, Requirement};
use crate::state::keys::KeyScope;

/// A target with a document of its own, and so a fingerprint of its own.
pub(in crate::reconcile) fn target(words: &str) -> Target {
    Target { document: words.to_owned(), ..parse_target(words) }
}

fn secret(byte: u8) -> Secret {
    Secret::from_bytes([byte; 32])
}

pub(super) fn images(names: &[&str]) -> SortedSet<ImageRef> {
    names.iter().map(|it| ImageRef::new(it)).collect()
}

/// The targets as stored. `trial`: how often the agent was started with the wanted one.
pub(super) fn stored(wanted: Option<&str>, good: Option<&str>, trial: u32) -> TargetTracker {
    let settings = ReconcilerSettings {
        observe_every: Duration::from_secs(60),
        device: Device::default(),
        uuid: None,
        device_key: None,
        force: Force::No,
        update_window: None,
        rollback: false,
        service_verbs: SortedSet::new(),
    };
    let trial = wanted.map(|it| StartCount { document: target(it).fingerprint(), starts: trial });
    let keys = Keys { device: secret(2), root: secret(1), generations: SortedMap::new(), kept: SortedMap::new() };
    let pulled = [wanted, good]
        .into_iter()
        .flatten()
        .flat_map(|it| target(it).services().map(|(.., service)| service.image.clone()).collect::<Vec<_>>());
    let stored = StoredTargets {
        pulled: pulled.collect(),
        wanted: wanted.map(target),
        last_good: good.map(target),
        good_apps: SortedMap::new(),
    };
    TargetTracker::new(settings, Identity { uuid: "uuid".to_owned() }, keys, stored, trial)
}

/// The agent starts, and refuses a target that ended it too often.
async fn start(targets: &mut TargetTracker, world: &TestWorld) {
    if targets.count_start(&world.context()).await {
        targets.refuse(&world.publish);
    }
    targets.start(&world.publish);
}

/// The targets of an agent whose apps go back when a release fails.
pub(in crate::reconcile) fn on_trial(wanted: Target, good: Option<Target>) -> TargetTracker {
    let mut targets = stored(None, None, 0);
    (targets.stored.wanted, targets.stored.last_good) = (Some(wanted), good);
    targets.releases = ReleaseTracker::new(true);
    targets
}

/// What is published about a rejected target.
fn rejected(world: &TestWorld) -> String {
    world.publish.borrow().rejected.clone().unwrap_or_default()
}

#[tokio::test]
async fn a_new_target_is_accepted_once() {
    let world = TestWorld::default();
    let mut targets = stored(None, None, 0);
    assert!(targets.accept(target("web web:1"), &world.context()).await);
    assert!(!targets.accept(target("web web:1"), &world.context()).await);
    assert!(targets.accept(target("web web:2"), &world.context()).await);
}

/// A target of which a service requires another architecture.
fn with_contract(words: &str, optional: bool) -> Target {
    let mut target = target(words);
    let requires = vec![Requirement::One { kind: "arch.sw".to_owned(), slug: Some("vax".to_owned()), version: None }];
    let contract = Contract { service: Some("db".to_owned()), optional, requires };
    target.apps.get_mut(&APP).unwrap().contracts.push(contract);
    target
}

#[tokio::test]
async fn a_target_with_an_unmet_contract_is_rejected_and_the_last_one_stays() {
    let world = TestWorld::default();
    let mut targets = stored(Some("web web:1"), None, 0);
    assert!(!targets.accept(with_contract("web web:2\ndb db:2", false), &world.context()).await);
    assert!(
        rejected(&world).starts_with("the service db of app requires arch.sw vax, and this device is a "),
        "{}",
        rejected(&world)
    );
    targets.complete(&world.publish);
    assert_eq!(targets.completed().unwrap().services().count(), 1);
    assert!(targets.accept(target("web web:3"), &world.context()).await);
    assert_eq!(rejected(&world), "");
}

#[tokio::test]
async fn releases_of_a_rejected_target_are_published_until_another_is_accepted() {
    let world = TestWorld::default();
    let mut targets = stored(Some("release two\nweb web:2"), Some("release one\nweb web:1"), StartCount::MAX_STARTS + 1);
    let published = || world.publish.borrow().rejected_releases.clone();
    let commit = |it: &str| SortedMap::from_iter([("app".to_owned(), it.to_owned())]);
    start(&mut targets, &world).await;
    assert_eq!(published(), commit("two"));
    assert!(targets.accept(target("release three\nweb web:3"), &world.context()).await);
    assert_eq!(published(), SortedMap::new());
    assert!(!targets.accept(with_contract("release four\nweb web:2\ndb db:2", false), &world.context()).await);
    assert_eq!(published(), commit("four"));
}

#[tokio::test]
async fn the_devices_own_key_is_published_and_stays_hidden() {
    let world = TestWorld::default();
    stored(None, None, 0).start(&world.publish);
    let status = world.publish.borrow().clone();
    assert_eq!(status.device_key, Some(secret(2)));
    let shown = format!("{status:?}");
    let key = hex::encode([2; 32]);
    assert!(!shown.contains(&key), "{shown}");
}

#[tokio::test]
async fn an_optional_service_with_an_unmet_contract_is_left_out_and_the_rest_runs() {
    let world = TestWorld::default();
    let mut targets = stored(None, None, 0);
    assert!(targets.accept(with_contract("web web:2 after:db\ndb db:2", true), &world.context()).await);
    targets.complete(&world.publish);
    let services: Vec<_> =
        targets.completed().unwrap().services().map(|(_, name, it)| (name.clone(), it.depends_on.len())).collect();
    assert_eq!(services, [("web".to_owned(), 0)]);
    // Another release of the agent may meet it: the stored target has it.
    assert_eq!(targets.stored.wanted.as_ref().unwrap().services().count(), 2);
}

#[tokio::test]
async fn a_new_target_ends_the_count_of_starts_with_the_one_before() {
    let world = TestWorld::default();
    let mut targets = stored(Some("web web:1"), None, 2);
    targets.accept(target("web web:2"), &world.context()).await;
    assert_eq!(*world.saved.borrow(), [Record::Trial(None)]);
}

#[tokio::test]
async fn the_last_good_target_counts_as_reached_when_it_is_wanted_again() {
    let world = TestWorld::default();
    let mut targets = stored(Some("web web:2"), Some("web web:1"), 0);
    assert!(!targets.is_reached());
    assert!(targets.accept(target("web web:1"), &world.context()).await);
    assert!(targets.is_reached());
    assert!(targets.accept(target("web web:3"), &world.context()).await);
    assert!(!targets.is_reached());
}

#[tokio::test]
async fn a_target_in_a_crash_loop_is_refused_until_a_request_tries_it_once_more() {
    let world = TestWorld::default();
    let mut targets = stored(Some("web web:2"), Some("web web:1"), StartCount::MAX_STARTS);
    start(&mut targets, &world).await;
    assert!(!targets.accept(target("web web:2"), &world.context()).await);
    assert!(rejected(&world).contains("the last good one is kept (app)"), "{}", rejected(&world));
    assert_eq!(targets.completed().unwrap().services().next().unwrap().2.image, ImageRef::new("web:1"));
    let again = targets.take_refused(&world.context()).await.unwrap();
    assert!(targets.accept(again, &world.context()).await);
    assert_eq!(rejected(&world), "");
    assert!(targets.take_refused(&world.context()).await.is_none());
}

#[tokio::test]
async fn the_agent_rolls_back_when_it_was_started_too_often_with_a_target() {
    let world = TestWorld::default();
    let mut targets = stored(Some("web web:2"), Some("web web:1"), StartCount::MAX_STARTS - 1);
    start(&mut targets, &world).await;
    assert_eq!(targets.stored.wanted, Some(target("web web:2")));
    assert!(!targets.is_reached() && rejected(&world).is_empty());
    let mut targets = stored(Some("web web:2"), Some("web web:1"), StartCount::MAX_STARTS);
    start(&mut targets, &world).await;
    assert_eq!(targets.stored.wanted, Some(target("web web:1")));
    assert!(targets.is_reached() && rejected(&world).contains("the last good one is kept"));
}

#[tokio::test]
async fn without_a_good_target_a_crash_loop_leaves_the_containers_as_they_are() {
    let world = TestWorld::default();
    let mut targets = stored(Some("web web:2"), None, StartCount::MAX_STARTS);
    start(&mut targets, &world).await;
    assert!(targets.completed().is_none() && !targets.is_reached());
    assert!(rejected(&world).contains("there is no good one"), "{}", rejected(&world));
}

#[tokio::test]
async fn starts_with_a_target_that_was_reached_are_not_counted() {
    let world = TestWorld::default();
    let mut targets = stored(Some("web web:1"), Some("web web:1"), 0);
    start(&mut targets, &world).await;
    assert!(targets.is_reached() && world.saved.borrow().is_empty());
    assert!(targets.completed().is_some() && world.publish.borrow().target.is_some());
}

#[tokio::test]
async fn the_images_of_the_last_good_target_stay_until_the_new_one_is_reached() {
    let world = TestWorld::default();
    let mut targets = stored(Some("web web:2"), Some("web web:1\nold old:1"), 0);
    assert_eq!(targets.removable_images(false), images(&["web:2"]));
    targets.mark_reached(false, &world.context()).await;
    assert_eq!(targets.removable_images(false), images(&["old:1", "web:1", "web:2"]));
}

#[test]
fn the_images_of_the_last_good_target_go_when_the_disk_is_full() {
    let targets = stored(Some("web web:2"), Some("web web:1"), 0);
    assert_eq!(targets.removable_images(true), images(&["web:1", "web:2"]));
}

#[test]
fn delete_then_download_gives_up_the_good_image_of_its_own_service_only() {
    let targets = stored(Some("web web:2 delete-first\ndb db:2"), Some("web web:1\ndb db:1"), 0);
    assert_eq!(targets.removable_images(false), images(&["db:2", "web:1", "web:2"]));
}

#[test]
fn images_that_another_program_pulled_are_not_removable() {
    let mut targets = stored(Some("web web:1"), None, 0);
    targets.forget_pulled(&ImageRef::new("web:1"));
    assert_eq!(targets.removable_images(true), images(&[]));
}

#[tokio::test]
async fn a_new_target_records_the_images_it_will_pull_and_forgets_those_that_are_gone() {
    let world = TestWorld::default();
    let mut targets = stored(Some("web web:1"), Some("gone gone:1\nlate late:1"), 0);
    targets.accept(target("web web:2\nbase base:1"), &world.context()).await;
    let present = parse_device("image web:1\nimage base:1").images;
    let is_pulling = |image: &ImageRef| *image == ImageRef::new("late:1");
    assert!(targets.record_expected_pulls(&present, is_pulling));
    // Another program pulled `base:1`.
    assert_eq!(targets.stored.pulled, images(&["late:1", "web:1", "web:2"]));
    assert!(!targets.record_expected_pulls(&present, is_pulling));
}

#[test]
fn a_pull_is_recorded_once() {
    let mut targets = stored(None, None, 0);
    let steps = [act(EngineAction::Start, "db"), pull("web:1")];
    assert!(targets.record_pulls(&steps));
    assert!(!targets.record_pulls(&steps));
    assert_eq!(targets.stored.pulled, images(&["web:1"]));
}

#[test]
fn the_key_of_local_mode_cannot_be_renewed() {
    let targets = stored(Some("web web:1"), None, 0);
    assert_eq!(targets.renewed_keys(Caller::Local, || secret(3)), Err(Refusal::UnknownKey));
}

#[test]
fn the_device_key_is_replaced_and_the_keys_of_services_stay() {
    let targets = stored(Some("web web:1"), None, 0);
    let (keys, key) = targets.renewed_keys(Caller::Device, || secret(3)).unwrap();
    assert_eq!((key, &keys.device), (secret(3), &secret(3)));
    assert_eq!(Keys { device: secret(2), ..keys }, targets.keys);
}

#[tokio::test]
async fn the_key_of_a_service_is_replaced_and_no_other() {
    let world = TestWorld::default();
    let mut targets = stored(Some("web web:1\ndb db:1"), None, 0);
    start(&mut targets, &world).await;
    let service = |name| Caller::Service { key: key(name), reach: KeyScope::App };
    let (keys, web) = targets.renewed_keys(service("web"), || unreachable!()).unwrap();
    assert_eq!(web, keys.of(&key("web"), "app"));
    assert_ne!(web, targets.keys.of(&key("web"), "app"));
    assert_eq!(keys.of(&key("db"), "app"), targets.keys.of(&key("db"), "app"));
    assert_eq!(keys.device, targets.keys.device);
    let gone = Caller::Service { key: ServiceKey::new(AppId(2), "web"), reach: KeyScope::App };
    assert_eq!(targets.renewed_keys(gone, || unreachable!()), Err(Refusal::UnknownKey));
}

#[test]
fn new_keys_have_to_be_brought_to_the_services() {
    let mut targets = stored(Some("web web:1"), Some("web web:1"), 0);
    assert!(targets.is_reached());
    targets.set_keys(targets.keys.clone());
    assert!(!targets.is_reached());
}

#[tokio::test]
async fn a_reached_target_is_marked_beside_its_record() {
    let world = TestWorld::default();
    let mut targets = stored(Some("web web:2"), Some("web web:1"), 0);
    assert!(!targets.mark_reached(false, &world.context()).await);
    assert!(targets.is_reached());
    assert_eq!(*world.saved.borrow(), [Record::Proved(target("web web:2").fingerprint())]);
    assert_eq!(targets.stored.last_good, Some(target("web web:2")));
    // It was marked already.
    assert!(!targets.mark_reached(false, &world.context()).await);
    assert_eq!(world.saved.borrow().len(), 1);
}

#[tokio::test]
async fn a_reached_target_is_saved_as_a_whole_where_no_mark_can_be_set() {
    let world = TestWorld::default();
    assert!(stored(Some("web web:2"), None, 0).mark_reached(true, &world.context()).await, "its record is not saved yet");
    assert!(world.saved.borrow().is_empty());
    world.is_full.set(true);
    assert!(stored(Some("web web:2"), None, 0).mark_reached(false, &world.context()).await, "the disk is full");
}

#[test]
fn locks_are_overridden_where_the_target_or_the_configuration_says_so() {
    for name in ["SUPERVISOR_OVERRIDE_LOCK", "OVERRIDE_LOCK"] {
        for (value, force) in [("1", Force::Yes), ("TRUE", Force::Yes), ("on", Force::Yes), ("0", Force::No), ("", Force::No)] {
            let mut targets = stored(Some("web web:1"), None, 0);
            let wanted = targets.stored.wanted.as_mut().unwrap();
            wanted.config.insert(name.to_owned(), value.to_owned());
            assert_eq!(targets.force(), force, "{name}={value}");
        }
    }
    let mut targets = stored(Some("web web:1"), None, 0);
    assert_eq!(targets.force(), Force::No);
    targets.force = Force::Yes;
    assert_eq!(targets.force(), Force::Yes);
}

#[test]
fn a_changed_target_has_to_be_planned_for_once() {
    let world = TestWorld::default();
    let mut targets = stored(Some("web web:1"), None, 0);
    targets.complete(&world.publish);
    assert!(!targets.has_changed());
    targets.complete_changed(&world.publish);
    assert!(targets.has_changed() && targets.take_changed());
    assert!(!targets.has_changed() && !targets.take_changed());
    assert_eq!(targets.app(APP).unwrap().services.len(), 1);
}
