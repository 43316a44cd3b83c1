//! Credentials for registries, from a `config.json` as `docker login` writes it.

use std::io;
use std::path::Path;

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine as _, alphabet};
use bollard::auth::DockerCredentials;
use serde::Deserialize;

use crate::linux::{off_thread, read_small, without_mark};
use crate::port::EngineError;
use crate::sorted::SortedMap;
use crate::state::Secret;

/// The registry of references that name none, and its names in a `config.json`.
const HUB: &str = "docker.io";
const HUB_NAMES: [&str; 3] = ["index.docker.io", "docker.io", "registry-1.docker.io"];

const STANDARD_INDIFFERENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// What a `config.json` says about a registry.
#[derive(Debug, PartialEq)]
pub(super) enum RegistryLogin {
    /// Nothing.
    None,
    /// A credential helper has the credentials.
    Helper,
    /// These credentials.
    Found(Box<DockerCredentials>),
    /// Nothing, and the registry is the cloud's: the device's own credentials there.
    Device(Box<DockerCredentials>),
}

impl RegistryLogin {
    pub(super) fn device(registry: &str, user: String, key: &Secret) -> Self {
        Self::Device(Box::new(DockerCredentials {
            username: Some(user),
            password: Some(key.reveal().to_owned()),
            serveraddress: Some(registry.to_owned()),
            ..DockerCredentials::default()
        }))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    auths: SortedMap<String, Auth>,
    #[serde(rename = "credHelpers")]
    helpers: SortedMap<String, String>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Auth {
    #[serde(rename = "auth")]
    pair: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// The registry an image comes from.
pub(super) fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => HUB,
    }
}

/// Whether a registry is the default one, for references that name none.
pub(super) fn is_hub(registry: &str) -> bool {
    HUB_NAMES.contains(&registry)
}

/// What the file says about a registry. A missing file says nothing.
pub(super) async fn read(path: &Path, registry: &str) -> Result<RegistryLogin, EngineError> {
    let refused = |why: String| EngineError::Refused(format!("cannot read credentials from {}: {why}", path.display()));
    let file = path.to_owned();
    match off_thread(move || read_small(&file)).await.unwrap_or_else(|why| Err(io::Error::other(why))) {
        // The parser's error message would repeat a secret.
        Ok(bytes) => parse(&bytes, registry).map_err(|line| refused(format!("line {line} is not as `docker login` writes it"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(RegistryLogin::None),
        Err(error) => Err(refused(error.to_string())),
    }
}

pub(super) fn parse(bytes: &[u8], registry: &str) -> Result<RegistryLogin, usize> {
    let file: File = serde_json::from_slice(without_mark(bytes)).map_err(|error| error.line())?;
    let is_meant = |name: &String| {
        let host = name.split_once("://").map_or(name.as_str(), |(_, rest)| rest);
        let host = host.split_once('/').map_or(host, |(host, _)| host);
        host == registry || (registry == HUB && HUB_NAMES.contains(&host))
    };
    let found = file.auths.iter().find(|(name, _)| is_meant(name)).and_then(|(name, auth)| auth.credentials(name));
    Ok(match found {
        Some(credentials) => RegistryLogin::Found(Box::new(credentials)),
        None if file.store.is_some() || file.helpers.keys().any(is_meant) => RegistryLogin::Helper,
        None => RegistryLogin::None,
    })
}

impl Auth {
    fn credentials(&self, name: &str) -> Option<DockerCredentials> {
        let pair = self.pair.as_deref().and_then(decode).and_then(|text| {
            let (user, password) = text.split_once(':')?;
            Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
        });
        let (username, password) = match pair {
            Some((user, password)) => (Some(user), Some(password)),
            None => (self.username.clone(), self.password.clone()),
        };
        let token = self.identitytoken.clone().filter(|it| !it.is_empty());
        let registry = self.registrytoken.clone().filter(|it| !it.is_empty());
        // A credential helper leaves an entry without a secret.
        (password.is_some() || token.is_some() || registry.is_some()).then(|| DockerCredentials {
            username,
            password,
            identitytoken: token,
            registrytoken: registry,
            serveraddress: Some(name.to_owned()),
            ..DockerCredentials::default()
        })
    }
}

/// Text from base64 in the standard alphabet; padding may be missing.
fn decode(text: &str) -> Option<String> {
    let bytes = STANDARD_INDIFFERENT.decode(text.trim()).ok()?;
    String::from_utf8(bytes).ok().filter(|it| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(file: &str, image: &str) -> Option<String> {
        match parse(file.as_bytes(), registry(image)).unwrap() {
            RegistryLogin::Found(credentials) => credentials.password,
            RegistryLogin::None | RegistryLogin::Helper | RegistryLogin::Device(_) => None,
        }
    }

    #[test]
    fn the_registry_of_an_image_is_told_from_a_directory() {
        for (image, host) in [("app:1", HUB), ("me/app:1", HUB), ("r.io/app:1", "r.io"), ("localhost/a:1", "localhost")] {
            assert_eq!(registry(image), host);
        }
        assert_eq!(registry("127.0.0.1:5000/a/b@sha256:ab"), "127.0.0.1:5000");
    }

    #[test]
    fn credentials_are_found_however_the_registry_is_written() {
        let file = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "bWU6aHVi"}, "r.io": {"username": "me", "password": "own"},
            "http://127.0.0.1:5000": {"auth": "bWU6cGE6c3M="}}}"#;
        assert_eq!(password(file, "me/app").as_deref(), Some("hub"));
        assert_eq!(password(file, "r.io/app").as_deref(), Some("own"));
        assert_eq!(password(file, "127.0.0.1:5000/app").as_deref(), Some("pa:ss"));
        assert_eq!(password(file, "other.io/app"), None);
    }

    #[test]
    fn a_helper_is_named_and_a_broken_file_tells_no_secret() {
        let helper = br#"{"auths": {"r.io": {}}, "credsStore": "desktop"}"#;
        assert_eq!(parse(helper, "r.io"), Ok(RegistryLogin::Helper));
        assert_eq!(parse(b"{\n \"auths\": \"secret\"}", "r.io"), Err(2));
    }

    #[tokio::test]
    async fn credentials_without_end_are_not_read_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        std::fs::write(&path, format!("{{}}{}", " ".repeat(256 * 1024 - 2))).unwrap();
        assert_eq!(read(&path, "r.io").await, Ok(RegistryLogin::None));
        std::fs::write(&path, format!("{{}}{}", " ".repeat(256 * 1024 - 1))).unwrap();
        let error = read(&path, "r.io").await.unwrap_err().to_string();
        assert!(error.contains("auth.json") && error.contains("longer than 256 kB"), "{error}");
    }
}
