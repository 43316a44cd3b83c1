//! Scripted scenarios, and the fault-free world in which they run.

use std::cell::RefCell;
use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use boardkeeper::sorted::{SortedMap, SortedSet};
use boardkeeper::state::service::Strategy;
use boardkeeper::state::{App, Dependency, Service};
use tokio::time::{Instant, sleep};

use crate::clients::ApiCall;
use crate::life::{Outcome, in_world};
use crate::world::targets::{app, service};
use crate::world::{FaultRates, Model, Sim, Trace};

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
pub(crate) fn on(name: &str, dependency: Dependency) -> SortedMap<String, Dependency> {
    SortedMap::from_iter([(name.to_owned(), dependency)])
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
    model.engine.ours().filter(|it| it.view.phase.is_alive()).count() == 2
}

/// A world without faults in which a script runs.
pub(crate) struct Scenario {
    pub(crate) sim: Sim,
    router: RefCell<Option<Router>>,
}

/// Runs a script in a world without faults; no invariant may be violated.
pub(crate) fn run_scenario(apps: &[App], script: impl AsyncFnOnce(&Scenario)) {
    run_scenario_with_seed(1, apps, script);
}

/// The same in the world of a seed, where everything takes its own time.
pub(crate) fn run_scenario_with_seed(seed: u64, apps: &[App], script: impl AsyncFnOnce(&Scenario)) {
    run_prepared(seed, |_| (), apps, script);
}

/// The same where targets come from a cloud, which is polled every quarter of an hour.
pub(crate) fn run_cloud_scenario(apps: &[App], script: impl AsyncFnOnce(&Scenario)) {
    run_prepared(1, |model| model.follow_cloud(15 * MINUTE), apps, script);
}

/// As [`run_cloud_scenario`], in the world of a seed that is prepared so.
pub(crate) fn run_prepared(seed: u64, prepare: impl FnOnce(&mut Model), apps: &[App], script: impl AsyncFnOnce(&Scenario)) {
    let told = in_world(seed, FaultRates::default(), Trace::On, async |sim| {
        sim.with(prepare);
        sim.with(|model| model.targets.write(apps.iter().cloned()));
        let scenario = Scenario { sim, router: RefCell::default() };
        run_script(&scenario, Box::pin(script(&scenario))).await;
    });
    let Outcome { trace, violation, .. } = told;
    assert_eq!(violation, None, "\n{trace}");
}

/// Runs the agent, and a script beside it. Compiled once, and not for each script: the whole agent is in it.
async fn run_script(scenario: &Scenario, script: Pin<Box<dyn Future<Output = ()> + '_>>) {
    let clients = async |_: Sim, router| {
        *scenario.router.borrow_mut() = Some(router);
        pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = Box::pin(scenario.sim.agent_with(clients)) => (),
        () = script => (),
    }
}

impl Scenario {
    /// Waits until the agent has settled, for half an hour at most.
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

    /// Publishes another target document.
    pub(crate) fn writes(&self, apps: impl IntoIterator<Item = App>) {
        self.sim.with(|model| {
            model.targets.write(apps);
            model.notify_documents();
        });
    }

    /// A client sends a request, and waits that long for a response.
    pub(crate) async fn send(&self, call: &ApiCall, patience: Duration) -> Option<StatusCode> {
        let router = self.router.borrow().clone().expect("the agent runs");
        self.sim.send(&router, call, patience).await.map(|(status, _)| status)
    }

    /// A client sends a request, and gets this response.
    pub(crate) async fn answers(&self, call: &ApiCall, status: StatusCode) {
        assert_eq!(self.send(call, 10 * MINUTE).await, Some(status), "\n{}", self.sim.trace());
    }

    /// Whether a moment comes, counted in polls of the agent, before the agent has settled.
    pub(crate) async fn comes_to(&self, after: u64) -> bool {
        tokio::select! {
            biased;
            () = self.sim.moment(after) => true,
            () = self.settles() => false,
        }
    }

    /// How often an action was begun.
    pub(crate) fn begun(&self, action: &str) -> u32 {
        self.sim.with(|model| model.checker.begun.get(action).copied().unwrap_or_default())
    }

    /// Services that run, by name.
    pub(crate) fn alive(&self) -> Vec<String> {
        self.sim.with(|model| {
            let alive = model.engine.ours().filter(|it| it.view.phase.is_alive());
            alive.map(|it| it.view.key.service.clone()).collect::<SortedSet<_>>().into_iter().collect()
        })
    }

    /// Images that run, by app and service.
    pub(crate) fn images(&self) -> Vec<String> {
        self.sim.with(|model| {
            let alive = model.engine.ours().filter(|it| it.view.phase.is_alive());
            let mut all: Vec<_> = alive.map(|it| (it.view.key.clone(), it.view.image_ref.to_string())).collect();
            all.sort();
            all.into_iter().map(|(_, image)| image).collect()
        })
    }
}
