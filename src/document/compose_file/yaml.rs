//! YAML as a tree of nodes that know their place, within limits.
//!
//! Scalars are resolved as `docker compose` resolves them: YAML 1.2's booleans and numbers, and octal numbers with a leading
//! zero. An alias is replaced by a copy of its anchor's node, and every copy counts, so that a short text cannot grow into one
//! that fills the memory.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};
use serde_json::Number;

use super::Budget;
use crate::sorted::SortedSet;

/// Nodes that lie within each other. A compose file needs ten; `serde_json` has a limit of 128.
const DEPTH: usize = 64;

/// A place in a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The file, as an index in the list of the loader.
    pub(super) file: usize,
    /// Line, from 1.
    pub(super) line: usize,
    /// Column in characters, from 1.
    pub(super) column: usize,
}

/// A value and where it is. A value under a key is where its key is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Yaml,
    pub(super) merge: MergeTag,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Yaml {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file, each key once.
    Map(Vec<(String, Node)>),
}

/// What a tag says of merging with another file's value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum MergeTag {
    /// No tag.
    #[default]
    None,
    /// `!reset`: the other file's value is removed.
    Reset,
    /// `!override`: the other file's value is replaced.
    Override,
}

/// What is wrong, and where.
pub(super) type YamlError = (Place, String);

/// Parses a text that holds one document. An empty text is null.
pub(super) fn parse(text: &str, file: usize, budget: &mut Budget) -> Result<Node, YamlError> {
    let start = Place { file, line: 1, column: 1 };
    let mut reader = Reader { events: Parser::new_from_str(text), file, anchors: Vec::new(), budget };
    let mut document = None;
    loop {
        let (event, place) = reader.next()?;
        match event {
            Event::StreamEnd => break,
            Event::DocumentStart(_) if document.is_some() => {
                return Err((place, "a second document begins here; a compose file holds one".to_owned()));
            }
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            event => document = Some(reader.node(event, place, 0)?.node),
        }
    }
    Ok(document.unwrap_or(Node { place: start, value: Yaml::Null, merge: MergeTag::None }))
}

struct Reader<'r, 't> {
    events: Parser<'t, StrInput<'t>>,
    file: usize,
    anchors: Vec<(usize, Measured)>,
    budget: &'r mut Budget,
}

/// A node, and what a copy of it costs.
#[derive(Clone)]
struct Measured {
    node: Node,
    nodes: usize,
    bytes: usize,
}

impl<'t> Reader<'_, 't> {
    fn next(&mut self) -> Result<(Event<'t>, Place), YamlError> {
        match self.events.next_event() {
            None => Ok((Event::StreamEnd, Place::default())),
            Some(Ok((event, span))) => Ok((event, self.place(span))),
            Some(Err(error)) => {
                let mark = error.marker();
                let place = Place { file: self.file, line: mark.line(), column: mark.col() + 1 };
                Err((place, format!("it is not YAML: {}", error.info())))
            }
        }
    }

    fn place(&self, span: Span) -> Place {
        Place { file: self.file, line: span.start.line(), column: span.start.col() + 1 }
    }

    fn node(&mut self, event: Event<'t>, place: Place, depth: usize) -> Result<Measured, YamlError> {
        if depth > DEPTH {
            return Err((place, format!("values are nested deeper than {DEPTH} levels")));
        }
        let (anchor, mut measured) = match event {
            Event::Alias(anchor) => {
                let known = self.anchors.iter().rev().find(|(it, _)| *it == anchor).map(|(_, it)| it.clone());
                let copy =
                    known.ok_or_else(|| (place, "an alias to a value that it is a part of, or that is unknown".to_owned()))?;
                self.budget.take(copy.nodes, copy.bytes).map_err(|why| (place, why))?;
                return Ok(copy);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref();
                let bytes = text.len();
                let value = scalar(&text, style == ScalarStyle::Plain, tag);
                (anchor, Measured { node: Node { place, value, merge: merge_tag(tag) }, nodes: 1, bytes })
            }
            Event::SequenceStart(anchor, tag) => {
                let mut all =
                    Measured { node: Node { place, value: Yaml::Null, merge: merge_tag(tag.as_deref()) }, nodes: 1, bytes: 0 };
                let mut list = Vec::new();
                loop {
                    let (event, place) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    let item = self.node(event, place, depth + 1)?;
                    all.nodes += item.nodes;
                    all.bytes += item.bytes;
                    list.push(item.node);
                }
                all.node.value = Yaml::List(list);
                (anchor, all)
            }
            Event::MappingStart(anchor, tag) => (anchor, self.map(place, merge_tag(tag.as_deref()), depth)?),
            _ => return Err((place, "a value is missing".to_owned())),
        };
        // A list's and a map's parts have paid for themselves.
        let own = if matches!(measured.node.value, Yaml::List(_) | Yaml::Map(_)) { 0 } else { measured.bytes };
        self.budget.take(1, own).map_err(|why| (place, why))?;
        measured.node.place = place;
        if anchor > 0 {
            self.anchors.push((anchor, measured.clone()));
            self.budget.take(measured.nodes, measured.bytes).map_err(|why| (place, why))?;
        }
        Ok(measured)
    }

    fn map(&mut self, place: Place, merge: MergeTag, depth: usize) -> Result<Measured, YamlError> {
        let mut all = Measured { node: Node { place, value: Yaml::Null, merge }, nodes: 1, bytes: 0 };
        let mut own: Vec<(String, Node)> = Vec::new();
        let mut keys = SortedSet::new();
        let mut merged: Vec<Node> = Vec::new();
        loop {
            let (event, at) = self.next()?;
            let key = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, style, ..) => (text.into_owned(), style == ScalarStyle::Plain),
                _ => return Err((at, "a key must be a text".to_owned())),
            };
            let (event, value_at) = self.next()?;
            let value = self.node(event, value_at, depth + 1)?;
            all.nodes += value.nodes + 1;
            all.bytes += value.bytes + key.0.len();
            self.budget.take(1, key.0.len()).map_err(|why| (at, why))?;
            if key == ("<<".to_owned(), true) {
                merged.push(value.node);
            } else if !keys.insert(key.0.clone()) {
                return Err((at, format!("the key {:?} is there twice", short(&key.0))));
            } else {
                own.push((key.0, Node { place: at, ..value.node }));
            }
        }
        for node in merged {
            merge_in(&mut own, &mut keys, node)?;
        }
        all.node.value = Yaml::Map(own);
        Ok(all)
    }
}

/// Adds what a merge key names: maps whose keys count where the map itself has none.
fn merge_in(own: &mut Vec<(String, Node)>, keys: &mut SortedSet<String>, node: Node) -> Result<(), YamlError> {
    let place = node.place;
    match node.value {
        Yaml::Map(entries) => {
            for (key, value) in entries {
                if keys.insert(key.clone()) {
                    own.push((key, value));
                }
            }
            Ok(())
        }
        Yaml::List(list) if list.iter().all(|it| matches!(it.value, Yaml::Map(_))) => {
            list.into_iter().try_for_each(|it| merge_in(own, keys, it))
        }
        _ => Err((place, "`<<` merges a map or a list of maps".to_owned())),
    }
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

fn merge_tag(tag: Option<&Tag>) -> MergeTag {
    match tag.filter(|it| it.handle == "!").map(|it| it.suffix.as_str()) {
        Some("reset") => MergeTag::Reset,
        Some("override") => MergeTag::Override,
        _ => MergeTag::None,
    }
}

fn scalar(text: &str, plain: bool, tag: Option<&Tag>) -> Yaml {
    let is_text = tag.is_some_and(|it| it.is_yaml_core_schema() && it.suffix == "str");
    if is_text || !(plain || tag.is_some_and(Tag::is_yaml_core_schema)) { Yaml::Text(text.to_owned()) } else { resolved(text) }
}

/// A scalar without quotes.
fn resolved(text: &str) -> Yaml {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Yaml::Null,
        "true" | "True" | "TRUE" => return Yaml::Bool(true),
        "false" | "False" | "FALSE" => return Yaml::Bool(false),
        _ => {}
    }
    let number = whole(text).or_else(|| fraction(text));
    number.map_or_else(|| Yaml::Text(text.to_owned()), Yaml::Number)
}

fn whole(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x', ..] => (16, &digits[2..]),
        [b'0', b'o', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // `from_str_radix` would take a second sign.
    if !digits.starts_with(|it: char| it.is_ascii_hexdigit()) {
        return None;
    }
    let number = u64::from_str_radix(digits, base).ok()?;
    if negative { i64::try_from(number).ok().map(|it| Number::from(-it)) } else { Some(Number::from(number)) }
}

fn fraction(text: &str) -> Option<Number> {
    let good =
        text.bytes().any(|it| it.is_ascii_digit()) && text.bytes().all(|it| it.is_ascii_digit() || b".eE+-".contains(&it));
    // `08` is neither octal nor a fraction, and an address has more than one point.
    let number: f64 = text.parse().ok().filter(|_| good && text.contains(['.', 'e', 'E']))?;
    // As Go prints it: a fraction of zero is left out.
    crate::document::at::whole(number).map(Number::from).or_else(|| Number::from_f64(number))
}

impl Node {
    /// The value under a key of a map. Null counts as absent.
    pub(super) fn key(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(it, value)| it == key && value.value != Yaml::Null).map(|(_, it)| it)
    }

    /// The entries of a map; of anything else none.
    pub(super) fn entries(&self) -> &[(String, Self)] {
        match &self.value {
            Yaml::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The entries of a map to change; of anything else `None`.
    pub(super) fn map_mut(&mut self) -> Option<&mut Vec<(String, Self)>> {
        match &mut self.value {
            Yaml::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Takes an entry out of a map.
    pub(super) fn take(&mut self, key: &str) -> Option<Self> {
        let entries = self.map_mut()?;
        let at = entries.iter().position(|(it, _)| it == key)?;
        Some(entries.remove(at).1)
    }

    /// The items of a list; a scalar counts as a list of one; anything else has none.
    pub(super) fn one_or_more(&self) -> Vec<&Self> {
        match &self.value {
            Yaml::List(list) => list.iter().collect(),
            Yaml::Text(_) | Yaml::Number(_) => vec![self],
            Yaml::Null | Yaml::Bool(_) | Yaml::Map(_) => Vec::new(),
        }
    }

    /// A text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Yaml::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A scalar as text. Null is none.
    pub(super) fn scalar(&self) -> Option<String> {
        match &self.value {
            Yaml::Text(text) => Some(text.clone()),
            Yaml::Number(number) => Some(number.to_string()),
            Yaml::Bool(flag) => Some(flag.to_string()),
            Yaml::Null | Yaml::List(_) | Yaml::Map(_) => None,
        }
    }

    /// Whether it says yes, as compose reads booleans.
    pub(super) fn is_on(&self) -> bool {
        self.scalar().is_some_and(|it| ["true", "yes", "on", "1", "y"].contains(&it.to_ascii_lowercase().as_str()))
    }

    /// A text at a place.
    pub(super) fn of_text(place: Place, text: &str) -> Self {
        Self { place, value: Yaml::Text(text.to_owned()), merge: MergeTag::None }
    }

    /// A map at a place.
    pub(super) fn of_map(place: Place, entries: Vec<(String, Self)>) -> Self {
        Self { place, value: Yaml::Map(entries), merge: MergeTag::None }
    }

    /// A list at a place.
    pub(super) fn of_list(place: Place, items: Vec<Self>) -> Self {
        Self { place, value: Yaml::List(items), merge: MergeTag::None }
    }

    /// How many nodes it is made of, and how many bytes its texts have.
    pub(super) fn cost(&self) -> (usize, usize) {
        let sum = |it: &mut dyn Iterator<Item = (usize, usize)>| it.fold((1, 0), |all, it| (all.0 + it.0, all.1 + it.1));
        match &self.value {
            Yaml::Text(text) => (1, text.len()),
            Yaml::List(list) => sum(&mut list.iter().map(Self::cost)),
            Yaml::Map(map) => sum(&mut map.iter().map(|(key, it)| (it.cost().0 + 1, it.cost().1 + key.len()))),
            Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) => (1, 0),
        }
    }
}
