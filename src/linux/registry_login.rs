//! The device's own login at the registry of its cloud.

use std::cell::RefCell;
use std::rc::Rc;

use crate::state::Secret;
use crate::state::cloud::CloudAccount;

/// The login of the device at its cloud's registry. The cloud's client says which account it is, and pulls use it.
///
/// The key goes to this registry only: in local mode a target may name any other.
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

    /// User and password at a registry, if it is the cloud's.
    pub(super) fn at(&self, registry: &str) -> Option<(String, Secret)> {
        let parts = self.0.borrow();
        let (uuid, key) = parts.account.as_ref().filter(|_| parts.registry.as_deref() == Some(registry))?;
        Some((format!("d_{uuid}"), key.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_for_the_clouds_registry_only() {
        let login = CloudLogin::new(Some("registry.example:5000".to_owned()));
        assert!(login.at("registry.example:5000").is_none(), "the device is not registered yet");
        let account =
            CloudAccount { endpoint: String::new(), logs_endpoint: None, uuid: "ab".into(), key: Secret::new("k".into()) };
        login.set_account(&account);
        let (user, key) = login.at("registry.example:5000").unwrap();
        assert_eq!((user.as_str(), key.reveal()), ("d_ab", "k"));
        assert!(login.at("registry.example").is_none() && login.at("docker.io").is_none());
        login.set_registry(None);
        assert!(login.at("registry.example:5000").is_none());
    }
}
