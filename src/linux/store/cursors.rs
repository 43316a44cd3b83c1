//! How far logs were uploaded: a copy for each upload in the runtime directory, which costs no flash, and a durable one now and
//! then.

use std::io;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::disk::{StateDirectory, StoreFiles};
use super::{DRAFT, LOG_CURSORS, RECORD_BYTES, SharedStore, failed, parsed};
use crate::port::{CursorCopy, StoreError};
use crate::sorted::SortedMap;
use crate::state::{ContainerId, EngineTime, LogCursor, LogCursors, StreamCursor};

#[derive(Serialize, Deserialize)]
struct CursorsFile {
    began: i64,
    saves: u64,
    containers: SortedMap<String, CursorEntry>,
}

/// Time in nanoseconds and number of lines, for each stream.
#[derive(Serialize, Deserialize)]
struct CursorEntry {
    stdout: (i64, u32),
    stderr: (i64, u32),
}

/// The content of the file.
pub(super) fn encode(cursors: &LogCursors) -> Vec<u8> {
    let pair = |it: StreamCursor| (it.at.0, it.lines);
    let entry = |it: &LogCursor| CursorEntry { stdout: pair(it.stdout), stderr: pair(it.stderr) };
    let file = CursorsFile {
        began: cursors.began.0,
        saves: cursors.saves,
        containers: cursors.containers.iter().map(|(id, it)| (id.0.clone(), entry(it))).collect(),
    };
    serde_json::to_vec(&file).expect("texts and numbers can be written as JSON")
}

fn decode(file: CursorsFile) -> LogCursors {
    let stream = |(at, lines)| StreamCursor { at: EngineTime(at), lines };
    let cursor = |it: CursorEntry| LogCursor { stdout: stream(it.stdout), stderr: stream(it.stderr) };
    LogCursors {
        began: EngineTime(file.began),
        saves: file.saves,
        containers: file.containers.into_iter().map(|(id, it)| (ContainerId(id), cursor(it))).collect(),
    }
}

impl<F: StoreFiles> SharedStore<F> {
    /// The newer of the two copies.
    pub(super) fn log_cursors(&self) -> Result<Option<LogCursors>, StoreError> {
        let boot = self.runtime.as_ref().map(read).transpose()?.flatten();
        let durable = read(&self.files)?;
        Ok(boot.into_iter().chain(durable).max_by_key(|it| it.saves))
    }

    pub(super) fn keep_log_cursors(&self, bytes: &[u8], copy: CursorCopy) -> Result<(), StoreError> {
        let (CursorCopy::Boot, Some(files)) = (copy, &self.runtime) else {
            return if copy == CursorCopy::Durable { self.keep(LOG_CURSORS, bytes) } else { Ok(()) };
        };
        let draft = format!(".{LOG_CURSORS}{DRAFT}");
        let write = || {
            files.prepare()?;
            files.write(&draft, bytes)?;
            files.rename(&draft, LOG_CURSORS)
        };
        write().map_err(|why| failed(files, "keep", LOG_CURSORS, &why))
    }
}

/// A copy. One that is damaged counts as missing, so that the other decides; the next save replaces it.
fn read<F: StoreFiles>(files: &StateDirectory<F>) -> Result<Option<LogCursors>, StoreError> {
    let damaged = |why: String| {
        warn!("`{}` cannot be read ({why}); how far logs were uploaded is not known from it", files.shown(LOG_CURSORS));
        None
    };
    match files.read(LOG_CURSORS, RECORD_BYTES) {
        Ok(bytes) => Ok(parsed(LOG_CURSORS, &bytes).map_or_else(damaged, |it| Some(decode(it)))),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) if super::is_spoiled(&why) => Ok(damaged(why.to_string())),
        Err(why) => Err(failed(files, "read", LOG_CURSORS, &why)),
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

    fn cursors(saves: u64) -> LogCursors {
        let mut cursor = LogCursor::default();
        cursor.advance(crate::state::OutputStream::Stderr, EngineTime(1_795_443_722_123_456_789));
        let containers = SortedMap::from_iter([(ContainerId("c".repeat(64)), cursor)]);
        LogCursors { began: EngineTime(7), saves, containers }
    }

    #[tokio::test]
    async fn the_newer_copy_counts_and_a_damaged_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        assert_eq!(store.load_log_cursors().await, Ok(None));
        store.save_log_cursors(&cursors(1), CursorCopy::Durable).await.unwrap();
        store.save_log_cursors(&cursors(2), CursorCopy::Boot).await.unwrap();
        assert_eq!(open(dir.path()).load_log_cursors().await, Ok(Some(cursors(2))));
        fs::write(dir.path().join("run").join(LOG_CURSORS), "{").unwrap();
        assert_eq!(open(dir.path()).load_log_cursors().await, Ok(Some(cursors(1))));
        store.save_log_cursors(&cursors(3), CursorCopy::Boot).await.unwrap();
        fs::remove_dir_all(dir.path().join("state")).unwrap();
        assert_eq!(open(dir.path()).load_log_cursors().await, Ok(Some(cursors(3))));
    }
}
