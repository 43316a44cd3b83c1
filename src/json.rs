//! JSON parsing that rejects duplicate keys.
//!
//! JSON parsers disagree on which of two values counts, and most take one silently: a second, empty `apps` in a target would
//! remove everything. So a duplicate key is rejected, with its path, in every document that users and programs send.

pub(crate) mod object;

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Number, Value};

/// Characters of a key that an error shows.
const QUOTED_CHARS: usize = 60;

/// Why a text was rejected. Names the place, and no value.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The text is not JSON.
    #[error("it is not JSON: {0}")]
    NotJson(serde_json::Error),
    /// An object has a key twice.
    #[error("{0}")]
    Twice(serde_json::Error),
}

/// Parses a text.
pub fn read(text: &[u8]) -> Result<Value, JsonError> {
    let mut source = serde_json::Deserializer::from_slice(text);
    let value = Part(&Path::Top).deserialize(&mut source);
    let value = value.and_then(|it| source.end().map(|()| it));
    value.map_err(|error| match error.classify() {
        // Any value is accepted, so a duplicate key is the only possible data error.
        Category::Data => JsonError::Twice(error),
        Category::Io | Category::Syntax | Category::Eof => JsonError::NotJson(error),
    })
}

/// The path to a value.
enum Path<'p> {
    Top,
    Key(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (above, step) = match self {
            Path::Top => return Ok(()),
            Path::Key(above, key) => (above, key.chars().take(QUOTED_CHARS).flat_map(char::escape_debug).collect()),
            Path::Index(above, index) => (above, index.to_string()),
        };
        match above {
            Path::Top => f.write_str(&step),
            Path::Key(..) | Path::Index(..) => write!(f, "{above}.{step}"),
        }
    }
}

/// Deserializes one value and everything in it.
struct Part<'p>(&'p Path<'p>);

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Value, E> {
        Ok(Value::Bool(it))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_u64<E>(self, it: u64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_f64<E>(self, it: f64) -> Result<Value, E> {
        Ok(Number::from_f64(it).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, it: &str) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_string<E>(self, it: String) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(it) = seq.next_element_seed(Part(&Path::Index(self.0, list.len())))? {
            list.push(it);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let path = Path::Key(self.0, &key);
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("{path}: is there twice")));
            }
            let value = map.next_value_seed(Part(&path))?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused_with_its_path() {
        assert_eq!(why(r#"{"apps": {"1": {}}, "apps": {}}"#), "apps: is there twice at line 1 column 26");
        assert!(why(r#"{"a": [0, {"b": {"c": 1, "d": 2, "c": 1}}]}"#).starts_with("a.1.b.c: is there twice"));
        assert!(why(r#"{"a": 1, "\u0061": 2}"#).starts_with("a: is there twice"));
        assert!(why("{\"a\\n\": 1, \"a\\n\": 2}").starts_with("a\\n: is there twice"));
        let long = "k".repeat(1000);
        assert!(why(&format!(r#"{{"{long}": 1, "{long}": 2}}"#)).len() < 120);
    }

    #[test]
    fn everything_else_is_read_as_ever() {
        for text in [
            "null",
            "true",
            "-1",
            "18446744073709551615",
            "1.5e3",
            "1e400",
            r#""a\u0000""#,
            "[]",
            "{}",
            r#"[{"a": {"b": [1, "x", null, 2.0]}}, {"a": 1}]"#,
            "",
            "{",
            "[1,]",
            "{} {}",
            "nul",
            &"[".repeat(10_000),
        ] {
            let plain = serde_json::from_slice::<Value>(text.as_bytes());
            match (read(text.as_bytes()), plain) {
                (Ok(ours), Ok(plain)) => assert_eq!(ours, plain, "{text}"),
                (Err(ours), Err(plain)) => assert_eq!(ours.to_string(), format!("it is not JSON: {plain}")),
                (ours, plain) => panic!("{ours:?} {plain:?}"),
            }
        }
    }
}
