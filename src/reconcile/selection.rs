//! Which service of an app a request is about.

use crate::request::{Refusal, ServiceSelector};
use crate::sorted::SortedSet;
use crate::state::{App, AppId, Container, ServiceKey, parse_name};

/// The service that a request selects. One that has a container but is no longer in the target is refused: the reconciler
/// removes it.
pub(super) fn select(
    app: AppId,
    selector: &ServiceSelector,
    target: Option<&App>,
    containers: &[Container],
) -> Result<ServiceKey, Refusal> {
    let here: Vec<&Container> = containers.iter().filter(|it| it.key.app == app).collect();
    let services = Services {
        app,
        target,
        wanted: target.into_iter().flat_map(|it| it.services.keys()).map(String::as_str).collect(),
        present: here.iter().map(|it| it.key.service.as_str()).collect(),
        containers: here,
    };
    let name = match selector {
        ServiceSelector::Only => services.only()?,
        ServiceSelector::Named(name) => services.named(Some(name.as_str()))?,
        ServiceSelector::Image(number) => services.named(services.with_image(*number))?,
    };
    Ok(ServiceKey { app, service: name.to_owned() })
}

/// The services of one app.
struct Services<'a> {
    app: AppId,
    target: Option<&'a App>,
    containers: Vec<&'a Container>,
    /// Those of the target.
    wanted: SortedSet<&'a str>,
    /// Those that have a container.
    present: SortedSet<&'a str>,
}

impl<'a> Services<'a> {
    fn only(&self) -> Result<&'a str, Refusal> {
        let Self { wanted, present, .. } = self;
        if wanted.len() > 1 && !wanted.is_disjoint(present) {
            return Err(Refusal::SeveralServices);
        }
        match (wanted.first(), present.first()) {
            (Some(name), _) if wanted.len() == 1 && present.contains(name) => Ok(name),
            _ if present.len() > 1 => Err(Refusal::SeveralServices),
            (_, Some(_)) => Err(Refusal::NotInTarget),
            (Some(_), None) if wanted.len() > 1 => Err(Refusal::SeveralServices),
            (Some(name), None) => Ok(name),
            (None, None) => Err(Refusal::UnknownApp(self.app)),
        }
    }

    /// The service with this name. In an app of one service the name does not matter.
    fn named(&self, name: Option<&str>) -> Result<&'a str, Refusal> {
        let all: SortedSet<&'a str> = self.wanted.iter().chain(&self.present).copied().collect();
        let name = match (all.first(), name) {
            (None, _) => return Err(Refusal::UnknownApp(self.app)),
            (Some(only), _) if all.len() == 1 => *only,
            (Some(_), Some(name)) => all.iter().copied().find(|it| *it == name).ok_or(Refusal::NoContainer)?,
            (Some(_), None) => return Err(Refusal::NoContainer),
        };
        if self.wanted.contains(name) { Ok(name) } else { Err(Refusal::NotInTarget) }
    }

    /// The service whose image has this number in the cloud: in the target, else on the device. During an update the cloud
    /// knows the running container by the number of its old image.
    fn with_image(&self, number: i64) -> Option<&'a str> {
        let of_target = self.target.and_then(|it| it.services.iter().find(|(_, it)| i64::from(it.image_id) == number));
        let is_it = |it: &&&Container| parse_name(&it.name).is_some_and(|parts| i64::from(parts.image_id) == number);
        let of_device = || self.containers.iter().find(is_it).map(|it| it.key.service.as_str());
        of_target.map(|(name, _)| name.as_str()).or_else(of_device)
    }
}

#[cfg(test)]
mod tests;
