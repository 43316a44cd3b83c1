//! Images in the open registry, named as the cloud names them.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::fake::Service;
use crate::lab::{Lab, REGISTRY};

/// A service of a small image in the registry, named as this cloud names images: by place and digest.
pub(crate) fn service(lab: &Lab, name: &str, program: &str) -> Service {
    static PUSHED: LazyLock<Mutex<BTreeMap<String, String>>> = LazyLock::new(Mutex::default);
    let mut pushed = PUSHED.lock().unwrap_or_else(PoisonError::into_inner);
    let image = pushed.entry(name.to_owned()).or_insert_with(|| {
        lab.registry();
        let place = format!("127.0.0.1:{REGISTRY}/v2/{}", hex::encode(&Sha256::digest(name)[..16]));
        lab.load(&format!("{place}:latest"), 0);
        lab.docker(&["push", "-q", &format!("{place}:latest")]);
        lab.docker(&["image", "inspect", "--format", "{{index .RepoDigests 0}}", &format!("{place}:latest")]).trim().to_owned()
    });
    let place = image.split('@').next().expect("it has a place");
    for it in [&*image, &format!("{place}:latest")] {
        lab.forget(it);
    }
    let command = if program.is_empty() { json!({}) } else { json!({"command": ["sh", "-c", program]}) };
    let composition = command.as_object().cloned().unwrap_or_default();
    Service { name: name.to_owned(), image: image.clone(), composition, ..Service::default() }
}
