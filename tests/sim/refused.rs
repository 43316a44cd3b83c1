//! Lives on an engine that refuses to create what a release asks for.

use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::state::config::NetworkMode;
use boardkeeper::state::network::NetworkAttachment;
use boardkeeper::state::service::Strategy;
use boardkeeper::state::{App, ContainerPhase, NetworkConfig, Service, ServiceKey};
use tokio::time::sleep;

use crate::clients::ApiCall;
use crate::scenario::{HOUR, MINUTE, Scenario, run_scenario, web, with};
use crate::world::targets::{app, service};
use crate::world::{CrashKind, Model, crashes::CrashPoint};

/// The next release, whose web wants a runtime that no engine has.
fn impossible(image: &str, strategy: Strategy) -> [App; 1] {
    let web = with(image, |it| {
        it.strategy = strategy;
        it.config.runtime = Some("none-such".into());
    });
    [app(1, [("web", web), ("db", service("r/db:2"))])]
}

/// What runs, and since which start: a container that was killed, or started again, is another.
fn running(scenario: &Scenario) -> Vec<(String, u32)> {
    scenario.sim.with(|model| {
        let alive = model.engine.ours().filter(|it| it.view.phase.is_alive());
        alive.map(|it| (format!("{} {} {}", it.view.key, it.view.image_ref, it.view.id), it.started)).collect()
    })
}

#[test]
fn nothing_is_killed_for_a_runtime_that_does_not_exist() {
    let before = |strategy| [app(1, [("web", with("r/web:1", |it| it.strategy = strategy)), ("db", service("r/db:1"))])];
    for strategy in [Strategy::DownloadThenKill, Strategy::HandOver] {
        run_scenario(&before(strategy), async |scenario| {
            scenario.settles().await;
            let runs = running(scenario);
            scenario.writes(impossible("r/web:2", strategy));
            sleep(HOUR).await;
            assert_eq!(running(scenario), runs, "{strategy:?}");
            assert!((2..60).contains(&scenario.begun("create 1/web from r/web:2")), "tried again, and not all the time");
            assert!(!scenario.sim.with(|model| model.locks.are_taken()), "the services can lock themselves");
            scenario.writes([app(1, [("web", service("r/web:3")), ("db", service("r/db:2"))])]);
            scenario.settles().await;
            assert_eq!(scenario.images(), ["r/db:2", "r/web:3"]);
        });
    }
}

/// A release whose network has a driver.
fn on_driver(image: &str, strategy: Strategy, driver: &str) -> App {
    let web = with(image, |it| {
        it.strategy = strategy;
        it.config.networks.insert("default".to_owned(), NetworkAttachment::default());
    });
    let network = NetworkConfig { driver: driver.to_owned(), ..NetworkConfig::default() };
    App {
        networks: [("default".to_owned(), network)].into_iter().collect(),
        ..app(1, [("web", web), ("db", service("r/db:1"))])
    }
}

#[test]
fn nothing_is_killed_for_a_network_driver_that_does_not_exist() {
    for strategy in [Strategy::DownloadThenKill, Strategy::HandOver, Strategy::KillThenDownload, Strategy::DeleteThenDownload] {
        let before = on_driver("r/web:1", strategy, "bridge");
        let [network, _] = before.engine_network_names("default");
        let trial = format!("new_{network}");
        run_scenario(&[before], async |scenario| {
            scenario.settles().await;
            let runs = running(scenario);
            scenario.writes([on_driver("r/web:2", strategy, "none-such")]);
            sleep(HOUR).await;
            assert_eq!(running(scenario), runs, "{strategy:?}");
            assert!((2..60).contains(&scenario.begun(&format!("create network {trial}"))), "tried again, and not all the time");
            assert!(!scenario.sim.with(|model| model.locks.are_taken()), "the services can lock themselves");
            scenario.writes([on_driver("r/web:2", strategy, "macvlan")]);
            scenario.settles().await;
            let names: Vec<_> = scenario.sim.with(|model| model.engine.networks.keys().cloned().collect());
            assert!(names.contains(&network) && !names.contains(&trial), "{names:?}");
        });
    }
}

#[test]
fn what_makes_way_first_is_not_killed_for_a_setting_that_the_engine_refuses() {
    for strategy in [Strategy::KillThenDownload, Strategy::DeleteThenDownload] {
        run_scenario(&[web(1, strategy)], async |scenario| {
            scenario.settles().await;
            let runs = running(scenario);
            scenario.writes(impossible("r/web:1", strategy));
            sleep(HOUR).await;
            assert!(
                running(scenario).starts_with(&runs) || running(scenario).ends_with(&runs),
                "{strategy:?}: {:?}",
                running(scenario)
            );
        });
    }
}

#[test]
fn a_restart_that_the_engine_refuses_is_answered_and_kills_nothing() {
    run_scenario(&[web(1, Strategy::DownloadThenKill)], async |scenario| {
        scenario.settles().await;
        let runs = running(scenario);
        let key = ServiceKey::new(boardkeeper::state::AppId(1), "web");
        scenario.sim.with(|model| model.engine.refuses.insert(key.clone(), tokio::time::Instant::now()));
        scenario.answers(&ApiCall::restart(1, false), StatusCode::SERVICE_UNAVAILABLE).await;
        sleep(10 * MINUTE).await;
        assert_eq!(running(scenario), runs);
        scenario.sim.with(|model| model.engine.refuses.remove(&key));
        scenario.settles().await;
    });
}

/// Docker 20.10 may still count a container on a network after the container was removed.
#[test]
fn a_leftover_network_that_the_engine_keeps_fails_no_request() {
    run_scenario(&[web(1, Strategy::DownloadThenKill)], async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| {
            model.engine.stuck_network(boardkeeper::state::AppId(1), "gone_default");
            model.event();
        });
        for _ in 0..20 {
            scenario.answers(&ApiCall::restart(1, false), StatusCode::OK).await;
            sleep(Duration::from_millis(700)).await;
        }
        assert!(scenario.begun("remove network gone_default") > 2, "it is tried again");
    });
}

/// Agent and board die at every call of an update whose containers are created before the old ones are killed.
#[test]
fn a_cut_between_create_and_kill_leaves_one_container_of_each_service() {
    let release = |version: u32| {
        let sharing = |it: &mut Service| it.config.network_mode = NetworkMode::Service("vpn".into());
        let image = |name: &str| format!("r/{name}:{version}");
        [app(1, [("vpn", service(&image("vpn"))), ("web", with(&image("web"), sharing)), ("db", service(&image("db")))])]
    };
    for (after, cut) in (1..60).zip([CrashKind::Crash, CrashKind::Power].into_iter().cycle()) {
        run_scenario(&release(1), async |scenario| {
            scenario.settles().await;
            scenario.writes(release(2));
            scenario.until(|model| model.checker.begun.contains_key("create 1/vpn from r/vpn:2")).await;
            scenario.sim.with(|model| model.crash_point = CrashPoint::InCall(model.calls + after, cut));
            scenario.settles().await;
            sleep(MINUTE).await;
            assert_eq!(scenario.images(), ["r/db:2", "r/vpn:2", "r/web:2"]);
            assert_eq!(scenario.sim.with(|model| model.engine.ours().count()), 3);
        });
    }
}

#[test]
fn an_engine_that_comes_back_does_not_start_what_was_only_created() {
    run_scenario(&[web(1, Strategy::DownloadThenKill)], async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| {
            model.locks.held.insert(ServiceKey::new(boardkeeper::state::AppId(1), "web"), crate::world::locks::Holder::User(0))
        });
        scenario.writes([web(2, Strategy::DownloadThenKill)]);
        scenario.until(|model| model.engine.ours().any(|it| it.view.phase == ContainerPhase::Created)).await;
        scenario.sim.with(Model::engine_dies);
        sleep(10 * MINUTE).await;
        assert_eq!(scenario.images(), ["r/web:1"]);
        scenario.sim.with(|model| model.unlock(&ServiceKey::new(boardkeeper::state::AppId(1), "web")));
        sleep(Duration::from_secs(120)).await;
        assert_eq!(scenario.images(), ["r/web:2"]);
    });
}
