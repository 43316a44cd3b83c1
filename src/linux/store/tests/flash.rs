//! What is counted is what the file system is given.

use std::sync::{Arc, Mutex};

use super::*;
use crate::state::{FlashCount, LogCursors};

/// A disk that counts for itself what is written to it.
#[derive(Debug, Clone, Default)]
struct CountingDisk(Arc<Mutex<FlashCount>>);

impl StoreFiles for CountingDisk {
    fn is_dir(&self, path: &Path) -> bool {
        Disk.is_dir(path)
    }

    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        Disk.make_dir(path, mode)
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        Disk.names(dir)
    }

    fn read(&self, path: &Path, most_bytes: u64) -> io::Result<Vec<u8>> {
        Disk.read(path, most_bytes)
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        Disk.write_new(path, bytes)?;
        self.0.lock().unwrap().bytes += u64::try_from(bytes.len()).unwrap();
        Ok(())
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<u64> {
        Disk.append(path, bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        Disk.sync(path)?;
        self.0.lock().unwrap().syncs += 1;
        Ok(())
    }

    fn is_writable_by_others(&self, dir: &Path) -> bool {
        Disk.is_writable_by_others(dir)
    }
}

#[tokio::test]
async fn every_byte_and_sync_that_the_disk_gets_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let disk = CountingDisk::default();
    let store = Store::over(disk.clone(), &dir.path().join("a/b"), Box::new(parse));
    let tag = TargetTag { etag: "1".into(), fingerprint: "ab".into() };
    let targets = |it: &str| Record::Targets(Box::new(StoredTargets { wanted: Some(target(it)), ..StoredTargets::default() }));
    store.load().await.unwrap();
    for record in [
        me(ME),
        account(),
        Record::Keys(keys(1)),
        targets("{}"),
        Record::Proved("ab".into()),
        Record::TargetTag(tag),
        targets("[]"),
        me(ME),
        Record::Leases(crate::port::StoredLeases::default()),
    ] {
        store.save(&record).await.unwrap();
        assert_eq!(store.flash_writes().sum(), *disk.0.lock().unwrap(), "{record:?}");
    }
    store.save_log_cursors(&LogCursors::default(), CursorCopy::Durable).await.unwrap();
    // What is damaged is put aside, and what can be mended is.
    std::fs::write(dir.path().join("a/b").join(IDENTITY), "{").unwrap();
    store.load().await.unwrap();
    let counted = store.flash_writes();
    assert_eq!(counted.sum(), *disk.0.lock().unwrap());
    // An identity that is saved again costs nothing.
    store.save(&me(ME)).await.unwrap();
    assert_eq!(store.flash_writes(), counted);
}
