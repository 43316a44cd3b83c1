use super::*;
use crate::reconcile::testing::{APP, held};

#[test]
fn what_happened_to_the_locks_counts_until_the_next_observation_begins() {
    let mut locks = LockTracker::default();
    assert!(!locks.changed_since_observation());
    locks.on_released();
    assert!(locks.changed_since_observation() && locks.were_released());
    locks.on_observation_begins();
    assert!(!locks.changed_since_observation() && !locks.were_released());
    locks.on_checked(APP);
    assert!(locks.changed_since_observation() && locks.was_checked(APP) && !locks.was_checked(AppId(2)));
    locks.on_observation_begins();
    assert!(!locks.changed_since_observation() && !locks.was_checked(APP));
}

#[test]
fn a_loan_lends_the_locks_of_its_apps_until_it_ends() {
    let mut locks = LockTracker::default();
    assert!(!locks.has_loan() && !locks.is_lent(APP));
    locks.lend([APP].into());
    // A loan outlasts the observations.
    locks.on_observation_begins();
    assert!(locks.has_loan() && locks.is_lent(APP) && !locks.is_lent(AppId(2)));
    assert_eq!(locks.end_loan(), [APP].into());
    assert!(!locks.has_loan() && !locks.is_lent(APP));
    assert_eq!(locks.end_loan(), [].into());
}

#[test]
fn removing_our_locks_leaves_those_of_services() {
    let ours = || LockState::Ours(["web".to_owned()].into());
    let (both, theirs) = (LockState::Both(held("web")), LockState::Held(held("web")));
    let mut locks =
        SortedMap::from_iter([(APP, ours()), (AppId(2), both.clone()), (AppId(3), ours()), (AppId(4), theirs.clone())]);
    remove_ours(&mut locks, |app| app != AppId(3));
    assert_eq!(locks, [(AppId(2), theirs.clone()), (AppId(3), ours()), (AppId(4), theirs)].into_iter().collect());
}
