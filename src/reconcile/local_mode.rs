//! Local mode: whether it is on, which target results from it, and what is left to remove when it was left.
//!
//! Entering and leaving are no actions. The target in force follows from the owner's target and the record alone, and
//! so does every step: the apps of the owner are stopped while it is on, pushed apps are removed when it is off.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::plan::check_contracts;
use crate::port::{Clock, Record, Targets, World};
use crate::reconcile::Reconciler;
use crate::reconcile::host::JobOutcome;
use crate::reconcile::persistence::{RecordKind, save};
use crate::request::{LocalModeRequest, Refusal, Reply, respond};
use crate::sorted::{SortedMap, SortedSet};
use crate::state::local_mode::{
    ClockReading, LocalApps, LocalModeRecord, LocalModeStatus, LocalModeSwitch, LocalSession, SwitchEnd, numbered,
};
use crate::state::utc::utc;
use crate::state::{AppId, ContainerId, ContainerPhase, Current, Force, Image, ImageRef, ServiceKey, Target, TargetError};

/// How long a container of a pushed app stays as another program on the engine left it: tools of developers kill a
/// container and start it again at once.
const DEVELOPER_WAIT: Duration = Duration::from_secs(10);

/// The prefix of the names under which the cloud's command line builds images on the device.
const BUILT: &str = "local_image_";

/// The part that knows local mode.
#[derive(Debug)]
pub(super) struct LocalModeTracker {
    record: LocalModeRecord,
    /// Since when containers of pushed apps have been stopped.
    stopped: SortedMap<ContainerId, Instant>,
}

impl LocalModeTracker {
    /// As it was stored.
    pub(super) const fn new(record: LocalModeRecord) -> Self {
        Self { record, stopped: SortedMap::new() }
    }

    /// The record.
    pub(super) const fn record(&self) -> &LocalModeRecord {
        &self.record
    }

    /// Whether local mode is on, if the owner's target says this.
    pub(super) fn is_on(&self, target_says: bool) -> bool {
        self.record.is_on(target_says)
    }

    /// The target in force: the owner's, with the pushed apps beside it while local mode is on.
    pub(super) fn in_force(&self, owners: Option<&Target>, target_says: bool) -> Option<Target> {
        let is_on = self.is_on(target_says);
        let session = self.record.session.as_ref();
        let mut target = match owners {
            Some(owners) => owners.clone(),
            // A device without an owner's target can be developed on too.
            None if is_on || session.is_some() => Target::default(),
            None => return None,
        };
        if is_on || session.is_some() {
            target.local = Some(LocalApps {
                is_on,
                has_owner: owners.is_some(),
                pushed: session.map(|it| it.pushed.clone()).unwrap_or_default(),
            });
        }
        let pushed = session.filter(|_| is_on).and_then(|it| it.target.as_ref());
        target.apps.extend(pushed.into_iter().flat_map(|it| it.apps.clone()));
        Some(target)
    }

    /// The pushed apps, if local mode was left and they are still to be removed.
    pub(super) fn leaving(&self, target_says: bool) -> SortedSet<AppId> {
        let session = self.record.session.as_ref().filter(|_| !self.is_on(target_says));
        session.map(|it| it.pushed.clone()).unwrap_or_default()
    }

    /// What is published.
    pub(super) fn status(&self, target_says: bool) -> LocalModeStatus {
        let is_on = self.is_on(target_says);
        let switch = self.record.switch.as_ref();
        let session = self.record.session.as_ref();
        LocalModeStatus {
            is_switched: switch.is_some(),
            until_secs: switch.and_then(|it| it.ends.as_ref()).map(|it| it.at_secs),
            document: session.filter(|_| is_on).and_then(|it| it.target.as_ref()).map(|it| it.document.clone()),
            is_leaving: !is_on && session.is_some(),
        }
    }

    /// Sets, replaces or removes the switch.
    fn set_switch(&mut self, switch: Option<LocalModeSwitch>) {
        self.record.switch = switch;
    }

    /// The session; begun now, if there is none.
    fn begin(&mut self, current: &Current) -> &mut LocalSession {
        self.record.session.get_or_insert_with(|| LocalSession {
            images: current.images.iter().map(|it| it.id.clone()).collect(),
            interrupted: current.containers.iter().filter(|it| it.phase.is_alive()).map(|it| it.key.clone()).collect(),
            ..LocalSession::default()
        })
    }

    /// What an observation changes.
    fn follow(&mut self, current: &Current, clock: &ClockReading, target_says: bool) -> LocalModeChange {
        let before = self.record.clone();
        if self.record.switch.as_ref().is_some_and(|it| it.is_over(target_says, clock)) {
            self.record.switch = None;
        }
        let mut change = LocalModeChange::default();
        if self.is_on(target_says) {
            self.begin(current);
        } else {
            if let Some(session) = &mut self.record.session {
                change.interrupted = std::mem::take(&mut session.interrupted);
            }
            if let Some(session) = self.record.session.take_if(|it| !has_any(current, &it.pushed)) {
                change.built = built_since(&session, &current.images);
            }
        }
        self.follow_stopped(current);
        change.is_changed = self.record != before;
        change
    }

    /// Notes which containers of pushed apps are stopped, and since when.
    fn follow_stopped(&mut self, current: &Current) {
        let pushed = |app: AppId| self.record.session.as_ref().is_some_and(|it| it.pushed.contains(&app));
        let exited = current.containers.iter().filter(|it| matches!(it.phase, ContainerPhase::Exited(_)) && pushed(it.key.app));
        let now = Instant::now();
        let since = |id: &ContainerId| self.stopped.get(id).copied().unwrap_or(now);
        self.stopped = exited.map(|it| (it.id.clone(), since(&it.id))).collect();
    }

    /// Containers of pushed apps that another program stopped a moment ago, and when the first of them is started again.
    fn stopped_lately(&self) -> (SortedSet<ContainerId>, Option<Instant>) {
        let lately = self.stopped.iter().filter(|(_, since)| since.elapsed() < DEVELOPER_WAIT);
        let again = lately.clone().map(|(_, since)| *since + DEVELOPER_WAIT).min();
        (lately.map(|(id, _)| id.clone()).collect(), again)
    }

    /// How long until the switch ends by itself.
    fn ends_in(&self, clock: &ClockReading) -> Option<Duration> {
        let left = self.record.switch.as_ref()?.ends.as_ref()?.left_secs(clock);
        Some(Duration::from_secs(u64::try_from(left).unwrap_or_default()))
    }
}

/// What an observation changes.
#[derive(Debug, Default)]
struct LocalModeChange {
    /// The record changed.
    is_changed: bool,
    /// Images to be removed, because local mode was left.
    built: SortedSet<ImageRef>,
    /// Services to be started again, because local mode was left.
    interrupted: SortedSet<ServiceKey>,
}

/// Whether anything of these apps is left.
fn has_any(current: &Current, apps: &SortedSet<AppId>) -> bool {
    current.containers.iter().any(|it| apps.contains(&it.key.app))
        || current.networks.iter().any(|it| it.app.is_some_and(|app| apps.contains(&app)))
        || current.volumes.iter().any(|it| apps.contains(&it.app))
}

/// The images that were built on the device since local mode was entered: those of the cloud's command line, and those
/// without a name, which builds leave behind. Others may be a user's.
fn built_since(session: &LocalSession, images: &[Image]) -> SortedSet<ImageRef> {
    let new = images.iter().filter(|it| !session.images.contains(&it.id));
    let unnamed = new.clone().filter(|it| it.names.is_empty()).map(|it| ImageRef::new(&it.id.0));
    let built = |it: &ImageRef| it.as_str().starts_with(BUILT);
    new.flat_map(|it| &it.names).filter(|it| built(it)).cloned().chain(unnamed).collect()
}

impl<W: World> Reconciler<'_, W> {
    /// An observation: whether local mode begins or ends, and what is left of it.
    pub(super) async fn follow_local_mode(&mut self) {
        let clock = self.clock_reading();
        let was_on = self.targets.is_local_mode();
        let change = self.targets.follow_local_mode(|local, says| local.follow(self.observed.current(), &clock, says));
        if change.is_changed {
            // Before the record: a power cut in between has all of this found once more.
            if self.targets.remember_pulled(change.built) {
                self.save(RecordKind::Targets).await;
            }
            let stopped = self.overrides.restart_interrupted(change.interrupted);
            self.save_stopped(stopped).await;
            self.save(RecordKind::LocalMode).await;
            self.targets.complete_changed(self.context.publish);
        }
        if was_on && !self.targets.is_local_mode() {
            info!("local mode has ended by itself");
        }
        let (lately, again) = self.targets.local_mode().stopped_lately();
        self.observed.set_stopped_lately(lately);
        if let Some(again) = again {
            self.observed.schedule().resync_by(again);
        }
        if let Some(left) = self.targets.local_mode().ends_in(&clock) {
            self.observed.schedule().resync_by(Instant::now() + left + Duration::from_secs(1));
        }
    }

    /// Rejects requests about apps that local mode keeps: their goals are not reached before it is left.
    pub(super) fn reject_kept(&mut self) {
        for waiter in self.requests.take_waiters() {
            if self.target().is_some_and(|it| it.keeps(waiter.app)) {
                self.overrides.withdraw(waiter.app, waiter.stops(), self.observed.current());
                let app = waiter.app;
                waiter.reject(Refusal::Kept(app));
            } else {
                self.requests.keep(waiter);
            }
        }
    }

    /// A person on the device switches local mode.
    pub(super) async fn switch_local_mode(&mut self, request: LocalModeRequest, reply: Reply<LocalModeStatus>) {
        let clock = self.clock_reading();
        let target_says = self.targets.target_says_local_mode();
        let switch = match request {
            LocalModeRequest::On { length_secs } => Some(LocalModeSwitch {
                is_on: true,
                target_says,
                ends: length_secs.map(|it| SwitchEnd::after(i64::from(it), &clock)),
            }),
            // Nothing to remember, where the target says so too.
            LocalModeRequest::Off => target_says.then_some(LocalModeSwitch { is_on: false, target_says, ends: None }),
        };
        if let Err(why) = self.change_local_mode(|local| local.set_switch(switch)).await {
            return respond(reply, Err(why));
        }
        let status = self.targets.local_mode().status(target_says);
        if self.targets.is_local_mode() {
            let until = status.until_secs.map_or_else(|| "it is switched off".to_owned(), utc);
            warn!(until, "local mode was switched on: programs near the device need no key");
        } else {
            info!("local mode was switched off; what was pushed is removed, and the owner's apps come back");
        }
        respond(reply, Ok(status));
    }

    /// Changes what is remembered of local mode, and saves it. If that fails, nothing changes: a client must not be
    /// answered what a power cut takes back.
    async fn change_local_mode(&mut self, change: impl FnOnce(&mut LocalModeTracker)) -> Result<(), Refusal> {
        let before = self.targets.follow_local_mode(|local, _| {
            let before = local.record.clone();
            change(local);
            before
        });
        let record = Record::LocalMode(Box::new(self.targets.local_mode().record.clone()));
        if save(self.context.world, &record).await {
            self.on_target_changed();
            return Ok(());
        }
        self.targets.follow_local_mode(|local, _| local.record = before);
        // The disk may hold the new record all the same: the old one must be written over it.
        self.records.mark(RecordKind::LocalMode);
        Err(Refusal::Failed("it cannot be saved, so nothing was changed; look at the disk of the state directory".to_owned()))
    }

    /// A document was pushed: it is parsed beside the steps.
    pub(super) fn push_target(&mut self, document: String, force: Force, reply: Reply<()>) {
        if !self.targets.is_local_mode() {
            return respond(reply, Err(Refusal::NotInLocalMode));
        }
        let world = self.context.world;
        let parse = async move { JobOutcome::Pushed(world.targets().parse(document).await, force, reply) };
        self.requests.start_job(parse.boxed_local());
    }

    /// A pushed document was parsed. It is answered once it is saved; what it wants is done afterwards.
    pub(super) async fn take_pushed(&mut self, parsed: Result<Target, TargetError>, force: Force, reply: Reply<()>) {
        let device = self.context.publish.borrow().device.clone();
        let checked = parsed.and_then(numbered).map_err(|error| error.0).and_then(|target| {
            check_contracts(&target, &device).map_err(|error| error.to_string())?;
            Ok(target)
        });
        let target = match checked {
            Ok(target) if self.targets.is_local_mode() => target,
            Ok(_) => return respond(reply, Err(Refusal::NotInLocalMode)),
            Err(why) => return respond(reply, Err(Refusal::Document(why))),
        };
        for warning in &target.warnings {
            warn!("{warning}");
        }
        let names: Vec<&str> = target.services().map(|(_, name, _)| name.as_str()).collect();
        info!(services = names.join(", "), "a target was pushed");
        let current = self.observed.current().clone();
        if let Err(why) = self.change_local_mode(|local| local.begin(&current).push(target)).await {
            return respond(reply, Err(why));
        }
        if force == Force::Yes {
            self.overrides.force_update(self.known_apps());
        }
        self.work.retries_mut().retry_now();
        respond(reply, Ok(()));
    }

    fn clock_reading(&self) -> ClockReading {
        let clock = self.context.world.clock();
        let now_secs = clock.now_secs();
        ClockReading { boot_id: clock.boot_id(), uptime_secs: now_secs.saturating_sub(clock.booted_secs()), now_secs }
    }
}
