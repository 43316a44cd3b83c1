//! People at the API: they restart, stop, start and purge, and hang up when it takes too long.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use boardkeeper::state::{AppId, ServiceKey};
use http_body_util::BodyExt;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use crate::world::Sim;

/// Something a person asks for.
#[derive(Debug, Clone)]
pub(crate) struct Press {
    method: Method,
    path: String,
    body: String,
    wish: Wish,
    force: bool,
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
    NameHost,
    RenewKey,
    Reboot,
    Blink,
    Read,
}

impl Press {
    fn new(path: String, body: String, wish: Wish, force: bool) -> Self {
        Self { method: Method::POST, path, body, wish, force }
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

    /// Give the host a name.
    pub(crate) fn name_host(name: &str, force: bool) -> Self {
        let body = format!(r#"{{"network":{{"hostname":"{name}"}},"force":{force}}}"#);
        Self { method: Method::PATCH, ..Self::new("/v1/device/host-config".into(), body, Wish::NameHost, force) }
    }

    /// End the machine.
    pub(crate) fn reboot(force: bool) -> Self {
        Self::new("/v1/reboot".into(), format!(r#"{{"force":{force}}}"#), Wish::Reboot, force)
    }

    /// The machine may refuse, and an agent may be unwell.
    fn may_be_500(&self) -> bool {
        self.wish == Wish::Reboot || self.path == "/v1/healthy"
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
        let key = self.with(|model| model.disk.kept.keys.as_ref().map(|keys| keys.device.reveal().to_owned()));
        self.with(|model| {
            model.note(format_args!("person: {} {} {}", press.method, press.path, press.body));
            model.wished(press);
        });
        let request = Request::builder()
            .method(press.method.clone())
            .uri(&press.path)
            .header("authorization", format!("Bearer {}", key.unwrap_or_default()))
            .header("content-type", "application/json")
            .body(Body::from(press.body.clone()))
            .unwrap();
        let answer = async {
            let response = router.clone().oneshot(request).await.unwrap();
            let status = response.status();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8_lossy(&body).into_owned())
        };
        let Ok((status, body)) = timeout(patience, answer).await else {
            self.note(format_args!("person: hangs up on {}", press.path));
            return None;
        };
        self.with(|model| {
            model.note(format_args!("person: {} says {status}", press.path));
            if model.status.is_some() && status == StatusCode::INTERNAL_SERVER_ERROR && !press.may_be_500() {
                model.wrong(format_args!("{} answers {status}: {body}", press.path));
            }
            if let (Wish::Stop(app, service), StatusCode::OK) = (&press.wish, status) {
                // Which one it was is in the answer, where the request does not say.
                let it = model.machine.ours().find(|it| it.face.key.app == *app && body.contains(&it.face.id.0));
                let name = service.clone().or_else(|| it.map(|it| it.face.key.service.clone()));
                model.judge.stopped.extend(name.map(|name| ServiceKey::new(*app, &name)));
            }
        });
        Some((status, body))
    }
}

impl crate::world::Model {
    /// What a request allows from the moment it is sent: it may be done although nobody hears the answer.
    fn wished(&mut self, press: &Press) {
        let judge = &mut self.judge;
        let app = match &press.wish {
            Wish::Restart(app) | Wish::Purge(app) => {
                judge.restarted.insert(*app);
                judge.stopped.retain(|key| key.app != *app);
                Some(*app)
            }
            Wish::Stop(app, _) => Some(*app),
            Wish::Start(app, service) | Wish::StartAnew(app, service) => {
                judge.restarted.insert(*app);
                judge.stopped.retain(|key| key.app != *app || service.as_ref().is_some_and(|it| *it != key.service));
                Some(*app)
            }
            Wish::Update | Wish::NameHost => {
                judge.forced_all |= press.force;
                None
            }
            Wish::RenewKey => {
                judge.renewed = true;
                None
            }
            // Whoever forces it takes every lock away, and may be heard only after the agent was started again.
            Wish::Reboot => {
                judge.forced_all |= press.force;
                judge.reboot_reasons += 1;
                None
            }
            Wish::Blink | Wish::Read => None,
        };
        judge.forced.extend(app.filter(|_| press.force));
        if let Wish::Purge(app) = press.wish {
            judge.purged.insert(app);
        }
    }
}

fn any_press(dice: &mut crate::world::dice::Dice) -> Press {
    let app = u32::try_from(dice.between(1, 2)).unwrap();
    let service = *dice.pick(&["db", "web", "mail", "job"]).unwrap();
    let force = dice.happens(200);
    match dice.below(15) {
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
        _ => Press::read(
            dice.pick(&["/v1/device", "/v1/healthy", "/v2/applications/state", "/v2/state/status", "/agent/v1/leds"]).unwrap(),
        ),
    }
}
