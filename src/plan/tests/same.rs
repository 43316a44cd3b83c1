//! Containers whose document now describes the same configuration differently.

use std::sync::Arc;

use super::model::{parse_device, parse_target};
use crate::plan::plan;
use crate::state::effective::tests::{image, redundant_settings};
use crate::state::{AppId, ContainerConfig, Current, Origin, Outcome, Overrides, Target};

/// A target with one service, with this configuration and the service's own network.
fn target(config: &ContainerConfig) -> Target {
    let mut target = parse_target("web web:1");
    let app = target.apps.get_mut(&AppId(1)).expect("the story has an app");
    let web = app.services.get_mut("web").expect("the story has a service");
    web.config = ContainerConfig { networks: web.config.networks.clone(), ..config.clone() };
    target
}

/// A device that runs a container of ours, created from a target, on an image with configuration `base`.
fn device(target: &Target, base: &ContainerConfig) -> Current {
    let mut current = parse_device("web web:1 running");
    let web = &target.apps[&AppId(1)].services[&"web".to_owned()];
    let container = &mut current.containers[0];
    container.made = Origin::Ours(web.config.hash("web:1"));
    let hash = web.config.effective_hash(base, "web:1");
    container.outcome = Some(Outcome { hash, base: Arc::new(base.clone()) });
    current
}

#[test]
fn our_own_container_stays_when_the_document_says_or_leaves_out_what_the_image_says() {
    for base in [ContainerConfig::default(), image()] {
        let nothing = target(&ContainerConfig::default());
        for config in redundant_settings(&base).iter().chain([&base]) {
            let said = target(config);
            for (before, after) in [(&nothing, &said), (&said, &nothing), (&said, &said)] {
                let steps = plan(after, &Overrides::default(), &device(before, &base)).steps;
                assert_eq!(steps, [], "{:?}", config.fields());
            }
        }
    }
}

#[test]
fn our_own_container_is_made_anew_for_another_value_and_where_the_image_is_unknown() {
    let base = image();
    let nothing = target(&ContainerConfig::default());
    let other = target(&ContainerConfig { user: Some("8".to_owned()), ..ContainerConfig::default() });
    let said = target(&ContainerConfig { user: base.user.clone(), ..ContainerConfig::default() });
    let steps = |target: &Target, current: &Current| plan(target, &Overrides::default(), current).steps.len();
    assert_eq!(steps(&other, &device(&nothing, &base)), 1);
    assert_eq!(steps(&said, &device(&nothing, &base)), 0);
    // An earlier release of ours did not record the effective configuration of its containers.
    let mut earlier = device(&nothing, &base);
    earlier.containers[0].outcome = None;
    assert_eq!((steps(&nothing, &earlier), steps(&said, &earlier)), (0, 1));
    // Another image may set other values.
    let mut moved = device(&nothing, &base);
    moved.containers[0].image_ref = crate::state::ImageRef::new("other:1");
    assert_eq!(steps(&said, &moved), 1);
}
