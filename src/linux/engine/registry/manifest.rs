//! A registry's documents. The two kinds there are, OCI's and Docker's, have the same fields where it matters.

use serde::Deserialize;

use crate::sorted::SortedMap;

/// The media types a manifest is requested as.
pub(super) const KINDS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// Size limit of a document, in bytes. Registries take manifests of at most 4 MiB.
pub(super) const DOCUMENT_BYTES: usize = 4 * 1024 * 1024;

/// The machine an engine runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::linux::engine) struct EngineMachine {
    /// Its architecture as images name it: `arm64`, `arm`.
    pub arch: String,
    /// Its architecture as the kernel names it: `armv6l` can run less than `armv7l`.
    pub kernel: String,
}

/// The content of one document.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::linux::engine) enum ManifestKind {
    /// An index of one image for several machines: the digest for the engine's machine.
    Index(String),
    /// An image.
    Image(RemoteImage),
}

/// An image, as its registry describes it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::linux::engine) struct RemoteImage {
    /// The digest of its configuration, in which its layers have the engine's names.
    pub(super) config: String,
    /// The lowest first.
    pub(in crate::linux::engine) layers: Vec<Layer>,
}

/// A layer of an image: its digest, and its compressed size in bytes.
pub(in crate::linux::engine) type Layer = (String, u64);

#[derive(Deserialize, Default)]
#[serde(default)]
struct ManifestFile {
    manifests: Vec<Entry>,
    config: Option<Piece>,
    layers: Option<Vec<Piece>>,
}

#[derive(Deserialize)]
struct Entry {
    digest: String,
    #[serde(default)]
    platform: Platform,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Platform {
    os: String,
    architecture: String,
    variant: String,
}

#[derive(Deserialize)]
struct Piece {
    digest: String,
    size: u64,
}

#[derive(Deserialize)]
struct ImageConfig {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// Reads a document: the image in it for a machine.
pub(in crate::linux::engine) fn read(bytes: &[u8], machine: &EngineMachine) -> Result<ManifestKind, String> {
    let document: ManifestFile =
        serde_json::from_slice(bytes).map_err(|error| format!("its registry sent no manifest: {error}"))?;
    if let (Some(config), Some(layers)) = (document.config, document.layers) {
        let config = checked(config.digest)?;
        return Ok(ManifestKind::Image(RemoteImage {
            config,
            layers: layers.into_iter().map(|it| (it.digest, it.size)).collect(),
        }));
    }
    let fitting = document.manifests.into_iter().filter(|it| machine.runs(&it.platform));
    let best = fitting.max_by_key(|it| version(&it.platform.variant));
    let digest = best.ok_or_else(|| format!("its registry names no image for {}", machine.arch))?.digest;
    checked(digest).map(ManifestKind::Index)
}

/// The names of an image's layers once they are unpacked, from its configuration.
pub(super) fn diff_ids(bytes: &[u8]) -> Result<Vec<String>, String> {
    let config: ImageConfig =
        serde_json::from_slice(bytes).map_err(|error| format!("its registry sent no configuration: {error}"))?;
    Ok(config.rootfs.diff_ids)
}

/// Rejects a digest that may not stand in a path.
fn checked(digest: String) -> Result<String, String> {
    let is_one = digest.split_once(':').is_some_and(|(kind, hash)| {
        !kind.is_empty() && !hash.is_empty() && kind.bytes().chain(hash.bytes()).all(|it| it.is_ascii_alphanumeric())
    });
    if is_one { Ok(digest) } else { Err("its registry names a piece of it by what is no digest".to_owned()) }
}

/// 7 of `v7`, and of `armv7l`. 0: there is no number.
fn version(text: &str) -> u32 {
    text.trim_start_matches("arm").trim_start_matches('v').chars().next().and_then(|it| it.to_digit(10)).unwrap_or(0)
}

impl EngineMachine {
    fn runs(&self, platform: &Platform) -> bool {
        let most = version(&self.kernel);
        // On a 64-bit machine, or if the kernel's name is unknown, every variant will do.
        let known = self.arch == "arm" && most > 0;
        platform.os == "linux" && platform.architecture == self.arch && (!known || version(&platform.variant) <= most)
    }
}

impl RemoteImage {
    /// The layers to pull: those that no image here has at the same height, above the same layers. An engine keeps a layer
    /// once, but unpacks it anew above others.
    pub(super) fn missing(&self, ids: &[String], here: &[Vec<String>]) -> Result<&[Layer], String> {
        if ids.len() != self.layers.len() {
            return Err("its registry counts its layers differently in two places".to_owned());
        }
        let shared = |image: &Vec<String>| image.iter().zip(ids).take_while(|(one, other)| one == other).count();
        let shared = here.iter().map(shared).max().unwrap_or(0);
        Ok(&self.layers[shared..])
    }
}

/// Compressed bytes of layers. A layer of several images is pulled once.
pub(in crate::linux::engine) fn bytes<'a>(layers: impl IntoIterator<Item = &'a Layer>) -> u64 {
    let once: SortedMap<&str, u64> = layers.into_iter().map(|(digest, bytes)| (digest.as_str(), *bytes)).collect();
    once.values().fold(0, |sum, it| sum.saturating_add(*it))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(arch: &str, kernel: &str) -> EngineMachine {
        EngineMachine { arch: arch.to_owned(), kernel: kernel.to_owned() }
    }

    fn read_text(text: &str) -> Result<ManifestKind, String> {
        read(text.as_bytes(), &machine("arm64", "aarch64"))
    }

    #[test]
    fn an_image_tells_what_its_layers_weigh() {
        let text = r#"{"schemaVersion": 2, "config": {"digest": "sha256:c0", "size": 7},
            "layers": [{"digest": "sha256:a", "size": 100}, {"digest": "sha256:b", "size": 20}]}"#;
        let Ok(ManifestKind::Image(found)) = read_text(text) else { panic!("{:?}", read_text(text)) };
        assert_eq!((found.config.as_str(), bytes(&found.layers)), ("sha256:c0", 120));
        assert_eq!(bytes(found.layers.iter().chain(&found.layers[..1])), 120, "a layer of two images");
        let ids = ["x".to_owned(), "y".to_owned()];
        let here = |layers: &[&str]| vec![vec!["z".to_owned()], layers.iter().map(|&it| it.to_owned()).collect()];
        for (layers, missing) in
            [(vec![], 120), (vec!["x"], 20), (vec!["x", "y", "z"], 0), (vec!["y"], 120), (vec!["z", "y"], 120)]
        {
            assert_eq!(found.missing(&ids, &here(&layers)).map(bytes), Ok(missing), "{layers:?}");
        }
        assert!(found.missing(&ids[..1], &[]).is_err());
    }

    #[test]
    fn of_several_machines_ours_is_chosen() {
        let text = r#"{"manifests": [
            {"digest": "sha256:6", "size": 1, "platform": {"os": "linux", "architecture": "arm", "variant": "v6"}},
            {"digest": "sha256:7", "size": 1, "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}},
            {"digest": "sha256:64", "size": 1, "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
            {"digest": "sha256:w", "size": 1, "platform": {"os": "windows", "architecture": "arm64"}},
            {"digest": "sha256:proof", "size": 1, "platform": {"os": "unknown", "architecture": "unknown"}}]}"#;
        for (arch, kernel, digest) in [
            ("arm64", "aarch64", "sha256:64"),
            ("arm", "armv7l", "sha256:7"),
            ("arm", "armv6l", "sha256:6"),
            ("arm", "armv8l", "sha256:7"),
            ("arm", "", "sha256:7"),
        ] {
            assert_eq!(
                read(text.as_bytes(), &machine(arch, kernel)),
                Ok(ManifestKind::Index(digest.to_owned())),
                "{arch} {kernel}"
            );
        }
        assert!(read(text.as_bytes(), &machine("riscv64", "riscv64")).unwrap_err().contains("no image for riscv64"));
    }

    #[test]
    fn what_is_no_manifest_is_none() {
        for text in ["", "[]", "{}", r#"{"layers": []}"#, r#"{"schemaVersion": 1, "fsLayers": [{"blobSum": "sha256:a"}]}"#] {
            assert!(read_text(text).is_err(), "{text}");
        }
        assert!(read_text(r#"{"config": {"digest": "sha256:../../x", "size": 1}, "layers": []}"#).is_err());
        assert!(
            read_text(r#"{"config": {"digest": "sha256:a", "size": 1}, "layers": [{"digest": "x", "size": -1}]}"#).is_err()
        );
        assert!(diff_ids(b"{}").is_err());
    }

    #[test]
    fn sizes_that_nobody_could_store_do_not_wrap_around() {
        let text = format!(
            r#"{{"config": {{"digest": "sha256:a", "size": 1}}, "layers": [{{"digest": "x", "size": {0}}}, {{"digest": "y", "size": {0}}}]}}"#,
            u64::MAX
        );
        let Ok(ManifestKind::Image(found)) = read_text(&text) else { panic!("no image") };
        assert_eq!(bytes(&found.layers), u64::MAX);
        assert_eq!(found.missing(&["a".into(), "b".into()], &[]).map(bytes), Ok(u64::MAX));
    }
}
