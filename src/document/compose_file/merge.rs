//! How the values of two compose files are merged: an override file over the first one, a service over what it extends.
//!
//! Maps are merged key by key and lists are joined, except where the compose specification has another rule for a field.

use super::yaml::{MergeTag, Node, Yaml};
use crate::sorted::{SortedMap, SortedSet};

/// How a field is merged, where it is neither of the general ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Maps by key, lists joined, scalars replaced.
    General,
    /// The upper value counts.
    Replace,
    /// A list of `NAME=value` is a map.
    Pairs,
    /// A list of names is a map without values.
    Names,
    /// Items with the same path in the container count once.
    ByTarget,
    /// A text is a list of one.
    Joined,
    /// A map whose options belong to its driver.
    Driver,
}

/// The extension of a file that holds labels which count for each of its services.
pub(super) const RELEASE_LABELS: &str = "x-labels";

/// Merges two files, or two parts of files.
pub(super) fn files(lower: Node, upper: Node) -> Node {
    let mut all = lower;
    let Some(entries) = all.map_mut() else { return upper };
    for (key, value) in into_entries(upper) {
        let merge: &dyn Fn(Node, Node) -> Node = match key.as_str() {
            "services" => &each_service,
            RELEASE_LABELS => &|lower, upper| field(Rule::Pairs, lower, upper),
            _ => &general,
        };
        put(entries, key, value, merge);
    }
    all
}

fn each_service(lower: Node, upper: Node) -> Node {
    let mut all = lower;
    let Some(entries) = all.map_mut() else { return upper };
    for (key, value) in into_entries(upper) {
        put(entries, key, value, &service);
    }
    all
}

/// Merges a service over another one.
pub(super) fn service(lower: Node, upper: Node) -> Node {
    let mut all = lower;
    let Some(entries) = all.map_mut() else { return upper };
    for (key, value) in into_entries(upper) {
        let rule = rule(&key);
        put(entries, key, value, &|lower, upper| field(rule, lower, upper));
    }
    all
}

fn rule(field: &str) -> Rule {
    match field {
        "command" | "entrypoint" => Rule::Replace,
        "environment" | "labels" | "annotations" | "sysctls" => Rule::Pairs,
        "depends_on" | "networks" => Rule::Names,
        "volumes" | "devices" | "secrets" | "configs" => Rule::ByTarget,
        "env_file" | "dns" | "dns_opt" | "dns_search" | "expose" | "tmpfs" => Rule::Joined,
        "logging" => Rule::Driver,
        _ => Rule::General,
    }
}

fn field(rule: Rule, lower: Node, upper: Node) -> Node {
    match rule {
        Rule::General => general(lower, upper),
        Rule::Pairs => general(as_map(lower, '='), as_map(upper, '=')),
        Rule::Names => general(as_names(lower), as_names(upper)),
        Rule::ByTarget => by_target(lower, upper),
        Rule::Joined => joined(lower, upper),
        Rule::Driver if upper.key("driver").is_none() || driver(&lower) == driver(&upper) => general(lower, upper),
        Rule::Replace | Rule::Driver => upper,
    }
}

fn driver(logging: &Node) -> Option<String> {
    logging.key("driver").and_then(Node::scalar)
}

fn into_entries(node: Node) -> Vec<(String, Node)> {
    match node.value {
        Yaml::Map(entries) => entries,
        _ => Vec::new(),
    }
}

fn put(entries: &mut Vec<(String, Node)>, key: String, value: Node, merge: &dyn Fn(Node, Node) -> Node) {
    let at = entries.iter().position(|(it, _)| *it == key);
    match (at, value.merge) {
        (Some(at), MergeTag::Reset) => drop(entries.remove(at)),
        (None, MergeTag::Reset) => {}
        (Some(at), MergeTag::Override) => entries[at].1 = value,
        (None, MergeTag::None | MergeTag::Override) => entries.push((key, value)),
        (Some(at), MergeTag::None) => {
            let lower = std::mem::replace(&mut entries[at].1, Node::of_list(value.place, Vec::new()));
            entries[at].1 = merge(lower, value);
        }
    }
}

fn general(lower: Node, upper: Node) -> Node {
    match (&lower.value, &upper.value) {
        (_, Yaml::Null) => lower,
        (Yaml::Map(_), Yaml::Map(_)) => {
            let mut all = lower;
            if let Some(entries) = all.map_mut() {
                for (key, value) in into_entries(upper) {
                    // The test of a health check is a command.
                    if key == "test" {
                        put(entries, key, value, &|_, upper| upper);
                    } else {
                        put(entries, key, value, &general);
                    }
                }
            }
            all
        }
        (Yaml::List(_), Yaml::List(_) | Yaml::Text(_)) | (Yaml::Text(_), Yaml::List(_)) => joined(lower, upper),
        _ => upper,
    }
}

/// Both lists, each text once.
fn joined(lower: Node, upper: Node) -> Node {
    let place = upper.place;
    let mut texts = SortedSet::new();
    let mut all = items(lower);
    all.extend(items(upper));
    all.retain(|it| it.scalar().is_none_or(|text| texts.insert(text)));
    Node::of_list(place, all)
}

fn items(node: Node) -> Vec<Node> {
    match node.value {
        Yaml::List(items) => items,
        Yaml::Text(_) | Yaml::Number(_) => vec![node],
        Yaml::Null | Yaml::Bool(_) | Yaml::Map(_) => Vec::new(),
    }
}

/// `NAME=value` items as a map. A name without a value has null.
pub(super) fn as_map(node: Node, separator: char) -> Node {
    let Yaml::List(items) = node.value else { return node };
    let mut entries: Vec<(String, Node)> = Vec::new();
    for item in items {
        let text = item.scalar().unwrap_or_default();
        let (name, value) = match text.split_once(separator) {
            Some((name, value)) => (name, Node::of_text(item.place, value)),
            None => (text.as_str(), Node { value: Yaml::Null, ..item.clone() }),
        };
        put(&mut entries, name.to_owned(), value, &|_, upper| upper);
    }
    Node::of_map(node.place, entries)
}

fn as_names(node: Node) -> Node {
    let Yaml::List(items) = node.value else { return node };
    let names = items.into_iter().map(|it| (it.scalar().unwrap_or_default(), Node { value: Yaml::Null, ..it }));
    Node::of_map(node.place, names.collect())
}

fn by_target(lower: Node, upper: Node) -> Node {
    let place = upper.place;
    let mut all = items(lower);
    let mut known: SortedMap<_, _> = all.iter().enumerate().map(|(at, it)| (target(it), at)).collect();
    for item in items(upper) {
        if let Some(at) = known.get(&target(&item)) {
            all[*at] = item;
        } else {
            known.insert(target(&item), all.len());
            all.push(item);
        }
    }
    Node::of_list(place, all)
}

/// Where an item of `volumes`, `devices`, `secrets` or `configs` is in the container.
fn target(item: &Node) -> Option<String> {
    if let Some(text) = item.text() {
        let mut parts = text.split(':');
        let first = parts.next().unwrap_or_default();
        return Some(parts.next().unwrap_or(first).trim_end_matches('/').to_owned());
    }
    let path = item.key("target").or_else(|| item.key("source"))?.scalar()?;
    Some(path.trim_end_matches('/').to_owned())
}
