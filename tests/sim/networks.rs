//! Lives on an engine that is not as the agent left it: networks that are gone or have an older name, starts that fail,
//! programs that the engine restarts by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::state::config::{NetworkMode, RestartPolicy};
use boardkeeper::state::network::NetworkAttachment;
use boardkeeper::state::service::Strategy;
use boardkeeper::state::{App, AppId, ContainerId, NetworkConfig, Service, ServiceKey};
use tokio::time::sleep;

use crate::people::Press;
use crate::play::{HOUR, MINUTE, Play, well, with};
use crate::world::Model;
use crate::world::machine::Machine;
use crate::world::owner::{app, service};

/// An app of one service on a network of its own.
fn networked(image: &str, strategy: Strategy) -> App {
    let web = with(image, |it| {
        it.strategy = strategy;
        it.config.networks.insert("default".to_owned(), NetworkAttachment::default());
    });
    let networks = BTreeMap::from([("default".to_owned(), NetworkConfig::default())]);
    App { networks, ..app(1, [("web", web)]) }
}

fn id(play: &Play, name: &str) -> ContainerId {
    let of = |model: &mut Model| model.machine.ours().find(|it| it.face.key.service == name).map(|it| it.face.id.clone());
    play.sim.with(of).expect("it has a container")
}

/// Networks that the containers are attached to, by name.
fn attached(play: &Play) -> Vec<String> {
    play.sim.with(|model| model.machine.ours().flat_map(|it| Machine::attached(it).keys().cloned()).collect())
}

#[test]
fn an_app_on_an_older_supervisors_network_is_updated_and_not_killed_for_good() {
    let every = [Strategy::DownloadThenKill, Strategy::KillThenDownload, Strategy::DeleteThenDownload, Strategy::HandOver];
    for strategy in every {
        let first = networked("r/web:1", strategy);
        well(std::slice::from_ref(&first), async |play| {
            play.sim.with(|model| model.machine.older_network(&first, "default"));
            play.settles().await;
            play.writes([networked("r/web:2", strategy)]);
            play.settles().await;
            assert_eq!(play.images(), ["r/web:2"]);
            assert_eq!(attached(play), ["1_default"]);
        });
    }
}

#[test]
fn an_app_whose_network_was_pruned_while_it_was_stopped_starts_again() {
    well(&[networked("r/web:1", Strategy::DownloadThenKill)], async |play| {
        play.settles().await;
        play.answers(&Press::stop_app(1, false), StatusCode::OK).await;
        play.sim.with(|model| {
            model.machine.prune_networks();
            model.event();
        });
        sleep(MINUTE).await;
        play.answers(&Press::start_app(1), StatusCode::OK).await;
        play.settles().await;
        assert_eq!((play.alive(), play.begun("create 1/web from r/web:1")), (vec!["web".to_owned()], 1));
    });
}

#[test]
fn a_network_that_was_pruned_while_the_engine_was_down_is_created_and_used() {
    well(&[networked("r/web:1", Strategy::DownloadThenKill)], async |play| {
        play.settles().await;
        play.sim.with(|model| {
            model.machine.die();
            model.machine.prune_networks();
            model.engine_back();
        });
        sleep(MINUTE).await;
        play.settles().await;
        assert_eq!(play.alive(), ["web"]);
    });
}

#[test]
fn a_container_that_was_disconnected_by_hand_is_connected_again() {
    well(&[networked("r/web:1", Strategy::DownloadThenKill)], async |play| {
        play.settles().await;
        let web = id(play, "web");
        play.sim.with(|model| {
            model.machine.disconnect(&web);
            model.event();
        });
        play.until(|model| model.machine.ours().all(|it| !Machine::attached(it).is_empty())).await;
        play.settles().await;
        assert_eq!(play.begun("start 1/web"), 1);
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
    well(&[app(1, [("vpn", service("r/vpn:1")), ("web", web)])], async |play| {
        play.settles().await;
        for crashes in 1..5 {
            let vpn = id(play, "vpn");
            play.sim.with(|model| model.exits(&vpn, 1));
            sleep(2 * MINUTE).await;
            play.settles().await;
            assert_eq!((play.alive().len(), play.begun("restart 1/web")), (2, crashes));
        }
        // A clock that is set back makes nothing that was started later look as if it had been started before.
        play.sim.with(|model| model.skew(-7200));
        sleep(HOUR).await;
        let vpn = id(play, "vpn");
        play.sim.with(|model| model.exits(&vpn, 1));
        sleep(3 * HOUR).await;
        play.settles().await;
        assert!(play.begun("restart 1/web") <= 6, "{} restarts", play.begun("restart 1/web"));
    });
}

#[test]
fn a_start_that_failed_after_a_crash_is_told_and_tried_again() {
    for policy in
        [RestartPolicy::Always, RestartPolicy::UnlessStopped, RestartPolicy::OnFailure(5), RestartPolicy::OnFailure(0)]
    {
        well(&[app(1, [("web", with("r/web:1", |it| it.config.restart = policy))])], async |play| {
            play.settles().await;
            let (web, key) = (id(play, "web"), ServiceKey::new(AppId(1), "web"));
            play.sim.with(|model| {
                model.machine.unplugged.insert(key.clone());
                model.exits(&web, 1);
            });
            sleep(MINUTE).await;
            let (told, failed) = play.sim.with(|model| {
                let status = model.status.as_ref().unwrap().borrow();
                (status.troubles.iter().any(|it| format!("{it:?}").contains("device")), status.update_failed)
            });
            assert!(told && failed, "{policy:?}: {}", play.sim.trace());
            play.sim.with(|model| model.machine.unplugged.clear());
            play.settles().await;
            assert_eq!(play.alive(), ["web"]);
        });
    }
}

#[test]
fn a_flood_of_events_costs_a_few_looks_a_second() {
    well(&[app(1, [("web", service("r/web:1"))])], async |play| {
        play.settles().await;
        sleep(MINUTE).await;
        let before = play.sim.with(|model| model.machine.looks);
        for _ in 0..5000 {
            play.sim.with(Model::event);
            sleep(Duration::from_millis(2)).await;
        }
        let looks = play.sim.with(|model| model.machine.looks) - before;
        assert!((10..=41).contains(&looks), "{looks} looks in ten seconds");
    });
}
