//! What a request changes: the target or the overrides, and nothing else. The action to take follows from the next
//! observation.

use tracing::info;

use crate::port::{Random, Record, Targets, World};
use crate::reconcile::Reconciler;
use crate::reconcile::overrides::StoppedRecord;
use crate::reconcile::persistence::{RecordKind, save};
use crate::reconcile::selection::select;
use crate::reconcile::waiters::Goal;
use crate::request::{InProgress, Refusal, RejectedDocument, Reply, Request, ServiceSelector, respond};
use crate::sorted::SortedSet;
use crate::state::cloud::CloudAccount;
use crate::state::history::Requester;
use crate::state::page_link::PageLinks;
use crate::state::volume::VolumeLocation;
use crate::state::{App, AppId, Caller, EngineState, Force, Secret, ServiceKey, Step, Target, Volume};

impl<W: World> Reconciler<'_, W> {
    pub(super) async fn handle_request(&mut self, request: Request) {
        match request {
            Request::By(by, request) => Box::pin(self.handle_request_of(Some(by), *request)).await,
            request => self.handle_request_of(None, request).await,
        }
    }

    async fn handle_request_of(&mut self, by: Option<Requester>, request: Request) {
        if self.is_too_early(&request) {
            return self.requests.defer(match by {
                Some(by) => Request::By(by, Box::new(request)),
                None => request,
            });
        }
        if self.shutdown.is_under_way() && changes_containers(&request) {
            return request.reject(Refusal::ShuttingDown);
        }
        self.note_request(by.as_ref(), &request);
        match request {
            Request::Target(target) => self.set_target(*target, by).await,
            Request::Rejected(document) => self.reject_document(document, by),
            Request::Account(account) => self.set_account(account.as_deref()).await,
            Request::PinSettled => self.forget_pin().await,
            Request::Update { locks, running, reply } => {
                self.update(locks, running).await;
                respond(reply, Ok(()));
            }
            Request::Restart { app, force, reply } => {
                let begun = self.restart(app, force).await;
                self.wait_for(app, begun.map(|()| Goal::Settled), reply);
            }
            Request::Purge { app, force, reply } => match self.purge(app, force).await {
                Ok(Some(stays)) => self.wait_for(app, Ok(|reply| Goal::Purged(stays, reply)), reply),
                begun => self.wait_for(app, begun.map(|_| Goal::Settled), reply),
            },
            Request::CleanUpVolumes { apps, reply } => self.clean_up_volumes(apps, reply).await,
            Request::Stop { app, service, force, reply } => {
                let key = self.stop(app, &service, force).await;
                self.wait_for(app, key.map(|key| |reply| Goal::Stopped(key, reply)), reply);
            }
            Request::RestartService { app, service, force, reply } => {
                let key = self.restart_service(app, &service, force).await;
                self.wait_for(app, key.map(|key| |reply| Goal::Restarted(key, reply)), reply);
            }
            Request::Start { app, service, reply } => {
                let key = self.start(app, &service).await;
                self.wait_for(app, key.map(|key| |reply| Goal::Started(key, reply)), reply);
            }
            Request::Lease { app, terms, reply } => {
                // Boxed: it is rare, and the future of every request would have its size.
                let lease = Box::pin(self.lease(app, terms)).await;
                respond(reply, lease);
            }
            Request::EndLease { app, owner, reply } => {
                let ended = Box::pin(self.end_lease(app, owner.as_deref())).await;
                respond(reply, ended);
            }
            Request::RenewKey { caller, reply } => respond(reply, self.renew_key(caller).await),
            Request::MakePageLink(reply) => respond(reply, Ok(self.make_page_link())),
            Request::OpenPageLink { token, reply } => respond(reply, self.open_page_link(&token)),
            Request::CheckConnectivity { check, reply } => {
                self.context.publish.send_modify(|it| it.check = check);
                respond(reply, Ok(()));
            }
            Request::SwitchLocalMode { switch, reply } => self.switch_local_mode(switch, reply).await,
            Request::PushTarget { document, force, reply } => self.push_target(document, force, reply),
            Request::TryTarget { document, length_secs, reply } => self.try_target(document, length_secs, by, reply),
            Request::KeepTarget(reply) => Box::pin(self.keep_target(by, reply)).await,
            Request::EndTargetTrial(reply) => Box::pin(self.return_from_trial(by, reply)).await,
            Request::ReadHost(reply) => self.read_host(reply),
            Request::ConfigureHost { patch, force, reply } => self.configure_host(*patch, force, reply),
            Request::Shutdown { ending, force, reply } => self.begin_shutdown(ending, force, reply),
            Request::Probe(reply) => respond(reply, Ok(())),
            Request::Identified(failed) => self.note_identified(by, failed),
            Request::Held(ended) => self.note_held(by, *ended),
            Request::By(_, request) => request.reject(Refusal::Failed("it has two senders".to_owned())),
        }
    }

    fn reject_document(&self, RejectedDocument { why, releases }: RejectedDocument, by: Option<Requester>) {
        let before = self.context.publish.borrow().rejected.clone();
        self.context.publish.send_modify(|it| {
            it.rejected = Some(why);
            it.rejected_releases = releases;
        });
        self.note_rejected(before.as_ref(), by);
    }

    async fn set_account(&mut self, account: Option<&CloudAccount>) {
        if account.is_none() {
            self.forget_pin().await;
        }
        if self.targets.set_account(account) {
            self.on_target_changed();
        }
    }

    /// The cloud is not to pin the device any more.
    async fn forget_pin(&mut self) {
        if self.context.publish.send_if_modified(|it| it.pin.take().is_some()) {
            self.save(RecordKind::Pin).await;
        }
    }

    /// Whether a request has to wait for the next observation.
    fn is_too_early(&self, request: &Request) -> bool {
        // Before the first observation it is not known which containers exist and who locks them.
        let blind = matches!(self.context.publish.borrow().engine, EngineState::Unknown);
        // Locks being released are neither ours nor free.
        let is_unlocking = || self.work.in_flight().any(|it| matches!(it, Step::ReleaseLocks(_)));
        match request {
            Request::ConfigureHost { .. } => blind || is_unlocking(),
            // What is on the engine decides which numbers are free, and which images were there before.
            Request::Shutdown { .. } | Request::PushTarget { .. } | Request::Lease { .. } | Request::EndLease { .. } => blind,
            other => blind && changes_containers(other),
        }
    }

    /// Responds when a goal is reached, or at once if the request was rejected.
    fn wait_for<T>(&mut self, app: AppId, goal: Result<impl FnOnce(Reply<T>) -> Goal, Refusal>, reply: Reply<T>) {
        match goal {
            Ok(goal) => {
                self.requests.wait(app, goal(reply));
                self.request_resync();
            }
            Err(refusal) => respond(reply, Err(refusal)),
        }
    }

    /// Sets a new target. Work in flight that the new target still needs goes on.
    async fn set_target(&mut self, target: Target, by: Option<Requester>) {
        let rejected = self.context.publish.borrow().rejected.clone();
        if self.targets.accept(target, &self.context).await {
            self.note_accepted(by);
            // Saved by the observation due now, before it plans: it knows which images are to be pulled, so one record is
            // enough.
            self.records.mark(RecordKind::Targets);
            if self.targets.drop_outdated_kept() {
                info!("the kept target gives way to it");
                self.history.on_trial_gone();
                self.records.mark(RecordKind::TargetTrial);
            }
            if self.targets.forget_other_failures() {
                self.records.mark(RecordKind::FailedReleases);
            }
            self.records.retry_now();
            self.on_target_changed();
        } else {
            self.note_rejected(rejected.as_ref(), by);
        }
    }

    /// The target or the keys of its services changed. Steps are cancelled by the observation due now.
    pub(super) fn on_target_changed(&mut self) {
        self.publish_trial_status();
        self.targets.complete_changed(self.context.publish);
        if let Some(target) = self.targets.completed() {
            self.history.keep_only(target);
            if !self.targets.is_on_trial() {
                // What a person stopped stays stopped when the device returns.
                self.overrides.keep_only(target);
            }
        }
        self.request_resync();
    }

    async fn update(&mut self, locks: Force, running: InProgress) {
        if let Some(target) = self.targets.take_refused(&self.context).await {
            self.set_target(target, None).await;
        }
        self.retry_failed_releases().await;
        self.context.world.targets().look_again();
        self.context.publish.send_modify(|it| it.update_requests = it.update_requests.wrapping_add(1));
        if locks == Force::Yes {
            self.overrides.force_update(self.known_apps());
        }
        if running == InProgress::Cancel {
            self.work.cancel_except(|_| false);
        }
        self.work.retries_mut().retry_now();
        self.hooks.retry_now();
        self.request_resync();
    }

    async fn restart(&mut self, app: AppId, force: Force) -> Result<(), Refusal> {
        self.check_locks(app, force).await?;
        // Idempotent: a restart under way serves this request too. Requested every second, a restart would never end
        // otherwise.
        let current = self.observed.current();
        if !self.requests.has_restart(app) && !self.overrides.is_app_restart_requested(app, current) {
            self.overrides.restart(app, current);
        }
        let stopped = self.overrides.clear_stops(app);
        self.save_stopped(stopped).await;
        Ok(())
    }

    /// Says which data it cannot delete, if any.
    async fn purge(&mut self, app: AppId, force: Force) -> Result<Option<String>, Refusal> {
        self.check_locks(app, force).await?;
        self.overrides.purge(app);
        let stopped = self.overrides.clear_stops(app);
        self.save_stopped(stopped).await;
        Ok(not_purged(app, &self.observed.current().volumes))
    }

    /// Has the unused volumes of these apps removed, of all where none are named.
    async fn clean_up_volumes(&mut self, apps: Option<SortedSet<AppId>>, reply: Reply<()>) {
        match self.unused_volumes(apps).await {
            Ok(Some((app, names))) => {
                self.overrides.remove_unused_volumes(&names);
                self.wait_for(app, Ok(|reply| Goal::CleanedUp(names, reply)), reply);
            }
            Ok(None) => respond(reply, Ok(())),
            Err(why) => respond(reply, Err(why)),
        }
    }

    /// The volumes that the target does not name, and the first app that has one. Rejects if the update locks of such an app
    /// are held: a container that is held back may be about to use them.
    async fn unused_volumes(&mut self, apps: Option<SortedSet<AppId>>) -> Result<Option<(AppId, SortedSet<String>)>, Refusal> {
        if let EngineState::Down { why, .. } = &self.context.publish.borrow().engine {
            // While the engine is down, it is not known which volumes there are.
            return Err(Refusal::Failed(why.clone()));
        }
        let unused = |it: &&Volume| {
            let app = self.target().and_then(|target| target.apps.get(&it.app));
            let is_named = |app: &App| app.volumes.keys().any(|name| Volume::engine_name(app.id, name) == it.name);
            apps.as_ref().is_none_or(|apps| apps.contains(&it.app)) && app.is_some_and(|app| !is_named(app))
        };
        let found = self.observed.current().volumes.iter().filter(unused);
        let found: Vec<(AppId, String)> = found.map(|it| (it.app, it.name.clone())).collect();
        for app in found.iter().map(|(app, _)| *app).collect::<SortedSet<_>>() {
            match self.check_locks(app, Force::No).await {
                Err(Refusal::Locked(held)) => return Err(Refusal::LockedApp(app, held)),
                checked => checked?,
            }
        }
        let first = found.first().map(|(app, _)| *app);
        Ok(first.map(|app| (app, found.into_iter().map(|(_, name)| name).collect())))
    }

    async fn restart_service(&mut self, app: AppId, service: &ServiceSelector, force: Force) -> Result<ServiceKey, Refusal> {
        let key = self.select(app, service)?;
        self.check_container(&key)?;
        self.check_wanted_running(&key)?;
        self.check_locks(app, force).await?;
        let current = self.observed.current();
        // Idempotent, as a restart of an app.
        if !self.requests.has_restart_of(&key) && !self.overrides.is_recreate_requested(&key, current) {
            self.overrides.restart_service(&key, current);
        }
        let stopped = self.overrides.clear_stop(&key);
        self.save_stopped(stopped).await;
        Ok(key)
    }

    async fn stop(&mut self, app: AppId, service: &ServiceSelector, force: Force) -> Result<ServiceKey, Refusal> {
        let key = self.select(app, service)?;
        self.check_container(&key)?;
        self.check_locks(app, force).await?;
        let stopped = self.overrides.stop(&key);
        self.save_stopped(stopped).await;
        Ok(key)
    }

    async fn start(&mut self, app: AppId, service: &ServiceSelector) -> Result<ServiceKey, Refusal> {
        let key = self.select(app, service)?;
        if *service != ServiceSelector::Only {
            self.check_container(&key)?;
        }
        self.check_wanted_running(&key)?;
        self.work.retries_mut().retry_service_now(&key);
        let stopped = self.overrides.start(&key, self.observed.current());
        self.save_stopped(stopped).await;
        Ok(key)
    }

    /// Regenerates the caller's API key. The old one is invalid once the response carries the new one.
    async fn renew_key(&mut self, caller: Caller) -> Result<Secret, Refusal> {
        let world = self.context.world;
        let ends_links = caller == Caller::Device;
        let (keys, key) = self.targets.renewed_keys(caller, || Secret::from_bytes(world.random().bytes()))?;
        if !save(world, &Record::Keys(keys.clone())).await {
            // The disk may hold the new keys all the same: the old ones must be written over them.
            self.records.mark(RecordKind::Keys);
            return Err(Refusal::Failed("the new key cannot be saved, so the old one stays".to_owned()));
        }
        self.targets.set_keys(keys);
        if ends_links {
            // They would give the new key to those from whom the old one was taken.
            self.context.publish.send_modify(|it| it.page_links = PageLinks::default());
        }
        self.on_target_changed();
        Ok(key)
    }

    /// Checks that an app may be disturbed now. An override of its locks holds until the app has settled.
    async fn check_locks(&mut self, app: AppId, force: Force) -> Result<(), Refusal> {
        self.wanted_app(app)?;
        if force == Force::No && self.targets.force() == Force::No {
            self.observed.refresh_locks(app, self.targets.completed().map(AsRef::as_ref), self.context.world).await;
            if let Some(held) = self.observed.held_lock(app) {
                return Err(Refusal::Locked(held.clone()));
            }
            if let Some(lease) = self.lease_against(app) {
                return Err(Refusal::Leased(app, lease));
            }
        }
        if force == Force::Yes {
            // The override ends with the action: a lock taken afterwards is respected.
            self.overrides.force_once(app);
        }
        Ok(())
    }

    fn select(&self, app: AppId, service: &ServiceSelector) -> Result<ServiceKey, Refusal> {
        if self.targets.completed().is_some_and(|it| it.keeps(app)) {
            return Err(Refusal::Kept(app));
        }
        select(app, service, self.targets.app(app), &self.observed.current().containers)
    }

    fn check_container(&self, key: &ServiceKey) -> Result<(), Refusal> {
        if self.observed.has_container(key) {
            return Ok(());
        }
        Err(match &self.context.publish.borrow().engine {
            // While the engine is down, it is not known whether there is a container.
            EngineState::Down { why, .. } => Refusal::Failed(why.clone()),
            EngineState::Unknown | EngineState::Up => Refusal::NoContainer,
        })
    }

    fn check_wanted_running(&self, key: &ServiceKey) -> Result<(), Refusal> {
        match self.targets.completed().and_then(|it| it.service(key)) {
            Some(service) if !service.running => Err(Refusal::NotToRun(key.clone())),
            Some(_) | None => Ok(()),
        }
    }

    fn wanted_app(&self, app: AppId) -> Result<&App, Refusal> {
        if self.targets.completed().is_some_and(|it| it.keeps(app)) {
            return Err(Refusal::Kept(app));
        }
        self.targets.app(app).ok_or(Refusal::UnknownApp(app))
    }

    /// Saves which services the user stopped, and which are still to be restarted.
    pub(super) async fn save_stopped(&mut self, stopped: StoppedRecord) {
        match stopped {
            StoppedRecord::Changed => self.save(RecordKind::Stopped).await,
            StoppedRecord::Same => (),
        }
    }
}

/// Volumes of the app whose data a purge does not delete, in words.
fn not_purged(app: AppId, volumes: &[Volume]) -> Option<String> {
    let stays = |it: &Volume| match it.config.place() {
        VolumeLocation::Host(path) => Some(format!("{} (at {path} of the host)", it.name)),
        VolumeLocation::Remote(path) => Some(format!("{} (at {path} of another machine)", it.name)),
        VolumeLocation::Engine | VolumeLocation::Memory => None,
    };
    let left: Vec<String> = volumes.iter().filter(|it| it.app == app).filter_map(stays).collect();
    (!left.is_empty()).then(|| {
        format!(
            "purged, but the data of these volumes is not the engine's and is still there, delete it by hand: {}",
            left.join(", ")
        )
    })
}

/// Whether a request causes steps that nothing else causes.
const fn changes_containers(request: &Request) -> bool {
    match request {
        Request::Restart { .. }
        | Request::RestartService { .. }
        | Request::Purge { .. }
        | Request::CleanUpVolumes { .. }
        | Request::Stop { .. }
        | Request::Start { .. }
        | Request::ConfigureHost { .. } => true,
        Request::Target(_)
        | Request::Rejected(_)
        | Request::Account(_)
        | Request::PinSettled
        | Request::Update { .. }
        | Request::Lease { .. }
        | Request::EndLease { .. }
        | Request::RenewKey { .. }
        | Request::MakePageLink(_)
        | Request::OpenPageLink { .. }
        | Request::SwitchLocalMode { .. }
        | Request::PushTarget { .. }
        | Request::TryTarget { .. }
        | Request::KeepTarget(_)
        | Request::EndTargetTrial(_)
        | Request::CheckConnectivity { .. }
        | Request::ReadHost(_)
        | Request::Shutdown { .. }
        | Request::Identified(_)
        | Request::Held(_)
        | Request::By(..)
        | Request::Probe(_) => false,
    }
}
