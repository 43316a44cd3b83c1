//! Reads tables of an `SQLite` database file, and nothing else of it: no index, no SQL, no writing.
//!
//! Source: "Database File Format" of `SQLite`'s documentation, to whose sections the comments refer. The library itself would
//! be a tenth of the agent's binary, for a file that is read once. A file that another program is still to repair, because it
//! ended in the middle of a transaction, is refused. Every number of the file is checked before it is used: a damaged file is
//! an error.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

mod pages;
mod record;
mod schema;

use pages::Pages;
pub use record::{Row, Value};

/// The size limit of a database, in bytes. A supervisor's takes some hundred kilobytes.
const DATABASE_BYTES: u64 = 32 << 20;
/// The first bytes of a rollback journal (section 3).
const JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// The page that the schema table begins on (section 2.6).
const SCHEMA_ROOT: u32 = 1;
/// The columns of the schema table (section 2.6).
const SCHEMA_COLUMNS: [&str; 5] = ["type", "name", "tbl_name", "rootpage", "sql"];

/// Why a database cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// A file cannot be read.
    #[error("cannot read `{path}`: {why}")]
    Unreadable {
        /// Which file.
        path: String,
        /// What the system says.
        why: io::Error,
    },
    /// A transaction is not completed, or not rolled back.
    #[error("`{path}` belongs to an unfinished transaction: start the old supervisor once more, stop it, and try again")]
    Unfinished {
        /// The journal.
        path: String,
    },
    /// The file is none that this reader reads.
    #[error("not an SQLite database that can be read: {0}")]
    Damaged(&'static str),
}

/// A database, in memory.
#[derive(Debug)]
pub struct Database {
    pages: Pages,
}

impl Database {
    /// Reads a file. Changes nothing, also not beside it.
    pub fn open(path: &Path) -> Result<Self, SqliteError> {
        let bytes = read(path, DATABASE_BYTES + 1)?;
        if bytes.len() as u64 > DATABASE_BYTES {
            return Err(SqliteError::Damaged("it is longer than 32 MiB"));
        }
        for (suffix, is_unfinished) in [("-journal", is_hot as fn(&[u8]) -> bool), ("-wal", |it: &[u8]| !it.is_empty())] {
            let beside = beside(path, suffix);
            match read(&beside, JOURNAL_MAGIC.len() as u64) {
                Ok(start) if is_unfinished(&start) => {
                    return Err(SqliteError::Unfinished { path: beside.display().to_string() });
                }
                Err(SqliteError::Unreadable { why, .. }) if why.kind() == io::ErrorKind::NotFound => (),
                read => drop(read?),
            }
        }
        Self::parse(bytes)
    }

    /// Reads the content of a file.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, SqliteError> {
        Ok(Self { pages: Pages::new(bytes)? })
    }

    /// The rows of a table. `None`: there is no such table.
    pub fn table(&self, name: &str) -> Result<Option<Vec<Row>>, SqliteError> {
        let columns: Vec<_> = SCHEMA_COLUMNS.iter().map(|it| schema::Column::of(it)).collect();
        let schema = self.rows(SCHEMA_ROOT, &columns)?;
        let Some(table) = schema.iter().find(|it| it.text("type") == Some("table") && it.text("name") == Some(name)) else {
            return Ok(None);
        };
        let sql = table.text("sql").ok_or(SqliteError::Damaged("a table has no definition"))?;
        let root = table.int("rootpage").and_then(|it| u32::try_from(it).ok());
        let root = root.ok_or(SqliteError::Damaged("a table has no root page"))?;
        let columns = schema::columns(sql).ok_or(SqliteError::Damaged("a table's definition is not understood"))?;
        self.rows(root, &columns).map(Some)
    }

    fn rows(&self, root: u32, columns: &[schema::Column]) -> Result<Vec<Row>, SqliteError> {
        let mut rows = Vec::new();
        self.pages.each_record(root, &mut |rowid, payload| {
            rows.push(Row::parse(rowid, payload, columns)?);
            Ok(())
        })?;
        Ok(rows)
    }
}

/// Whether a journal has to be rolled back: one that was ended has no header any more, or no content.
fn is_hot(start: &[u8]) -> bool {
    start == JOURNAL_MAGIC
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, SqliteError> {
    let unreadable = |why| SqliteError::Unreadable { path: path.display().to_string(), why };
    let file = File::open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(unreadable(io::Error::other("it is not a file")));
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
