//! Lives on an engine that refuses to create what a release asks for.

use std::time::Duration;

use axum::http::StatusCode;
use boardkeeper::state::config::NetworkMode;
use boardkeeper::state::network::NetworkAttachment;
use boardkeeper::state::service::Strategy;
use boardkeeper::state::{App, ContainerPhase, NetworkConfig, Service, ServiceKey};
use tokio::time::sleep;

use crate::people::Press;
use crate::play::{HOUR, MINUTE, Play, web, well, with};
use crate::world::owner::{app, service};
use crate::world::{Cut, Model, cuts::Doom};

/// The next release, whose web wants a runtime that no engine has.
fn impossible(image: &str, strategy: Strategy) -> [App; 1] {
    let web = with(image, |it| {
        it.strategy = strategy;
        it.config.runtime = Some("none-such".into());
    });
    [app(1, [("web", web), ("db", service("r/db:2"))])]
}

/// What runs, and since which start: a container that was killed, or started again, is another.
fn running(play: &Play) -> Vec<(String, u32)> {
    play.sim.with(|model| {
        let alive = model.machine.ours().filter(|it| it.face.phase.is_alive());
        alive.map(|it| (format!("{} {} {}", it.face.key, it.face.image_ref, it.face.id), it.started)).collect()
    })
}

#[test]
fn nothing_is_killed_for_a_runtime_that_does_not_exist() {
    let before = |strategy| [app(1, [("web", with("r/web:1", |it| it.strategy = strategy)), ("db", service("r/db:1"))])];
    for strategy in [Strategy::DownloadThenKill, Strategy::HandOver] {
        well(&before(strategy), async |play| {
            play.settles().await;
            let runs = running(play);
            play.writes(impossible("r/web:2", strategy));
            sleep(HOUR).await;
            assert_eq!(running(play), runs, "{strategy:?}");
            assert!((2..60).contains(&play.begun("create 1/web from r/web:2")), "tried again, and not all the time");
            assert!(!play.sim.with(|model| model.locks.are_taken()), "the services can lock themselves");
            play.writes([app(1, [("web", service("r/web:3")), ("db", service("r/db:2"))])]);
            play.settles().await;
            assert_eq!(play.images(), ["r/db:2", "r/web:3"]);
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
    App { networks: [("default".to_owned(), network)].into(), ..app(1, [("web", web), ("db", service("r/db:1"))]) }
}

#[test]
fn nothing_is_killed_for_a_network_driver_that_does_not_exist() {
    for strategy in [Strategy::DownloadThenKill, Strategy::HandOver, Strategy::KillThenDownload, Strategy::DeleteThenDownload] {
        let before = on_driver("r/web:1", strategy, "bridge");
        let [network, _] = before.engine_network_names("default");
        let trial = format!("new_{network}");
        well(&[before], async |play| {
            play.settles().await;
            let runs = running(play);
            play.writes([on_driver("r/web:2", strategy, "none-such")]);
            sleep(HOUR).await;
            assert_eq!(running(play), runs, "{strategy:?}");
            assert!((2..60).contains(&play.begun(&format!("create network {trial}"))), "tried again, and not all the time");
            assert!(!play.sim.with(|model| model.locks.are_taken()), "the services can lock themselves");
            play.writes([on_driver("r/web:2", strategy, "macvlan")]);
            play.settles().await;
            let names: Vec<_> = play.sim.with(|model| model.machine.networks.keys().cloned().collect());
            assert!(names.contains(&network) && !names.contains(&trial), "{names:?}");
        });
    }
}

#[test]
fn what_makes_way_first_is_not_killed_for_a_setting_that_the_engine_refuses() {
    for strategy in [Strategy::KillThenDownload, Strategy::DeleteThenDownload] {
        well(&[web(1, strategy)], async |play| {
            play.settles().await;
            let runs = running(play);
            play.writes(impossible("r/web:1", strategy));
            sleep(HOUR).await;
            assert!(running(play).starts_with(&runs) || running(play).ends_with(&runs), "{strategy:?}: {:?}", running(play));
        });
    }
}

#[test]
fn a_restart_that_the_engine_refuses_is_answered_and_kills_nothing() {
    well(&[web(1, Strategy::DownloadThenKill)], async |play| {
        play.settles().await;
        let runs = running(play);
        let key = ServiceKey::new(boardkeeper::state::AppId(1), "web");
        play.sim.with(|model| model.machine.refuses.insert(key.clone(), tokio::time::Instant::now()));
        play.answers(&Press::restart(1, false), StatusCode::SERVICE_UNAVAILABLE).await;
        sleep(10 * MINUTE).await;
        assert_eq!(running(play), runs);
        play.sim.with(|model| model.machine.refuses.remove(&key));
        play.settles().await;
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
    for (after, cut) in (1..60).zip([Cut::Crash, Cut::Power].into_iter().cycle()) {
        well(&release(1), async |play| {
            play.settles().await;
            play.writes(release(2));
            play.until(|model| model.judge.begun.contains_key("create 1/vpn from r/vpn:2")).await;
            play.sim.with(|model| model.doom = Doom::InCall(model.calls + after, cut));
            play.settles().await;
            sleep(MINUTE).await;
            assert_eq!(play.images(), ["r/db:2", "r/vpn:2", "r/web:2"]);
            assert_eq!(play.sim.with(|model| model.machine.ours().count()), 3);
        });
    }
}

#[test]
fn an_engine_that_comes_back_does_not_start_what_was_only_created() {
    well(&[web(1, Strategy::DownloadThenKill)], async |play| {
        play.settles().await;
        play.sim.with(|model| {
            model.locks.held.insert(ServiceKey::new(boardkeeper::state::AppId(1), "web"), crate::world::locks::Holder::User(0))
        });
        play.writes([web(2, Strategy::DownloadThenKill)]);
        play.until(|model| model.machine.ours().any(|it| it.face.phase == ContainerPhase::Created)).await;
        play.sim.with(Model::engine_dies);
        sleep(10 * MINUTE).await;
        assert_eq!(play.images(), ["r/web:1"]);
        play.sim.with(|model| model.unlock(&ServiceKey::new(boardkeeper::state::AppId(1), "web")));
        sleep(Duration::from_secs(120)).await;
        assert_eq!(play.images(), ["r/web:2"]);
    });
}
