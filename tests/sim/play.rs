//! Scripted scenarios, and the fault-free world in which they run.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use boardkeeper::state::service::Strategy;
use boardkeeper::state::{App, Dependency, Service};
use tokio::time::{Instant, sleep};

use crate::life::{Story, in_world};
use crate::people::Press;
use crate::world::owner::{app, service};
use crate::world::{Model, Sim, Telling, Weather};

pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// A release with a dependency, a job and a hand-over.
pub(crate) fn release(version: u32) -> [App; 1] {
    let image = |name: &str| format!("r/{name}:{version}");
    let web = with(&image("web"), |it| it.depends_on = on("db", Dependency::default()));
    let mail = with(&image("mail"), |it| {
        it.strategy = Strategy::HandOver;
        it.handover_timeout = Duration::from_secs(20);
    });
    let mut app = app(1, [("db", service(&image("db"))), ("web", web), ("mail", mail)]);
    app.release_id = version;
    app.commit = Some(format!("c{version}"));
    [app]
}

/// One dependency.
pub(crate) fn on(name: &str, dependency: Dependency) -> BTreeMap<String, Dependency> {
    BTreeMap::from([(name.to_owned(), dependency)])
}

/// A service that runs an image, and something else about it.
pub(crate) fn with(image: &str, change: impl FnOnce(&mut Service)) -> Service {
    let mut it = service(image);
    change(&mut it);
    it
}

/// A service that runs an image, and of which there are revisions.
pub(crate) fn revision(image: &str, rev: &str) -> Service {
    with(image, |it| drop(it.config.env.insert("REV".into(), rev.into())))
}

/// An app of one service, and how its container gives way to the next.
pub(crate) fn web(version: u32, strategy: Strategy) -> App {
    app(1, [("web", with(&format!("r/web:{version}"), |it| it.strategy = strategy))])
}

/// Whether two containers of ours live.
pub(crate) fn two_live(model: &Model) -> bool {
    model.machine.ours().filter(|it| it.face.phase.is_alive()).count() == 2
}

/// A fair world in which a story is played.
pub(crate) struct Play {
    pub(crate) sim: Sim,
    router: RefCell<Option<Router>>,
}

/// Plays a story in a fair world; nothing that must never happen does.
pub(crate) fn well(apps: &[App], story: impl AsyncFnOnce(&Play)) {
    well_in(1, apps, story);
}

/// The same in the world of a seed, where everything takes its own time.
pub(crate) fn well_in(seed: u64, apps: &[App], story: impl AsyncFnOnce(&Play)) {
    let told = in_world(seed, Weather::default(), Telling::Everything, async |sim| {
        sim.with(|model| model.owner.write(apps.iter().cloned()));
        let play = Play { sim: sim.clone(), router: RefCell::default() };
        let people = async |_: Sim, router| {
            *play.router.borrow_mut() = Some(router);
            pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = sim.agent_with(people) => (),
            () = story(&play) => (),
        }
    });
    let Story { trace, wrong, .. } = told;
    assert_eq!(wrong, None, "\n{trace}");
}

impl Play {
    /// Waits until everything is as wanted, for half an hour at most.
    pub(crate) async fn settles(&self) {
        self.sim.wait_until_settled(HOUR / 2).await;
    }

    /// Waits until something is so, for an hour at most.
    pub(crate) async fn until(&self, so: impl Fn(&Model) -> bool) {
        let end = Instant::now() + HOUR;
        while !self.sim.with(|model| so(model)) {
            assert!(Instant::now() < end, "it never came\n{}", self.sim.trace());
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// The owner writes another document.
    pub(crate) fn writes(&self, apps: impl IntoIterator<Item = App>) {
        self.sim.with(|model| {
            model.owner.write(apps);
            model.ring_documents();
        });
    }

    /// Somebody asks for something, and waits so long for an answer.
    pub(crate) async fn press(&self, press: &Press, patience: Duration) -> Option<StatusCode> {
        let router = self.router.borrow().clone().expect("the agent runs");
        self.sim.press(&router, press, patience).await.map(|(status, _)| status)
    }

    /// Somebody asks for something, and is answered so.
    pub(crate) async fn answers(&self, press: &Press, status: StatusCode) {
        assert_eq!(self.press(press, 10 * MINUTE).await, Some(status), "\n{}", self.sim.trace());
    }

    /// Whether a moment comes, counted in polls of the agent, before everything is as wanted.
    pub(crate) async fn comes_to(&self, after: u64) -> bool {
        tokio::select! {
            biased;
            () = self.sim.moment(after) => true,
            () = self.settles() => false,
        }
    }

    /// How often a deed was begun.
    pub(crate) fn begun(&self, deed: &str) -> u32 {
        self.sim.with(|model| model.judge.begun.get(deed).copied().unwrap_or_default())
    }

    /// Services that run, by name.
    pub(crate) fn alive(&self) -> Vec<String> {
        self.sim.with(|model| {
            let alive = model.machine.ours().filter(|it| it.face.phase.is_alive());
            alive.map(|it| it.face.key.service.clone()).collect::<BTreeSet<_>>().into_iter().collect()
        })
    }

    /// Images that run, by app and service.
    pub(crate) fn images(&self) -> Vec<String> {
        self.sim.with(|model| {
            let alive = model.machine.ours().filter(|it| it.face.phase.is_alive());
            let mut all: Vec<_> = alive.map(|it| (it.face.key.clone(), it.face.image_ref.to_string())).collect();
            all.sort();
            all.into_iter().map(|(_, image)| image).collect()
        })
    }
}
