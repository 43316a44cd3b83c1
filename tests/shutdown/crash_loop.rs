//! A target that crashes the agent again and again.

use boardkeeper::cloud::CloudSettings;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::world::{PULL, World, settings};
use super::{Agent, has_image, life, settled};

/// Runs the agent until the engine begins an action on that name, then ends it as a crash would.
async fn dies_of(world: &World, action: &str) {
    let before = world.began().len();
    let deadly = async {
        while !world.began()[before..].iter().any(|it| it.contains(action)) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let run = boardkeeper::run(world, settings(), CloudSettings::default(), async |_, _| sleep(Duration::from_secs(60)).await);
    tokio::select! {
        () = Box::pin(run) => panic!("it lived"),
        () = deadly => (),
    }
}

/// A device that has reached a target, and then gets one that crashes the agent when it pulls.
async fn a_device_with_a_bad_target() -> World {
    let world = settled();
    life(&world, async |_| ()).await;
    assert_eq!(world.memory.borrow().targets.last_good, world.memory.borrow().targets.wanted);
    world.wants(&[("web", "bad:1", "")]);
    for _ in 0..6 {
        dies_of(&world, "pull bad:1").await;
    }
    world
}

#[tokio::test(start_paused = true)]
async fn after_six_lives_the_last_good_one_is_kept_and_that_is_said() {
    let world = a_device_with_a_bad_target().await;
    let saves = world.saves.get();
    for _ in 0..3 {
        let begun = world.began().len();
        life(&world, async |agent: Agent| {
            let state = agent.state().await;
            let said = state["rejected"].as_str().unwrap().to_owned();
            assert!(said.contains("5 times") && said.contains("the last good one is kept (app)"), "{said}");
            assert_eq!(state["activity"], "settled");
        })
        .await;
        assert_eq!(world.began()[begun..], [] as [String; 0], "the good one runs, so nothing is to be done");
    }
    assert!(world.saves.get() <= saves + 1, "a loop must not wear the flash");
}

#[tokio::test(start_paused = true)]
async fn the_last_good_one_is_there_without_a_network() {
    let world = World::new();
    world.wants(&[("web", "web:1", "")]);
    life(&world, async |_| sleep(2 * PULL).await).await;
    has_image(&world, "bad:1");
    world.wants(&[("web", "bad:1", "")]);
    for _ in 0..6 {
        dies_of(&world, "create 1/web from bad:1").await;
    }
    // The agent did not kill the old container; the test removed it.
    world.seen.borrow_mut().containers.clear();
    let begun = world.began().len();
    life(&world, async |agent: Agent| assert_eq!(agent.state().await["activity"], "settled")).await;
    let actions = world.began().split_off(begun);
    assert!(
        actions.iter().any(|it| it.starts_with("create ")) && !actions.iter().any(|it| it.starts_with("pull ")),
        "{actions:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn another_target_is_taken_and_starts_with_a_clean_record() {
    let world = a_device_with_a_bad_target().await;
    life(&world, async |agent| {
        world.wants(&[("web", "better:1", "")]);
        sleep(Duration::from_secs(1200)).await;
        assert_eq!((&agent.state().await["rejected"], &agent.state().await["activity"]), (&json!(null), &json!("settled")));
    })
    .await;
    assert_eq!(world.memory.borrow().trial, None);
    // Even the bad one gets its chances anew, once another one was reached.
    world.wants(&[("web", "bad:1", "")]);
    dies_of(&world, "pull bad:1").await;
}

#[tokio::test(start_paused = true)]
async fn a_request_for_an_update_tries_it_once_more() {
    let world = a_device_with_a_bad_target().await;
    world.wants(&[("web", "bad:1", "")]);
    life(&world, async |agent| {
        assert!(agent.state().await["rejected"].is_string());
        let begun = world.began().len();
        assert_eq!(agent.post("/v1/update", "").await.0, 204);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(agent.state().await["rejected"], json!(null));
        assert!(world.began()[begun..].iter().any(|it| it.contains("pull bad:1")), "{:?}", world.began());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_life_that_lasted_was_not_ended_by_the_target() {
    let world = settled();
    life(&world, async |_| ()).await;
    world.wants(&[("web", "bad:1", "")]);
    for _ in 0..4 {
        dies_of(&world, "pull bad:1").await;
    }
    assert_eq!(world.memory.borrow().trial.as_ref().map(|it| it.starts), Some(3));
    life(&world, async |_| {
        world.wants(&[("web", "bad:1", "")]);
        // Looks come every three minutes.
        sleep(Duration::from_secs(14 * 60)).await;
    })
    .await;
    assert_eq!(world.memory.borrow().trial, None);
}

#[tokio::test(start_paused = true)]
async fn without_a_good_one_nothing_is_done_and_that_is_said() {
    let world = World::new();
    world.wants(&[("web", "bad:1", "")]);
    for _ in 0..6 {
        dies_of(&world, "pull bad:1").await;
    }
    let begun = world.began().len();
    life(&world, async |agent| {
        let said = agent.state().await["rejected"].to_string();
        assert!(said.contains("there is no good one"), "{said}");
    })
    .await;
    assert_eq!(world.began()[begun..], [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn idle_days_save_nothing() {
    let days = std::env::var("DAYS").map_or(3, |text| text.parse().unwrap());
    let world = settled();
    life(&world, async |agent| {
        let saves = world.saves.get();
        sleep(Duration::from_secs(days * 24 * 3600)).await;
        assert_eq!(agent.state().await["activity"], "settled");
        assert_eq!(world.saves.get(), saves);
    })
    .await;
}
