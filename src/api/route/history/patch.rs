//! The difference of two states, as a merge patch (RFC 7396): members that differ have their new value, members that are gone
//! are `null`, and lists are replaced whole.

use serde_json::{Map, Value};

/// Members that count the time. They change all the time, and are sent only along with something else.
const COUNTERS: [&str; 7] =
    ["agent_seconds", "looked_seconds_ago", "seconds", "seconds_left", "seconds_ago", "again_in_seconds", "up_seconds"];

/// The patch that makes `now` of `before`. `None`: nothing differs but what counts the time.
pub(super) fn patch(before: &Value, now: &Value) -> Option<Value> {
    if is_same(before, now) { None } else { Some(difference(before, now)) }
}

fn difference(before: &Value, now: &Value) -> Value {
    let (Value::Object(before), Value::Object(now)) = (before, now) else { return now.clone() };
    let mut changed = Map::new();
    for (name, value) in now {
        match before.get(name) {
            Some(old) if old == value => {}
            Some(old) => drop(changed.insert(name.clone(), difference(old, value))),
            None => drop(changed.insert(name.clone(), value.clone())),
        }
    }
    for name in before.keys().filter(|it| !now.contains_key(*it)) {
        changed.insert(name.clone(), Value::Null);
    }
    Value::Object(changed)
}

/// Whether nothing differs but what counts the time.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| {
                    COUNTERS.contains(&name.as_str()) && other.contains_key(name)
                        || other.get(name).is_some_and(|it| is_same(value, it))
                })
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Applies a patch, as RFC 7396 says.
    fn applied(target: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = Value::Object(Map::new());
        }
        let target = target.as_object_mut().expect("it is one");
        for (name, value) in patch {
            if value.is_null() {
                target.remove(name);
            } else {
                applied(target.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
    }

    #[test]
    fn a_patch_makes_the_one_of_the_other() {
        let before = json!({"a": 1, "gone": {"x": 1}, "deep": {"same": [1], "list": [1, 2]}, "seconds": 1});
        let now = json!({"a": 1, "deep": {"same": [1], "list": [2], "more": true}, "seconds": 9});
        let patch = patch(&before, &now).expect("they differ");
        assert_eq!(patch, json!({"gone": null, "deep": {"list": [2], "more": true}, "seconds": 9}));
        let mut patched = before;
        applied(&mut patched, &patch);
        assert_eq!(patched, now);
    }

    #[test]
    fn time_that_passes_is_no_difference() {
        let before =
            json!({"agent_seconds": 1, "engine": {"state": "down", "seconds": 1}, "troubles": [{"again_in_seconds": 3}]});
        let now = json!({"agent_seconds": 2, "engine": {"state": "down", "seconds": 2}, "troubles": [{"again_in_seconds": 2}]});
        assert_eq!(patch(&before, &now), None);
        assert_eq!(patch(&before, &before), None);
        let other = json!({"agent_seconds": 2, "engine": {"state": "up"}, "troubles": []});
        assert_ne!(patch(&before, &other), None);
    }
}
