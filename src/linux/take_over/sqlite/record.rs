//! Records: the values of a row.

use super::SqliteError;
use super::schema::Column;
use crate::sorted::SortedMap;

/// A value. What a supervisor's tables have no use for is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `NULL`, a real number or a blob.
    None,
    /// An integer.
    Int(i64),
    /// A text.
    Text(String),
}

/// A row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row(SortedMap<String, Value>);

impl Row {
    /// Parses a record (section 2.1). A column that was added after the row has no value in it.
    pub(super) fn parse(rowid: i64, record: &[u8], columns: &[Column]) -> Result<Self, SqliteError> {
        let damaged = SqliteError::Damaged("a record is damaged");
        let (header, _) = varint(record)?;
        let Some((mut header, mut body)) = usize::try_from(header).ok().and_then(|it| record.split_at_checked(it)) else {
            return Err(damaged);
        };
        (_, header) = varint(header)?;
        let mut row = Self::default();
        for column in columns {
            let mut value = Value::None;
            if !header.is_empty() {
                let kind;
                (kind, header) = varint(header)?;
                (value, body) = take(kind, body)?;
            }
            if column.is_rowid && value == Value::None {
                value = Value::Int(rowid);
            }
            row.0.insert(column.name.clone(), value);
        }
        Ok(row)
    }

    /// A text.
    #[must_use]
    pub fn text(&self, column: &str) -> Option<&str> {
        match self.0.get(column)? {
            Value::Text(text) => Some(text),
            Value::None | Value::Int(_) => None,
        }
    }

    /// An integer, or a text that is one.
    #[must_use]
    pub fn int(&self, column: &str) -> Option<i64> {
        match self.0.get(column)? {
            Value::Int(number) => Some(*number),
            Value::Text(text) => text.parse().ok(),
            Value::None => None,
        }
    }

    /// Whether the table has a column.
    #[must_use]
    pub fn has(&self, column: &str) -> bool {
        self.0.contains_key(column)
    }
}

/// The value of a serial type (section 2.1), and what follows it.
fn take(kind: i64, body: &[u8]) -> Result<(Value, &[u8]), SqliteError> {
    let damaged = SqliteError::Damaged("a record is damaged");
    let length = match kind {
        0 | 8 | 9 => 0,
        1..=4 => kind,
        5 => 6,
        6 | 7 => 8,
        // 10 and 11 are reserved.
        _ if kind >= 12 => (kind - 12) / 2,
        _ => return Err(damaged),
    };
    let Some((value, rest)) = usize::try_from(length).ok().and_then(|it| body.split_at_checked(it)) else {
        return Err(damaged);
    };
    let value = match kind {
        1..=6 => Value::Int(signed(value)),
        8 | 9 => Value::Int(kind - 8),
        _ if kind >= 13 && kind % 2 == 1 => {
            let text = std::str::from_utf8(value).map_err(|_| SqliteError::Damaged("a text is not in UTF-8"))?;
            Value::Text(text.to_owned())
        }
        _ => Value::None,
    };
    Ok((value, rest))
}

/// A big-endian two's complement number of up to eight bytes.
fn signed(bytes: &[u8]) -> i64 {
    let start = if bytes.first().is_some_and(|it| *it >= 0x80) { -1 } else { 0 };
    bytes.iter().fold(start, |number, byte| (number << 8) | i64::from(*byte))
}

/// A number of one to nine bytes, the higher bits first (section 1.6), and what follows it.
pub(super) fn varint(bytes: &[u8]) -> Result<(i64, &[u8]), SqliteError> {
    let mut number = 0_i64;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        let rest = &bytes[at + 1..];
        if at == 8 {
            return Ok(((number << 8) | i64::from(*byte), rest));
        }
        number = (number << 7) | i64::from(byte & 0x7f);
        if *byte < 0x80 {
            return Ok((number, rest));
        }
    }
    Err(SqliteError::Damaged("a number is cut off"))
}
