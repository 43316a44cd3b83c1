//! Decoding an engine's responses and encoding requests to it, without an engine: for tests that make up the responses.
//!
//! Each function calls what the engine's adapter itself calls, and adds nothing. The agent calls none of them.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::linux::engine::connection::{self, EngineFacts};
use crate::linux::engine::json::EngineJson;
use crate::linux::engine::logs::{Framing, LogParser};
use crate::linux::engine::registry::manifest::{self, EngineMachine, ManifestKind};
use crate::linux::engine::{Engine, decode, described, encode, labels, login, pull, resources, snapshots};
use crate::port::EngineSnapshot;
use crate::sorted::SortedMap;
use crate::state::{ConfigHash, ContainerSpec, DownloadProgress, Origin, ServiceKey};

/// An engine's responses.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EngineResponses {
    containers: Vec<Value>,
    /// For each container in turn; the last one counts for all that follow.
    inspected: Vec<Value>,
    image: Value,
    images: Vec<Value>,
    networks: Vec<Value>,
    volumes: Vec<Value>,
    pull: Vec<Value>,
    events: Vec<Value>,
    time: String,
}

/// The snapshot from these responses, and the progress reports of the pull. `None`: they are no engine's responses.
#[must_use]
pub fn decode(responses: &[u8], engine: &Engine) -> Option<(EngineSnapshot, Vec<DownloadProgress>)> {
    let responses: EngineResponses = serde_json::from_slice(responses).ok()?;
    let mut facts = EngineFacts::default();
    facts.since = connection::instant(&responses.time);
    let image = EngineJson(json!({"Config": responses.image}));
    let objects = |list: Vec<Value>| list.into_iter().map(EngineJson).collect::<Vec<_>>();
    let mut inspected = objects(responses.inspected).into_iter();
    let mut last = EngineJson::default();
    let containers = objects(responses.containers).iter().filter_map(described::ListedContainer::new).collect::<Vec<_>>();
    let containers = containers.into_iter().filter_map(|listed| {
        last = inspected.next().unwrap_or_else(|| last.clone());
        let made = match listed.labels.get(labels::CONFIG) {
            Some(hash) => Origin::Ours(ConfigHash(hash.clone())),
            None => Origin::Adopted(Box::new(decode::foreign(&last, &image, &facts))),
        };
        described::container(&listed, &last, made)
    });
    let containers = containers.collect();
    for event in responses.events {
        let _ = engine.concerns(&EngineJson(event));
    }
    let mut layers = pull::PullProgress::default();
    let mut progress = Vec::new();
    for line in responses.pull {
        layers.take(&EngineJson(line));
        let _ = layers.room_bytes();
        progress.extend(layers.rise());
    }
    let images = objects(responses.images).iter().filter_map(resources::image).collect();
    let networks = resources::networks(objects(responses.networks).into_iter().filter(resources::is_ours).collect());
    let volumes = objects(responses.volumes);
    let snapshots = snapshots::snapshots(volumes.iter());
    let volumes = resources::volumes(volumes.iter());
    Some((EngineSnapshot { containers, images, networks, volumes, snapshots }, progress))
}

/// The request that creates a container, as JSON.
#[must_use]
pub fn create_request(spec: &ContainerSpec) -> String {
    encode::body(spec, None).to_string()
}

/// The service that labels name, and the labels that are their owner's.
#[must_use]
pub fn service_and_labels(labels: &SortedMap<String, String>) -> (Option<ServiceKey>, SortedMap<String, String>) {
    (labels::service(labels), labels::of_owner(labels))
}

/// A name in a document, from one on the engine.
#[must_use]
pub fn name_in_document<'a>(name: &'a str, labels: &SortedMap<String, String>) -> &'a str {
    labels::in_document(name, labels)
}

/// A container's environment.
#[must_use]
pub fn env(list: &[String]) -> SortedMap<String, String> {
    decode::env(list)
}

/// The texts of a container's log, which arrives in these parts; and whether it was one to its end.
#[must_use]
pub fn log_lines<'a>(has_terminal: bool, parts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, bool) {
    let mut parser = LogParser::new(if has_terminal { Framing::Raw } else { Framing::Multiplexed });
    let mut texts = Vec::new();
    let is_log = parts.into_iter().all(|it| parser.parse(it, &mut |line| texts.push(line.text)).is_ok());
    if is_log {
        parser.finish(&mut |line| texts.push(line.text));
    }
    (texts, is_log)
}

/// Whether a file of credentials has some for the registry of an image. `None`: the file is not as `docker login` writes it.
#[must_use]
pub fn has_login(file: &[u8], image: &str) -> Option<bool> {
    login::parse(file, login::registry(image)).ok().map(|it| matches!(it, login::RegistryLogin::Found(_)))
}

/// Compressed bytes of an image's layers, from a registry's document. `None`: it gives none.
#[must_use]
pub fn compressed_bytes(document: &[u8]) -> Option<u64> {
    let machine = EngineMachine { arch: "arm".to_owned(), kernel: "armv7l".to_owned() };
    match manifest::read(document, &machine) {
        Ok(ManifestKind::Image(found)) => Some(manifest::bytes(&found.layers)),
        Ok(ManifestKind::Index(_)) | Err(_) => None,
    }
}
