//! The lock tree: `/tmp/balena-supervisor/services/<app>/<service>/`.

use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, Uid};
use tracing::warn;

use crate::port::LockError;
use crate::sorted::{SortedSet, sort};
use crate::state::{AppId, Force, HeldLock, LockHolders, LockState, ServiceKey};

pub(super) mod dir;

use dir::{EntryKind, OpenDir};

/// The files of a lock. A supervisor creates both; either one holds up updates.
const FILES: [&CStr; 2] = [c"updates.lock", c"resin-updates.lock"];
/// Any file with this suffix is a lock.
const LOCK_SUFFIX: &[u8] = b"updates.lock";
/// The files by which a new container reports that it is ready: the present name, and that of 2017.
const HANDOVER_FILES: [&CStr; 2] = [c"handover-complete", c"resin-kill-me"];
/// Owner of the locks that supervisors create.
const OWNER: Uid = Uid::from_raw_unchecked(65534);
/// The content of the agent's locks, for the user.
const LOCK_TEXT: &[u8] = b"boardkeeper\n";
/// The mode of the agent's locks. The sticky bit tells them from files of a service with the same uid: it takes no space, and
/// means nothing else.
const MARKED: Mode = Mode::from_raw_mode(0o1644);
/// The mode of the files that other supervisors create with the tool `lockfile`.
const LOCKFILE: Mode = Mode::from_raw_mode(0o444);
/// The most that this tool writes into a lock, in bytes: `0`.
const LOCKFILE_BYTES: u64 = 1;
/// The temporary name of a lock in the making, in the app's directory, which no container sees.
const DRAFT: &CStr = c".draft.lock";
/// Only the agent may write in it.
pub(super) const PRIVATE: Mode = Mode::from_raw_mode(0o755);
/// As `/tmp`: a service that is not root may lock too, and may not remove the agent's files.
pub(super) const SHARED: Mode = Mode::from_raw_mode(0o1777);
/// How often to retry if a program takes a lock as fast as it is removed.
const ATTEMPTS: usize = 3;

/// Where the locks are, and how the agent's are told from others.
#[derive(Debug, Clone)]
pub(super) struct LockTree {
    tmp: PathBuf,
    own_locks: OwnLocks,
}

#[derive(Debug, Clone, Copy)]
enum OwnLocks {
    /// By the owner that supervisors give their locks, and by the mode.
    Owner,
    /// By the agent's uid and the mode.
    Mark(Uid),
}

/// The locks in a service's directory.
#[derive(Debug, Default)]
struct FoundLocks {
    ours: SortedSet<CString>,
    others: Vec<(CString, HeldLock)>,
}

impl LockTree {
    pub(super) fn new(root: &Path) -> Self {
        let uid = rustix::process::geteuid();
        let own_locks = if uid.is_root() { OwnLocks::Owner } else { OwnLocks::Mark(uid) };
        Self { tmp: root.join("tmp"), own_locks }
    }

    /// The locks as an agent of this user would see them.
    #[cfg(test)]
    pub(super) fn by_mark(root: &Path, uid: Uid) -> Self {
        Self { tmp: root.join("tmp"), own_locks: OwnLocks::Mark(uid) }
    }

    /// Who holds the locks of an app, of which these services can hold one. `None`: there is none. A service whose directory
    /// cannot be opened holds one: it made the directory so, and may have a lock there.
    pub(super) fn look(&self, app: AppId, holders: &LockHolders) -> Result<Option<LockState>, LockError> {
        let Some(dir) = self.app(app)? else { return Ok(None) };
        let mut whole = SortedSet::new();
        let mut any = false;
        let mut held = None;
        for service in dir.directories()? {
            let survey = match dir.open(&service).and_then(|it| it.map(|it| self.survey(&it, &service)).transpose()) {
                Ok(Some(survey)) => survey,
                Ok(None) => continue,
                Err(why) => {
                    FoundLocks { others: vec![(service.clone(), out_of_sight(&dir, &service, &why))], ..FoundLocks::default() }
                }
            };
            if holders.may_hold(&service.to_string_lossy()) {
                held = held.or_else(|| survey.others.into_iter().next().map(|(_, it)| it));
            }
            any |= !survey.ours.is_empty();
            if FILES.iter().all(|file| survey.ours.contains(*file)) {
                whole.insert(service.to_string_lossy().into_owned());
            }
        }
        // Half a lock of an earlier run of the agent counts, so that it is released.
        Ok(match (held, any) {
            (Some(held), true) => Some(LockState::Both(held)),
            (Some(held), false) => Some(LockState::Held(held)),
            (None, true) => Some(LockState::Ours(whole)),
            (None, false) => None,
        })
    }

    /// Apps that have a directory.
    pub(super) fn apps(&self) -> Result<SortedSet<AppId>, LockError> {
        let Some(services) = self.services()? else { return Ok(SortedSet::new()) };
        let app = |name: CString| name.to_str().ok().and_then(|it| it.parse().ok()).map(AppId);
        Ok(services.directories()?.into_iter().filter_map(app).collect())
    }

    /// Takes all of these locks, or none.
    pub(super) fn take(&self, app: AppId, services: &SortedSet<String>, force: Force) -> Result<(), LockError> {
        let taken = self.take_all(app, services, force);
        if taken.is_err()
            && let Err(error) = self.release(app)
        {
            warn!(%app, %error, "update locks of the agent are left behind");
        }
        taken
    }

    /// Removes the agent's locks, also if one service's directory cannot be read. Returns the first error.
    pub(super) fn release(&self, app: AppId) -> Result<(), LockError> {
        let Some(dir) = self.app(app)? else { return Ok(()) };
        let all = dir.directories()?.into_iter().map(|service| self.release_one(&dir, &service));
        all.fold(Ok(()), Result::and).and(dir.remove(DRAFT))
    }

    /// Removes the files by which a service reports that it is ready.
    pub(super) fn forget_signals(&self, key: &ServiceKey) -> Result<(), LockError> {
        let Some(app) = self.app(key.app)? else { return Ok(()) };
        let Some(dir) = app.open(&named(&key.service)?)? else { return Ok(()) };
        HANDOVER_FILES.iter().try_for_each(|signal| dir.remove(signal))
    }

    /// The directory of a service, created if it is missing.
    pub(super) fn service(&self, key: &ServiceKey) -> Result<OpenDir, LockError> {
        let app = self.make_app(key.app)?;
        Self::make_service(&app, &named(&key.service)?)
    }

    /// Whether the service reported that it is ready.
    pub(super) fn is_signalled(&self, key: &ServiceKey) -> Result<bool, LockError> {
        let service = self.service(key)?;
        for signal in HANDOVER_FILES {
            if service.kind(signal)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The directory of all app directories, created if it is missing.
    pub(super) fn make_services(&self) -> Result<OpenDir, LockError> {
        let tmp = OpenDir::trusted(&self.tmp, "/tmp")?;
        // A program written for the supervisor of 2017 looks here. If the name is taken, it stays.
        let _ = tmp.link_to(c"resin-supervisor", c"/tmp/balena-supervisor");
        let base = self.make_own(&tmp, c"balena-supervisor")?;
        self.make_own(&base, c"services")
    }

    /// Keeps `systemd-tmpfiles` from cleaning up the tree, as long as the handle lives: it skips locked directories.
    pub(super) fn keep(&self) -> Option<OpenDir> {
        let tmp = OpenDir::trusted(&self.tmp, "/tmp").ok()?;
        let base = tmp.open(c"balena-supervisor").ok()??;
        rustix::fs::flock(base.fd(), FlockOperation::NonBlockingLockShared).ok()?;
        Some(base)
    }

    fn take_all(&self, app: AppId, services: &SortedSet<String>, force: Force) -> Result<(), LockError> {
        let dir = self.make_app(app)?;
        let mut found = Vec::new();
        for service in services {
            let name = named(service)?;
            found.push((Self::make_service(&dir, &name)?, name));
        }
        // If the request will be refused anyway, no program need see the agent's lock for a moment.
        if force == Force::No {
            for (service, name) in &found {
                self.survey(service, name)?.refuse()?;
            }
        }
        found.iter().try_for_each(|(service, name)| self.take_one(&dir, service, name, force))
    }

    fn take_one(&self, app: &OpenDir, service: &OpenDir, name: &CStr, force: Force) -> Result<(), LockError> {
        for _ in 0..ATTEMPTS {
            let survey = self.survey(service, name)?;
            match force {
                Force::No => survey.refuse()?,
                Force::Yes => survey.others.iter().try_for_each(|(file, _)| service.remove(file))?,
            }
            let mut overtaken = false;
            for file in FILES.iter().filter(|file| !survey.ours.contains(**file)) {
                overtaken |= !self.make_lock(app, service, file)?;
            }
            if !overtaken {
                return Ok(());
            }
        }
        let path = service.shown();
        Err(LockError::Failed(format!(
            "cannot lock `{path}`: a program creates the lock again as soon as it is removed; stop it"
        )))
    }

    /// Creates a lock that has the agent's marks from its first moment. `false`: another program was faster.
    fn make_lock(&self, app: &OpenDir, service: &OpenDir, file: &CStr) -> Result<bool, LockError> {
        app.remove(DRAFT)?;
        let owner = match self.own_locks {
            OwnLocks::Owner => Some(OWNER),
            OwnLocks::Mark(_) => None,
        };
        app.write_new(DRAFT, LOCK_TEXT, MARKED, owner)?;
        let made = app.link(DRAFT, service, file);
        app.remove(DRAFT)?;
        made
    }

    fn release_one(&self, app: &OpenDir, name: &CStr) -> Result<(), LockError> {
        let Some(service) = app.open(name)? else { return Ok(()) };
        self.survey(&service, name)?.ours.iter().try_for_each(|file| service.remove(file))
    }

    fn survey(&self, service: &OpenDir, name: &CStr) -> Result<FoundLocks, LockError> {
        let mut survey = FoundLocks::default();
        // The two files that matter most are found in a directory of any number of names.
        let known = FILES.iter().map(|it| (*it).to_owned());
        let all: SortedSet<_> =
            service.files()?.into_iter().chain(known).filter(|it| it.to_bytes().ends_with(LOCK_SUFFIX)).collect();
        let left_behind = self.are_left_behind(service)?;
        for file in all {
            // A file that is gone by now holds nothing up.
            let Some(kind) = service.kind(&file)? else { continue };
            if self.is_ours(kind) || left_behind && FILES.contains(&&*file) {
                survey.ours.insert(file);
            } else {
                let path = format!("{}/{}", service.shown(), file.to_string_lossy());
                let held = HeldLock { service: name.to_string_lossy().into_owned(), path, since_secs: kind.changed_secs };
                survey.others.push((file, held));
            }
        }
        sort(&mut survey.others);
        Ok(survey)
    }

    fn is_ours(&self, kind: EntryKind) -> bool {
        match self.own_locks {
            OwnLocks::Owner => kind.regular && kind.uid == OWNER && kind.mode == MARKED,
            OwnLocks::Mark(uid) => kind.regular && kind.uid == uid && kind.mode == MARKED,
        }
    }

    /// Whether another supervisor created the service's lock: see the head of [`super`].
    fn are_left_behind(&self, service: &OpenDir) -> Result<bool, LockError> {
        // Only root can create such files, and remove them.
        if matches!(self.own_locks, OwnLocks::Mark(_)) {
            return Ok(false);
        }
        for file in FILES {
            let made = |it: EntryKind| it.regular && it.uid == OWNER && it.gid.is_root() && it.mode == LOCKFILE;
            if !service.kind(file)?.is_some_and(|it| made(it) && it.bytes <= LOCKFILE_BYTES) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn services(&self) -> Result<Option<OpenDir>, LockError> {
        let Some(base) = OpenDir::trusted(&self.tmp, "/tmp")?.open(c"balena-supervisor")? else { return Ok(None) };
        base.open(c"services")
    }

    fn app(&self, app: AppId) -> Result<Option<OpenDir>, LockError> {
        let Some(services) = self.services()? else { return Ok(None) };
        services.open(&named(&app.to_string())?)
    }

    fn make_app(&self, app: AppId) -> Result<OpenDir, LockError> {
        self.make_own(&self.make_services()?, &named(&app.to_string())?)
    }

    /// A directory that only the agent writes in. Any user can write in `/tmp`, so another program may have created it first.
    fn make_own(&self, parent: &OpenDir, name: &CStr) -> Result<OpenDir, LockError> {
        let dir = parent.make(name, PRIVATE)?;
        let uid = dir.owner()?;
        match self.own_locks {
            OwnLocks::Owner if !uid.is_root() => {
                let path = dir.shown();
                Err(LockError::Failed(format!("`{path}` belongs to uid {}, not to root: remove it", uid.as_raw())))
            }
            OwnLocks::Owner | OwnLocks::Mark(_) => Ok(dir),
        }
    }

    fn make_service(app: &OpenDir, name: &CStr) -> Result<OpenDir, LockError> {
        let dir = app.make(name, SHARED)?;
        // An engine that mounts a missing directory creates it for root alone.
        dir.widen(PRIVATE, SHARED);
        Ok(dir)
    }
}

/// The lock that a service may have in a directory that the agent cannot open.
fn out_of_sight(app: &OpenDir, name: &CStr, why: &LockError) -> HeldLock {
    let since_secs = app.kind(name).ok().flatten().map_or(0, |it| it.changed_secs);
    HeldLock { service: name.to_string_lossy().into_owned(), path: why.to_string(), since_secs }
}

impl FoundLocks {
    fn refuse(&self) -> Result<(), LockError> {
        self.others.first().map_or(Ok(()), |(_, held)| Err(LockError::Held(held.clone())))
    }
}

/// A name that leads to an entry of this very directory.
fn named(name: &str) -> Result<CString, LockError> {
    let wrong = || LockError::Failed(format!("`{name}` cannot be the name of a lock directory: rename the service"));
    if matches!(name, "" | "." | "..") || name.contains('/') {
        return Err(wrong());
    }
    CString::new(name).map_err(|_| wrong())
}
