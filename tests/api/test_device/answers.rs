//! What the reconciler of a test device answers.

use std::time::Duration;

use boardkeeper::request::{LocalModeRequest, Refusal, Request, respond};
use boardkeeper::state::Secret;
use boardkeeper::state::lease::{Lease, LeaseTerms};
use boardkeeper::state::local_mode::LocalModeStatus;
use boardkeeper::state::target_trial::TargetTrialStatus;
use tokio::time::Instant;

use super::{ONE, TestDevice};
use crate::received::Received;

/// Answers about a target on trial.
fn trial(request: Request) {
    let status = |ends| TargetTrialStatus { ends, beneath: String::new(), has_newer: false, warnings: Vec::new() };
    match request {
        Request::TryTarget { document, length_secs, reply } => {
            let parsed = boardkeeper::document::parse(&document, None).map_err(|why| Refusal::Document(why.0));
            let ends = Some(Instant::now() + Duration::from_secs(length_secs.into()));
            respond(reply, parsed.map(|it| TargetTrialStatus { warnings: it.warnings, ..status(ends) }));
        }
        Request::KeepTarget(reply) => respond(reply, Ok(status(None))),
        Request::EndTargetTrial(reply) => respond(reply, Ok(())),
        other => unreachable!("{other:?} is not about a trial"),
    }
}

impl TestDevice {
    /// Answers a request, and notes who sent it.
    pub(super) fn answer(&mut self, request: Request) {
        match request {
            Request::By(by, request) => {
                self.requesters.push(by);
                self.answer(*request);
            }
            Request::Identified(failed) => self.identified.push(failed),
            request => self.answer_plain(request),
        }
    }

    fn answer_plain(&mut self, request: Request) {
        self.asked.push(Received::of(&request));
        if self.hangs_up {
            return;
        }
        if let Some(why) = self.refuses.clone() {
            return request.reject(why);
        }
        match request {
            Request::Update { reply, .. } | Request::Shutdown { reply, .. } | Request::CheckConnectivity { reply, .. } => {
                respond(reply, Ok(()));
            }
            Request::SwitchLocalMode { switch, reply } => {
                let until_secs = match switch {
                    LocalModeRequest::On { length_secs } => length_secs.map(|it| 1_700_000_000 + i64::from(it)),
                    LocalModeRequest::Off => None,
                };
                self.say(|it| it.access.local_mode = switch != LocalModeRequest::Off);
                respond(reply, Ok(LocalModeStatus { until_secs, is_switched: true, ..LocalModeStatus::default() }));
            }
            Request::PushTarget { document, reply, .. } => {
                let parsed = boardkeeper::document::parse(&document, None).map(drop);
                respond(reply, parsed.map_err(|why| Refusal::Document(why.0)));
            }
            request @ (Request::TryTarget { .. } | Request::KeepTarget(_) | Request::EndTargetTrial(_)) => trial(request),
            Request::Restart { app, force, reply } | Request::Purge { app, force, reply } => {
                let here = self.containers(app).first().map(drop).ok_or(Refusal::UnknownApp(app));
                respond(reply, here.and_then(|()| self.unlocked(app, force)).map(|()| self.except.clone()));
            }
            Request::CleanUpVolumes { reply, .. } => {
                let locks = &self.publish.borrow().current.locks;
                let held = locks.iter().find_map(|(app, it)| Some(Refusal::LockedApp(*app, it.held()?.clone())));
                respond(reply, held.map_or(Ok(()), Err));
            }
            Request::Stop { app, service, force, reply } | Request::RestartService { app, service, force, reply } => {
                respond(reply, self.selected(app, &service).and_then(|id| self.unlocked(app, force).map(|()| id)));
            }
            Request::Start { app, service, reply } => respond(reply, self.selected(app, &service)),
            Request::Lease { app, terms, reply } => {
                let LeaseTerms { owner, reason, seconds } = terms;
                let lease = Lease { owner, reason, seconds, ends_up: Duration::ZERO, ends_secs: 1_700_000_000 };
                respond(reply, self.containers(app).first().map(|_| lease).ok_or(Refusal::UnknownApp(app)));
            }
            Request::EndLease { app, reply, .. } => {
                respond(reply, self.containers(app).first().map(drop).ok_or(Refusal::UnknownApp(app)));
            }
            Request::RenewKey { caller, reply } => respond(reply, self.renew(caller)),
            Request::MakePageLink(reply) => {
                let token = Secret::new("a".repeat(32));
                self.say(|it| it.page_links.add(token.clone(), Instant::now()));
                respond(reply, Ok(token));
            }
            Request::OpenPageLink { token, reply } => {
                let mut is_known = false;
                self.say(|it| is_known = it.page_links.open(&token, Instant::now()));
                respond(reply, is_known.then(|| self.keys.device.clone()).ok_or(Refusal::UnknownLink));
            }
            Request::ReadHost(reply) => respond(reply, Ok(self.host.clone())),
            Request::ConfigureHost { force, reply, .. } => respond(reply, self.unlocked(ONE, force)),
            Request::Target(_)
            | Request::Rejected(_)
            | Request::Account(_)
            | Request::PinSettled
            | Request::Probe(_)
            | Request::Identified(_)
            | Request::Held(_)
            | Request::By(..) => {
                unreachable!("not asked over HTTP")
            }
        }
    }
}
