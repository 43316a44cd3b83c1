//! The device's own login at the registry of its cloud.

use std::cell::RefCell;
use std::rc::Rc;

use crate::state::Secret;
use crate::state::cloud::CloudAccount;

/// The login of the device at its cloud's registry. The cloud's client says which account it is, and pulls use it.
///
/// The key goes to the cloud's registry only: in local mode a target may name any other.
#[derive(Debug, Clone, Default)]
pub struct CloudLogin(Rc<RefCell<CloudLoginParts>>);

#[derive(Debug, Default)]
struct CloudLoginParts {
    registry: Option<String>,
    account: Option<(String, Secret)>,
}

impl CloudLogin {
    /// A login at this registry, `registry.example.com:443`, once there is an account.
    pub fn new(registry: Option<String>) -> Self {
        Self(Rc::new(RefCell::new(CloudLoginParts { registry, account: None })))
    }

    /// The cloud's registry is another.
    pub fn set_registry(&self, registry: Option<String>) {
        self.0.borrow_mut().registry = registry;
    }

    /// The cloud is asked with this account.
    pub(super) fn set_account(&self, account: &CloudAccount) {
        self.0.borrow_mut().account = Some((account.uuid.clone(), account.key.clone()));
    }

    /// The device has left its cloud.
    pub fn forget(&self) {
        *self.0.borrow_mut() = CloudLoginParts::default();
    }

    /// User and password for an image, if its registry is the cloud's: the one that `config.json` names; where it names none,
    /// one whose images are named as clouds name them. `path`: what follows the host.
    pub(super) fn at(&self, registry: &str, path: &str) -> Option<(String, Secret)> {
        let parts = self.0.borrow();
        let bare = |it: &str| it.strip_suffix(":443").unwrap_or(it).to_ascii_lowercase();
        let is_clouds = match &parts.registry {
            Some(named) => bare(named) == bare(registry),
            None => is_cloud_path(path),
        };
        let (uuid, key) = parts.account.as_ref().filter(|_| is_clouds)?;
        Some((format!("d_{uuid}"), key.clone()))
    }
}

/// `/v2/`, 32 hex digits, perhaps a tag, and a digest: how clouds name the images of releases.
fn is_cloud_path(path: &str) -> bool {
    let is_hex = |it: &str, digits| it.len() == digits && it.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
    let Some((name, digest)) = path.strip_prefix("/v2/").and_then(|it| it.split_once("@sha256:")) else { return false };
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    is_hex(name, 32) && is_hex(digest, 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_for_the_clouds_registry_only() {
        let login = CloudLogin::new(Some("registry.example:5000".to_owned()));
        assert!(login.at("registry.example:5000", "/a:1").is_none(), "the device is not registered yet");
        let account =
            CloudAccount { endpoint: String::new(), logs_endpoint: None, uuid: "ab".into(), key: Secret::new("k".into()) };
        login.set_account(&account);
        let (user, key) = login.at("registry.example:5000", "/a:1").unwrap();
        assert_eq!((user.as_str(), key.reveal()), ("d_ab", "k"));
        assert!(login.at("registry.example", "/a:1").is_none() && login.at("docker.io", "").is_none());
        login.set_registry(None);
        assert!(login.at("registry.example:5000", "/a:1").is_none());
    }

    #[test]
    fn where_no_registry_is_named_the_clouds_is_known_by_how_it_names_images() {
        const NAME: &str = "/v2/fe7d961e053eb6995aac9085772d80b8";
        let login = CloudLogin::default();
        let account =
            CloudAccount { endpoint: String::new(), logs_endpoint: None, uuid: "ab".into(), key: Secret::new("k".into()) };
        login.set_account(&account);
        let digest = format!("@sha256:{}", "0d".repeat(32));
        for path in [format!("{NAME}{digest}"), format!("{NAME}:latest{digest}")] {
            assert!(login.at("registry3.example", &path).is_some(), "{path}");
        }
        for path in [
            format!("{NAME}:latest"),
            format!("{NAME}/more{digest}"),
            format!("/my{NAME}{digest}"),
            format!("{NAME}0{digest}"),
            format!("{NAME}@sha256:ab"),
            format!("/v2/FE7D961E053EB6995AAC9085772D80B8{digest}"),
            format!("v2/fe7d961e053eb6995aac9085772d80b8{digest}"),
            String::new(),
        ] {
            assert!(login.at("registry3.example", &path).is_none(), "{path}");
        }
        login.set_registry(Some("Registry.example".to_owned()));
        assert!(login.at("registry3.example", &format!("{NAME}{digest}")).is_none(), "a target could name any host");
        assert!(login.at("registry.example:443", "/a").is_some());
        login.forget();
        assert!(login.at("registry3.example", &format!("{NAME}{digest}")).is_none());
        assert!(login.at("registry.example", "/a").is_none());
    }
}
