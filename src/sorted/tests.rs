use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Change {
    Insert(u8, u32),
    Extend(Vec<(u8, u32)>),
    Remove(u8),
    Retain(u8),
}

fn change() -> impl Strategy<Value = Change> {
    let (key, entry) = (0..12u8, (0..12u8, any::<u32>()));
    prop_oneof![
        entry.clone().prop_map(|(key, value)| Change::Insert(key, value)),
        proptest::collection::vec(entry, 0..6).prop_map(Change::Extend),
        key.clone().prop_map(Change::Remove),
        key.prop_map(Change::Retain),
    ]
}

proptest! {
    #[test]
    fn they_are_as_the_standard_librarys(first: Vec<(u8, u32)>, changes in proptest::collection::vec(change(), 0..20)) {
        let keys = || first.iter().map(|it| it.0);
        let mut map: SortedMap<_, _> = first.iter().copied().collect();
        let mut wanted: BTreeMap<_, _> = first.iter().copied().collect();
        let (mut set, mut members): (SortedSet<_>, BTreeSet<_>) = (keys().collect(), keys().collect());
        for change in changes {
            match change {
                Change::Insert(key, value) => {
                    prop_assert_eq!(map.insert(key, value), wanted.insert(key, value));
                    prop_assert_eq!(set.insert(key), members.insert(key));
                }
                Change::Extend(entries) => {
                    map.extend(entries.clone());
                    wanted.extend(entries.clone());
                    set.extend(entries.iter().map(|it| it.0));
                    members.extend(entries.iter().map(|it| it.0));
                }
                Change::Remove(key) => {
                    prop_assert_eq!(map.remove(&key), wanted.remove(&key));
                    prop_assert_eq!(set.remove(&key), members.remove(&key));
                }
                Change::Retain(least) => {
                    map.retain(|key, _| *key >= least);
                    wanted.retain(|key, _| *key >= least);
                    set.retain(|key| *key >= least);
                    members.retain(|key| *key >= least);
                }
            }
            prop_assert!(map.iter().eq(&wanted) && set.iter().eq(&members), "{:?} {:?}", map, set);
            prop_assert!((0..12).all(|it| set.contains(&it) == members.contains(&it)));
            let of_first: (SortedSet<_>, BTreeSet<_>) = (keys().collect(), keys().collect());
            prop_assert_eq!(set.is_subset(&of_first.0), members.is_subset(&of_first.1));
            prop_assert_eq!(set.is_disjoint(&of_first.0), members.is_disjoint(&of_first.1));
        }
        prop_assert!(map.into_iter().eq(wanted) && set.into_iter().eq(members));
    }
}

proptest! {
    #[test]
    fn lists_are_sorted_as_by_the_standard_library(list: Vec<(u8, u32)>) {
        let (mut whole, mut by_first) = (list.clone(), list.clone());
        sort(&mut whole);
        sort_by(&mut by_first, |a, b| a.0.cmp(&b.0));
        let mut wanted = list;
        wanted.sort_by_key(|it| it.0);
        prop_assert_eq!(&by_first, &wanted);
        wanted.sort_unstable();
        prop_assert_eq!(whole, wanted);
    }
}

#[test]
fn they_print_their_contents() {
    let map = SortedMap::from_iter([("b", 2), ("a", 1)]);
    assert_eq!(format!("{map:?} {:?}", SortedSet::from(["b", "a"])), r#"{"a": 1, "b": 2} {"a", "b"}"#);
}
