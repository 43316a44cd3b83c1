//! Named lives about the data of volumes: it is copied before a release begins, and put back when that fails.

use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::state::config::{Mount, MountMode};
use boardkeeper::state::service::Strategy;
use boardkeeper::state::{App, DataState, ReleaseTrial, Service, VolumeConfig};
use tokio::time::sleep;

use crate::clients::ApiCall;
use crate::scenario::{HOUR, MINUTE, Scenario, run_scenario, with};
use crate::world::CrashKind;
use crate::world::crashes::CrashPoint;
use crate::world::snapshots::CopyRoom;
use crate::world::targets::{app, check};

const VOLUME: &str = "1_data";
const SNAPSHOT: &str = "boardkeeper-before-1_data";
const STRATEGIES: [Strategy; 4] =
    [Strategy::DownloadThenKill, Strategy::KillThenDownload, Strategy::DeleteThenDownload, Strategy::HandOver];

/// Whether a release works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Web {
    Well,
    Sick,
}

/// A release of two services: one has the data, and the other may be sick.
fn release([db, web]: [u32; 2], strategy: Strategy, health: Web) -> App {
    let rules = |it: &mut Service| {
        it.strategy = strategy;
        it.handover_timeout = Duration::from_secs(10);
        it.trial.rollback = Some(true);
        it.trial.deadline = 2 * MINUTE;
    };
    let db = with(&format!("r/db:{db}"), |it| {
        rules(it);
        let data = Mount::Volume { name: "data".to_owned(), path: "/data".to_owned(), access: MountMode::Write };
        it.config.mounts.insert(data);
    });
    let web = with(&format!("r/web:{web}"), |it| {
        rules(it);
        it.config.health = Some(check());
        if health == Web::Sick {
            it.config.env.insert("SICK".to_owned(), "1".to_owned());
        }
    });
    let version = format!("{}{}", db.image, web.image);
    let mut app = app(1, [("db", db), ("web", web)]);
    app.commit = Some(version.replace(['/', ':'], "-"));
    app.volumes.insert("data".to_owned(), VolumeConfig::default());
    app.snapshots.insert("data".to_owned());
    app
}

fn good(strategy: Strategy) -> App {
    release([1, 1], strategy, Web::Well)
}

fn sick(strategy: Strategy) -> App {
    release([2, 2], strategy, Web::Sick)
}

fn trial(scenario: &Scenario) -> Option<ReleaseTrial> {
    scenario.sim.with(|model| model.status.as_ref()?.borrow().releases.values().next().cloned())
}

/// What is recorded of the volume.
fn kept(scenario: &Scenario) -> Option<DataState> {
    scenario.sim.with(|model| model.disk.kept.kept_data.values().next()?.volumes.get("data").copied())
}

/// The images that wrote to the volume since a release was proven good.
fn writes(scenario: &Scenario) -> Vec<String> {
    scenario.sim.with(|model| {
        let data = model.engine.data.get(VOLUME).cloned().unwrap_or_default();
        assert!(!data.half, "half of it is there");
        data.writes.into_iter().map(|(_, image)| image).collect()
    })
}

fn has_snapshot(scenario: &Scenario) -> bool {
    scenario.sim.with(|model| model.engine.snapshots.contains_key(SNAPSHOT))
}

async fn first_is_good(scenario: &Scenario) {
    scenario.settles().await;
    sleep(2 * MINUTE).await;
    assert_eq!((trial(scenario), writes(scenario)), (Some(ReleaseTrial::Good), vec![]), "\n{}", scenario.sim.trace());
}

/// Waits until something is so, for an hour at most.
async fn comes_to(scenario: &Scenario, so: impl Fn() -> bool) {
    for _ in 0..360 {
        if so() {
            break;
        }
        sleep(Duration::from_secs(10)).await;
    }
    assert!(so(), "{:?} {:?} {:?}\n{}", trial(scenario), scenario.images(), kept(scenario), scenario.sim.trace());
}

/// The app is back at the first release, with the data of that.
async fn goes_back(scenario: &Scenario) {
    let is_back =
        || matches!(trial(scenario), Some(ReleaseTrial::RolledBack(..))) && scenario.images() == ["r/db:1", "r/web:1"];
    comes_to(scenario, is_back).await;
    assert!(writes(scenario).iter().all(|it| it == "r/db:1"), "{:?}\n{}", writes(scenario), scenario.sim.trace());
    comes_to(scenario, || kept(scenario).is_none() && !has_snapshot(scenario)).await;
}

#[test]
fn a_release_that_fails_leaves_nothing_in_the_data() {
    for strategy in STRATEGIES {
        run_scenario(&[good(strategy)], async |scenario| {
            first_is_good(scenario).await;
            scenario.writes([sick(strategy)]);
            scenario.until(|model| model.engine.data.get(VOLUME).is_some_and(|it| !it.writes.is_empty())).await;
            assert_eq!((writes(scenario), kept(scenario)), (vec!["r/db:2".into()], Some(DataState::Kept)));
            goes_back(scenario).await;
            sleep(3 * HOUR).await;
            assert_eq!(writes(scenario), ["r/db:1"], "{strategy:?}");
            let (copies, back) =
                (scenario.begun("copy the data of volume 1_data"), scenario.begun("put the data of volume 1_data back"));
            assert_eq!((copies, back), (1, 1), "\n{}", scenario.sim.trace());
        });
    }
}

#[test]
fn the_copy_goes_when_the_release_is_good_and_its_data_stays() {
    for strategy in STRATEGIES {
        run_scenario(&[good(strategy)], async |scenario| {
            first_is_good(scenario).await;
            scenario.writes([release([2, 2], strategy, Web::Well)]);
            scenario.until(|model| model.engine.snapshots.contains_key(SNAPSHOT)).await;
            comes_to(scenario, || trial(scenario) == Some(ReleaseTrial::Good)).await;
            comes_to(scenario, || kept(scenario).is_none() && !has_snapshot(scenario)).await;
            assert_eq!(scenario.images(), ["r/db:2", "r/web:2"]);
            assert_eq!(scenario.begun("put the data of volume 1_data back"), 0);
            scenario.settles().await;
        });
    }
}

#[test]
fn a_service_that_does_not_change_is_stopped_for_the_copy_and_goes_on() {
    let strategy = Strategy::DownloadThenKill;
    run_scenario(&[good(strategy)], async |scenario| {
        first_is_good(scenario).await;
        scenario.writes([release([1, 2], strategy, Web::Sick)]);
        scenario.until(|model| model.engine.snapshots.contains_key(SNAPSHOT)).await;
        assert_eq!(scenario.alive(), ["web"], "the other goes on meanwhile\n{}", scenario.sim.trace());
        comes_to(scenario, || scenario.images() == ["r/db:1", "r/web:2"]).await;
        goes_back(scenario).await;
        assert_eq!(scenario.begun("put the data of volume 1_data back"), 1);
    });
}

#[test]
fn a_release_that_only_has_another_name_copies_nothing() {
    let strategy = Strategy::DownloadThenKill;
    run_scenario(&[good(strategy)], async |scenario| {
        first_is_good(scenario).await;
        let mut renamed = good(strategy);
        renamed.commit = Some("renamed".to_owned());
        scenario.writes([renamed]);
        sleep(5 * MINUTE).await;
        assert_eq!((trial(scenario), scenario.begun("stop 1/db")), (Some(ReleaseTrial::Good), 0));
        assert_eq!(scenario.begun("copy the data of volume 1_data"), 0, "\n{}", scenario.sim.trace());
    });
}

#[test]
fn an_update_whose_copy_does_not_fit_is_not_begun_before_it_does() {
    for strategy in STRATEGIES {
        run_scenario(&[good(strategy)], async |scenario| {
            first_is_good(scenario).await;
            scenario.sim.with(|model| model.engine.copy_room = CopyRoom::KnownTooSmall);
            scenario.writes([release([2, 2], strategy, Web::Well)]);
            sleep(HOUR).await;
            assert_eq!(scenario.images(), ["r/db:1", "r/web:1"], "{strategy:?}\n{}", scenario.sim.trace());
            assert!(matches!(trial(scenario), Some(ReleaseTrial::OnTrial(_))), "{:?}", trial(scenario));
            let troubles = scenario.sim.with(|model| format!("{:?}", model.status.as_ref().unwrap().borrow().troubles));
            assert!(troubles.contains("the data of volumes is too large"), "{troubles}");
            scenario.sim.with(|model| model.engine.copy_room = CopyRoom::Enough);
            comes_to(scenario, || trial(scenario) == Some(ReleaseTrial::Good)).await;
            assert_eq!(scenario.images(), ["r/db:2", "r/web:2"]);
        });
    }
}

#[test]
fn a_copy_that_turns_out_too_large_makes_the_release_fail_and_the_old_one_goes_on_with_its_data() {
    for strategy in STRATEGIES {
        run_scenario(&[good(strategy)], async |scenario| {
            first_is_good(scenario).await;
            scenario.sim.with(|model| model.engine.copy_room = CopyRoom::FoundTooSmall);
            scenario.writes([release([2, 2], strategy, Web::Well)]);
            goes_back(scenario).await;
            let Some(ReleaseTrial::RolledBack(failed, _)) = trial(scenario) else { panic!("{:?}", trial(scenario)) };
            assert!(failed.why().contains("no space left on device"), "{failed:?}");
            assert_eq!(scenario.begun("put the data of volume 1_data back"), 0, "nothing had changed it");
        });
    }
}

#[test]
fn a_target_that_comes_meanwhile_begins_with_the_data_as_it_is_and_goes_back_all_the_way() {
    let strategy = Strategy::DownloadThenKill;
    run_scenario(&[good(strategy)], async |scenario| {
        first_is_good(scenario).await;
        scenario.writes([sick(strategy)]);
        comes_to(scenario, || writes(scenario) == ["r/db:2"]).await;
        scenario.writes([release([3, 3], strategy, Web::Sick)]);
        comes_to(scenario, || writes(scenario) == ["r/db:2", "r/db:3"]).await;
        goes_back(scenario).await;
        assert_eq!(scenario.begun("copy the data of volume 1_data"), 1);
    });
}

#[test]
fn an_owner_who_returns_to_the_good_release_has_its_data() {
    let strategy = Strategy::DownloadThenKill;
    run_scenario(&[good(strategy)], async |scenario| {
        first_is_good(scenario).await;
        scenario.writes([release([2, 2], strategy, Web::Well)]);
        comes_to(scenario, || writes(scenario) == ["r/db:2"]).await;
        scenario.writes([good(strategy)]);
        comes_to(scenario, || scenario.images() == ["r/db:1", "r/web:1"] && kept(scenario).is_none()).await;
        assert_eq!(writes(scenario), ["r/db:1"], "\n{}", scenario.sim.trace());
        scenario.settles().await;
    });
}

#[test]
fn a_target_that_comes_while_data_is_put_back_finds_it_whole() {
    let strategy = Strategy::DownloadThenKill;
    run_scenario(&[good(strategy)], async |scenario| {
        first_is_good(scenario).await;
        scenario.writes([sick(strategy)]);
        scenario.until(|model| model.engine.data.get(VOLUME).is_some_and(|it| it.half)).await;
        scenario.writes([release([3, 3], strategy, Web::Well)]);
        comes_to(scenario, || trial(scenario) == Some(ReleaseTrial::Good)).await;
        assert_eq!(scenario.images(), ["r/db:3", "r/web:3"]);
        assert_eq!(
            scenario.begun("copy the data of volume 1_data"),
            2,
            "of the data that was put back\n{}",
            scenario.sim.trace()
        );
    });
}

#[test]
fn what_a_person_purged_or_removed_is_not_put_back() {
    let strategy = Strategy::DownloadThenKill;
    for purge in [true, false] {
        run_scenario(&[good(strategy)], async |scenario| {
            first_is_good(scenario).await;
            scenario.writes([sick(strategy)]);
            comes_to(scenario, || writes(scenario) == ["r/db:2"]).await;
            if purge {
                scenario.answers(&ApiCall::purge(1, false), StatusCode::OK).await;
            } else {
                scenario.sim.with(|model| drop(model.engine.snapshots.remove(SNAPSHOT)));
            }
            let is_back =
                || matches!(trial(scenario), Some(ReleaseTrial::RolledBack(..))) && scenario.images() == ["r/db:1", "r/web:1"];
            if !purge {
                // The invariant would call this a violation, rightly so while the copy is there.
                scenario
                    .sim
                    .with(|model| model.targets.wanted.apps.iter_mut().map(|(_, it)| it).for_each(|it| it.snapshots.clear()));
            }
            comes_to(scenario, is_back).await;
            assert_eq!(scenario.begun("put the data of volume 1_data back"), 0, "\n{}", scenario.sim.trace());
            assert_eq!(kept(scenario), None);
        });
    }
}

#[test]
fn cuts_at_any_moment_leave_the_data_of_the_release_that_runs() {
    for (after, cut) in (1..160).step_by(2).zip([CrashKind::Crash, CrashKind::Power].into_iter().cycle()) {
        let strategy = STRATEGIES[after / 2 % STRATEGIES.len()];
        run_scenario(&[good(strategy)], async |scenario| {
            first_is_good(scenario).await;
            scenario.writes([sick(strategy)]);
            scenario.sim.with(|model| {
                model.crash_point = CrashPoint::InCall(model.calls + u64::try_from(after).unwrap(), cut);
            });
            goes_back(scenario).await;
            scenario.sim.with(|model| model.crash(CrashKind::Power));
            sleep(HOUR).await;
            goes_back(scenario).await;
        });
    }
}

/// It was created for a release that begins once the data is copied. A target on trial comes first, whose images are yet to
/// come.
#[test]
fn a_container_that_never_ran_does_not_fill_in_for_a_target_on_trial() {
    run_scenario(&[good(Strategy::DownloadThenKill)], async |scenario| {
        first_is_good(scenario).await;
        scenario.writes([release([2, 1], Strategy::DownloadThenKill, Web::Well)]);
        scenario.until(|model| model.checker.begun.contains_key("kill 1/db")).await;
        scenario.answers(&ApiCall::try_target(1, 600), StatusCode::OK).await;
        comes_to(scenario, || scenario.images() == ["r/db:tried1", "r/web:tried1"]).await;
        assert_eq!(writes(scenario), Vec::<String>::new(), "\n{}", scenario.sim.trace());
    });
}

/// The observation that finds it at its end plans for the owner's apps again, and knows of their copies.
#[test]
fn a_copy_outlives_local_mode_that_ends_by_itself() {
    run_scenario(&[good(Strategy::DownloadThenKill)], async |scenario| {
        first_is_good(scenario).await;
        scenario.writes([sick(Strategy::DownloadThenKill)]);
        comes_to(scenario, || kept(scenario) == Some(DataState::Kept) && !writes(scenario).is_empty()).await;
        scenario.answers(&ApiCall::local_mode_on(Some(60)), StatusCode::OK).await;
        scenario.until(|model| model.status.as_ref().is_some_and(|it| it.borrow().access.local_mode)).await;
        scenario.until(|model| model.status.as_ref().is_some_and(|it| !it.borrow().access.local_mode)).await;
        goes_back(scenario).await;
        assert_eq!(scenario.begun("put the data of volume 1_data back"), 1, "\n{}", scenario.sim.trace());
    });
}
