//! Variables in texts: `$NAME`, `${NAME}`, and the forms with a default, an error or an alternative, which may hold variables
//! themselves.

/// Variables that lie within each other's defaults.
const DEPTH: usize = 16;

/// Values of variables, and what becomes of a name that has none.
pub(super) trait Variables {
    /// The value of a variable.
    fn get(&self, name: &str) -> Option<&str>;
    /// A variable without a value was replaced by nothing.
    fn on_unset(&self, name: &str);
}

/// The text with its variables replaced. Error: what is wrong, without any value.
pub(super) fn substitute(text: &str, variables: &dyn Variables, most_bytes: usize) -> Result<String, String> {
    replaced(text, variables, most_bytes, DEPTH)
}

fn replaced(text: &str, variables: &dyn Variables, most_bytes: usize, depth: usize) -> Result<String, String> {
    let mut all = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        all.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            all.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = closing(after).ok_or("`${` has no `}`; write `$$` for a `$`")?;
            let depth = depth.checked_sub(1).ok_or_else(|| format!("variables are nested deeper than {DEPTH} levels"))?;
            all.push_str(&braced(&after[..end], variables, most_bytes, depth)?);
            rest = &after[end + 1..];
        } else {
            let (name, after) = split_name(rest);
            if name.is_empty() {
                return Err("a `$` that names no variable; write `$$` for a `$`".to_owned());
            }
            all.push_str(value(name, variables));
            rest = after;
        }
        if all.len() > most_bytes {
            return Err(format!("it has more than {most_bytes} bytes with its variables replaced"));
        }
    }
    all.push_str(rest);
    Ok(all)
}

/// Where the `}` is that ends a variable whose name begins at the start of the text.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut before = ' ';
    for (at, it) in text.char_indices() {
        match it {
            '{' if before == '$' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
        // Of `$$`, the second begins no variable.
        before = if before == '$' && it == '$' { ' ' } else { it };
    }
    None
}

/// What is between `${` and `}`.
fn braced(text: &str, variables: &dyn Variables, most_bytes: usize, depth: usize) -> Result<String, String> {
    let (name, rest) = split_name(text);
    if name.is_empty() {
        return Err("`${` is not followed by a variable's name".to_owned());
    }
    if rest.is_empty() {
        return Ok(value(name, variables).to_owned());
    }
    let known = variables.get(name);
    // With a colon, an empty value counts as none.
    let (known, rest) = match rest.strip_prefix(':') {
        Some(rest) => (known.filter(|it| !it.is_empty()), rest),
        None => (known, rest),
    };
    let mut rest = rest.chars();
    let kind = rest.next();
    let word = || replaced(rest.as_str(), variables, most_bytes, depth);
    match (kind, known) {
        (Some('-' | '?'), Some(known)) => Ok(known.to_owned()),
        (Some('-'), None) | (Some('+'), Some(_)) => word(),
        (Some('+'), None) => Ok(String::new()),
        (Some('?'), None) => {
            let why = in_a_line(&word()?, 200);
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            Err(format!("the variable {} is required and has no value{why}", in_a_line(name, 60)))
        }
        _ => Err(format!("after the variable {} expected `}}`, or one of `:-` `-` `:?` `?` `:+` `+`", in_a_line(name, 60))),
    }
}

fn value<'v>(name: &str, variables: &'v dyn Variables) -> &'v str {
    variables.get(name).unwrap_or_else(|| {
        variables.on_unset(name);
        ""
    })
}

/// The beginning of a text, without line breaks.
pub(super) fn in_a_line(text: &str, most_chars: usize) -> String {
    text.chars().take(most_chars).map(|it| if it.is_control() { ' ' } else { it }).collect()
}

fn split_name(text: &str) -> (&str, &str) {
    let begins = text.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_');
    let end = text.find(|it: char| !(it.is_ascii_alphanumeric() || it == '_')).unwrap_or(text.len());
    if begins { text.split_at(end) } else { ("", text) }
}
