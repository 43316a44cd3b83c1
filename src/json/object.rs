//! Maps as JSON objects: `#[serde(with = "crate::json::object")]` for a field.
//!
//! `litemap` has a feature for serde, by which an empty map becomes `[]`; no client expects that.

use std::fmt;
use std::marker::PhantomData;

use litemap::LiteMap;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::Value;

/// Writes a map as an object.
pub(crate) fn serialize<K: Serialize, V: Serialize, S: Serializer>(map: &LiteMap<K, V>, into: S) -> Result<S::Ok, S::Error> {
    into.collect_map(map.iter())
}

/// Reads an object. Of a key that is there twice, the last value counts, as it does for the standard library's maps.
pub(crate) fn deserialize<'de, K, V, D>(from: D) -> Result<LiteMap<K, V>, D::Error>
where
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    from.deserialize_map(Entries(PhantomData))
}

/// Texts by their names, as an object.
pub(crate) fn texts<'a>(entries: impl IntoIterator<Item = (&'a String, &'a String)>) -> Value {
    entries.into_iter().map(|(name, text)| (name.clone(), Value::from(text.as_str()))).collect()
}

struct Entries<K, V>(PhantomData<(K, V)>);

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for Entries<K, V> {
    type Value = LiteMap<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = from.next_entry()? {
            entries.push(entry);
        }
        Ok(entries.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_str, to_string};

    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Numbers {
        #[serde(default, with = "super")]
        of: LiteMap<u32, String>,
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
