//! Signed targets that go back: an old document with its old signature is offered again, and the power is cut at any await.

use boardkeeper::state::App;
use tokio::time::sleep;

use crate::scenario::{MINUTE, Scenario, release, run_scenario};
use crate::world::crashes::CrashPoint;
use crate::world::signed::SignedDocuments;
use crate::world::{CrashKind, Model};

/// Publishes a release that was signed at its number.
fn offer(scenario: &Scenario, version: u32) {
    scenario.sim.with(|model| {
        let apps: [App; 1] = release(version);
        model.targets.write(apps);
        model.targets.wanted.document = format!("release {version}");
        let target = model.targets.wanted.clone();
        model.targets.signed.get_or_insert_with(SignedDocuments::default).sign(&target, i64::from(version));
        model.notify_documents();
    });
}

fn has_accepted(model: &Model, version: i64) -> bool {
    let accepted = model.targets.signed.as_ref().and_then(|it| it.accepted.as_ref());
    accepted.is_some_and(|it| it.created_secs == version)
}

#[test]
fn an_older_signed_target_is_refused_and_the_last_one_stays() {
    run_scenario(&[], async |scenario| {
        offer(scenario, 2);
        scenario.settles().await;
        offer(scenario, 1);
        sleep(10 * MINUTE).await;
        assert_eq!(scenario.images(), ["r/db:2", "r/mail:2", "r/web:2"]);
        let rejected = scenario.sim.with(|model| model.status.as_ref().unwrap().borrow().rejected.clone());
        assert!(rejected.unwrap().contains("no older one is taken"));
        offer(scenario, 3);
        scenario.settles().await;
        assert_eq!(scenario.images(), ["r/db:3", "r/mail:3", "r/web:3"]);
    });
}

/// How often the agent is polled from the moment at which the third release is offered until it is accepted.
fn polls_until_accepted() -> u64 {
    let mut polls = 0;
    run_scenario(&[], async |scenario| {
        offer(scenario, 1);
        scenario.settles().await;
        let before = scenario.sim.with(|model| model.polls);
        offer(scenario, 3);
        scenario.until(|model| has_accepted(model, 3)).await;
        polls = scenario.sim.with(|model| model.polls) - before;
    });
    polls
}

/// The third release is published, and the older ones are put in its place again. The device dies at any await around the
/// moment at which it accepts the third one. Before, it may take the second one, and afterwards never.
#[test]
fn no_older_one_is_taken_although_the_power_is_cut_at_any_await() {
    let (mut refused, mut taken) = (0, 0);
    let accepts = polls_until_accepted();
    let cuts = [CrashKind::Crash, CrashKind::Power].into_iter().cycle();
    for (after, cut) in (accepts.saturating_sub(20).max(1)..accepts + 20).zip(cuts) {
        run_scenario(&[], async |scenario| {
            offer(scenario, 1);
            scenario.settles().await;
            scenario.sim.with(|model| model.crash_point = CrashPoint::AfterPoll(model.polls + after, cut));
            offer(scenario, 3);
            scenario.until(|model| model.crash_point == CrashPoint::None).await;
            let had_third = scenario.sim.with(|model| has_accepted(model, 3));
            offer(scenario, 2);
            sleep(10 * MINUTE).await;
            offer(scenario, 1);
            sleep(10 * MINUTE).await;
            let had_second = scenario.begun("create 1/web from r/web:2") > 0;
            assert_ne!(had_third, had_second, "after {after} polls");
            *if had_third { &mut refused } else { &mut taken } += 1;
            offer(scenario, 3);
            scenario.settles().await;
            assert_eq!(scenario.images(), ["r/db:3", "r/mail:3", "r/web:3"]);
        });
    }
    assert!(refused > 5 && taken > 5, "{refused} and {taken} lives show little");
}
