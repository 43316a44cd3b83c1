//! Simulated power: logind may refuse, hang or go away, and any program may announce a shutdown.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use boardkeeper::port::{self, Inhibitor, InhibitorNotice, PowerError};
use boardkeeper::state::PowerAction;
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio::time::sleep;

/// How long a request waits for a logind that hangs. Less than the five seconds that the port promises.
const PATIENCE: Duration = Duration::from_secs(4);

/// The power of one simulated machine.
#[derive(Debug, Clone)]
pub(crate) struct Power {
    model: Rc<RefCell<Model>>,
    changed: Rc<watch::Sender<()>>,
}

/// The state of logind, and how it behaves.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// How logind answers.
    pub(crate) answer: Answer,
    /// Inhibitors of other programs.
    pub(crate) inhibitors: Vec<Inhibitor>,
    /// The file that marks an update of the host's system.
    pub(crate) host_update: Option<String>,
    /// The file that marks that the host's configuration needs a reboot.
    pub(crate) boot_wanted: Option<String>,
    /// A shutdown is announced.
    pub(crate) announced: bool,
    /// logind announces each shutdown that it accepted.
    pub(crate) announces: bool,
    /// Every request that was accepted.
    pub(crate) accepted: Vec<PowerAction>,
    /// Inhibitor locks that are still held.
    pub(crate) held_locks: usize,
}

/// How logind answers a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is accepted.
    #[default]
    Accepts,
    /// It is refused, already when the agent asks whether it is possible.
    Refuses,
    /// It is possible, but refused when it is requested.
    RefusesLate,
    /// logind does not answer.
    Hangs,
    /// It is possible, but logind does not answer the request.
    HangsLate,
    /// logind exits meanwhile, and what it announced is gone with it.
    Vanishes,
    /// There is no logind.
    Absent,
}

/// A delay inhibitor: the shutdown waits until it is dropped.
#[derive(Debug)]
pub(crate) struct InhibitorLock(Rc<RefCell<Model>>);

impl Drop for InhibitorLock {
    fn drop(&mut self) {
        self.0.borrow_mut().held_locks -= 1;
    }
}

impl Power {
    /// A machine whose logind accepts and announces each request.
    pub(crate) fn new() -> Self {
        let model = Model { announces: true, ..Model::default() };
        Self { model: Rc::new(RefCell::new(model)), changed: Rc::new(watch::channel(()).0) }
    }

    /// Changes or reads the state, and wakes the notices.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Model) -> T) -> T {
        let out = change(&mut self.model.borrow_mut());
        self.changed.send_replace(());
        out
    }

    async fn asked(&self, late: bool) -> Result<(), PowerError> {
        let no = |why: &str| {
            let (request, why) = ("no end of the machine".to_owned(), why.to_owned());
            Err(if why.contains("refuses") {
                PowerError::Refused { request, why }
            } else {
                PowerError::Unreachable { request, why }
            })
        };
        let answer = self.model.borrow().answer.clone();
        match answer {
            Answer::Accepts => Ok(()),
            Answer::RefusesLate | Answer::HangsLate | Answer::Vanishes if !late => Ok(()),
            Answer::Refuses | Answer::RefusesLate => no("logind refuses it"),
            Answer::Hangs | Answer::HangsLate => {
                sleep(PATIENCE).await;
                no("logind did not answer for 4 s")
            }
            Answer::Vanishes => {
                self.with(|it| it.announced = false);
                no("logind went away before it answered")
            }
            Answer::Absent => no("there is no logind"),
        }
    }
}

impl port::Power for Power {
    type Inhibition = InhibitorLock;

    async fn check_shutdown(&self, _: PowerAction) -> Result<(), PowerError> {
        self.asked(false).await
    }

    async fn inhibitors(&self) -> Result<Vec<Inhibitor>, PowerError> {
        // A caller that may not shut the machine down may still list the inhibitors.
        let refuses = self.model.borrow().answer == Answer::Refuses;
        if !refuses {
            self.asked(false).await?;
        }
        Ok(self.model.borrow().inhibitors.clone())
    }

    async fn host_update(&self) -> Option<String> {
        self.model.borrow().host_update.clone()
    }

    async fn boot_wanted(&self) -> Option<String> {
        self.model.borrow().boot_wanted.clone()
    }

    async fn shut_down(&self, ending: PowerAction) -> Result<(), PowerError> {
        self.asked(true).await?;
        self.with(|it| {
            it.accepted.push(ending);
            it.announced |= it.announces;
        });
        Ok(())
    }

    fn notices(&self) -> impl Stream<Item = InhibitorNotice<InhibitorLock>> {
        self.heard()
    }
}

impl Power {
    /// Announced and cancelled shutdowns.
    pub(crate) fn heard(&self) -> impl Stream<Item = InhibitorNotice<InhibitorLock>> + use<> {
        let power = self.clone();
        let changes = self.changed.subscribe();
        stream::unfold((power, changes, false), async |(power, mut changes, before)| {
            loop {
                let now = power.model.borrow().announced;
                if now != before {
                    let notice = power.notice(now);
                    return Some((notice, (power, changes, now)));
                }
                // The sender lives as long as the power that is borrowed.
                changes.changed().await.ok()?;
            }
        })
    }

    fn notice(&self, announced: bool) -> InhibitorNotice<InhibitorLock> {
        if !announced {
            return InhibitorNotice::ShutdownCancelled("it was called off".to_owned());
        }
        self.model.borrow_mut().held_locks += 1;
        InhibitorNotice::ShutdownBegins(InhibitorLock(Rc::clone(&self.model)))
    }
}
