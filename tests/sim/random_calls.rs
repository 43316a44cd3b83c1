//! Which requests the clients of the API send, by chance.

use std::time::Duration;

use axum::Router;
use tokio::time::sleep;

use crate::clients::ApiCall;
use crate::world::Sim;
use crate::world::rng::Rng;

/// What any client may ask for.
pub(crate) fn any_call(rng: &mut Rng) -> ApiCall {
    let app = u32::try_from(rng.between(1, 2)).unwrap();
    let service = *rng.pick(&["db", "web", "mail", "job"]).unwrap();
    let force = rng.happens(200);
    let call = match rng.below(24) {
        0 | 1 => ApiCall::restart(app, force),
        2 => ApiCall::purge(app, force),
        3 => ApiCall::stop(app, service, force),
        4 => ApiCall::start(app, service),
        5 => ApiCall::start_anew(app, service, force),
        6 | 7 => ApiCall::stop_app(app, force),
        8 => ApiCall::start_app(app),
        9 => ApiCall::update(force),
        10 => ApiCall::renew_key(),
        11 => ApiCall::reboot(force),
        12 | 13 => ApiCall::blink(),
        14 => ApiCall::power_off(force),
        15 => ApiCall::update_anew(),
        16 => ApiCall::renew_own_key(app, service),
        17 => ApiCall::check(rng.happens(600)),
        18 => ApiCall::name_host(if rng.happens(500) { "kitchen" } else { "" }, force),
        19 => ApiCall::read_host(),
        20 => ApiCall::garbled(),
        _ => ApiCall::read(
            rng.pick(&["/v1/device", "/v1/healthy", "/v2/applications/state", "/v2/state/status", "/agent/v1/leds"]).unwrap(),
        ),
    };
    if rng.happens(30) { call.with_a_wrong_key() } else { call }
}

/// What a person does who tries targets, beside the other clients.
pub(crate) fn triers_call(rng: &mut Rng) -> Option<ApiCall> {
    if !rng.happens(300) {
        return None;
    }
    Some(match rng.below(10) {
        0..=5 => ApiCall::try_target(rng.between(1, 3), rng.between(10, 1200)),
        6 | 7 => ApiCall::keep_target(),
        _ => ApiCall::end_trial(),
    })
}

/// What a developer does beside the other clients.
pub(crate) fn developers_call(rng: &mut Rng) -> Option<ApiCall> {
    if !rng.happens(500) {
        return None;
    }
    Some(match rng.below(10) {
        0..=2 => ApiCall::local_mode_on(rng.happens(300).then(|| rng.between(20, 1200))),
        3 => ApiCall::local_mode_off(),
        // The owner has an app 1, and none with the number 9.
        _ => ApiCall::push(if rng.happens(500) { 1 } else { 9 }, rng.between(1, 3), rng.happens(200)),
    })
}

impl Sim {
    /// Switches local mode off, until it is off: a life ends with what its owner wants.
    pub(crate) async fn end_local_mode(&self, router: &Router) {
        while self.with(|model| model.status.as_ref().is_none_or(|it| it.borrow().access.local_mode)) {
            let _ = self.send(router, &ApiCall::local_mode_off(), Duration::from_secs(60)).await;
            sleep(Duration::from_secs(5)).await;
        }
    }

    /// Goes back from what is on trial or was kept, until nothing is.
    pub(crate) async fn end_target_trial(&self, router: &Router) {
        while self.with(|model| model.status.as_ref().is_none_or(|it| it.borrow().target_trial.is_some())) {
            let _ = self.send(router, &ApiCall::end_trial(), Duration::from_secs(60)).await;
            sleep(Duration::from_secs(5)).await;
        }
    }

    /// Programs on the device that lease apps, until the agent dies.
    pub(crate) async fn programs(&self, router: Router) {
        loop {
            let wait = self.with(|model| model.leases.rng.secs(5, 200));
            sleep(wait).await;
            if self.with(|model| model.rates.events.is_empty() || !model.leases.are_asked_for) {
                return std::future::pending().await;
            }
            let call = self.with(|model| {
                let rng = &mut model.leases.rng;
                let app = u32::try_from(rng.between(1, 2)).unwrap();
                let owner = *rng.pick(&["recorder", "backup"]).unwrap();
                let seconds = u32::try_from(rng.between(1, 900)).unwrap();
                if rng.happens(750) { ApiCall::lease(app, owner, seconds) } else { ApiCall::end_lease(app, owner) }
            });
            let _ = self.send(&router, &call, Duration::from_secs(60)).await;
        }
    }
}
