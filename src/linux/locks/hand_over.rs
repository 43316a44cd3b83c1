//! Directories of update locks that an engine created for root alone become the agent's.
//!
//! An engine creates the missing directories of a mount as root, with mode 0755: at boot, where `/tmp` is emptied, and before
//! the agent runs. An agent that is not root cannot lock services there. Root gives it these directories, and no others: every
//! level is opened relative to the one above and without following a link, and what is changed is what was opened. The agent's
//! user may write in all levels but the first, so whatever it renames meanwhile, a directory elsewhere is never reached.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Gid, Uid};

use crate::port::{FileError, LockError};
use crate::state::AppId;

use super::tree::dir::OpenDir;
use super::tree::{PRIVATE, SHARED};

/// The user and the group that the agent runs as.
#[derive(Debug, Clone, Copy)]
struct Agent {
    uid: Uid,
    gid: Gid,
}

/// Gives the owner of `state_dir` the directories of update locks below a host's root. Needs root. Goes on after an error, and
/// returns the first.
pub fn hand_over(root: &Path, state_dir: &Path) -> Result<(), LockError> {
    let owner = fs::symlink_metadata(state_dir)
        .map_err(|why| LockError::File(FileError::new("look at", state_dir.display().to_string(), &why)))?;
    let agent = Agent { uid: Uid::from_raw(owner.uid()), gid: Gid::from_raw(owner.gid()) };
    let tmp = OpenDir::trusted(&root.join("tmp"), "/tmp")?;
    let Some(base) = tmp.open(c"balena-supervisor")? else { return Ok(()) };
    let uid = base.owner()?;
    // Any user can write in /tmp.
    if !uid.is_root() && uid != agent.uid {
        let path = base.shown();
        return Err(LockError::Failed(format!("`{path}` belongs to uid {}: remove it", uid.as_raw())));
    }
    base.give(agent.uid, agent.gid, PRIVATE)?;
    let Some(services) = base.open(c"services")? else { return Ok(()) };
    services.give(agent.uid, agent.gid, PRIVATE)?;
    let apps = services.directories()?.into_iter().filter(is_app);
    apps.map(|app| hand_over_app(&services, &app, agent)).fold(Ok(()), Result::and)
}

fn hand_over_app(services: &OpenDir, name: &CString, agent: Agent) -> Result<(), LockError> {
    let Some(app) = services.open(name)? else { return Ok(()) };
    app.give(agent.uid, agent.gid, PRIVATE)?;
    let services = app.directories()?.into_iter();
    services
        .map(|service| match app.open(&service)? {
            Some(service) => service.give(agent.uid, agent.gid, SHARED),
            // It was replaced by something else meanwhile.
            None => Ok(()),
        })
        .fold(Ok(()), Result::and)
}

fn is_app(name: &CString) -> bool {
    name.to_str().is_ok_and(|it| it.parse().map(AppId).is_ok_and(|app| app.to_string() == it))
}
