//! An engine's response, read one field at a time.
//!
//! Most of what an engine lists is not the agent's: foreign containers, in states and with options for which a newer engine, or
//! another make of engine, has its own terms. A client that reads a list into one type fails on the first unknown term, and
//! then sees none of the agent's own objects. So a field of the wrong type is read as a missing one, and every term is kept.

use serde_json::Value;

use crate::linux::engine::labels::Labels;
use crate::sorted::SortedMap;

/// A JSON value from an engine.
#[derive(Debug, Clone, Default)]
pub(super) struct EngineJson(pub(super) Value);

impl EngineJson {
    /// The value at a JSON pointer, `/State/Status`.
    pub(super) fn at(&self, pointer: &str) -> Option<&Value> {
        self.0.pointer(pointer).filter(|it| !it.is_null())
    }

    /// A string. Empty if there is none.
    pub(super) fn text(&self, pointer: &str) -> &str {
        self.at(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// A string that is not empty.
    pub(super) fn some_text(&self, pointer: &str) -> Option<String> {
        Some(self.text(pointer)).filter(|it| !it.is_empty()).map(str::to_owned)
    }

    /// Whether a flag is true.
    pub(super) fn is(&self, pointer: &str) -> bool {
        self.at(pointer).and_then(Value::as_bool) == Some(true)
    }

    /// An integer; 0 if there is none, or it is too large.
    pub(super) fn number(&self, pointer: &str) -> i64 {
        self.at(pointer).and_then(Value::as_i64).unwrap_or(0)
    }

    /// The strings of a list.
    pub(super) fn texts(&self, pointer: &str) -> Vec<String> {
        let list = self.at(pointer).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// The strings of a list, if there is one.
    pub(super) fn some_texts(&self, pointer: &str) -> Option<Vec<String>> {
        self.at(pointer).filter(|it| it.is_array()).map(|_| self.texts(pointer))
    }

    /// The names of an object's fields.
    pub(super) fn keys(&self, pointer: &str) -> impl Iterator<Item = &String> {
        self.fields(pointer).map(|(name, _)| name)
    }

    /// The strings of an object.
    pub(super) fn labels(&self, pointer: &str) -> Labels {
        let pair = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        self.fields(pointer).filter_map(pair).collect()
    }

    /// The fields of an object.
    pub(super) fn fields(&self, pointer: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.at(pointer).and_then(Value::as_object).into_iter().flatten()
    }

    /// The items of a list.
    pub(super) fn items(&self, pointer: &str) -> impl Iterator<Item = Self> {
        self.at(pointer).and_then(Value::as_array).into_iter().flatten().map(|it| Self(it.clone()))
    }

    /// The networks that a container is attached to: their ids, by name.
    pub(super) fn networks(&self) -> Option<SortedMap<String, String>> {
        self.at("/NetworkSettings/Networks")?;
        let id = |(name, it): (&String, &Value)| {
            let id = it.get("NetworkID").and_then(Value::as_str).unwrap_or_default();
            (name.clone(), id.to_owned())
        };
        Some(self.fields("/NetworkSettings/Networks").map(id).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_of_the_wrong_type_is_none() {
        let said =
            EngineJson(json!({"Id": 7, "Created": 1e300, "Labels": {"a": "b", "c": null, "d": 4}, "Names": ["/x", 3, null],
            "State": "undead", "NetworkSettings": {"Networks": {"n": null, "m": {"NetworkID": []}}}}));
        assert_eq!((said.text("/Id"), said.number("/Created"), said.is("/Id")), ("", 0, false));
        assert_eq!((said.text("/State"), said.text("/State/Status")), ("undead", ""));
        assert_eq!(said.labels("/Labels"), [("a".to_owned(), "b".to_owned())].into_iter().collect());
        assert_eq!(said.texts("/Names"), ["/x"]);
        assert_eq!(said.networks().unwrap().len(), 2);
    }
}
