//! Goals that waiting does not bring closer: their requesters are answered with the reason at once.

use crate::plan::{Step, Subject, Waiting};
use crate::port::World;
use crate::reconcile::Reconciler;
use crate::reconcile::conflicts::app_of;
use crate::reconcile::waiters::{Goal, Waiter};
use crate::request::Refusal;
use crate::state::{App, AppId, EngineAction, ImageRef, Service, ServiceKey};

impl<W: World> Reconciler<'_, W> {
    /// Why a waiter's goal will not be reached, where that is known. It is still pursued where it is still wanted.
    pub(super) fn hopeless(&self, waiter: &Waiter) -> Option<Refusal> {
        match &waiter.goal {
            Goal::Settled(_) | Goal::Purged(..) => self.cannot_settle(waiter.app),
            Goal::Stopped(key, _) => self.cannot_stop(key),
            Goal::Started(key, _) => self.cannot_start(key).or_else(|| self.is_held_back(waiter, key)),
        }
    }

    /// The engine rejects a container or its network, and nothing is killed before they are created; or the image of a
    /// service that has no container cannot be pulled.
    fn cannot_settle(&self, app: AppId) -> Option<Refusal> {
        let containers = self.plan.waiting.iter().any(|it| matches!(it, Waiting::Containers(key) if key.app == app));
        let such = |step: &Step| match step {
            Step::Engine(EngineAction::Create(spec)) => containers && spec.key.app == app,
            Step::Engine(EngineAction::CreateNetwork(network)) => containers && network.app == Some(app),
            Step::Engine(EngineAction::Pull(image)) => {
                let wanted = self.app(app).into_iter().flat_map(|it| &it.services).filter(|(_, it)| it.image == *image);
                wanted.map(|(name, _)| ServiceKey::new(app, name)).any(|key| !self.has_container(&key))
            }
            _ => false,
        };
        self.retries.why(such).map(Refusal::Failed).or_else(|| self.depends_in_vain(app, |_| true))
    }

    /// The app has no container, and an image of it cannot be pulled: nothing was restarted, and a success would say that it runs.
    pub(super) fn nothing_can_run(&self, app: AppId) -> Option<Refusal> {
        let images = |image: &ImageRef| self.app(app).is_some_and(|it| it.services.values().any(|it| it.image == *image));
        let pulls = |step: &Step| matches!(step, Step::Engine(EngineAction::Pull(image)) if images(image));
        let empty = !self.is_asked(app) && !self.current.containers.iter().any(|it| it.key.app == app);
        empty.then(|| self.retries.last_failure(pulls)).flatten().map(Refusal::Failed)
    }

    /// A service is not started because of a dependency that does not become what it has to be, while no step of the app
    /// changes that.
    fn depends_in_vain(&self, app: AppId, of: impl Fn(&ServiceKey) -> bool) -> Option<Refusal> {
        let in_vain =
            |it: &&Waiting| matches!(it, Waiting::Dependency(key, unmet) if key.app == app && unmet.never.is_some() && of(key));
        let waiting = self.plan.waiting.iter().find(in_vain).filter(|_| !self.is_asked(app) && !self.is_at_work(app))?;
        Some(Refusal::Failed(waiting.to_string()))
    }

    /// A start waits for a dependency that is on its way but takes longer than a request waits.
    fn is_held_back(&self, waiter: &Waiter, key: &ServiceKey) -> Option<Refusal> {
        let waits = |it: &&Waiting| matches!(it, Waiting::Dependency(it, _) if it == key);
        let waiting = self.plan.waiting.iter().find(waits).filter(|_| Self::is_out_of_patience(waiter.since))?;
        Some(Refusal::Failed(format!("{waiting}; it is started as soon as that is so")))
    }

    fn cannot_stop(&self, key: &ServiceKey) -> Option<Refusal> {
        if self.wanted(key).is_none() {
            return Some(Refusal::NotInTarget);
        }
        if !self.overrides.stopped.contains(key) {
            let why = format!("{key} was started again by another request, so it does not stay stopped");
            return Some(Refusal::Failed(why));
        }
        let such =
            |step: &Step| matches!(step, Step::Engine(EngineAction::Stop(it) | EngineAction::Kill(it)) if it.key == *key);
        self.retries.why(such).map(Refusal::Failed)
    }

    fn cannot_start(&self, key: &ServiceKey) -> Option<Refusal> {
        let Some(service) = self.wanted(key) else { return Some(Refusal::NotInTarget) };
        if !service.running {
            return Some(Refusal::NotToRun(key.clone()));
        }
        if self.overrides.stopped.contains(key) {
            return Some(Refusal::Failed(format!("{key} was stopped by another request")));
        }
        let waits = |such: &dyn Fn(&Waiting) -> bool| self.plan.waiting.iter().any(such);
        if waits(&|it| matches!(it, Waiting::Boot(it) if it == key)) {
            let why = format!("{key} is started by the next boot, as its label io.balena.update.requires-reboot asks");
            return Some(Refusal::Failed(why));
        }
        let depends = waits(&|it| matches!(it, Waiting::Dependency(it, _) if it == key));
        let alone = self.has_container(key) && !depends;
        let concerns = |step: &Step| match step.subject() {
            Subject::Service(it) if it == *key => true,
            Subject::Image(image) => {
                let pulls = |it: &Service| it.image == image && matches!(step, Step::Engine(EngineAction::Pull(_)));
                pulls(service) || !alone && self.app(key.app).is_some_and(|it| it.services.values().any(pulls))
            }
            _ => !alone && app_of(step) == Some(key.app),
        };
        let failed = || self.retries.why(concerns).map(Refusal::Failed);
        self.held_up(key).or_else(failed).or_else(|| self.depends_in_vain(key.app, |it| it == key))
    }

    /// The lock that holds up what a start waits for. Merely starting an existing container needs no lock.
    fn held_up(&self, key: &ServiceKey) -> Option<Refusal> {
        let steps = self.running.iter().map(|(step, _)| step).chain(&self.plan.steps);
        let goes_on = steps.into_iter().any(|step| step.subject() == Subject::Service(key.clone()));
        let lock = self.plan.waiting.iter().find_map(|it| match it {
            Waiting::Lock(app, held) if *app == key.app && !self.locks_checked_since_observe.contains(app) => {
                Some(held.clone())
            }
            _ => None,
        });
        lock.filter(|_| !goes_on).map(Refusal::Locked)
    }

    /// Services of an app that do not run although a restart or a purge is done, each with the reason.
    pub(super) fn not_started(&self, app: AppId) -> Vec<(String, &'static str)> {
        let boots = |name: &String| {
            let key = ServiceKey::new(app, name);
            self.plan.waiting.iter().any(|it| matches!(it, Waiting::Boot(it) if *it == key))
        };
        let depends = |name: &String| {
            let key = ServiceKey::new(app, name);
            self.plan.waiting.iter().any(|it| matches!(it, Waiting::Dependency(it, _) if *it == key))
        };
        let services = self.app(app).into_iter().flat_map(|it| &it.services);
        let why = |(name, service): (&String, &Service)| match (service.running, boots(name)) {
            (false, _) => Some((name.clone(), "not-to-run")),
            (true, true) => Some((name.clone(), "next-boot")),
            (true, false) => depends(name).then(|| (name.clone(), "dependency")),
        };
        services.filter_map(why).collect()
    }

    fn app(&self, app: AppId) -> Option<&App> {
        self.target.as_ref()?.apps.get(&app)
    }

    fn wanted(&self, key: &ServiceKey) -> Option<&Service> {
        self.app(key.app)?.services.get(&key.service)
    }

    fn has_container(&self, key: &ServiceKey) -> bool {
        self.current.containers.iter().any(|it| it.key == *key)
    }
}
