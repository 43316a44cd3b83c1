//! The whole agent on a device in memory, whose shutdown is requested, refused, announced, cancelled.
//!
//! [`reach`] is about its cloud and its LED, [`access`] about access control.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fall over")]

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use boardkeeper::api::ApiService;
use boardkeeper::cloud::CloudSettings;
use boardkeeper::port::{Inhibitor, InhibitorMode};
use boardkeeper::reconcile::ReconcilerSettings;
use boardkeeper::state::{AppId, ContainerPhase, LockState, PowerAction};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower::ServiceExt;

use world::power::Answer;
use world::{CREATION, World, key, settings};

mod access;
mod connectivity;
mod crash_loop;
mod holds;
mod in_progress;
#[path = "../api/lines.rs"]
mod lines;
mod listener;
mod renamed;
mod stubs;
mod world;

const OK: &str = r#"{"Data":"OK","Error":""}"#;
const APP: &str = r#"{"appId":1}"#;
/// After an end that does not come all is back within this.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// Runs the agent until the test's script ends.
async fn life(world: &World, story: impl AsyncFnOnce(Agent)) {
    life_with(world, settings(), story).await;
}

async fn life_with(world: &World, settings: ReconcilerSettings, story: impl AsyncFnOnce(Agent)) {
    let run = boardkeeper::run(world, settings, CloudSettings::default(), async |api, _| {
        sleep(Duration::from_secs(10)).await;
        story(Agent(api.router())).await;
    });
    // The whole agent is large.
    Box::pin(run).await;
}

/// The agent's API.
struct Agent(Router);

impl Agent {
    async fn call(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(format!("{path}?apikey={}", key().reveal()));
        let request = request
            .header("Host", "localhost")
            .header("Content-Type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = self.0.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.call("POST", path, body).await
    }

    async fn state(&self) -> Value {
        serde_json::from_str(&self.call("GET", "/agent/v1/state", "").await.1).unwrap()
    }

    async fn why_not(&self) -> String {
        let state = self.state().await;
        assert_eq!(state["shutdown"]["state"], "came_to_nothing", "{state}");
        assert_ne!(state["activity"], "shutting down");
        state["shutdown"]["why"].as_str().unwrap().to_owned()
    }

    /// All is back: a restart is done, and nothing of the end is left.
    async fn is_back(&self, world: &World) {
        assert_eq!(world.locks.borrow().get(&AppId(1)), None);
        assert_eq!(self.post("/v1/restart", APP).await.0, 200);
    }
}

/// A device with one service that runs.
fn settled() -> World {
    let world = World::new();
    world.wants(&[("web", "web:1", "")]);
    has_image(&world, "web:1");
    world
}

fn has_image(world: &World, name: &str) {
    let image = boardkeeper::state::ImageRef::new(name);
    let names = boardkeeper::sorted::SortedSet::from([image.clone()]);
    let id = boardkeeper::state::ImageId(format!("sha256:{image}"));
    world.seen.borrow_mut().images.push(boardkeeper::state::Image { id, names, size_bytes: 1 });
}

#[tokio::test(start_paused = true)]
async fn a_reboot_is_answered_first_and_asked_for_a_second_later() {
    for (path, ending) in [("/v1/reboot", PowerAction::Reboot), ("/v1/shutdown", PowerAction::PowerOff)] {
        let world = settled();
        life(&world, async |agent| {
            let before = Instant::now();
            assert_eq!(agent.post(path, "").await, (202, OK.to_owned()));
            assert!(before.elapsed() < Duration::from_millis(100));
            assert_eq!(world.power.with(|it| it.accepted.clone()), []);
            assert!(matches!(world.locks.borrow().get(&AppId(1)), Some(LockState::Ours(_))));
            sleep(Duration::from_millis(1100)).await;
            assert_eq!(world.power.with(|it| it.accepted.clone()), [ending]);
            let state = agent.state().await;
            assert_eq!((&state["activity"], &state["shutdown"]["by"]), (&json!("shutting down"), &json!("request")));
            // Containers are the host's to stop.
            assert_eq!(world.seen.borrow().containers[0].phase, ContainerPhase::Running);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_does_not_hold_up_a_reboot() {
    let world = settled();
    life(&world, async |agent| {
        world.full.set(true);
        assert_eq!(agent.post("/v1/reboot", "").await, (202, OK.to_owned()));
        sleep(Duration::from_millis(1100)).await;
        assert_eq!(world.power.with(|it| it.accepted.clone()), [PowerAction::Reboot]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_saved_is_saved_when_there_is_room_although_nothing_happens() {
    let world = settled();
    life(&world, async |_| {
        world.full.set(true);
        world.wants(&[("web", "web:1", "again")]);
        sleep(Duration::from_secs(60)).await;
        assert!(!world.kept().contains("again"));
        world.full.set(false);
        sleep(Duration::from_secs(15)).await;
        assert!(world.kept().contains("again"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn while_it_shuts_down_nothing_is_changed_and_requests_are_refused() {
    let world = settled();
    life(&world, async |agent| {
        assert_eq!(agent.post("/v1/reboot", "").await.0, 202);
        let begun = world.began().len();
        world.wants(&[("web", "web:1", ""), ("new", "new:1", "")]);
        for (path, body) in [("/v1/restart", APP), ("/v1/purge", APP), ("/v1/apps/1/stop", ""), ("/v1/apps/1/start", "")] {
            let (status, body) = agent.post(path, body).await;
            assert_eq!(status, 503, "{path}");
            assert!(body.contains("the device is shutting down"), "{body}");
        }
        let (status, body) = agent.post("/v1/shutdown", "{\"force\":true}").await;
        assert_eq!((status, body.contains("\"Error\":\"the device is shutting down")), (503, true), "{body}");
        assert_eq!(agent.post("/v1/update", "").await.0, 204);
        assert_eq!(agent.call("GET", "/ping", "").await.0, 200);
        sleep(Duration::from_secs(600)).await;
        assert_eq!(world.began().len(), begun, "{:?}", world.began());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn steps_that_may_be_dropped_are_and_others_end_before_the_machine() {
    // The label, so that it stays as it is when it is no longer the app's only service.
    let web = ("web", "web:1", "io.balena.features.supervisor-api");
    let world = World::new();
    world.wants(&[web]);
    has_image(&world, "web:1");
    life(&world, async |agent| {
        // One is created, which takes two seconds; an image is pulled, which takes ten minutes.
        world.wants(&[web, ("slow", "slow:1", ""), ("twin", "web:1", "")]);
        sleep(Duration::from_millis(100)).await;
        assert!(world.began().iter().any(|it| it.starts_with("pull slow:1")));
        world.power.with(|it| it.announced = true);
        sleep(Duration::from_millis(100)).await;
        let doing = agent.state().await["doing"].clone();
        let waits = world.power.with(|it| it.held_locks) > 0;
        assert_eq!(waits, doing != json!([]), "{doing}");
        assert!(waits, "it is still being created");
        sleep(CREATION).await;
        assert_eq!(world.power.with(|it| it.held_locks), 0);
        assert!(world.done.borrow().iter().any(|it| it.starts_with("create 1/twin")));
        assert!(!world.done.borrow().iter().any(|it| it.starts_with("pull slow:1")));
        assert!(!world.began().iter().any(|it| it.starts_with("start 1/twin")));
        assert_eq!(agent.state().await["shutdown"]["by"], "others");
        // Called off, all of it comes back.
        world.power.with(|it| it.announced = false);
        sleep(Duration::from_secs(5)).await;
        assert!(agent.why_not().await.contains("called off"));
        assert!(world.done.borrow().iter().any(|it| it.starts_with("start 1/twin")));
        assert_eq!(world.began().iter().filter(|it| it.starts_with("pull slow:1")).count(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_saved_is_saved_before_the_machine_may_end() {
    let world = settled();
    life(&world, async |agent| {
        world.full.set(true);
        assert_eq!(agent.post("/v1/apps/1/stop", "").await.0, 200);
        // Another try was in vain; the next is seconds away when there is room, and the machine ends.
        sleep(Duration::from_secs(11)).await;
        assert_eq!(world.memory.borrow().stopped.len(), 0);
        world.full.set(false);
        world.power.with(|it| it.announced = true);
        sleep(Duration::from_millis(100)).await;
        assert_eq!(world.power.with(|it| it.held_locks), 0);
        assert_eq!(world.memory.borrow().stopped.len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_refused_and_nothing_is_touched() {
    let block = |why: &str| Inhibitor { who: "apt".into(), why: why.into(), mode: InhibitorMode::Block, uid: 0, pid: 7 };
    for (answer, inhibitor, said) in [
        (Answer::Absent, None, "there is no logind"),
        (Answer::Refuses, None, "logind refuses it"),
        (Answer::Hangs, None, "did not answer for 4 s"),
        (Answer::Accepts, Some(block("installing")), "apt (uid 0, process 7) holds it up: installing"),
    ] {
        let world = settled();
        life(&world, async |agent| {
            world.power.with(|it| {
                it.answer = answer;
                it.inhibitors = inhibitor.into_iter().collect();
            });
            for body in ["", "{\"force\":true}"] {
                let before = Instant::now();
                let (status, body) = agent.post("/v1/reboot", body).await;
                assert_eq!(status, 500);
                let body: Value = serde_json::from_str(&body).unwrap();
                assert!(body["Error"].as_str().unwrap().contains(said) && body["Data"] == "", "{body}");
                assert!(before.elapsed() <= Duration::from_secs(5));
            }
            sleep(Duration::from_secs(5)).await;
            assert_eq!(world.power.with(|it| it.accepted.clone()), []);
            assert_eq!(agent.state().await["shutdown"], json!({"state": "no"}));
            agent.is_back(&world).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn locks_and_an_update_of_the_host_hold_it_up_unless_forced() {
    let world = settled();
    life(&world, async |agent| {
        world.power.with(|it| it.host_update = Some("/mnt/state/rollback-health-breadcrumb".into()));
        let (status, body) = agent.post("/v1/reboot", "").await;
        assert_eq!((status, body.as_str()), (423, r#"{"Data":"","Error":"Waiting for Host OS update to finish"}"#));
        world.power.with(|it| it.host_update = None);
        world.holds_lock("web");
        let (status, body) = agent.post("/v1/shutdown", "").await;
        assert_eq!(status, 423);
        for part in ["appId: 1, service: web", "services/1/web/updates.lock", "2023-11-14T22:13:20Z"] {
            assert!(body.contains(part), "{body}");
        }
        assert!(matches!(world.locks.borrow().get(&AppId(1)), Some(LockState::Held(_))), "it stays theirs");
        world.power.with(|it| it.host_update = Some("/mnt/state/rollback-health-breadcrumb".into()));
        assert_eq!(agent.post("/v1/shutdown", "{\"force\":true}").await, (202, OK.to_owned()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn locks_count_from_the_first_request_on_and_without_an_engine_too() {
    let world = settled();
    life(&world, async |agent| assert_eq!(agent.state().await["activity"], "settled")).await;
    world.holds_lock("web");
    world.look.set(Duration::from_millis(100));
    // Without an engine the agent does not know whether there is a container to be stopped.
    for (down, stop) in [(false, 423), (true, 503)] {
        world.down.set(down);
        for (path, body, expected) in [
            ("/v1/reboot", "", 423),
            ("/v1/shutdown", "", 423),
            ("/v1/restart", APP, 423),
            ("/v1/purge", APP, 423),
            ("/v1/apps/1/stop", "", stop),
        ] {
            // Asked before the agent has looked at anything.
            let asked = async |api: ApiService, _| {
                assert_eq!(Agent(api.router()).post(path, body).await.0, expected, "{path}, down: {down}");
            };
            Box::pin(boardkeeper::run(&world, settings(), CloudSettings::default(), asked)).await;
            assert!(matches!(world.locks.borrow().get(&AppId(1)), Some(LockState::Held(_))), "it stays theirs");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_to_nothing_comes_back_and_says_why() {
    for (answer, announces, said) in [
        (Answer::RefusesLate, true, "logind refuses it"),
        (Answer::HangsLate, true, "did not answer for 4 s"),
        (Answer::Vanishes, true, "went away before it answered"),
        (Answer::Accepts, false, "began nothing in 3 s"),
    ] {
        let world = settled();
        life(&world, async |agent| {
            world.power.with(|it| {
                it.answer = answer;
                it.announces = announces;
            });
            assert_eq!(agent.post("/v1/reboot", "").await.0, 202);
            assert_eq!(agent.post("/v1/restart", APP).await.0, 503);
            sleep(BACK_WITHIN).await;
            let why = agent.why_not().await;
            assert!(why.contains(said), "{why}");
            agent.is_back(&world).await;
            // And it may be asked for again.
            world.power.with(|it| (it.answer, it.announces) = (Answer::Accepts, true));
            assert_eq!(agent.post("/v1/reboot", "").await.0, 202);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_announced_end_that_does_not_come_is_given_up_when_systemd_would_have_forced_it() {
    let world = settled();
    life(&world, async |agent| {
        assert_eq!(agent.post("/v1/reboot", "").await.0, 202);
        sleep(Duration::from_secs(30 * 60)).await;
        assert_eq!(agent.state().await["activity"], "shutting down");
        sleep(Duration::from_secs(2 * 60)).await;
        assert!(agent.why_not().await.contains("31 minutes"));
        agent.is_back(&world).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_by_another_program_is_noticed_while_ours_is_being_checked() {
    let world = settled();
    life(&world, async |agent| {
        world.power.with(|it| it.answer = Answer::Hangs);
        let (asked, ()) = tokio::join!(agent.post("/v1/reboot", ""), async {
            sleep(Duration::from_secs(1)).await;
            world.power.with(|it| it.announced = true);
        });
        assert_eq!(asked.0, 503, "{}", asked.1);
        assert_eq!(agent.state().await["shutdown"]["by"], "others");
        world.power.with(|it| (it.announced, it.answer) = (false, Answer::Accepts));
        sleep(Duration::from_secs(1)).await;
        agent.is_back(&world).await;
    })
    .await;
}

const REBOOTS: &str = "io.balena.update.requires-reboot";

#[tokio::test(start_paused = true)]
async fn a_release_reboots_the_machine_once_whatever_the_clock_says() {
    for clock in [5_000, 2_000, 1_950, 10] {
        let world = settled();
        world.wants(&[("web", "web:1", REBOOTS)]);
        life(&world, async |agent| {
            assert_eq!(world.power.with(|it| it.accepted.clone()), [PowerAction::Reboot]);
            assert_eq!(agent.state().await["shutdown"]["by"], "release");
            assert_eq!(world.memory.borrow().awaiting.len(), 1);
        })
        .await;
        world.boots(clock);
        life(&world, async |_| {
            sleep(Duration::from_secs(60)).await;
            assert_eq!(world.power.with(|it| it.accepted.clone()), [], "once is enough (clock {clock})");
            assert_eq!(world.seen.borrow().containers[0].phase, ContainerPhase::Running);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_starts_again_in_the_same_boot_still_waits_for_the_next() {
    let world = settled();
    world.wants(&[("web", "web:1", REBOOTS)]);
    world.power.with(|it| it.answer = Answer::RefusesLate);
    life(&world, async |_| ()).await;
    // The clock was set right meanwhile: what was made before looks older than the boot.
    world.clock_secs.set(1_000_000);
    world.power.with(|it| it.answer = Answer::Accepts);
    life(&world, async |_| {
        sleep(Duration::from_secs(10)).await;
        assert_eq!(world.seen.borrow().containers[0].phase, ContainerPhase::Created);
        assert_eq!(world.power.with(|it| it.accepted.clone()), [PowerAction::Reboot]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_release_waits_for_locks_and_is_refused_with_a_pause() {
    let world = settled();
    world.wants(&[("web", "web:1", REBOOTS)]);
    world.holds_lock("web");
    life(&world, async |agent| {
        sleep(Duration::from_secs(300)).await;
        assert_eq!(world.power.with(|it| it.accepted.clone()), []);
        assert!(agent.state().await["waiting"].to_string().contains("updates.lock"));
        world.power.with(|it| it.answer = Answer::RefusesLate);
        world.gives_lock_back();
        sleep(Duration::from_secs(3)).await;
        assert!(agent.why_not().await.contains("logind refuses it"));
        assert_eq!(world.locks.borrow().get(&AppId(1)), None);
        assert!(agent.state().await["troubles"].to_string().contains("reboot"));
        world.power.with(|it| it.answer = Answer::Accepts);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(world.power.with(|it| it.accepted.clone()), [PowerAction::Reboot]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_configured_anew_is_booted_once_and_by_the_same_rules() {
    let world = settled();
    let wants = |is: bool| world.power.with(|it| it.boot_wanted = is.then(|| "/tmp/reboot-after-apply".to_owned()));
    wants(true);
    world.holds_lock("web");
    life(&world, async |agent| {
        // While a step is left to do and a service holds a lock, it waits.
        sleep(Duration::from_secs(300)).await;
        assert_eq!(world.power.with(|it| it.accepted.clone()), []);
        let waiting = agent.state().await["waiting"].to_string();
        assert!(waiting.contains("updates.lock") && waiting.contains("reboot-after-apply"), "{waiting}");
        world.power.with(|it| it.answer = Answer::RefusesLate);
        world.gives_lock_back();
        sleep(Duration::from_secs(3)).await;
        assert!(agent.why_not().await.contains("logind refuses it"));
        world.power.with(|it| it.answer = Answer::Accepts);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(world.power.with(|it| it.accepted.clone()), [PowerAction::Reboot]);
        assert_eq!(agent.state().await["shutdown"]["by"], "configuration");
    })
    .await;
    world.boots(2_000);
    wants(false);
    life(&world, async |agent| {
        sleep(Duration::from_secs(600)).await;
        assert_eq!(world.power.with(|it| it.accepted.clone()), []);
        assert_eq!(agent.state().await["activity"], "settled");
    })
    .await;
}
