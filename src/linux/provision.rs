//! Joining a cloud and leaving it, from outside of the agent: what is on the disk. A running agent reads it at SIGHUP.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::rc::Rc;

use crate::linux::cloud::{CloudClient, CloudClientSettings};
use crate::linux::host::provisioned;
use crate::linux::net::{VPN_DIR, openvpn};
use crate::linux::store;
use crate::linux::traffic::TrafficCounter;
use crate::linux::trust::TrustStore;
use crate::state::proxy_variables::ProxyVariables;

/// Fetches a `config.json` from an `https` URL, over the connection that the agent uses for its cloud.
pub async fn download(url: &str, root: &Path, proxies: &ProxyVariables) -> Result<Vec<u8>, String> {
    let client = CloudClient::new(CloudClientSettings {
        root: root.to_owned(),
        trust: Rc::new(TrustStore::new(root, None)),
        traffic: TrafficCounter::default(),
        user_agent: concat!("boardkeeper/", env!("CARGO_PKG_VERSION")).to_owned(),
        proxies: proxies.clone(),
    });
    // What the client says of an agent that tries again is not so of a command.
    client.download(url).await.map_err(|why| why.to_string().replace("; the agent tries again", ""))
}

/// Stores a provisioning file, readable by the agent's user only. Of the file that is there already, the fields that do not
/// concern a cloud stay unless the new one has them: the host's network, for instance.
pub fn join(path: &Path, text: &[u8], state_dir: &Path) -> Result<(), String> {
    if let Some(directory) = path.parent().filter(|it| *it == state_dir && !it.exists()) {
        fs::create_dir_all(directory).map_err(|why| failed("make", directory, &why))?;
    }
    provisioned::join(path, text)?;
    hand_over(path, state_dir)
}

/// Removes what makes the device one of a cloud: the fields of its provisioning file, its account and the VPN's files.
pub fn leave(path: &Path, state_dir: &Path) -> Result<(), String> {
    // The provisioning file first: with it, an agent that starts in between would register the device again.
    if path.exists() {
        provisioned::leave(path)?;
        hand_over(path, state_dir)?;
    }
    let copy = store::provisioned_path(state_dir);
    if copy.exists() {
        provisioned::leave(&copy)?;
        hand_over(&copy, state_dir)?;
    }
    store::remove_account(state_dir).map_err(|why| failed("remove the account in", state_dir, &why))?;
    let vpn = state_dir.join(VPN_DIR);
    openvpn::remove(&vpn).map_err(|why| failed("remove", &vpn, &why))
}

/// Gives a file to the owner of the state directory, which is the agent's user. FAT has no owners, and root needs none.
fn hand_over(path: &Path, state_dir: &Path) -> Result<(), String> {
    let (Ok(owner), Ok(file)) = (fs::metadata(state_dir), fs::metadata(path)) else { return Ok(()) };
    if (owner.uid(), owner.gid()) == (file.uid(), file.gid()) {
        return Ok(());
    }
    match chown(path, Some(owner.uid()), Some(owner.gid())) {
        Err(why) if why.kind() != io::ErrorKind::PermissionDenied => Err(failed("give the agent's user", path, &why)),
        // An agent that may not read it says so.
        _ => Ok(()),
    }
}

fn failed(verb: &str, path: &Path, why: &io::Error) -> String {
    format!("cannot {verb} `{}`: {why}; run it as root or as the agent's user", path.display())
}
