//! The agent is killed at any moment, and no service is affected.

use std::collections::BTreeSet;

use crate::agent::Agent;
use crate::lab::{Lab, pause};
use crate::target::{App, Service};

/// A generator small enough to read: the same deaths in every run.
struct Rng(u64);

impl Rng {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// Release `round`: the image changes in every second one, the environment in all, and one service hands over.
fn release(lab: &Lab, round: u64) -> App {
    let image = lab.image(if round.is_multiple_of(2) { "1" } else { "2" });
    let service = |name: &str| Service::new(name, &image).env("ROUND", &round.to_string());
    let handing = service("hands").strategy("hand-over").label("io.balena.update.handover-timeout", "300");
    App::new(700, &format!("c{round}"), vec![service("calm"), handing, service("main")])
}

#[test]
#[ignore = "needs `make engine`"]
fn killed_at_fifty_moments_of_updates_it_leaves_no_duplicate_and_no_orphan() {
    let lab = Lab::enter();
    let mut rng = Rng(20_261_123);
    let mut agent = Agent::with(&lab, &release(&lab, 0));
    for round in 1..=50 {
        agent.want(&release(&lab, round).v3());
        pause(rng.below(900));
        agent.kill();
        let seen = lab.started();
        for service in ["calm", "main"] {
            // The next one is created beside the one that it replaces, and started when that is gone. One that was created for
            // a round that has passed may be here still; what is left in the end is counted below.
            let started: Vec<_> = seen.iter().filter(|it| it.service == service).collect();
            assert!(started.len() <= 1, "killed in round {round} there are two of {service}: {started:#?}");
        }
        agent.start();
    }
    agent.arrives(&release(&lab, 50));
    for it in lab.containers() {
        assert_eq!(lab.env(&it.id)["ROUND"], "50", "{it:?}");
    }
    let everything = lab.docker(&["ps", "-a", "--format", "{{.Names}}"]);
    assert_eq!(everything.lines().collect::<BTreeSet<_>>().len(), 3, "{everything}");
}

#[test]
#[ignore = "needs `make engine`"]
fn killed_in_the_first_install_it_finishes_it() {
    let lab = Lab::enter();
    let mut rng = Rng(7);
    for round in 0..8 {
        let app = App::new(710 + round, "c1", (0..4).map(|it| Service::new(&format!("s{it}"), &lab.image("1"))).collect());
        let mut agent = Agent::new(&lab);
        agent.want(&app.v3());
        agent.start();
        pause(rng.below(700));
        agent.kill();
        agent.start();
        agent.arrives(&app);
    }
}
