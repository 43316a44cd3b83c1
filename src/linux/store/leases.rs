//! The leases of apps. They end with the boot, so their file is in the runtime directory, where there is one, and is not
//! synced: programs renew their leases often, and flash wears.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::disk::{StateDirectory, StoreFiles};
use super::{DRAFT, RECORD_BYTES, SharedStore, failed, parsed, wire};
use crate::port::{StoreError, StoredLeases};
use crate::state::AppId;
use crate::state::lease::{Lease, Leases, MAX_OWNER_CHARS, MAX_PER_APP, MAX_REASON_CHARS, MAX_SECONDS};

/// Its file.
pub(super) const LEASES: &str = "leases.json";

#[derive(Serialize, Deserialize)]
struct LeasesFile {
    boot_id: String,
    leases: Vec<LeaseEntry>,
}

#[derive(Serialize, Deserialize)]
struct LeaseEntry {
    app: u32,
    owner: String,
    reason: String,
    seconds: u32,
    /// Milliseconds from the boot to its end.
    ends_up_ms: u64,
    /// Its end in seconds of the wall clock, for people.
    ends: i64,
}

/// The content of the file.
pub(super) fn encode(stored: &StoredLeases) -> Vec<u8> {
    let all = stored.leases.iter().flat_map(|(app, of_app)| of_app.values().map(|it| (*app, it)));
    let entry = |(app, it): (AppId, &Lease)| LeaseEntry {
        app: app.0,
        owner: it.owner.clone(),
        reason: it.reason.clone(),
        seconds: it.seconds,
        ends_up_ms: u64::try_from(it.ends_up.as_millis()).unwrap_or(u64::MAX),
        ends: it.ends_secs,
    };
    wire::json(&LeasesFile { boot_id: stored.boot_id.clone(), leases: all.map(entry).collect() })
}

/// What the API would not have granted is left out: the file is damaged, or another program wrote it.
fn decode(file: LeasesFile) -> StoredLeases {
    let mut leases: Leases = BTreeMap::new();
    for LeaseEntry { app, owner, reason, seconds, ends_up_ms, ends } in file.leases {
        let of_app = leases.entry(AppId(app)).or_default();
        let fits = of_app.len() < MAX_PER_APP && (1..=MAX_SECONDS).contains(&seconds);
        if fits && owner.chars().count() <= MAX_OWNER_CHARS && reason.chars().count() <= MAX_REASON_CHARS {
            let ends_up = Duration::from_millis(ends_up_ms);
            of_app.insert(owner.clone(), Lease { owner, reason, seconds, ends_up, ends_secs: ends });
        }
    }
    leases.retain(|_, it| !it.is_empty());
    StoredLeases { boot_id: file.boot_id, leases }
}

impl<F: StoreFiles> SharedStore<F> {
    /// Replaces the file.
    pub(super) fn keep_leases(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let _turn = self.known();
        let files = self.lease_files();
        let draft = format!(".{LEASES}{DRAFT}");
        let written = files.prepare().and_then(|()| files.write(&draft, bytes)).and_then(|()| files.rename(&draft, LEASES));
        written.map_err(|why| failed(files, "keep", LEASES, &why))
    }

    /// Reads the file. One that cannot be read counts as none, and is reported; the next save replaces it.
    pub(super) fn leases(&self, complaints: &mut Vec<String>) -> StoredLeases {
        let files = self.lease_files();
        let read = match files.read(LEASES, RECORD_BYTES) {
            Ok(bytes) => parsed(LEASES, &bytes).map(decode),
            Err(why) if why.kind() == io::ErrorKind::NotFound => return StoredLeases::default(),
            Err(why) => Err(why.to_string()),
        };
        read.unwrap_or_else(|why| {
            complaints.push(format!("`{}` cannot be read ({why}); the leases in it are over", files.shown(LEASES)));
            StoredLeases::default()
        })
    }

    fn lease_files(&self) -> &StateDirectory<F> {
        self.runtime.as_ref().unwrap_or(&self.files)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Store;
    use super::*;
    use crate::port::{Record, Store as _};
    use crate::state::TargetError;

    fn open(dir: &std::path::Path) -> Store {
        let parse = Box::new(|_: &str| Err(TargetError("none".to_owned())));
        Store::new(&dir.join("state"), parse).with_runtime_directory(&dir.join("run"))
    }

    fn stored(owner: &str, seconds: u32) -> StoredLeases {
        let (ends_up, ends_secs) = (Duration::from_millis(90_500), 1_795_443_722);
        let lease = Lease { owner: owner.to_owned(), reason: "recording".to_owned(), seconds, ends_up, ends_secs };
        let leases = BTreeMap::from([(AppId(7), BTreeMap::from([(owner.to_owned(), lease)]))]);
        StoredLeases { boot_id: "one".to_owned(), leases }
    }

    #[tokio::test]
    async fn leases_are_kept_in_the_runtime_directory_and_a_damaged_file_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).save(&Record::Leases(stored("recorder", 60))).await.unwrap();
        let read = open(dir.path()).load().await.unwrap();
        assert_eq!((read.leases, read.complaints), (stored("recorder", 60), Vec::<String>::new()));
        assert!(!dir.path().join("state").join(LEASES).exists());
        let file = dir.path().join("run").join(LEASES);
        fs::write(&file, "{").unwrap();
        let read = open(dir.path()).load().await.unwrap();
        assert_eq!(read.leases, StoredLeases::default());
        assert!(read.complaints[0].contains("leases.json") && read.complaints.len() == 1, "{:?}", read.complaints);
        open(dir.path()).save(&Record::Leases(stored("recorder", 60))).await.unwrap();
        assert_eq!(open(dir.path()).load().await.unwrap().leases, stored("recorder", 60));
    }

    #[test]
    fn what_the_api_would_not_have_granted_is_left_out() {
        for (owner, seconds, is_left_out) in
            [("a", 0, true), ("a", MAX_SECONDS + 1, true), (&"a".repeat(65), 1, true), (&"a".repeat(64), MAX_SECONDS, false)]
        {
            let file = serde_json::from_slice(&encode(&stored(owner, seconds))).unwrap();
            assert_eq!(decode(file).leases.is_empty(), is_left_out, "{owner} {seconds}");
        }
    }
}
