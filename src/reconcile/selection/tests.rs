use super::*;
use crate::reconcile::testing::{APP, parse_device, parse_target};
use crate::state::{Current, Target};

fn named(name: &str) -> ServiceSelector {
    ServiceSelector::Named(name.to_owned())
}

/// A target, with a number for the image of each service.
fn target(text: &str, images: &[(&str, u32)]) -> Target {
    let mut target = parse_target(text);
    for (name, number) in images {
        target.apps.get_mut(&APP).unwrap().services.get_mut(*name).unwrap().image_id = *number;
    }
    target
}

/// A device, with a number for the image of each container, in their order.
fn device(text: &str, images: &[u32]) -> Current {
    let mut device = parse_device(text);
    for (container, number) in device.containers.iter_mut().zip(images) {
        container.name = format!("{}_{number}_34_414e65cd", container.key.service);
    }
    device
}

fn selected(selector: &ServiceSelector, target: &Target, device: &Current) -> Result<String, Refusal> {
    select(APP, selector, target.apps.get(&APP), &device.containers).map(|key| key.service)
}

#[test]
fn a_service_is_selected_by_its_name() {
    let (target, device) = (target("web web:1\ndb db:1", &[]), device("web web:1 running\ndb db:1 running", &[]));
    assert_eq!(selected(&named("web"), &target, &device), Ok("web".to_owned()));
    assert_eq!(selected(&named("db"), &target, &device), Ok("db".to_owned()));
    assert_eq!(selected(&named("mail"), &target, &device), Err(Refusal::NoContainer));
    assert_eq!(selected(&ServiceSelector::Only, &target, &device), Err(Refusal::SeveralServices));
}

#[test]
fn a_service_is_selected_by_the_number_of_its_image() {
    let target = target("web web:1\ndb db:1", &[("web", 7), ("db", 8)]);
    let device = device("web web:1 running\ndb db:1 running", &[7, 8]);
    assert_eq!(selected(&ServiceSelector::Image(7), &target, &device), Ok("web".to_owned()));
    assert_eq!(selected(&ServiceSelector::Image(8), &target, &device), Ok("db".to_owned()));
    for other in [9, 0, -7, 7 + (1 << 32)] {
        assert_eq!(selected(&ServiceSelector::Image(other), &target, &device), Err(Refusal::NoContainer), "{other}");
    }
}

#[test]
fn during_an_update_the_running_containers_number_selects_its_service_too() {
    // The numbers of the target count first.
    let target = target("web web:2\ndb db:2", &[("web", 17), ("db", 7)]);
    let device = device("web web:1 running\ndb db:1 running", &[7, 8]);
    assert_eq!(selected(&ServiceSelector::Image(17), &target, &device), Ok("web".to_owned()));
    assert_eq!(selected(&ServiceSelector::Image(8), &target, &device), Ok("db".to_owned()));
    assert_eq!(selected(&ServiceSelector::Image(7), &target, &device), Ok("db".to_owned()));
}

#[test]
fn in_an_app_of_one_service_any_name_and_number_selects_it() {
    let (target, device) = (target("web web:1", &[("web", 7)]), device("web web:1 running", &[7]));
    for selector in [named("main"), ServiceSelector::Image(9), ServiceSelector::Only] {
        assert_eq!(selected(&selector, &target, &device), Ok("web".to_owned()), "{selector:?}");
    }
    // The name counts as soon as another service is there or wanted.
    let two = parse_device("web web:1 running\nold old:1 running");
    assert_eq!(selected(&named("main"), &target, &two), Err(Refusal::NoContainer));
    assert_eq!(selected(&named("web"), &target, &two), Ok("web".to_owned()));
}

#[test]
fn a_service_that_the_target_lacks_is_refused() {
    let (target, device) = (parse_target("web web:1"), device("web web:1 running\nold old:1 running", &[7, 8]));
    assert_eq!(selected(&named("old"), &target, &device), Err(Refusal::NotInTarget));
    assert_eq!(selected(&ServiceSelector::Image(8), &target, &device), Err(Refusal::NotInTarget));
    let device = parse_device("old old:1 running");
    assert_eq!(selected(&named("old"), &parse_target(""), &device), Err(Refusal::NotInTarget));
}

#[test]
fn an_app_without_services_is_unknown() {
    for selector in [named("web"), ServiceSelector::Image(7), ServiceSelector::Only] {
        let nothing = selected(&selector, &parse_target(""), &parse_device(""));
        assert_eq!(nothing, Err(Refusal::UnknownApp(APP)), "{selector:?}");
    }
    // A container of another app is none of it.
    let mut device = parse_device("web web:1 running");
    device.containers[0].key.app = AppId(2);
    assert_eq!(selected(&named("web"), &parse_target(""), &device), Err(Refusal::UnknownApp(APP)));
}
