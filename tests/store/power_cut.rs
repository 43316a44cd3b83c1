//! The states in which a power cut may leave file systems: all of them, or a random one.

use std::collections::BTreeSet;

use super::layer::{Change, Layer, Model, Names, Node};
use super::rng::Rng;

/// Every state a cut now may leave, each once.
pub(crate) fn every(model: &Model) -> Vec<Layer> {
    let mut worlds = vec![model.nodes.clone()];
    for node in 0..model.nodes.len() {
        if let Node::Dir { kept, pending, .. } = &model.nodes[node] {
            assert!(pending.len() <= 8, "too many names are not synced to try every subset: {pending:?}");
            let sets = subsets(kept, pending);
            worlds = product(&worlds, node, sets.into_iter().map(on_disk_dir).collect::<Vec<_>>().as_slice());
        }
    }
    let mut found = BTreeSet::new();
    for world in worlds {
        let mut versions = vec![world.clone()];
        for node in reachable(&world) {
            if let Node::File { seen, kept, .. } = &world[node] {
                let left = if seen == kept { vec![kept.clone()] } else { torn(kept, seen, &stale(model, node)) };
                versions = product(&versions, node, left.into_iter().map(on_disk_file).collect::<Vec<_>>().as_slice());
            }
        }
        found.extend(versions.iter().map(|it| packed(it)));
    }
    found.into_iter().map(|it| Layer::of(unpacked(it))).collect()
}

/// One of them.
pub(crate) fn any(model: &Model, rng: &mut Rng) -> Layer {
    let mut world = model.nodes.clone();
    for (node, left) in world.iter_mut().enumerate() {
        *left = match &*left {
            Node::Dir { kept, pending, .. } => {
                let mut names = kept.clone();
                // Most disks keep the order; some keep nothing of it.
                let (ordered, first) = (rng.below(2) == 0, rng.below(pending.len() + 1));
                for (at, change) in pending.iter().enumerate() {
                    let arrives = if ordered { at < first } else { rng.below(2) == 0 };
                    apply(&mut names, change, if arrives { 1 + rng.below(8) / 7 } else { 0 });
                }
                on_disk_dir(names)
            }
            Node::File { seen, kept, .. } if seen != kept => {
                let mut all = torn(kept, seen, &stale(model, node));
                on_disk_file(all.swap_remove(rng.below(all.len())))
            }
            Node::File { kept, .. } => on_disk_file(kept.clone()),
        };
    }
    Layer::of(unpacked(packed(&world)))
}

/// What is left when nothing arrived but what was synced.
pub(crate) fn least(model: &Model) -> Layer {
    let on_disk = |node: &Node| match node {
        Node::File { kept, .. } => on_disk_file(kept.clone()),
        Node::Dir { kept, .. } => on_disk_dir(kept.clone()),
    };
    Layer::of(model.nodes.iter().map(on_disk).collect())
}

fn on_disk_file(bytes: Vec<u8>) -> Node {
    Node::File { seen: bytes.clone(), kept: bytes, given_up: false }
}

fn on_disk_dir(names: Names) -> Node {
    Node::Dir { seen: names.clone(), kept: names, pending: Vec::new() }
}

fn product(worlds: &[Vec<Node>], node: usize, versions: &[Node]) -> Vec<Vec<Node>> {
    let with = |world: &Vec<Node>, version: &Node| {
        let mut world = world.clone();
        world[node] = version.clone();
        world
    };
    worlds.iter().flat_map(|world| versions.iter().map(move |it| with(world, it))).collect()
}

/// Every set of changes that may have arrived: each not, or wholly, or a move with its old name still there.
fn subsets(kept: &Names, pending: &[Change]) -> BTreeSet<Names> {
    let mut found = BTreeSet::from([kept.clone()]);
    for change in pending {
        let before: Vec<_> = found.iter().cloned().collect();
        for names in before {
            for how in 1..=2 {
                let mut names = names.clone();
                apply(&mut names, change, how);
                found.insert(names);
            }
        }
    }
    found
}

fn apply(names: &mut Names, change: &Change, how: usize) {
    match change {
        _ if how == 0 => (),
        Change::Made(name, node) => drop(names.insert(name.clone(), *node)),
        Change::Removed(name, node) => {
            if names.get(name) == Some(node) {
                names.remove(name);
            }
        }
        Change::Moved(from, to, node) => {
            if how == 1 && names.get(from) == Some(node) {
                names.remove(from);
            }
            names.insert(to.clone(), *node);
        }
    }
}

/// What may be there of bytes that were not synced: any length, up to a block; any one block, or all, not arrived.
fn torn(kept: &[u8], seen: &[u8], stale: &[u8]) -> Vec<Vec<u8>> {
    let block = match seen.len() {
        0..=512 => 64,
        513..=4096 => 512,
        _ => 4096,
    };
    let blocks = seen.len().div_ceil(block);
    let mut found = BTreeSet::from([kept.to_vec(), Vec::new()]);
    for length in (0..=blocks).map(|it| (it * block).min(seen.len())) {
        let whole = &seen[..length];
        found.insert(whole.to_vec());
        let zeros = |bytes: &mut [u8]| bytes.fill(0);
        let others = |bytes: &mut [u8]| bytes.iter_mut().zip(stale.iter().cycle()).for_each(|(to, from)| *to = *from);
        for lost in 0..=blocks {
            let range = if lost == blocks { 0..length } else { (lost * block).min(length)..((lost + 1) * block).min(length) };
            for fill in [&zeros as &dyn Fn(&mut [u8]), &others] {
                let mut bytes = whole.to_vec();
                fill(&mut bytes[range.clone()]);
                found.insert(bytes);
            }
        }
    }
    found.into_iter().collect()
}

/// What a block holds that never arrived: what another file had there.
fn stale(model: &Model, node: usize) -> Vec<u8> {
    let others = model.nodes.iter().enumerate().filter(|(it, _)| *it != node);
    let bytes = others.filter_map(|(_, it)| match it {
        Node::File { kept, .. } if !kept.is_empty() => Some(kept.clone()),
        Node::File { .. } | Node::Dir { .. } => None,
    });
    bytes.max_by_key(Vec::len).unwrap_or_else(|| vec![0xff])
}

fn reachable(world: &[Node]) -> Vec<usize> {
    let mut found = vec![0];
    let mut next = 0;
    while next < found.len() {
        if let Node::Dir { seen, .. } = &world[found[next]] {
            found.extend(seen.values());
        }
        next += 1;
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// A state without what no path reaches, so that two that look alike are one.
type Packed = Vec<(usize, Result<Names, Vec<u8>>)>;

fn packed(world: &[Node]) -> Packed {
    let shown = |node: usize| match &world[node] {
        Node::File { seen, .. } => Err(seen.clone()),
        Node::Dir { seen, .. } => Ok(seen.clone()),
    };
    reachable(world).into_iter().map(|node| (node, shown(node))).collect()
}

fn unpacked(packed: Packed) -> Vec<Node> {
    let last = packed.last().map_or(0, |(node, _)| *node);
    let mut nodes = vec![on_disk_file(Vec::new()); last + 1];
    for (node, what) in packed {
        nodes[node] = match what {
            Ok(names) => on_disk_dir(names),
            Err(bytes) => on_disk_file(bytes),
        };
    }
    nodes
}
