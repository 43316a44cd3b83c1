//! Tables for users.

/// Lays out rows under their headings, if there are any, in columns as wide as their widest cell.
pub(super) fn table(heads: &[&str], mut rows: Vec<Vec<String>>) -> String {
    if !heads.is_empty() {
        rows.insert(0, heads.iter().map(|it| (*it).to_owned()).collect());
    }
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |n: usize| rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// The text without control characters, as names and errors come from outside and must not control the terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["a".to_owned(), "255".to_owned()]];
        assert_eq!(table(&["LED", "max"], rows.clone()), "LED  max\na    255\n");
        assert_eq!(table(&[], rows), "a  255\n");
    }
}
