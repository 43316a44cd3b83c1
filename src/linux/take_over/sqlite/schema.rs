//! The columns of a table, from its `CREATE TABLE`.

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// It is another name of the row id, which records do not repeat (section 2.3 of the format, `INTEGER PRIMARY KEY`).
    pub(super) is_rowid: bool,
}

impl Column {
    pub(super) fn of(name: &str) -> Self {
        Self { name: name.to_owned(), is_rowid: false }
    }
}

/// What a definition begins with that is a constraint of the table.
const CONSTRAINTS: [&str; 5] = ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"];

/// The columns of a table, in the order of its records. `None`: this is no table whose rows have ids, or not understood.
pub(super) fn columns(sql: &str) -> Option<Vec<Column>> {
    let tokens = tokens(sql)?;
    let open = tokens.iter().position(|it| it == "(")?;
    let mut columns = Vec::new();
    let mut depth = 0_usize;
    let mut definition: Vec<&str> = Vec::new();
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" => depth += 1,
            ")" => depth = depth.checked_sub(1)?,
            _ => (),
        }
        match (depth, token.as_str()) {
            (1, ",") | (0, _) => {
                if definition.is_empty() {
                    return None;
                }
                columns.extend(column(&definition));
                definition.clear();
            }
            (1, "(") if definition.is_empty() && columns.is_empty() => (),
            _ => definition.push(token),
        }
        if depth == 0 {
            let has_rowid = !tokens[at..].iter().any(|it| it.eq_ignore_ascii_case("WITHOUT"));
            return has_rowid.then_some(columns);
        }
    }
    None
}

/// The column that a definition is of; none if it is a constraint of the table.
fn column(definition: &[&str]) -> Option<Column> {
    let (name, rest) = definition.split_first()?;
    if CONSTRAINTS.iter().any(|it| it.eq_ignore_ascii_case(name)) {
        return None;
    }
    let is_integer = rest.first().is_some_and(|it| it.eq_ignore_ascii_case("INTEGER"));
    let is_key = rest.windows(2).any(|it| it[0].eq_ignore_ascii_case("PRIMARY") && it[1].eq_ignore_ascii_case("KEY"));
    let name = name.strip_prefix('"').unwrap_or(name);
    Some(Column { name: name.to_owned(), is_rowid: is_integer && is_key })
}

/// Words, quoted names and punctuation. A quoted name begins with a quotation mark, so that it is no keyword.
fn tokens(sql: &str) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    let mut letters = sql.chars().peekable();
    while let Some(letter) = letters.next() {
        let close = match letter {
            '"' | '`' | '\'' => letter,
            '[' => ']',
            _ if letter.is_whitespace() => continue,
            _ if is_word(letter) => {
                let mut word = String::from(letter);
                while let Some(next) = letters.next_if(|it| is_word(*it)) {
                    word.push(next);
                }
                tokens.push(word);
                continue;
            }
            _ => {
                tokens.push(letter.to_string());
                continue;
            }
        };
        let mut name = String::from('"');
        loop {
            let next = letters.next()?;
            if next != close {
                name.push(next);
            } else if close != ']' && letters.next_if_eq(&close).is_some() {
                name.push(close);
            } else {
                break;
            }
        }
        tokens.push(name);
    }
    Some(tokens)
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '$')
}
