//! While a release is in progress: requests are carried out and answered, and pulled images stay known after any failure.

use std::time::Duration;

use boardkeeper::state::{ContainerPhase, ImageRef};
use tokio::time::{Instant, sleep, timeout};

use super::world::{PULL, World};
use super::{APP, Agent, life, settled};

/// A device whose app runs `web`, and whose new target has a second service with an image that takes long to pull.
fn on_its_way(world: &World) {
    world.wants(&[("web", "web:1", ""), ("new", "new:1", "")]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_of_what_is_there_and_is_answered_when_done() {
    let world = settled();
    life(&world, async |agent| {
        on_its_way(&world);
        sleep(Duration::from_secs(5)).await;
        for times in 1..=2 {
            let asked = Instant::now();
            assert_eq!(agent.post("/v1/restart", APP).await.0, 200);
            assert!(asked.elapsed() < Duration::from_secs(10), "it waited for what was never here");
            assert_eq!(world.began().iter().filter(|it| *it == "restart 1/web").count(), times);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn stop_and_start_are_obeyed() {
    let world = settled();
    let phase = || world.seen.borrow().containers[0].phase;
    life(&world, async |agent| {
        world.wants(&[("web", "web:2", "")]);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(soon(&agent, "/v1/apps/1/stop").await, 200);
        assert_eq!(phase(), ContainerPhase::Exited(0));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(phase(), ContainerPhase::Exited(0), "a stopped service came back");
        assert_eq!(soon(&agent, "/v1/apps/1/start").await, 200);
        assert_eq!(phase(), ContainerPhase::Running);
        assert!(!world.began().iter().any(|it| it.starts_with("kill ")), "{:?}", world.began());
    })
    .await;
}

async fn soon(agent: &Agent, path: &str) -> u16 {
    timeout(Duration::from_secs(10), agent.post(path, "")).await.expect("it is not waited for").0
}

#[tokio::test(start_paused = true)]
async fn what_is_pulled_is_ours_although_the_engine_was_away_when_the_target_came() {
    let world = settled();
    life(&world, async |_| {
        world.down.set(true);
        on_its_way(&world);
        sleep(Duration::from_secs(60)).await;
        world.down.set(false);
        sleep(2 * PULL).await;
    })
    .await;
    assert!(world.memory.borrow().targets.pulled.contains(&ImageRef::new("new:1")), "nobody will delete it");
}
