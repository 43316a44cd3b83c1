//! Pages, and the trees of tables in them.

use super::SqliteError;
use super::record::varint;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// The length of the file's header, on the first page (section 1.3).
const HEADER: usize = 100;
/// An interior page of a table's tree (section 1.6).
const INTERIOR: u8 = 0x05;
/// A leaf page of a table's tree (section 1.6).
const LEAF: u8 = 0x0d;
/// How deep a tree is at most. With two pages each below the other it would have more pages than a file can have.
const DEPTH: usize = 32;
/// How many rows a table has at most. Supervisors' have some dozens.
const ROWS: usize = 10_000;

/// The pages of a file.
#[derive(Debug)]
pub(super) struct Pages {
    bytes: Vec<u8>,
    size: usize,
    /// The part of a page that is not reserved.
    usable: usize,
}

/// What a walk through a tree may still read. A tree has each page once, so it has no more of them than the file, and no more
/// bytes of records.
struct Budget {
    pages: usize,
    bytes: usize,
    rows: usize,
}

/// What a walk calls with each record: its row id, and its bytes.
pub(super) type EachRecord<'a> = dyn FnMut(i64, &[u8]) -> Result<(), SqliteError> + 'a;

impl Pages {
    pub(super) fn new(bytes: Vec<u8>) -> Result<Self, SqliteError> {
        let header = bytes.get(..HEADER).filter(|it| it.starts_with(MAGIC));
        let header = header.ok_or(SqliteError::Damaged("it does not begin like one"))?;
        let size = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 65_536,
            size => usize::from(size),
        };
        if !(512..=65_536).contains(&size) || !size.is_power_of_two() {
            return Err(SqliteError::Damaged("it has an impossible page size"));
        }
        // Version 2 has a write-ahead log, which was looked for.
        if !matches!(header[19], 1 | 2) {
            return Err(SqliteError::Damaged("a newer version of SQLite wrote it"));
        }
        let usable = size - usize::from(header[20]);
        if usable < 480 {
            return Err(SqliteError::Damaged("it has an impossible page size"));
        }
        // 0: it has no table yet.
        if !matches!(header[56..60], [0, 0, 0, 0 | 1]) {
            return Err(SqliteError::Damaged("its texts are not in UTF-8"));
        }
        Ok(Self { bytes, size, usable })
    }

    /// Calls a function with each record of the table whose tree has this root.
    pub(super) fn each_record(&self, root: u32, each: &mut EachRecord<'_>) -> Result<(), SqliteError> {
        let mut budget = Budget { pages: self.bytes.len() / self.size, bytes: self.bytes.len(), rows: ROWS };
        self.walk(root, DEPTH, &mut budget, each)
    }

    fn walk(&self, number: u32, depth: usize, budget: &mut Budget, each: &mut EachRecord<'_>) -> Result<(), SqliteError> {
        let damaged = SqliteError::Damaged;
        let depth = depth.checked_sub(1).ok_or(damaged("a table's tree is too deep"))?;
        budget.pages = budget.pages.checked_sub(1).ok_or(damaged("a table's tree has a page twice"))?;
        let page = self.page(number)?;
        let start = if number == 1 { HEADER } else { 0 };
        let kind = *page.get(start).ok_or(damaged("a page is too short"))?;
        let pointers = start
            + match kind {
                LEAF => 8,
                INTERIOR => 12,
                _ => return Err(damaged("a table's tree has a page of another kind")),
            };
        for cell in 0..usize::from(u16_at(page, start + 3)?) {
            let cell = page.get(usize::from(u16_at(page, pointers + 2 * cell)?)..).unwrap_or_default();
            if kind == LEAF {
                self.record(cell, budget, each)?;
            } else {
                self.walk(u32_at(cell, 0)?, depth, budget, each)?;
            }
        }
        if kind == INTERIOR {
            self.walk(u32_at(page, start + 8)?, depth, budget, each)?;
        }
        Ok(())
    }

    /// A cell of a leaf (section 1.6): the record's length, its row id, and as much of it as fits.
    fn record(&self, cell: &[u8], budget: &mut Budget, each: &mut EachRecord<'_>) -> Result<(), SqliteError> {
        let damaged = SqliteError::Damaged;
        budget.rows = budget.rows.checked_sub(1).ok_or(damaged("a table has more than 10,000 rows"))?;
        let (length, cell) = varint(cell)?;
        let (rowid, cell) = varint(cell)?;
        let length = usize::try_from(length).ok().filter(|it| *it <= budget.bytes);
        let length = length.ok_or(damaged("a record is longer than the file"))?;
        budget.bytes -= length;
        let here = self.local(length);
        let first = cell.get(..here).ok_or(damaged("a record leaves its page"))?;
        if here == length {
            return each(rowid, first);
        }
        let mut record = first.to_vec();
        let mut next = u32_at(cell, here)?;
        while record.len() < length {
            budget.pages = budget.pages.checked_sub(1).ok_or(damaged("a record has a page twice"))?;
            let page = self.page(next)?;
            next = u32_at(page, 0)?;
            let part = (length - record.len()).min(self.usable - 4);
            record.extend_from_slice(page.get(4..4 + part).ok_or(damaged("a page is too short"))?);
        }
        each(rowid, &record)
    }

    /// How many bytes of a record of this length are on its leaf (section 1.6): the rest is on overflow pages.
    fn local(&self, length: usize) -> usize {
        let most = self.usable - 35;
        if length <= most {
            return length;
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let fitting = least + (length - least) % (self.usable - 4);
        if fitting <= most { fitting } else { least }
    }

    fn page(&self, number: u32) -> Result<&[u8], SqliteError> {
        let page = usize::try_from(number).ok().and_then(|it| it.checked_sub(1)?.checked_mul(self.size));
        let page = page.and_then(|start| self.bytes.get(start..start.checked_add(self.usable)?));
        page.ok_or(SqliteError::Damaged("a page is missing"))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, SqliteError> {
    let two = bytes.get(at..).and_then(|it| it.first_chunk());
    two.map(|it| u16::from_be_bytes(*it)).ok_or(SqliteError::Damaged("a page is too short"))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, SqliteError> {
    let four = bytes.get(at..).and_then(|it| it.first_chunk());
    four.map(|it| u32::from_be_bytes(*it)).ok_or(SqliteError::Damaged("a page is too short"))
}
