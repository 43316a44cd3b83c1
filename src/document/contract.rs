//! Contracts, `contract: {type, slug, requires: [{type, slug, version}]}`, as the cloud copies them from a `contract.yml`.

use crate::state::contract::{Contract, Requirement};

use super::at::Cursor;
use super::fields::ObjectFields;

/// How deep requirements may be nested: `or` in `not` in `or` is more than any contract seen.
const DEPTH: usize = 4;

/// Reads a contract. An empty one is none.
pub(super) fn read(at: &Cursor<'_>, service: Option<&str>, optional: bool) -> Option<Contract> {
    if at.is_empty() {
        return None;
    }
    let mut fields = ObjectFields::of(at);
    let requires = fields.take("requires").map(|it| requirements(&it, DEPTH)).unwrap_or_default();
    // Its own names, and what it says of itself, require nothing.
    fields.skip(&["type", "slug", "name", "version", "data", "description", "provides", "children", "assets"]);
    fields.rest();
    (!requires.is_empty()).then(|| Contract { service: service.map(str::to_owned), optional, requires })
}

fn requirements(at: &Cursor<'_>, depth: usize) -> Vec<Requirement> {
    if depth == 0 {
        at.wrong(&format!("requirements are nested deeper than {DEPTH} levels"));
        return Vec::new();
    }
    at.items().iter().filter_map(|it| requirement(it, depth)).collect()
}

fn requirement(at: &Cursor<'_>, depth: usize) -> Option<Requirement> {
    let mut fields = ObjectFields::of(at);
    let of = |it: Cursor<'_>| requirements(&it, depth - 1);
    let found = match (fields.take("or"), fields.take("not")) {
        (Some(any), None) => Requirement::Any(of(any)),
        (None, Some(without)) => Requirement::Without(of(without)),
        (Some(_), Some(_)) => {
            at.wrong("has both `or` and `not`; write them as two requirements");
            return None;
        }
        (None, None) => {
            let Some(kind) = fields.text("type") else {
                at.missing("type", "what is required, such as sw.supervisor or hw.device-type");
                return None;
            };
            Requirement::One { kind, slug: fields.text("slug"), version: fields.text("version") }
        }
    };
    fields.skip(&["name", "data"]);
    fields.rest();
    Some(found)
}
