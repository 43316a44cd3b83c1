//! The contract of every world's update locks.

use std::pin::pin;
use std::time::Duration;

use boardkeeper::port::{LockError, Locks};
use boardkeeper::sorted::{SortedMap, SortedSet};
use boardkeeper::state::{AppId, Force, LockHolders, LockState as State, ServiceKey};
use futures_util::{FutureExt, StreamExt};
use tokio::time::{sleep, timeout};

/// A world with locks, and what services do in their directories.
pub(crate) trait Fixture {
    /// The locks.
    fn locks(&self) -> &impl Locks;
    /// A service makes a file in its directory, by which it holds a lock or says that it is ready.
    fn makes(&self, service: &ServiceKey, file: &str);
    /// A service that runs as `nobody`, uid 65534, makes a file.
    fn makes_as_nobody(&self, service: &ServiceKey, file: &str) {
        self.makes(service, file);
    }
    /// A service removes a file.
    fn removes(&self, service: &ServiceKey, file: &str);
    /// What is in a service's directory, sorted.
    fn has(&self, service: &ServiceKey) -> Vec<String>;
}

const APP: AppId = AppId(7);
/// Long enough for any world.
const SOON: Duration = Duration::from_secs(5);
/// Long enough to see that nothing happens.
const WHILE: Duration = Duration::from_millis(300);

fn key(service: &str) -> ServiceKey {
    ServiceKey::new(APP, service)
}

fn names(services: &[&str]) -> SortedSet<String> {
    services.iter().map(|it| (*it).to_owned()).collect()
}

async fn look(world: &impl Fixture) -> Option<State> {
    world
        .locks()
        .observe(&SortedMap::from_iter([(APP, LockHolders::All), (AppId(8), LockHolders::All)]))
        .await
        .unwrap()
        .remove(&APP)
}

/// A lock that no process took is not held.
pub(crate) async fn there_are_none_at_first(world: impl Fixture) {
    assert_eq!(look(&world).await, None);
    assert_eq!(world.locks().apps().await, Ok(SortedSet::new()));
    world.locks().release(APP).await.unwrap();
    world.locks().expect_hand_over(&key("a")).await.unwrap();
}

/// Both files of each service are made, and given back.
pub(crate) async fn what_is_taken_is_ours_until_released(world: impl Fixture) {
    let both = names(&["a", "b"]);
    for _ in 0..2 {
        world.locks().take(APP, &both, Force::No).await.unwrap();
        // Again is no error: they are ours.
        world.locks().take(APP, &names(&["a"]), Force::No).await.unwrap();
        assert_eq!(look(&world).await, Some(State::Ours(both.clone())));
        assert_eq!(world.has(&key("a")), ["resin-updates.lock", "updates.lock"]);
        world.locks().release(APP).await.unwrap();
        assert_eq!(look(&world).await, None);
        assert!(world.has(&key("b")).is_empty());
    }
}

/// Either file blocks, ours or not, and one blocks the app.
pub(crate) async fn a_lock_of_a_service_holds_up_the_app(world: impl Fixture) {
    for file in ["updates.lock", "resin-updates.lock", "my-updates.lock"] {
        world.makes(&key("b"), file);
        assert_eq!(world.locks().apps().await, Ok(SortedSet::from([APP])));
        let seen = look(&world).await;
        let held = seen.and_then(|it| if let State::Held(held) = it { Some(held) } else { None }).unwrap();
        assert_eq!(held.service, "b");
        assert!(held.path.ends_with(&format!("/7/b/{file}")), "{}", held.path);
        let refused = world.locks().take(APP, &names(&["a", "b"]), Force::No).await;
        assert_eq!(refused, Err(LockError::Held(held)));
        assert!(world.has(&key("a")).is_empty(), "all or nothing");
        assert_eq!(world.has(&key("b")), [file]);
        world.removes(&key("b"), file);
    }
    world.makes(&key("b"), "notes");
    world.locks().take(APP, &names(&["a", "b"]), Force::No).await.unwrap();
}

/// Where one is refused, what was ours is given back, and theirs is not.
pub(crate) async fn a_refused_one_leaves_none_of_ours(world: impl Fixture) {
    world.locks().take(APP, &names(&["a"]), Force::No).await.unwrap();
    world.makes(&key("b"), "updates.lock");
    world.locks().take(APP, &names(&["a", "b"]), Force::No).await.unwrap_err();
    assert!(world.has(&key("a")).is_empty());
    world.locks().release(APP).await.unwrap();
    assert_eq!(world.has(&key("b")), ["updates.lock"]);
}

/// Force takes away what others hold, and nothing else.
pub(crate) async fn force_takes_it_away(world: impl Fixture) {
    world.makes(&key("a"), "updates.lock");
    world.makes(&key("a"), "data");
    world.makes(&key("c"), "updates.lock");
    world.locks().take(APP, &names(&["a"]), Force::Yes).await.unwrap();
    assert_eq!(world.has(&key("a")), ["data", "resin-updates.lock", "updates.lock"]);
    world.locks().release(APP).await.unwrap();
    assert_eq!(world.has(&key("a")), ["data"]);
    assert_eq!(world.has(&key("c")), ["updates.lock"]);
}

/// A service whose user is the one that supervisors give their locks to holds its own lock.
pub(crate) async fn the_lock_of_a_service_that_runs_as_nobody_is_its_own(world: impl Fixture) {
    for file in ["updates.lock", "resin-updates.lock"] {
        world.makes_as_nobody(&key("a"), file);
        assert!(matches!(look(&world).await, Some(State::Held(held)) if held.service == "a"));
        world.locks().take(APP, &names(&["a"]), Force::No).await.unwrap_err();
        world.locks().release(APP).await.unwrap();
        assert_eq!(world.has(&key("a")), [file], "only force removes it");
        world.locks().take(APP, &names(&["a"]), Force::Yes).await.unwrap();
        assert_eq!(look(&world).await, Some(State::Ours(names(&["a"]))));
        world.locks().release(APP).await.unwrap();
        assert!(world.has(&key("a")).is_empty());
    }
}

/// A service that is neither wanted nor there holds up nothing, and its file stays.
pub(crate) async fn the_lock_of_a_service_that_is_gone_holds_up_nothing(world: impl Fixture) {
    world.makes(&key("gone"), "updates.lock");
    let seen = async |services: &[&str]| {
        let holders = SortedMap::from_iter([(APP, LockHolders::Only(names(services)))]);
        world.locks().observe(&holders).await.unwrap().remove(&APP)
    };
    assert_eq!(seen(&["a"]).await, None);
    assert_eq!(seen(&[]).await, None);
    assert!(matches!(seen(&["a", "gone"]).await, Some(State::Held(held)) if held.service == "gone"));
    world.locks().take(APP, &names(&["a"]), Force::No).await.unwrap();
    assert_eq!(seen(&["a"]).await, Some(State::Ours(names(&["a"]))));
    world.locks().release(APP).await.unwrap();
    assert_eq!(world.has(&key("gone")), ["updates.lock"]);
}

/// What a supervisor that was killed left of its own beside a service's lock is reported, and released.
pub(crate) async fn ours_beside_a_services_lock_are_given_back(world: impl Fixture) {
    world.locks().take(APP, &names(&["a"]), Force::No).await.unwrap();
    world.makes(&key("b"), "updates.lock");
    assert!(matches!(look(&world).await, Some(State::Both(held)) if held.service == "b"));
    world.locks().release(APP).await.unwrap();
    assert!(matches!(look(&world).await, Some(State::Held(held)) if held.service == "b"));
    assert!(world.has(&key("a")).is_empty());
}

/// A release is reported, also in a directory that came later.
pub(crate) async fn a_release_is_reported(world: impl Fixture) {
    let mut changes = pin!(world.locks().changes());
    assert_eq!(changes.next().now_or_never(), None);
    for service in ["a", "b"] {
        world.makes(&key(service), "updates.lock");
        // A new directory may be reported too.
        while timeout(WHILE, changes.next()).await.is_ok() {}
        world.removes(&key(service), "updates.lock");
        timeout(SOON, changes.next()).await.unwrap();
        while timeout(WHILE, changes.next()).await.is_ok() {}
    }
}

/// A hand-over is waited for; one of an earlier time is forgotten.
pub(crate) async fn a_hand_over_is_waited_for(world: impl Fixture) {
    for file in ["handover-complete", "resin-kill-me"] {
        world.makes(&key("a"), file);
        timeout(SOON, world.locks().handed_over(&key("a"))).await.unwrap().unwrap();
        world.locks().expect_hand_over(&key("a")).await.unwrap();
        assert!(world.has(&key("a")).is_empty());
        let signals = async {
            sleep(WHILE).await;
            world.makes(&key("a"), "other");
            sleep(WHILE).await;
            world.makes(&key("a"), file);
            world.removes(&key("a"), "other");
        };
        let key = key("a");
        let mut waits = pin!(world.locks().handed_over(&key));
        assert!(timeout(WHILE, waits.as_mut()).await.is_err());
        let (handed, ()) = timeout(SOON, async { tokio::join!(waits, signals) }).await.unwrap();
        handed.unwrap();
        world.removes(&key, file);
    }
}

/// A name that is no name of a directory is refused.
pub(crate) async fn names_that_lead_elsewhere_are_refused(world: impl Fixture) {
    for name in ["", ".", "..", "a/b"] {
        let taken = world.locks().take(APP, &names(&[name]), Force::Yes).await;
        assert!(matches!(taken, Err(LockError::Failed(_) | LockError::File(_))), "{name}: {taken:?}");
    }
    assert_eq!(look(&world).await, None);
}

/// Holds every fact of this suite against a world, with a macro of the world's: the list is here, and nowhere else.
macro_rules! every_fact {
    ($hold:ident, $($world:tt)*) => {
        $hold! { $($world)*:
            there_are_none_at_first
            what_is_taken_is_ours_until_released
            a_lock_of_a_service_holds_up_the_app
            a_refused_one_leaves_none_of_ours
            force_takes_it_away
            the_lock_of_a_service_that_runs_as_nobody_is_its_own
            the_lock_of_a_service_that_is_gone_holds_up_nothing
            ours_beside_a_services_lock_are_given_back
            a_release_is_reported
            a_hand_over_is_waited_for
            names_that_lead_elsewhere_are_refused
        }
    };
}
pub(crate) use every_fact;
