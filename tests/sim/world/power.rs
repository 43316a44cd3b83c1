//! Simulated power: logind may refuse, hang or go away, and any program may announce a shutdown.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use boardkeeper::port::{self, Inhibitor, InhibitorNotice, PowerError};
use boardkeeper::state::PowerAction;
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio::time::sleep;

/// How long a caller has patience with one who hangs. Less than the five seconds that the port promises.
const PATIENCE: Duration = Duration::from_secs(4);

/// The power of one simulated machine.
#[derive(Debug, Clone)]
pub(crate) struct Power {
    model: Rc<RefCell<Model>>,
    changed: Rc<watch::Sender<()>>,
}

/// What happens to it.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// Who answers.
    pub(crate) answer: Answer,
    /// Who holds up an end.
    pub(crate) inhibitors: Vec<Inhibitor>,
    /// The file that tells of an update of the host's system.
    pub(crate) host_update: Option<String>,
    /// The file that says that the host's configuration counts from the next boot.
    pub(crate) boot_wanted: Option<String>,
    /// An end is under way.
    pub(crate) announced: bool,
    /// An end that was accepted is announced.
    pub(crate) announces: bool,
    /// Everything that was accepted.
    pub(crate) accepted: Vec<PowerAction>,
    /// Inhibitor locks that are still held.
    pub(crate) holds: usize,
}

/// What comes of asking.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is accepted.
    #[default]
    Accepts,
    /// It is refused already when it is asked whether it can be.
    Refuses,
    /// It could be, but is refused when it is asked for.
    RefusesLate,
    /// Nothing is answered.
    Hangs,
    /// It could be, but nothing is answered when it is asked for.
    HangsLate,
    /// logind exits meanwhile, and what it announced is gone with it.
    Vanishes,
    /// There is no logind.
    Nobody,
}

/// Keeps the machine waiting.
#[derive(Debug)]
pub(crate) struct Hold(Rc<RefCell<Model>>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.borrow_mut().holds -= 1;
    }
}

impl Power {
    /// A machine whose logind accepts and announces each request.
    pub(crate) fn new() -> Self {
        let model = Model { announces: true, ..Model::default() };
        Self { model: Rc::new(RefCell::new(model)), changed: Rc::new(watch::channel(()).0) }
    }

    /// Changes what happens, and looks at it.
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
            Answer::Nobody => no("there is no logind"),
        }
    }
}

impl port::Power for Power {
    type Inhibition = Hold;

    async fn can(&self, _: PowerAction) -> Result<(), PowerError> {
        self.asked(false).await
    }

    async fn inhibitors(&self) -> Result<Vec<Inhibitor>, PowerError> {
        // Who may not end the machine may still see who holds it up.
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

    async fn end(&self, ending: PowerAction) -> Result<(), PowerError> {
        self.asked(true).await?;
        self.with(|it| {
            it.accepted.push(ending);
            it.announced |= it.announces;
        });
        Ok(())
    }

    fn notices(&self) -> impl Stream<Item = InhibitorNotice<Hold>> {
        self.heard()
    }
}

impl Power {
    /// What is heard of ends.
    pub(crate) fn heard(&self) -> impl Stream<Item = InhibitorNotice<Hold>> + use<> {
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

    fn notice(&self, announced: bool) -> InhibitorNotice<Hold> {
        if !announced {
            return InhibitorNotice::ShutdownCancelled("it was called off".to_owned());
        }
        self.model.borrow_mut().holds += 1;
        InhibitorNotice::ShutdownBegins(Hold(Rc::clone(&self.model)))
    }
}
