//! What the agent costs, counted without a clock: allocations of a request, polls in an idle hour, and how both grow.
//!
//! A binary of its own, because every allocation in it is counted. Its tests run one after another.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fall over")]

use std::alloc::System;
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use boardkeeper::cloud::CloudSettings;
use boardkeeper::sorted::SortedSet;
use boardkeeper::state::{ContainerPhase, Image, ImageId, ImageRef};
use http_body_util::BodyExt;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::time::sleep;
use tower::ServiceExt;

use alone::alone;
use budget::hold;
use world::{World, key, settings};

#[path = "../lab/alone.rs"]
mod alone;
#[path = "../lab/budget.rs"]
mod budget;
#[path = "../shutdown/stubs.rs"]
mod stubs;
#[path = "../shutdown/world.rs"]
#[expect(dead_code, reason = "stories of shutdowns use more of it")]
mod world;

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Services of the device.
const SERVICES: usize = 10;
/// How long an agent has to settle: each of its creations takes two seconds.
const SETTLING: Duration = Duration::from_secs(3600);
const HOUR: Duration = Duration::from_secs(3600);

/// A device whose target has this many services, all of one image that is here.
fn device(services: usize) -> World {
    let world = World::new();
    let names: Vec<_> = (0..services).map(|it| format!("service{it}")).collect();
    world.wants(&names.iter().map(|it| (it.as_str(), "web:1", "")).collect::<Vec<_>>());
    let image = ImageRef::new("web:1");
    let id = ImageId(format!("sha256:{image}"));
    world.seen.borrow_mut().images.push(Image { id, names: SortedSet::from([image]), size_bytes: 1 });
    world
}

/// Runs an agent of this many services that has settled, until the script ends. Returns how often it was polled during that.
fn life(services: usize, script: impl AsyncFnOnce(&Router)) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let world = device(services);
    let polls = Cell::new(0);
    let run = boardkeeper::run(&world, settings(), CloudSettings::default(), async |api, _| {
        sleep(SETTLING).await;
        let containers = world.seen.borrow().containers.clone();
        assert_eq!(containers.len(), services);
        assert!(containers.iter().all(|it| it.phase == ContainerPhase::Running), "{containers:?}");
        polls.set(0);
        script(&api.router()).await;
    });
    runtime.block_on(async {
        let mut run = pin!(run);
        poll_fn(|context| {
            polls.set(polls.get() + 1);
            run.as_mut().poll(context)
        })
        .await;
    });
    polls.get()
}

/// The length of the body of a response.
async fn get(router: &Router, path: &str) -> u64 {
    let request = Request::builder().uri(path).header("Authorization", format!("Bearer {}", key().reveal()));
    let request = request.header("Host", "localhost").body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.into_body().collect().await.unwrap().to_bytes().len() as u64
}

/// The allocations of a request, those that grow a buffer among them, and the bytes of its response.
async fn allocations(router: &Router, path: &str) -> (u64, u64) {
    let region = Region::new(HEAP);
    let bytes = get(router, path).await;
    let change = region.change();
    ((change.allocations + change.reallocations) as u64, bytes)
}

#[test]
fn a_request_takes_few_allocations() {
    let _alone = alone();
    for (name, path) in [
        ("allocations_of_ping", "/ping"),
        ("allocations_of_device", "/v1/device"),
        ("allocations_of_state_with_ten", "/agent/v1/state"),
    ] {
        life(SERVICES, async |router| {
            // What is made once is made by the first.
            get(router, path).await;
            let (count, _) = allocations(router, path).await;
            assert_eq!(allocations(router, path).await.0, count, "each request costs the same");
            hold(name, count);
        });
    }
}

#[test]
fn an_idle_hour_polls_the_agent_seldom() {
    let _alone = alone();
    for services in [1, SERVICES] {
        let polls = life(services, async |_| sleep(HOUR).await);
        hold("polls_of_an_idle_hour", polls);
    }
}

#[test]
fn each_service_adds_the_same_to_the_state_and_to_an_idle_hour() {
    let _alone = alone();
    let mut before: Option<[u64; 4]> = None;
    for services in [1, 10, 50, 100, 200] {
        life(services, async |router| {
            get(router, "/agent/v1/state").await;
            let (count, bytes) = allocations(router, "/agent/v1/state").await;
            let region = Region::new(HEAP);
            sleep(HOUR).await;
            let idle = region.change();
            let idle = (idle.allocations + idle.reallocations) as u64;
            eprintln!(
                "figure: {services} services: {count} allocations and {bytes} bytes for the state, {idle} in an idle hour"
            );
            let now = [services as u64, count, bytes, idle];
            if let Some(fewer) = before.replace(now) {
                let of_each = |it: usize| (now[it] - fewer[it]).div_ceil(now[0] - fewer[0]);
                hold("allocations_of_a_service_in_state", of_each(1));
                hold("bytes_of_a_service_in_state", of_each(2));
                hold("allocations_of_a_service_in_an_idle_hour", of_each(3));
            }
        });
    }
}
