use super::*;
use crate::reconcile::testing::APP;

const HOUR: Duration = Duration::from_secs(3600);

fn terms(owner: &str, seconds: u32) -> LeaseTerms {
    LeaseTerms { owner: owner.to_owned(), reason: "recording".to_owned(), seconds }
}

fn owners(tracker: &LeaseTracker) -> Vec<&str> {
    tracker.all().get(&APP).into_iter().flat_map(|it| it.keys()).map(String::as_str).collect()
}

#[test]
fn leases_of_several_owners_count_until_the_last_one_ends() {
    let mut tracker = LeaseTracker::default();
    tracker.grant(APP, terms("a", 60), HOUR, 1000).unwrap();
    tracker.grant(APP, terms("b", 90), HOUR, 1000).unwrap();
    assert_eq!(last_of(tracker.all(), APP).unwrap().owner, "b");
    assert_eq!(tracker.next_end(HOUR), Some(Duration::from_secs(60)));
    tracker.refresh(HOUR + Duration::from_secs(60), 1060);
    assert_eq!(owners(&tracker), ["b"]);
    tracker.refresh(HOUR + Duration::from_secs(90), 1090);
    assert_eq!(*tracker.all(), Leases::default());
    assert_eq!(tracker.next_end(HOUR), None);
}

#[test]
fn the_same_owner_renews_its_lease_also_to_a_shorter_one() {
    let mut tracker = LeaseTracker::default();
    tracker.grant(APP, terms("a", 600), HOUR, 1000).unwrap();
    let lease = tracker.grant(APP, terms("a", 60), HOUR, 1000).unwrap();
    assert_eq!((lease.ends_up, lease.ends_secs), (HOUR + Duration::from_secs(60), 1060));
    assert_eq!(owners(&tracker), ["a"]);
}

#[test]
fn a_clock_that_is_set_moves_the_end_that_people_see_and_no_other() {
    let mut tracker = LeaseTracker::default();
    let before = tracker.grant(APP, terms("a", 600), HOUR, 1000).unwrap();
    let ends_secs = |tracker: &LeaseTracker| tracker.all()[&APP][&"a".to_owned()].ends_secs;
    // Within a second of each other: the reading flickers.
    tracker.refresh(HOUR + Duration::from_millis(900), 1001);
    assert_eq!(ends_secs(&tracker), 1600);
    tracker.refresh(HOUR + Duration::from_secs(10), 900_000);
    assert_eq!(ends_secs(&tracker), 900_590);
    assert_eq!(tracker.all()[&APP][&"a".to_owned()].ends_up, before.ends_up);
}

#[test]
fn an_app_has_at_most_sixteen_leases_and_each_can_still_be_renewed() {
    let mut tracker = LeaseTracker::default();
    for n in 0..MAX_PER_APP {
        tracker.grant(APP, terms(&n.to_string(), 60), HOUR, 0).unwrap();
    }
    assert_eq!(tracker.grant(APP, terms("x", 60), HOUR, 0), Err(Refusal::TooManyLeases(APP)));
    tracker.grant(APP, terms("3", 60), HOUR, 0).unwrap();
    tracker.grant(AppId(2), terms("x", 60), HOUR, 0).unwrap();
}

#[test]
fn a_lease_is_ended_by_its_owner_and_all_are_ended_at_once() {
    let mut tracker = LeaseTracker::default();
    for owner in ["a", "b", "c"] {
        tracker.grant(APP, terms(owner, 60), HOUR, 0).unwrap();
    }
    assert!(tracker.end(APP, Some("b")) && !tracker.end(APP, Some("b")) && !tracker.end(AppId(2), None));
    assert_eq!(owners(&tracker), ["a", "c"]);
    assert!(tracker.end(APP, None));
    assert_eq!(*tracker.all(), Leases::default());
}

#[test]
fn leases_are_of_one_boot() {
    let mut tracker = LeaseTracker::default();
    tracker.grant(APP, terms("a", 60), HOUR, 0).unwrap();
    let stored = || StoredLeases { boot_id: "one".to_owned(), leases: tracker.all().clone() };
    assert_eq!(*LeaseTracker::new(stored(), "two").all(), Leases::default());
    let same = LeaseTracker::new(stored(), "one");
    assert_eq!(owners(&same), ["a"]);
}
