//! API clients: they restart, stop, start and purge, and disconnect when it takes too long.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use boardkeeper::state::{AppId, ServiceKey};
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;

use crate::world::Sim;
use crate::world::dice::Dice;
use crate::world::met::Met;

/// Something a person asks for.
#[derive(Debug, Clone)]
pub(crate) struct Press {
    method: Method,
    path: String,
    body: String,
    wish: Wish,
    force: bool,
    key: Key,
}

/// Whose key they come with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Device,
    Service(ServiceKey),
    /// One that is none.
    Wrong,
}

/// What they mean by it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wish {
    Restart(AppId),
    Purge(AppId),
    /// `None`: the only service of the app.
    Stop(AppId, Option<String>),
    Start(AppId, Option<String>),
    StartAnew(AppId, Option<String>),
    Update,
    UpdateAnew,
    NameHost,
    ReadHost,
    RenewKey,
    Reboot,
    PowerOff,
    Check(bool),
    Blink,
    Read,
    /// Nothing that can be understood.
    Garbled,
}

impl Press {
    fn new(path: String, body: String, wish: Wish, force: bool) -> Self {
        Self { method: Method::POST, path, body, wish, force, key: Key::Device }
    }

    /// Restart an app.
    pub(crate) fn restart(app: u32, force: bool) -> Self {
        let body = format!(r#"{{"appId":{app},"force":{force}}}"#);
        Self::new("/v1/restart".into(), body, Wish::Restart(AppId(app)), force)
    }

    /// Purge an app.
    pub(crate) fn purge(app: u32, force: bool) -> Self {
        let body = format!(r#"{{"appId":{app},"force":{force}}}"#);
        Self::new("/v1/purge".into(), body, Wish::Purge(AppId(app)), force)
    }

    /// Stop the only service of an app.
    pub(crate) fn stop_app(app: u32, force: bool) -> Self {
        Self::new(format!("/v1/apps/{app}/stop"), format!(r#"{{"force":{force}}}"#), Wish::Stop(AppId(app), None), force)
    }

    /// Start the only service of an app.
    pub(crate) fn start_app(app: u32) -> Self {
        Self::new(format!("/v1/apps/{app}/start"), String::new(), Wish::Start(AppId(app), None), false)
    }

    /// Stop a service.
    pub(crate) fn stop(app: u32, service: &str, force: bool) -> Self {
        Self::of_service("stop", app, service, force, Wish::Stop)
    }

    /// Start a service.
    pub(crate) fn start(app: u32, service: &str) -> Self {
        Self::of_service("start", app, service, false, Wish::Start)
    }

    /// Restart a service.
    pub(crate) fn start_anew(app: u32, service: &str, force: bool) -> Self {
        Self::of_service("restart", app, service, force, Wish::StartAnew)
    }

    fn of_service(verb: &str, app: u32, service: &str, force: bool, wish: fn(AppId, Option<String>) -> Wish) -> Self {
        let body = format!(r#"{{"serviceName":"{service}","force":{force}}}"#);
        let path = format!("/v2/applications/{app}/{verb}-service");
        Self::new(path, body, wish(AppId(app), Some(service.to_owned())), force)
    }

    /// Look for a new target, and apply it now.
    pub(crate) fn update(force: bool) -> Self {
        Self::new("/v1/update".into(), format!(r#"{{"force":{force}}}"#), Wish::Update, force)
    }

    /// Make the caller's key anew.
    pub(crate) fn renew_key() -> Self {
        Self::new("/v1/regenerate-api-key".into(), String::new(), Wish::RenewKey, false)
    }

    /// Make a service's own key anew.
    pub(crate) fn renew_own_key(app: u32, service: &str) -> Self {
        Self { key: Key::Service(ServiceKey::new(AppId(app), service)), ..Self::renew_key() }
    }

    /// Look for a new target, and begin downloads anew.
    pub(crate) fn update_anew() -> Self {
        Self::new("/v1/update".into(), r#"{"cancel":true}"#.into(), Wish::UpdateAnew, false)
    }

    /// Turn the check of the connectivity on or off.
    pub(crate) fn check(on: bool) -> Self {
        let method = if on { Method::POST } else { Method::DELETE };
        Self { method, ..Self::new("/v1/tcp-ping".into(), String::new(), Wish::Check(on), false) }
    }

    /// Read how the host is configured.
    pub(crate) fn read_host() -> Self {
        Self { method: Method::GET, ..Self::new("/v1/device/host-config".into(), String::new(), Wish::ReadHost, false) }
    }

    /// Something that is no JSON.
    pub(crate) fn garbled() -> Self {
        Self::new("/v1/restart".into(), r#"{"appId":1,"#.into(), Wish::Garbled, false)
    }

    /// Somebody who has no key of this device.
    pub(crate) fn with_a_wrong_key(self) -> Self {
        Self { key: Key::Wrong, ..self }
    }

    /// Give the host a name.
    pub(crate) fn name_host(name: &str, force: bool) -> Self {
        let body = format!(r#"{{"network":{{"hostname":"{name}"}},"force":{force}}}"#);
        Self { method: Method::PATCH, ..Self::new("/v1/device/host-config".into(), body, Wish::NameHost, force) }
    }

    /// End the machine.
    pub(crate) fn reboot(force: bool) -> Self {
        Self::new("/v1/reboot".into(), format!(r#"{{"force":{force}}}"#), Wish::Reboot, force)
    }

    /// Switch the machine off.
    pub(crate) fn power_off(force: bool) -> Self {
        Self::new("/v1/shutdown".into(), format!(r#"{{"force":{force}}}"#), Wish::PowerOff, force)
    }

    /// The machine may refuse, and an agent may be unwell.
    fn may_be_500(&self) -> bool {
        matches!(self.wish, Wish::Reboot | Wish::PowerOff) || self.path == "/v1/healthy"
    }

    /// Within what time it is answered, whatever engine, disk and LED do; where that is promised.
    fn promised_within(&self) -> Option<Duration> {
        match self.wish {
            Wish::Read | Wish::Blink => Some(Duration::from_millis(1100)),
            _ => None,
        }
    }

    fn met(&self) -> Met {
        if self.key == Key::Wrong {
            return Met::OldKey;
        }
        match self.wish {
            Wish::Restart(_) => Met::Restart,
            Wish::Purge(_) => Met::Purge,
            Wish::Stop(..) => Met::Stop,
            Wish::Start(..) => Met::Start,
            Wish::StartAnew(..) => Met::StartAnew,
            Wish::Update if self.force => Met::UpdateForced,
            Wish::Update => Met::Update,
            Wish::UpdateAnew => Met::UpdateAnew,
            Wish::NameHost => Met::NameHost,
            Wish::ReadHost => Met::ReadHost,
            Wish::RenewKey if self.key == Key::Device => Met::RenewKey,
            Wish::RenewKey => Met::RenewServiceKey,
            Wish::Reboot => Met::Reboot,
            Wish::PowerOff => Met::PowerOff,
            Wish::Check(true) => Met::CheckOn,
            Wish::Check(false) => Met::CheckOff,
            Wish::Blink => Met::Blink,
            Wish::Read => Met::Read,
            Wish::Garbled => Met::Garbled,
        }
    }

    /// Show which device it is.
    pub(crate) fn blink() -> Self {
        Self::new("/v1/blink".into(), String::new(), Wish::Blink, false)
    }

    /// Read something.
    pub(crate) fn read(path: &str) -> Self {
        Self { method: Method::GET, ..Self::new(path.into(), String::new(), Wish::Read, false) }
    }
}

impl Sim {
    /// Whoever uses the API, until the agent dies: now and then they ask for something.
    pub(crate) async fn people(&self, router: Router) {
        loop {
            let wait = self.with(|model| model.fates.people.secs(10, 300));
            sleep(wait).await;
            if self.with(|model| model.weather.whims.is_empty()) {
                return std::future::pending().await;
            }
            let press = self.with(|model| any_press(&mut model.fates.people));
            let patience = self.with(|model| model.fates.people.secs(1, 600));
            let _ = self.press(&router, &press, patience).await;
        }
    }

    /// Asks, and waits for an answer for so long. `None`: nobody answered in time.
    pub(crate) async fn press(&self, router: &Router, press: &Press, patience: Duration) -> Option<(StatusCode, String)> {
        // Whoever may read the state directory may read the key.
        let (key, agent) = self.with(|model| {
            model.met(press.met());
            model.note(format_args!("person: {} {} {}", press.method, press.path, press.body));
            if press.key != Key::Wrong {
                model.wished(press);
            }
            // Before the device's keys are kept, which the first time takes as long as the disk, nobody is promised anything.
            let has_keys = model.status.as_ref().is_some_and(|it| it.borrow().access.is_known());
            (model.key(&press.key), has_keys.then_some(model.machine.agents))
        });
        let asked = Instant::now();
        let request = Request::builder()
            .method(press.method.clone())
            .uri(&press.path)
            .header("host", "localhost")
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(Body::from(press.body.clone()))
            .unwrap();
        let answer = async {
            let response = router.clone().oneshot(request).await.unwrap();
            let status = response.status();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8_lossy(&body).into_owned())
        };
        let answer = timeout(patience, answer).await;
        if let (Some(most), Some(agent)) = (press.promised_within(), agent) {
            self.with(|model| {
                if asked.elapsed() > most && model.machine.agents == agent {
                    model.wrong(format_args!("{} is answered after {:?}", press.path, asked.elapsed()));
                }
            });
        }
        let Ok((status, body)) = answer else {
            self.with(|model| {
                model.met(Met::HangUp);
                model.note(format_args!("person: hangs up on {}", press.path));
            });
            return None;
        };
        self.with(|model| {
            model.note(format_args!("person: {} says {status}", press.path));
            model.met(match status.as_u16() {
                200..300 => Met::Answered,
                423 => Met::SaidLocked,
                503 if body.contains("shutting down") => Met::SaidEnding,
                400 | 401 => Met::SaidBad,
                _ => Met::SaidFailed,
            });
            // Whether the agent is well may be asked by anybody.
            if press.key == Key::Wrong && press.path != "/v1/healthy" && status != StatusCode::UNAUTHORIZED {
                model.wrong(format_args!("{} answers {status} to a key that is none", press.path));
            }
            if press.wish == Wish::Garbled && !matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) {
                model.wrong(format_args!("{} answers {status} to what is no JSON", press.path));
            }
            if matches!(press.wish, Wish::Reboot | Wish::PowerOff) && status == StatusCode::ACCEPTED {
                model.promised();
            }
            if model.status.is_some() && status == StatusCode::INTERNAL_SERVER_ERROR && !press.may_be_500() {
                model.wrong(format_args!("{} answers {status}: {body}", press.path));
            }
            if let (Wish::Stop(app, service), StatusCode::OK) = (&press.wish, status) {
                // Which one it was is in the answer, where the request does not say.
                let it = model.machine.ours().find(|it| it.face.key.app == *app && body.contains(&it.face.id.0));
                let name = service.clone().or_else(|| it.map(|it| it.face.key.service.clone()));
                model.judge.stopped(name.map(|name| ServiceKey::new(*app, &name)));
            }
        });
        Some((status, body))
    }
}

impl crate::world::Model {
    /// A key as whoever may read the state directory, or a service's environment, reads it.
    fn key(&self, whose: &Key) -> String {
        let Some(keys) = self.disk.kept.keys.as_ref().filter(|_| *whose != Key::Wrong) else { return "0".repeat(64) };
        match whose {
            Key::Service(service) => {
                let wanted = self.disk.kept.targets.wanted.as_ref().and_then(|it| it.apps.get(&service.app));
                keys.of(service, wanted.map_or("", |it| &it.uuid)).reveal().to_owned()
            }
            Key::Device | Key::Wrong => keys.device.reveal().to_owned(),
        }
    }

    /// What a request allows from the moment it is sent: it may be done although nobody hears the answer.
    fn wished(&mut self, press: &Press) {
        let judge = &mut self.judge;
        let app = match &press.wish {
            Wish::Restart(app) | Wish::Purge(app) => {
                judge.restarted.insert(*app);
                judge.stopped.retain(|key| key.app != *app);
                Some(*app)
            }
            Wish::Stop(app, _) => {
                judge.owed.insert(*app);
                Some(*app)
            }
            Wish::Start(app, service) | Wish::StartAnew(app, service) => {
                judge.restarted.insert(*app);
                judge.stopped.retain(|key| key.app != *app || service.as_ref().is_some_and(|it| *it != key.service));
                Some(*app)
            }
            Wish::Update | Wish::UpdateAnew | Wish::NameHost => {
                judge.forced_all |= press.force;
                None
            }
            Wish::RenewKey => {
                judge.renewed = true;
                None
            }
            // Whoever forces it takes every lock away, and may be heard only after the agent was started again.
            Wish::Reboot | Wish::PowerOff => {
                judge.forced_all |= press.force;
                judge.reboot_reasons += 1;
                None
            }
            Wish::Blink | Wish::Read | Wish::ReadHost | Wish::Check(_) | Wish::Garbled => None,
        };
        judge.forced.extend(app.filter(|_| press.force));
        if let Wish::Purge(app) = press.wish {
            judge.purged.insert(app);
        }
    }
}

fn any_press(dice: &mut Dice) -> Press {
    let app = u32::try_from(dice.between(1, 2)).unwrap();
    let service = *dice.pick(&["db", "web", "mail", "job"]).unwrap();
    let force = dice.happens(200);
    let press = match dice.below(24) {
        0 | 1 => Press::restart(app, force),
        2 => Press::purge(app, force),
        3 => Press::stop(app, service, force),
        4 => Press::start(app, service),
        5 => Press::start_anew(app, service, force),
        6 | 7 => Press::stop_app(app, force),
        8 => Press::start_app(app),
        9 => Press::update(force),
        10 => Press::renew_key(),
        11 => Press::reboot(force),
        12 | 13 => Press::blink(),
        14 => Press::power_off(force),
        15 => Press::update_anew(),
        16 => Press::renew_own_key(app, service),
        17 => Press::check(dice.happens(600)),
        18 => Press::name_host(if dice.happens(500) { "kitchen" } else { "" }, force),
        19 => Press::read_host(),
        20 => Press::garbled(),
        _ => Press::read(
            dice.pick(&["/v1/device", "/v1/healthy", "/v2/applications/state", "/v2/state/status", "/agent/v1/leds"]).unwrap(),
        ),
    };
    if dice.happens(30) { press.with_a_wrong_key() } else { press }
}
