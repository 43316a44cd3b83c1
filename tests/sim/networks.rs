//! Lives on an engine that is not as the agent left it: networks that are gone or have an older name, starts that fail,
//! programs that the engine restarts by itself.

use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::sorted::SortedMap;
use boardkeeper::state::config::{NetworkMode, RestartPolicy};
use boardkeeper::state::network::{AddressPool, NetworkAttachment};
use boardkeeper::state::service::Strategy;
use boardkeeper::state::{App, AppId, ContainerId, NetworkConfig, Service, ServiceKey};
use tokio::time::sleep;

use crate::clients::ApiCall;
use crate::scenario::{HOUR, MINUTE, Scenario, run_scenario, with};
use crate::world::Model;
use crate::world::engine_model::{EngineModel, SimContainer};
use crate::world::targets::{app, service};

/// An app of one service on a network of its own.
fn networked(image: &str, strategy: Strategy) -> App {
    let web = with(image, |it| {
        it.strategy = strategy;
        it.config.networks.insert("default".to_owned(), NetworkAttachment::default());
    });
    let networks = SortedMap::from_iter([("default".to_owned(), NetworkConfig::default())]);
    App { networks, ..app(1, [("web", web)]) }
}

fn id(scenario: &Scenario, name: &str) -> ContainerId {
    let of = |model: &mut Model| model.engine.ours().find(|it| it.view.key.service == name).map(|it| it.view.id.clone());
    scenario.sim.with(of).expect("it has a container")
}

/// Networks that the containers are attached to, by name.
fn attached(scenario: &Scenario) -> Vec<String> {
    scenario.sim.with(|model| model.engine.ours().flat_map(|it| EngineModel::attached(it).keys().cloned()).collect())
}

#[test]
fn an_app_on_an_older_supervisors_network_is_updated_and_not_killed_for_good() {
    let every = [Strategy::DownloadThenKill, Strategy::KillThenDownload, Strategy::DeleteThenDownload, Strategy::HandOver];
    for strategy in every {
        let first = networked("r/web:1", strategy);
        run_scenario(std::slice::from_ref(&first), async |scenario| {
            scenario.sim.with(|model| model.engine.older_network(&first, "default"));
            scenario.settles().await;
            scenario.writes([networked("r/web:2", strategy)]);
            scenario.settles().await;
            assert_eq!(scenario.images(), ["r/web:2"]);
            assert_eq!(attached(scenario), ["1_default"]);
        });
    }
}

/// An app of a service on two networks: the engine chooses the addresses of one, and the other asks for these.
fn asks_for(subnet: &str) -> App {
    let plain = with("r/plain:1", |it| drop(it.config.networks.insert("a".to_owned(), NetworkAttachment::default())));
    let asking = with("r/asking:1", |it| drop(it.config.networks.insert("b".to_owned(), NetworkAttachment::default())));
    let pool = AddressPool { subnet: subnet.to_owned(), ..AddressPool::default() };
    let b = NetworkConfig { ipam: vec![pool], ..NetworkConfig::default() };
    let networks = SortedMap::from_iter([("a".to_owned(), NetworkConfig::default()), ("b".to_owned(), b)]);
    App { networks, ..app(1, [("asking", asking), ("plain", plain)]) }
}

#[test]
fn a_network_gets_the_addresses_that_it_asks_for_and_the_engine_chooses_others_for_the_next() {
    run_scenario(&[], async |scenario| {
        let subnet = scenario.sim.with(|model| model.engine.free_subnet());
        scenario.writes([asks_for(&subnet)]);
        scenario.settles().await;
        assert_eq!(scenario.alive(), ["asking", "plain"]);
    });
}

#[test]
fn a_network_whose_addresses_are_taken_holds_up_no_other() {
    run_scenario(&[networked("r/web:1", Strategy::DownloadThenKill)], async |scenario| {
        let subnet = scenario.sim.with(|model| model.engine.free_subnet());
        scenario.settles().await;
        let first = networked("r/web:1", Strategy::DownloadThenKill);
        scenario.writes([first, App { id: AppId(2), uuid: format!("{:032x}", 2), ..asks_for(&subnet) }]);
        let runs = |it: &SimContainer| it.view.key.service == "plain" && it.view.phase.is_alive();
        scenario.until(|model| model.engine.ours().any(runs)).await;
        assert_eq!(scenario.alive(), ["plain", "web"]);
    });
}

#[test]
fn an_app_whose_network_was_pruned_while_it_was_stopped_starts_again() {
    run_scenario(&[networked("r/web:1", Strategy::DownloadThenKill)], async |scenario| {
        scenario.settles().await;
        scenario.answers(&ApiCall::stop_app(1, false), StatusCode::OK).await;
        scenario.sim.with(|model| {
            model.engine.prune_networks();
            model.event();
        });
        sleep(MINUTE).await;
        scenario.answers(&ApiCall::start_app(1), StatusCode::OK).await;
        scenario.settles().await;
        assert_eq!((scenario.alive(), scenario.begun("create 1/web from r/web:1")), (vec!["web".to_owned()], 1));
    });
}

#[test]
fn a_network_that_was_pruned_while_the_engine_was_down_is_created_and_used() {
    run_scenario(&[networked("r/web:1", Strategy::DownloadThenKill)], async |scenario| {
        scenario.settles().await;
        scenario.sim.with(|model| {
            model.engine.die();
            model.engine.prune_networks();
            model.engine_back();
        });
        sleep(MINUTE).await;
        scenario.settles().await;
        assert_eq!(scenario.alive(), ["web"]);
    });
}

#[test]
fn a_container_that_was_disconnected_by_hand_is_connected_again() {
    run_scenario(&[networked("r/web:1", Strategy::DownloadThenKill)], async |scenario| {
        scenario.settles().await;
        let web = id(scenario, "web");
        scenario.sim.with(|model| {
            model.engine.disconnect(&web);
            model.event();
        });
        scenario.until(|model| model.engine.ours().all(|it| !EngineModel::attached(it).is_empty())).await;
        scenario.settles().await;
        assert_eq!(scenario.begun("start 1/web"), 1);
    });
}

#[test]
fn what_shares_a_namespace_of_a_service_that_crashed_is_restarted() {
    follows_its_owner(|it| it.config.network_mode = NetworkMode::Service("vpn".to_owned()));
    follows_its_owner(|it| it.config.pid = Some("service:vpn".to_owned()));
    follows_its_owner(|it| it.config.ipc = "service:vpn".to_owned());
}

fn follows_its_owner(shares: impl FnOnce(&mut Service)) {
    let web = with("r/web:1", |it| {
        shares(it);
        it.depends_on.insert("vpn".to_owned(), boardkeeper::state::Dependency::default());
    });
    run_scenario(&[app(1, [("vpn", service("r/vpn:1")), ("web", web)])], async |scenario| {
        scenario.settles().await;
        for crashes in 1..5 {
            let vpn = id(scenario, "vpn");
            scenario.sim.with(|model| model.exits(&vpn, 1));
            sleep(2 * MINUTE).await;
            scenario.settles().await;
            assert_eq!((scenario.alive().len(), scenario.begun("restart 1/web")), (2, crashes));
        }
        // A clock that is set back makes nothing that was started later look as if it had been started before.
        scenario.sim.with(|model| model.skew(-7200));
        sleep(HOUR).await;
        let vpn = id(scenario, "vpn");
        scenario.sim.with(|model| model.exits(&vpn, 1));
        sleep(3 * HOUR).await;
        scenario.settles().await;
        assert!(scenario.begun("restart 1/web") <= 6, "{} restarts", scenario.begun("restart 1/web"));
    });
}

#[test]
fn a_start_that_failed_after_a_crash_is_reported_and_retried() {
    for policy in
        [RestartPolicy::Always, RestartPolicy::UnlessStopped, RestartPolicy::OnFailure(5), RestartPolicy::OnFailure(0)]
    {
        run_scenario(&[app(1, [("web", with("r/web:1", |it| it.config.restart = policy))])], async |scenario| {
            scenario.settles().await;
            let (web, key) = (id(scenario, "web"), ServiceKey::new(AppId(1), "web"));
            scenario.sim.with(|model| {
                model.engine.unplugged.insert(key.clone());
                model.exits(&web, 1);
            });
            sleep(MINUTE).await;
            let (told, failed) = scenario.sim.with(|model| {
                let status = model.status.as_ref().unwrap().borrow();
                (status.troubles.iter().any(|it| format!("{it:?}").contains("device")), status.update_failed)
            });
            assert!(told && failed, "{policy:?}: {}", scenario.sim.trace());
            scenario.sim.with(|model| model.engine.unplugged.clear());
            scenario.settles().await;
            assert_eq!(scenario.alive(), ["web"]);
        });
    }
}

#[test]
fn a_flood_of_events_costs_a_few_looks_a_second() {
    run_scenario(&[app(1, [("web", service("r/web:1"))])], async |scenario| {
        scenario.settles().await;
        sleep(MINUTE).await;
        let before = scenario.sim.with(|model| model.engine.looks);
        for _ in 0..5000 {
            scenario.sim.with(Model::event);
            sleep(Duration::from_millis(2)).await;
        }
        let looks = scenario.sim.with(|model| model.engine.looks) - before;
        assert!((10..=41).contains(&looks), "{looks} looks in ten seconds");
    });
}
