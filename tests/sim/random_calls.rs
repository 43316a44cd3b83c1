//! Which requests the clients of the API send, by chance.

use crate::clients::ApiCall;
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
