//! API clients: they restart, stop, start and purge, and disconnect when it takes too long.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use boardkeeper::state::{AppId, ServiceKey, Target};
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;

use crate::random_calls::{any_call, developers_call, triers_call};
use crate::world::Sim;
use crate::world::known::TRIED;
use crate::world::marks::Mark;

/// A request of a client.
#[derive(Debug, Clone)]
pub(crate) struct ApiCall {
    method: Method,
    path: String,
    body: String,
    operation: Operation,
    force: bool,
    key: Key,
}

/// The key in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Device,
    Service(ServiceKey),
    /// A wrong key.
    Wrong,
}

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Operation {
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
    /// An app, for that long.
    Lease(AppId, String, Duration),
    EndLease(AppId, String),
    Reboot,
    PowerOff,
    Check(bool),
    Blink,
    Read,
    /// `None`: until it is switched off.
    LocalModeOn(Option<u64>),
    LocalModeOff,
    Push,
    TryTarget,
    KeepTarget,
    EndTrial,
    /// No valid JSON.
    Garbled,
}

impl ApiCall {
    fn new(path: String, body: String, operation: Operation, force: bool) -> Self {
        Self { method: Method::POST, path, body, operation, force, key: Key::Device }
    }

    /// Restart an app.
    pub(crate) fn restart(app: u32, force: bool) -> Self {
        let body = format!(r#"{{"appId":{app},"force":{force}}}"#);
        Self::new("/v1/restart".into(), body, Operation::Restart(AppId(app)), force)
    }

    /// Purge an app.
    pub(crate) fn purge(app: u32, force: bool) -> Self {
        let body = format!(r#"{{"appId":{app},"force":{force}}}"#);
        Self::new("/v1/purge".into(), body, Operation::Purge(AppId(app)), force)
    }

    /// Stop the only service of an app.
    pub(crate) fn stop_app(app: u32, force: bool) -> Self {
        Self::new(format!("/v1/apps/{app}/stop"), format!(r#"{{"force":{force}}}"#), Operation::Stop(AppId(app), None), force)
    }

    /// Start the only service of an app.
    pub(crate) fn start_app(app: u32) -> Self {
        Self::new(format!("/v1/apps/{app}/start"), String::new(), Operation::Start(AppId(app), None), false)
    }

    /// Stop a service.
    pub(crate) fn stop(app: u32, service: &str, force: bool) -> Self {
        Self::of_service("stop", app, service, force, Operation::Stop)
    }

    /// Start a service.
    pub(crate) fn start(app: u32, service: &str) -> Self {
        Self::of_service("start", app, service, false, Operation::Start)
    }

    /// Restart a service.
    pub(crate) fn start_anew(app: u32, service: &str, force: bool) -> Self {
        Self::of_service("restart", app, service, force, Operation::StartAnew)
    }

    fn of_service(verb: &str, app: u32, service: &str, force: bool, operation: fn(AppId, Option<String>) -> Operation) -> Self {
        let body = format!(r#"{{"serviceName":"{service}","force":{force}}}"#);
        let path = format!("/v2/applications/{app}/{verb}-service");
        Self::new(path, body, operation(AppId(app), Some(service.to_owned())), force)
    }

    /// Look for a new target, and apply it now.
    pub(crate) fn update(force: bool) -> Self {
        Self::new("/v1/update".into(), format!(r#"{{"force":{force}}}"#), Operation::Update, force)
    }

    /// Renew the caller's key.
    pub(crate) fn renew_key() -> Self {
        Self::new("/v1/regenerate-api-key".into(), String::new(), Operation::RenewKey, false)
    }

    /// Renew a service's own key.
    pub(crate) fn renew_own_key(app: u32, service: &str) -> Self {
        Self { key: Key::Service(ServiceKey::new(AppId(app), service)), ..Self::renew_key() }
    }

    /// Look for a new target, and begin downloads anew.
    pub(crate) fn update_anew() -> Self {
        Self::new("/v1/update".into(), r#"{"cancel":true}"#.into(), Operation::UpdateAnew, false)
    }

    /// Turn the check of the connectivity on or off.
    pub(crate) fn check(on: bool) -> Self {
        let method = if on { Method::POST } else { Method::DELETE };
        Self { method, ..Self::new("/v1/tcp-ping".into(), String::new(), Operation::Check(on), false) }
    }

    /// Read how the host is configured.
    pub(crate) fn read_host() -> Self {
        Self { method: Method::GET, ..Self::new("/v1/device/host-config".into(), String::new(), Operation::ReadHost, false) }
    }

    /// Lease an app, or renew the lease.
    pub(crate) fn lease(app: u32, owner: &str, seconds: u32) -> Self {
        let body = format!(r#"{{"owner":"{owner}","reason":"it records","seconds":{seconds}}}"#);
        let operation = Operation::Lease(AppId(app), owner.to_owned(), Duration::from_secs(seconds.into()));
        Self::new(format!("/agent/v1/apps/{app}/lock"), body, operation, false)
    }

    /// Give a lease back.
    pub(crate) fn end_lease(app: u32, owner: &str) -> Self {
        let operation = Operation::EndLease(AppId(app), owner.to_owned());
        let path = format!("/agent/v1/apps/{app}/lock");
        Self { method: Method::DELETE, ..Self::new(path, format!(r#"{{"owner":"{owner}"}}"#), operation, false) }
    }

    /// Something that is no JSON.
    pub(crate) fn garbled() -> Self {
        Self::new("/v1/restart".into(), r#"{"appId":1,"#.into(), Operation::Garbled, false)
    }

    /// Switch local mode on.
    pub(crate) fn local_mode_on(seconds: Option<u64>) -> Self {
        let body = seconds.map_or_else(String::new, |it| format!(r#"{{"seconds":{it}}}"#));
        Self::new("/agent/v1/local-mode".into(), body, Operation::LocalModeOn(seconds), false)
    }

    /// Switch it off.
    pub(crate) fn local_mode_off() -> Self {
        let call = Self::new("/agent/v1/local-mode".into(), String::new(), Operation::LocalModeOff, false);
        Self { method: Method::DELETE, ..call }
    }

    /// Run this version of a developer's app, in local mode.
    pub(crate) fn push(app: u32, version: u64, force: bool) -> Self {
        let service = format!(
            r#"{{"serviceName":"pushed","imageId":1,"image":"r/pushed:{version}","environment":{{}},"labels":{{}},"volumes":["cache:/c"]}}"#
        );
        let app = format!(
            r#""{app}":{{"name":"localapp","commit":"c0de","releaseId":"1","volumes":{{"cache":{{}}}},"networks":{{}},"services":{{"1":{service}}}}}"#
        );
        let body = format!(r#"{{"local":{{"name":"d","config":{{}},"apps":{{{app}}}}},"force":{force}}}"#);
        Self::new("/v2/local/target-state".into(), body, Operation::Push, force)
    }

    /// Try a release of [`TRIED`] for so many seconds.
    pub(crate) fn try_target(version: u64, seconds: u64) -> Self {
        let service = |name: &str| {
            format!(
                r#"{{"serviceName":"{name}","imageId":1,"image":"r/{name}:tried{version}","environment":{{}},"labels":{{}}}}"#
            )
        };
        let services = format!(r#"{{"1":{},"2":{}}}"#, service(TRIED[0]), service(TRIED[1]));
        let app = format!(
            r#""1":{{"name":"app1","commit":"t{version}","releaseId":"9","volumes":{{}},"networks":{{}},"services":{services}}}"#
        );
        let document = format!(r#"{{"local":{{"name":"d","config":{{}},"apps":{{{app}}}}}}}"#);
        let body = format!(r#"{{"seconds":{seconds},"document":{document}}}"#);
        Self::new("/agent/v1/target-trial".into(), body, Operation::TryTarget, false)
    }

    /// Keep the target on trial.
    pub(crate) fn keep_target() -> Self {
        Self::new("/agent/v1/target-trial/keep".into(), String::new(), Operation::KeepTarget, false)
    }

    /// Go back from the target on trial.
    pub(crate) fn end_trial() -> Self {
        let call = Self::new("/agent/v1/target-trial".into(), String::new(), Operation::EndTrial, false);
        Self { method: Method::DELETE, ..call }
    }

    /// A client that has no key of this device.
    pub(crate) fn with_a_wrong_key(self) -> Self {
        Self { key: Key::Wrong, ..self }
    }

    /// Give the host a name.
    pub(crate) fn name_host(name: &str, force: bool) -> Self {
        let body = format!(r#"{{"network":{{"hostname":"{name}"}},"force":{force}}}"#);
        Self { method: Method::PATCH, ..Self::new("/v1/device/host-config".into(), body, Operation::NameHost, force) }
    }

    /// End the machine.
    pub(crate) fn reboot(force: bool) -> Self {
        Self::new("/v1/reboot".into(), format!(r#"{{"force":{force}}}"#), Operation::Reboot, force)
    }

    /// Switch the machine off.
    pub(crate) fn power_off(force: bool) -> Self {
        Self::new("/v1/shutdown".into(), format!(r#"{{"force":{force}}}"#), Operation::PowerOff, force)
    }

    /// The machine may refuse, and an agent may be unwell.
    fn may_be_500(&self) -> bool {
        matches!(self.operation, Operation::Reboot | Operation::PowerOff) || self.path == "/v1/healthy"
    }

    /// Within what time it is answered, whatever engine, disk and LED do; where that is promised.
    fn promised_within(&self) -> Option<Duration> {
        match self.operation {
            Operation::Read | Operation::Blink => Some(Duration::from_millis(1100)),
            _ => None,
        }
    }

    fn mark(&self) -> Mark {
        if self.key == Key::Wrong {
            return Mark::OldKey;
        }
        match self.operation {
            Operation::Lease(..) => Mark::LeaseAsked,
            Operation::EndLease(..) => Mark::LeaseReturned,
            Operation::Restart(_) => Mark::Restart,
            Operation::Purge(_) => Mark::Purge,
            Operation::Stop(..) => Mark::Stop,
            Operation::Start(..) => Mark::Start,
            Operation::StartAnew(..) => Mark::StartAnew,
            Operation::Update if self.force => Mark::UpdateForced,
            Operation::Update => Mark::Update,
            Operation::UpdateAnew => Mark::UpdateAnew,
            Operation::NameHost => Mark::NameHost,
            Operation::ReadHost => Mark::ReadHost,
            Operation::RenewKey if self.key == Key::Device => Mark::RenewKey,
            Operation::RenewKey => Mark::RenewServiceKey,
            Operation::Reboot => Mark::Reboot,
            Operation::PowerOff => Mark::PowerOff,
            Operation::Check(true) => Mark::CheckOn,
            Operation::Check(false) => Mark::CheckOff,
            Operation::Blink => Mark::Blink,
            Operation::Read => Mark::Read,
            Operation::LocalModeOn(_) => Mark::LocalModeOn,
            Operation::LocalModeOff => Mark::LocalModeOff,
            Operation::Push => Mark::Push,
            Operation::TryTarget => Mark::TryTarget,
            Operation::KeepTarget => Mark::KeepTarget,
            Operation::EndTrial => Mark::EndTrial,
            Operation::Garbled => Mark::Garbled,
        }
    }

    /// What the answer says.
    fn answered(&self, status: StatusCode, body: &str) -> Mark {
        match status.as_u16() {
            200..300 => Mark::Answered,
            423 if matches!(self.operation, Operation::Lease(..)) => Mark::LeaseBusy,
            423 if body.contains("\"ends\"") => Mark::SaidLeased,
            423 => Mark::SaidLocked,
            503 if body.contains("shutting down") => Mark::SaidEnding,
            400 | 401 => Mark::SaidBad,
            _ => Mark::SaidFailed,
        }
    }

    /// Show which device it is.
    pub(crate) fn blink() -> Self {
        Self::new("/v1/blink".into(), String::new(), Operation::Blink, false)
    }

    /// Read something.
    pub(crate) fn read(path: &str) -> Self {
        Self { method: Method::GET, ..Self::new(path.into(), String::new(), Operation::Read, false) }
    }
}

impl Sim {
    /// The API's clients, until the agent dies: now and then one sends a request.
    pub(crate) async fn clients(&self, router: Router) {
        loop {
            let wait = self.with(|model| model.rngs.clients.secs(10, 300));
            sleep(wait).await;
            if self.with(|model| model.rates.events.is_empty()) {
                self.end_local_mode(&router).await;
                self.end_target_trial(&router).await;
                return std::future::pending().await;
            }
            let call = self.with(|model| {
                let developers = model.developer.as_mut().and_then(developers_call);
                let triers = || model.trier.as_mut().and_then(triers_call);
                developers.or_else(triers).unwrap_or_else(|| any_call(&mut model.rngs.clients))
            });
            let patience = self.with(|model| model.rngs.clients.secs(1, 600));
            let _ = self.send(&router, &call, patience).await;
            if let Some(why) = self.contradiction(&router) {
                self.with(|model| model.violation(format_args!("the API contradicts itself: {why}")));
            }
        }
    }

    /// Sends a request, and waits that long for the response. `None`: the agent did not respond in time.
    pub(crate) async fn send(&self, router: &Router, call: &ApiCall, patience: Duration) -> Option<(StatusCode, String)> {
        // A client that may read the state directory may read the key.
        let (key, agent) = self.with(|model| {
            model.hit(call.mark());
            model.note(format_args!("person: {} {} {}", call.method, call.path, call.body));
            if call.key != Key::Wrong {
                model.permit(call);
            }
            // No deadline holds until the device's keys are saved, which the first time takes as long as the disk.
            let has_keys = model.status.as_ref().is_some_and(|it| it.borrow().access.is_known());
            (model.key(&call.key), has_keys.then_some(model.engine.agents))
        });
        let asked = Instant::now();
        let request = Request::builder()
            .method(call.method.clone())
            .uri(&call.path)
            .header("host", "localhost")
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(Body::from(call.body.clone()))
            .unwrap();
        let answer = async {
            let response = router.clone().oneshot(request).await.unwrap();
            let status = response.status();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8_lossy(&body).into_owned())
        };
        let answer = timeout(patience, answer).await;
        if let (Some(most), Some(agent)) = (call.promised_within(), agent) {
            self.with(|model| {
                if asked.elapsed() > most && model.engine.agents == agent {
                    model.violation(format_args!("{} is answered after {:?}", call.path, asked.elapsed()));
                }
            });
        }
        let Ok((status, body)) = answer else {
            self.with(|model| {
                model.hit(Mark::HangUp);
                model.note(format_args!("person: hangs up on {}", call.path));
            });
            return None;
        };
        self.with(|model| {
            model.note(format_args!("person: {} says {status}", call.path));
            model.hit(call.answered(status, &body));
            // The health endpoint needs no key.
            if call.key == Key::Wrong && call.path != "/v1/healthy" && status != StatusCode::UNAUTHORIZED {
                model.violation(format_args!("{} answers {status} to a key that is none", call.path));
            }
            if call.operation == Operation::Garbled && !matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) {
                model.violation(format_args!("{} answers {status} to what is no JSON", call.path));
            }
            if matches!(call.operation, Operation::Reboot | Operation::PowerOff) && status == StatusCode::ACCEPTED {
                model.promised();
            }
            if model.status.is_some() && status == StatusCode::INTERNAL_SERVER_ERROR && !call.may_be_500() {
                model.violation(format_args!("{} answers {status}: {body}", call.path));
            }
            if let (Operation::LocalModeOn(None), StatusCode::OK) = (&call.operation, status) {
                model.checker.local_since.get_or_insert_with(Instant::now);
            }
            if let (Operation::Lease(app, owner, length), StatusCode::OK) = (&call.operation, status) {
                model.lease_granted(*app, owner, asked, *length);
            }
            if let (Operation::Stop(app, service), StatusCode::OK) = (&call.operation, status) {
                // Which one it was is in the answer, where the request does not say.
                let it = model.engine.ours().find(|it| it.view.key.app == *app && body.contains(&it.view.id.0));
                let name = service.clone().or_else(|| it.map(|it| it.view.key.service.clone()));
                model.checker.stopped(name.map(|name| ServiceKey::new(*app, &name)));
            }
        });
        Some((status, body))
    }
}

impl crate::world::Model {
    /// The device's key, as a client reads it from the state directory.
    pub(crate) fn device_key(&self) -> String {
        self.key(&Key::Device)
    }

    /// A key as a client reads it from the state directory or from a service's environment.
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

    /// What a request permits from the moment it is sent: the agent may act on it although the client got no response.
    fn permit(&mut self, call: &ApiCall) {
        match &call.operation {
            Operation::Lease(app, owner, length) => self.lease_may_end(*app, owner, Instant::now() + *length),
            Operation::EndLease(app, owner) => self.lease_may_end(*app, owner, Instant::now()),
            Operation::TryTarget => self.hooks.is_target_tried = true,
            Operation::KeepTarget => self.target_may_be_kept(),
            _ => (),
        }
        let checker = &mut self.checker;
        let app = match &call.operation {
            Operation::Restart(app) | Operation::Purge(app) => {
                checker.restarted.insert(*app);
                checker.stopped.retain(|key| key.app != *app);
                Some(*app)
            }
            Operation::Stop(app, _) => {
                checker.ever_stopped.insert(*app);
                Some(*app)
            }
            Operation::Start(app, service) | Operation::StartAnew(app, service) => {
                checker.restarted.insert(*app);
                // In an app of one service any name means that one; and which target the agent has is its own affair.
                let is_single = |it: &Target| it.apps.get(app).is_none_or(|app| app.services.len() < 2);
                let any = is_single(&self.targets.wanted) || self.disk.kept.targets.wanted.as_ref().is_none_or(is_single);
                let is_meant = |key: &ServiceKey| any || service.as_ref().is_none_or(|it| *it == key.service);
                checker.stopped.retain(|key| key.app != *app || !is_meant(key));
                Some(*app)
            }
            Operation::Update | Operation::UpdateAnew | Operation::NameHost | Operation::Push => {
                checker.forced_all |= call.force;
                None
            }
            // What ran when it was entered is started again when it is left, be it done or not.
            Operation::LocalModeOn(seconds) => {
                checker.developed = true;
                checker.local_since = checker.local_since.filter(|_| seconds.is_none());
                None
            }
            Operation::LocalModeOff => {
                checker.local_since = None;
                None
            }
            Operation::RenewKey => {
                checker.renewed = true;
                None
            }
            // A forced request overrides every lock, and may reach the agent only after its restart.
            Operation::Reboot | Operation::PowerOff => {
                checker.forced_all |= call.force;
                checker.reboot_reasons += 1;
                None
            }
            Operation::Blink
            | Operation::Read
            | Operation::TryTarget
            | Operation::KeepTarget
            | Operation::EndTrial
            | Operation::ReadHost
            | Operation::Check(_)
            | Operation::Garbled
            | Operation::Lease(..)
            | Operation::EndLease(..) => None,
        };
        checker.forced.extend(app.filter(|_| call.force));
        if let Operation::Purge(app) = call.operation {
            checker.purged.insert(app);
        }
    }
}
