//! Maps as JSON objects, and sets as lists.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::sorted::{SortedMap, SortedSet};

/// An object of these fields. `collect` makes the same, with a sort of its own for each place (see [`crate::sorted`]).
pub(crate) fn object(entries: impl IntoIterator<Item = (String, Value)>) -> Value {
    let mut fields = Map::new();
    for (name, value) in entries {
        fields.insert(name, value);
    }
    Value::Object(fields)
}

/// Texts by their names, as an object.
pub(crate) fn texts<'a>(entries: impl IntoIterator<Item = (&'a String, &'a String)>) -> Value {
    object(entries.into_iter().map(|(name, text)| (name.clone(), Value::from(text.as_str()))))
}

impl<K: Serialize, V: Serialize> Serialize for SortedMap<K, V> {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.collect_map(self)
    }
}

impl<T: Serialize> Serialize for SortedSet<T> {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.collect_seq(self)
    }
}

/// Of a key that is there twice, the last value counts, as it does for the standard library's maps.
impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Deserialize<'de> for SortedMap<K, V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Entries(PhantomData))
    }
}

impl<'de, T: Deserialize<'de> + Ord> Deserialize<'de> for SortedSet<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Members(PhantomData))
    }
}

struct Entries<K, V>(PhantomData<(K, V)>);

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for Entries<K, V> {
    type Value = SortedMap<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut map = SortedMap::new();
        while let Some((key, value)) = from.next_entry()? {
            map.insert(key, value);
        }
        Ok(map)
    }
}

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Ord> Visitor<'de> for Members<T> {
    type Value = SortedSet<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut set = SortedSet::new();
        while let Some(member) = from.next_element()? {
            set.insert(member);
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_str, to_string};

    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Numbers {
        #[serde(default)]
        of: SortedMap<u32, String>,
    }

    #[test]
    fn maps_are_written_as_objects_and_read_again() {
        for (of, text) in [(vec![], r#"{"of":{}}"#), (vec![(10, "b"), (9, "a")], r#"{"of":{"9":"a","10":"b"}}"#)] {
            let numbers = Numbers { of: of.into_iter().map(|(number, it)| (number, it.to_owned())).collect() };
            assert_eq!(to_string(&numbers).unwrap(), text);
            assert_eq!(from_str::<Numbers>(text).unwrap(), numbers);
        }
    }

    #[test]
    fn other_json_is_refused_and_the_last_of_two_values_counts() {
        let twice = from_str::<Numbers>(r#"{"of": {"2": "a", "1": "b", "2": "c"}}"#).unwrap();
        assert_eq!(twice.of.iter().map(|(number, it)| (*number, it.as_str())).collect::<Vec<_>>(), [(1, "b"), (2, "c")]);
        assert_eq!(from_str::<Numbers>("{}").unwrap().of.len(), 0);
        for wrong in [r#"{"of": []}"#, r#"{"of": {"one": "a"}}"#, r#"{"of": {"1": 1}}"#, r#"{"of": null}"#] {
            from_str::<Numbers>(wrong).unwrap_err();
        }
    }
}
