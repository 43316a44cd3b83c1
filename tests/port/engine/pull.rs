//! Pulls that fail, and their errors.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use boardkeeper::linux::engine::{Engine, RegistryAccess};
use boardkeeper::linux::traffic::TrafficCounter;
use boardkeeper::linux::trust::TrustStore;
use boardkeeper::port::{Engine as _, EngineError};
use boardkeeper::state::{EngineAction, ImageRef};

use super::Lab;
use super::lab::Real;

async fn pull(engine: &Engine, image: &str) -> Result<(), EngineError> {
    engine.execute(&EngineAction::Pull(ImageRef::new(image)), &|_| {}).await
}

async fn refusal(engine: &Engine, image: &str) -> String {
    match pull(engine, image).await {
        Err(EngineError::Refused(why)) => why,
        other => panic!("{image} gives {other:?}"),
    }
}

#[tokio::test]
async fn a_pull_that_fails_says_what_to_do() {
    let Some(lab) = Real::up() else { return };
    let registry = lab.registry(None);
    let image = lab.publish(&registry, 1);
    for name in [format!("{registry}/app:no-such-tag"), format!("{registry}/nothing:1")] {
        let Err(EngineError::Missing(why)) = pull(lab.engine(), &name).await else { panic!("{name} is missing") };
        assert!(why.contains("no such image or tag") && why.contains(&name), "{why}");
    }
    // A registry that does not answer may still have it.
    let why = refusal(lab.engine(), "registry.invalid/app:1").await;
    assert!(why.contains("DNS") && why.contains("registry.invalid/app:1"), "{why}");
    lab.registries_down();
    let why = refusal(lab.engine(), image.as_str()).await;
    assert!(why.contains(&format!("{registry} does not answer")), "{why}");
}

#[tokio::test]
async fn credentials_are_asked_for_and_used() {
    let Some(lab) = Real::up() else { return };
    let registry = lab.registry(Some(("me", "pass:word")));
    lab.docker(&["login", "-u", "me", "-p", "pass:word", &registry]);
    let image = lab.publish(&registry, 1);
    let written = lab.dir().join(".docker/config.json");
    let wrong = lab.dir().join("wrong.json");
    fs::write(&wrong, format!(r#"{{"auths": {{"{registry}": {{"username": "me", "password": "secret"}}}}}}"#)).unwrap();
    let helper = lab.dir().join("helper.json");
    fs::write(&helper, r#"{"credsStore": "desktop"}"#).unwrap();
    let missing = lab.dir().join("missing.json");

    for (file, advice) in [(&missing, "put them in"), (&helper, "credential helper"), (&wrong, "correct them in")] {
        let engine = lab.another(|it| it.logins = Some(file.clone()));
        let why = refusal(&engine, image.as_str()).await;
        assert!(why.contains(advice) && why.contains(&registry) && !why.contains("secret"), "{why}");
    }
    let engine = lab.another(|it| it.logins = Some(written));
    assert_eq!(pull(&engine, image.as_str()).await, Ok(()));
}

fn small_disk(dir: &Path) {
    let data = dir.join("data");
    fs::create_dir(&data).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=100m", "tmpfs"]).arg(data).status().unwrap();
    assert!(mounted.success());
}

/// Takes so many mebibytes of the engine's disk, with a container that is called `full`.
fn registries() -> RegistryAccess {
    RegistryAccess { trust: Rc::new(TrustStore::new(Path::new("/"), None)), traffic: TrafficCounter::default() }
}

fn fill(lab: &Real, mebibytes: usize) {
    let fill = format!("dd if=/dev/zero of=/f bs=1048576 count={mebibytes}");
    lab.docker(&["run", "--name", "full", "--network", "none", "tests/busybox:1", "sh", "-c", &fill]);
}

#[tokio::test]
async fn what_is_known_not_to_fit_is_not_begun() {
    let Some(lab) = Real::prepared(small_disk) else { return };
    let registry = lab.registry(None);
    let (image, above) = (lab.publish(&registry, 30), format!("{registry}/app:30"));
    lab.reachable(&registry);
    let engine = lab.another(|it| it.registries = Some(registries()));
    fill(&lab, 50);
    let told = Cell::new(None);
    let result = engine.execute(&EngineAction::Pull(image.clone()), &|percent| told.set(Some(percent))).await;
    // Two and a half times 30 MiB, and the layer that is below.
    let Err(EngineError::Full(why)) = result else { panic!("{result:?}") };
    assert!(why.contains(" 76 MiB are needed"), "{why}");
    assert_eq!(told.get(), None, "it was begun");
    eprintln!("figure: not begun: {why}");

    // Where an engine is slow to give room back, it is pulled a little later.
    lab.docker(&["rm", "full"]);
    let mut result = pull(&engine, image.as_str()).await;
    for _ in 0..100 {
        if !matches!(result, Err(EngineError::Full(_))) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        result = pull(&engine, image.as_str()).await;
    }
    assert_eq!(result, Ok(()));
    // What is here need not fit once more.
    let image = lab.publish_above(&above, &registry, 3);
    fill(&lab, 40);
    assert_eq!(pull(&engine, image.as_str()).await, Ok(()));
}

#[tokio::test]
async fn images_of_one_update_must_fit_beside_each_other() {
    let Some(lab) = Real::prepared(small_disk) else { return };
    let registry = lab.registry(None);
    let images = [lab.publish(&registry, 20), lab.publish(&registry, 21)];
    // Two that have most of their bytes in common.
    let base = lab.publish(&registry, 22);
    let (below, above) = (format!("{registry}/app:22"), [3, 4]);
    lab.docker(&["pull", &below]);
    let alike = above.map(|mebibytes| lab.publish_above(&below, &registry, mebibytes));
    lab.docker(&["rmi", base.as_str()]);
    lab.reachable(&registry);
    let engine = lab.another(|it| it.registries = Some(registries()));
    let fit = async |images: &[ImageRef]| engine.check_room(&images.iter().cloned().collect()).await;
    for one in &images {
        assert_eq!(fit(std::slice::from_ref(one)).await, Ok(()));
    }
    let Err(EngineError::Full(why)) = fit(&images).await else { panic!("two and a half times 41 MiB fit into 100") };
    assert!(why.contains(" of use only together: ") && why.contains(images[1].as_str()), "{why}");
    eprintln!("figure: not begun: {why}");
    assert_eq!(fit(&alike).await, Ok(()), "a layer of both is pulled once");
    // Images that are here, and those whose size no registry reports, do not block an update.
    assert_eq!(pull(&engine, images[0].as_str()).await, Ok(()));
    assert_eq!(fit(&images).await, Ok(()));
    assert_eq!(fit(&[images[1].clone(), ImageRef::new("registry.invalid/app:1")]).await, Ok(()));
}

#[tokio::test]
async fn two_pulls_do_not_count_on_the_same_room() {
    let Some(lab) = Real::prepared(small_disk) else { return };
    let registry = lab.registry(None);
    let images = [lab.publish(&registry, 20), lab.publish(&registry, 21)];
    lab.reachable(&registry);
    lab.throttle(80);
    let engine = lab.another(|it| it.registries = Some(registries()));
    let (one, other) = tokio::join!(pull(&engine, images[0].as_str()), pull(&engine, images[1].as_str()));
    let (here, does_not) = if one.is_ok() { (&images[0], other) } else { (&images[1], one) };
    assert!(matches!(&does_not, Err(EngineError::Full(why)) if why.contains("MiB for other pulls")), "{does_not:?}");
    // A claim goes with its pull.
    lab.docker(&["rmi", here.as_str()]);
    for image in &images {
        assert_eq!(pull(&engine, image.as_str()).await, Ok(()));
        lab.docker(&["rmi", image.as_str()]);
    }
}

#[tokio::test]
async fn what_does_not_fit_is_not_pulled() {
    let Some(lab) = Real::prepared(small_disk) else { return };
    let registry = lab.registry(None);
    let image = lab.publish(&registry, 30);

    let before = lab.another(|it| it.floor_bytes = 1 << 40);
    let result = pull(&before, image.as_str()).await;
    assert!(matches!(&result, Err(EngineError::Full(why)) if why.contains("0 MiB are needed")), "{result:?}");

    fill(&lab, 50);
    lab.throttle(80);
    let last = Cell::new(0);
    let during = lab.engine().execute(&EngineAction::Pull(image.clone()), &|now| last.set(now.percent)).await;
    assert!(matches!(&during, Err(EngineError::Full(why)) if why.contains("MiB are needed")), "{during:?}");
    assert!(last.get() < 50, "it was given up at {} %", last.get());

    // Where free space cannot be looked at, the engine's own word is understood.
    let blind = lab.another(|it| it.root = "/nonexistent".into());
    let result = pull(&blind, image.as_str()).await;
    assert!(matches!(&result, Err(EngineError::Full(why)) if why.contains("no space left")), "{result:?}");
    assert!(!lab.engine().observe().await.unwrap().images.iter().any(|it| it.answers_to(&image)));
}
