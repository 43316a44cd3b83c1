//! The agent's heap, counted byte by byte, after days and after years.
//!
//! The memory of a process grows for many reasons that are not its own: pages of an allocator, code that is read for the first
//! time. So the bytes themselves are counted here: of the agent's core and its API, on a device in memory whose clock jumps.
//! What is outside of that, the adapters of `linux`, is covered by the days of `tests/engine/soak.rs`; the server's
//! connections alone are counted here, in `connections.rs`. A binary of its own, because everything in it is counted.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fall over")]

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use boardkeeper::cloud::CloudSettings;
use boardkeeper::state::ContainerPhase;
use http_body_util::BodyExt;
use peak_alloc::PeakAlloc;
use tokio::time::sleep;
use tower::ServiceExt;

use alone::alone;
use world::{World, key, settings};

#[path = "../lab/alone.rs"]
mod alone;
#[path = "../lab/budget.rs"]
mod budget;
mod connections;
#[path = "../shutdown/stubs.rs"]
mod stubs;
#[path = "../shutdown/world.rs"]
#[expect(dead_code, reason = "stories of shutdowns use more of it")]
mod world;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Days that are lived; `DAYS=n` for more.
const DAYS: usize = 120;
/// Days after which all that grows to a size has it: a queue keeps some blocks for good, of as many requests as come in some
/// days.
const WARM: usize = 50;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
fn busy_days_leave_no_byte_behind() {
    let _alone = alone();
    let days = std::env::var("DAYS").map_or(DAYS, |text| text.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let world = World::new();
    let mut held = Vec::with_capacity(days);
    runtime.block_on(boardkeeper::run(&world, settings(), CloudSettings::default(), async |api, _| {
        let router = api.router();
        for day in 0..days {
            live_a_day(&world, &router, day).await;
            held.push(HEAP.current_usage());
        }
    }));
    let every: Vec<_> = held.iter().step_by(days.div_ceil(10)).collect();
    let settled = &held[WARM..];
    let (least, most) = (settled.iter().min().unwrap(), settled.iter().max().unwrap());
    eprintln!("bytes held through the days: {every:?}");
    eprintln!("figure: {days} days, {least} to {most} bytes held from day {WARM} on");
    assert_eq!(least, most, "{held:?}");
    budget::hold("heap_after_days", *most as u64);
}

/// A new release with an image of its own; a restart, an identify, a lock that holds things up, an engine that goes away, a
/// reboot that is refused, and people who look; then quiet until the next day.
async fn live_a_day(world: &World, router: &Router, day: usize) {
    let image = format!("web:{day:06}");
    world.wants(&[("web", &image, ""), (&format!("job{day:06}"), "job:1", "")]);
    sleep(30 * MINUTE).await;
    for (path, body) in [("/v1/restart", r#"{"appId":1}"#), ("/v1/blink", ""), ("/v1/update", r#"{"force":true}"#)] {
        ask(router, "POST", path, body).await;
    }
    world.holds_lock("web");
    ask(router, "POST", "/v1/restart", r#"{"appId":1}"#).await;
    ask(router, "POST", "/v1/reboot", "").await;
    sleep(MINUTE).await;
    world.gives_lock_back();
    world.down.set(true);
    ask(router, "POST", "/v1/purge", r#"{"appId":1}"#).await;
    sleep(10 * MINUTE).await;
    world.down.set(false);
    world.full.set(true);
    sleep(10 * MINUTE).await;
    world.full.set(false);
    for path in ["/v1/device", "/agent/v1/state", "/v1/apps/1", "/v1/nowhere", "/agent/v1/leds"] {
        ask(router, "GET", path, "").await;
    }
    // The world's own memory of the day is not the agent's.
    world.begun.take();
    world.done.take();
    world.power.with(|it| std::mem::take(&mut it.accepted));
    sleep(DAY / 2).await;
    let seen = world.seen.borrow();
    assert!(seen.containers.iter().all(|it| it.phase == ContainerPhase::Running), "{day}: {:?}", seen.containers);
    assert_eq!((seen.containers.len(), seen.images.len()), (2, 2), "{day}: {seen:?}");
}

async fn ask(router: &Router, method: &str, path: &str, body: &str) {
    let request = Request::builder().method(method).uri(format!("{path}?apikey={}", key().reveal()));
    let request = request
        .header("Host", "localhost")
        .header("Content-Type", "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap();
    router.clone().oneshot(request).await.unwrap().into_body().collect().await.unwrap();
}
