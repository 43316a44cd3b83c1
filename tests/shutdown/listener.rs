//! When the API's listener is closed: from the moment logind has accepted the shutdown, until the shutdown is cancelled.

use boardkeeper::api::ApiHandle;
use boardkeeper::cloud::CloudSettings;
use tokio::time::timeout;

use super::world::power::Answer;
use super::*;

/// Waits until the agent closes the listener, or opens it. Returns how long that took.
async fn turns(door: &mut ApiHandle, closed: bool) -> Duration {
    let before = Instant::now();
    let turned = door.status.wait_for(|it| it.shutdown.is_accepted() == closed);
    timeout(Duration::from_secs(10), turned).await.expect("it is late").unwrap();
    before.elapsed()
}

fn is_closed(door: &ApiHandle) -> bool {
    door.status.borrow().shutdown.is_accepted()
}

async fn with_its_door(world: &World, story: impl AsyncFnOnce(Agent, ApiHandle)) {
    let run = boardkeeper::run(world, settings(), CloudSettings::default(), async |api, door| {
        sleep(Duration::from_secs(10)).await;
        story(Agent(api.router()), door).await;
    });
    Box::pin(run).await;
}

#[tokio::test(start_paused = true)]
async fn the_api_closes_when_logind_has_accepted_and_not_before() {
    let world = settled();
    with_its_door(&world, async |agent, mut door| {
        assert_eq!(agent.post("/v1/reboot", "").await.0, 202);
        // Until logind was asked the API says that nothing is changed any more.
        assert_eq!(agent.post("/v1/restart", APP).await.0, 503);
        assert!(!is_closed(&door));
        turns(&mut door, true).await;
        assert_eq!(world.power.with(|it| it.accepted.clone()), [PowerAction::Reboot]);
        sleep(Duration::from_secs(60)).await;
        assert!(is_closed(&door), "for as long as the machine ends");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_api_opens_within_five_seconds_when_the_end_does_not_come() {
    let world = settled();
    with_its_door(&world, async |agent, mut door| {
        world.power.with(|it| it.announces = false);
        assert_eq!(agent.post("/v1/shutdown", "").await.0, 202);
        turns(&mut door, true).await;
        assert!(turns(&mut door, false).await <= BACK_WITHIN);
        agent.is_back(&world).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_api_closes_for_any_shutdown_and_opens_when_it_is_cancelled() {
    let world = settled();
    with_its_door(&world, async |agent, mut door| {
        world.power.with(|it| it.announced = true);
        assert!(turns(&mut door, true).await < Duration::from_secs(1));
        sleep(Duration::from_secs(8)).await;
        assert!(is_closed(&door));
        world.power.with(|it| it.announced = false);
        assert!(turns(&mut door, false).await <= BACK_WITHIN);
        agent.is_back(&world).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_api_stays_open_when_logind_refuses() {
    let world = settled();
    with_its_door(&world, async |agent, mut door| {
        world.power.with(|it| it.answer = Answer::Refuses);
        assert_eq!(agent.post("/v1/reboot", "").await.0, 500);
        let closes = timeout(Duration::from_secs(10), door.status.wait_for(|it| it.shutdown.is_accepted()));
        assert!(closes.await.is_err());
    })
    .await;
}
