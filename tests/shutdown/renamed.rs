//! Services and apps that the target no longer names, while their containers are still there; and keys of removed apps.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use boardkeeper::state::{AppId, ServiceKey};
use tokio::time::sleep;
use tower::ServiceExt;

use crate::world::World;
use crate::{Agent, OK, has_image, life, settled};

const NOT_IN_TARGET: &str = "Service does not exist in target release";
const OF_NO_APP: &str = r#"{"local": {"name": "d", "config": {}, "apps": {}}, "dependent": {"apps": {}, "devices": {}}}"#;

/// The next release calls its service otherwise, and the old one's lock keeps the old container.
#[tokio::test(start_paused = true)]
async fn a_service_that_the_target_no_longer_names_is_not_found() {
    let two = [("page", "web:1", ""), ("more", "web:1", "")];
    for (services, document) in [(&two[..1], None), (&two[..], None), (&[], None), (&[], Some(OF_NO_APP))] {
        let world = settled();
        life(&world, async |agent| {
            world.holds_lock("web");
            match document {
                Some(document) => world.set_target(document),
                None => world.wants(services),
            }
            sleep(Duration::from_secs(30)).await;
            assert_eq!(world.seen.borrow().containers[0].key.service, "web", "the lock keeps it");
            for verb in ["stop", "start"] {
                for body in ["", r#"{"force":true}"#] {
                    let answer = agent.post(&format!("/v1/apps/1/{verb}"), body).await;
                    assert_eq!(answer, (404, NOT_IN_TARGET.to_owned()), "{verb} {body} beside {services:?}");
                }
            }
            assert_eq!(agent.call("GET", "/v1/apps/1", "").await.0, 200, "it is there to be seen");
            assert_eq!(agent.post("/v1/apps/7/stop", "").await.0, 400, "that app is nowhere");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_the_target_names_is_stopped_while_an_old_one_goes() {
    let world = settled();
    life(&world, async |agent| {
        world.holds_lock("web");
        world.wants(&[("web", "web:1", ""), ("page", "web:1", "")]);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(agent.post("/v1/apps/1/stop", "").await.0, 400, "it has two services");
        world.gives_lock_back();
        world.wants(&[("web", "web:1", "")]);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(agent.post("/v1/apps/1/stop", "").await.0, 200);
        assert_eq!(agent.post("/v1/purge", crate::APP).await, (200, OK.to_owned()));
    })
    .await;
}

/// An app is removed, and later another app gets its number: on a device that moved to another fleet, or in local mode.
#[tokio::test(start_paused = true)]
async fn a_key_of_a_removed_app_does_not_open_another_app_of_its_number() {
    let world = World::new();
    has_image(&world, "web:1");
    let app = |uuid: &str| {
        format!(
            r#"{{"apps": {{"{uuid}": {{"id": 1, "name": "a", "releases": {{"abc": {{"id": 1, "services": {{"web": {{
            "id": 1, "image_id": 1, "image": "web:1", "environment": {{}}, "labels": {{}},
            "composition": {{"network_mode": "host"}}}}}}, "networks": {{}}, "volumes": {{}}}}}}}}}}}}"#
        )
    };
    let (first, second) = ("1".repeat(32), "2".repeat(32));
    world.set_target(&app(&first));
    life(&world, async |agent| {
        let key = given(&world);
        let keys = world.memory.borrow().keys.clone().unwrap();
        assert_eq!(key, keys.of(&ServiceKey::new(AppId(1), "web"), &first).reveal());
        assert_eq!(reads(&agent, &key).await, 200);
        for (document, status) in
            [(OF_NO_APP, 401), (&app(&second), 401), (OF_NO_APP, 401), (&app(&first), 200), (&app(&second), 401)]
        {
            world.set_target(document);
            sleep(Duration::from_secs(60)).await;
            assert_eq!(reads(&agent, &key).await, status, "{document}");
        }
        let other = given(&world);
        assert_ne!(other, key);
        assert_eq!(reads(&agent, &other).await, 200);
    })
    .await;
}

/// The key in the environment of the only container.
fn given(world: &World) -> String {
    world.seen.borrow().containers[0].env[&"BALENA_SUPERVISOR_API_KEY".to_owned()].clone()
}

async fn reads(agent: &Agent, key: &str) -> u16 {
    let request =
        Request::builder().uri("/v1/apps/1").header("Host", "localhost").header("Authorization", format!("Bearer {key}"));
    agent.0.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
}
