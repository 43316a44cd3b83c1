//! Records that end with the boot: the leases of apps, and the update window that a reboot opens. Their files are in the
//! runtime directory, where there is one, and are not synced: programs renew their leases often, and flash wears.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::disk::{StateDirectory, StoreFiles};
use super::{DRAFT, RECORD_BYTES, SharedStore, failed, parsed, wire};
use crate::port::{BootWindow, Record, StoreError, StoredLeases};
use crate::sorted::SortedMap;
use crate::state::AppId;
use crate::state::lease::{Lease, Leases, MAX_OWNER_CHARS, MAX_PER_APP, MAX_REASON_CHARS, MAX_SECONDS};

/// The file of the leases.
pub(super) const LEASES: &str = "leases.json";
/// The file of the window that a reboot opens.
pub(super) const BOOT_WINDOW: &str = "boot-window.json";

#[derive(Serialize, Deserialize)]
struct BootWindowFile {
    boot_id: String,
    closes_up_ms: u64,
}

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

/// The file of such a record, and its content. `None`: it is another record.
pub(super) fn encode(record: &Record) -> Option<(&'static str, Vec<u8>)> {
    match record {
        Record::Leases(stored) => Some((LEASES, wire::json(&LeasesFile::of(stored)))),
        Record::BootWindow(it) => {
            let file = BootWindowFile { boot_id: it.boot_id.clone(), closes_up_ms: millis(it.closes_up) };
            Some((BOOT_WINDOW, wire::json(&file)))
        }
        _ => None,
    }
}

/// Reads the file of the leases. What the API would not have granted is left out: the file is damaged, or another program
/// wrote it.
pub(super) fn leases(bytes: &[u8]) -> Result<StoredLeases, String> {
    parsed(LEASES, bytes).map(LeasesFile::into_state)
}

/// Reads the file of the window that a reboot opens.
pub(super) fn boot_window(bytes: &[u8]) -> Result<BootWindow, String> {
    let BootWindowFile { boot_id, closes_up_ms } = parsed(BOOT_WINDOW, bytes)?;
    Ok(BootWindow { boot_id, closes_up: Duration::from_millis(closes_up_ms) })
}

fn millis(it: Duration) -> u64 {
    u64::try_from(it.as_millis()).unwrap_or(u64::MAX)
}

impl LeasesFile {
    fn of(stored: &StoredLeases) -> Self {
        let all = stored.leases.iter().flat_map(|(app, of_app)| of_app.values().map(|it| (*app, it)));
        let entry = |(app, it): (AppId, &Lease)| LeaseEntry {
            app: app.0,
            owner: it.owner.clone(),
            reason: it.reason.clone(),
            seconds: it.seconds,
            ends_up_ms: millis(it.ends_up),
            ends: it.ends_secs,
        };
        Self { boot_id: stored.boot_id.clone(), leases: all.map(entry).collect() }
    }

    fn into_state(self) -> StoredLeases {
        let mut leases: Leases = SortedMap::new();
        for LeaseEntry { app, owner, reason, seconds, ends_up_ms, ends } in self.leases {
            let of_app = leases.entry(AppId(app)).or_default();
            let fits = of_app.len() < MAX_PER_APP && (1..=MAX_SECONDS).contains(&seconds);
            if fits && owner.chars().count() <= MAX_OWNER_CHARS && reason.chars().count() <= MAX_REASON_CHARS {
                let ends_up = Duration::from_millis(ends_up_ms);
                of_app.insert(owner.clone(), Lease { owner, reason, seconds, ends_up, ends_secs: ends });
            }
        }
        leases.retain(|_, it| !it.is_empty());
        StoredLeases { boot_id: self.boot_id, leases }
    }
}

impl<F: StoreFiles> SharedStore<F> {
    /// Replaces a file.
    pub(super) fn keep_for_boot(&self, name: &'static str, bytes: &[u8]) -> Result<(), StoreError> {
        let _turn = self.known();
        let files = self.files_for_boot();
        let draft = format!(".{name}{DRAFT}");
        let written = files.prepare().and_then(|()| files.write(&draft, bytes)).and_then(|()| files.rename(&draft, name));
        written.map_err(|why| failed(files, "keep", name, &why))
    }

    /// Reads a file. One that cannot be read counts as none, and is reported; the next save replaces it.
    pub(super) fn read_for_boot<T: Default>(
        &self,
        name: &'static str,
        parse: fn(&[u8]) -> Result<T, String>,
        complaints: &mut Vec<String>,
    ) -> T {
        let files = self.files_for_boot();
        let read = match files.read(name, RECORD_BYTES) {
            Ok(bytes) => parse(&bytes),
            Err(why) if why.kind() == io::ErrorKind::NotFound => return T::default(),
            Err(why) => Err(why.to_string()),
        };
        read.unwrap_or_else(|why| {
            complaints.push(format!("`{}` cannot be read ({why}); what it said of this boot is lost", files.shown(name)));
            T::default()
        })
    }

    fn files_for_boot(&self) -> &StateDirectory<F> {
        self.runtime.as_ref().unwrap_or(&self.files)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Store;
    use super::*;
    use crate::port::Store as _;
    use crate::state::TargetError;

    fn open(dir: &std::path::Path) -> Store {
        let parse = Box::new(|_: &str| Err(TargetError("none".to_owned())));
        Store::new(&dir.join("state"), parse).with_runtime_directory(&dir.join("run"))
    }

    fn stored(owner: &str, seconds: u32) -> StoredLeases {
        let (ends_up, ends_secs) = (Duration::from_millis(90_500), 1_795_443_722);
        let lease = Lease { owner: owner.to_owned(), reason: "recording".to_owned(), seconds, ends_up, ends_secs };
        let leases = SortedMap::from_iter([(AppId(7), SortedMap::from_iter([(owner.to_owned(), lease)]))]);
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
            let (_, bytes) = encode(&Record::Leases(stored(owner, seconds))).unwrap();
            assert_eq!(leases(&bytes).unwrap().leases.is_empty(), is_left_out, "{owner} {seconds}");
        }
    }
}
