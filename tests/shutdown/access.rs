//! Access control: every route, for every kind of key in every form, in local mode and out of it, before and while the device
//! shuts down.
//!
//! The expectations are derived from the design, in [`expected`], not from the code. A route that acts cannot be forgotten:
//! one without an expectation only reads. Meanwhile everything is logged, and no key is in the log.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Request, Response};
use boardkeeper::state::keys::DeviceAction;
use boardkeeper::state::{AppId, ClientAddress, ServiceKey};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::sleep;
use tower::ServiceExt;
use tracing::Level;

use crate::world::{World, key, settings};
use crate::{Agent, has_image, life_with, lines};

mod routes;

use routes::{About, ROUTES, Row};

/// The owner's target in local mode. The apps below are pushed then.
const LOCAL: &str = r#"{"local": {"name": "d", "config": {"SUPERVISOR_LOCAL_MODE": "1"}, "apps": {}}}"#;

/// App 1 and app 3 have one service each. Of app 2's two services, `b` has the label of those that use the supervisor's API.
const TARGET: &str = r#"{"local": {"name": "d", "config": {}, "apps": {
    "1": {"name": "one", "commit": "abc", "releaseId": 1, "networks": {}, "volumes": {}, "services": {
        "1": {"imageId": 1, "serviceName": "web", "image": "web:1", "environment": {}, "labels": {}, "network_mode": "host"}}},
    "2": {"name": "two", "commit": "abc", "releaseId": 1, "networks": {}, "volumes": {}, "services": {
        "2": {"imageId": 2, "serviceName": "a", "image": "web:1", "environment": {}, "labels": {}, "network_mode": "host"},
        "3": {"imageId": 3, "serviceName": "b", "image": "web:1", "environment": {}, "network_mode": "host",
            "labels": {"io.balena.features.supervisor-api": "1"}}}},
    "3": {"name": "solo", "commit": "abc", "releaseId": 1, "networks": {}, "volumes": {}, "services": {
        "4": {"imageId": 4, "serviceName": "main", "image": "web:1", "environment": {}, "labels": {}, "network_mode": "host"}}}
}}, "dependent": {"apps": {}, "devices": {}}}"#;

/// A caller known by a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Device,
    Service {
        app: u32,
        name: &'static str,
        /// It may use what concerns the whole device: the only service of its app, or labelled.
        wide: bool,
    },
}

/// A key that the device never issued.
const FOREIGN: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
const ONLY: Known = Known::Service { app: 1, name: "web", wide: true };
const PLAIN: Known = Known::Service { app: 2, name: "a", wide: false };
const LABELLED: Known = Known::Service { app: 2, name: "b", wide: true };
const OTHER: Known = Known::Service { app: 3, name: "main", wide: true };

/// The credentials of one request. `None`: the foreign key.
const ASKERS: &[&[Option<Known>]] = &[
    &[],
    &[None],
    &[Some(Known::Device)],
    &[Some(ONLY)],
    &[Some(PLAIN)],
    &[Some(LABELLED)],
    &[Some(OTHER)],
    // A foreign bearer token beside the right key, as today's command line sends it; and the other way round.
    &[Some(Known::Device), None],
    &[None, Some(ONLY)],
    // Two that open different things.
    &[Some(ONLY), Some(PLAIN)],
    &[Some(PLAIN), Some(OTHER)],
];

/// How a key comes.
#[derive(Debug, Clone, Copy)]
enum Form {
    Query,
    ApiKey,
    Bearer,
}

/// Whose keys come, how, and from where.
#[derive(Debug, Clone, Copy)]
struct Requester<'a> {
    keys: &'a [Option<Known>],
    form: Form,
    local: bool,
    /// The device is in local mode.
    local_mode: bool,
}

/// What the request meets.
#[derive(Debug, Clone, Copy)]
struct Scene {
    local_mode: bool,
    /// The caller is on the device.
    local: bool,
    shutting_down: bool,
}

/// What was decided, in the order in which it counts.
fn expected(row: &Row, app: u32, asker: &[Option<Known>], scene: Scene) -> u16 {
    if row.about == About::Health {
        return row.answer(app);
    }
    let known: Vec<Known> = asker.iter().copied().flatten().collect();
    // No key is needed in local mode, from the device itself.
    let at_home = scene.local_mode && scene.local;
    // Any one valid credential is enough, whatever the others say.
    let opens = |known: &Known| match (row.about, known) {
        (About::Health | About::Reading | About::ReadingApp | About::OwnKey | About::Missing, _) | (_, Known::Device) => true,
        (About::App, Known::Service { app: own, .. }) => *own == app,
        (About::Device(_), Known::Service { wide, .. }) => *wide,
        (About::Developing | About::LocalMode | About::Lines, Known::Service { .. }) => false,
    };
    // Who has no key must not make that last.
    if (!at_home || matches!(row.about, About::LocalMode | About::Lines)) && !known.iter().any(opens) {
        return 401;
    }
    let is_own = |known: &Known| match known {
        Known::Device => true,
        Known::Service { app: own, .. } => *own == app,
    };
    match row.about {
        About::ReadingApp if !at_home && !known.iter().any(is_own) => 409,
        // Who has no key has none that could be made anew.
        About::OwnKey if known.is_empty() => 503,
        About::Reading | About::App | About::Device(_) if scene.shutting_down && row.disturbs => 503,
        About::Health
        | About::Reading
        | About::ReadingApp
        | About::OwnKey
        | About::Missing
        | About::App
        | About::Device(_)
        | About::Developing
        | About::LocalMode
        | About::Lines => row.answer(app),
    }
}

/// The number that an app has here: those that are pushed have others than in their document.
const fn number(app: u32, local_mode: bool) -> u32 {
    if local_mode { 4_000_000_000 + app } else { app }
}

fn secret(world: &World, known: Option<Known>, local_mode: bool) -> String {
    let keys = world.memory.borrow().keys.clone().unwrap();
    match known {
        None => FOREIGN.to_owned(),
        Some(Known::Device) => key().reveal().to_owned(),
        Some(Known::Service { app, name, .. }) => {
            let app = number(app, local_mode);
            keys.of(&ServiceKey::new(AppId(app), name), &app.to_string()).reveal().to_owned()
        }
    }
}

fn request(world: &World, row: &Row, app: u32, asker: Requester<'_>) -> Request<Body> {
    let Requester { keys, form, local, local_mode } = asker;
    let app = number(app, local_mode);
    let mut path = row.path.replace("{appId}", &app.to_string());
    let mut headers = Vec::new();
    for (index, known) in keys.iter().enumerate() {
        let key = secret(world, *known, local_mode);
        // The second comes another way.
        match (form, index) {
            (Form::Query, 0) | (Form::ApiKey | Form::Bearer, 1..) => path = format!("{path}?apikey={key}"),
            (Form::ApiKey, 0) => headers.push(format!("ApiKey {key}")),
            (Form::Bearer, 0) | (Form::Query, 1..) => headers.push(format!("Bearer {key}")),
        }
    }
    let request = Request::builder().method(row.method).uri(path);
    let mut request = request.header("Host", "localhost").header("Content-Type", "application/json");
    for header in headers {
        request = request.header("Authorization", header);
    }
    let addr = if local { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(192, 0, 2, 7) };
    let request = request.extension(ClientAddress { addr: IpAddr::V4(addr), local });
    request.body(Body::from(format!(r#"{{"appId":{app},"serviceName":"a","network":{{}}}}"#))).unwrap()
}

/// One request, and what is logged of it.
async fn ask(agent: &Agent, row: &Row, request: Request<Body>) -> (u16, String, String) {
    lines::taken();
    let response: Response<_> = agent.0.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    // A log that is followed has no end, and neither have the events.
    let is_endless = |it: &HeaderValue| it == "application/x-ndjson" || it == "text/event-stream";
    let is_endless = response.headers().get(CONTENT_TYPE).is_some_and(is_endless);
    let body = if is_endless { Bytes::new() } else { response.into_body().collect().await.unwrap().to_bytes() };
    let body = String::from_utf8(body.to_vec()).unwrap();
    let log = lines::taken();
    if row.method != "GET" {
        let line = format!("method={} path=\"{}", row.method, row.path.split('{').next().unwrap());
        let what = if [401, 403].contains(&status) { "refused" } else { "answered" };
        // Requests without a valid key are not all logged: they would fill the journal.
        let level = |it: &str| it.contains(" INFO ") || it.contains("DEBUG") && it.contains("who=\"unauthenticated\"");
        let told = |it: &str| level(it) && it.contains(&line) && it.contains(&format!(" {what} who="));
        assert!(log.lines().any(|it| told(it) && it.contains(&format!("status={status}"))), "not in the log: {row:?}\n{log}");
    }
    (status, body, log)
}

/// A life in which the scene is set.
async fn life(scene: Scene, story: impl AsyncFnOnce(&World, &Agent)) {
    lines::keep(Level::TRACE);
    let world = World::new();
    world.set_target(if scene.local_mode { LOCAL } else { TARGET });
    has_image(&world, "web:1");
    life_with(&world, settings(), async |agent| {
        if scene.local_mode {
            assert_eq!(agent.post("/v2/local/target-state", TARGET).await.0, 200);
            sleep(Duration::from_secs(30)).await;
        }
        assert_eq!(agent.state().await["activity"], "settled");
        if scene.shutting_down {
            world.power.with(|it| it.announced = true);
            sleep(Duration::from_secs(1)).await;
        }
        story(&world, &agent).await;
    })
    .await;
}

fn scenes() -> impl Iterator<Item = Scene> {
    let all = [false, true];
    let modes = all.into_iter().flat_map(move |local_mode| all.map(|local| (local_mode, local)));
    modes.flat_map(move |(local_mode, local)| all.map(|shutting_down| Scene { local_mode, local, shutting_down }))
}

#[tokio::test(start_paused = true)]
async fn every_route_answers_every_kind_of_key_as_was_decided() {
    let mut asked = 0;
    for scene in scenes() {
        for asker in ASKERS {
            for form in [Form::Query, Form::ApiKey, Form::Bearer] {
                // What makes keys worthless or ends the machine has a life of its own.
                let (lasting, ending): (Vec<&Row>, Vec<&Row>) = ROUTES.iter().partition(|it| !it.ends_the_life());
                for rows in std::iter::once(lasting).chain(ending.into_iter().map(|it| vec![it])) {
                    life(scene, async |world, agent| {
                        for (row, app) in rows.into_iter().flat_map(|row| row.apps().iter().map(move |app| (row, *app))) {
                            let request = request(
                                world,
                                row,
                                app,
                                Requester { keys: asker, form, local: scene.local, local_mode: scene.local_mode },
                            );
                            let (status, body, log) = ask(agent, row, request).await;
                            let at = format!("{} {} about app {app} by {asker:?} as {form:?}, {scene:?}", row.method, row.path);
                            assert_eq!(status, expected(row, app, asker, scene), "{at}: {body}");
                            if status == 401 {
                                let stranger = asker.iter().all(Option::is_none) && !(scene.local_mode && scene.local);
                                assert_eq!(body, if stranger { "Unauthorized" } else { row.refusal() }, "{at}");
                            }
                            for known in *asker {
                                assert!(
                                    !log.contains(&secret(world, *known, scene.local_mode)),
                                    "{at}: a key is in the log: {log}"
                                );
                            }
                            asked += 1;
                        }
                    })
                    .await;
                }
            }
        }
    }
    // Shown by `cargo test --test shutdown every_route -- --nocapture`.
    eprintln!("figure: {asked} requests to {} routes", ROUTES.len());
    assert!(asked > 10_000, "{asked}");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_is_a_404_to_callers_with_a_key_only() {
    let scene = Scene { local_mode: false, local: true, shutting_down: false };
    life(scene, async |world, agent| {
        for row in [
            Row::new("GET", "/nowhere", About::Missing, &[404]),
            Row::new("PUT", "/v1/update", About::Missing, &[405]),
            Row::new("GET", "/v1/reboot", About::Missing, &[405]),
        ] {
            for asker in ASKERS {
                let request =
                    request(world, &row, 1, Requester { keys: asker, form: Form::Bearer, local: false, local_mode: false });
                assert_eq!(ask(agent, &row, request).await.0, expected(&row, 1, asker, scene), "{row:?} {asker:?}");
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_services_may_do_with_the_device_is_narrowed_verb_by_verb() {
    lines::keep(Level::TRACE);
    for narrowed in DeviceAction::ALL {
        let scene = Scene { local_mode: false, local: true, shutting_down: false };
        for row in ROUTES.iter().filter(|it| matches!(it.about, About::Device(_))) {
            let world = World::new();
            world.set_target(TARGET);
            has_image(&world, "web:1");
            let mut settings = settings();
            settings.service_verbs.remove(&narrowed);
            life_with(&world, settings, async |agent| {
                for known in [LABELLED, ONLY, PLAIN, Known::Device] {
                    let kept = known != Known::Device && row.about == About::Device(narrowed);
                    let expected = if kept { 401 } else { expected(row, 1, &[Some(known)], scene) };
                    let request = request(
                        &world,
                        row,
                        1,
                        Requester { keys: &[Some(known)], form: Form::Bearer, local: true, local_mode: false },
                    );
                    let (status, body, _) = ask(&agent, row, request).await;
                    // A request after an accepted reboot gets the answer that the device shuts down.
                    let expected = if status == 503 && row.ends_the_life() && expected == 202 { 503 } else { expected };
                    assert_eq!(status, expected, "{known:?} {row:?} without {narrowed:?}: {body}");
                    if status == 401 {
                        assert_eq!(body, row.refusal());
                    }
                }
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_may_not_change_the_proxy_does_not_get_its_password() {
    let scene = Scene { local_mode: false, local: true, shutting_down: false };
    life(scene, async |world, agent| {
        let row = ROUTES.iter().find(|it| it.path == "/v1/device/host-config" && it.method == "GET").unwrap();
        for (known, told) in [(Known::Device, true), (ONLY, true), (PLAIN, false)] {
            let request =
                request(world, row, 1, Requester { keys: &[Some(known)], form: Form::Query, local: true, local_mode: false });
            assert_eq!(ask(agent, row, request).await.1.contains("sesame"), told, "{known:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_link_to_the_page_logs_in_once_and_not_after_the_key_was_replaced() {
    let scene = Scene { local_mode: false, local: true, shutting_down: false };
    life(scene, async |_, agent| {
        let make = async || -> String {
            let (status, body) = agent.post("/agent/v1/page-links", "").await;
            assert_eq!(status, 200, "{body}");
            let path = serde_json::from_str::<Value>(&body).unwrap()["path"].as_str().unwrap().to_owned();
            path.strip_prefix("/#link=").unwrap().to_owned()
        };
        // Without a key.
        let open = async |token: &str| {
            let request = Request::builder().method("POST").uri(format!("/agent/v1/page-links/{token}"));
            let response =
                agent.0.clone().oneshot(request.header("Host", "localhost").body(Body::empty()).unwrap()).await.unwrap();
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        };
        lines::taken();
        let first = make().await;
        assert_eq!(first.len(), 32, "{first}");
        assert_eq!(open(&first).await, (200, format!("{{\"key\":\"{}\"}}", key().reveal())));
        assert_eq!(open(&first).await.0, 403);
        let log = lines::taken();
        assert!(log.contains("/agent/v1/page-links/…"), "{log}");
        assert!(!log.contains(&first) && !log.contains(key().reveal()), "{log}");
        let second = make().await;
        assert_eq!(agent.post("/v1/regenerate-api-key", "").await.0, 200);
        assert_eq!(open(&second).await.0, 403, "it would give the new key");
    })
    .await;
}
